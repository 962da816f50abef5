//! `secondary`: zones that are copied from a primary by AXFR and IXFR
//! (RFC 5936, RFC 1995), and followed by NOTIFY (RFC 1996).
//!
//! ```text
//! secondary [ZONES...] {
//!     transfer from ADDRESS...
//!     catalog [MEMBER-ZONES...]
//!     refresh DURATION
//!     fallthrough [ZONES...]
//! }
//! ```
//!
//! ZONES defaults to the block's zones. `transfer from` is required and may
//! stand several times: IP addresses, with a port or 53, that are tried in
//! order. `fallthrough` passes names that do not exist on, all of them or
//! those in ZONES. Nothing signs a transfer (TSIG).
//!
//! The zone is fetched at the start; until a primary has given it, and once it
//! has expired without any, the answer is SERVFAIL. A transfer that fails is
//! tried again after 250 ms, and then after twice as long up to 10 s. Later
//! the timers of the zone's SOA count: every refresh (with up to 5 s of
//! jitter) the primary is asked for differences, every retry (up to 2 s)
//! while it does not answer. A NOTIFY from an address in `transfer from` has
//! it asked at once; those from others are dropped.
//!
//! `refresh` takes the place of the SOA's refresh and, where that is longer,
//! of its retry; the jitter is then at most a quarter of it. The SOA of
//! `kubernetes` says two hours, so a node that is not told by NOTIFY should
//! have `refresh 30s` or so: up to date, that costs one connection and two
//! messages, and after a change the records that differ.
//!
//! A zone that `kubernetes` hands out has no names of pods
//! (`1-2-3-4.NAMESPACE.pod.ZONE`), no PTR, no `dns-version` and nothing by
//! topology zone: where those are asked for, `fallthrough pod.ZONE` leads to
//! a `forward` to the cluster DNS. Transfers through an address that several
//! primaries share (the cluster DNS Service) are right whichever answers, and
//! stay incremental as long as it is the same one: give that Service
//! `sessionAffinity: ClientIP`, or name the primaries one by one.
//!
//! `catalog` takes the zones for catalogs (RFC 9432): the zones that they list
//! are served too, from the same primaries and with the same `refresh`, eight
//! transfers a catalog at a time. MEMBER-ZONES says which may be listed, these
//! and what is below them; without it the catalog decides alone. A block only
//! gets the queries for its own zones, so it is best one for `.`. A zone of
//! this directive, or of another catalog, is not replaced, unless that
//! catalog's `coo` gives it away; its copy then stays until the new primaries
//! have given theirs, if it has the same ID in both. With another ID a zone
//! begins anew. Other properties, groups among them, mean nothing. A catalog
//! that is broken or of another version than 2 is a failed transfer: the last
//! good one stays in force, and a catalog that expires takes no zone along.
//! A reload that changes any zone of the directive, or what is said of one, has
//! all members fetched anew.
//!
//! Answers are live: no cache keeps them, a change shows at once. What a cache
//! has kept of a name before its zone came into a catalog stays for its TTL.

#[cfg(fuzzing)]
pub use incoming::fuzz as fuzz_transfer;

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::keeper::{Keeper, Role};
use self::members::Catalogs;
use super::unasked::Unasked;
use super::zone::{Lookup, Outcome};
use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{self, Exchange, Next, Plugin, Served, Serving, Transferer};
use crate::status::Status;
use crate::wire::{Ede, Name, NameBuf, Rcode, Record, flags, opcode, rtype};
use crate::zones::Zones;

mod catalog;
mod incoming;
mod keeper;
mod members;
mod primary;
mod spec;
#[cfg(test)]
mod tests;

pub(super) static DEFINITION: Definition = Definition {
    name: "secondary",
    parse,
};

const TARGET: &str = "plugin/secondary";
/// How long the start waits for zones that are not there yet.
const START: Duration = Duration::from_millis(500);
/// Aliases that lead from zone to zone are followed this often, as in CoreDNS.
const MAX_DEPTH: u8 = 8;

const NOT_READY: Ede = Ede::new(Ede::NOT_READY, "no primary has given the zone yet");
/// RFC 8914 section 4.25: Invalid Data.
const EXPIRED: Ede = Ede::new(24, "the zone has expired");

/// What the user wrote: zones and where each comes from.
#[derive(Debug, Default)]
struct SecondarySpec {
    zones: Vec<Source>,
    fall: Zones,
}

/// A zone and where it comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Source {
    /// In lower case.
    zone: NameBuf,
    primaries: Vec<SocketAddr>,
    /// In the place of the SOA's.
    refresh: Option<Duration>,
    /// It is a catalog of zones at or below these; none means all.
    catalog: Option<Zones>,
}

fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    spec::parse(directive, block).map(|spec| Box::new(spec) as Box<dyn Spec>)
}

/// A zone that is followed, and a token that every block that uses it has a copy of.
struct Followed {
    keeper: Arc<Keeper>,
    /// Ends with it, too, when no configuration ever had it in force.
    task: AbortOnDropHandle<()>,
    token: Arc<()>,
}

