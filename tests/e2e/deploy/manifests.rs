//! Each base and overlay: rendered, taken by the API server, and its Corefile by
//! `pando check`.

use std::fs;
use std::path::{Path, PathBuf};

use pando_test::ControlPlane;
use serde_json::Value;
use tokio::process::Command;

use super::{apply, filled, folder, object, render};

/// All that can be applied by `kubectl apply -k`: bases and overlays.
fn kustomizations() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder("")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        folders.extend(paths.filter(|path| path.is_dir()));
        let file = folder.join("kustomization.yaml");
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.contains("\nkind: Kustomization\n") {
            found.push(folder);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn every_overlay_is_taken_field_by_field_and_its_corefile_too() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let kustomizations = kustomizations();
    assert!(kustomizations.len() >= 10, "{kustomizations:?}");
    for folder in &kustomizations {
        let shown = folder.display().to_string();
        let manifest = render(plane, folder).await;
        let taken = apply(plane, &manifest, &["--dry-run=server"]).await;
        let objects = taken.unwrap_or_else(|error| panic!("{shown}: {error:#}"));
        for object in &objects {
            images_are_pinned(&shown, object);
            if let Some(corefile) = object["data"]["Corefile"].as_str() {
                corefile_is_taken(&shown, corefile).await;
            }
        }
        // The check itself: a field that does not exist is found.
        let misspelt = manifest.replace("\nmetadata:\n", "\nmetadata:\n  label: {}\n");
        let refused = apply(plane, &misspelt, &["--dry-run=server"]).await;
        let refused = format!("{:#}", refused.expect_err("a wrong field"));
        assert!(refused.contains("metadata.label"), "{shown}: {refused}");
    }
}

/// The API server here has no kinds of the Prometheus operator, so that they
/// render whole is all that is seen.
#[tokio::test]
async fn rules_targets_and_dashboards_render_for_an_operator() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring");
    let manifest = render(plane, &folder).await;
    for part in [
        "kind: PrometheusRule\n",
        "kind: ServiceMonitor\n",
        "kind: PodMonitor\n",
        "grafana_dashboard: \"1\"\n",
        "  cluster-dns.json: ",
        "  node-agent.json: ",
    ] {
        assert!(manifest.contains(part), "{part}");
    }
}

/// Ours are of this version, others of one that is named.
fn images_are_pinned(shown: &str, object: &Value) {
    let containers = &object["spec"]["template"]["spec"]["containers"];
    for container in containers.as_array().into_iter().flatten() {
        let image = container["image"].as_str().expect("an image");
        let (name, tag) = image.rsplit_once(':').expect("a tag");
        let is_ours = name.starts_with("ghcr.io/pando-dns/");
        let version = env!("CARGO_PKG_VERSION");
        assert!(!is_ours || tag == version, "{shown}: {image}");
        assert_ne!(tag, "latest", "{shown}");
    }
}

async fn corefile_is_taken(shown: &str, corefile: &str) {
    let text = filled(corefile, "127.0.0.1", "10.96.0.11", "192.0.2.1");
    assert!(!text.contains("__PILLAR__"), "{shown}: {text}");
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("Corefile");
    fs::write(&path, text).expect("written");
    let ran = Command::new(env!("CARGO_BIN_EXE_pando"))
        .args(["check", "-conf"])
        .arg(&path)
        .env("NODE_NAME", "node-a")
        .output();
    let ran = ran.await.expect("runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{shown}: {said}");
}

#[tokio::test]
async fn the_corefile_is_kubeadms_with_a_state_on_disk() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let manifest = render(plane, &folder("cluster-dns/base")).await;
    let objects = apply(plane, &manifest, &["--dry-run=server"]).await;
    let objects = objects.expect("taken");
    let corefile = &object(&objects, "ConfigMap", "coredns")["data"]["Corefile"];
    let corefile = corefile.as_str().expect("text");
    let line = "       snapshot /var/lib/pando/snapshot\n";
    let without = corefile.replace(line, "");
    assert_ne!(without, corefile, "one line more");
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let kubeadm = include_str!("../../corefiles/kubeadm.corefile");
    assert_eq!(words(&without), words(kubeadm));
    // A volume is there, and the process may write to it: no other is.
    let pod = &object(&objects, "Deployment", "coredns")["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array();
    let writable: Vec<&str> = mounts
        .into_iter()
        .flatten()
        .filter(|mount| mount["readOnly"] != true)
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    assert_eq!(writable, ["/var/lib/pando"]);
}

/// Whether the two Deployments of a migration stand side by side: neither's
/// Pods are the other's, and the Service has both.
#[tokio::test]
async fn pando_beside_coredns_shares_the_service_and_nothing_else() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let kustomized = async |name: &str| {
        let manifest = render(plane, &folder(name)).await;
        let objects = apply(plane, &manifest, &["--dry-run=server"]).await;
        objects.expect("taken")
    };
    let base = kustomized("cluster-dns/base").await;
    let beside = kustomized("cluster-dns/overlays/beside").await;
    let names = |objects: &[Value]| -> Vec<(String, String)> {
        let name = |object: &Value| {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            (text(&object["kind"]), text(&object["metadata"]["name"]))
        };
        objects.iter().map(name).collect()
    };
    let there = names(&base);
    for name in names(&beside) {
        assert!(!there.contains(&name), "{name:?} is CoreDNS's");
    }
    let service = object(&base, "Service", "kube-dns")["spec"]["selector"].clone();
    let coredns = &object(&base, "Deployment", "coredns")["spec"]["selector"]["matchLabels"];
    let pando = object(&beside, "Deployment", "pando");
    let labels = &pando["spec"]["template"]["metadata"]["labels"];
    let selected = |selector: &Value, labels: &Value| {
        let pairs = selector.as_object().expect("labels");
        pairs.iter().all(|(key, value)| labels[key] == *value)
    };
    assert!(selected(&service, labels), "{labels}");
    assert_eq!(*coredns, service, "kubeadm's selector");
    let own = &pando["spec"]["selector"]["matchLabels"];
    assert!(selected(own, labels) && !selected(own, &service), "{own}");
    // kubeadm upgrade ends where it finds two Deployments with this label.
    assert_eq!(pando["metadata"]["labels"]["k8s-app"], Value::Null);
    assert_eq!(
        pando["spec"]["template"]["spec"]["serviceAccountName"],
        "pando"
    );
}

/// No file of `deploy/kustomize` is read from elsewhere.
#[test]
fn nothing_is_fetched() {
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let found = paths.map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        });
        found.flatten().collect()
    }
    for path in files(&folder("")) {
        if path.extension().is_some_and(|end| end == "yaml") {
            let text = fs::read_to_string(&path).expect("text");
            let remote = text.contains("://") || text.contains("?ref=");
            assert!(!remote, "{}", path.display());
        }
    }
}
