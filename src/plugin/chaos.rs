//! `chaos`: says who answers, to TXT queries of class CH.
//!
//! ```text
//! chaos [VERSION] [AUTHORS...]
//! ```
//!
//! - `version.bind.` and `version.server.`: VERSION, by default `Pando-` and
//!   the version;
//! - `hostname.bind.` and `id.server.`: the host name;
//! - `authors.bind.`: one TXT for each of AUTHORS, in random order.
//!
//! Strings are cut at 255 octets, all TTLs are 0. Everything else is passed on.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Next, Plugin, Serving};
use crate::wire::{RData, Rcode, Record, Section, class, rtype};

pub(super) static DEFINITION: Definition = Definition {
    name: "chaos",
    parse,
};

#[derive(Debug)]
struct ChaosSpec {
    version: String,
    authors: Vec<String>,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    words.next();
    let args = words.remaining_args();
    if words.next_block() {
        return Err(words.unknown_property_err(&[]));
    }
    let spec = match &args[..] {
        [] => ChaosSpec {
            version: concat!("Pando-", env!("CARGO_PKG_VERSION")).to_owned(),
            authors: default_authors(),
        },
        [version] => ChaosSpec {
            version: (*version).to_owned(),
            authors: default_authors(),
        },
        [version, authors @ ..] => {
            let authors: BTreeSet<&str> = authors.iter().copied().collect();
            ChaosSpec {
                version: (*version).to_owned(),
                authors: authors.into_iter().map(str::to_owned).collect(),
            }
        }
    };
    Ok(Box::new(spec))
}

fn default_authors() -> Vec<String> {
    vec!["The Pando authors".to_owned()]
}

impl Spec for ChaosSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname");
        let hostname = hostname
            .as_deref()
            .map_or("localhost", str::trim)
            .to_owned();
        builder.push(Arc::new(Chaos {
            version: self.version,
            authors: self.authors,
            hostname,
        }));
        Ok(())
    }
}

struct Chaos {
    version: String,
    authors: Vec<String>,
    hostname: String,
}

impl Plugin for Chaos {
    fn name(&self) -> &'static str {
        "chaos"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let request = &exchange.request;
        if request.qclass() != class::CH || request.qtype() != rtype::TXT {
            return next.serve(exchange);
        }
        let mut authors;
        let texts = match request.name().wire() {
            b"\x07version\x04bind\0" | b"\x07version\x06server\0" => {
                std::slice::from_ref(&self.version)
            }
            b"\x08hostname\x04bind\0" | b"\x02id\x06server\0" => {
                std::slice::from_ref(&self.hostname)
            }
            b"\x07authors\x04bind\0" => {
                authors = self.authors.clone();
                fastrand::shuffle(&mut authors);
                &authors[..]
            }
            _ => return next.serve(exchange),
        };
        let (request, reply) = exchange.request_and_answer();
        for text in texts {
            let rdata = RData::Txt(&[text.as_bytes()]);
            let mut record = Record::new(Section::Answer, request.qname(), 0, &rdata);
            record.class = class::CH;
            reply.push_record(&record);
        }
        Box::pin(std::future::ready(Ok(Rcode::NOERROR)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<String, String> {
        let directive = corefile::Directive::new("Corefile", text);
        match parse(&directive, &Block::default()) {
            Ok(spec) => Ok(format!("{spec:?}")),
            Err(error) => Err(error.first_line().to_owned()),
        }
    }

    #[test]
    fn authors_are_sorted_and_named_once() {
        assert_eq!(
            spec("chaos v2 zoe adam zoe").unwrap(),
            r#"ChaosSpec { version: "v2", authors: ["adam", "zoe"] }"#
        );
        assert!(
            spec("chaos")
                .unwrap()
                .contains(concat!("Pando-", env!("CARGO_PKG_VERSION")))
        );
        assert_eq!(
            spec("chaos {\nfoo\n}").unwrap_err(),
            "Corefile:2 - Error during parsing: unknown property 'foo'"
        );
    }
}
