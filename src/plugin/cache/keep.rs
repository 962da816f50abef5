use std::sync::Arc;
use std::time::Duration;

use super::answers::answers_question;
use super::item::{Class, Item, Terms, WILDCARD};
use super::{Asked, Cache};
use crate::chain::{Exchange, Next, Served};
use crate::clock;
use crate::response::Kind;
use crate::wire::{Name, Rcode, Reader, Reply, Request, Section, flags, rtype};

/// The TTL of a message that has none of its own to go by (dnsutil: `MinimalDefaultTTL`).
const SHORT: Duration = Duration::from_secs(5);

impl Cache {
    /// Asks the rest of the chain and keeps what it answers.
    pub(super) async fn miss(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        next: Next<'_>,
        asked: Asked,
    ) -> Served {
        // The AD of what is kept is for all clients, so it is always asked for.
        exchange.request.set_flag(flags::AD, true);
        let served = next.serve(exchange).await;
        exchange.request.set_flag(flags::AD, asked.authentic);
        self.keep(exchange, &asked, false);
        self.look_above(exchange, next);
        served
    }

    /// Keeps the reply if it may be kept and gives it the TTL that a kept one
    /// has. A `refresh` that is an answer replaces a denial.
    pub(super) fn keep(
        &self,
        exchange: &mut Exchange,
        asked: &Asked,
        refresh: bool,
    ) -> Option<Arc<Item>> {
        let series = self.series(exchange);
        let wildcard = exchange.metadata.iter().find(|(name, _)| *name == WILDCARD);
        let wildcard = wildcard.map(|(_, name)| name.as_str().into());
        let (request, reply) = exchange.parts_mut();
        let reply = reply?;
        self.front
            .with(|table| table.set_live(asked.key, reply.is_live()));
        if reply.is_live() {
            return None;
        }
        if let Some(cuts) = &self.cuts
            && (reply.rcode() == Rcode::NOERROR || reply.count(Section::Answer) > 0)
        {
            cuts.spare(request.name());
        }
        let answering = answers_question(request, reply);
        let verdict = Verdict::of(request, reply, answering);
        let time = self.lifetime(verdict.kind, reply);
        let ttl = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        reply.map_ttls(|_| ttl);
        reply.clear_edns();

        let mut kept = None;
        if verdict.fit && !time.is_zero() {
            match is_for(reply, request) {
                false => series.drops(),
                true => {
                    let terms = Terms {
                        class: verdict.class(),
                        ttl,
                        now: clock::now(),
                        answering,
                        wildcard,
                    };
                    kept = self.store(request, asked.key, Item::new(reply, terms), refresh);
                    if let Some((class, evicted)) = kept.as_ref().map(|(item, n)| (item.class, *n))
                    {
                        series.evictions(class, evicted);
                    }
                    series.entries(Class::Success, self.store.success.len());
                    series.entries(Class::Denial, self.store.denial.len());
                }
            }
        }
        if !asked.dnssec_ok && !asked.authentic {
            // Who did not ask for it is not told (RFC 6840 section 5.7).
            reply.set_flag(flags::AD, false);
        }
        kept.map(|(item, _)| item)
    }

    /// How long a reply is good for.
    pub(super) fn lifetime(&self, kind: Kind, reply: &Reply) -> Duration {
        let limits = match kind {
            Kind::ServerError => return self.spec.servfail,
            Kind::NameError | Kind::NoData => &self.spec.denial,
            _ => &self.spec.success,
        };
        let smallest = match kind {
            Kind::NoError | Kind::NameError | Kind::NoData => reply.min_ttl(),
            _ => None,
        };
        let own = smallest.map_or(SHORT, |ttl| Duration::from_secs(ttl.into()));
        own.max(limits.min).min(limits.max)
    }

    /// Puts an item into its place: it, and how many others had to go.
    pub(super) fn store(
        &self,
        request: &Request,
        key: u64,
        mut item: Item,
        refresh: bool,
    ) -> Option<(Arc<Item>, u64)> {
        let (limits, shelf, other) = match item.class {
            Class::Success => (&self.spec.success, &self.store.success, &self.store.denial),
            Class::Denial => (&self.spec.denial, &self.store.denial, &self.store.success),
        };
        if limits.except.contain(request.name()) {
            return None;
        }
        let before = shelf.get(key);
        let positive = item.class == Class::Success;
        if self.spec.prefer_positive && positive && !item.answering {
            item.remember(
                before
                    .as_ref()
                    .and_then(|item| item.answering_item(request)),
            );
        }
        let answering = item.answering;
        let item = Arc::new(item);
        let evicted = shelf.put(key, item.clone());
        let beside = other.get(key);
        for outdated in [&before, &beside].into_iter().flatten() {
            outdated.crowd();
        }
        let wanted = match self.spec.prefer_positive {
            true => answering,
            false => refresh,
        };
        if positive && wanted && beside.is_some() {
            other.remove(key);
        }
        Some((item, evicted))
    }
}

/// What the cache makes of a reply.
pub(super) struct Verdict {
    pub(super) kind: Kind,
    /// Whether it may be kept at all.
    pub(super) fit: bool,
}

impl Verdict {
    pub(super) fn of(request: &Request, reply: &Reply, answering: bool) -> Self {
        let kind = Kind::of(reply, request.opcode(), request.qtype());
        let mut authority = reply.section(Section::Authority);
        let has_soa = authority.any(|view| view.rtype == rtype::SOA);
        // Aliases that lead to nothing of the queried type.
        let nodata = kind == Kind::NoError && reply.count(Section::Answer) > 0 && !answering;
        let fit = match kind {
            Kind::OtherError | Kind::Meta | Kind::Update => false,
            // A denial lasts as long as a SOA says (RFC 2308 section 5).
            Kind::NameError => has_soa,
            _ => has_soa || !nodata,
        };
        Self {
            kind: if nodata && has_soa {
                Kind::NoData
            } else {
                kind
            },
            fit: fit && !reply.has(flags::TC),
        }
    }

    pub(super) fn class(&self) -> Class {
        match self.kind {
            Kind::NameError | Kind::NoData | Kind::ServerError => Class::Denial,
            _ => Class::Success,
        }
    }
}

/// Whether a reply has the question of the request.
fn is_for(reply: &Reply, request: &Request) -> bool {
    let mut question = Reader::new(reply.question());
    let name = Name::read(&mut question);
    let mut field = || question.u16("question").ok();
    let kind = (field(), field());
    name.is_ok_and(|name| name.eq_ignore_case(request.name()))
        && kind == (Some(request.qtype()), Some(request.qclass()))
}

/// Whether a reply is an answer to what was asked, whole and fit to be kept.
pub(super) fn is_usable(request: &Request, reply: &Reply) -> bool {
    let answering = answers_question(request, reply);
    answering && !reply.has(flags::TC) && Verdict::of(request, reply, true).kind == Kind::NoError
}

/// Whether a reply may take the place of what has expired (RFC 8767 section 4).
pub(super) fn is_refresh(request: &Request, reply: &Reply) -> bool {
    let kind = Kind::of(reply, request.opcode(), request.qtype());
    !matches!(kind, Kind::OtherError | Kind::Meta | Kind::Update)
        && matches!(reply.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN)
}

/// Whether a reply is whole and for the question.
pub(super) fn is_complete(request: &Request, reply: &Reply) -> bool {
    !reply.has(flags::TC) && is_for(reply, request)
}
