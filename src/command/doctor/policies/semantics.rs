//! Whether NetworkPolicies let a Pod reach another (API reference of
//! networking.k8s.io/v1): policies that select a Pod isolate it in the
//! directions of their policyTypes, and what any rule of any of them lets
//! through then passes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

pub(in crate::command::doctor) type Labels = BTreeMap<String, String>;

/// One end of a conversation.
#[derive(Clone, Debug, Default)]
pub(in crate::command::doctor) struct Peer {
    /// Empty for what is no Pod: a node, a node agent.
    pub(in crate::command::doctor) namespace: String,
    pub(in crate::command::doctor) namespace_labels: Labels,
    pub(in crate::command::doctor) labels: Labels,
    /// Empty where they are not known.
    pub(in crate::command::doctor) ips: Vec<IpAddr>,
    /// Addresses that are rewritten to one of `ips` on the way: the Service's.
    pub(in crate::command::doctor) aliases: Vec<IpAddr>,
    /// Ports with a name: name, protocol, number.
    pub(in crate::command::doctor) ports: Vec<(String, String, i32)>,
}

/// Where a conversation goes to.
#[derive(Clone, Copy, Debug)]
pub(in crate::command::doctor) struct Door<'a> {
    /// `UDP` or `TCP`.
    pub(in crate::command::doctor) protocol: &'a str,
    /// The port of the Pod, behind that of the Service.
    pub(in crate::command::doctor) port: i32,
}

/// What the policies of one direction say.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::command::doctor) enum Verdict {
    /// No policy isolates the Pod, or a rule lets it through.
    Passes,
    /// A rule names an address that only some network plugins look at.
    Depends(Vec<String>),
    /// These policies isolate the Pod, and none of their rules lets it through.
    Denied(Vec<String>),
}

/// A direction, from the side of the Pod that policies select.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::command::doctor) enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    /// Whether a policy isolates in this direction.
    pub(in crate::command::doctor) fn is_of(self, policy: &NetworkPolicy) -> bool {
        let Some(spec) = &policy.spec else {
            return false;
        };
        let named = |name: &str| {
            let types = spec.policy_types.as_deref().unwrap_or_default();
            types.iter().any(|kind| kind == name)
        };
        let unnamed = spec.policy_types.as_ref().is_none_or(Vec::is_empty);
        match self {
            Self::Egress => {
                named("Egress")
                    || unnamed && spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())
            }
            Self::Ingress => named("Ingress") || unnamed,
        }
    }
}

/// Whether a policy of its namespace selects a Pod.
pub(in crate::command::doctor) fn selects(policy: &NetworkPolicy, pod: &Peer) -> bool {
    let selector = policy
        .spec
        .as_ref()
        .and_then(|spec| spec.pod_selector.as_ref());
    policy.metadata.namespace.as_deref().unwrap_or_default() == pod.namespace
        && selector.is_none_or(|selector| matches(selector, &pod.labels))
}

/// What `policies` say about `inside`, which they may select, and `outside`:
/// the server for egress, the client for ingress. `door` is the server's, and
/// a port may be named by the server's names.
pub(in crate::command::doctor) fn judge(
    policies: &[&NetworkPolicy],
    direction: Direction,
    inside: &Peer,
    outside: &Peer,
    door: Door<'_>,
) -> Verdict {
    let isolating: Vec<&NetworkPolicy> = policies
        .iter()
        .copied()
        .filter(|policy| direction.is_of(policy) && selects(policy, inside))
        .collect();
    if isolating.is_empty() {
        return Verdict::Passes;
    }
    let server = match direction {
        Direction::Egress => outside,
        Direction::Ingress => inside,
    };
    let mut depends = Vec::new();
    for policy in &isolating {
        let rules: Vec<Rule<'_>> = rules(policy, direction);
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        for (peers, ports) in rules {
            if !lets_port(ports, server, door) {
                continue;
            }
            let peers = peers.unwrap_or_default();
            if peers.is_empty() {
                return Verdict::Passes;
            }
            for peer in peers {
                match lets_peer(peer, namespace, outside) {
                    Some(true) => return Verdict::Passes,
                    Some(false) => {}
                    None => depends.push(policy.name_any()),
                }
            }
        }
    }
    depends.dedup();
    match depends.is_empty() {
        true => Verdict::Denied(isolating.iter().map(|policy| policy.name_any()).collect()),
        false => Verdict::Depends(depends),
    }
}

type Rule<'a> = (
    Option<&'a [NetworkPolicyPeer]>,
    Option<&'a [NetworkPolicyPort]>,
);

