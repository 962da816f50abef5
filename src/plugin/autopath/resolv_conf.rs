//! The search list of a file in the form of `/etc/resolv.conf`, as miekg/dns
//! reads it (`ClientConfigFromReader`).

use crate::wire::NameBuf;

/// The domains of the last line that has any, lower case. Words that are no
/// domains are left out.
pub(super) fn search(text: &str) -> Vec<NameBuf> {
    let lines = text.lines().filter(|line| !line.starts_with([';', '#']));
    let mut lists = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("domain") => words.next().map(|domain| vec![domain]),
            Some("search") => Some(words.collect()),
            _ => None,
        }
    });
    let domains = lists.rfind(|list: &Vec<&str>| !list.is_empty());
    let domains = domains.unwrap_or_default().into_iter();
    domains
        .filter_map(|domain| corefile::key::normalize(domain).parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        for (text, domains) in [
            ("", ""),
            ("nameserver 192.0.2.1\noptions ndots:5\n", ""),
            (
                "domain foo.com\nsearch Bar.com\tbaz.com.\n",
                "bar.com. baz.com.",
            ),
            ("search bar.com\ndomain foo.com ignored", "foo.com."),
            ("search bar.com\nsearch\ndomain\n", "bar.com."),
            ("# search a\n;search b\nsearch c # d", "c. #. d."),
            ("search a..b .", "."),
        ] {
            let found: Vec<String> = search(text).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), domains, "{text}");
        }
    }
}
