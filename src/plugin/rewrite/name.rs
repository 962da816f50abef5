//! `rewrite name`: ask for another name, and undo it in the answer.

use std::borrow::Cow;

use super::matcher::{MAX_REGEX, Matcher, expand};
use super::response::{Rename, ResponseRule};
use crate::golang::regex::Regex;
use crate::golang::strconv::quote;
use crate::presentation::normalize;

/// How a name is matched and what becomes of it.
#[derive(Debug)]
pub(super) struct NameRule {
    matcher: Matcher,
    to: String,
    /// Whether the answer's names are turned back one by one: the name that was
    /// asked instead, and names below it, become the one of the question.
    reverts: bool,
    /// What else happens to the answer.
    answer: Vec<ResponseRule>,
}

impl NameRule {
    pub(super) fn parse(args: &[&str]) -> Result<Self, String> {
        let (kind, from, to, answer) = match args {
            [from, to] => ("exact".to_owned(), *from, *to, &[][..]),
            [kind, from, to, answer @ ..] => (kind.to_lowercase(), *from, *to, answer),
            _ => return Err("too few arguments for a name rule".into()),
        };
        let (from, mut to) = match kind.as_str() {
            "regex" => (from.to_owned(), to.to_owned()),
            _ => (normalize(from), normalize(to)),
        };
        let (auto, mut answer) = match answer {
            [] => (false, Vec::new()),
            words => parse_answer(&kind, words)?,
        };
        let mut reverts = auto;
        let matcher = match kind.as_str() {
            "exact" => {
                // CoreDNS tries the new name as a pattern, not the old one.
                checked_regex(&to, &from)?;
                reverts = true;
                Matcher::Exact(from)
            }
            "prefix" => Matcher::Prefix(from),
            "suffix" => {
                if auto {
                    let back = || Rename::Suffix {
                        from: to.clone(),
                        to: from.clone(),
                    };
                    let own = [ResponseRule::Owner(back()), ResponseRule::Value(back())];
                    answer.splice(..0, own);
                }
                reverts = false;
                Matcher::Suffix(from)
            }
            "substring" => Matcher::Substring(from),
            "regex" => {
                let regex = checked_regex(&from, &to)?;
                to = normalize(&to);
                Matcher::Regex(regex)
            }
            _ => {
                return Err(format!(
                    "name rule supports only exact, prefix, suffix, substring, and regex name matching, received: {kind}"
                ));
            }
        };
        Ok(Self {
            matcher,
            to,
            reverts,
            answer,
        })
    }

    /// The name to ask for instead of `name`, if the rule applies to it.
    pub(super) fn rename(&self, name: &str) -> Option<String> {
        match &self.matcher {
            Matcher::Exact(from) => (name == from).then(|| self.to.clone()),
            Matcher::Prefix(from) => Some(format!("{}{}", self.to, name.strip_prefix(&**from)?)),
            Matcher::Suffix(from) => Some(format!("{}{}", name.strip_suffix(&**from)?, self.to)),
            Matcher::Substring(from) => name
                .contains(&**from)
                .then(|| name.replace(&**from, &self.to)),
            // Cheaper than captures where the pattern does not occur.
            Matcher::Regex(regex) if !regex.is_match(name) => None,
            Matcher::Regex(regex) => Some(expand(&self.to, &regex.captures(name)?)),
        }
    }

    /// Appends what shall happen to the answer when `from` became `to`.
    pub(super) fn response_rules<'a>(
        &'a self,
        from: &str,
        to: &str,
        rules: &mut Vec<Cow<'a, ResponseRule>>,
    ) {
        if self.reverts {
            let back = || Rename::Remap {
                from: to.to_owned(),
                to: from.to_owned(),
            };
            rules.push(Cow::Owned(ResponseRule::Owner(back())));
            rules.push(Cow::Owned(ResponseRule::Value(back())));
        }
        rules.extend(self.answer.iter().map(Cow::Borrowed));
    }
}

/// The words from `answer` on: whether names are turned back by themselves,
/// and the rules that are spelled out.
fn parse_answer(kind: &str, words: &[&str]) -> Result<(bool, Vec<ResponseRule>), String> {
    if words.len() < 2 {
        return Err(format!("invalid arguments for {kind} rule"));
    }
    let mut auto = false;
    let mut names = false;
    let mut rules = Vec::new();
    let mut rest = words;
    let mut first = true;
    while let Some((&word, after)) = rest.split_first() {
        if first && word != "answer" {
            return Err(format!(
                "exceeded the number of arguments for a non-answer rule argument for {kind} rule"
            ));
        }
        first = false;
        let rule = if word == "answer" { after } else { rest };
        let Some((&what, args)) = rule.split_first() else {
            return Err(format!("type missing for answer rule for {kind} rule"));
        };
        rest = args;
        match what {
            "auto" => auto = true,
            "name" | "value" => {
                let [from, to, after @ ..] = args else {
                    return Err(format!(
                        "{what} answer rule for {kind} rule: 2 arguments required"
                    ));
                };
                let regex = checked_regex(from, to)
                    .map_err(|error| format!("{what} answer rule for {kind} rule: {error}"))?;
                let to = normalize(to);
                let rename = Rename::Regex { regex, to };
                rules.push(match what {
                    "name" => ResponseRule::Owner(rename),
                    _ => ResponseRule::Value(rename),
                });
                names |= what == "name";
                rest = after;
            }
            _ => {
                return Err(format!(
                    "invalid type {} for answer rule for {kind} rule",
                    quote(what)
                ));
            }
        }
    }
    if auto && names {
        return Err(
            "auto name answer rule cannot be combined with explicit name anwer rules".into(),
        );
    }
    Ok((auto, rules))
}

/// A pattern that has as many groups as the replacement mentions.
fn checked_regex(from: &str, to: &str) -> Result<Regex, String> {
    if from.len() > MAX_REGEX {
        return Err(format!(
            "regex pattern too long: {} > {MAX_REGEX}",
            from.len()
        ));
    }
    let regex = Regex::new(from).map_err(|_| format!("invalid regex matching pattern: {from}"))?;
    let used = (0..=100)
        .filter(|group| to.contains(&format!("{{{group}}}")))
        .count();
    if used > regex.groups() {
        return Err(format!(
            "the rewrite regex pattern ({to}) uses more subexpressions than its corresponding matching regex pattern ({from})"
        ));
    }
    Ok(regex)
}
