//! Measures what a query costs a server in CPU time, as a multiple of what a
//! bare UDP echo costs on the same machine in the same run.
//!
//! ```text
//! cargo build --release && cargo run --release -p pando-load -- [WORKLOAD...]
//! ```
//!
//! The servers, each on one core: the floor, Pando, and what `COREDNS_BIN`
//! names, all with the kubeadm Corefile over the same cluster of 1,100
//! Services and the same upstream. The generator, the upstream and the API
//! server have the other core. Rounds are interleaved and the median counts,
//! because absolute numbers drift on shared machines and ratios within a run
//! do not.
#![forbid(unsafe_code)]
// A generator reads the clock and waits.
#![allow(clippy::disallowed_methods)]

mod cluster;
mod cpu;
mod flight;
mod floor;
mod generator;
mod lane;
mod message;
mod mmsg;
mod peer;
mod report;
mod upstream;
mod workload;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use pando_test::ApiDouble;

use cpu::{Cores, Cpu};
use generator::{Generator, Questions};
use message::Query;
use peer::{Peer, Program, Surroundings};
use report::Cost;
use upstream::Upstream;
use workload::Workload;

/// Before a measurement begins: until the window is full.
const RAMP: Duration = Duration::from_millis(50);

#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Internal>,
    /// What is asked; all of them where none is named.
    workloads: Vec<Workload>,
    /// Whom; everybody who is there where none is named.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Program>,
    /// Rounds that count; one more warms up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a server is measured in a round.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
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
        upstream: &mut Upstream::open()?,
    };
    let peers = start(&arguments, &mut surroundings)?;
    let workloads = match arguments.workloads.as_slice() {
        [] => Workload::value_variants(),
        named => named,
    };
    let mut serial = 0;
    for workload in workloads {
        let rows = measure(
            *workload,
            &arguments,
            &peers,
            surroundings.upstream,
            &mut serial,
        )?;
        println!("{}\n\n{}", workload.name(), report::table(&rows));
    }
    Ok(())
}

/// Starts every server that was asked for and is there.
fn start(arguments: &Arguments, surroundings: &mut Surroundings<'_>) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for program in Program::value_variants() {
        let named = arguments.servers.contains(program);
        if !arguments.servers.is_empty() && !named {
            continue;
        }
        match program.binary()? {
            Some(binary) => peers.push(Peer::start(*program, &binary, surroundings)?),
            None if named => bail!("{} is not on this machine", program.name()),
            None => {}
        }
    }
    let queries = [Workload::Cluster, Workload::Headless, Workload::Cached].map(Workload::queries);
    let probes: Vec<&Query> = queries
        .iter()
        .filter_map(|queries| queries.last())
        .collect();
    for peer in &mut peers {
        peer.wait(&probes, surroundings.upstream)?;
    }
    Ok(peers)
}

fn measure(
    workload: Workload,
    arguments: &Arguments,
    peers: &[Peer],
    upstream: &mut Upstream,
    serial: &mut u64,
) -> anyhow::Result<Vec<(Program, Vec<Cost>)>> {
    let queries = workload.queries();
    let mut rows: Vec<(Program, Vec<Cost>)> = peers
        .iter()
        .map(|peer| (peer.program, Vec::new()))
        .collect();
    let time = Duration::from_secs_f64(arguments.seconds);
    for round in 0..=arguments.rounds {
        for (peer, (_, costs)) in peers.iter().zip(&mut rows) {
            let cost = once(peer, &queries, time, upstream, serial);
            let cost =
                cost.with_context(|| format!("{}, {}", peer.program.name(), workload.name()));
            // The first round warms caches and counts for nothing.
            let cost = cost?;
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    Ok(rows)
}

fn once(
    peer: &Peer,
    queries: &[Query],
    time: Duration,
    upstream: &mut Upstream,
    serial: &mut u64,
) -> anyhow::Result<Cost> {
    let questions = Questions {
        queries,
        echo: peer.program == Program::Floor,
        serial,
        next: 0,
    };
    let mut generator = Generator::udp(peer.address(), questions, upstream)?;
    let ramp = generator.run(RAMP)?;
    let before = Cpu::of(peer.pid)?;
    let tally = generator.run(time)?;
    let used = Cpu::of(peer.pid)?.since(before);
    let rest = generator.drain()?;
    for part in [&ramp, &tally, &rest] {
        if let Some(example) = &part.example {
            bail!(
                "{} wrong replies, as {example}\n{}",
                part.wrong,
                peer.output()
            );
        }
    }
    Ok(Cost::new(used, tally.answered, tally.lost, tally.elapsed))
}
