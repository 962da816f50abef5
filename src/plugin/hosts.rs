//! `hosts`: answers from a file in the form of `/etc/hosts`.
//!
//! ```text
//! hosts [FILE [ZONES...]] {
//!     ADDRESS NAME...
//!     ttl SECONDS
//!     no_reverse
//!     reload DURATION
//!     fallthrough [ZONES...]
//!     fallthrough_unsupported
//! }
//! ```
//!
//! FILE defaults to `/etc/hosts` and may be missing; lines of the block are
//! read like lines of the file and stand behind them. `ttl` is 3600 by
//! default, 1 to 65535. The file is looked at every DURATION (5s, `0s` is
//! never) and read again if its time or size has changed. A and AAAA are
//! answered, and PTR unless `no_reverse`; a name `*.example.org` stands for
//! all names with one more label. What is not there is a failure, since there
//! is no SOA to deny it with, or goes on with `fallthrough`;
//! `fallthrough_unsupported` lets other types of names that are there go on
//! too.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corefile::{Dispenser, Error, Token, duration, number};

use self::file::HostsFile;
use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Next, Plugin, Serving};
use crate::wire::{Owner, RData, Rcode, Section, flags, rtype};
use crate::zones::Zones;

mod file;
mod table;
#[cfg(test)]
mod tests;

pub(super) static DEFINITION: Definition = Definition {
    name: "hosts",
    parse,
};

const TARGET: &str = "plugin/hosts";
const PROPERTIES: &[&str] = &[
    "ttl",
    "no_reverse",
    "reload",
    "fallthrough",
    "fallthrough_unsupported",
];

#[derive(Debug)]
struct HostsSpec {
    /// As in the Corefile, and the word behind it, for errors about the file.
    file: Option<(PathBuf, Token)>,
    zones: Zones,
    inline: String,
    ttl: u32,
    reverse: bool,
    reload: Duration,
    fallthrough: Zones,
    unsupported: bool,
}

fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut spec = HostsSpec {
        file: None,
        zones: Zones::default(),
        inline: String::new(),
        ttl: 3600,
        reverse: true,
        reload: Duration::from_secs(5),
        fallthrough: Zones::default(),
        unsupported: false,
    };
    let mut seen = false;
    while words.next() {
        if std::mem::replace(&mut seen, true) {
            return Err(words.once_err());
        }
        let args = words.remaining_args();
        let zones = match &args[..] {
            [] => &[],
            [file, zones @ ..] => {
                spec.file = words.token().map(|token| (file.into(), token.clone()));
                zones
            }
        };
        spec.zones = Zones::from_args(zones, block);
        while words.next_block() {
            spec.read_property(&mut words)?;
        }
    }
    if spec.unsupported && spec.fallthrough.is_empty() {
        return Err(words.err("fallthrough_unsupported requires fallthrough"));
    }
    Ok(Box::new(spec))
}

impl HostsSpec {
    fn read_property(&mut self, words: &mut Dispenser<'_>) -> Result<(), Error> {
        match words.val() {
            "fallthrough" => self.fallthrough = Zones::fallthrough(&words.remaining_args()),
            "fallthrough_unsupported" => {
                if !words.remaining_args().is_empty() {
                    return Err(words.arg_err());
                }
                self.unsupported = true;
            }
            "no_reverse" => self.reverse = false,
            "ttl" => {
                let Some(text) = words.remaining_args().into_iter().next() else {
                    return Err(words.err("ttl needs a time in second"));
                };
                let ttl =
                    number::atoi(text).map_err(|_| words.err("ttl needs a number of second"))?;
                self.ttl = match u32::try_from(ttl) {
                    Ok(ttl @ 1..=65535) => ttl,
                    _ => return Err(words.err("ttl provided is invalid").expecting("1 to 65535")),
                };
            }
            "reload" => {
                let [text] = words.remaining_args()[..] else {
                    return Err(words.err("reload needs a duration (zero seconds to disable)"));
                };
                let time = duration::parse(text)
                    .map_err(|_| words.err(format!("invalid duration for reload '{text}'")))?;
                let negative =
                    || words.err(format!("invalid negative duration for reload '{text}'"));
                self.reload = time.to_std().ok_or_else(negative)?;
            }
            first if self.fallthrough.is_empty() => {
                self.inline.push_str(first);
                for word in words.remaining_args() {
                    self.inline.push(' ');
                    self.inline.push_str(word);
                }
                self.inline.push('\n');
            }
            _ => return Err(words.unknown_property_err(PROPERTIES)),
        }
        Ok(())
    }
}

