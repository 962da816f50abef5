//! `cut`: what is denied covers everything beneath it (RFC 8020).
//!
//! A search list makes clients ask for names that nobody has asked for
//! before, such as `api.stripe.com.shop.svc.cluster.local`, and that they are
//! denied says nothing of the names above. So those are asked for by
//! themselves, from the top, as QNAME minimisation does (RFC 9156): first
//! whether there is an `svc` in the zone at all, and then each name that
//! stands where a namespace or a Service would. Once that is denied, what is
//! beneath it needs no upstream for as long as the denial lasts.
//!
//! Not every server that is asked keeps RFC 8020, so there is no cut at names
//! with a `_`, and an answer from beneath a place proves that it must not be
//! one: that is remembered for an hour. While a cut lasts no such answer
//! would be seen; the first query behind its end goes through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::{Asked, Cache, Found};
use crate::chain::{Exchange, Next, Rest};
use crate::clock::{self, Tick};
use crate::denial::{Denial as Cause, is_top_level};
use crate::response::Source;
use crate::wire::{
    Ede, Name, NameBuf, Owner, RData, Rcode, Record, Reply, Request, Section, class, flags, opcode,
    rtype,
};

/// Places that are remembered; as many as a large cluster has Services in use.
const CAPACITY: usize = 8192;
/// Places that are asked for at the same time: clients choose the names.
const ASKING: usize = 64;
/// How long a place that exists is left alone.
const EXISTS: Duration = Duration::from_secs(3600);
/// How long a zone without `svc`, which is no cluster's, is left alone.
const FOREIGN: Duration = Duration::from_secs(300);
/// How long a place is left alone that is asked for, or gave no clear answer.
const WAIT: Duration = Duration::from_secs(10);

/// Domains of a cluster's zone in which names are no search-path names:
/// `ns.dns` is the target of the zone's NS record.
const SPARED: [&[u8]; 2] = [b"pod", b"dns"];

/// RFC 8914: made from what is known of another name.
const SYNTHESIZED: Ede = Ede::new(29, "a name above is denied (RFC 8020)");

/// What is known of the places in some zones where there may be a cut.
pub(super) struct Cuts {
    zones: Vec<NameBuf>,
    places: Mutex<HashMap<Box<[u8]>, Place>>,
    /// Whoever asks for places holds it.
    asking: Arc<()>,
}

/// One place, for some time.
struct Place {
    known: Known,
    since: Tick,
    life: Duration,
}

enum Known {
    /// Somebody asks, or asked in vain.
    Asking,
    /// It is there, or something beneath it.
    Exists,
    /// It is not.
    Denied(Arc<Denial>),
}

/// What a denial said.
struct Denial {
    soa: Record,
    /// Whether recursion was available.
    recursion: bool,
}

impl Place {
    fn new(known: Known, life: Duration) -> Self {
        Self {
            known,
            since: clock::now(),
            life,
        }
    }

    /// Whole seconds that it is good for; 0 when it is over.
    fn left(&self, now: Tick) -> u32 {
        let left = self
            .life
            .as_secs()
            .saturating_sub(now.since(self.since).as_secs());
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

/// A denial, and what it means for a name beneath it.
struct Above {
    denial: Arc<Denial>,
    /// What is left of its time, in seconds.
    ttl: u32,
    cause: Cause,
    /// What stands in front of the domain above the denied name, in octets:
    /// what the search list was appended to.
    relative: usize,
}

impl Cuts {
    pub(super) fn new(mut zones: Vec<NameBuf>) -> Self {
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.wire().len()));
        Self {
            zones,
            places: Mutex::default(),
            asking: Arc::default(),
        }
    }

    /// Answers a query beneath a place that is denied. Whether it did.
    pub(super) fn answer(&self, exchange: &mut Exchange, now: Tick) -> bool {
        let Some(above) = self.denial_above(&exchange.request, now) else {
            return false;
        };
        let denial = above.denial;
        let reply = exchange.answer();
        reply.set_rcode(Rcode::NXDOMAIN);
        reply.set_source(Source::Cache);
        reply.set_denial(above.cause);
        // As all that comes from this cache.
        reply.set_flag(flags::AA, true);
        reply.set_flag(flags::RA, denial.recursion);
        let soa = &denial.soa;
        let (owner, rdata) = (
            Owner::Name(soa.owner.name()),
            RData::Other(soa.rtype, &soa.rdata),
        );
        reply.push_class(Section::Authority, owner, soa.class, above.ttl, &rdata);
        reply.set_ede(SYNTHESIZED);
        true
    }