fn rules(policy: &NetworkPolicy, direction: Direction) -> Vec<Rule<'_>> {
    let Some(spec) = &policy.spec else {
        return Vec::new();
    };
    match direction {
        Direction::Egress => {
            let rules = spec.egress.iter().flatten();
            rules
                .map(|rule| (rule.to.as_deref(), rule.ports.as_deref()))
                .collect()
        }
        Direction::Ingress => {
            let rules = spec.ingress.iter().flatten();
            rules
                .map(|rule| (rule.from.as_deref(), rule.ports.as_deref()))
                .collect()
        }
    }
}

fn lets_port(ports: Option<&[NetworkPolicyPort]>, server: &Peer, door: Door<'_>) -> bool {
    let ports = ports.unwrap_or_default();
    ports.is_empty()
        || ports.iter().any(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            protocol == door.protocol
                && match &port.port {
                    None => true,
                    Some(IntOrString::Int(first)) => {
                        (*first..=port.end_port.unwrap_or(*first)).contains(&door.port)
                    }
                    Some(IntOrString::String(name)) => {
                        server.ports.iter().any(|(own, of, number)| {
                            own == name && of == door.protocol && *number == door.port
                        })
                    }
                }
        })
}

/// `None` where it depends on the network plugin, or on addresses that are not known.
fn lets_peer(peer: &NetworkPolicyPeer, namespace: &str, other: &Peer) -> Option<bool> {
    if let Some(block) = &peer.ip_block {
        return lets_address(block, other);
    }
    if other.namespace.is_empty() {
        return Some(false);
    }
    let of_namespace = match &peer.namespace_selector {
        Some(selector) => matches(selector, &other.namespace_labels),
        None => other.namespace == namespace,
    };
    let of_pod = peer
        .pod_selector
        .as_ref()
        .is_none_or(|selector| matches(selector, &other.labels));
    Some(of_namespace && of_pod)
}

fn lets_address(block: &IPBlock, other: &Peer) -> Option<bool> {
    let net: IpNet = block.cidr.parse().ok()?;
    let except: Vec<IpNet> = block
        .except
        .iter()
        .flatten()
        .filter_map(|net| net.parse().ok())
        .collect();
    let holds = |ip: &IpAddr| net.contains(ip) && !except.iter().any(|net| net.contains(ip));
    if other.ips.is_empty() {
        return match net.prefix_len() == 0 && except.is_empty() {
            true => Some(true),
            false => None,
        };
    }
    if other.ips.iter().any(holds) {
        return Some(true);
    }
    match other.aliases.iter().any(holds) {
        true => None,
        false => Some(false),
    }
}