impl Spec for SecondarySpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        if builder.settings.is_offline() {
            let zones: Vec<_> = self.zones.iter().map(|zone| zone.zone.clone()).collect();
            let takes = move |name: Name<'_>| zones.iter().any(|it| name.is_under(it.name()));
            builder.push(Arc::new(Unasked::new(DEFINITION.name, takes)));
            return Ok(());
        }
        let mut held = Vec::new();
        let catalogs = self.catalogs(builder)?;
        for source in &self.zones {
            // A reload that changes nothing here goes on with the same copy.
            let control = builder.control;
            let listing = catalogs.clone().filter(|_| source.catalog.is_some());
            let (key, role) = match listing.clone() {
                Some(catalogs) => {
                    let key = format!("secondary {source:?} among {:?}", self.zones);
                    (key, Role::Catalog(catalogs))
                }
                None => (format!("secondary {source:?}"), Role::Plain),
            };
            let followed = builder.kept.take_or(&key, || {
                let keeper = Arc::new(Keeper::new(source.clone(), role));
                let task = AbortOnDropHandle::new(control.spawn(keeper.clone().run()));
                let token = Arc::new(());
                Ok::<_, BuildError>(Arc::new(Followed {
                    keeper,
                    task,
                    token,
                }))
            })?;
            // Lost with the hook when the configuration never comes into force.
            let token = Arc::clone(&followed.token);
            let keeper = Arc::clone(&followed.keeper);
            held.push(followed.clone());
            let members = listing.clone();
            builder.on_startup(move || {
                Box::pin(async move {
                    let loaded = async {
                        keeper.wait_loaded().await;
                        for member in members.iter().flat_map(|members| members.keepers()) {
                            member.wait_loaded().await;
                        }
                    };
                    let _ = tokio::time::timeout(START, loaded).await;
                    Ok(())
                })
            });
            builder.on_shutdown(move || {
                drop(token);
                if Arc::strong_count(&followed.token) == 1 {
                    followed.task.abort();
                    if let Some(catalogs) = listing {
                        catalogs.stop();
                    }
                }
                Box::pin(std::future::ready(Ok(())))
            });
        }
        builder.push(Arc::new(Secondary::new(held, catalogs, self.fall)));
        Ok(())
    }
}

impl SecondarySpec {
    /// What the catalogs of the block have in common, if there are any. Members
    /// stay over a reload that changes none of the zones.
    fn catalogs(&self, builder: &mut Builder<'_>) -> Result<Option<Arc<Catalogs>>, BuildError> {
        if self.zones.iter().all(|source| source.catalog.is_none()) {
            return Ok(None);
        }
        let control = builder.control;
        let key = format!("secondary catalogs {:?}", self.zones);
        let make = || Ok(Arc::new(Catalogs::new(self.zones.clone(), control.clone())));
        builder.kept.take_or(&key, make).map(Some)
    }
}

/// The plugin.
struct Secondary {
    /// Longest zone first.
    keepers: Vec<Arc<Keeper>>,
    catalogs: Option<Arc<Catalogs>>,
    /// Zones are followed while somebody has these.
    _held: Vec<Arc<Followed>>,
    fall: Zones,
    /// The zones of the Corefile that do not fall through as a whole.
    live: Vec<NameBuf>,
    /// What falls through within them.
    passed: Vec<NameBuf>,
}

/// The zone that a name lies in.
enum Found<'a> {
    /// The Corefile names it: by far the most, and a query need not count them.
    Configured(&'a Keeper),
    /// A catalog lists it.
    Member(Arc<Keeper>),
}

impl Deref for Found<'_> {
    type Target = Keeper;

    fn deref(&self) -> &Keeper {
        match self {
            Self::Configured(keeper) => keeper,
            Self::Member(keeper) => keeper,
        }
    }
}

/// What is left to do when the zone has said all it can.
enum Step {
    Done,
    PassOn,
    /// An alias leads to this name.
    Follow(Box<NameBuf>),
    Fail(Option<Ede>),
}

impl Secondary {
    fn new(held: Vec<Arc<Followed>>, catalogs: Option<Arc<Catalogs>>, fall: Zones) -> Self {
        let keepers = held.iter().map(|followed| followed.keeper.clone());
        let mut keepers: Vec<_> = keepers.collect();
        keepers.sort_by_key(|keeper| std::cmp::Reverse(keeper.origin().wire().len()));
        let zones = keepers.iter().map(|keeper| keeper.origin());
        let live = zones.filter(|zone| !fall.contain(*zone));
        Self {
            live: live.map(Name::to_buf).collect(),
            passed: fall.iter().cloned().collect(),
            keepers,
            catalogs,
            _held: held,
            fall,
        }
    }

