//! What the page is told: an event a second, as JSON. Rates are what has come
//! since the event before, per second.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;

use super::reading::{Reading, grown};
use crate::chain::Chain;
use crate::configuration::{History, Reload};
use crate::metrics::amplification;
use crate::status::{Status, UpstreamStatus, ZoneStatus};

/// Zones and upstreams that are shown, the worst first. A catalog may list
/// thousands of zones.
const MOST_ROWS: usize = 100;
/// Names that search lists are walked for.
const MOST_NAMES: usize = 10;

/// One event.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Now, in seconds since 1970.
    time: f64,
    process: Process,
    configuration: Option<Configuration>,
    zones: Rows<ZoneStatus>,
    upstreams: Rows<Upstream>,
    /// Collections of the Kubernetes API, and whether each is being followed.
    watches: BTreeMap<String, bool>,
    /// Seconds since the cluster's state was last known to be current.
    snapshot_age: Option<f64>,
    /// Names that search lists are walked for, most first.
    names: Vec<Name>,
    /// What has happened since the event before; the first has none.
    since: Option<Since>,
}

#[derive(Debug, Serialize)]
struct Process {
    /// The host's name: in a Pod that of the Pod.
    host: String,
    version: &'static str,
    /// When it started, in seconds since 1970.
    started: Option<f64>,
    /// Resident memory in octets.
    memory: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Configuration {
    file: String,
    hash: String,
    /// In seconds since 1970.
    since: f64,
    /// How often the file is looked at, in seconds.
    looked_at: Option<f64>,
    last_reload: Option<LastReload>,
    blocks: Vec<BlockOutline>,
}

#[derive(Debug, Serialize)]
struct LastReload {
    /// In seconds since 1970.
    at: f64,
    /// Why it failed, if it did.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct BlockOutline {
    zones: Vec<String>,
    servers: Vec<String>,
    view: String,
    directives: Vec<&'static str>,
}

/// The first of a list, and how many more there are.
#[derive(Debug, Serialize)]
struct Rows<T> {
    rows: Vec<T>,
    more: usize,
}

#[derive(Debug, Serialize)]
struct Upstream {
    #[serde(flatten)]
    status: UpstreamStatus,
    /// Replies per second.
    replies: Option<f64>,
    /// Seconds that one took, on average.
    took: Option<f64>,
    /// Failures per second.
    failures: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Since {
    /// How long ago the event before was, in seconds.
    seconds: f64,
    /// Cores in use, on average.
    cpu: Option<f64>,
    queries: f64,
    /// By response code.
    rcodes: BTreeMap<String, f64>,
    /// By where they come from: `snapshot`, `cache` …
    sources: BTreeMap<String, f64>,
    /// NXDOMAIN by cause.
    denials: BTreeMap<String, f64>,
    /// Dropped by the kernel or by the server because there were too many.
    dropped: f64,
    latency: Option<Latency>,
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Serialize)]
struct Latency {
    /// Upper bounds of the buckets in seconds, ascending.
    bounds: Vec<f64>,
    /// Queries (not per second) in each bucket; the last one has no bound.
    counts: Vec<f64>,
}

/// A name that clients look for by their search lists.
#[derive(Debug, Serialize)]
struct Name {
    /// Without what a list appended, in the presentation form of RFC 1035.
    name: String,
    /// About how many queries that cost in the last minutes.
    queries: u64,
}

/// What the clients of a namespace ask.
#[derive(Debug, Serialize)]
struct Namespace {
    /// Empty where that is not known; `other` beyond those that are told apart.
    name: String,
    queries: f64,
    /// Those of them that only a search list makes.
    search_path: f64,
}

impl Figures {
    pub(super) fn new(history: &History, before: Option<&Reading>, now: &Reading) -> Self {
        let in_force = history.in_force();
        let blocks = in_force.iter().flat_map(|in_force| &in_force.blocks);
        let status = status(blocks.map(|block| &block.chain));
        let configuration = in_force.as_ref().map(|in_force| Configuration {
            file: in_force.name.clone(),
            hash: in_force.hash.clone(),
            since: seconds(in_force.since),
            looked_at: in_force.looked_at.as_ref().map(Duration::as_secs_f64),
            last_reload: history.last_reload().map(LastReload::from),
            blocks: (in_force.blocks.iter())
                .map(|block| BlockOutline {
                    zones: block.zones.clone(),
                    servers: block.servers.clone(),
                    view: block.view.clone(),
                    directives: block.directives.clone(),
                })
                .collect(),
        });
        let watches = now.by("pando_kubernetes_watch_up", ["resource"]);
        Self {
            time: seconds(SystemTime::now()),
            process: Process::new(now),
            configuration,
            zones: Rows::new(status.zones),
            upstreams: Rows::new(upstreams(status.upstreams, before, now)),
            watches: (watches.into_iter())
                .map(|([resource], up)| (resource, up > 0.0))
                .collect(),
            snapshot_age: now.total("pando_snapshot_age_seconds"),
            names: (amplification::top(MOST_NAMES).names.into_iter())
                .map(|top| Name {
                    name: top.name,
                    queries: top.queries,
                })
                .collect(),
            since: before.map(|before| Since::new(before, now)),
        }
    }

