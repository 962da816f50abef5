//! Measures what a cluster costs as it grows: from 100 to 10,000 Services
//! with 15 endpoints each, and with 150,000 Pods under `pods verified`.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p pando-scale -- [PART...] [--sizes N,N] [--servers NAME,NAME]
//! ```
//!
//! | part | what it measures |
//! |---|---|
//! | `sizes` | start, memory after it and in a relist, a look-up |
//! | `changes` | from a change to the answer that shows it, at rest and among 1,000 changes a second |
//! | `minute` | memory before and after a minute of 1,000 changes a second |
//! | `real` | from a change to the answer through a real API server |
//!
//! Measured are `target/release/pando` (or what `PANDO_BIN` names), CoreDNS
//! where `COREDNS_BIN` names one, and for changes the floor: a bare client
//! that watches the same objects. All of them follow the same API double (or
//! real API server, where `KUBEBUILDER_ASSETS` names one) and are served JSON
//! by the double; from a real API server CoreDNS asks for protobuf, which it
//! reads faster. Servers run on core 0; the double, whatever changes its
//! objects, and whoever asks run on core 1. Runs of the servers are
//! interleaved and the median counts.
#![forbid(unsafe_code)]
// An instrument reads the clock and waits.
#![allow(clippy::disallowed_methods)]

mod changes;
mod cluster;
mod floor;
mod probe;
mod real;
mod report;
mod server;
mod sizes;

use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use pando_test::ApiDouble;

use cluster::Cluster;
use report::Report;
use server::Kind;

/// What this measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Sizes,
    Changes,
    Minute,
    Real,
}

/// Measures memory, start, look-ups and changes as the cluster grows.
#[derive(Debug, Parser)]
#[command(name = "pando-scale")]
struct Options {
    /// What to measure; everything where nothing is named.
    parts: Vec<Part>,
    /// Numbers of Services.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000])]
    sizes: Vec<u32>,
    /// The servers; CoreDNS is left out where COREDNS_BIN names none.
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL)]
    servers: Vec<Kind>,
    /// How often each server is measured at each size.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How many changes are timed at rest.
    #[arg(long, default_value_t = 300)]
    changes: u32,
    /// How long 1,000 changes a second last in the part `changes`, seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How long they last in the part `minute`, seconds.
    #[arg(long, default_value_t = 60.0)]
    minute: f64,
    /// Writes the tables to benches/results/scale.md, each part in the place
    /// of its last result.
    #[arg(long)]
    write: bool,
}

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(floor::COMMAND) {
        return floor::run();
    }
    let options = Options::parse();
    pin(1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut report = Report::default();
    let parts: Vec<Part> = match &*options.parts {
        [] => Part::value_variants().to_vec(),
        some => some.to_vec(),
    };
    let asked = |part| parts.contains(&part);
    let present: Vec<Kind> = (options.servers.iter().copied())
        .filter(|kind| kind.program().is_some())
        .collect();
    if let Some(pando) = Kind::Pando.program().filter(|pando| !pando.is_file()) {
        anyhow::bail!("no server in {}: cargo build --release", pando.display());
    }
    let largest = options.sizes.iter().max().copied();
    for &size in options.sizes.iter().filter(|_| parts != [Part::Real]) {
        let pods = asked(Part::Sizes) && Some(size) == largest;
        let double = runtime.block_on(ApiDouble::start())?;
        let mut cluster = Cluster::fill(double, size, pods);
        let run = Run {
            options: &options,
            servers: &present,
        };
        if asked(Part::Sizes) {
            sizes::measure(&run, &mut cluster, &mut report)?;
        }
        if asked(Part::Changes) {
            changes::measure(&run, &mut cluster, &mut report)?;
        }
        if asked(Part::Minute) && Some(size) == largest {
            changes::minute(&run, &mut cluster, &mut report)?;
        }
    }
    if asked(Part::Real) {
        real::measure(&options, &present, &runtime, &mut report)?;
    }
    report.print();
    if options.write {
        report.write()?;
    }
    Ok(())
}

/// What every part needs to know.
struct Run<'a> {
    options: &'a Options,
    servers: &'a [Kind],
}

/// Moves this process, with all that it will start, to a core if there is one
/// of that number.
fn pin(core: usize) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if core >= cores {
        eprintln!("only {cores} core: servers and instrument share it");
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot be pinned to a core")
}

/// Repeats `ready` every millisecond until it yields a value.
fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let begun = std::time::Instant::now();
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        anyhow::ensure!(begun.elapsed() < BOUND, "{what}: not within {BOUND:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whatever takes longer has failed.
const BOUND: Duration = Duration::from_secs(30);