impl Spec for HostsSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let path = match &self.file {
            None => PathBuf::from("/etc/hosts"),
            Some((path, token)) => {
                let path = builder.settings.resolve(path);
                check(&path, token)?;
                path
            }
        };
        let hosts = Arc::new(Hosts {
            file: HostsFile::new(path, &self.inline, self.zones.clone(), self.reverse),
            zones: self.zones,
            ttl: self.ttl,
            fallthrough: self.fallthrough,
            unsupported: self.unsupported,
        });
        let read = hosts.clone();
        builder.on_startup(move || {
            read.file.update();
            Box::pin(std::future::ready(Ok(())))
        });
        if !self.reload.is_zero() {
            let hosts = hosts.clone();
            // The file is read at startup.
            builder.repeat(self.reload, move || hosts.file.update());
        }
        builder.push(hosts);
        Ok(())
    }
}

/// Says what is odd about the file; only one that cannot be looked at is refused.
fn check(path: &std::path::Path, token: &Token) -> Result<(), BuildError> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let quoted = corefile::quote(&shown.to_string());
            tracing::warn!(target: TARGET, "Hosts file {quoted} is a directory");
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!(target: TARGET, "File does not exist: {shown}");
        }
        Err(error) => {
            return Err(BuildError::new(format!(
                "{}:{} - Error during parsing: unable to access hosts file '{shown}': stat {shown}: {}",
                token.file(),
                token.line,
                corefile::io_message(&error),
            )));
        }
    }
    Ok(())
}

struct Hosts {
    file: HostsFile,
    zones: Zones,
    ttl: u32,
    fallthrough: Zones,
    unsupported: bool,
}

impl Plugin for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let code = match self.answer(exchange) {
            Outcome::Answered => Rcode::NOERROR,
            Outcome::Failed => Rcode::SERVFAIL,
            Outcome::Passed => return next.serve(exchange),
        };
        Box::pin(std::future::ready(Ok(code)))
    }
}

enum Outcome {
    Answered,
    /// There is no such name, and no SOA to say so with.
    Failed,
    Passed,
}

impl Hosts {
    fn answer(&self, exchange: &mut Exchange) -> Outcome {
        let name = exchange.request.name();
        let qtype = exchange.request.qtype();
        let table = self.file.load();
        if qtype == rtype::PTR {
            // Reverse names are answered outside of the zones too, and go on
            // where nothing is known, with `fallthrough` or without.
            let Some(address) = table::reverse_address(name).filter(|_| table.has_reverse()) else {
                return Outcome::Passed;
            };
            let names: Vec<_> = table.names(address).collect();
            if names.is_empty() {
                return Outcome::Passed;
            }
            let reply = exchange.answer();
            reply.set_flag(flags::AA, true);
            for name in names {
                reply.push(
                    Section::Answer,
                    Owner::Question,
                    self.ttl,
                    &RData::Ptr(name),
                );
            }
            return Outcome::Answered;
        }
        if !self.zones.contain(name) {
            return Outcome::Passed;
        }
        let wanted = matches!(qtype, rtype::A | rtype::AAAA);
        if !wanted && self.unsupported && self.fallthrough.contain(name) {
            return Outcome::Passed;
        }
        let (four, six) = (table.addresses_v4(name), table.addresses_v6(name));
        let known = four.iter().chain(&six).any(|packed| !packed.is_empty());
        if !known {
            return match self.fallthrough.contain(name) {
                true => Outcome::Passed,
                false => Outcome::Failed,
            };
        }
        let reply = exchange.answer();
        reply.set_flag(flags::AA, true);
        let packed = match qtype {
            rtype::A => four,
            rtype::AAAA => six,
            _ => [&[][..]; 2],
        };
        for packed in packed {
            reply.push_addresses(self.ttl, qtype, packed);
        }
        Outcome::Answered
    }
}
