//! `rewrite cname`: follow another target than the one an upstream named.

use super::matcher::{MAX_REGEX, Matcher, expand};
use crate::golang::regex::Regex;
use crate::presentation::normalize;

/// Which targets of CNAME records become which others.
#[derive(Debug)]
pub(super) struct CnameRule {
    matcher: Matcher,
    to: String,
}

impl CnameRule {
    pub(super) fn parse(args: &[&str]) -> Result<Self, String> {
        let (kind, from, to) = match args {
            [from, to] => ("exact".to_owned(), from, to),
            [kind, from, to] => (kind.to_lowercase(), from, to),
            _ => {
                return Err(format!(
                    "too few ({}) arguments for a cname rule",
                    args.len()
                ));
            }
        };
        let (from, mut to) = (from.to_lowercase(), to.to_lowercase());
        let matcher = match kind.as_str() {
            "exact" => {
                to = normalize(&to);
                Matcher::Exact(normalize(&from))
            }
            "prefix" => Matcher::Prefix(from),
            "suffix" => Matcher::Suffix(from),
            "substring" => Matcher::Substring(from),
            "regex" if from.len() > MAX_REGEX => {
                return Err(format!(
                    "regex pattern too long in a cname rule: {} > {MAX_REGEX}",
                    from.len()
                ));
            }
            "regex" => Matcher::Regex(
                Regex::new(&from)
                    .map_err(|error| format!("invalid cname rewrite regex pattern: {error}"))?,
            ),
            _ => return Err(format!("unknown cname rewrite type: {kind}")),
        };
        Ok(Self { matcher, to })
    }

    /// Whether the rule can ever apply: one with an empty word never does.
    pub(super) fn applies(&self) -> bool {
        let from = match &self.matcher {
            Matcher::Exact(from)
            | Matcher::Prefix(from)
            | Matcher::Suffix(from)
            | Matcher::Substring(from) => from,
            Matcher::Regex(regex) => regex.as_str(),
        };
        !from.is_empty() && !self.to.is_empty()
    }

    /// The target to follow instead of `target`.
    pub(super) fn retarget(&self, target: &str) -> Option<String> {
        match &self.matcher {
            Matcher::Exact(from) => (target == from).then(|| self.to.clone()),
            Matcher::Prefix(from) => Some(format!("{}{}", self.to, target.strip_prefix(&**from)?)),
            Matcher::Suffix(from) => Some(format!("{}{}", target.strip_suffix(&**from)?, self.to)),
            Matcher::Substring(from) => target
                .contains(&**from)
                .then(|| target.replace(&**from, &self.to)),
            Matcher::Regex(regex) => Some(expand(&self.to, &regex.captures(target)?)),
        }
    }
}
