//! What Prometheus and Grafana make of an agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pando_test::{BOUND, Dashboard, Prometheus, until};

use crate::node::{self, Node};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring")
}

/// Prometheus over a node, with all rules.
async fn scraped(node: &Node) -> Prometheus {
    let rules = fs::read_dir(folder().join("rules")).unwrap();
    let rules = rules.map(|entry| entry.unwrap().path());
    let rules: Vec<_> = rules
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    let jobs = [("node-local-dns", node.metrics())];
    Prometheus::start(&jobs, &rules).await.unwrap()
}

/// Waits until an alert's expression holds, whatever its `for` says.
async fn holds(prometheus: &Prometheus, name: &str) {
    let held = until(name, BOUND, async || {
        let alerts = prometheus.alerts().await.unwrap();
        let held = alerts.iter().any(|alert| alert.label("alertname") == name);
        held.then_some(())
    });
    held.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_node_agent_shows_something() {
    if !Prometheus::installed() {
        return;
    }
    let node = Node::new().await;
    let known = "known.example.";
    let record = format!("{known} 60 IN A 192.0.2.7");
    node.upstream.answer(known, "A", &[&record]);
    let agent = node.start().await;
    let load = node.load();
    let client = node.client();
    let again = tokio::spawn(async move {
        loop {
            let _ = client.ask(known, "A").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let prometheus = scraped(&node).await;
    let board = Dashboard::read(&folder().join("dashboards/node-agent.json")).unwrap();
    prometheus.have_values(&board.expressions()).await.unwrap();
    prometheus.raises_nothing().await.unwrap();
    again.abort();
    load.finish().await.unwrap();
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_end_raise_an_alert_and_so_does_an_agent_that_steps_aside() {
    if !Prometheus::installed() {
        return;
    }
    let node = Node::new().await;
    let mut agent = node.start().await;
    let prometheus = scraped(&node).await;
    until("the first scrapes", BOUND, async || {
        let scrapes = "count_over_time(pando_node_worker_restarts_total[1m]) > 2";
        let samples = prometheus.query(scrapes).await.unwrap();
        samples.first().map(drop)
    })
    .await
    .unwrap();
    for _ in 0..4 {
        agent.kill_worker().await;
    }
    holds(&prometheus, "PandoNodeWorkerRestarting").await;
    node.corefile_now("no_such_directive");
    node::kill(agent.worker().unwrap());
    holds(&prometheus, "PandoNodeFailOpen").await;
    agent.end().await;
}