    /// To how many octets of a name that is denied here a search list was
    /// appended.
    pub(super) fn relative(&self, request: &Request) -> Option<usize> {
        let above = self.denial_above(request, clock::now())?;
        (above.relative > 0).then_some(above.relative)
    }

    /// The denial of a name above that of the query.
    fn denial_above(&self, request: &Request, now: Tick) -> Option<Above> {
        // What is made here has no proof that a validator would take.
        if !is_plain(request) || request.dnssec_ok() {
            return None;
        }
        let name = request.name();
        let zone = self.zone_of(name)?;
        let table = self.lock();
        places(name, zone).into_iter().find_map(|above| {
            let place = table.get(above.wire())?;
            match (&place.known, place.left(now)) {
                (Known::Denied(denial), ttl @ 1..) => Some(Above {
                    denial: denial.clone(),
                    ttl,
                    cause: cause(name, above, zone),
                    relative: above
                        .parent()
                        .map_or(0, |parent| name.wire().len() - parent.wire().len()),
                }),
                _ => None,
            }
        })
    }

    /// Takes note that there is something at `name`: nothing above it is cut.
    pub(super) fn spare(&self, name: Name<'_>) {
        let Some(zone) = self.zone_of(name) else {
            return;
        };
        let mut table = self.lock();
        for place in places(name, zone) {
            table_put(&mut table, place, Place::new(Known::Exists, EXISTS));
        }
    }

