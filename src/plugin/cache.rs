//! `cache`: answers what was asked before.
//!
//! ```text
//! cache [TTL] [ZONES...] {
//!     success CAPACITY [TTL] [MINTTL]
//!     denial CAPACITY [TTL] [MINTTL]
//!     prefetch AMOUNT [DURATION] [PERCENTAGE%]
//!     serve_stale [DURATION] [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]
//!     serve_stale_policy prefer_positive
//!     servfail DURATION
//!     disable success|denial [ZONES...]
//!     keepttl
//!     cut [off|ZONES...]
//! }
//! ```
//!
//! TTL is the longest time that anything is kept, in seconds: 3600 for what
//! exists (`success`), 1800 for what does not (`denial`). CAPACITY is in
//! entries, 10000 each; MINTTL 5 seconds. All records of a reply get one TTL,
//! the smallest among them within those bounds, when it passes and while it
//! is kept. `prefetch` asks again in the background for what was asked AMOUNT
//! times (off), no more than DURATION (1m) apart, once PERCENTAGE (10) of its
//! time is left. `serve_stale` answers with what has expired for up to
//! DURATION (1h): at once, while it is asked for again (`immediate`), or when
//! asking again failed or took longer than TIMEOUT (`verify`); EDNS clients
//! are told (RFC 8914: Stale Answer). `servfail`
//! (5s, at most 5m) is how long failures are kept. `keepttl` does not count
//! TTLs down.
//!
//! `cut` (off) takes a denial for one of everything beneath it, in zones of
//! clusters: ZONES, or those of `cache`, the root and reverse zones left out.
//! Where a client's search list has made it ask for `a.com.NS.svc.ZONE` in
//! vain, `com.NS.svc.ZONE` is asked for once, and likewise below `svc.ZONE` and
//! ZONE. `pando-node` cuts where the Corefile does not say `off`.
//!
//! Replies made from the cluster's own state are [live](crate::wire::Reply::set_live) and
//! pass untouched. Where `kubernetes` alone answers for a zone, none of whose
//! names falls through, its names are not even looked for: each counts as a miss.
//!
//! A process may begin with what the caches of another one knew (see `dump`),
//! as far as it has caches of the same zones in blocks of the same keys.

use std::sync::{Arc, OnceLock};

use foldhash::quality::RandomState;

use self::cut::Cuts;
use self::front::Front;
use self::item::{Class, Item};
use self::series::Series;
use self::spec::CacheSpec;
use self::store::Store;
use super::Definition;
use crate::chain::{self, Exchange, Next, Plugin, Serving};
use crate::clock::{self, Tick};
use crate::metrics::ByServer;
use crate::response::Source;
use crate::wire::{Ede, Name, Rcode, Request, flags};
use crate::zones::Zones;

mod answers;
mod cut;
pub(super) mod dump;
mod front;
mod item;
mod keep;
mod refresh;
mod series;
mod spec;
mod store;
#[cfg(test)]
mod tests;

pub(super) static DEFINITION: Definition = Definition {
    name: "cache",
    parse: spec::parse,
};

/// The plugin; its state also lives in refreshes that run in the background.
struct Plug(Arc<Cache>);

struct Cache {
    spec: CacheSpec,
    hasher: RandomState,
    store: Store,
    front: Front,
    series: ByServer<Series>,
    /// `None` where nothing is cut.
    cuts: Option<Cuts>,
    /// Zones that a plugin behind this one answers from live state; known
    /// once the chain is complete.
    live: OnceLock<Live>,
    /// When this cache was made; what items remember counts from here.
    born: Tick,
}

const STALE: Ede = Ede::new(Ede::STALE_ANSWER, "kept beyond its time");
/// RFC 8914 has a code of its own for a denial.
const STALE_NXDOMAIN: Ede = Ede::new(19, "kept beyond its time");

/// Plugins between this one and `kubernetes` that answer no ordinary query.
const SILENT: [&str; 2] = ["minimal", "transfer"];

