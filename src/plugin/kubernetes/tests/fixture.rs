//! A cluster with a service of every shape.

use serde_json::{Value, json};

use super::super::index::Index;
use super::super::model::Kind;
use super::super::slim::{Decoder, Keep};
use super::super::snapshot::Snapshot;

/// The SOA serial of the cluster: when its last object came.
pub(super) const SERIAL: u32 = 1_700_000_000;

pub(super) const KINDS: &[Kind] = &[
    Kind::Namespaces,
    Kind::Services,
    Kind::EndpointSlices,
    Kind::Pods,
    Kind::ServiceImports,
    Kind::ImportSlices,
];

/// The cluster as it is when all of it was read.
pub(super) fn cluster() -> Snapshot {
    let mut index = filled();
    for kind in KINDS {
        index.begin(*kind);
        for (other, object) in objects() {
            if other == *kind {
                apply(&mut index, other, &object);
            }
        }
        index.finish(*kind, SERIAL);
    }
    index.snapshot()
}

/// The same cluster, with the lists still under way.
pub(super) fn half_read() -> Snapshot {
    filled().snapshot()
}

fn filled() -> Index {
    let mut index = Index::new(KINDS);
    for (kind, object) in objects() {
        apply(&mut index, kind, &object);
    }
    index
}

pub(super) fn apply(index: &mut Index, kind: Kind, object: &Value) {
    let keep = Keep {
        pod_names: true,
        zones: true,
        pod_labels: true,
    };
    let decoded = Decoder::new(keep).decode(kind, object.to_string().as_bytes());
    let decoded = decoded.expect("the fixture is sound");
    assert!(decoded.flaws.is_empty(), "{:?}", decoded.flaws);
    index.apply(decoded.object.expect("nothing filters it"), SERIAL);
}