    /// The zone that a name lies beneath.
    fn zone_of(&self, name: Name<'_>) -> Option<Name<'_>> {
        let zones = self.zones.iter().map(NameBuf::name);
        let mut beneath = zones.filter(|zone| name.is_under(*zone));
        beneath.next()
    }

    /// The first place above `name`, seen from the top, of which nothing is
    /// known. It counts as asked for from now on.
    fn claim(&self, name: Name<'_>) -> Option<NameBuf> {
        let zone = self.zone_of(name)?;
        let services = services_of(zone)?;
        let above = places(name, zone);
        let above = above
            .iter()
            .filter(|place| place.wire().len() < name.wire().len());
        let above: SmallVec<[Name<'_>; 2]> = above.copied().collect();
        if above.is_empty() {
            return None;
        }
        let now = clock::now();
        let mut table = self.lock();
        for place in std::iter::once(services.name()).chain(above) {
            match table.get(place.wire()).filter(|known| known.left(now) > 0) {
                Some(Place {
                    known: Known::Exists,
                    ..
                }) => {}
                Some(_) => return None,
                None => {
                    let asking = Place::new(Known::Asking, WAIT);
                    return table_put(&mut table, place, asking).then(|| place.to_buf());
                }
            }
        }
        None
    }

    /// Takes note of the reply to a query for `place` itself. One that says
    /// nothing clear leaves it alone for a while.
    fn learn(&self, place: &NameBuf, reply: Option<&Reply>) {
        let Some((zone, reply)) = self.zone_of(place.name()).zip(reply) else {
            return;
        };
        let is_top = services_of(zone).is_some_and(|services| services == *place);
        let found = match reply.rcode() {
            Rcode::NOERROR => Some(Place::new(Known::Exists, EXISTS)),
            Rcode::NXDOMAIN => denial(reply, place.name()).map(|(denial, ttl)| {
                let life = if is_top { ttl.max(FOREIGN) } else { ttl };
                Place::new(Known::Denied(Arc::new(denial)), life)
            }),
            _ => None,
        };
        let mut table = self.lock();
        // What came from beneath meanwhile counts for more.
        if let (Some(found), Some(slot)) = (found, table.get_mut(place.wire()))
            && matches!(slot.known, Known::Asking)
        {
            *slot = found;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// Asks for the names above one that was just denied, in the background,
    /// unless they are known.
    pub(super) fn look_above(self: &Arc<Self>, exchange: &Exchange, next: Next<'_>) {
        let Some(cuts) = &self.cuts else { return };
        let denied = exchange.reply().is_some_and(|reply| {
            let exists = reply.count(Section::Answer) > 0 || reply.is_live();
            reply.rcode() == Rcode::NXDOMAIN && !exists
        });
        let busy = Arc::strong_count(&cuts.asking) > ASKING;
        if !denied || busy || !is_plain(&exchange.request) {
            return;
        }
        let Some(first) = cuts.claim(exchange.request.name()) else {
            return;
        };
        let (cache, rest, mut own) = (self.clone(), next.to_rest(), exchange.detach());
        let (name, asking) = (exchange.request.name().to_buf(), cuts.asking.clone());
        own.request.clear_edns();
        own.request.set_flag(flags::CD, false);
        tokio::task::spawn_local(async move {
            let _asking = asking;
            let Some(cuts) = &cache.cuts else { return };
            let mut place = Some(first);
            while let Some(asked) = place {
                cache.ask_for(&mut own, &asked, &rest).await;
                cuts.learn(&asked, own.reply());
                place = cuts.claim(name.name());
            }
        });
    }

    /// Asks for a name by itself: this cache, then the rest of the chain.
    async fn ask_for(&self, own: &mut Exchange, place: &NameBuf, rest: &Rest) {
        own.request.set_qname(place.name());
        own.request.set_qtype(rtype::A);
        own.request.set_flag(flags::AD, false);
        let asked: Asked = self.asked(&own.request);
        own.discard();
        if matches!(
            self.find(own, &asked, clock::now()),
            Found::Served(_) | Found::Prefetch(..)
        ) {
            return;
        }
        own.request.set_flag(flags::AD, true);
        // A reply stands in the exchange, or it does not: the code says no more.
        let _ = rest.next().serve(own).await;
        own.request.set_flag(flags::AD, false);
        self.keep(own, &asked, false);
    }
}

/// Keeps a place if there is room. Whether it is there now.
fn table_put(table: &mut HashMap<Box<[u8]>, Place>, name: Name<'_>, place: Place) -> bool {
    if let Some(slot) = table.get_mut(name.wire()) {
        *slot = place;
        return true;
    }
    if table.len() >= CAPACITY {
        let now = place.since;
        table.retain(|_, place| place.left(now) > 0);
    }
    let room = table.len() < CAPACITY;
    if room {
        table.insert(name.wire().into(), place);
    }
    room
}

/// Whether it asks for data of a name in the Internet.
fn is_plain(request: &Request) -> bool {
    request.opcode() == opcode::QUERY
        && request.qclass() == class::IN
        && !matches!(request.qtype(), rtype::AXFR | rtype::IXFR)
}

fn services_of(zone: Name<'_>) -> Option<NameBuf> {
    let mut services = NameBuf::new();
    services.push_label(b"svc").ok()?;
    services.push_name(zone).ok()?;
    Some(services)
}

/// The places at and above `name`, from the top: where a namespace and a
/// Service stand in `svc`, or where `svc` itself does.
fn places<'a>(name: Name<'a>, zone: Name<'_>) -> SmallVec<[Name<'a>; 2]> {
    let mut above: SmallVec<[Name<'a>; 16]> = SmallVec::new();
    let mut rest = Some(name);
    while let Some(here) = rest.filter(|here| here.wire().len() > zone.wire().len()) {
        above.push(here);
        rest = here.parent();
    }
    let label = |name: &Name<'a>| name.labels().next().unwrap_or_default();
    let mut from_top = above.into_iter().rev().peekable();
    let count = match from_top.peek().map(label) {
        Some(b"svc") => {
            from_top.next();
            2
        }
        Some(first) if SPARED.contains(&first) => 0,
        _ => 1,
    };
    let named = from_top.take_while(|place| !label(place).starts_with(b"_"));
    named.take(count).collect()
}

/// Why `name` does not exist where `place` above it does not.
fn cause(name: Name<'_>, place: Name<'_>, zone: Name<'_>) -> Cause {
    let count = |name: Name<'_>| name.labels().count();
    let depth = count(place).saturating_sub(count(zone));
    let in_front = count(name).saturating_sub(count(place));
    let label = place.labels().next().unwrap_or_default();
    let port = name
        .labels()
        .next()
        .is_some_and(|first| first.starts_with(b"_"));
    let searched = label == b"svc" || is_top_level(label, in_front);
    match depth {
        // A port and a protocol in front of what is no name of either.
        2 | 3 if searched || depth + in_front > 4 && !port => Cause::SearchPath,
        2 => Cause::NoSuchNamespace,
        3 => Cause::NoSuchService,
        _ => Cause::SearchPath,
    }
}

/// What a reply that denies `place` is good for, if it is a plain denial:
/// with signatures it would not be enough.
fn denial(reply: &Reply, place: Name<'_>) -> Option<(Denial, Duration)> {
    let [none, one, _] = [Section::Answer, Section::Authority, Section::Additional]
        .map(|section| reply.count(section));
    if (none, one) != (0, 1) || reply.has(flags::TC) || reply.is_live() {
        return None;
    }
    let soa = reply.section(Section::Authority).next()?;
    let soa = soa.to_record().ok().filter(|soa| soa.rtype == rtype::SOA)?;
    let above = place.is_under(soa.owner.name()) && !place.eq_ignore_case(soa.owner.name());
    let ttl = Duration::from_secs(soa.ttl.into());
    let recursion = reply.has(flags::RA);
    (above && !ttl.is_zero()).then_some((Denial { soa, recursion }, ttl))
}
