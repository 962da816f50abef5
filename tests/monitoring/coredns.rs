//! The dashboards and alerts that people already have for CoreDNS: what each
//! of their panels asks of the metrics, in our own words. The names of series
//! and labels are what they share with us.
//!
//! | source | |
//! |---|---|
//! | `community` | Grafana 12539 and 14981, and 5926 where it knows the names of CoreDNS 1.7 |
//! | `system` | Grafana 15762, "Kubernetes / System / CoreDNS" |
//! | `mixin` | coredns-mixin, dashboard and alerts, as kube-prometheus installs them |

use pando_test::Prometheus;

use super::scene::{FAILING, Scene};

/// What stands for `$S` in the expressions: every label that a panel selects
/// by. `cluster` is no label of ours: `.*` takes its absence as well.
const SELECTOR: &str = r#"job=~"kube-dns", instance=~".+", cluster=~".*""#;

const EXPRESSIONS: &[(&str, &str, &str)] = &[
    (
        "community",
        "queries by protocol",
        "sum by (proto) (rate(coredns_dns_requests_total{$S}[1m]))",
    ),
    (
        "community",
        "queries by type",
        "sum by (type) (rate(coredns_dns_requests_total{$S}[1m]))",
    ),
    (
        "community",
        "queries by zone",
        "sum by (zone) (rate(coredns_dns_requests_total{$S}[1m]))",
    ),
    (
        "community",
        "queries with DO",
        "sum(rate(coredns_dns_do_requests_total{$S}[1m]))",
    ),
    (
        "community",
        "all queries",
        "sum(rate(coredns_dns_requests_total{$S}[1m]))",
    ),
    (
        "community",
        "size of queries, UDP",
        "histogram_quantile(0.9, sum by (le, proto) (rate(coredns_dns_request_size_bytes_bucket{$S, proto=\"udp\"}[1m])))",
    ),
    (
        "community",
        "size of queries, TCP",
        "histogram_quantile(0.9, sum by (le, proto) (rate(coredns_dns_request_size_bytes_bucket{$S, proto=\"tcp\"}[1m])))",
    ),
    (
        "community",
        "answers by rcode",
        "sum by (rcode) (rate(coredns_dns_responses_total{$S}[1m]))",
    ),
    (
        "community",
        "duration, by job",
        "histogram_quantile(0.99, sum by (le, job) (rate(coredns_dns_request_duration_seconds_bucket{$S}[1m])))",
    ),
    (
        "community",
        "duration",
        "histogram_quantile(0.5, sum by (le) (rate(coredns_dns_request_duration_seconds_bucket{$S}[1m])))",
    ),
    (
        "community",
        "size of answers, UDP",
        "histogram_quantile(0.99, sum by (le, proto) (rate(coredns_dns_response_size_bytes_bucket{$S, proto=\"udp\"}[1m])))",
    ),
    (
        "community",
        "size of answers, TCP",
        "histogram_quantile(0.99, sum by (le, proto) (rate(coredns_dns_response_size_bytes_bucket{$S, proto=\"tcp\"}[1m])))",
    ),
    (
        "community",
        "entries of the cache",
        "sum by (type) (coredns_cache_entries{$S})",
    ),
    (
        "community",
        "hits of the cache",
        "sum by (type) (rate(coredns_cache_hits_total{$S}[1m]))",
    ),
    (
        "community",
        "misses of the cache",
        "sum by (type) (rate(coredns_cache_misses_total{$S}[1m]))",
    ),
    (
        "community",
        "failed reloads",
        "sum by (instance) (coredns_reload_failed_total{$S})",
    ),
    (
        "community",
        "version",
        "count by (version) (coredns_build_info{$S})",
    ),
    (
        "community",
        "plugins",
        "sum by (name, server, zone) (coredns_plugin_enabled{$S})",
    ),
    (
        "community",
        "panics",
        "sum by (instance) (increase(coredns_panics_total{$S}[1m]))",
    ),
    ("system", "up", "up{$S}"),
    ("system", "CPU", "rate(process_cpu_seconds_total{$S}[1m])"),
    ("system", "memory", "process_resident_memory_bytes{$S}"),
    (
        "system",
        "queries over one protocol",
        "sum(rate(coredns_dns_requests_total{$S, proto=\"udp\"}[1m]))",
    ),
    (
        "system",
        "mean size",
        "sum by (proto) (rate(coredns_dns_request_size_bytes_sum{$S, proto=\"udp\"}[1m])) / sum by (proto) (rate(coredns_dns_request_size_bytes_count{$S, proto=\"udp\"}[1m]))",
    ),
    (
        "system",
        "queries forwarded",
        "sum(rate(coredns_proxy_request_duration_seconds_count{$S, proxy_name=\"forward\"}[1m]))",
    ),
    (
        "system",
        "errors of upstreams",
        "sum by (rcode) (rate(coredns_proxy_request_duration_seconds_count{$S, proxy_name=\"forward\", rcode=~\"SERVFAIL|REFUSED\"}[1m]))",
    ),
    (
        "system",
        "heat map of durations",
        "sum by (le) (increase(coredns_dns_request_duration_seconds_bucket{$S}[1m]))",
    ),
    (
        "system",
        "heat map of query sizes",
        "sum by (le) (increase(coredns_dns_request_size_bytes_bucket{$S, le!=\"0\"}[1m]))",
    ),
    (
        "system",
        "heat map of answer sizes",
        "sum by (le) (increase(coredns_dns_response_size_bytes_bucket{$S, le!=\"0\"}[1m]))",
    ),
    ("mixin", "instances up", "sum(up{$S})"),
    ("mixin", "panics", "sum(coredns_panics_total{$S})"),
    (
        "mixin",
        "p99 by zone",
        "histogram_quantile(0.99, sum by (server, zone, le) (rate(coredns_dns_request_duration_seconds_bucket{$S}[1m])))",
    ),
    (
        "mixin",
        "programming",
        "histogram_quantile(0.5, sum by (service_kind, le) (rate(coredns_kubernetes_dns_programming_duration_seconds_bucket{$S}[1m])))",
    ),
    (
        "mixin",
        "number of plugins",
        "count(sum by (name) (coredns_plugin_enabled{$S}))",
    ),
    (
        "mixin",
        "size of queries",
        "histogram_quantile(0.99, sum by (server, zone, proto, le) (rate(coredns_dns_request_size_bytes_bucket{$S}[1m])))",
    ),
    (
        "mixin",
        "size of answers",
        "histogram_quantile(0.5, sum by (server, zone, proto, le) (rate(coredns_dns_response_size_bytes_bucket{$S}[1m])))",
    ),
    (
        "mixin",
        "hit ratio",
        "sum(coredns_cache_hits_total{$S}) / (sum(coredns_cache_misses_total{$S}) + sum(coredns_cache_hits_total{$S}))",
    ),
    (
        "mixin",
        "alert: latency",
        "histogram_quantile(0.99, sum without (instance, pod) (rate(coredns_dns_request_duration_seconds_bucket{$S}[1m])))",
    ),
    (
        "mixin",
        "alert: errors",
        "sum without (pod, instance, server, zone, view, rcode, plugin) (rate(coredns_dns_responses_total{$S, rcode=\"SERVFAIL\"}[1m])) / sum without (pod, instance, server, zone, view, rcode, plugin) (rate(coredns_dns_responses_total{$S}[1m]))",
    ),
    (
        "mixin",
        "alert: health checks",
        "sum without (pod, instance) (rate(coredns_proxy_healthcheck_failures_total{$S}[1m]))",
    ),
    (
        "mixin",
        "alert: no healthy upstream",
        "sum without (pod, instance) (rate(coredns_forward_healthcheck_broken_total{$S}[1m]))",
    ),
];

