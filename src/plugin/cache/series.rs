use std::sync::{LazyLock, OnceLock};

use super::item::Class;
use crate::metrics::{Counter, Family, Gauge};
use crate::zones::Zones;

type Counters = LazyLock<Family<Counter>>;

const LABELS: &[&str] = &["server", "zones", "view"];
const TYPED: &[&str] = &["server", "type", "zones", "view"];

static ENTRIES: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    let help = "The number of elements in the cache.";
    Family::gauges("coredns_cache_entries", help, TYPED)
});
static REQUESTS: Counters = LazyLock::new(|| {
    let help = "The count of cache requests.";
    Family::counters("coredns_cache_requests_total", help, LABELS)
});
static HITS: Counters = LazyLock::new(|| {
    let help = "The count of cache hits.";
    Family::counters("coredns_cache_hits_total", help, TYPED)
});
static MISSES: Counters = LazyLock::new(|| {
    let help = "The count of cache misses. Deprecated, derive misses from cache hits/requests \
                counters.";
    Family::counters("coredns_cache_misses_total", help, LABELS)
});
static PREFETCHES: Counters = LazyLock::new(|| {
    let help = "The number of times the cache has prefetched a cached item.";
    Family::counters("coredns_cache_prefetch_total", help, LABELS)
});
static DROPS: Counters = LazyLock::new(|| {
    let help = "The number responses that are not cached, because the reply is malformed.";
    Family::counters("coredns_cache_drops_total", help, LABELS)
});
static SERVED_STALE: Counters = LazyLock::new(|| {
    let help = "The number of requests served from stale cache entries.";
    Family::counters("coredns_cache_served_stale_total", help, LABELS)
});
static EVICTIONS: Counters = LazyLock::new(|| {
    let help = "The count of cache evictions.";
    Family::counters("coredns_cache_evictions_total", help, TYPED)
});

static CUTS: Counters = LazyLock::new(|| {
    let help = "The count of denials that follow from one of a name above.";
    Family::counters("pando_cache_cut_total", help, LABELS)
});

/// One server's series; each appears with its first use.
#[derive(Debug, Default)]
pub(super) struct Series {
    server: String,
    zones: String,
    view: String,
    entries: [OnceLock<Gauge>; 2],
    requests: OnceLock<Counter>,
    hits: [OnceLock<Counter>; 2],
    misses: OnceLock<Counter>,
    prefetches: OnceLock<Counter>,
    drops: OnceLock<Counter>,
    served_stale: OnceLock<Counter>,
    cuts: OnceLock<Counter>,
    evictions: [OnceLock<Counter>; 2],
}

impl Series {
    pub(super) fn new(server: &str, zones: &Zones, view: &str) -> Self {
        Self {
            server: server.to_owned(),
            zones: zones.to_string(),
            view: view.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn requests(&self) {
        self.plain(&self.requests, &REQUESTS).inc();
    }

    pub(super) fn misses(&self) {
        self.plain(&self.misses, &MISSES).inc();
    }

    pub(super) fn prefetches(&self) {
        self.plain(&self.prefetches, &PREFETCHES).inc();
    }

    pub(super) fn drops(&self) {
        self.plain(&self.drops, &DROPS).inc();
    }

    pub(super) fn served_stale(&self) {
        self.plain(&self.served_stale, &SERVED_STALE).inc();
    }

    pub(super) fn cuts(&self) {
        self.plain(&self.cuts, &CUTS).inc();
    }

    pub(super) fn hits(&self, class: Class) {
        let [success, denial] = &self.hits;
        let cell = class.pick(success, denial);
        cell.get_or_init(|| HITS.with(&self.typed(class))).inc();
    }

    pub(super) fn evictions(&self, class: Class, count: u64) {
        if count > 0 {
            let [success, denial] = &self.evictions;
            let cell = class.pick(success, denial);
            cell.get_or_init(|| EVICTIONS.with(&self.typed(class)))
                .add(count);
        }
    }

    #[cfg(test)]
    pub(super) fn evicted(&self) -> u64 {
        self.evictions
            .iter()
            .filter_map(OnceLock::get)
            .map(Counter::value)
            .sum()
    }

    pub(super) fn entries(&self, class: Class, count: u64) {
        let [success, denial] = &self.entries;
        let cell = class.pick(success, denial);
        cell.get_or_init(|| ENTRIES.with(&self.typed(class)))
            .set(count as f64);
    }

    fn plain<'a>(&self, cell: &'a OnceLock<Counter>, family: &Counters) -> &'a Counter {
        cell.get_or_init(|| family.with(&[&self.server, &self.zones, &self.view]))
    }

    fn typed(&self, class: Class) -> [&str; 4] {
        let kind = class.pick("success", "denial");
        [&self.server, kind, &self.zones, &self.view]
    }
}

impl Class {
    fn pick<T>(self, success: T, denial: T) -> T {
        match self {
            Self::Success => success,
            Self::Denial => denial,
        }
    }
}
