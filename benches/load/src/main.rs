//! Measures what a query costs a server in CPU time, as a multiple of what a
//! bare UDP echo costs on the same machine in the same run.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p pando-load -- [COREFILE [NAME...]]
//! ```
//!
//! Without a Corefile it is `whoami`. The port in the Corefile must be that
//! of `-dns.port`: keys without a port. The names are asked for in turn, type
//! A. Measured are the echo, `target/release/pando` (or what `PANDO_BIN`
//! names) and, where `COREDNS_BIN` names one, CoreDNS. Rounds are interleaved
//! and the median counts, because absolute numbers drift on shared machines.
//! Servers run on core 0, the generator on core 1; with one core less is told.
#![forbid(unsafe_code)]
// A generator reads the clock and waits.
#![allow(clippy::disallowed_methods)]

mod target;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::Context;

use target::{Cpu, Target};

/// Queries in flight at once, each from a socket of its own, so that every
/// worker gets its share.
const WINDOW: usize = 64;
/// How long one server is measured in one round.
const ROUND: Duration = Duration::from_secs(2);
/// How often each server is measured.
const ROUNDS: usize = 5;
/// After that a datagram counts as lost.
const LOST: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("echo") {
        let port = arguments.next().context("echo PORT")?.parse()?;
        return echo(port);
    }
    let corefile = match &first {
        Some(path) => std::fs::read_to_string(path).with_context(|| path.clone())?,
        None => ". {\n whoami\n}\n".to_owned(),
    };
    let mut names: Vec<String> = arguments.collect();
    if names.is_empty() {
        names.push("example.org.".to_owned());
    }
    let queries: Vec<Vec<u8>> = names.iter().map(|name| query(name)).collect();

    target::pin_self(1);
    let mut targets = vec![Target::echo()?];
    targets.push(Target::server("pando", pando()?, &corefile)?);
    if let Some(binary) = std::env::var_os("COREDNS_BIN") {
        targets.push(Target::server("coredns", binary.into(), &corefile)?);
    }
    let mut costs = vec![Vec::new(); targets.len()];
    for round in 0..=ROUNDS {
        for (target, costs) in targets.iter().zip(&mut costs) {
            let cost = measure(target, &queries)?;
            // The first round warms caches and counts for nothing.
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    report(&targets, &costs);
    Ok(())
}

fn pando() -> anyhow::Result<std::path::PathBuf> {
    if let Some(binary) = std::env::var_os("PANDO_BIN") {
        return Ok(binary.into());
    }
    let here = std::env::current_exe()?;
    Ok(here.with_file_name("pando"))
}

/// What a query costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// CPU time of the server, user and system, in microseconds.
    micros: f64,
    /// Of that, in user space.
    user: f64,
    /// Queries a second.
    rate: f64,
    lost: usize,
}

fn measure(target: &Target, queries: &[Vec<u8>]) -> anyhow::Result<Cost> {
    let sockets = (0..WINDOW).map(|_| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", target.port))?;
        socket.set_read_timeout(Some(LOST))?;
        Ok(socket)
    });
    let sockets: Vec<UdpSocket> = sockets.collect::<std::io::Result<_>>()?;
    let mut buffer = [0; 4096];
    let (mut answered, mut lost) = (0usize, 0usize);
    let before = Cpu::of(target.pid)?;
    let begun = Instant::now();
    let mut queries = queries.iter().cycle();
    while begun.elapsed() < ROUND {
        for socket in &sockets {
            socket.send(queries.next().context("no query")?)?;
        }
        for socket in &sockets {
            match socket.recv(&mut buffer) {
                Ok(_) => answered += 1,
                Err(_) => lost += 1,
            }
        }
    }
    let elapsed = begun.elapsed();
    let used = Cpu::of(target.pid)?.since(before);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / answered.max(1) as f64;
    Ok(Cost {
        micros: each(used.total),
        user: each(used.user),
        rate: answered as f64 / elapsed.as_secs_f64(),
        lost,
    })
}

fn report(targets: &[Target], costs: &[Vec<Cost>]) {
    let middle = |costs: &[Cost], of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let floor = costs
        .first()
        .map_or(f64::NAN, |costs| middle(costs, |cost| cost.micros));
    println!(
        "{:10} {:>10} {:>8} {:>10} {:>6} {:>7}",
        "", "us/query", "user", "query/s", "lost", "x echo"
    );
    for (target, costs) in targets.iter().zip(costs) {
        let micros = middle(costs, |cost| cost.micros);
        println!(
            "{:10} {micros:>10.3} {:>8.3} {:>10.0} {:>6} {:>7.2}",
            target.name,
            middle(costs, |cost| cost.user),
            middle(costs, |cost| cost.rate),
            costs.iter().map(|cost| cost.lost).sum::<usize>(),
            micros / floor,
        );
    }
}

/// Sends back what comes, one datagram at a time: the floor.
fn echo(port: u16) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    let mut buffer = [0; 4096];
    loop {
        let (len, client) = socket.recv_from(&mut buffer)?;
        socket.send_to(buffer.get(..len).unwrap_or_default(), client)?;
    }
}

/// A query for the A records of a name, with EDNS as resolvers send it.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]);
    query
}
