//! NetworkPolicies that keep queries from the cluster DNS.

mod semantics;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use self::semantics::{Direction, Door, Labels, Peer, Verdict, judge, selects};
use super::cluster::{Cluster, Facts, Known, MOST, Unknown};
use super::finding::Finding;
use super::reading::stanzas;
use super::{replicas, some};
use crate::plugin::{self, Destination};

/// Pods that policies bind: those with the host's network are not, and those
/// that have ended ask nothing.
const BOUND: &str = "spec.hostNetwork=false,status.phase!=Succeeded,status.phase!=Failed";
/// API servers before 1.28 do not select by `hostNetwork`.
const BOUND_BEFORE: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Where API servers listen: the Service's, kubeadm's and k3s's, MicroK8s's.
const API: [i32; 3] = [443, 6443, 16443];

pub(super) async fn check(cluster: &Cluster, facts: &Facts) -> Vec<Finding> {
    let policies = match &facts.policies {
        Ok(policies) => policies,
        Err(why) => return vec![Finding::not_checked(why)],
    };
    if policies.is_empty() {
        return vec![Finding::ok("there are no NetworkPolicies")];
    }
    let namespaces: BTreeMap<String, Labels> = match &facts.namespaces {
        Ok(all) => all
            .iter()
            .map(|one| (one.name_any(), one.labels().clone()))
            .collect(),
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let pods = match &facts.pods {
        Ok(pods) if pods.is_empty() => {
            return vec![Finding::not_checked(
                "there is no Pod of the cluster DNS to reach",
            )];
        }
        Ok(pods) => pods,
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let servers: Vec<Peer> = pods
        .iter()
        .map(|pod| server(pod, &namespaces, &facts.service_ips()))
        .collect();
    let clients = match clients(cluster, policies, &servers, &namespaces).await {
        Ok(clients) => clients,
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let setup = Setup {
        policies: by_namespace(policies),
        servers: &servers,
        agents: facts.agent_ips(),
        doors: doors(facts),
    };
    let mut found = setup.egress(&clients);
    found.extend(setup.ingress(&clients));
    found.extend(setup.own(&upstream_ports(facts)));
    if clients.len() >= MOST {
        found.push(Finding::info(format!(
            "only the first {MOST} Pods were looked at"
        )));
    }
    if found.is_empty() {
        let count = policies.len();
        found.push(Finding::ok(format!(
            "{count} NetworkPolicies, none keeps a Pod from the cluster DNS"
        )));
    }
    found
}

/// A Pod of the cluster DNS.
fn server(pod: &Pod, namespaces: &BTreeMap<String, Labels>, service: &[IpAddr]) -> Peer {
    let namespace = pod.namespace().unwrap_or_default();
    let status = pod.status.as_ref();
    let ips = status
        .and_then(|status| status.pod_ips.as_ref())
        .into_iter()
        .flatten();
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    Peer {
        namespace_labels: namespaces.get(&namespace).cloned().unwrap_or_default(),
        namespace,
        labels: pod.labels().clone(),
        ips: ips.filter_map(|ip| ip.ip.parse().ok()).collect(),
        aliases: service.to_vec(),
        ports: ports
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((port.name.clone()?, protocol, port.container_port))
            })
            .collect(),
    }
}

/// The ports of the Pods behind the Service's port 53.
fn doors(facts: &Facts) -> [(&'static str, i32); 2] {
    let service = facts.service.as_ref().ok();
    ["UDP", "TCP"].map(|protocol| {
        let mut slices = facts.slices.iter().flatten();
        let port = slices.find_map(|slice| replicas::port(slice, service, protocol));
        (protocol, port.map_or(53, i32::from))
    })
}

/// The ports of the upstreams that the Corefile names by address; 53 where it
/// names a file or a host.
fn upstream_ports(facts: &Facts) -> BTreeSet<u16> {
    let reading = facts.reading();
    let directives = reading
        .iter()
        .flat_map(|reading| reading.directives("forward"));
    let all = directives.flat_map(|(_, directive)| stanzas(directive));
    let tos = all.flat_map(|stanza| stanza.args.into_iter().skip(1));
    tos.filter_map(|to| match plugin::forward_destination(&to.text).ok()? {
        Destination::Address(address) => Some(address.port()),
        Destination::Indirect(_) => Some(53),
    })
    .collect()
}

/// A Pod that may ask.
struct Client {
    name: String,
    peer: Peer,
}

/// The Pods of namespaces whose policies hold what goes out; where a policy
/// holds what comes to the cluster DNS, those of all namespaces.
async fn clients(
    cluster: &Cluster,
    policies: &[NetworkPolicy],
    servers: &[Peer],
    namespaces: &BTreeMap<String, Labels>,
) -> Known<Vec<Client>> {
    let guarded = policies.iter().any(|policy| {
        Direction::Ingress.is_of(policy) && servers.iter().any(|server| selects(policy, server))
    });
    let api = |namespace: Option<&str>| match namespace {
        Some(namespace) => Api::<Pod>::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let within: BTreeSet<String> = policies
        .iter()
        .filter(|policy| Direction::Egress.is_of(policy))
        .filter_map(ResourceExt::namespace)
        .collect();
    let apis: Vec<Api<Pod>> = match guarded {
        true => vec![api(None)],
        false => within
            .iter()
            .map(|namespace| api(Some(namespace)))
            .collect(),
    };
    let mut clients = Vec::new();
    for api in apis {
        let mut params = ListParams::default().fields(BOUND).limit(500);
        while clients.len() < MOST {
            let page = match cluster.ask(api.list_metadata(&params)).await {
                Err(Unknown::Other(why))
                    if why.starts_with("400 ")
                        && params.field_selector.as_deref() == Some(BOUND) =>
                {
                    params = params.fields(BOUND_BEFORE);
                    continue;
                }
                page => page?,
            };
            clients.extend(page.items.into_iter().map(|pod| {
                let namespace = pod.metadata.namespace.unwrap_or_default();
                Client {
                    name: pod.metadata.name.unwrap_or_default(),
                    peer: Peer {
                        namespace_labels: namespaces.get(&namespace).cloned().unwrap_or_default(),
                        namespace,
                        labels: pod.metadata.labels.unwrap_or_default(),
                        ..Peer::default()
                    },
                }
            }));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(clients)
}

struct Setup<'a> {
    /// By namespace: a policy selects Pods of its own alone.
    policies: BTreeMap<&'a str, Vec<&'a NetworkPolicy>>,
    servers: &'a [Peer],
    /// The addresses of node agents.
    agents: Vec<IpAddr>,
    /// Protocol and port.
    doors: [(&'static str, i32); 2],
}

fn by_namespace(policies: &[NetworkPolicy]) -> BTreeMap<&str, Vec<&NetworkPolicy>> {
    let mut all: BTreeMap<&str, Vec<&NetworkPolicy>> = BTreeMap::new();
    for policy in policies {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        all.entry(namespace).or_default().push(policy);
    }
    all
}

/// What several Pods have in common: namespace, protocols, verdict.
type Group = (String, Vec<&'static str>, Verdict);

/// The policies that shut clients out, and the protocols.
type Shut = (Vec<String>, Vec<&'static str>);

impl Setup<'_> {
    fn of(&self, pod: &Peer) -> &[&NetworkPolicy] {
        self.policies
            .get(&*pod.namespace)
            .map_or(&[], Vec::as_slice)
    }

    fn egress(&self, clients: &[Client]) -> Vec<Finding> {
        let mut groups: BTreeMap<Group, Vec<&str>> = BTreeMap::new();
        for client in clients {
            let mut worst: BTreeMap<Verdict, Vec<&'static str>> = BTreeMap::new();
            for (protocol, port) in self.doors {
                match self.way_out(&client.peer, protocol, port) {
                    Verdict::Passes => {}
                    verdict => worst.entry(verdict).or_default().push(protocol),
                }
            }
            for (verdict, protocols) in worst {
                let group = (client.peer.namespace.clone(), protocols, verdict);
                groups.entry(group).or_default().push(&client.name);
            }
        }
        let finding = |((namespace, protocols, verdict), pods): (Group, Vec<&str>)| {
            let over = protocols.join(" and ");
            let who = format!(
                "{} of namespace {namespace} ({})",
                count(pods.len()),
                some(&pods)
            );
            match verdict {
                Verdict::Depends(policies) => Finding::warning(format!(
                    "NetworkPolicy {}: lets {who} ask the Service's address over {over}, but not the Pods behind it",
                    policies.join(", ")
                ))
                .advise("whether that is enough depends on the network plugin: allow the Pods by namespaceSelector and podSelector"),
                Verdict::Passes | Verdict::Denied(_) => {
                    let names = match &verdict {
                        Verdict::Denied(names) => names.join(", "),
                        _ => String::new(),
                    };
                    let port = self.doors.first().map_or(53, |(_, port)| *port);
                    let what = format!("NetworkPolicy {names}: {who} cannot ask the cluster DNS over {over}");
                    let advice = format!(
                        "allow egress to namespace kube-system, Pods k8s-app=kube-dns, port {port} over UDP and TCP (a port without protocol is TCP alone)"
                    );
                    match protocols.contains(&"UDP") {
                        true => Finding::error(what).advise(advice),
                        false => Finding::warning(what).advise(advice),
                    }
                }
            }
        };
        groups.into_iter().map(finding).collect()
    }

    /// The worst of the ways to each replica, unless the node agent is open.
    fn way_out(&self, client: &Peer, protocol: &str, port: i32) -> Verdict {
        let judged = |server: &Peer, port| {
            judge(
                self.of(client),
                Direction::Egress,
                client,
                server,
                Door { protocol, port },
            )
        };
        let agent = |ip: &IpAddr| Peer {
            ips: vec![*ip],
            ..Peer::default()
        };
        if self
            .agents
            .iter()
            .any(|ip| judged(&agent(ip), 53) == Verdict::Passes)
        {
            return Verdict::Passes;
        }
        let worst = self.servers.iter().map(|server| judged(server, port)).max();
        worst.unwrap_or(Verdict::Passes)
    }

    fn ingress(&self, clients: &[Client]) -> Vec<Finding> {
        let mut groups: BTreeMap<Shut, BTreeMap<&str, usize>> = BTreeMap::new();
        for client in clients {
            let mut shut: BTreeMap<Vec<String>, Vec<&'static str>> = BTreeMap::new();
            for (protocol, port) in self.doors {
                if let Some(policies) = self.shut(&client.peer, protocol, port) {
                    shut.entry(policies).or_default().push(protocol);
                }
            }
            for group in shut {
                let group = groups.entry(group).or_default();
                *group.entry(&client.peer.namespace).or_default() += 1;
            }
        }
        let finding = |((policies, protocols), namespaces): (Shut, BTreeMap<&str, usize>)| {
            let pods: usize = namespaces.values().sum();
            let names: Vec<&str> = namespaces.into_keys().collect();
            let what = format!(
                "NetworkPolicy {} of the cluster DNS shuts out {} over {}, in {}",
                policies.join(", "),
                count(pods),
                protocols.join(" and "),
                some(&names),
            );
            let advice = "let every namespace in: an ingress rule without `from`, for port 53 over UDP and TCP";
            match protocols.contains(&"UDP") {
                true => Finding::error(what).advise(advice),
                false => Finding::warning(what).advise(advice),
            }
        };
        let mut found: Vec<Finding> = groups.into_iter().map(finding).collect();
        // Agents ask from the addresses of their nodes, which no selector matches.
        let node = Peer::default();
        let shut = self
            .doors
            .iter()
            .find_map(|(protocol, port)| self.shut(&node, protocol, *port));
        if let (Some(policies), false) = (shut, self.agents.is_empty()) {
            let what = format!(
                "NetworkPolicy {} of the cluster DNS has no rule for the addresses of nodes, which node agents ask from",
                policies.join(", ")
            );
            found.push(
                Finding::warning(what)
                    .advise("add an ipBlock of the nodes' network, or a rule without `from`"),
            );
        }
        found
    }

    /// What keeps the cluster DNS itself from its upstreams at these ports, and
    /// from the API server. Where they are is not looked at: a rule for any
    /// address at all passes.
    fn own(&self, upstreams: &BTreeSet<u16>) -> Vec<Finding> {
        let anywhere = Peer::default();
        let held = |protocol, port| {
            self.servers.iter().find_map(|server| {
                let door = Door { protocol, port };
                match judge(self.of(server), Direction::Egress, server, &anywhere, door) {
                    Verdict::Denied(policies) => Some(policies.join(", ")),
                    Verdict::Passes | Verdict::Depends(_) => None,
                }
            })
        };
        let mut found = Vec::new();
        for port in upstreams {
            if let Some(policies) = held("UDP", i32::from(*port)) {
                let what = format!(
                    "NetworkPolicy {policies} keeps the cluster DNS from upstreams at port {port} over UDP"
                );
                found.push(Finding::warning(what).advise(format!(
                    "allow egress to the upstreams' addresses (ipBlock), port {port} over UDP and TCP"
                )));
            }
        }
        // One before and one behind the Service's address: a rule for either may do.
        let apis = API.map(|port| held("TCP", port));
        if let [Some(policies), rest @ ..] = &apis
            && rest.iter().all(Option::is_some)
        {
            let what =
                format!("NetworkPolicy {policies} keeps the cluster DNS from the API server");
            found.push(
                Finding::warning(what).advise(
                    "allow egress over TCP to the API server's addresses, ports 443 and 6443",
                ),
            );
        }
        found
    }

    /// The policies that shut a client out of any replica.
    fn shut(&self, client: &Peer, protocol: &str, port: i32) -> Option<Vec<String>> {
        self.servers.iter().find_map(|server| {
            let door = Door { protocol, port };
            match judge(self.of(server), Direction::Ingress, server, client, door) {
                Verdict::Denied(policies) => Some(policies),
                Verdict::Passes | Verdict::Depends(_) => None,
            }
        })
    }
}

fn count(pods: usize) -> String {
    match pods {
        1 => "1 Pod".to_owned(),
        _ => format!("{pods} Pods"),
    }
}
