//! The rules over a server that is well, and over servers that are not.

use std::collections::BTreeSet;
use std::fs;

use pando_test::{BOUND, Break, Fault, Load, Prometheus, until};
use regex::Regex;

use super::scene::Scene;
use super::{groups, list, read, rule_files, text};

/// The names of the alerts whose expression holds, whatever `for` says.
async fn alerts(prometheus: &Prometheus) -> BTreeSet<String> {
    let alerts = prometheus.alerts().await.unwrap();
    let names = alerts
        .iter()
        .map(|alert| alert.label("alertname").to_owned());
    names.collect()
}

async fn holds(prometheus: &Prometheus, name: &str) {
    let held = until(name, BOUND, async || {
        alerts(prometheus).await.contains(name).then_some(())
    });
    if let Err(error) = held.await {
        panic!("{error}: {:?}", prometheus.alerts().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_is_evaluated_and_a_server_that_is_well_raises_nothing() {
    if !Prometheus::installed() {
        return;
    }
    let mut scene = Scene::start("").await;
    let prometheus = scene.scraped_as(&["kube-dns"]).await;
    let groups = groups();
    let rules = groups.iter().flat_map(|group| list(&group["rules"]));
    let records: Vec<String> = rules
        .filter(|rule| rule["record"].is_string())
        .map(|rule| text(rule, "record").to_owned())
        .collect();
    assert!(records.len() > 15, "{records:?}");
    prometheus.have_values(&records).await.unwrap();
    let broken = until("evaluated", BOUND, async || {
        prometheus.broken_rules().await.ok()
    });
    assert_eq!(broken.await.unwrap(), Vec::<String>::new());
    prometheus.raises_nothing().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_raises_its_alert() {
    if !Prometheus::installed() {
        return;
    }
    let mut scene = Scene::start("").await;
    let folder = tempfile::tempdir().unwrap();
    // At once instead of after minutes.
    let wait = Regex::new(r"(?m)^ +for: .*\n").unwrap();
    let mut rules = Vec::new();
    for path in rule_files() {
        let here = folder.path().join(path.file_name().unwrap());
        fs::write(&here, wait.replace_all(&read(&path), "").as_ref()).unwrap();
        rules.push(here);
    }
    let jobs = [("kube-dns", scene.metrics())];
    let prometheus = Prometheus::start(&jobs, &rules).await.unwrap();

    // Enough for a query a second within the hour, of which a third is not
    // known yet and has to be asked for.
    let load = Load::here(scene.server.address(), 1500);
    scene.world.down().await;
    for name in [
        "PandoUpstreamsDown",
        "PandoUpstreamFailing",
        "PandoErrorBudgetBurn",
    ] {
        holds(&prometheus, name).await;
    }
    drop(load);

    scene.api.fault(None, Fault::Status(500), usize::MAX);
    scene.api.break_watches(Break::End);
    for name in ["PandoWatchDown", "PandoSnapshotStale"] {
        holds(&prometheus, name).await;
    }

    let changed = read(&scene.server.path("Corefile")).replace("cache 30", "no_such_directive");
    scene.server.write("Corefile", &changed).unwrap();
    holds(&prometheus, "PandoReloadFailed").await;

    scene.server.kill().await.unwrap();
    for name in ["PandoInstanceDown", "PandoDown"] {
        holds(&prometheus, name).await;
    }
}