    /// The longest zone that the name lies in.
    fn keeper(&self, name: Name<'_>) -> Option<Found<'_>> {
        let mut keepers = self.keepers.iter();
        let own = keepers.find(|keeper| name.is_under(keeper.origin()));
        let than = own.map_or(0, |keeper| keeper.origin().wire().len());
        let member = self.catalogs.as_ref().and_then(|it| it.find(name, than));
        match member {
            Some(member) => Some(Found::Member(member)),
            None => own.map(|keeper| Found::Configured(keeper)),
        }
    }

    /// All zones as they are now.
    fn zones(&self) -> impl Iterator<Item = Arc<Keeper>> {
        let members = self.catalogs.iter().flat_map(|it| it.keepers());
        self.keepers.iter().cloned().chain(members)
    }

    fn answer(&self, exchange: &mut Exchange, keeper: &Keeper) -> Step {
        let depth = exchange.depth;
        let zone = keeper.zone();
        let Some(zone) = &*zone else {
            return Step::Fail(Some(NOT_READY));
        };
        if keeper.expired() {
            return Step::Fail(Some(EXPIRED));
        }
        if depth > MAX_DEPTH {
            return Step::Fail(None);
        }
        let (request, reply) = exchange.request_and_answer();
        reply.set_flag(flags::AA, true);
        reply.set_live();
        match Lookup::new(zone, request).answer(reply) {
            Outcome::NoName if self.fall.contain(request.name()) => Step::PassOn,
            Outcome::Answered | Outcome::NoName => Step::Done,
            Outcome::Follow(target) => Step::Follow(target),
            Outcome::Failed => Step::Fail(None),
        }
    }

    async fn follow(
        &self,
        exchange: &mut Exchange,
        keeper: Found<'_>,
        target: Box<NameBuf>,
    ) -> Served {
        let qtype = exchange.request.qtype();
        let found = exchange.lookup(target.name(), qtype).await;
        let zone = keeper.zone();
        let (request, reply) = exchange.parts_mut();
        if let (Some(zone), Some(reply)) = (&*zone, reply) {
            Lookup::new(zone, request).complete(reply, found.as_ref());
        }
        Ok(Rcode::NOERROR)
    }

    /// Hears that the zone has changed, from a primary.
    fn hear(exchange: &mut Exchange, keeper: &Keeper) {
        let from = exchange.client.ip().to_canonical();
        let zone = keeper.origin();
        if !keeper.is_primary(from) {
            tracing::info!(target: TARGET, "Dropping notify from {from} for {zone}");
            return;
        }
        exchange.answer().set_flag(flags::AA, true);
        tracing::debug!(target: TARGET, "Notify from {from} for {zone}: checking transfer");
        keeper.notify();
    }
}

impl Plugin for Secondary {
    fn name(&self) -> &'static str {
        "secondary"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let Some(keeper) = self.keeper(exchange.request.name()) else {
            return next.serve(exchange);
        };
        if matches!(exchange.request.qtype(), rtype::AXFR | rtype::IXFR) {
            return Box::pin(std::future::ready(Ok(Rcode::REFUSED)));
        }
        if exchange.request.opcode() == opcode::NOTIFY {
            Self::hear(exchange, &keeper);
            return chain::done();
        }
        match self.answer(exchange, &keeper) {
            Step::Done => chain::done(),
            Step::PassOn => {
                exchange.discard();
                next.serve(exchange)
            }
            Step::Follow(target) => Box::pin(self.follow(exchange, keeper, target)),
            Step::Fail(why) => {
                let reply = exchange.answer();
                reply.set_rcode(Rcode::SERVFAIL);
                reply.set_live();
                if let Some(why) = why {
                    reply.set_ede(why);
                }
                chain::done()
            }
        }
    }

    fn transferer(&self) -> Option<&dyn Transferer> {
        Some(self)
    }

    fn status(&self) -> Status {
        Status {
            zones: self.zones().map(|keeper| keeper.status()).collect(),
            ..Status::default()
        }
    }

    fn live_zones(&self) -> &[NameBuf] {
        &self.live
    }

    fn passed_zones(&self) -> &[NameBuf] {
        &self.passed
    }
}

impl Transferer for Secondary {
    fn transfer(
        &self,
        zone: Name<'_>,
        serial: Option<u32>,
        _: IpAddr,
    ) -> Option<Box<dyn Iterator<Item = Record> + Send + '_>> {
        let keeper = self.keeper(zone)?;
        let zone = keeper.zone_of(zone)?;
        match serial {
            Some(serial) if serial != 0 && serial == zone.soa().serial => {
                Some(Box::new(std::iter::once(zone.soa_record())))
            }
            _ => Some(Box::new(zone.transfer())),
        }
    }

    fn changing(&self) -> Vec<(NameBuf, watch::Receiver<Option<u32>>)> {
        let keepers = self.zones();
        keepers
            .map(|keeper| (keeper.origin().to_buf(), keeper.serial()))
            .collect()
    }

    fn regrouped(&self) -> Option<watch::Receiver<()>> {
        self.catalogs.as_ref().map(|catalogs| catalogs.changed())
    }
}
