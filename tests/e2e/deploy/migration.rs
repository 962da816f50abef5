//! `deploy/migrate.md`, walked there and back with the commands that stand in it,
//! by real controllers. A kubelet is what is missing: the test is it.

use std::collections::BTreeSet;
use std::time::Duration;

use pando_test::{BOUND, ControlPlane, until};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{apply, folder, render};

const PAGE: &str = include_str!("../../../deploy/migrate.md");

const PODS: &str = "/api/v1/namespaces/kube-system/pods";

#[tokio::test]
async fn the_walk_leads_there_and_back() {
    let Some(plane) = ControlPlane::start().await.expect("starts") else {
        return;
    };
    plane.start_controllers().await.expect("start");
    let node = json!({ "metadata": { "name": "node-a" } });
    let node = plane.request("POST", "/api/v1/nodes", &node).await;
    node.expect("a node");
    coredns(&plane).await;
    // Ends with whichever is first, and only the walk ends.
    tokio::select! {
        () = kubelet(&plane) => {}
        () = walk(&plane) => {}
    }
}

async fn walk(plane: &ControlPlane) {
    let back_to_coredns = "kubectl -n kube-system scale deployment coredns --replicas=2";
    answer(plane, &["coredns", "coredns"]).await;

    // 2: it runs, and nobody is sent to it.
    let rehearsal =
        "kubectl apply --server-side -k deploy/kustomize/cluster-dns/overlays/rehearsal";
    run(plane, rehearsal).await;
    let rolled_out = "kubectl -n kube-system rollout status deployment/pando --timeout=2m";
    run(plane, rolled_out).await;
    answer(plane, &["coredns", "coredns"]).await;
    let asked = "kubectl -n kube-system get pod -l app.kubernetes.io/name=pando -o jsonpath='{.items[0].status.podIP}'";
    assert_ne!(run(plane, asked).await, "", "who can be compared with");

    // 3: one of three, and back, and all.
    let beside = "kubectl apply --server-side -k deploy/kustomize/cluster-dns/overlays/beside";
    run(plane, beside).await;
    answer(plane, &["coredns", "coredns", "pando"]).await;
    let two = "kubectl -n kube-system scale deployment pando --replicas=2";
    run(plane, two).await;
    answer(plane, &["coredns", "coredns", "pando", "pando"]).await;
    run(plane, rehearsal).await;
    answer(plane, &["coredns", "coredns"]).await;
    run(plane, beside).await;
    answer(plane, &["coredns", "coredns", "pando", "pando"]).await;

    // 4: CoreDNS goes, and comes back.
    for replicas in [1, 0] {
        let fewer = "kubectl -n kube-system scale deployment coredns --replicas=";
        run(plane, &format!("{fewer}{replicas}")).await;
    }
    answer(plane, &["pando", "pando"]).await;
    // As the page says to, from where it is read: outside of the cluster.
    let kubeconfig = plane.kubeconfig().display().to_string();
    let doctor = ["doctor", "--kubeconfig", &kubeconfig];
    let well = crate::binary::run(std::path::Path::new("/"), &doctor).await;
    assert_eq!(well.code, Some(0), "{well:?}");
    let budget = "kubectl -n kube-system create poddisruptionbudget pando --selector=app.kubernetes.io/name=pando --max-unavailable=1";
    run(plane, budget).await;
    run(plane, back_to_coredns).await;
    run(
        plane,
        "kubectl -n kube-system rollout status deployment/coredns --timeout=2m",
    )
    .await;
    run(
        plane,
        "kubectl -n kube-system scale deployment pando --replicas=0",
    )
    .await;
    answer(plane, &["coredns", "coredns"]).await;
    run(
        plane,
        "kubectl delete -k deploy/kustomize/cluster-dns/overlays/beside",
    )
    .await;
    let left = plane
        .kubectl(&["get", "all,sa,networkpolicy", "-A", "-o", "name"], "")
        .await;
    let left = left.expect("listed");
    assert!(!left.contains("/pando"), "{left}");
    answer(plane, &["coredns", "coredns"]).await;

    // Only the image.
    run(
        plane,
        "kubectl -n kube-system set image deployment/coredns coredns=ghcr.io/pando-dns/pando:0.1.0",
    )
    .await;
    run(
        plane,
        "kubectl -n kube-system rollout status deployment/coredns --timeout=2m",
    )
    .await;
    run(
        plane,
        "kubectl -n kube-system rollout undo deployment/coredns",
    )
    .await;
    answer(plane, &["coredns", "coredns"]).await;
}