/// What a query asks of the cache.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Stands for name, type, class, DO and CD.
    key: u64,
    dnssec_ok: bool,
    /// Whether the client itself set AD.
    authentic: bool,
}

/// What is known about a question without waiting.
enum Found {
    /// An item answered it.
    Served(Class),
    /// An item answered it and is due for a refresh.
    Prefetch(Class, Arc<Item>),
    /// An item has expired that may still be served.
    Stale(Class, Arc<Item>),
    /// Nothing.
    Missing,
}

impl Plugin for Plug {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let cache = &self.0;
        if !cache.spec.zones.contain(exchange.request.name()) {
            return next.serve(exchange);
        }
        if cache.passes(exchange.request.name()) {
            let series = cache.series(exchange);
            series.requests();
            series.misses();
            return next.serve(exchange);
        }
        let asked = cache.asked(&exchange.request);
        let now = clock::now();
        let found = cache.find(exchange, &asked, now);
        let series = cache.series(exchange);
        series.requests();
        match found {
            Found::Served(class) => series.hits(class),
            Found::Prefetch(class, item) => {
                series.hits(class);
                cache.refresh(exchange, next, asked, item, now, false);
            }
            Found::Stale(class, item) => {
                series.hits(class);
                if cache.spec.stale.verify.is_some() {
                    return Box::pin(cache.verify(exchange, next, asked, item, now));
                }
                cache.refresh(exchange, next, asked, item.clone(), now, true);
                cache.answer_stale(exchange, &asked, &item);
            }
            Found::Missing if cache.cut(exchange, now) => {
                series.hits(Class::Denial);
                series.cuts();
            }
            Found::Missing => {
                series.misses();
                return Box::pin(cache.miss(exchange, next, asked));
            }
        }
        chain::done()
    }

    fn relative(&self, request: &Request) -> Option<usize> {
        self.0.cuts.as_ref()?.relative(request)
    }
}

/// What the plugin behind the cache answers from live state.
#[derive(Debug, Default)]
struct Live {
    zones: Zones,
    /// Of these names it passes some on.
    passed: Zones,
}

impl Cache {
    fn new(spec: CacheSpec) -> Self {
        let zones = spec.cut.iter().flatten();
        let zones: Vec<_> = zones
            .filter(|zone| !spec.denial.except.contain(zone.name()))
            .cloned()
            .collect();
        Self {
            cuts: (!zones.is_empty()).then(|| Cuts::new(zones)),
            hasher: RandomState::default(),
            store: Store::new(spec.success.capacity, spec.denial.capacity),
            front: Front::new(),
            series: ByServer::new(),
            live: OnceLock::new(),
            born: clock::now(),
            spec,
        }
    }

    /// Answers a query beneath a name that is denied. Whether it did.
    fn cut(&self, exchange: &mut Exchange, now: Tick) -> bool {
        let cuts = self.cuts.as_ref();
        cuts.is_some_and(|cuts| cuts.answer(exchange, now))
    }

    /// Takes note of the chain that it stands in.
    fn assembled(&self, chain: &[Arc<dyn Plugin>]) {
        let behind = chain.iter().skip_while(|plugin| plugin.name() != "cache");
        let mut behind = behind
            .skip(1)
            .skip_while(|plugin| SILENT.contains(&plugin.name()));
        let live = behind.next().map(|plugin| Live {
            zones: plugin.live_zones().iter().cloned().collect(),
            passed: plugin.passed_zones().iter().cloned().collect(),
        });
        let _ = self.live.set(live.unwrap_or_default());
    }

    /// Whether the answer to `name` comes from live state and is never kept.
    fn passes(&self, name: Name<'_>) -> bool {
        let is_live = |live: &Live| live.zones.contain(name) && !live.passed.contain(name);
        self.live.get().is_some_and(is_live)
    }

