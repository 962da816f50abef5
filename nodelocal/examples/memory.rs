//! What the agent needs on a node: resident memory of both its processes with
//! a zone of 10,000 Services and full caches.
//!
//! ```text
//! cargo build --release -p pando -p pando-node && cargo run --release -p pando-node --example memory
//! ```
//!
//! Needs root, for network namespaces. A tenth of the Services is headless,
//! with 15 endpoints each.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use pando_test::{Ask, BOUND, Cluster, Netns, Site, until};
use serde_json::{Value, json};

const SERVICES: usize = 10_000;
const HEADLESS: usize = 1_000;
const ENDPOINTS: usize = 15;
/// More than a cache of 9,984 entries takes, so that all its parts are full.
const NAMES: usize = 14_000;
/// The bar, MB.
const BAR: f64 = 48.0;

const COREFILE: &str = "cluster.local:53 {
    errors
    bind __PILLAR__LOCAL__DNS__
    secondary {
        transfer from 10.0.0.2
    }
    prometheus :9253
}
in-addr.arpa:53 ip6.arpa:53 {
    errors
    cache {
        success 9984 3600
        denial 9984 3600
    }
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__CLUSTER__DNS__ {
        force_tcp
    }
}
.:53 {
    errors
    cache {
        success 9984 3600 3600
        denial 9984 3600 3600
    }
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__UPSTREAM__SERVERS__
}
";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(site) = Site::build(&["shop"]).await? else {
        return Ok(());
    };
    let mut objects: Value = serde_json::from_slice(&fs::read(site.manifests())?)?;
    let items = objects["items"].as_array_mut().context("a list")?;
    for at in 0..SERVICES {
        items.extend(service(at));
    }
    fs::write(site.manifests(), objects.to_string())?;
    let pando = beside("pando")?;
    let transfer = "transfer cluster.local {\n        to *\n    }";
    let _dns = site.cluster_dns(Cluster::Pando(&pando), transfer).await?;
    let agent = site.node.command(beside("pando-node")?);
    let agent = site.agent(agent, COREFILE, &[])?;
    let pod = &site.pods[0];
    let last = format!(
        "svc-{}.team-{}.svc.cluster.local",
        SERVICES - 1,
        (SERVICES - 1) % 10
    );
    let there = until("the zone", BOUND, || async {
        let answer = pod.ask(Site::LOCAL, &last, "A").await.ok()?;
        (!answer.data().is_empty()).then_some(())
    });
    there.await.with_context(|| agent.shown())?;
    let parent = agent.pid().context("runs")?;
    let worker = child(parent)?;
    let report = |when: &str| -> anyhow::Result<f64> {
        let (parent, worker) = (resident(parent)?, resident(worker)?);
        let sum = parent + worker;
        println!("{when:24} parent {parent:5.1} MB, worker {worker:5.1} MB, together {sum:5.1} MB");
        Ok(sum)
    };
    report("with the zone")?;
    let name: [fn(usize) -> String; 4] = [
        |at| format!("host-{at}.some-where.example.com"),
        |at| format!("host-{at}.some-where.example.org"),
        |at| format!("{}.{}.9.10.in-addr.arpa", at % 256, at / 256),
        |at| format!("svc-{}.team-{}.svc.cluster.local", at % SERVICES, at % 10),
    ];
    for name in name {
        fill(&pod.netns, name)?;
    }
    let sum = report("and full caches")?;
    println!(
        "the bar is {BAR} MB: {}",
        if sum <= BAR { "met" } else { "not met" }
    );
    Ok(())
}

/// Asks for A of many names, one after the other.
fn fill(pod: &Netns, name: fn(usize) -> String) -> anyhow::Result<()> {
    pod.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(SocketAddr::new(Site::LOCAL, 53))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut buffer = [0; 4096];
        for at in 0..NAMES {
            socket.send(&Ask::new(&name(at), "A").bytes())?;
            let length = socket.recv(&mut buffer).with_context(|| name(at))?;
            ensure!(
                length > 12 && [0, 3].contains(&(buffer[3] & 0xf)),
                "{}: an error",
                name(at)
            );
        }
        Ok(())
    })?
}

fn service(at: usize) -> Vec<Value> {
    let (name, namespace) = (format!("svc-{at}"), format!("team-{}", at % 10));
    let headless = at.is_multiple_of(SERVICES / HEADLESS);
    let address = match headless {
        true => "None".to_owned(),
        false => format!(
            "10.{}.{}.{}",
            100 + at / 62_500,
            at / 250 % 250,
            at % 250 + 1
        ),
    };
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    })];
    if at < 10 {
        let team =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        objects.insert(0, team);
    }
    if headless {
        let endpoint = |one: usize| {
            let number = at * ENDPOINTS + one;
            let ip = format!(
                "10.{}.{}.{}",
                200 + number / 62_500,
                number / 250 % 250,
                number % 250 + 1
            );
            json!({"addresses": [ip], "hostname": format!("{name}-{one}"), "conditions": {"ready": true}})
        };
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-a"), "namespace": namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
        }));
    }
    objects
}

/// A binary of the workspace, built as this was.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here
        .parent()
        .and_then(Path::parent)
        .context("target/release")?;
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "no {}: cargo build --release -p pando -p pando-node",
        path.display()
    );
    Ok(path)
}

fn child(pid: u32) -> anyhow::Result<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let first = children.split_whitespace().next().context("a worker")?;
    Ok(first.parse()?)
}

/// `VmRSS`, in MB of 2²⁰ bytes.
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: f64 = line
        .context("VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kilobytes / 1024.0)
}