/// What older dashboards ask for and CoreDNS 1.14.7 does not have either, and
/// what only a Go runtime has. docs/monitoring.md names them.
const GONE: &[&str] = &[
    "coredns_cache_size",
    "coredns_dns_request_count_total",
    "coredns_dns_request_do_count_total",
    "coredns_dns_request_type_count_total",
    "coredns_dns_response_rcode_count_total",
    "coredns_forward_healthcheck_failures_total",
    "coredns_forward_request_count_total",
    "coredns_forward_request_duration_seconds_bucket",
    "coredns_forward_requests_total",
    "coredns_forward_responses_total",
    "coredns_panic_count_total",
    "go_goroutines",
    "go_memstats_alloc_bytes",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboards_of_coredns_have_their_data() {
    if !Prometheus::installed() {
        return;
    }
    let mut scene = Scene::start(FAILING).await;
    let prometheus = scene.scraped_as(&["kube-dns"]).await;
    let expressions: Vec<String> = EXPRESSIONS
        .iter()
        .map(|(_, _, expression)| expression.replace("$S", SELECTOR))
        .collect();
    prometheus.have_values(&expressions).await.unwrap();
    for series in GONE {
        assert!(
            prometheus.query(series).await.unwrap().is_empty(),
            "{series}"
        );
    }
    let page = super::read(&super::root().join("docs/monitoring.md"));
    let untold: Vec<_> = (GONE.iter())
        .filter(|series| !page.contains(&format!("`{}`", series.trim_end_matches("_bucket"))))
        .collect();
    assert!(
        untold.is_empty(),
        "docs/monitoring.md leaves out {untold:?}"
    );
}
