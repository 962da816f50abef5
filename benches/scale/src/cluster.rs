//! The cluster that the servers follow: objects as long as those of a real
//! one, of which most is what no answer needs.

use std::net::Ipv4Addr;

use pando_test::ApiDouble;
use serde_json::{Value, json};

/// Endpoints of each Service, in one slice.
pub(crate) const ENDPOINTS: u32 = 15;
const NAMESPACES: u32 = 100;
/// Every so many Services one is headless.
const HEADLESS: u32 = 10;

/// An API double and what it was filled with.
pub(crate) struct Cluster {
    pub(crate) double: ApiDouble,
    pub(crate) services: u32,
    /// Whether it has a Pod for each endpoint.
    pub(crate) pods: bool,
    /// Numbers the addresses that changes bring.
    changes: u32,
}

impl Cluster {
    pub(crate) fn fill(double: ApiDouble, services: u32, pods: bool) -> Self {
        for n in 0..NAMESPACES {
            double.apply(&json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": format!("team-{n}") },
            }));
        }
        for n in 0..services {
            double.apply(&service(n, cluster_ip(n)));
            double.apply(&slice(n, endpoint_ip(n, 0)));
            for e in (0..ENDPOINTS).filter(|_| pods) {
                double.apply(&pod(n, e));
            }
        }
        Self {
            double,
            services,
            pods,
            changes: 0,
        }
    }

    /// An address that no object has had yet.
    pub(crate) fn next_address(&mut self) -> Ipv4Addr {
        self.changes += 1;
        address(0x0A80_0000 + self.changes)
    }

    /// A random headless Service.
    pub(crate) fn headless(&self) -> u32 {
        self.headless_in_turn(fastrand::u32(..))
    }

    pub(crate) fn headless_in_turn(&self, turn: u32) -> u32 {
        turn % self.services.div_ceil(HEADLESS) * HEADLESS
    }
}

/// The fully qualified name of a Service.
pub(crate) fn name(n: u32) -> String {
    format!("service-{n:05}.team-{}.svc.cluster.local", n % NAMESPACES)
}

/// The name of a Pod's address under `pods verified`, in the namespace of
/// Service 0.
pub(crate) fn pod_name(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("{a}-{b}-{c}-{d}.team-0.pod.cluster.local")
}

pub(crate) fn is_headless(n: u32) -> bool {
    n.is_multiple_of(HEADLESS)
}

pub(crate) fn cluster_ip(n: u32) -> Ipv4Addr {
    address(0x0B00_0000 + n)
}

fn endpoint_ip(n: u32, e: u32) -> Ipv4Addr {
    address(0x0A00_0000 + n * ENDPOINTS + e)
}

fn address(number: u32) -> Ipv4Addr {
    number.into()
}

/// A Service with this cluster IP, unless its number makes it headless.
pub(crate) fn service(n: u32, ip: Ipv4Addr) -> Value {
    let name = format!("service-{n:05}");
    let ip = match is_headless(n) {
        true => "None".to_owned(),
        false => ip.to_string(),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": format!("team-{}", n % NAMESPACES),
            "labels": { "app": name },
            "managedFields": managed(),
        },
        "spec": {
            "clusterIP": ip,
            "clusterIPs": [ip],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{ "name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080 }],
            "selector": { "app": name },
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": { "loadBalancer": {} },
    })
}

/// The slice of a Service, with this address as that of its first endpoint.
pub(crate) fn slice(n: u32, first: Ipv4Addr) -> Value {
    let name = format!("service-{n:05}");
    let namespace = format!("team-{}", n % NAMESPACES);
    let endpoints = (0..ENDPOINTS).map(|e| {
        let ip = if e == 0 { first } else { endpoint_ip(n, e) };
        json!({
            "addresses": [ip],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": format!("node-{}", (n + e) % 500),
            "targetRef": {
                "kind": "Pod",
                "name": format!("{name}-7d4b9c6f5-{e:05}"),
                "namespace": namespace,
                "uid": format!("00000000-0000-0000-0000-{e:012}"),
            },
            "zone": "zone-a",
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-abcde"),
            "generateName": format!("{name}-"),
            "namespace": namespace,
            "labels": {
                "app": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": name,
            },
            "managedFields": managed(),
        },
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }],
    })
}

fn pod(n: u32, e: u32) -> Value {
    named_pod(
        n,
        &format!("service-{n:05}-7d4b9c6f5-{e:05}"),
        endpoint_ip(n, e),
    )
}

/// A Pod in the namespace of a Service.
pub(crate) fn named_pod(n: u32, name: &str, ip: Ipv4Addr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": format!("team-{}", n % NAMESPACES),
            "labels": { "app": format!("service-{n:05}"), "pod-template-hash": "7d4b9c6f5" },
            "managedFields": managed(),
        },
        "spec": {
            "containers": [{
                "name": "app",
                "image": "registry.example.org/team/app:1.2.3",
                "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
            }],
            "nodeName": format!("node-{}", n % 500),
        },
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] },
    })
}

/// Nobody reads it, and every object has it.
fn managed() -> Value {
    json!([{
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": { "f:metadata": { "f:labels": { ".": {}, "f:app": {} } }, "f:spec": { "f:ports": {} } },
    }])
}
