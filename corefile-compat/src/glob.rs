//! Import patterns: Go's `filepath.Match` and `filepath.Glob`.
//!
//! Patterns with a bracket expression never come here (the parser refuses
//! them), so `[` is always one that has no end, which is no pattern.

use std::{fs, io, path::PathBuf};

use crate::path;

/// The files that match `pattern`, in order of name.
pub(crate) fn files(pattern: &str) -> io::Result<Vec<PathBuf>> {
    matches(pattern, "")?;
    Ok(find(pattern)?.into_iter().map(PathBuf::from).collect())
}

fn find(pattern: &str) -> io::Result<Vec<String>> {
    if !is_pattern(pattern) {
        let there = fs::symlink_metadata(pattern).is_ok();
        return Ok(there.then(|| pattern.to_owned()).into_iter().collect());
    }
    let (dir, name) = match pattern.rfind('/') {
        Some(0) => ("/", &pattern[1..]),
        Some(at) => (&pattern[..at], &pattern[at + 1..]),
        None => (".", pattern),
    };
    let dirs = if is_pattern(dir) {
        find(dir)?
    } else {
        vec![dir.to_owned()]
    };
    let mut found = Vec::new();
    for dir in dirs {
        // What can't be read matches nothing.
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        for entry in names {
            if matches(name, &entry)? {
                found.push(path::join(&dir, &entry));
            }
        }
    }
    Ok(found)
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether `name` as a whole matches `pattern`. `*` is any run of characters
/// but `/`, `?` any one of them, `\` takes away the meaning of the next.
pub(crate) fn matches(pattern: &str, name: &str) -> io::Result<bool> {
    let parts = parts(pattern)?;
    Ok(match_parts(&parts, name))
}

enum Part {
    Any,
    One,
    Is(char),
}

fn parts(pattern: &str) -> io::Result<Vec<Part>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "syntax error in pattern");
    let mut chars = pattern.chars();
    let mut parts = Vec::new();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '[' => return Err(bad()),
            '\\' => Part::Is(chars.next().ok_or_else(bad)?),
            c => Part::Is(c),
        });
    }
    Ok(parts)
}

fn match_parts(parts: &[Part], name: &str) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return name.is_empty();
    };
    let mut chars = name.chars();
    match part {
        Part::Is(c) => chars.next() == Some(*c) && match_parts(rest, chars.as_str()),
        Part::One => chars.next().is_some_and(|c| c != '/') && match_parts(rest, chars.as_str()),
        // One star a pattern, so this does not branch twice.
        Part::Any => {
            let mut tail = name;
            loop {
                if match_parts(rest, tail) {
                    return true;
                }
                let mut chars = tail.chars();
                if chars.next().is_none_or(|c| c == '/') {
                    return false;
                }
                tail = chars.as_str();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            ("*.override", "a.override", true),
            ("*.override", ".override", true),
            ("*.override", "a.server", false),
            ("/c/*.server", "/c/x.server", true),
            ("/c/*.server", "/c/d/x.server", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a*", "a", true),
            ("*", "", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("é?", "éx", true),
        ];
        for (pattern, name, want) in cases {
            assert_eq!(matches(pattern, name).unwrap(), want, "{pattern} {name}");
        }
        assert!(matches("a[b", "a").is_err());
        assert!(matches("a\\", "a").is_err());
    }
}
