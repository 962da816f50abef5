//! `coredns_kubernetes_*` (CoreDNS `plugin/kubernetes/metrics.go` and `object/metrics.go`).

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::currency::Currency;
use super::model::{Kind, Programmed};
use super::slim::Reason;
use super::store::Observer;
use crate::metrics::{Counter, Family, Gauge, Histogram};

/// From a millisecond to about nine minutes, each twice the one before.
const PROGRAMMING_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384, 32.768, 65.536, 131.072, 262.144, 524.288,
];
/// From a tenth of a millisecond, which is what it takes here, to five minutes.
const OWN_PROGRAMMING_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 300.0,
];
/// The default buckets of Prometheus's Go client.
const REQUEST_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

static PROGRAMMING: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_kubernetes_dns_programming_duration_seconds",
        "Histogram of the time (in seconds) it took to program a dns instance.",
        &["service_kind"],
        PROGRAMMING_BUCKETS,
    )
});

static REQUEST_DURATION: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_kubernetes_rest_client_request_duration_seconds",
        "Request latency in seconds. Broken down by verb and host.",
        &["host", "verb"],
        REQUEST_BUCKETS,
    )
});

static LIMITER_DURATION: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_kubernetes_rest_client_rate_limiter_duration_seconds",
        "Client side rate limiter latency in seconds. Broken down by verb and host.",
        &["host", "verb"],
        REQUEST_BUCKETS,
    )
});

static REQUESTS: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_kubernetes_rest_client_requests_total",
        "Number of HTTP requests, partitioned by status code, method, and host.",
        &["code", "host", "method"],
    )
});

static REFUSED: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "pando_kubernetes_refused_objects_total",
        "Counter of objects of the Kubernetes API, or parts of them, that made no sense and were left out.",
        &["resource", "reason"],
    )
});

static FOLLOWED: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    Family::gauges(
        "pando_kubernetes_watch_up",
        "Whether a collection of the Kubernetes API is being followed.",
        &["resource"],
    )
});

static OWN_PROGRAMMING: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "pando_kubernetes_programming_duration_seconds",
        "Histogram of the time from a change of endpoints to its being visible in answers, by the kind of Service.",
        &["service_kind"],
        OWN_PROGRAMMING_BUCKETS,
    )
});

static VERSIONS: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    Family::gauges(
        "pando_kubernetes_resource_version",
        "The last resource version of a collection of the Kubernetes API that was read.",
        &["resource"],
    )
});

/// Counts what the store tells.
pub(super) struct Metrics {
    /// Of an API server; what is read from files is never stale.
    currency: Option<Arc<Currency>>,
}

impl Metrics {
    /// Of a store that follows an API server, or none.
    pub(super) fn new(follows: bool) -> Self {
        Self {
            currency: follows.then(Currency::new),
        }
    }
}

impl Observer for Metrics {
    fn programmed(&self, service: Programmed, taken: Duration) {
        // CoreDNS knows of these two.
        let kind = match service {
            Programmed::ClusterIp => Programmed::ClusterIp,
            _ => Programmed::HeadlessWithSelector,
        };
        let seconds = taken.as_secs_f64();
        PROGRAMMING.with(&[kind.as_str()]).observe(seconds);
        OWN_PROGRAMMING.with(&[service.as_str()]).observe(seconds);
    }

    fn current(&self, kind: Kind, version: &str) {
        if let Some(currency) = &self.currency {
            currency.seen(kind, Instant::now());
            // Opaque to clients, but every API server counts; one that does
            // not has no such number.
            if let Ok(version) = version.parse::<u64>() {
                VERSIONS.with(&[kind.resource()]).set(version as f64);
            }
        }
    }

    fn restored(&self, written: SystemTime) {
        if let Some(currency) = &self.currency {
            currency.restored(written);
        }
    }

    fn requested(&self, method: &str, host: &str, code: Option<u16>, taken: Duration) {
        REQUEST_DURATION
            .with(&[host, method])
            .observe(taken.as_secs_f64());
        // Nothing here limits requests, so none has waited.
        LIMITER_DURATION.with(&[host, method]).observe(0.0);
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        REQUESTS.with(&[&code, host, method]).inc();
    }

    fn refused(&self, kind: Kind, reason: Reason) {
        REFUSED.with(&[kind.resource(), reason.as_str()]).inc();
    }

    fn followed(&self, kind: Kind, followed: bool) {
        if let Some(currency) = &self.currency {
            currency.followed(kind, followed);
        }
        FOLLOWED
            .with(&[kind.resource()])
            .set(f64::from(u8::from(followed)));
    }
}
