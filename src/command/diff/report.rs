//! What the rehearsal found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::compare::Difference;
use super::query::Sieve;
use super::replay::{Compared, Outcome};

/// Latencies that are kept to tell their quantiles.
const MOST_TIMES: usize = 1 << 18;

/// The sum of it. The names of its fields are those of `-o json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The first server's address.
    server: String,
    /// The other's.
    against: String,
    /// Messages that were read.
    read: u64,
    /// Queries among them that were like one before, and not asked again.
    repeated: u64,
    /// Messages that cannot be asked, by reason.
    skipped: BTreeMap<&'static str, u64>,
    /// Queries that both were asked.
    asked: u64,
    /// Queries with the same answer.
    same: u64,
    /// Queries with the same answer once they were asked again.
    settled: u64,
    /// Queries with other answers.
    different: u64,
    /// Queries that neither answered.
    silence: u64,
    /// Answers among the same with a known difference, by its name.
    known: BTreeMap<&'static str, u64>,
    /// How often the servers did not answer, each round counted.
    unanswered: Sides<u64>,
    /// Of the answers to what was asked for the first time; `null` without any.
    latency_seconds: Sides<Option<Latency>>,
    /// The queries with other answers, the first of them.
    differences: Vec<Found>,
    #[serde(skip)]
    times: [Vec<u32>; 2],
    #[serde(skip)]
    show: usize,
}

/// Something of each server.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Sides<T> {
    server: T,
    against: T,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// A query with other answers.
#[derive(Debug, Serialize)]
struct Found {
    name: String,
    r#type: String,
    transport: &'static str,
    differences: Vec<Difference>,
}

impl Report {
    /// Nothing found yet; at most `show` differences are told in full.
    pub(super) fn new([server, against]: [SocketAddr; 2], show: usize) -> Self {
        Self {
            server: server.to_string(),
            against: against.to_string(),
            read: 0,
            repeated: 0,
            skipped: BTreeMap::new(),
            asked: 0,
            same: 0,
            settled: 0,
            different: 0,
            silence: 0,
            known: BTreeMap::new(),
            unanswered: Sides::default(),
            latency_seconds: Sides::default(),
            differences: Vec::new(),
            times: Default::default(),
            show,
        }
    }

    /// Counts what came of a query; the text of its difference, if there is one to tell.
    pub(super) fn take(&mut self, compared: Compared) -> Option<String> {
        self.asked += 1;
        self.unanswered.server += compared.unanswered[0];
        self.unanswered.against += compared.unanswered[1];
        for (times, elapsed) in self.times.iter_mut().zip(compared.elapsed) {
            if let Some(elapsed) = elapsed.filter(|_| times.len() < MOST_TIMES) {
                times.push(u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX));
            }
        }
        match compared.outcome {
            Outcome::Same => self.same += 1,
            Outcome::Settled => self.settled += 1,
            Outcome::Silence => self.silence += 1,
            Outcome::Different => {
                self.different += 1;
                if self.differences.len() >= self.show {
                    return None;
                }
                let text = text(&compared);
                self.differences.push(Found {
                    name: compared.query.name().to_string(),
                    r#type: compared.query.qtype(),
                    transport: if compared.query.tcp { "tcp" } else { "udp" },
                    differences: compared.findings.differences,
                });
                return Some(text);
            }
        }
        for known in compared.findings.known {
            *self.known.entry(known.name()).or_default() += 1;
        }
        None
    }

    /// Why it tells nothing of the servers.
    pub(super) fn says_nothing(&self) -> Option<String> {
        if self.asked == 0 {
            return Some("there was no query to ask".to_owned());
        }
        let sides = [&self.server, &self.against].into_iter().zip(&self.times);
        let mut silent = sides.filter(|(_, times)| times.is_empty());
        silent
            .next()
            .map(|(address, _)| format!("{address} answered nothing at all"))
    }

    /// Whether any answers differ.
    pub(super) const fn found_something(&self) -> bool {
        self.different > 0
    }

    /// Takes what was read.
    pub(super) fn finish(&mut self, sieve: Sieve) {
        self.read = sieve.read;
        self.repeated = sieve.repeated;
        self.skipped = sieve.skipped;
        let [server, against] = &mut self.times;
        self.latency_seconds = Sides {
            server: quantiles(server),
            against: quantiles(against),
        };
    }

    /// The sums, for people.
    pub(super) fn summary(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out += &text;
            out.push('\n');
        };
        if self.different > self.differences.len() as u64 {
            line(format!("… {} differences in all", self.different));
        }
        line(format!(
            "{} read, {} asked: {} same, {} settled when asked again, {} different, {} answered by neither",
            self.read, self.asked, self.same, self.settled, self.different, self.silence
        ));
        let list = |counts: &BTreeMap<&str, u64>| {
            let each = counts.iter().map(|(name, count)| format!("{name} {count}"));
            each.collect::<Vec<_>>().join(", ")
        };
        if self.repeated > 0 {
            line(format!("repeated, asked once: {}", self.repeated));
        }
        if !self.skipped.is_empty() {
            line(format!("cannot be asked again: {}", list(&self.skipped)));
        }
        if !self.known.is_empty() {
            line(format!(
                "known differences, not counted: {}",
                list(&self.known)
            ));
        }
        for (address, unanswered, latency) in [
            (
                &self.server,
                self.unanswered.server,
                self.latency_seconds.server,
            ),
            (
                &self.against,
                self.unanswered.against,
                self.latency_seconds.against,
            ),
        ] {
            let times = latency.map_or_else(String::new, |Latency { p50, p99 }| {
                format!(", p50 {:.2} ms, p99 {:.2} ms", p50 * 1e3, p99 * 1e3)
            });
            line(format!("{address}: unanswered {unanswered}{times}"));
        }
        out
    }

    /// The whole, for programs.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

/// As diff(1) marks them: `<` the one, `>` the other.
fn text(compared: &Compared) -> String {
    let mut out = format!("{}\n", compared.query);
    for difference in &compared.findings.differences {
        let server = difference.server.iter().map(|line| ('<', line));
        let against = difference.against.iter().map(|line| ('>', line));
        for (mark, line) in server.chain(against) {
            let _ = writeln!(out, "  {:<10} {mark} {line}", difference.what);
        }
    }
    out
}

fn quantiles(micros: &mut [u32]) -> Option<Latency> {
    micros.sort_unstable();
    let last = micros.len().checked_sub(1)?;
    let at = |share: f64| {
        let micros = micros.get((last as f64 * share).round() as usize)?;
        Some(Duration::from_micros(u64::from(*micros)).as_secs_f64())
    };
    Some(Latency {
        p50: at(0.5)?,
        p99: at(0.99)?,
    })
}