    fn asked(&self, request: &Request) -> Asked {
        use std::hash::{BuildHasher, Hasher};
        let dnssec_ok = request.dnssec_ok();
        let kind = u64::from(request.qtype())
            | u64::from(request.qclass()) << 16
            | u64::from(dnssec_ok) << 32
            | u64::from(request.has(flags::CD)) << 33;
        let mut hasher = self.hasher.build_hasher();
        hasher.write(request.name().wire());
        hasher.write_u64(kind);
        Asked {
            key: hasher.finish(),
            dnssec_ok,
            authentic: request.has(flags::AD),
        }
    }

    fn series(&self, exchange: &Exchange) -> &Series {
        let block = exchange.block.as_ref();
        let (server, view) = block.map_or(("", ""), |block| (&block.server, &block.view));
        self.series
            .of(server, |server| Series::new(server, &self.spec.zones, view))
    }

    /// Looks for an item and answers with it if it is fresh.
    fn find(&self, exchange: &mut Exchange, asked: &Asked, now: Tick) -> Found {
        // Most queries end here: this worker has seen the item before, or
        // knows that the name is the cluster's and never kept.
        let known = self.front.with(|table| {
            if let Some(item) = table.find(asked.key)
                && item.answers(&exchange.request)
                && let left @ 1.. = item.ttl_left(now)
            {
                return Some(self.answer_fresh(exchange, asked, item, left, now));
            }
            table.is_live(asked.key).then_some(Found::Missing)
        });
        if let Some(found) = known {
            return found;
        }
        let Some((class, item)) = self.lookup(&exchange.request, asked.key, now) else {
            return Found::Missing;
        };
        let left = item.ttl_left(now);
        if left <= 0 {
            return Found::Stale(class, item);
        }
        let found = self.answer_fresh(exchange, asked, &item, left, now);
        self.front.with(|table| table.put(asked.key, item));
        found
    }

    fn answer_fresh(
        &self,
        exchange: &mut Exchange,
        asked: &Asked,
        item: &Arc<Item>,
        left: i64,
        now: Tick,
    ) -> Found {
        let ttl = match self.spec.keep_ttl {
            true => item.ttl,
            false => u32::try_from(left).unwrap_or(0),
        };
        item.answer(exchange, asked, ttl);
        match self.wants_prefetch(item, left, now) {
            true => Found::Prefetch(item.class, item.clone()),
            false => Found::Served(item.class),
        }
    }

    fn answer_stale(&self, exchange: &mut Exchange, asked: &Asked, item: &Item) {
        self.series(exchange).served_stale();
        let ttl = match self.spec.stale.ttl {
            0 if self.spec.keep_ttl => item.ttl,
            ttl => ttl,
        };
        item.answer(exchange, asked, ttl);
        if let Some(reply) = exchange.reply_mut() {
            reply.set_source(Source::Stale);
        }
        exchange.explain(match item.rcode() {
            Rcode::NXDOMAIN => STALE_NXDOMAIN,
            _ => STALE,
        });
    }

    /// The item that answers, fresh or not too stale. Denials come first, but
    /// a failure yields to an answer.
    fn lookup(&self, request: &Request, key: u64, now: Tick) -> Option<(Class, Arc<Item>)> {
        let usable = |item: &Item| {
            let left = item.ttl_left(now);
            left > 0 || -left < self.spec.stale.seconds()
        };
        let success = || {
            let item = self.store.success.get(key)?;
            (item.answers(request) && usable(&item)).then_some((Class::Success, item))
        };
        if self.spec.prefer_positive
            && self.spec.stale.seconds() > 0
            && let Some(item) = self.store.success.get(key)
            && let Some(item) = item.answering_item(request)
            && usable(&item)
        {
            return Some((Class::Success, item));
        }
        let denial = self.store.denial.get(key);
        match denial.filter(|item| item.answers(request) && usable(item)) {
            Some(item) if item.rcode() == Rcode::SERVFAIL => {
                success().or(Some((Class::Denial, item)))
            }
            Some(item) => Some((Class::Denial, item)),
            None => success(),
        }
    }
}
