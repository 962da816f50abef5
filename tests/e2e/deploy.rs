//! What `deploy/` holds, against a real API server.

use std::fs;
use std::path::PathBuf;

use pando_test::{BOUND, ControlPlane, Server};
use serde_json::json;

/// Every manifest, with its path.
fn manifests() -> Vec<(PathBuf, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
    let entries = fs::read_dir(folder).expect("the folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a manifest");
            (path, text)
        })
        .collect()
}

/// Has the API server check a manifest, every field of it, and keep nothing.
async fn check(plane: &ControlPlane, manifest: &str) -> anyhow::Result<()> {
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ];
    plane.kubectl(&apply, manifest).await.map(drop)
}

#[tokio::test]
async fn manifests_are_taken_field_by_field() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let manifests = manifests();
    assert!(manifests.len() >= 2, "{manifests:?}");
    for (path, manifest) in &manifests {
        let path = path.display();
        let taken = check(plane, manifest).await;
        taken.unwrap_or_else(|error| panic!("{path}: {error:#}"));
        // The check itself: a field that does not exist is found.
        let misspelt = manifest.replace("priorityClassName:", "priorityClass:");
        let refused = check(plane, &misspelt).await.expect_err("a wrong field");
        assert!(
            format!("{refused:#}").contains("priorityClass"),
            "{path}: {refused:#}"
        );
    }
}

#[tokio::test]
async fn the_cluster_role_of_the_manifest_is_enough() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let manifest = include_str!("../../deploy/kube-dns.yaml");
    let documents = manifest.split("\n---\n");
    let access: Vec<&str> = documents
        .filter(|document| {
            ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"]
                .iter()
                .any(|kind| document.contains(&format!("\nkind: {kind}\n")))
        })
        .collect();
    assert_eq!(access.len(), 3);
    // An account of the manifest's name that may nothing by itself.
    let account = plane.account("coredns", &json!([])).await.expect("account");
    let start = async || -> anyhow::Result<Server> {
        let corefile = format!(
            ".:$PORT {{
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local {{
        kubeconfig {} test
        pods verified
        startup_timeout 100ms
    }}
}}",
            account.kubeconfig.display()
        );
        crate::pando(&corefile).start().await
    };
    let refused = start().await.expect("starts");
    let said = refused.wait_for_line("forbidden", BOUND).await;
    said.expect("what it may not do is said");
    drop(refused);

    plane.apply(&access.join("\n---\n")).await.expect("applied");
    let mut server = start().await.expect("starts");
    server.ready().await.expect("gets ready");
    let answer = server
        .client()
        .ask("kubernetes.default.svc.cluster.local.", "A")
        .await;
    assert_eq!(answer.expect("an answer").data(), ["10.96.0.1"]);
    let shown = server.shown();
    assert!(!shown.contains("forbidden"), "{shown}");
}
