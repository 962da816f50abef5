//! `pando diff`: asks two servers the same and tells what differs.
//!
//! ```text
//! pando diff --against ADDRESS [--server ADDRESS] FILE
//! pando diff --against ADDRESS [--server ADDRESS] --listen tcp://ADDRESS:PORT
//! ```
//!
//! FILE, or standard input where it is `-`, is a list of names and types, a
//! capture (pcap, pcapng) or dnstap; see docs/tools.md. Each question is asked
//! once, however often it was read, and again where answers differ: what
//! changes under way is not told as a difference.

mod compare;
mod dnstap;
mod packet;
mod pcap;
mod query;
mod replay;
mod report;
mod source;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::wire::NameBuf;
use compare::{Known, Part, Rules};
use dnstap::Listen;
use query::Sieve;
use replay::Replay;
use report::Report;
use source::SourceError;

/// For the fuzzer: reads queries from these octets, whatever they are, and
/// looks at each as the comparison does; how many there were.
#[cfg(fuzzing)]
pub async fn fuzz(octets: &[u8]) -> usize {
    let (out, mut found) = tokio::sync::mpsc::channel(AHEAD);
    let reading = async move {
        // What is wrong with them is for a person.
        let _ = source::read(octets, 53, &out).await;
    };
    let taking = async {
        let mut sieve = query::Sieve::new(Vec::new(), None);
        let mut taken = 0;
        while let Some(offered) = found.recv().await {
            if let Some(query) = sieve.take(offered) {
                assert!(query.name().to_string().ends_with('.'));
                assert!(!query.qtype().is_empty());
                assert!(query.message.len() <= usize::from(u16::MAX));
                taken += 1;
            }
        }
        taken
    };
    tokio::join!(reading, taking).1
}

/// Queries that are read ahead.
const AHEAD: usize = 64;

/// The options of `pando diff`.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
#[command(group = ArgGroup::new("source").required(true).args(["file", "listen"]))]
pub struct Options {
    /// The server to compare with: IP address, with :PORT where it is not 53
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    against: SocketAddr,

    /// The server under test
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:53")]
    server: SocketAddr,

    /// Queries: lines of NAME [TYPE], a capture (pcap, pcapng), or dnstap; - is standard input
    file: Option<PathBuf>,

    /// Wait for servers that send dnstap: tcp://ADDRESS:PORT or unix:///PATH
    #[arg(long, value_name = "ENDPOINT")]
    listen: Option<Listen>,

    /// The port that captured queries went to
    #[arg(long, default_value_t = 53)]
    port: u16,

    /// Ask only for names in this zone; may be given again
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Vec<NameBuf>,

    /// Queries a second; 0 is as fast as they are answered
    #[arg(long, value_name = "N", default_value_t = 200)]
    rate: u32,

    /// Queries under way at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,

    /// How long to wait for one answer
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = super::patience)]
    timeout: Duration,

    /// How often to ask again, a quarter of a second apart, where answers differ
    #[arg(long, value_name = "N", default_value_t = 2)]
    retries: u32,

    /// Stop after so many questions
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Stop after this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,

    /// Parts of the answer that do not count
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    ignore: Vec<Part>,

    /// Known differences that count
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    strict: Vec<Known>,

    /// TTLs count where they are farther apart than this many seconds
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,

    /// Differences that are told in full; all are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    show: usize,

    /// How to say it
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Output,
}

/// How results are said.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    /// Differences as they are found, then the sums
    Text,
    /// One object at the end
    Json,
}

impl Options {
    /// Asks and compares: 0 where all answers are the same, 1 where some differ,
    /// 2 where the queries could not be read to their end.
    ///
    /// # Errors
    ///
    /// Why nothing could be compared.
    pub(super) async fn run(self) -> anyhow::Result<u8> {
        if self.server == self.against {
            bail!("--server and --against are the same: {}", self.server);
        }
        let replay = Arc::new(Replay {
            servers: [self.server, self.against],
            bound: self.timeout,
            retries: self.retries,
            rate: self.rate,
            concurrency: self.concurrency.into(),
            rules: Rules {
                ignore: self.ignore.clone(),
                strict: self.strict.clone(),
                ttl: self.ttl,
            },
        });
        let mut sieve = Sieve::new(self.zone.clone(), self.limit);
        let mut report = Report::new(replay.servers, self.show);
        let stop = self.stop()?;
        let (out, queries) = mpsc::channel(AHEAD);
        let what = self.source();
        let text = self.output == Output::Text;
        if text {
            let (server, against) = (self.server, self.against);
            say(&format!("< {server} (--server)\n> {against} (--against)\n"))?;
        }
        let reading = tokio::spawn(async move { self.read(&out).await });
        let asked = replay.run(queries, &mut sieve, stop, |compared| {
            match report.take(compared).filter(|_| text) {
                Some(difference) => say(&difference),
                None => Ok(()),
            }
        });
        asked.await?;
        reading.abort();
        let read = reading.await;
        report.finish(sieve);
        match text {
            true => say(&report.summary())?,
            false => report.write_json(&mut std::io::stdout().lock())?,
        }
        match read {
            Ok(Err(SourceError::Stopped)) | Ok(Ok(())) => {}
            Ok(Err(error)) => bail!("{what}: {error}"),
            Err(ended) if ended.is_cancelled() => {}
            Err(broken) => return Err(broken).context("reading the queries"),
        }
        if let Some(why) = report.says_nothing() {
            bail!("{what}: {why}");
        }
        Ok(report.found_something().into())
    }

    async fn read(self, out: &source::Sender) -> Result<(), SourceError> {
        match (&self.listen, &self.file) {
            (Some(at), _) => dnstap::listen(at, out).await,
            (None, Some(path)) => source::file(path, self.port, out).await,
            // The group requires one of them.
            (None, None) => Ok(()),
        }
    }

    fn source(&self) -> String {
        match (&self.listen, &self.file) {
            (Some(at), _) => at.to_string(),
            (None, Some(path)) if path == Path::new("-") => "standard input".to_owned(),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => String::new(),
        }
    }

    /// The time is up, or somebody wants the sums now.
    fn stop(&self) -> anyhow::Result<impl Future<Output = ()> + use<>> {
        let mut interrupted = signal(SignalKind::interrupt()).context("trap SIGINT")?;
        let mut terminated = signal(SignalKind::terminate()).context("trap SIGTERM")?;
        let duration = self.duration;
        Ok(async move {
            let up = async {
                match duration {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = up => {}
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        })
    }
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let ip = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    text.parse()
        .or_else(|_| ip())
        .map_err(|_| "not an IP address, with :PORT where it is not 53".to_owned())
}

fn zone(text: &str) -> Result<NameBuf, String> {
    crate::presentation::parse_name(text).ok_or_else(|| "no domain name".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = corefile::duration::parse(text).map_err(|error| error.to_string())?;
    parsed
        .to_std()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be more than nothing".to_owned())
}
