//! Rules as the Corefile spells them.

use super::cname::CnameRule;
use super::edns0::Edns0Rule;
use super::matcher::{MAX_REGEX, Matcher};
use super::name::NameRule;
use crate::golang::regex::Regex;
use crate::golang::strconv::quote;
use crate::presentation::normalize;
use crate::presentation::record::{class_by_name, rcode_by_name, type_by_name};

/// One line or block of `rewrite`.
#[derive(Debug)]
pub(super) struct Rule {
    /// Whether later rules are tried where this one has applied.
    pub(super) goes_on: bool,
    pub(super) action: Action,
}

/// What a rule does.
#[derive(Debug)]
pub(super) enum Action {
    Name(NameRule),
    Type(u16, u16),
    Class(u16, u16),
    Edns0(Edns0Rule),
    Ttl(Matcher, Ttls),
    Rcode(Matcher, Rcodes),
    Cname(CnameRule),
}

/// TTLs below the first and above the second are moved to that one, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ttls {
    pub(super) min: u32,
    pub(super) max: u32,
}

/// One response code becomes another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rcodes {
    pub(super) from: u16,
    pub(super) to: u16,
}

/// A rule, or why it is none, in the words of CoreDNS.
pub(super) fn parse(args: &[&str]) -> Result<Rule, String> {
    let Some((&first, rest)) = args.split_first() else {
        return Err("no rule type specified for rewrite".into());
    };
    let mode = first.to_lowercase();
    let (goes_on, kind, args) = match mode.as_str() {
        "continue" | "stop" => {
            let Some((kind, rest)) = rest.split_first() else {
                return Err(format!("{mode} rule must begin with a rule type"));
            };
            (mode == "continue", kind.to_lowercase(), rest)
        }
        _ => (false, mode.clone(), rest),
    };
    let action = match kind.as_str() {
        "answer" => return Err("response rewrites must begin with a name rule".into()),
        "name" => Action::Name(NameRule::parse(args)?),
        "class" => {
            let [from, to] = two(&kind, args)?;
            Action::Class(parse_class(from)?, parse_class(to)?)
        }
        "type" => {
            let [from, to] = two(&kind, args)?;
            Action::Type(parse_type(from)?, parse_type(to)?)
        }
        "edns0" => Action::Edns0(Edns0Rule::parse(args)?),
        "ttl" => parse_ttl(args)?,
        "cname" => Action::Cname(CnameRule::parse(args)?),
        "rcode" => parse_rcode(args)?,
        _ => return Err(format!("invalid rule type {}", quote(first))),
    };
    Ok(Rule { goes_on, action })
}

fn two<'a>(kind: &str, args: &[&'a str]) -> Result<[&'a str; 2], String> {
    args.try_into()
        .map_err(|_| format!("{kind} rules must have exactly two arguments"))
}

fn parse_class(word: &str) -> Result<u16, String> {
    let word = word.to_uppercase();
    class_by_name(&word).ok_or_else(|| format!("invalid class {}", quote(&word)))
}

fn parse_type(word: &str) -> Result<u16, String> {
    let word = word.to_uppercase();
    type_by_name(&word).ok_or_else(|| format!("invalid type {}", quote(&word)))
}

fn parse_ttl(args: &[&str]) -> Result<Action, String> {
    let (Some(first), Some(_)) = (args.first(), args.get(1)) else {
        return Err(format!("too few ({}) arguments for a ttl rule", args.len()));
    };
    // With more than three words CoreDNS looks at none of them.
    let text = match args {
        [_, text] | [_, _, text] => *text,
        _ => "",
    };
    let ttls = Ttls::parse(text).ok_or_else(|| format!("invalid TTL '{text}' for a ttl rule"))?;
    let matcher = match args {
        [kind, name, _] => parse_matcher("ttl", kind, name)?,
        _ => Matcher::Exact(normalize(first)),
    };
    Ok(Action::Ttl(matcher, ttls))
}

impl Ttls {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let plain = text.bytes().all(|octet| octet.is_ascii_digit());
            text.parse().ok().filter(|_: &u32| plain)
        };
        let ttls = match text.split_once('-') {
            None => {
                let ttl = number(text)?;
                Self { min: ttl, max: ttl }
            }
            Some(("", "")) => return None,
            Some((min, max)) => Self {
                min: if min.is_empty() { 0 } else { number(min)? },
                max: match max {
                    "" => i32::MAX as u32,
                    max => number(max)?,
                },
            },
        };
        (ttls.min <= ttls.max).then_some(ttls)
    }
}

fn parse_rcode(args: &[&str]) -> Result<Action, String> {
    let (Some(first), Some(_)) = (args.first(), args.get(2)) else {
        return Err(format!(
            "too few ({}) arguments for a rcode rule",
            args.len()
        ));
    };
    let (from, to) = match args {
        [_, from, to] | [_, _, from, to] => (*from, *to),
        _ => ("", ""),
    };
    let rcodes = Rcodes {
        from: rcode(from)
            .ok_or_else(|| format!("invalid matching RCODE '{from}' for a rcode rule"))?,
        to: rcode(to)
            .ok_or_else(|| format!("invalid replacement RCODE '{to}' for a rcode rule"))?,
    };
    let matcher = match args {
        [kind, name, _, _] => parse_matcher("rcode", kind, name)?,
        _ => Matcher::Exact(normalize(first)),
    };
    Ok(Action::Rcode(matcher, rcodes))
}

fn rcode(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|octet| octet.is_ascii_digit());
    match word.parse() {
        Ok(number @ 0..=23u16) if plain => Some(number),
        _ => rcode_by_name(&word.to_uppercase()),
    }
}

fn parse_matcher(rule: &str, kind: &str, name: &str) -> Result<Matcher, String> {
    Ok(match kind.to_lowercase().as_str() {
        "exact" => Matcher::Exact(normalize(name)),
        "prefix" => Matcher::Prefix(normalize(name)),
        "suffix" => Matcher::Suffix(normalize(name)),
        "substring" => Matcher::Substring(normalize(name)),
        "regex" if name.len() > MAX_REGEX => {
            return Err(format!(
                "regex pattern too long in a {rule} rule: {} > {MAX_REGEX}",
                name.len()
            ));
        }
        "regex" => Matcher::Regex(
            Regex::new(name)
                .map_err(|_| format!("invalid regex pattern in a {rule} rule: {name}"))?,
        ),
        _ => {
            return Err(format!(
                "{rule} rule supports only exact, prefix, suffix, substring, and regex name matching"
            ));
        }
    })
}
