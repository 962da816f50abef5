//! `acl`: says who may ask for what.
//!
//! ```text
//! acl [ZONES...] {
//!     ACTION [type QTYPE...] [net SOURCE...]
//! }
//! ```
//!
//! ACTION is `allow`, `block` (REFUSED with EDE 15), `filter` (an empty
//! NOERROR with EDE 17) or `drop` (no answer at all). Without `type`, or with
//! `*`, it is for all types; without `net`, or with `*`, for all clients.
//! SOURCE is a network or an address. In a block the first line that fits a
//! query decides; where none does, the next `acl` block is asked, and what no
//! block decides is allowed.

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use corefile::{Dispenser, Error, quote};
use ipnet::IpNet;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Next, Plugin, Served, Serving};
use crate::cidr::{self, Networks};
use crate::metrics::{ByServer, Counter, Family};
use crate::wire::{Ede, Edns, Rcode, rtype};
use crate::zones::Zones;

pub(super) static DEFINITION: Definition = Definition { name: "acl", parse };

type Counters = LazyLock<Family<Counter>>;

const LABELS: &[&str] = &["server", "zone", "view"];

static BLOCKED: Counters = LazyLock::new(|| {
    let help = "Counter of DNS requests being blocked.";
    Family::counters("coredns_acl_blocked_requests_total", help, LABELS)
});
static FILTERED: Counters = LazyLock::new(|| {
    let help = "Counter of DNS requests being filtered.";
    Family::counters("coredns_acl_filtered_requests_total", help, LABELS)
});
static DROPPED: Counters = LazyLock::new(|| {
    let help = "Counter of DNS requests being dropped.";
    Family::counters("coredns_acl_dropped_requests_total", help, LABELS)
});
static ALLOWED: Counters = LazyLock::new(|| {
    let help = "Counter of DNS requests being allowed.";
    Family::counters(
        "coredns_acl_allowed_requests_total",
        help,
        &["server", "view"],
    )
});

/// The `acl` blocks of a server block, in order.
#[derive(Debug, Default)]
struct Acl {
    rules: Vec<Rule>,
    series: ByServer<Series>,
}

#[derive(Debug)]
struct Rule {
    zones: Zones,
    policies: Vec<Policy>,
    /// How many zones the rules before it have.
    first_zone: usize,
}

#[derive(Debug)]
struct Policy {
    action: Action,
    /// `None`: all types.
    qtypes: Option<Vec<u16>>,
    sources: Networks,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Allow,
    Deny(Denial),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Denial {
    Block,
    Filter,
    Drop,
}

const ACTIONS: &[&str] = &["allow", "block", "filter", "drop"];

fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut acl = Acl::default();
    let mut first_zone = 0;
    while words.next() {
        let zones = Zones::from_args(&words.remaining_args(), block);
        let mut policies = Vec::new();
        while words.next_block() {
            policies.push(read_policy(&mut words)?);
        }
        let count = zones.iter().count();
        acl.rules.push(Rule {
            zones,
            policies,
            first_zone,
        });
        first_zone += count;
    }
    Ok(Box::new(acl))
}

fn read_policy(words: &mut Dispenser<'_>) -> Result<Policy, Error> {
    let action = match words.val().to_lowercase().as_str() {
        "allow" => Action::Allow,
        "block" => Action::Deny(Denial::Block),
        "filter" => Action::Deny(Denial::Filter),
        "drop" => Action::Deny(Denial::Drop),
        _ => {
            let word = quote(words.val());
            let expected = "expect 'allow', 'block', 'filter' or 'drop'";
            let error = words.err(format!("unexpected token {word}; {expected}"));
            return Err(error.suggest(ACTIONS));
        }
    };
    let args = words.remaining_args();
    let mut rest = &args[..];
    let (mut types, mut nets) = (None, None);
    while let [section, tail @ ..] = rest {
        if !is_section(section) {
            let error = format!("unexpected token {}; expect 'type | net'", quote(section));
            return Err(words.err(error));
        }
        let len = tail
            .iter()
            .position(|word| is_section(word))
            .unwrap_or(tail.len());
        let (tokens, after) = tail.split_at_checked(len).unwrap_or((tail, &[]));
        let section = section.to_lowercase();
        if tokens.is_empty() {
            let error = format!("no token specified in {} section", quote(&section));
            return Err(words.err(error));
        }
        match section.as_str() {
            "type" => read_types(words, types.get_or_insert_default(), tokens)?,
            _ => read_networks(words, nets.get_or_insert_default(), tokens)?,
        }
        rest = after;
    }
    let Listed { all, items } = types.unwrap_or_else(Listed::all);
    let qtypes = (!all).then_some(items);
    let Listed { all, items } = nets.unwrap_or_else(Listed::all);
    let sources = if all {
        Networks::all()
    } else {
        items.into_iter().collect()
    };
    Ok(Policy {
        action,
        qtypes,
        sources,
    })
}

/// What a section lists, until a `*`.
struct Listed<T> {
    all: bool,
    items: Vec<T>,
}

impl<T> Listed<T> {
    fn all() -> Self {
        Self {
            all: true,
            items: Vec::new(),
        }
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            all: false,
            items: Vec::new(),
        }
    }
}

