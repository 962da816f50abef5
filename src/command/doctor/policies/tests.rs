//! Which policies are named, and whom they hold.

use serde_json::{Value, json};

use super::*;

fn client(namespace: &str, name: &str) -> Client {
    let label = (
        "kubernetes.io/metadata.name".to_owned(),
        namespace.to_owned(),
    );
    Client {
        name: name.to_owned(),
        peer: Peer {
            namespace: namespace.to_owned(),
            namespace_labels: [label].into(),
            labels: [("app".to_owned(), name.to_owned())].into(),
            ..Peer::default()
        },
    }
}

/// The findings of all policies of a cluster with three clients.
fn found(policies: &[(&str, &str, Value)], agents: &[&str]) -> Vec<String> {
    let policy = |(namespace, name, spec): &(&str, &str, Value)| -> NetworkPolicy {
        let object = json!({ "metadata": { "name": name, "namespace": namespace }, "spec": spec });
        serde_json::from_value(object).unwrap()
    };
    let policies: Vec<NetworkPolicy> = policies.iter().map(policy).collect();
    let dns = Peer {
        labels: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
        ips: vec!["10.244.0.5".parse().unwrap()],
        aliases: vec!["10.96.0.10".parse().unwrap()],
        ..client("kube-system", "").peer
    };
    let setup = Setup {
        policies: by_namespace(&policies),
        servers: &[dns],
        agents: agents.iter().map(|ip| ip.parse().unwrap()).collect(),
        doors: [("UDP", 53), ("TCP", 53)],
    };
    let clients = [
        client("shop", "web"),
        client("shop", "db"),
        client("bank", "vault"),
    ];
    let mut found = setup.egress(&clients);
    found.extend(setup.ingress(&clients));
    found.extend(setup.own(&[53].into()));
    let line = |finding: &Finding| format!("{:?} {}", finding.severity, finding.what);
    found.iter().map(line).collect()
}

fn egress(rules: Value) -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": rules })
}

#[test]
fn the_policy_and_who_it_holds_are_named() {
    let tcp = json!([{ "ports": [{ "port": 53 }] }]);
    let udp = json!([{ "ports": [{ "port": 53, "protocol": "UDP" }] }]);
    let service = json!([{ "to": [{ "ipBlock": { "cidr": "10.96.0.10/32" } }] }]);
    let agent = json!([{ "to": [{ "ipBlock": { "cidr": "169.254.20.10/32" } }] }]);
    for (policies, agents, want) in [
        (
            vec![("shop", "shut", egress(json!([])))],
            &[][..],
            vec![
                "Error NetworkPolicy shut: 2 Pods of namespace shop (web, db) cannot ask the cluster DNS over UDP and TCP",
            ],
        ),
        (
            vec![
                ("shop", "shut", egress(json!([]))),
                ("shop", "open", egress(json!([{}]))),
            ],
            &[],
            vec![],
        ),
        (
            vec![("bank", "no-protocol", egress(tcp))],
            &[],
            vec![
                "Error NetworkPolicy no-protocol: 1 Pod of namespace bank (vault) cannot ask the cluster DNS over UDP",
            ],
        ),
        (
            vec![("bank", "udp", egress(udp))],
            &[],
            vec![
                "Warning NetworkPolicy udp: 1 Pod of namespace bank (vault) cannot ask the cluster DNS over TCP",
            ],
        ),
        (
            vec![("bank", "ip", egress(service))],
            &[],
            vec![
                "Warning NetworkPolicy ip: lets 1 Pod of namespace bank (vault) ask the Service's address over UDP and TCP, but not the Pods behind it",
            ],
        ),
        (
            vec![("bank", "agent", egress(agent.clone()))],
            &[],
            vec![
                "Error NetworkPolicy agent: 1 Pod of namespace bank (vault) cannot ask the cluster DNS over UDP and TCP",
            ],
        ),
        (
            vec![("bank", "agent", egress(agent))],
            &["169.254.20.10"],
            vec![],
        ),
    ] {
        assert_eq!(found(&policies, agents), want);
    }
}

#[test]
fn a_policy_of_the_cluster_dns_may_shut_clients_out() {
    let from = |from: Value| {
        let spec =
            json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": from }] });
        vec![("kube-system", "in", spec)]
    };
    assert_eq!(
        found(&from(json!([])), &["169.254.20.10"]),
        Vec::<String>::new()
    );
    assert_eq!(
        found(&from(json!([{ "namespaceSelector": {} }])), &[]),
        Vec::<String>::new()
    );
    let shop = json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "shop" } } }]);
    assert_eq!(
        found(&from(shop), &["169.254.20.10"]),
        [
            "Error NetworkPolicy in of the cluster DNS shuts out 1 Pod over UDP and TCP, in bank",
            "Warning NetworkPolicy in of the cluster DNS has no rule for the addresses of nodes, which node agents ask from",
        ]
    );
}

#[test]
fn the_cluster_dns_itself_must_get_out() {
    let out = |ports: Value| vec![("kube-system", "out", egress(json!([{ "ports": ports }])))];
    let (dns, api) = (
        json!({ "port": 53, "protocol": "UDP" }),
        json!({ "port": 6443 }),
    );
    for (ports, want) in [
        (json!([dns, api]), vec![]),
        (
            json!([api]),
            vec![
                "Warning NetworkPolicy out keeps the cluster DNS from upstreams at port 53 over UDP",
            ],
        ),
        (
            json!([dns]),
            vec!["Warning NetworkPolicy out keeps the cluster DNS from the API server"],
        ),
    ] {
        assert_eq!(found(&out(ports), &[]), want);
    }
}
