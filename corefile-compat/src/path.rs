//! Slash-separated paths as Go's `path/filepath` treats them. Errors and import
//! patterns show the outcome, so `std::path` (which keeps `..` and `.`) won't do.

/// The shortest equal path, by text alone.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|&p| p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".to_owned(),
        (false, rest) => rest,
    }
}

/// `name` in the folder `dir`; an empty part is left out.
pub(crate) fn join(dir: &str, name: &str) -> String {
    match (dir, name) {
        ("", "") => String::new(),
        ("", name) => clean(name),
        (dir, name) => clean(&format!("{dir}/{name}")),
    }
}

/// The folder that `path` is in.
pub(crate) fn dir(path: &str) -> String {
    let head = path.rfind('/').map_or("", |at| &path[..=at]);
    clean(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_go() {
        let cases = [
            ("", "."),
            ("a/b", "a/b"),
            ("a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("../../a", "../../a"),
            ("a/../../b", "../b"),
            ("/..", "/"),
            ("/../a/../b", "/b"),
            ("/", "/"),
        ];
        for (path, want) in cases {
            assert_eq!(clean(path), want, "{path}");
        }
        assert_eq!(
            join("/etc/coredns", "../custom/*.override"),
            "/etc/custom/*.override"
        );
        assert_eq!(join("", "a"), "a");
        assert_eq!(dir("/dev/stdin"), "/dev");
        assert_eq!(dir("Corefile"), ".");
        assert_eq!(dir("/Corefile"), "/");
    }
}