/// What kubeadm has applied: the objects of the base that kubeadm has, too.
async fn coredns(plane: &ControlPlane) {
    let manifest = render(plane, &folder("cluster-dns/base")).await;
    let documents = manifest.split("\n---\n");
    let kubeadms = documents.filter(|document| {
        !["PodDisruptionBudget", "NetworkPolicy"]
            .iter()
            .any(|kind| document.contains(&format!("kind: {kind}\n")))
    });
    let manifest = kubeadms.collect::<Vec<_>>().join("\n---\n");
    let image = manifest.replace(
        "ghcr.io/pando-dns/pando:",
        "registry.k8s.io/coredns/coredns:v",
    );
    apply(plane, &image, &[]).await.expect("applied");
}

/// Runs a command of the page.
async fn run(plane: &ControlPlane, line: &str) -> String {
    assert!(PAGE.contains(line), "not in deploy/migrate.md: {line}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/");
    let words = line.split_whitespace().skip(1);
    let words: Vec<String> = words
        .map(|word| {
            word.trim_matches('\'')
                .replace("deploy/kustomize", &format!("{root}kustomize"))
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = plane.kubectl(&words, "").await;
    done.unwrap_or_else(|error| panic!("{line}: {error:#}"))
}

/// Waits until the Service has these Pods, by their Deployments, and all ready.
async fn answer(plane: &ControlPlane, expected: &[&str]) {
    let agreed = until("the Service's Pods", BOUND, || async {
        let found = serving(plane).await?;
        (found == expected).then_some(())
    });
    if let Err(error) = agreed.await {
        let found = serving(plane).await;
        panic!("{error:#}: {found:?}, not {expected:?}");
    }
}

/// Of which Deployments the ready endpoints of the Service are, in order.
async fn serving(plane: &ControlPlane) -> Option<Vec<String>> {
    let slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices\
                  ?labelSelector=kubernetes.io/service-name%3Dkube-dns";
    let slices = plane.request("GET", slices, &Value::Null).await.ok()?;
    let slices = slices["items"].as_array()?.iter();
    let mut names = Vec::new();
    for endpoint in slices
        .filter_map(|slice| slice["endpoints"].as_array())
        .flatten()
    {
        if endpoint["conditions"]["ready"] == true {
            let pod = endpoint["targetRef"]["name"].as_str()?;
            names.push(pod.split_once('-')?.0.to_owned());
        }
    }
    names.sort();
    Some(names)
}

/// Binds Pods to the node, has them run, and lets them go when they are told to.
async fn kubelet(plane: &ControlPlane) {
    let mut running = BTreeSet::new();
    loop {
        let pods = plane.request("GET", PODS, &Value::Null).await;
        let pods = pods.expect("listed")["items"].take();
        for pod in pods.as_array().into_iter().flatten() {
            let meta = &pod["metadata"];
            let name = meta["name"].as_str().expect("a name").to_owned();
            let path = format!("{PODS}/{name}");
            if meta["deletionTimestamp"].is_string() {
                let now = json!({ "gracePeriodSeconds": 0 });
                // It may be gone already.
                let _ = plane.request("DELETE", &path, &now).await;
            } else if running.insert(name.clone()) {
                let target = json!({ "kind": "Node", "name": "node-a" });
                let binding = format!("{path}/binding");
                let body = json!({ "metadata": { "name": name }, "target": target });
                let bound = plane.request("POST", &binding, &body).await;
                let ip = format!("10.1.0.{}", running.len());
                let runs = plane.pod_ready("kube-system", &name, &[&ip]).await;
                // Gone meanwhile, or the test would wait for it.
                let _ = bound.and(runs);
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}
