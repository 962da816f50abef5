//! `loadbalance`: changes the order of addresses from reply to reply.
//!
//! ```text
//! loadbalance [round_robin | weighted WEIGHTFILE] {
//!     reload DURATION
//!     prefer CIDR...
//! }
//! ```
//!
//! `round_robin`, the default, shuffles the A, AAAA and MX records of each
//! section; CNAMEs go before them, what is neither between. `weighted` puts
//! one address in front, chosen by the weights in WEIGHTFILE, which is read
//! again every DURATION (30s, `0` is never; `reload` goes with `weighted`
//! only). `prefer` puts addresses of these networks first and goes with
//! `round_robin` only. The last `loadbalance` of a block counts.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corefile::{Dispenser, Error, duration, quote};
use ipnet::IpNet;
use smallvec::SmallVec;

use self::weights::Weights;
use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Plugin, Served};
use crate::cidr;
use crate::wire::{Packed, Rcode, RecordView, Reply, Section, rtype};

mod weights;

pub(super) static DEFINITION: Definition = Definition {
    name: "loadbalance",
    parse,
};

thread_local! {
    static RANDOM: RefCell<fastrand::Rng> =
        RefCell::new(fastrand::Rng::with_seed(RandomState::new().hash_one(())));
}

#[derive(Debug, Default)]
struct LoadbalanceSpec {
    /// The weight file; it is read even where a later `round_robin` counts.
    file: Option<(PathBuf, Duration)>,
    weighted: bool,
    prefer: Vec<IpNet>,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut spec = LoadbalanceSpec::default();
    while words.next() {
        match words.remaining_args()[..] {
            [] | ["round_robin"] => spec.weighted = false,
            ["round_robin", ..] => return Err(words.err("unknown property for round_robin")),
            ["weighted"] => return Err(words.err("missing weight file argument")),
            ["weighted", file] => {
                spec = LoadbalanceSpec {
                    file: Some((file.into(), read_reload(&mut words)?)),
                    weighted: true,
                    prefer: Vec::new(),
                };
            }
            ["weighted", ..] => return Err(words.err("unexpected argument(s)")),
            [policy, ..] => {
                let error = words.plain_err(format!("unknown policy: {policy}"));
                return Err(error.suggest(&["round_robin", "weighted"]));
            }
        }
        while words.next_block() {
            if words.val() != "prefer" {
                return Err(words.unknown_property_err(&["prefer"]));
            }
            for text in words.remaining_args() {
                let invalid = || {
                    let text = quote(text);
                    let reason = format!("invalid CIDR address: {}", text.trim_matches('"'));
                    words.err(format!("invalid CIDR {text}: {reason}"))
                };
                spec.prefer.push(cidr::parse(text).ok_or_else(invalid)?);
            }
        }
    }
    Ok(Box::new(spec))
}

/// The block of `weighted`.
fn read_reload(words: &mut Dispenser<'_>) -> Result<Duration, Error> {
    let mut reload = Duration::from_secs(30);
    while words.next_block() {
        if words.val() != "reload" {
            return Err(words.unknown_property_err(&["reload"]));
        }
        let text = match words.remaining_args()[..] {
            [] => return Err(words.err("reload duration value is missing")),
            [text] => text,
            _ => return Err(words.err("unexpected argument")),
        };
        // CoreDNS takes a negative time and panics when it starts.
        let time = duration::parse(text).ok().and_then(|time| time.to_std());
        let invalid = || words.err(format!("invalid reload duration '{text}'"));
        reload = time.ok_or_else(invalid)?;
    }
    Ok(reload)
}

impl Spec for LoadbalanceSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let mut weights = None;
        if let Some((file, reload)) = self.file {
            let file = Arc::new(Weights::new(builder.settings.resolve(file)));
            file.clone().follow(reload, builder);
            weights = self.weighted.then_some(file);
        }
        builder.push(Arc::new(Loadbalance {
            weights,
            prefer: self.prefer,
        }));
        Ok(())
    }
}

struct Loadbalance {
    /// `None`: round robin.
    weights: Option<Arc<Weights>>,
    prefer: Vec<IpNet>,
}

impl Plugin for Loadbalance {
    fn name(&self) -> &'static str {
        "loadbalance"
    }

    fn reviews(&self) -> bool {
        true
    }

    fn review(&self, exchange: &mut Exchange, _: &Served) {
        self.balance(exchange);
    }
}

const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];

/// The indices of a section's records in the order that they shall have.
type Order = SmallVec<[u16; 32]>;

