//! `template` blocks as the Corefile spells them.

use super::{Template, TemplateSpec};
use crate::golang::regex::Regex;
use crate::golang::strconv::parse_uint;
use crate::golang::template::Template as GoTemplate;
use crate::plugin::{Block, Parsed};
use crate::presentation::record::{class_by_name, rcode_by_name, type_by_name};
use crate::wire::{Ede, Rcode};
use crate::zones::Zones;

/// The longest pattern, in octets.
const MAX_REGEX: usize = 10_000;

const PROPERTIES: &[&str] = &[
    "match",
    "answer",
    "additional",
    "authority",
    "rcode",
    "ederror",
    "fallthrough",
    "upstream",
];

pub(super) fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    let templates = parse_templates(directive, block)?;
    Ok(Box::new(TemplateSpec { templates }))
}

/// The blocks of one directive.
pub(super) fn parse_templates(
    directive: &corefile::Directive,
    block: &Block,
) -> Result<Vec<Template>, corefile::Error> {
    let mut templates = Vec::new();
    let mut tokens = directive.dispenser();
    while tokens.next() {
        if !tokens.next_arg() {
            return Err(tokens.arg_err());
        }
        let class = class_by_name(tokens.val())
            .ok_or_else(|| tokens.err(format!("invalid query class {}", tokens.val())))?;
        if !tokens.next_arg() {
            return Err(tokens.arg_err());
        }
        let rtype = type_by_name(tokens.val())
            .ok_or_else(|| tokens.err(format!("invalid RR class {}", tokens.val())))?;
        let mut template = Template {
            class,
            rtype,
            zones: Zones::from_args(&tokens.remaining_args(), block),
            patterns: Vec::new(),
            answer: Vec::new(),
            additional: Vec::new(),
            authority: Vec::new(),
            rcode: Rcode::NOERROR,
            ederror: None,
            fall: Zones::default(),
        };
        while tokens.next_block() {
            property(&mut tokens, &mut template)?;
        }
        templates.push(template);
    }
    Ok(templates)
}

fn property(
    tokens: &mut corefile::Dispenser<'_>,
    template: &mut Template,
) -> Result<(), corefile::Error> {
    match tokens.val() {
        "match" => {
            for pattern in some_args(tokens)? {
                if pattern.len() > MAX_REGEX {
                    return Err(tokens.err(format!(
                        "regex pattern too long: {} > {MAX_REGEX}",
                        pattern.len()
                    )));
                }
                let regex = Regex::new(pattern).map_err(|error| {
                    tokens.err(format!("could not parse regex: {pattern}, {error}"))
                })?;
                template.patterns.push(regex);
            }
        }
        name @ ("answer" | "additional" | "authority") => {
            // CoreDNS's message ends with a newline in the latter two.
            let (list, end) = match name {
                "answer" => (&mut template.answer, ""),
                "additional" => (&mut template.additional, "\n"),
                _ => (&mut template.authority, "\n"),
            };
            for text in some_args(tokens)? {
                let parsed = GoTemplate::parse(name, text).map_err(|error| {
                    let word = tokens.val();
                    tokens.err(format!("could not compile template: {word}, {error}{end}"))
                })?;
                list.push(parsed);
            }
        }
        "rcode" => {
            if !tokens.next_arg() {
                return Err(tokens.arg_err());
            }
            let code = rcode_by_name(tokens.val())
                .ok_or_else(|| tokens.err(format!("unknown rcode {}", tokens.val())))?;
            template.rcode = Rcode(code);
        }
        "ederror" => {
            let args = tokens.remaining_args();
            let ([code] | [code, _]) = args.as_slice() else {
                return Err(tokens.arg_err());
            };
            let text = args.get(1).copied().unwrap_or_default();
            let code = parse_uint(code, 10, 16).map_err(|error| {
                let word = tokens.val();
                tokens.err(format!(
                    "error parsing extended DNS error code {word}, {error}\n"
                ))
            })?;
            template.ederror = Some(Ede::from((code as u16, text.to_owned())));
        }
        "fallthrough" => template.fall = Zones::fallthrough(&tokens.remaining_args()),
        "upstream" => {
            tokens.remaining_args();
        }
        _ => return Err(tokens.arg_err().suggest(PROPERTIES)),
    }
    Ok(())
}

fn some_args<'a>(tokens: &mut corefile::Dispenser<'a>) -> Result<Vec<&'a str>, corefile::Error> {
    let args = tokens.remaining_args();
    match args.is_empty() {
        true => Err(tokens.arg_err()),
        false => Ok(args),
    }
}
