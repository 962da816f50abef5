//! What `deploy/` holds, against a real API server.

#[path = "deploy/access.rs"]
mod access;
#[path = "deploy/manifests.rs"]
mod manifests;
#[path = "deploy/migration.rs"]
mod migration;
#[path = "deploy/pod.rs"]
mod pod;

use std::path::{Path, PathBuf};

use pando_test::ControlPlane;
use serde_json::Value;

/// A folder of `deploy/kustomize`.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/kustomize")
        .join(name)
}

/// What a kustomization comes to, as `kubectl kustomize`: without a network.
async fn render(plane: &ControlPlane, folder: &Path) -> String {
    let path = folder.to_str().expect("UTF-8");
    let rendered = plane.kubectl(&["kustomize", path], "").await;
    rendered.unwrap_or_else(|error| panic!("{path}: {error:#}"))
}

/// Has the API server take a manifest, with every field that it has. Returns
/// its objects as they are then.
pub(crate) async fn apply(
    plane: &ControlPlane,
    manifest: &str,
    more: &[&str],
) -> anyhow::Result<Vec<Value>> {
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--validate=strict",
        "--output=json",
        "-f",
        "-",
    ];
    let taken = plane.kubectl(&[&apply, more].concat(), manifest).await?;
    let mut list: Value = serde_json::from_str(&taken)?;
    Ok(match list["items"].take() {
        Value::Array(objects) => objects,
        _ => vec![list],
    })
}

/// The object of this kind and name.
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == *kind && object["metadata"]["name"] == *name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {objects:#?}"))
}

/// The agent's template as the agent fills it in, with these for its addresses,
/// the cluster DNS and the node's resolvers.
fn filled(template: &str, local: &str, cluster: &str, upstream: &str) -> String {
    let text = template.replace("__PILLAR__LOCAL__DNS__", local);
    let text = text.replace("__PILLAR__CLUSTER__DNS__", cluster);
    text.replace("__PILLAR__UPSTREAM__SERVERS__", upstream)
}