fn objects() -> Vec<(Kind, Value)> {
    let mut objects = Vec::new();
    for namespace in ["shop", "empty", "hidden", "kube-system"] {
        objects.push((Kind::Namespaces, json!({"metadata": {"name": namespace}})));
    }
    let http = json!([{"name": "http", "protocol": "TCP", "port": 80}]);
    let mut service = |namespace: &str, name: &str, spec: Value| {
        let metadata = json!({"namespace": namespace, "name": name});
        objects.push((Kind::Services, json!({"metadata": metadata, "spec": spec})));
    };
    service(
        "shop",
        "web",
        json!({"clusterIP": "10.96.0.1", "ports": http}),
    );
    service(
        "shop",
        "idle",
        json!({"clusterIP": "10.96.0.2", "ports": http}),
    );
    service(
        "shop",
        "six",
        json!({"clusterIP": "fd00::1", "ports": http}),
    );
    service(
        "shop",
        "dual",
        json!({"clusterIP": "10.96.0.3", "clusterIPs": ["10.96.0.3", "fd00::3"], "ports": http}),
    );
    service(
        "shop",
        "many",
        json!({"clusterIP": "10.96.0.4", "ports": [
            {"name": "dns", "protocol": "UDP", "port": 53},
            {"name": "dns-tcp", "protocol": "TCP", "port": 53},
            {"protocol": "SCTP", "port": 9},
        ]}),
    );
    service(
        "hidden",
        "web",
        json!({"clusterIP": "10.96.0.5", "ports": http}),
    );
    service(
        "gone",
        "web",
        json!({"clusterIP": "10.96.0.6", "ports": http}),
    );
    service("shop", "db", json!({"clusterIP": "None", "ports": http}));
    service("shop", "bare", json!({"clusterIP": "None"}));
    service(
        "shop",
        "lonely",
        json!({"clusterIP": "None", "ports": http}),
    );
    service("shop", "zoned", json!({"clusterIP": "None", "ports": http}));
    let alias =
        |target: &str| json!({"type": "ExternalName", "externalName": target, "ports": http});
    service("shop", "out", alias("www.example.com"));
    service("shop", "silent", alias("silent.example.com"));
    service("shop", "nowhere", alias("nowhere.example.com"));
    service("shop", "cut", alias("cut.example.com"));
    service("shop", "in", alias("web.shop.svc.cluster.local."));
    service("shop", "in-two", alias("out.shop.svc.cluster.local"));
    service("shop", "in-none", alias("none.shop.svc.cluster.local"));
    service("shop", "in-six", alias("six.shop.svc.cluster.local"));
    service("shop", "in-pod", alias("10-0-0-9.shop.pod.cluster.local"));
    service("shop", "in-ns", alias("ns.dns.cluster.local"));
    service("shop", "self", alias("self.shop.svc.cluster.local"));
    service("shop", "below", alias("a.below.shop.svc.cluster.local"));
    service("shop", "ping", alias("pong.shop.svc.cluster.local"));
    service("shop", "pong", alias("ping.shop.svc.cluster.local"));
    service("shop", "address", alias("192.0.2.1"));
    for at in 0..15 {
        let next = format!("chain-{}.shop.svc.cluster.local", at + 1);
        service("shop", &format!("chain-{at}"), alias(&next));
    }
    service(
        "shop",
        "chain-15",
        json!({"clusterIP": "10.96.0.7", "ports": http}),
    );
    service(
        "kube-system",
        "dns",
        json!({"clusterIP": "10.96.0.10", "ports": [
            {"name": "dns", "protocol": "UDP", "port": 53},
        ]}),
    );
    service(
        "kube-system",
        "dns-headless",
        json!({"clusterIP": "None", "ports": http}),
    );

    let mut slice =
        |namespace: &str, service: &str, part: &str, ports: &Value, endpoints: Value| {
            let metadata = json!({
                "namespace": namespace,
                "name": format!("{service}-{part}"),
                "labels": {"kubernetes.io/service-name": service},
            });
            let v6 = endpoints[0]["addresses"][0]
                .as_str()
                .is_some_and(|ip| ip.contains(':'));
            objects.push((
                Kind::EndpointSlices,
                json!({
                    "metadata": metadata,
                    "addressType": if v6 { "IPv6" } else { "IPv4" },
                    "ports": ports,
                    "endpoints": endpoints,
                }),
            ));
        };
    slice(
        "shop",
        "web",
        "a",
        &http,
        json!([
            {"addresses": ["10.0.0.1"], "hostname": "front", "targetRef": {"kind": "Pod", "name": "web-x"}},
            {"addresses": ["10.0.0.99"], "conditions": {"ready": false}},
        ]),
    );
    slice(
        "shop",
        "idle",
        "a",
        &http,
        json!([
            {"addresses": ["10.0.0.98"], "conditions": {"ready": false}},
        ]),
    );
    slice(
        "shop",
        "db",
        "a",
        &http,
        json!([
            {"addresses": ["10.0.0.2"], "targetRef": {"kind": "Pod", "name": "db-0"}},
            {"addresses": ["10.0.0.3"]},
            {"addresses": ["10.0.0.4"], "hostname": "same"},
            {"addresses": ["10.0.0.5"], "hostname": "same"},
        ]),
    );
    slice(
        "shop",
        "db",
        "b",
        &http,
        json!([
            {"addresses": ["fd01::1"]},
            {"addresses": ["fd01::"]},
        ]),
    );
    // Mirrors of one address, with another port.
    let admin = json!([{"name": "Admin", "protocol": "TCP", "port": 8080}]);
    slice(
        "shop",
        "db",
        "c",
        &admin,
        json!([{"addresses": ["10.0.0.2"]}]),
    );
    slice(
        "shop",
        "bare",
        "a",
        &json!([]),
        json!([{"addresses": ["10.0.0.20"]}]),
    );
    slice(
        "shop",
        "zoned",
        "a",
        &http,
        json!([
            {"addresses": ["10.0.1.1"], "zone": "East.1"},
            {"addresses": ["10.0.1.2"], "zone": "west"},
        ]),
    );
    slice(
        "shop",
        "orphan",
        "a",
        &http,
        json!([{"addresses": ["10.0.0.30"], "hostname": "left"}]),
    );
    slice(
        "hidden",
        "web",
        "a",
        &http,
        json!([{"addresses": ["10.0.0.40"]}]),
    );
    slice(
        "kube-system",
        "dns",
        "a",
        &http,
        json!([{"addresses": ["10.0.0.53"]}]),
    );
    slice(
        "kube-system",
        "dns-headless",
        "a",
        &http,
        json!([
            {"addresses": ["10.0.0.54"], "hostname": "ns1"},
            {"addresses": ["10.0.0.55"]},
        ]),
    );

    for (name, ip) in [
        ("web-x", "10.0.0.1"),
        ("host-a", "10.0.0.7"),
        ("host-b", "10.0.0.7"),
        ("six", "fd01::1"),
    ] {
        objects.push((
            Kind::Pods,
            json!({
                "metadata": {"namespace": "shop", "name": name, "labels": {"app": name}},
                "status": {"podIP": ip},
            }),
        ));
    }

    for (name, spec) in [
        (
            "web",
            json!({"type": "ClusterSetIP", "ips": ["10.97.0.1"], "ports": http}),
        ),
        (
            "portless",
            json!({"type": "ClusterSetIP", "ips": ["10.97.0.2"]}),
        ),
        ("db", json!({"type": "Headless", "ports": http})),
    ] {
        let metadata = json!({"namespace": "shop", "name": name});
        objects.push((
            Kind::ServiceImports,
            json!({"metadata": metadata, "spec": spec}),
        ));
    }
    for (cluster, ip) in [
        ("east", "10.2.0.1"),
        ("west", "10.2.0.1"),
        ("west", "10.2.0.2"),
    ] {
        objects.push((
            Kind::ImportSlices,
            json!({
                "metadata": {
                    "namespace": "shop",
                    "name": format!("db-{cluster}-{ip}"),
                    "labels": {
                        "multicluster.kubernetes.io/service-name": "db",
                        "multicluster.kubernetes.io/source-cluster": cluster,
                    },
                },
                "addressType": "IPv4",
                "ports": http,
                "endpoints": [{"addresses": [ip]}],
            }),
        ));
    }
    objects
}