impl Loadbalance {
    fn balance(&self, exchange: &mut Exchange) {
        let qtype = exchange.request.qtype();
        let Some(reply) = exchange.reply_mut() else {
            return;
        };
        if reply.rcode() != Rcode::NOERROR || matches!(qtype, rtype::AXFR | rtype::IXFR) {
            return;
        }
        // Most replies have one record.
        if !SECTIONS.iter().any(|section| reply.count(*section) > 1) {
            return;
        }
        match &self.weights {
            None => {
                for section in SECTIONS {
                    if reply.count(section) > 1 {
                        shuffle(reply, section);
                    }
                }
            }
            Some(weights) if matches!(qtype, rtype::A | rtype::AAAA | rtype::SRV) => {
                put_heavy_first(reply, Section::Answer, weights);
                put_heavy_first(reply, Section::Additional, weights);
            }
            Some(_) => {}
        }
        if !self.prefer.is_empty() {
            for section in [Section::Answer, Section::Additional] {
                put_preferred_first(reply, section, &self.prefer);
            }
        }
    }
}

/// Where a record stands among others, whichever the policy.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    Cname,
    Other,
    Address,
    Mx,
}

impl Rank {
    fn of(kind: u16) -> Self {
        match kind {
            rtype::CNAME => Self::Cname,
            rtype::A | rtype::AAAA => Self::Address,
            rtype::MX => Self::Mx,
            _ => Self::Other,
        }
    }
}

/// A section's records by rank, and where in that order the addresses and the
/// MX records stand.
fn ranked(reply: &Reply, section: Section) -> (Order, [Range<usize>; 2]) {
    let ranks: SmallVec<[Rank; 32]> = reply
        .section(section)
        .map(|view| Rank::of(view.rtype))
        .collect();
    let mut order: Order = (0..ranks.len() as u16).collect();
    if !ranks.is_sorted() {
        order.sort_by_key(|at| ranks.get(usize::from(*at)).copied());
    }
    let range = |rank: Rank| {
        let before = ranks.iter().filter(|other| **other < rank).count();
        before..before + ranks.iter().filter(|other| **other == rank).count()
    };
    let ranges = [Rank::Address, Rank::Mx].map(range);
    (order, ranges)
}

fn shuffle(reply: &mut Reply, section: Section) {
    if let Some(packed) = reply.packed_addresses(section) {
        return RANDOM.with_borrow_mut(|random| match packed {
            Packed::A(records) => random.shuffle(records),
            Packed::Aaaa(records) => random.shuffle(records),
        });
    }
    let (mut order, ranges) = ranked(reply, section);
    RANDOM.with_borrow_mut(|random| {
        for range in ranges {
            if let Some(part) = order.get_mut(range) {
                random.shuffle(part);
            }
        }
    });
    reply.reorder(section, &order);
}

fn put_heavy_first(reply: &mut Reply, section: Section, weights: &Weights) {
    let (mut order, [addresses, _]) = ranked(reply, section);
    if addresses.is_empty() {
        return;
    }
    let table = weights.load();
    let weights: SmallVec<[u8; 32]> = reply
        .section(section)
        .filter(|view| Rank::of(view.rtype) == Rank::Address)
        .map(|view| table.weight(&view))
        .collect();
    let sum: u32 = weights.iter().copied().map(u32::from).sum();
    let mut left = RANDOM.with_borrow_mut(|random| random.u32(..sum));
    let heavy = weights.iter().position(|weight| {
        let here = left < u32::from(*weight);
        left = left.saturating_sub((*weight).into());
        here
    });
    if let Some(heavy) = heavy
        && let Some(part) = order.get_mut(addresses)
    {
        part.swap(0, heavy);
    }
    reply.reorder(section, &order);
}

fn put_preferred_first(reply: &mut Reply, section: Section, prefer: &[IpNet]) {
    if reply.count(section) < 2 {
        return;
    }
    let places: SmallVec<[(u8, usize); 32]> = reply
        .section(section)
        .map(|view| match Rank::of(view.rtype) {
            Rank::Cname => (0, 0),
            Rank::Address => (1, preference(&view, prefer)),
            Rank::Mx => (2, 0),
            Rank::Other => (3, 0),
        })
        .collect();
    let mut order: Order = (0..places.len() as u16).collect();
    order.sort_by_key(|at| places.get(usize::from(*at)).copied());
    reply.reorder(section, &order);
}

/// The first of the networks that an address is in; behind them all if in none.
fn preference(view: &RecordView<'_>, prefer: &[IpNet]) -> usize {
    let within = |address: IpAddr| prefer.iter().position(|net| net.contains(&address));
    address(view).and_then(within).unwrap_or(prefer.len())
}

/// The address of an A or AAAA record.
fn address(view: &RecordView<'_>) -> Option<IpAddr> {
    let address: IpAddr = match view.rtype {
        rtype::A => <[u8; 4]>::try_from(view.rdata()).ok()?.into(),
        rtype::AAAA => <[u8; 16]>::try_from(view.rdata()).ok()?.into(),
        _ => return None,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
