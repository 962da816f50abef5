//! The cluster that is asked about, and the names in it.

use std::io::{self, Write as _};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Services with an address of their own.
const SERVICES: usize = 1000;
/// Headless Services.
const HEADLESS: usize = 100;
/// Ready endpoints of each headless Service.
pub(crate) const ENDPOINTS: usize = 10;
/// Namespaces that they spread over.
const NAMESPACES: usize = 20;

/// Names of one kind that a case asks for in turn. Few, so that no two of
/// them meet in a hash table by chance; not one, so that a lucky place in
/// such a table doesn't count as a gain.
pub(crate) const ASKED: usize = 8;

/// A file with its objects, for the option `manifests`.
pub(crate) fn file() -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
    file.write_all(manifests().as_bytes())?;
    Ok(file)
}

/// The objects as `kubectl get services,endpointslices -A -o json` has them.
fn manifests() -> String {
    let services = (0..SERVICES).map(|index| {
        let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
        let address = address(index);
        service(
            index,
            &service_name(index),
            json!({"clusterIP": address, "ports": ports}),
        )
    });
    let headless = (0..HEADLESS).flat_map(|index| {
        let name = headless_name(index);
        let spec = json!({"clusterIP": "None", "ports": [{"name": "db", "port": 5432}]});
        [service(index, &name, spec), slice(index, &name)]
    });
    let items: Vec<Value> = services.chain(headless).collect();
    json!({"kind": "List", "apiVersion": "v1", "items": items}).to_string()
}

fn service(index: usize, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace(index)});
    json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": spec})
}

fn slice(index: usize, service: &str) -> Value {
    let endpoints: Vec<Value> = (0..ENDPOINTS)
        .map(|endpoint| {
            json!({
                "addresses": [format!("10.244.{index}.{}", endpoint + 1)],
                "conditions": {"ready": true},
                "nodeName": format!("node-{endpoint}"),
                "targetRef": {"kind": "Pod", "name": format!("{service}-{endpoint}")},
            })
        })
        .collect();
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": format!("{service}-x7k2q"),
            "namespace": namespace(index),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "db", "port": 5432, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

fn address(index: usize) -> String {
    format!("10.96.{}.{}", index / 250, index % 250 + 1)
}

fn namespace(index: usize) -> String {
    format!("team-{:02}", index % NAMESPACES)
}

fn service_name(index: usize) -> String {
    format!("api-{index:04}")
}

fn headless_name(index: usize) -> String {
    format!("db-{index:03}")
}

/// Indices of `count` things, evenly apart.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    (0..ASKED).map(move |index| index * count / ASKED)
}

/// Services that exist.
pub(crate) fn services() -> Vec<String> {
    let name = |index| {
        format!(
            "{}.{}.svc.cluster.local",
            service_name(index),
            namespace(index)
        )
    };
    spread(SERVICES).map(name).collect()
}

/// Headless Services that exist.
pub(crate) fn headless() -> Vec<String> {
    let name = |index| {
        format!(
            "{}.{}.svc.cluster.local",
            headless_name(index),
            namespace(index)
        )
    };
    spread(HEADLESS).map(name).collect()
}

/// The names by which addresses of Services are looked up.
pub(crate) fn reverse() -> Vec<String> {
    let name = |index| format!("{}.{}.96.10.in-addr.arpa", index % 250 + 1, index / 250);
    spread(SERVICES).map(name).collect()
}

/// Names of the world outside.
pub(crate) fn external() -> Vec<String> {
    let name = |index| format!("cdn-{index}.assets.example.com");
    (0..ASKED).map(name).collect()
}

/// What a resolver with the search list of a Pod asks for such names before
/// it comes to the names themselves.
pub(crate) fn walk() -> Vec<String> {
    let suffixes = [
        "team-01.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
    ];
    let steps = |name: String| suffixes.map(|suffix| format!("{name}.{suffix}"));
    external().into_iter().take(2).flat_map(steps).collect()
}
