//! What the cluster of a [`Site`](super::Site) has.

use serde_json::{Value, json};

/// Services `web-0` … of the namespace `shop`, which has some more.
pub(super) const SERVICES: u64 = 20;

/// Two namespaces with a Service `web` each, a headless Service, and the Pods
/// that this is the site of: namespace and address.
pub(super) fn objects(pods: &[(String, String)]) -> Value {
    let mut items: Vec<Value> = ["shop", "payments", "kube-system", "default"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .to_vec();
    items.push(service("shop", "web", "10.96.1.1"));
    items.push(service("payments", "web", "10.96.1.2"));
    items.extend(
        (0..SERVICES).map(|at| service("shop", &format!("web-{at}"), &format!("10.96.2.{at}"))),
    );
    items.push(service("shop", "db", "None"));
    items.push(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "db-1", "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "db"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.9.1"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.9.2"], "hostname": "db-1", "conditions": {"ready": true}},
        ],
    }));
    items.extend(pods.iter().enumerate().map(|(at, (namespace, address))| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": format!("pod-{at}"), "namespace": namespace},
            "spec": {"nodeName": super::NODE_NAME, "dnsPolicy": "ClusterFirst", "hostNetwork": false},
            "status": {
                "phase": "Running",
                "podIP": address, "podIPs": [{"ip": address}],
                "hostIP": super::NODE.to_string(), "hostIPs": [{"ip": super::NODE.to_string()}],
            },
        })
    }));
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn service(namespace: &str, name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    })
}