    /// As a server-sent event (HTML standard, section 9.2.6). JSON has its
    /// line breaks escaped, whoever chose the names in it.
    pub(super) fn event(&self) -> Bytes {
        let mut text = b"data: ".to_vec();
        // Maps with keys of text and numbers do not fail.
        let _ = serde_json::to_writer(&mut text, self);
        text.extend_from_slice(b"\n\n");
        text.into()
    }
}

impl Process {
    fn new(now: &Reading) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
        Self {
            host: host.unwrap_or_default().trim().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            started: now.total("process_start_time_seconds"),
            memory: now.total("process_resident_memory_bytes"),
        }
    }
}

impl From<Reload> for LastReload {
    fn from(reload: Reload) -> Self {
        Self {
            at: seconds(reload.at),
            error: reload.error,
        }
    }
}

impl<T> Rows<T> {
    fn new(mut rows: Vec<T>) -> Self {
        let more = rows.len().saturating_sub(MOST_ROWS);
        rows.truncate(MOST_ROWS);
        Self { rows, more }
    }
}

impl Since {
    fn new(before: &Reading, now: &Reading) -> Self {
        let seconds = now.since(before).max(f64::EPSILON);
        let by = |name, label| {
            let grown = grown(now.by(name, [label]), Some(&before.by(name, [label])));
            let rates = grown.into_iter();
            rates
                .map(|([key], more)| (key, more / seconds))
                .collect::<BTreeMap<_, _>>()
        };
        let rate = |name| {
            let (now, before) = (now.total(name)?, before.total(name).unwrap_or_default());
            Some((now - before).max(0.0) / seconds)
        };
        let search_path = by("pando_search_path_queries_total", "namespace");
        let namespaces = by("pando_queries_total", "namespace");
        Self {
            seconds,
            cpu: rate("process_cpu_seconds_total"),
            queries: rate("pando_queries_total").unwrap_or_default(),
            rcodes: by("coredns_dns_responses_total", "rcode"),
            sources: by("pando_answers_total", "source"),
            denials: by("pando_nxdomain_total", "cause"),
            dropped: rate("pando_server_dropped_total").unwrap_or_default(),
            latency: Latency::new(before, now),
            namespaces: (namespaces.into_iter())
                .map(|(name, queries)| Namespace {
                    queries,
                    search_path: search_path.get(&name).copied().unwrap_or_default(),
                    name,
                })
                .collect(),
        }
    }
}

impl Latency {
    fn new(before: &Reading, now: &Reading) -> Option<Self> {
        let name = "pando_request_duration_seconds";
        let since = now.distribution(name)?;
        let since = since.since(before.distribution(name).as_ref());
        Some(Self {
            bounds: since.bounds,
            counts: since.counts,
        })
    }
}

/// What all plugins say; each thing once, the worst first.
fn status<'a>(chains: impl Iterator<Item = &'a Chain>) -> Status {
    let mut status = Status::default();
    for plugin in chains.flat_map(Chain::plugins) {
        let own = plugin.status();
        status.zones.extend(own.zones);
        status.upstreams.extend(own.upstreams);
    }
    status.zones.sort();
    status.zones.dedup();
    status.upstreams.sort();
    status.upstreams.dedup();
    status
}

fn upstreams(
    upstreams: Vec<UpstreamStatus>,
    before: Option<&Reading>,
    now: &Reading,
) -> Vec<Upstream> {
    let seconds = before.map(|before| now.since(before).max(f64::EPSILON));
    let durations = |reading: &Reading| {
        let name = "coredns_proxy_request_duration_seconds";
        reading.observed(name, ["proxy_name", "to"])
    };
    let failures = |reading: &Reading| reading.by("pando_upstream_failures_total", ["to"]);
    let (took, took_before) = (durations(now), before.map(durations).unwrap_or_default());
    let failures = grown(failures(now), before.map(failures).as_ref());
    let row = |status: UpstreamStatus| {
        let key = [status.plugin.to_owned(), status.to.clone()];
        let of = |all: &BTreeMap<_, (f64, f64)>| all.get(&key).copied().unwrap_or_default();
        let ((count, sum), (count_before, sum_before)) = (of(&took), of(&took_before));
        let replies = (count - count_before).max(0.0);
        let failed = failures.get(std::slice::from_ref(&status.to)).copied();
        Upstream {
            replies: seconds.map(|seconds| replies / seconds),
            took: (seconds.is_some() && replies > 0.0).then(|| (sum - sum_before) / replies),
            failures: seconds.map(|seconds| failed.unwrap_or_default() / seconds),
            status,
        }
    };
    upstreams.into_iter().map(row).collect()
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
