//! `log`: one line a query.
//!
//! ```text
//! log [NAMES...] [FORMAT] {
//!     class all|success|denial|error...
//! }
//! ```
//!
//! NAMES defaults to the root: every query. FORMAT is taken as one only where
//! there are two arguments or more and the last holds a `{`. The first rule
//! whose name the query is under decides; without `class` it logs all.
//!
//! The default format is `{common}`:
//! `{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do}
//! {>bufsize}" {rcode} {>rflags} {rsize} {duration}`; `{combined}` adds
//! `"{>opcode}"`. Further placeholders are `{local}` and `{/LABEL}`, the
//! metadata LABEL. Sizes are octets, the duration is in seconds with `s`
//! behind it, and what is not known is `-`.

mod format;

use std::sync::Arc;

use self::format::Format;
use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Next, Plugin, Served, Serving};
use crate::clock;
use crate::response::{Class, Kind};
use crate::wire::{NameBuf, Rcode};

pub(super) static DEFINITION: Definition = Definition { name: "log", parse };

const COMMON: &str = "{remote}:{port} - {>id} \"{type} {class} {name} {proto} {size} {>do} {>bufsize}\" {rcode} {>rflags} {rsize} {duration}";

#[derive(Debug)]
struct LogSpec {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// A scope that is no domain name matches nothing.
    scope: Option<NameBuf>,
    format: Format,
    classes: Vec<Class>,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut rules = Vec::new();
    while words.next() {
        let args = words.remaining_args();
        let (scopes, format) = match &args[..] {
            [] => (&["."][..], COMMON.to_owned()),
            [scopes @ .., last] if !scopes.is_empty() && last.contains('{') => {
                let combined = format!("{COMMON} \"{{>opcode}}\"");
                let format = last
                    .replace("{common}", COMMON)
                    .replace("{combined}", &combined);
                (scopes, format)
            }
            scopes => (scopes, COMMON.to_owned()),
        };
        let mut classes = Vec::new();
        while words.next_block() {
            if words.val() != "class" {
                return Err(words.unknown_property_err(&["class"]));
            }
            let tokens = words.remaining_tokens();
            if tokens.is_empty() {
                return Err(words.arg_err());
            }
            for token in tokens {
                let class = Class::from_word(&token.text).ok_or_else(|| {
                    corefile::Error::plain(format!("invalid Class: {}", token.text))
                        .at(token)
                        .suggest(&["all", "success", "denial", "error"])
                })?;
                classes.push(class);
            }
        }
        if classes.is_empty() {
            classes.push(Class::All);
        }
        rules.extend(scopes.iter().map(|scope| {
            Rule {
                scope: scope
                    .parse()
                    .ok()
                    .map(|name: NameBuf| name.name().to_lower()),
                format: Format::parse(&format),
                classes: classes.clone(),
            }
        }));
    }
    Ok(Box::new(LogSpec { rules }))
}

impl Spec for LogSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.push(Arc::new(Log { rules: self.rules }));
        Ok(())
    }
}

struct Log {
    rules: Vec<Rule>,
}

impl Plugin for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let name = exchange.request.name();
        let matches = |rule: &&Rule| {
            let scope = rule.scope.as_ref();
            scope.is_some_and(|scope| name.is_under(scope.name()))
        };
        let Some(rule) = self.rules.iter().find(matches) else {
            return next.serve(exchange);
        };
        Box::pin(async move {
            let served = next.serve(exchange).await;
            rule.log(exchange, &served);
            served
        })
    }
}

impl Rule {
    fn log(&self, exchange: &Exchange, served: &Served) {
        let unwritten = match served {
            Ok(rcode) => *rcode,
            Err(failure) => failure.rcode,
        };
        let class = match exchange.reply() {
            Some(reply) => {
                let request = &exchange.request;
                Kind::of(reply, request.opcode(), request.qtype()).class()
            }
            None => Class::Error,
        };
        if self.classes.contains(&Class::All) || self.classes.contains(&class) {
            // A line costs more than a look at the clock, and a query that was
            // answered in place would have taken no time at all.
            let waited = clock::refresh().since(exchange.arrived);
            tracing::info!(target: "log", "{}", self.format.render(exchange, unwritten, waited));
        }
    }
}

/// Whether the server answers with this code where no plugin wrote a reply.
fn is_answered_by_server(rcode: Rcode) -> bool {
    matches!(
        rcode,
        Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::refusal;

    #[test]
    fn setups_are_accepted_and_refused_as_coredns_does() {
        for (text, error) in [
            ("log", ""),
            ("log example.org", ""),
            ("log example.org. {common}", ""),
            (
                "log example.org {combined} {\nclass denial error\nclass success\n}",
                "",
            ),
            ("log a b c {when}", ""),
            ("log\nlog a", ""),
            (
                "log {\nclass\n}",
                "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'class'",
            ),
            ("log {\nclass abracadabra\n}", "invalid Class: abracadabra"),
            (
                "log {\nunknown\n}",
                "Corefile:2 - Error during parsing: unknown property 'unknown'",
            ),
        ] {
            assert_eq!(refusal(&DEFINITION, text), error, "{text}");
        }
    }
}
