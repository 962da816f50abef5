//! From a change to the answer that shows it.

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{self, Cluster, name, slice};
use crate::probe::{Probe, query};
use crate::report::{Column, Report, quantile};
use crate::server::{Api, Cpu, Kind, Server};
use crate::{Run, until};

/// Endpoints that a rolling update changes, a second.
const RATE: u32 = 1000;
/// Every so many of them one is waited for.
const WATCHED: u32 = 20;
/// Between two changes at rest: 2 to 6 ms.
const REST: std::ops::Range<u64> = 2000..6000;
/// What a server still does after it is ready.
const SETTLE: Duration = Duration::from_millis(500);

const COLUMNS: [Column; 8] = [
    Column("at rest p50 ms", 3),
    Column("p99", 3),
    Column("max", 3),
    Column("rolling p50 ms", 3),
    Column("p99", 3),
    Column("max", 3),
    Column("changes/s", 0),
    Column("CPU %", 1),
];

/// Times changes at rest, and some of those of a rolling update.
pub(crate) fn measure(
    run: &Run<'_>,
    cluster: &mut Cluster,
    report: &mut Report,
) -> anyhow::Result<()> {
    let lasts = Duration::from_secs_f64(run.options.seconds);
    for _ in 0..run.options.runs {
        for &kind in run.servers {
            let mut server = start(kind, cluster)?;
            let mut measure = || {
                let rest = at_rest(&server, cluster, run.options.changes)?;
                let rolling = roll(&server, cluster, lasts)?;
                let quantiles = |waits: Vec<f64>| [0.5, 0.99, 1.0].map(|q| quantile(&waits, q));
                let end = [rolling.rate, rolling.cpu];
                let cells = [&quantiles(rest)[..], &quantiles(rolling.waits), &end].concat();
                Ok(cells)
            };
            let cells = measure().map_err(|error| server.explain(error))?;
            let table = report.table("Changes", &COLUMNS);
            let size = cluster.services.to_string();
            table.add(&size, &kind.to_string(), cells);
        }
    }
    Ok(())
}

const MINUTE: [Column; 7] = [
    Column("seconds", 0),
    Column("changes/s", 0),
    Column("RSS before MB", 1),
    Column("after MB", 1),
    Column("peak MB", 1),
    Column("p99 ms", 3),
    Column("CPU %", 1),
];

/// Memory before and after many changes that leave the cluster as large as
/// it was: what it grew by is what the allocator lost.
pub(crate) fn minute(
    run: &Run<'_>,
    cluster: &mut Cluster,
    report: &mut Report,
) -> anyhow::Result<()> {
    let lasts = Duration::from_secs_f64(run.options.minute);
    for &kind in run.servers.iter().filter(|kind| **kind != Kind::Floor) {
        let mut server = start(kind, cluster)?;
        let mut measure = || {
            server.forget_peak()?;
            let before = server.memory("VmRSS")?;
            let rolling = roll(&server, cluster, lasts)?;
            thread::sleep(SETTLE);
            Ok(vec![
                lasts.as_secs_f64(),
                rolling.rate,
                before,
                server.memory("VmRSS")?,
                server.memory("VmHWM")?,
                quantile(&rolling.waits, 0.99),
                rolling.cpu,
            ])
        };
        let cells = measure().map_err(|error| server.explain(error))?;
        let table = report.table("A minute of changes", &MINUTE);
        table.add(&cluster.services.to_string(), &kind.to_string(), cells);
    }
    Ok(())
}

/// A server that has read everything.
fn start(kind: Kind, cluster: &mut Cluster) -> anyhow::Result<Server> {
    let api = Api::Url(cluster.double.url());
    let mut server = Server::start(kind, &api, "insecure")?;
    let mut follow = || {
        if kind != Kind::Floor {
            until("ready", || server.ready().then_some(()))?;
        }
        let (headless, address) = (cluster.headless(), cluster.next_address());
        cluster.double.apply(&slice(headless, address));
        let mut probe = Probe::to(server.port)?;
        let mut query = query(&name(headless));
        until("the first change", || {
            let shows = probe.shows(&mut query, address);
            (shows == Some(true)).then_some(())
        })
    };
    follow().map_err(|error| server.explain(error))?;
    thread::sleep(SETTLE);
    Ok(server)
}

/// How long each change took to show, milliseconds, sorted.
fn at_rest(server: &Server, cluster: &mut Cluster, changes: u32) -> anyhow::Result<Vec<f64>> {
    let mut probe = Probe::to(server.port)?;
    let mut waits = Vec::new();
    for _ in 0..changes {
        thread::sleep(Duration::from_micros(fastrand::u64(REST)));
        let (headless, address) = (cluster.headless(), cluster.next_address());
        let (object, mut query) = (slice(headless, address), query(&name(headless)));
        let begun = Instant::now();
        cluster.double.apply(&object);
        waits.push(millis(probe.wait(&mut query, address, begun)?));
    }
    waits.sort_by(f64::total_cmp);
    Ok(waits)
}

struct Rolling {
    /// How long the changes that were waited for took, milliseconds, sorted.
    waits: Vec<f64>,
    /// Changes a second.
    rate: f64,
    /// Of one core.
    cpu: f64,
}

/// A change that is waited for.
struct Watched {
    service: u32,
    address: Ipv4Addr,
    begun: Instant,
}

/// Changes an endpoint of a random Service [`RATE`] times a second.
fn roll(server: &Server, cluster: &mut Cluster, lasts: Duration) -> anyhow::Result<Rolling> {
    let (sender, watched) = mpsc::channel::<Watched>();
    let mut probe = Probe::to(server.port)?;
    let before = Cpu::of(server.pid)?;
    let begun = Instant::now();
    let (count, waits) = thread::scope(|scope| {
        let changer = scope.spawn(move || {
            let mut count = 0;
            while begun.elapsed() < lasts {
                change(cluster, count, &sender);
                count += 1;
                let next = begun + count * Duration::from_secs(1) / RATE;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            count
        });
        let mut waits = Vec::new();
        // Ends with the changer.
        for change in watched {
            let mut query = query(&name(change.service));
            waits.push(millis(probe.wait(
                &mut query,
                change.address,
                change.begun,
            )?));
        }
        Ok::<_, anyhow::Error>((changer.join().unwrap_or(0), waits))
    })?;
    let (elapsed, cpu) = (begun.elapsed(), Cpu::of(server.pid)?.since(before));
    let mut waits = waits;
    waits.sort_by(f64::total_cmp);
    Ok(Rolling {
        waits,
        rate: f64::from(count) / elapsed.as_secs_f64(),
        cpu: cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
    })
}

/// The `count`th change of a rolling update. Those that are waited for are
/// of headless Services in turn, the others of Services that are not.
fn change(cluster: &mut Cluster, count: u32, sender: &mpsc::Sender<Watched>) {
    let address = cluster.next_address();
    if !count.is_multiple_of(WATCHED) {
        let mut service = fastrand::u32(0..cluster.services);
        if cluster::is_headless(service) {
            service += 1;
        }
        cluster.double.apply(&slice(service, address));
        return;
    }
    let service = cluster.headless_in_turn(count / WATCHED);
    let object = slice(service, address);
    let begun = Instant::now();
    cluster.double.apply(&object);
    // Nobody waits any more when the prober has failed.
    let _ = sender.send(Watched {
        service,
        address,
        begun,
    });
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
