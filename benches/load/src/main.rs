//! Measures what a query costs a server in CPU time, as a multiple of what a
//! bare UDP echo costs on the same machine in the same run, and how long the
//! reply takes at half of the load that saturates the server.
//!
//! ```text
//! cargo build --release && cargo run --release -p pando-load -- [WORKLOAD...]
//! ```
//!
//! The servers, in turn on one core: the floor, Pando, what `COREDNS_BIN` and
//! `NODE_CACHE_BIN` name, and the system's unbound and dnsdist, all with the
//! same names and the same upstream. The generator, the upstream and the API
//! server have the other core. Rounds are interleaved and the median counts,
//! because absolute numbers drift on shared machines and ratios within a run
//! do not.
#![forbid(unsafe_code)]
// A generator reads the clock and waits.
#![allow(clippy::disallowed_methods)]

mod cluster;
mod configuration;
mod cpu;
mod flight;
mod floor;
mod generator;
mod lane;
mod latency;
mod message;
mod mmsg;
mod peer;
mod program;
mod report;
mod round;
mod stream;
mod upstream;
mod workload;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use pando_test::ApiDouble;

use cpu::Cores;
use message::Query;
use peer::{Peer, Surroundings};
use program::Program;
use report::Results;
use round::Round;
use upstream::Upstream;
use workload::{Transport, Workload};

/// Where the table of a whole run is kept.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/load.md");

#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Internal>,
    /// What is asked; everything where nothing is named.
    workloads: Vec<Workload>,
    /// Whom; everybody on this machine where nobody is named.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Program>,
    /// Rounds of each start that count; one more warms up.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How often every server is started anew for a workload: where its
    /// memory comes to lie is worth some per cent.
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// How long a server is measured in a round, at full and at half load each.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Fails when Pando costs more than it may.
    #[arg(long)]
    bars: bool,
    /// Writes benches/results/load.md; only a run of everything may.
    #[arg(long, conflicts_with_all = ["workloads", "servers"])]
    write: bool,
}

#[derive(Debug, Subcommand)]
enum Internal {
    /// Runs the echo on this port.
    #[command(hide = true)]
    Floor { port: u16 },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Internal::Floor { port }) = arguments.command {
        return floor::run(port);
    }
    let cores = Cores::take()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let api = runtime.block_on(ApiDouble::start())?;
    for object in cluster::objects() {
        api.apply(&object);
    }
    let mut surroundings = Surroundings {
        cores,
        api: api.url(),
        upstream: Upstream::open()?,
    };
    let programs = arguments.programs()?;
    let mut text = report::preface(&programs);
    println!("{text}");
    let mut missed = Vec::new();
    for results in arguments.run(&programs, &mut surroundings) {
        let results = results?;
        let table = results.table();
        println!("{table}");
        text = text + "\n" + &table;
        missed.extend(results.is_missed().then(|| results.workload.name()));
    }
    if arguments.write {
        std::fs::write(RESULTS, text).context(RESULTS)?;
    }
    ensure!(
        missed.is_empty() || !arguments.bars,
        "pando costs more than it may: {}",
        missed.join(", ")
    );
    Ok(())
}

impl Arguments {
    /// Who is measured: asked for, or on this machine.
    fn programs(&self) -> anyhow::Result<Vec<Program>> {
        let mut programs = Vec::new();
        for program in Program::value_variants() {
            let named = self.servers.contains(program);
            if !self.servers.is_empty() && !named {
                continue;
            }
            match program.binary()? {
                Some(_) => programs.push(*program),
                None if named => bail!("{} is not on this machine", program.name()),
                None => {}
            }
        }
        Ok(programs)
    }

    /// Measures every workload in turn.
    fn run(
        &self,
        programs: &[Program],
        surroundings: &mut Surroundings,
    ) -> impl Iterator<Item = anyhow::Result<Results>> {
        let workloads = match self.workloads.as_slice() {
            [] => Workload::value_variants(),
            named => named,
        };
        let mut serial = 0;
        workloads.iter().map(move |&workload| {
            let mut results = Results::new(workload, programs);
            for _ in 0..self.starts.max(1) {
                let peers = start(programs, workload.upstream(), surroundings)?;
                let upstream = &mut surroundings.upstream;
                self.measure(&peers, upstream, &mut serial, &mut results)?;
            }
            Ok(results)
        })
    }

    /// Measures servers that have just been started.
    fn measure(
        &self,
        peers: &[Peer],
        upstream: &mut Upstream,
        serial: &mut u64,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        let workload = results.workload;
        let mut round = Round {
            workload,
            queries: &workload.queries(),
            time: Duration::from_secs_f64(self.seconds),
            upstream,
            serial,
        };
        let (begun, stolen) = (Instant::now(), cpu::stolen());
        for count in 0..=self.rounds {
            for (peer, (program, costs)) in peers.iter().zip(&mut results.rows) {
                if !program.serves(workload) {
                    continue;
                }
                let cost = round.measure(peer);
                let cost = cost.with_context(|| format!("{}, {}", program.name(), workload.name()));
                // The first round warms caches and counts for nothing.
                let cost = cost?;
                if count > 0 {
                    costs.push(cost);
                }
            }
        }
        results.elapsed += begun.elapsed();
        results.stolen += cpu::stolen().saturating_sub(stolen);
        Ok(())
    }
}

/// Starts the servers and waits until they answer; `over` is how they ask
/// their upstream.
fn start(
    programs: &[Program],
    over: Transport,
    surroundings: &mut Surroundings,
) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for program in programs {
        let binary = program.binary()?.context("was there")?;
        peers.push(Peer::start(*program, &binary, over, surroundings)?);
    }
    let probes = |workload: Workload| workload.queries().into_iter().next_back();
    for peer in &mut peers {
        let workloads = [Workload::Cluster, Workload::Headless, Workload::Cached];
        let workloads = workloads
            .into_iter()
            .filter(|one| peer.program.serves(*one));
        let probes: Vec<Query> = workloads.filter_map(probes).collect();
        peer.wait(&probes, &mut surroundings.upstream)?;
    }
    Ok(peers)
}
