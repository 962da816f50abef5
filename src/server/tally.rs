//! What a listener's answers are counted by, beside what `prometheus` counts
//! for each block: how long they took, where they came from, why names were
//! denied, and to whom.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use smallvec::SmallVec;

use super::listener::{Listener, Local};
use crate::chain::{Exchange, Plugin};
use crate::clock::{self, Tick};
use crate::denial::Denial;
use crate::metrics::namespaces::{Census, Row};
use crate::metrics::{Counter, Family, Histogram, Line, Lines, kept};
use crate::response::{Origin, Source};
use crate::wire::{NameBuf, Rcode, Reply};

/// Fit for answers from memory, which take some ten microseconds, and for
/// those that wait for an upstream.
const DURATION_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

static DURATIONS: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "pando_request_duration_seconds",
        "Histogram of the time from a query's arrival in the process to the sending of its answer.",
        &["server"],
        DURATION_BUCKETS,
    )
});
static ANSWERS: LazyLock<Lines> = LazyLock::new(|| {
    Lines::register(
        "pando_answers_total",
        "Counter of answers by where they came from.",
        ["server", "source"],
        &SOURCES,
    )
});
static WAITS: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "pando_socket_queue_seconds",
        "Histogram of the time that datagrams waited in the socket before they were received; one batch of a socket every 10 s.",
        &["server"],
        DURATION_BUCKETS,
    )
});
static DROPS: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "pando_socket_drops_total",
        "Counter of datagrams that the kernel dropped because the receive buffer was full.",
        &["server"],
    )
});

/// The values of the label `source`: in the order of [`Source`], and what
/// says that there is no answer.
static SOURCES: [&str; 6] = ["local", "snapshot", "cache", "stale", "upstream", "error"];
const ERROR: usize = Source::Upstream as usize + 1;

/// The counts of one listener on one worker.
pub(super) struct Tally {
    server: String,
    /// Answers by source.
    answers: Line,
    duration: OnceCell<Histogram>,
    drops: OnceCell<Counter>,
    waits: OnceCell<Histogram>,
    /// Whether any plugin here knows whose addresses are whose.
    has_directory: bool,
    /// The domains of the nodes' own search list.
    host_search: Vec<NameBuf>,
}

impl Tally {
    pub(super) fn new(server: &str, listener: &Listener) -> Self {
        let mut directories = listener.plugins().filter_map(Plugin::directory).peekable();
        let has_directory = directories.peek().is_some();
        let host_search = directories.flat_map(|directory| directory.host_search().to_vec());
        Self {
            host_search: host_search.collect(),
            has_directory,
            server: server.to_owned(),
            answers: ANSWERS.line(server),
            duration: OnceCell::new(),
            drops: OnceCell::new(),
            waits: OnceCell::new(),
        }
    }

    /// Says that so many answers to queries that arrived then are sent by now.
    pub(super) fn sent(&self, arrived: Tick, now: Tick, count: u64) {
        if count > 0 {
            let duration = kept(&self.duration, || DURATIONS.with(&[&self.server]));
            duration.observe_many(now.since(arrived).as_secs_f64(), count);
        }
    }

    /// A datagram has waited in the socket for so long.
    pub(super) fn waited(&self, time: Duration) {
        let waits = kept(&self.waits, || WAITS.with(&[&self.server]));
        waits.observe(time.as_secs_f64());
    }

    /// Counts datagrams that found the receive buffer full.
    pub(super) fn dropped(&self, count: u32) {
        kept(&self.drops, || DROPS.with(&[&self.server])).add(count.into());
    }
}

impl Local {
    /// Counts a query with the answer that was finished, if it got one.
    #[inline]
    pub(super) fn count(&self, exchange: &Exchange, census: &Census) {
        let tally = self.tally();
        let row = match tally.has_directory {
            true => census.row(exchange.client, |ip| self.namespace_of(ip)),
            false => census.unknown(),
        };
        row.asked();
        if let Some(reply) = exchange.reply() {
            match reply.rcode() {
                Rcode::NOERROR => tally.answers.inc(reply.origin().source as usize),
                Rcode::NXDOMAIN => self.count_denial(exchange, reply, census, row),
                _ => tally.answers.inc(ERROR),
            }
        }
    }

    #[inline(never)]
    fn count_denial(&self, exchange: &Exchange, reply: &Reply, census: &Census, row: &Row) {
        let tally = self.tally();
        let Origin { source, denial } = reply.origin();
        tally.answers.inc(source as usize);
        let why = denial.unwrap_or_else(|| source.denial());
        row.denied(why);
        match why {
            Denial::SearchPath if census.samples() => self.sample(exchange, census),
            Denial::Upstream => {
                let name = exchange.request.name();
                if tally
                    .host_search
                    .iter()
                    .any(|zone| name.is_under(zone.name()))
                {
                    row.host_searched();
                }
            }
            _ => {}
        }
    }

    /// Takes note of what a search list was appended to.
    #[cold]
    fn sample(&self, exchange: &Exchange, census: &Census) {
        let request = &exchange.request;
        let mut plugins = self.listener().plugins();
        let octets = plugins.find_map(|plugin| plugin.relative(request));
        if let Some(relative) = octets.and_then(|octets| request.name().wire().get(..octets)) {
            census.sample(relative);
        }
    }

    #[cold]
    fn namespace_of(&self, client: IpAddr) -> Option<String> {
        let mut directories = self.listener().plugins().filter_map(Plugin::directory);
        directories.find_map(|directory| directory.namespace_of(client))
    }
}

/// When the queries arrived whose answers are about to be sent.
#[derive(Default)]
pub(super) struct Departures(SmallVec<[(Tick, u64); 8]>);

impl Departures {
    /// Adds an answer.
    pub(super) fn add(&mut self, arrived: Tick) {
        match self.0.last_mut() {
            Some((last, count)) if *last == arrived => *count += 1,
            _ => self.0.push((arrived, 1)),
        }
    }

    /// They are sent.
    pub(super) fn sent(&mut self, tally: &Tally) {
        if self.0.is_empty() {
            return;
        }
        let now = clock::refresh();
        for (arrived, count) in self.0.drain(..) {
            tally.sent(arrived, now, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_the_words_of_their_numbers() {
        for (source, word) in [
            (Source::Local, "local"),
            (Source::Snapshot, "snapshot"),
            (Source::Cache, "cache"),
            (Source::Stale, "stale"),
            (Source::Upstream, "upstream"),
        ] {
            assert_eq!(SOURCES[source as usize], word);
        }
        assert_eq!(SOURCES[ERROR], "error");
    }
}
