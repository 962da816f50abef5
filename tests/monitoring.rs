//! What `deploy/monitoring/` says of a Pando, held against a real Prometheus
//! that scrapes a real Pando.
#![forbid(unsafe_code)]

#[path = "monitoring/coredns.rs"]
mod coredns;
#[path = "monitoring/dashboards.rs"]
mod dashboards;
#[path = "monitoring/live.rs"]
mod live;
#[path = "monitoring/names.rs"]
mod names;
#[path = "monitoring/rules.rs"]
mod rules;
#[path = "monitoring/scene.rs"]
mod scene;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder with this ending, sorted; none of folders in it.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect(folder);
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == ending))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder}");
    paths
}

fn rule_files() -> Vec<PathBuf> {
    files("deploy/monitoring/rules", "yaml")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The groups of all rule files.
fn groups() -> Vec<Value> {
    let files = rule_files().into_iter().map(|path| {
        let file: Value = serde_saphyr::from_str(&read(&path)).expect("YAML");
        file["groups"].clone()
    });
    files.flat_map(|groups| list(&groups).to_vec()).collect()
}
