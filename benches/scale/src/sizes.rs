//! Start, memory and look-ups.

use std::thread;
use std::time::{Duration, Instant};

use pando_test::Break;

use crate::cluster::{
    self, Cluster, ENDPOINTS, cluster_ip, name, named_pod, pod_name, service, slice,
};
use crate::probe::{Probe, lookup, query};
use crate::report::{Column, Report, Table};
use crate::server::{Api, Kind, Server};
use crate::{Run, until};

/// What a server still does after it is ready, such as collecting garbage.
const SETTLE: Duration = Duration::from_millis(500);
const LOOKUPS: Duration = Duration::from_millis(500);

const COLUMNS: [Column; 7] = [
    Column("ready ms", 0),
    Column("first answer ms", 0),
    Column("RSS MB", 1),
    Column("peak MB", 1),
    Column("relist ms", 0),
    Column("peak in relist MB", 1),
    Column("CPU µs/look-up", 2),
];

/// Where the RSS after the sync stands among them.
const RSS: usize = 2;

const TITLE: &str = "Sizes";

pub(crate) fn measure(
    run: &Run<'_>,
    cluster: &mut Cluster,
    report: &mut Report,
) -> anyhow::Result<()> {
    let services = cluster.services;
    for pods in [false, true] {
        if pods && !cluster.pods {
            continue;
        }
        let size = match pods {
            true => with_pods(services),
            false => services.to_string(),
        };
        for _ in 0..run.options.runs {
            for &kind in run.servers.iter().filter(|kind| **kind != Kind::Floor) {
                let cells = once(kind, cluster, pods)?;
                let table = report.table(TITLE, &COLUMNS);
                table.add(&size, &kind.to_string(), cells);
            }
        }
    }
    let table = report.table(TITLE, &COLUMNS);
    table.notes = notes(table, run);
    Ok(())
}

fn once(kind: Kind, cluster: &mut Cluster, pods: bool) -> anyhow::Result<Vec<f64>> {
    let api = Api::Url(cluster.double.url());
    let mode = if pods { "verified" } else { "insecure" };
    let mut server = Server::start(kind, &api, mode)?;
    let cells = read(&server, cluster, pods);
    cells.map_err(|error| server.explain(error))
}

fn read(server: &Server, cluster: &mut Cluster, pods: bool) -> anyhow::Result<Vec<f64>> {
    let since = || server.started.elapsed();
    let (ready, answer) = thread::scope(|scope| {
        let answer = scope.spawn(|| first_answer(server, cluster.services).map(|()| since()));
        let ready = until("ready", || server.ready().then(since))?;
        let answer = answer.join().unwrap_or_else(|_| {
            let what = "the prober panicked";
            Err(anyhow::anyhow!(what))
        });
        Ok::<_, anyhow::Error>((ready, answer?))
    })?;
    thread::sleep(SETTLE);
    let (rss, peak) = (server.memory("VmRSS")?, server.memory("VmHWM")?);
    let cost = lookup(server.port, server.pid, cluster, LOOKUPS)?;
    server.forget_peak()?;
    let relisted = relist(server, cluster, pods)?;
    thread::sleep(SETTLE);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![
        millis(ready),
        millis(answer),
        rss,
        peak,
        millis(relisted),
        server.memory("VmHWM")?,
        cost,
    ])
}

/// Waits until the last Service that has a cluster IP is known.
fn first_answer(server: &Server, services: u32) -> anyhow::Result<()> {
    let last = (0..services).rev().find(|n| !cluster::is_headless(*n));
    let last = last.unwrap_or(0);
    let mut query = query(&name(last));
    let mut probe = Probe::to(server.port)?;
    until("the first answer", || {
        let shows = probe.shows(&mut query, cluster_ip(last));
        (shows == Some(true)).then_some(())
    })
}

/// Ends every watch with 410 and waits until what changes after that shows.
fn relist(server: &Server, cluster: &mut Cluster, pods: bool) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    cluster.double.forget();
    cluster.double.compact();
    cluster.double.break_watches(Break::Gone);
    let wanted: &[&str] = match pods {
        true => &["services", "endpointslices", "namespaces", "pods"],
        false => &["services", "endpointslices", "namespaces"],
    };
    until("everything is listed again", || {
        let requests = cluster.double.requests();
        let listed = |plural: &&str| {
            let mut lists = requests.iter().filter(|request| {
                request.status == 200
                    && (!request.is_watch() || request.parameter("sendInitialEvents").is_some())
            });
            lists.any(|request| request.path.ends_with(plural))
        };
        wanted.iter().all(listed).then_some(())
    })?;
    let mut probe = Probe::to(server.port)?;
    let mut shows = |name: String, address| probe.wait(&mut query(&name), address, begun);
    // A collection is complete before anything after it shows.
    let (headless, address) = (cluster.headless(), cluster.next_address());
    cluster.double.apply(&slice(headless, address));
    shows(name(headless), address)?;
    let address = cluster.next_address();
    cluster.double.apply(&service(1, address));
    shows(name(1), address)?;
    if pods {
        let address = cluster.next_address();
        cluster.double.apply(&named_pod(0, "late", address));
        shows(pod_name(address), address)?;
    }
    let relisted = begun.elapsed();
    cluster.double.apply(&service(1, cluster_ip(1)));
    Ok(relisted)
}

/// What an endpoint and a Pod cost: slopes between the two largest sizes, and
/// between the largest without and with Pods.
fn notes(table: &Table, run: &Run<'_>) -> Vec<String> {
    let mut sizes = run.options.sizes.clone();
    sizes.sort_unstable();
    let [.., small, large] = &*sizes else {
        return Vec::new();
    };
    let of = |kind: &Kind| {
        let rss = |size: &str| table.median(size, &kind.to_string(), RSS);
        let per = |bytes: f64, count: u32| bytes * 1e6 / f64::from(count * ENDPOINTS);
        let full = rss(&large.to_string())?;
        let endpoint = per(full - rss(&small.to_string())?, large - small);
        let pod = per(rss(&with_pods(*large))? - full, *large);
        Some(format!(
            "RSS of {kind}: {endpoint:.0} bytes an endpoint, with its share of slice and Service, from {small} to {large} Services; {pod:.0} bytes a Pod."
        ))
    };
    run.servers.iter().filter_map(of).collect()
}

fn with_pods(services: u32) -> String {
    format!("{services}, Pods verified")
}
