//! The series of the `prometheus` plugin: what every server block counts.

use std::cell::OnceCell;
use std::sync::LazyLock;

use super::{Counter, Family, Histogram, SIZE_BUCKETS, TIME_BUCKETS, kept};
use crate::chain::{BlockInfo, Proto};
use crate::wire::{Rcode, rtype};

static REQUESTS: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_dns_requests_total",
        "Counter of DNS requests made per zone, protocol and family.",
        &["server", "zone", "view", "proto", "family", "type"],
    )
});
static DURATIONS: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_dns_request_duration_seconds",
        "Histogram of the time (in seconds) each request took per zone.",
        &["server", "zone", "view"],
        TIME_BUCKETS,
    )
});
static REQUEST_SIZES: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_dns_request_size_bytes",
        "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.",
        &["server", "zone", "view", "proto"],
        SIZE_BUCKETS,
    )
});
static RESPONSE_SIZES: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_dns_response_size_bytes",
        "Size of the returned response in bytes.",
        &["server", "zone", "view", "proto"],
        SIZE_BUCKETS,
    )
});
static DO_REQUESTS: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_dns_do_requests_total",
        "Counter of DNS requests with DO bit set per zone.",
        &["server", "zone", "view"],
    )
});
static RESPONSES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_dns_responses_total",
        "Counter of response status codes.",
        &["server", "zone", "view", "rcode", "plugin"],
    )
});

/// The types that have a label of their own (plugin/metrics/vars: `monitorType`).
const TYPES: [u16; 19] = [
    rtype::A,
    rtype::AAAA,
    rtype::CNAME,
    rtype::DNSKEY,
    rtype::DS,
    rtype::MX,
    rtype::NSEC,
    rtype::NSEC3,
    rtype::NS,
    rtype::PTR,
    rtype::RRSIG,
    rtype::SOA,
    rtype::SRV,
    rtype::TXT,
    rtype::HTTPS,
    rtype::SVCB,
    rtype::IXFR,
    rtype::AXFR,
    rtype::ANY,
];
/// Response codes whose series are found by index: those of a header and BADVERS.
const RCODES: usize = 17;

/// One query as the series want it.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How the client reached us.
    pub proto: Proto,
    /// Whether it came over IPv6.
    pub ipv6: bool,
    /// The queried type.
    pub qtype: u16,
    /// Whether DO was set.
    pub dnssec_ok: bool,
    /// Octets of the query.
    pub request_size: usize,
    /// Octets of the reply; 0 where none was written.
    pub response_size: usize,
    /// The response code.
    pub rcode: Rcode,
    /// From the query's arrival, in seconds.
    pub seconds: f64,
}

/// The series of a server block's zones, in their order there, found once
/// and kept by the worker.
#[derive(Debug)]
pub struct BlockSeries {
    zones: Vec<ZoneSeries>,
    /// For names outside all zones; CoreDNS labels them with the root.
    rest: ZoneSeries,
}

impl BlockSeries {
    /// `plugin` is the label of the responses: CoreDNS names the neighbour of
    /// `prometheus` in the chain there, not the plugin that answered.
    pub fn new(block: &BlockInfo, plugin: &str) -> Self {
        let series = |zone: &str| ZoneSeries::new(&block.server, zone, &block.view, plugin);
        let zones = block.zones.iter().map(|zone| series(&zone.to_string()));
        Self {
            zones: zones.collect(),
            rest: series("."),
        }
    }

    /// The series of a zone, by its place in the block's list.
    pub fn of(&self, zone: Option<usize>) -> &ZoneSeries {
        zone.and_then(|at| self.zones.get(at)).unwrap_or(&self.rest)
    }
}

/// The series of one zone.
#[derive(Debug)]
pub struct ZoneSeries {
    labels: [String; 3],
    plugin: String,
    /// By transport, family, and type; the last type is `other`.
    requests: [[[OnceCell<Counter>; TYPES.len() + 1]; 2]; 2],
    duration: OnceCell<Histogram>,
    request_sizes: [OnceCell<Histogram>; 2],
    response_sizes: [OnceCell<Histogram>; 2],
    do_requests: OnceCell<Counter>,
    responses: [OnceCell<Counter>; RCODES],
}

impl ZoneSeries {
    /// Series with these labels; `zone` is `dropped` for what never reached a chain.
    pub fn new(server: &str, zone: &str, view: &str, plugin: &str) -> Self {
        Self {
            labels: [server, zone, view].map(str::to_owned),
            plugin: plugin.to_owned(),
            requests: Default::default(),
            duration: OnceCell::new(),
            request_sizes: Default::default(),
            response_sizes: Default::default(),
            do_requests: OnceCell::new(),
            responses: Default::default(),
        }
    }

    /// Counts one query.
    pub fn report(&self, report: &Report) {
        let stream = usize::from(report.proto == Proto::Tcp);
        let six = usize::from(report.ipv6);
        let kind = TYPES
            .iter()
            .position(|kind| *kind == report.qtype)
            .unwrap_or(TYPES.len());
        let requests = self
            .requests
            .get(stream)
            .and_then(|by| by.get(six)?.get(kind));
        if let Some(cell) = requests {
            kept(cell, || self.new_requests(report)).inc();
        }
        if report.dnssec_ok {
            kept(&self.do_requests, || DO_REQUESTS.with(&self.labels())).inc();
        }
        kept(&self.duration, || DURATIONS.with(&self.labels())).observe(report.seconds);
        let observe = |cells: &[OnceCell<Histogram>; 2], family, size: usize| {
            if let Some(cell) = cells.get(stream) {
                // No message is too long for 32 bits.
                kept(cell, || self.new_sizes(family, report.proto)).observe(f64::from(size as u32));
            }
        };
        observe(&self.request_sizes, &REQUEST_SIZES, report.request_size);
        observe(&self.response_sizes, &RESPONSE_SIZES, report.response_size);
        match self.responses.get(usize::from(report.rcode.0)) {
            Some(cell) => kept(cell, || self.new_responses(report.rcode)).inc(),
            None => self.new_responses(report.rcode).inc(),
        }
    }

    fn labels(&self) -> [&str; 3] {
        self.labels.each_ref().map(String::as_str)
    }

    fn new_requests(&self, report: &Report) -> Counter {
        let [server, zone, view] = self.labels();
        let proto = report.proto.as_str();
        let family = if report.ipv6 { "2" } else { "1" };
        let known = TYPES.contains(&report.qtype);
        let name = known.then(|| rtype::mnemonic(report.qtype)).flatten();
        REQUESTS.with(&[server, zone, view, proto, family, name.unwrap_or("other")])
    }

    fn new_sizes(&self, family: &LazyLock<Family<Histogram>>, proto: Proto) -> Histogram {
        let [server, zone, view] = self.labels();
        family.with(&[server, zone, view, proto.as_str()])
    }

    fn new_responses(&self, rcode: Rcode) -> Counter {
        let [server, zone, view] = self.labels();
        let number = rcode.0.to_string();
        let name = rcode.mnemonic().unwrap_or(&number);
        RESPONSES.with(&[server, zone, view, name, &self.plugin])
    }
}