/// A selector that makes no sense selects nothing; the API server takes none.
fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn client() -> Peer {
        Peer {
            namespace: "shop".to_owned(),
            namespace_labels: labels(&[("kubernetes.io/metadata.name", "shop"), ("team", "a")]),
            labels: labels(&[("app", "web")]),
            ..Peer::default()
        }
    }

    fn dns() -> Peer {
        Peer {
            namespace: "kube-system".to_owned(),
            namespace_labels: labels(&[("kubernetes.io/metadata.name", "kube-system")]),
            labels: labels(&[("k8s-app", "kube-dns")]),
            ips: vec!["10.244.0.5".parse().unwrap()],
            aliases: vec!["10.96.0.10".parse().unwrap()],
            ports: vec![
                ("dns".to_owned(), "UDP".to_owned(), 53),
                ("dns-tcp".to_owned(), "TCP".to_owned(), 53),
            ],
        }
    }

    fn policy(namespace: &str, spec: Value) -> NetworkPolicy {
        let object = json!({ "metadata": { "name": "p", "namespace": namespace }, "spec": spec });
        serde_json::from_value(object).unwrap()
    }

    fn out(spec: Value) -> Verdict {
        let door = Door {
            protocol: "UDP",
            port: 53,
        };
        judge(
            &[&policy("shop", spec)],
            Direction::Egress,
            &client(),
            &dns(),
            door,
        )
    }

    fn denied() -> Verdict {
        Verdict::Denied(vec!["p".to_owned()])
    }

    #[test]
    fn egress_passes_where_any_rule_lets_it() {
        let to = |to: Value, ports: Value| json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": to, "ports": ports }] });
        let udp = json!([{ "protocol": "UDP", "port": 53 }]);
        let system = json!({ "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } });
        let of_dns = json!({ "matchLabels": { "k8s-app": "kube-dns" } });
        for (spec, want) in [
            // Who is isolated.
            (
                json!({ "podSelector": {}, "policyTypes": ["Egress"] }),
                denied(),
            ),
            (
                json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{}] }),
                Verdict::Passes,
            ),
            (
                json!({ "podSelector": {}, "policyTypes": ["Ingress"] }),
                Verdict::Passes,
            ),
            (json!({ "podSelector": {} }), Verdict::Passes),
            (
                json!({ "podSelector": {}, "egress": [{ "to": [{ "podSelector": {} }] }] }),
                denied(),
            ),
            (
                json!({ "podSelector": { "matchLabels": { "app": "db" } }, "policyTypes": ["Egress"] }),
                Verdict::Passes,
            ),
            (
                json!({ "podSelector": { "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["db"] }] }, "policyTypes": ["Egress"] }),
                denied(),
            ),
            // Ports.
            (to(json!([]), udp.clone()), Verdict::Passes),
            (to(json!([]), json!([{ "port": 53 }])), denied()),
            (
                to(json!([]), json!([{ "protocol": "UDP" }])),
                Verdict::Passes,
            ),
            (
                to(
                    json!([]),
                    json!([{ "protocol": "UDP", "port": 50, "endPort": 60 }]),
                ),
                Verdict::Passes,
            ),
            (
                to(
                    json!([]),
                    json!([{ "protocol": "UDP", "port": 54, "endPort": 60 }]),
                ),
                denied(),
            ),
            (
                to(json!([]), json!([{ "protocol": "UDP", "port": "dns" }])),
                Verdict::Passes,
            ),
            (
                to(json!([]), json!([{ "protocol": "UDP", "port": "dns-tcp" }])),
                denied(),
            ),
            // Peers.
            (
                to(json!([{ "podSelector": of_dns }]), udp.clone()),
                denied(),
            ),
            (
                to(json!([{ "namespaceSelector": system }]), udp.clone()),
                Verdict::Passes,
            ),
            (
                to(
                    json!([{ "namespaceSelector": {}, "podSelector": of_dns }]),
                    udp.clone(),
                ),
                Verdict::Passes,
            ),
            (
                to(
                    json!([{ "namespaceSelector": system, "podSelector": { "matchLabels": { "k8s-app": "coredns" } } }]),
                    udp.clone(),
                ),
                denied(),
            ),
            (
                to(
                    json!([{ "ipBlock": { "cidr": "10.244.0.0/16" } }]),
                    udp.clone(),
                ),
                Verdict::Passes,
            ),
            (
                to(
                    json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] } }]),
                    udp.clone(),
                ),
                denied(),
            ),
            (
                to(json!([{ "ipBlock": { "cidr": "10.96.0.10/32" } }]), udp),
                Verdict::Depends(vec!["p".to_owned()]),
            ),
        ] {
            assert_eq!(out(spec.clone()), want, "{spec}");
        }
    }

    #[test]
    fn policies_add_up_and_stay_in_their_namespace() {
        let door = Door {
            protocol: "UDP",
            port: 53,
        };
        let shut = json!({ "podSelector": {}, "policyTypes": ["Egress"] });
        let open = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{}] });
        let judged = |policies: &[NetworkPolicy]| {
            let policies: Vec<&NetworkPolicy> = policies.iter().collect();
            judge(&policies, Direction::Egress, &client(), &dns(), door)
        };
        assert_eq!(
            judged(&[policy("shop", shut.clone()), policy("shop", open)]),
            Verdict::Passes
        );
        assert_eq!(judged(&[policy("other", shut)]), Verdict::Passes);
    }

    #[test]
    fn ingress_is_judged_at_the_servers_side() {
        let door = Door {
            protocol: "UDP",
            port: 53,
        };
        let from = |from: Value| {
            let spec = json!({ "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } }, "ingress": [{ "from": from }] });
            judge(
                &[&policy("kube-system", spec)],
                Direction::Ingress,
                &dns(),
                &client(),
                door,
            )
        };
        assert_eq!(from(json!([])), Verdict::Passes);
        assert_eq!(from(json!([{ "podSelector": {} }])), denied());
        assert_eq!(
            from(json!([{ "namespaceSelector": { "matchLabels": { "team": "a" } } }])),
            Verdict::Passes
        );
        assert_eq!(
            from(json!([{ "ipBlock": { "cidr": "0.0.0.0/0" } }])),
            Verdict::Passes
        );
        // The client's address is not known.
        assert_eq!(
            from(json!([{ "ipBlock": { "cidr": "10.0.0.0/8" } }])),
            Verdict::Depends(vec!["p".to_owned()])
        );
    }
}