fn is_section(word: &str) -> bool {
    matches!(word.to_lowercase().as_str(), "type" | "net")
}

fn read_types(
    words: &Dispenser<'_>,
    listed: &mut Listed<u16>,
    tokens: &[&str],
) -> Result<(), Error> {
    for &token in tokens {
        match token {
            // `None` is CoreDNS's name for what matches all.
            "*" | "None" => listed.all = true,
            "NSAP-PTR" => listed.items.push(23),
            "Reserved" => listed.items.push(u16::MAX),
            _ => match rtype::from_mnemonic(token) {
                Some(qtype) => listed.items.push(qtype),
                None => {
                    let error = format!("unexpected token {}; expect legal QTYPE", quote(token));
                    return Err(words
                        .err(error)
                        .expecting("record types in capital letters"));
                }
            },
        }
        if token == "*" {
            break;
        }
    }
    Ok(())
}

fn read_networks(
    words: &Dispenser<'_>,
    listed: &mut Listed<IpNet>,
    tokens: &[&str],
) -> Result<(), Error> {
    for &token in tokens {
        if token == "*" {
            listed.all = true;
            break;
        }
        let text = match token {
            net if net.contains('/') => net.to_owned(),
            address if address.contains(':') => format!("{address}/128"),
            address => format!("{address}/32"),
        };
        let illegal = || words.err(format!("illegal CIDR notation {}", quote(&text)));
        listed.items.push(cidr::parse(&text).ok_or_else(illegal)?);
    }
    Ok(())
}

impl Spec for Acl {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.push(Arc::new(*self));
        Ok(())
    }
}

impl Plugin for Acl {
    fn name(&self) -> &'static str {
        "acl"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let (server, view) = match &exchange.block {
            Some(block) => (block.server.as_str(), block.view.as_str()),
            None => ("", ""),
        };
        let series = self.series.of(server, |server| self.series(server, view));
        match self.judge(exchange) {
            None => {
                series.allowed().inc();
                next.serve(exchange)
            }
            Some((denial, zone)) => {
                if let Some(counter) = series.denied(denial, zone) {
                    counter.inc();
                }
                Box::pin(std::future::ready(deny(exchange, denial)))
            }
        }
    }
}

impl Acl {
    /// How the query is denied, and where among all zones the one is that it was denied for.
    fn judge(&self, exchange: &Exchange) -> Option<(Denial, usize)> {
        let client = exchange.client.ip();
        let qtype = exchange.request.qtype();
        for rule in &self.rules {
            let Some(zone) = rule.zones.position(exchange.request.name()) else {
                continue;
            };
            let fits = |policy: &&Policy| {
                policy
                    .qtypes
                    .as_ref()
                    .is_none_or(|qtypes| qtypes.contains(&qtype))
                    && policy.sources.contain(client)
            };
            match rule.policies.iter().find(fits).map(|policy| policy.action) {
                Some(Action::Allow) => return None,
                Some(Action::Deny(denial)) => return Some((denial, rule.first_zone + zone)),
                None => {}
            }
        }
        None
    }

    fn series(&self, server: &str, view: &str) -> Series {
        let zones = self.rules.iter().flat_map(|rule| rule.zones.iter());
        Series {
            server: server.to_owned(),
            view: view.to_owned(),
            allowed: OnceLock::new(),
            denied: zones
                .map(|zone| (zone.to_string(), Default::default()))
                .collect(),
        }
    }
}

fn deny(exchange: &mut Exchange, denial: Denial) -> Served {
    let (rcode, code) = match denial {
        Denial::Drop => {
            exchange.discard();
            return Ok(Rcode::NOERROR);
        }
        Denial::Block => (Rcode::REFUSED, Ede::BLOCKED),
        Denial::Filter => (Rcode::NOERROR, Ede::FILTERED),
    };
    let reply = exchange.answer();
    reply.set_rcode(rcode);
    // Part of the reply and not set by `set_ede`: clients without EDNS get it too.
    let edns = reply.edns_or_insert(4096);
    edns.flags = Edns::DO;
    Ede::new(code, "").write(edns);
    Ok(Rcode::NOERROR)
}

/// One server's series; each appears with its first use.
struct Series {
    server: String,
    view: String,
    allowed: OnceLock<Counter>,
    /// By zone, in the order of the rules, and by what was done.
    denied: Vec<(String, [OnceLock<Counter>; 3])>,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Series {
    fn allowed(&self) -> &Counter {
        self.allowed
            .get_or_init(|| ALLOWED.with(&[&self.server, &self.view]))
    }

    fn denied(&self, denial: Denial, zone: usize) -> Option<&Counter> {
        let (zone, [blocked, filtered, dropped]) = self.denied.get(zone)?;
        let (cell, family) = match denial {
            Denial::Block => (blocked, &BLOCKED),
            Denial::Filter => (filtered, &FILTERED),
            Denial::Drop => (dropped, &DROPPED),
        };
        Some(cell.get_or_init(|| family.with(&[&self.server, zone, &self.view])))
    }
}

#[cfg(test)]
mod tests;
