//! From a change that a real API server has accepted to the answer that
//! shows it.

use std::time::{Duration, Instant};

use kube::client::Client;
use pando_test::{ControlPlane, dns_rules};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::changes::millis;
use crate::probe::{Probe, query};
use crate::report::{Column, Report, quantile};
use crate::server::{Api, Kind, Server};
use crate::{Options, until};

const COLUMNS: [Column; 3] = [Column("p50 ms", 3), Column("p99", 3), Column("max", 3)];

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: { name: quick, namespace: default }
spec: { clusterIP: None, ports: [{ name: http, port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: quick, namespace: default, labels: { kubernetes.io/service-name: quick } }
addressType: IPv4
ports: [{ name: http, port: 80 }]
endpoints: [{ addresses: [10.9.0.0] }]
";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/quick";
const NAME: &str = "quick.default.svc.cluster.local";
/// Between two changes.
const REST: Duration = Duration::from_millis(2);

pub(crate) fn measure(
    options: &Options,
    servers: &[Kind],
    runtime: &Runtime,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(plane) = runtime.block_on(ControlPlane::start())? else {
        return Ok(());
    };
    runtime.block_on(plane.apply(OBJECTS))?;
    let account = runtime.block_on(plane.account("dns", &dns_rules()))?;
    let client = runtime.block_on(plane.client())?;
    let api = Api::Kubeconfig(account.kubeconfig);
    let mut change = 0;
    for _ in 0..options.runs {
        for &kind in servers {
            let mut server = Server::start(kind, &api, "insecure")?;
            let mut measure = || {
                if kind != Kind::Floor {
                    until("ready", || server.ready().then_some(()))?;
                }
                once(&server, &client, runtime, options.changes, &mut change)
            };
            let waits = measure().map_err(|error| server.explain(error))?;
            let cells = [0.5, 0.99, 1.0].map(|share| quantile(&waits, share));
            let table = report.table("Changes through a real API server", &COLUMNS);
            table.add("1", &kind.to_string(), cells.to_vec());
        }
    }
    Ok(())
}

/// How long each change took to show, milliseconds, sorted.
fn once(
    server: &Server,
    client: &Client,
    runtime: &Runtime,
    changes: u32,
    last: &mut u32,
) -> anyhow::Result<Vec<f64>> {
    let mut probe = Probe::to(server.port)?;
    let mut query = query(NAME);
    let mut waits = Vec::new();
    // The first finds a server that has not begun to watch.
    for change in 0..=changes {
        *last += 1;
        let address = (0x0A80_0000 + *last).into();
        let body = json!({ "endpoints": [{ "addresses": [address] }] });
        let patch = hyper::Request::patch(SLICE)
            .header("Content-Type", "application/merge-patch+json")
            .body(body.to_string().into_bytes())?;
        let _: Value = runtime.block_on(client.request(patch))?;
        let accepted = Instant::now();
        let wait = probe.wait(&mut query, address, accepted)?;
        if change > 0 {
            waits.push(millis(wait));
        }
        std::thread::sleep(REST);
    }
    waits.sort_by(f64::total_cmp);
    Ok(waits)
}
