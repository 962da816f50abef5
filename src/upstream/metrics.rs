//! Counters of what goes to and comes from upstreams: CoreDNS's `coredns_proxy_*` and a few of
//! our own for what CoreDNS does not do.
//!
//! They live as long as the process, so a reload does not reset them. A row appears with its
//! first observation.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use super::Transport;
use crate::metrics::{Counter, Family, Histogram, TIME_BUCKETS};
use crate::wire::Rcode;

/// RCODEs that a header can carry; their rows are looked up once.
const HEADER_RCODES: usize = 16;

static DURATION: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_proxy_request_duration_seconds",
        "Histogram of the time each request took.",
        &["proxy_name", "to", "rcode"],
        TIME_BUCKETS,
    )
});
static CHECK_FAILURES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_proxy_healthcheck_failures_total",
        "Counter of the number of failed healthchecks.",
        &["proxy_name", "to"],
    )
});
static HITS: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_proxy_conn_cache_hits_total",
        "Counter of connection cache hits per upstream and protocol.",
        &["proxy_name", "to", "proto"],
    )
});
static MISSES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_proxy_conn_cache_misses_total",
        "Counter of connection cache misses per upstream and protocol.",
        &["proxy_name", "to", "proto"],
    )
});
static DROPPED: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "pando_proxy_replies_dropped_total",
        "Messages from upstreams that answer nothing that was asked, by reason.",
        &["proxy_name", "to", "reason"],
    )
});
static FAILURES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "pando_upstream_failures_total",
        "Attempts to ask an upstream that came to nothing a client can use, by reason.",
        &["to", "reason"],
    )
});
static HEDGES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "pando_proxy_hedges_total",
        "Queries sent to this upstream because another one was late.",
        &["proxy_name", "to"],
    )
});
static BROKEN: LazyLock<Counter> = LazyLock::new(|| {
    Family::counters(
        "coredns_forward_healthcheck_broken_total",
        "Counter of the number of complete failures of the healthchecks.",
        &[],
    )
    .with(&[])
});
static REJECTS: LazyLock<Counter> = LazyLock::new(|| {
    Family::counters(
        "coredns_forward_max_concurrent_rejects_total",
        "Counter of the number of queries rejected because the concurrent queries were at maximum.",
        &[],
    )
    .with(&[])
});

/// Shows the two counters without labels, which stand at zero on a fresh server.
pub fn register() {
    LazyLock::force(&BROKEN);
    LazyLock::force(&REJECTS);
}

/// All upstreams of a group are down.
pub(super) fn count_broken() {
    BROKEN.inc();
}

/// A query was refused because of `max_concurrent`.
pub(super) fn count_rejected() {
    REJECTS.inc();
}

/// Why a datagram or message from an upstream was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Too short for a header, or a query.
    NotAReply,
    /// No query with this ID waits here: late, or a guess.
    UnknownId,
    /// The ID is right, the question is not.
    OtherQuestion,
}

impl Dropped {
    const ALL: [Self; 3] = [Self::NotAReply, Self::UnknownId, Self::OtherQuestion];

    const fn label(self) -> &'static str {
        match self {
            Self::NotAReply => "not_a_reply",
            Self::UnknownId => "unknown_id",
            Self::OtherQuestion => "other_question",
        }
    }
}

/// The rows of one upstream, looked up once.
#[derive(Debug)]
pub(super) struct Metrics {
    proxy: &'static str,
    to: String,
    duration: [OnceLock<Histogram>; HEADER_RCODES],
    hits: [OnceLock<Counter>; 2],
    misses: [OnceLock<Counter>; 2],
    dropped: [OnceLock<Counter>; Dropped::ALL.len()],
    hedges: OnceLock<Counter>,
}

impl Metrics {
    pub(super) fn new(proxy: &'static str, to: &str) -> Self {
        Self {
            proxy,
            to: to.to_owned(),
            duration: Default::default(),
            hits: Default::default(),
            misses: Default::default(),
            dropped: Default::default(),
            hedges: OnceLock::new(),
        }
    }

    pub(super) fn observe(&self, rcode: u16, took: Duration) {
        let look_up = || match Rcode(rcode).mnemonic() {
            Some(name) => DURATION.with(&[self.proxy, &self.to, name]),
            None => DURATION.with(&[self.proxy, &self.to, &rcode.to_string()]),
        };
        let seconds = took.as_secs_f64();
        match self.duration.get(usize::from(rcode)) {
            Some(row) => row.get_or_init(look_up).observe(seconds),
            None => look_up().observe(seconds),
        }
    }

    pub(super) fn count_hit(&self, transport: Transport) {
        self.row(&self.hits[transport as usize], &HITS, transport.label());
    }

    pub(super) fn count_miss(&self, transport: Transport) {
        self.row(&self.misses[transport as usize], &MISSES, transport.label());
    }

    pub(super) fn count_dropped(&self, reason: Dropped) {
        self.row(&self.dropped[reason as usize], &DROPPED, reason.label());
    }

    pub(super) fn count_hedge(&self) {
        self.hedges
            .get_or_init(|| HEDGES.with(&[self.proxy, &self.to]))
            .inc();
    }

    /// An attempt failed, or the answer says that the upstream cannot tell.
    pub(super) fn count_failure(&self, reason: &str) {
        FAILURES.with(&[&self.to, reason]).inc();
    }

    pub(super) fn count_check_failure(&self) {
        CHECK_FAILURES.with(&[self.proxy, &self.to]).inc();
    }

    fn row(&self, row: &OnceLock<Counter>, family: &Family<Counter>, label: &str) {
        row.get_or_init(|| family.with(&[self.proxy, &self.to, label]))
            .inc();
    }

    #[cfg(test)]
    pub(super) fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize]
            .get()
            .map_or(0, Counter::value)
    }

    #[cfg(test)]
    pub(super) fn hits(&self, transport: Transport) -> u64 {
        self.hits[transport as usize]
            .get()
            .map_or(0, Counter::value)
    }

    #[cfg(test)]
    pub(super) fn misses(&self, transport: Transport) -> u64 {
        self.misses[transport as usize]
            .get()
            .map_or(0, Counter::value)
    }

    #[cfg(test)]
    pub(super) fn hedges(&self) -> u64 {
        self.hedges.get().map_or(0, Counter::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_appear_when_counted() {
        register();
        let metrics = Metrics::new("forward", "192.0.2.7:53");
        metrics.observe(3, Duration::from_millis(3));
        metrics.count_hit(Transport::Tcp);
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&crate::metrics::registry().gather())
            .unwrap();
        for line in [
            r#"coredns_proxy_request_duration_seconds_bucket{proxy_name="forward",rcode="NXDOMAIN",to="192.0.2.7:53",le="0.004"} 1"#,
            r#"coredns_proxy_conn_cache_hits_total{proto="tcp",proxy_name="forward",to="192.0.2.7:53"} 1"#,
            "coredns_forward_healthcheck_broken_total ",
            "coredns_forward_max_concurrent_rejects_total ",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let absent =
            r#"conn_cache_misses_total{proto="tcp",proxy_name="forward",to="192.0.2.7:53"}"#;
        assert!(!text.contains(absent), "{text}");
    }
}
