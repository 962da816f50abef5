//! How the rules for `ttl`, `rcode` and `cname` select names.

use crate::golang::regex::Regex;

/// The longest pattern, in octets.
pub(super) const MAX_REGEX: usize = 10_000;

/// Text beyond this is no name whatever becomes of it.
const MAX_EXPANSION: usize = 4096;

/// Selects names by their text: lower case, with a trailing dot.
#[derive(Debug)]
pub(super) enum Matcher {
    /// The whole name.
    Exact(String),
    /// How it begins; need not end where a label does.
    Prefix(String),
    /// How it ends; need not begin where a label does.
    Suffix(String),
    /// What is in it.
    Substring(String),
    /// A pattern that occurs in it.
    Regex(Regex),
}

impl Matcher {
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(whole) => name == whole,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
            Self::Suffix(suffix) => name.ends_with(&**suffix),
            Self::Substring(part) => name.contains(&**part),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// Fills in `{0}`, `{1}` and so on, one after the other as CoreDNS does: what
/// a group caught may hold the mark of a later one. That could go on growing,
/// so it ends once the text can be no name any more.
pub(super) fn expand(replacement: &str, groups: &[&str]) -> String {
    let mut expanded = replacement.to_owned();
    for (index, group) in groups.iter().enumerate() {
        if !expanded.contains('{') || expanded.len() > MAX_EXPANSION {
            break;
        }
        expanded = expanded.replace(&format!("{{{index}}}"), group);
    }
    expanded
}
