//! Each replica, and the Service's address before them: do they answer, how fast.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::Options;
use super::cluster::{Facts, Vantage};
use super::finding::Finding;
use super::probe::{Outcome, Question, millis};
use super::service::is_ready;
use crate::ask::Transport;
use crate::wire::{NameBuf, Rcode, rtype};

/// A name of the cluster is answered from memory, over one hop of the network.
const SLOW: Duration = Duration::from_millis(100);
/// Resolvers wait 5 s and then ask again.
const SLOW_OUTSIDE: Duration = Duration::from_secs(1);

/// Who is asked.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    udp: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    /// The Service's address, which leads to any replica.
    shared: bool,
}

/// What came back, over UDP and over TCP.
#[derive(Clone, Debug)]
struct Asked {
    target: Target,
    cluster: Vec<(&'static str, Outcome)>,
    external: Vec<(&'static str, Outcome)>,
}

/// What is asked for.
struct Questions {
    cluster: Question,
    /// What the answer must hold; empty where that is not known.
    expected: Vec<IpAddr>,
    external: Option<Question>,
}

pub(super) async fn check(facts: &Facts, zone: &NameBuf, options: &Options) -> Vec<Finding> {
    let slices = match &facts.slices {
        Ok(slices) => slices,
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let mut targets = targets(slices, facts.service.as_ref().ok());
    if targets.is_empty() {
        return vec![Finding::not_checked("there is no ready endpoint to ask")];
    }
    targets.extend(facts.service_ips().into_iter().map(|ip| Target {
        name: format!("Service {ip}"),
        udp: Some((ip, 53).into()),
        tcp: Some((ip, 53).into()),
        shared: true,
    }));
    let questions = match questions(facts, zone, options) {
        Ok(questions) => questions,
        Err(finding) => return vec![finding],
    };
    let asked = targets
        .into_iter()
        .map(|target| ask(target, &questions, options.timeout));
    judge(&join_all(asked).await, &questions, facts.vantage)
}

fn questions(facts: &Facts, zone: &NameBuf, options: &Options) -> Result<Questions, Finding> {
    let expected = facts.api_service.clone().unwrap_or_default();
    let v6 = expected.first().is_some_and(IpAddr::is_ipv6);
    let qtype = if v6 { rtype::AAAA } else { rtype::A };
    let name = super::under("kubernetes.default.svc", zone);
    let name = name
        .ok_or_else(|| Finding::not_checked(format!("kubernetes.default.svc.{zone} is no name")))?;
    Ok(Questions {
        cluster: Question { name, qtype },
        expected,
        external: options.external_question(),
    })
}

/// The port of a slice that leads from the Service's port 53, or the first of
/// the protocol where there is no Service.
pub(super) fn port(
    slice: &EndpointSlice,
    service: Option<&Service>,
    protocol: &str,
) -> Option<u16> {
    let is = |found: Option<&str>| found.unwrap_or("TCP") == protocol;
    let ports = service.and_then(|service| service.spec.as_ref()?.ports.as_ref());
    let mut ports = ports.into_iter().flatten();
    let own = ports.find(|port| port.port == 53 && is(port.protocol.as_deref()));
    let name = own.map(|own| own.name.as_deref().unwrap_or_default());
    let port = slice.ports.iter().flatten().find(|port| {
        let other = port.name.as_deref().unwrap_or_default();
        is(port.protocol.as_deref()) && name.is_none_or(|name| name == other)
    });
    u16::try_from(port?.port?).ok()
}

/// The ready endpoints, each address with the ports that lead from the Service's port 53.
fn targets(slices: &[EndpointSlice], service: Option<&Service>) -> Vec<Target> {
    let mut targets = Vec::new();
    for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
        let [udp, tcp] = ["UDP", "TCP"].map(|protocol| port(slice, service, protocol));
        for endpoint in slice.endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
            let name = (endpoint.target_ref.as_ref()).and_then(|target| target.name.as_deref());
            for ip in endpoint
                .addresses
                .iter()
                .filter_map(|ip| ip.parse::<IpAddr>().ok())
            {
                let at = |port: Option<u16>| port.map(|port| SocketAddr::new(ip, port));
                targets.push(Target {
                    name: match name {
                        Some(name) => format!("{name} {ip}"),
                        None => ip.to_string(),
                    },
                    udp: at(udp),
                    tcp: at(tcp),
                    shared: false,
                });
            }
        }
    }
    targets
}

async fn ask(target: Target, questions: &Questions, bound: Duration) -> Asked {
    let over = async |question: Option<&Question>| {
        let Some(question) = question else {
            return Vec::new();
        };
        let one = async |server: Option<SocketAddr>, transport| match server {
            Some(server) => Some(question.ask(server, transport, bound).await),
            None => None,
        };
        let (udp, tcp) = tokio::join!(
            one(target.udp, Transport::Udp),
            one(target.tcp, Transport::Tcp)
        );
        [("UDP", udp), ("TCP", tcp)]
            .into_iter()
            .filter_map(|(name, outcome)| Some((name, outcome?)))
            .collect()
    };
    let (cluster, external) = tokio::join!(
        over(Some(&questions.cluster)),
        over(questions.external.as_ref())
    );
    Asked {
        target,
        cluster,
        external,
    }
}

fn judge(all: &[Asked], questions: &Questions, vantage: Vantage) -> Vec<Finding> {
    // From outside, others may well answer at a Pod's address: hosts of another
    // network, or a resolver that takes every query on its way. Who gives the
    // cluster's own answer is a replica.
    let known = |asked: &&Asked| {
        let mut outcomes = asked.cluster.iter();
        outcomes.any(|(_, outcome)| questions.is_answered(outcome))
    };
    let place = vantage.place();
    if !vantage.inside() && !all.iter().any(|asked| known(&asked)) {
        let what = format!("no replica can be reached from {place}");
        return vec![
            Finding::not_checked(what).advise("run it in the cluster; docs/tools.md says how"),
        ];
    }
    let mut replicas = all.iter().filter(|asked| !asked.target.shared);
    let replicas_answer = replicas.any(|asked| known(&asked));
    let mut found = Vec::new();
    for asked in all {
        let name = &asked.target.name;
        if asked.target.shared && !vantage.inside() && !known(&asked) {
            found.push(Finding::not_checked(format!(
                "{name} cannot be reached from {place}"
            )));
            continue;
        }
        let cluster = of_cluster(asked, questions, replicas_answer);
        let answers = |(_, outcome): &(_, Outcome)| matches!(outcome, Outcome::Answer { .. });
        let external = match asked.cluster.iter().any(answers) {
            true => of_external(asked, questions),
            // It is dead; that it does not resolve the other name adds nothing.
            false => None,
        };
        if cluster.is_none() && external.is_none() {
            found.push(Finding::ok(format!("{name}: {}", times(asked, questions))));
        }
        found.extend(cluster);
        found.extend(external);
    }
    found
}

impl Questions {
    /// Whether this is the answer that every replica has to the cluster's name.
    fn is_answered(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Answer {
                rcode, addresses, ..
            } => {
                *rcode == Rcode::NOERROR
                    && !addresses.is_empty()
                    && (self.expected.is_empty()
                        || addresses.iter().any(|ip| self.expected.contains(ip)))
            }
            _ => false,
        }
    }
}

fn of_cluster(asked: &Asked, questions: &Questions, replicas_answer: bool) -> Option<Finding> {
    let name = &questions.cluster.name;
    let who = &asked.target.name;
    let wrong: Vec<_> = asked
        .cluster
        .iter()
        .filter(|(_, outcome)| !questions.is_answered(outcome))
        .collect();
    if let Some((_, first)) = wrong.first() {
        let what = match first {
            Outcome::Answer {
                rcode, addresses, ..
            } if *rcode == Rcode::NOERROR && !addresses.is_empty() => {
                let expected: Vec<String> =
                    questions.expected.iter().map(ToString::to_string).collect();
                let found: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!(
                    "{who}: {name} is {} there, and {} in the cluster",
                    found.join(" "),
                    expected.join(" ")
                )
            }
            _ => format!("{who}: {name} {}", words(&wrong)),
        };
        let advice = match (asked.target.shared, first) {
            (true, Outcome::Nothing(_)) if replicas_answer => {
                "the replicas answer, the Service's address does not: look at kube-proxy (or what stands in its place) on this node, and at NetworkPolicies"
            }
            (_, Outcome::Nothing(_)) => {
                "look at its log and CPU limit, at the network between this node and its node, and at NetworkPolicies"
            }
            (_, Outcome::Refused) => {
                "nothing listens there: look at its log, and at the block's port and `bind`"
            }
            (
                _,
                Outcome::Answer {
                    rcode: Rcode::SERVFAIL,
                    ..
                },
            ) => {
                "it does not know the cluster yet: look at its log for the API server, and at rbac below"
            }
            (
                _,
                Outcome::Answer {
                    rcode: Rcode::REFUSED,
                    ..
                },
            ) => "no server block takes the name, or `acl` blocks it: look at the Corefile's zones",
            _ => {
                "look at the zones of `kubernetes` in the Corefile, or name the cluster's with --zone"
            }
        };
        return Some(Finding::error(what).advise(advice));
    }
    slow(
        asked,
        &asked.cluster,
        name,
        SLOW,
        "look at its CPU limit (throttling) and its node",
    )
}

fn of_external(asked: &Asked, questions: &Questions) -> Option<Finding> {
    let name = &questions.external.as_ref()?.name;
    let who = &asked.target.name;
    let rcode = |outcome: &Outcome| match outcome {
        Outcome::Answer { rcode, .. } => Some(*rcode),
        _ => None,
    };
    let wrong: Vec<_> = (asked.external.iter())
        .filter(|(_, outcome)| rcode(outcome) != Some(Rcode::NOERROR))
        .collect();
    if !wrong.is_empty() {
        let what = format!("{who}: {name} {}", words(&wrong));
        if wrong
            .iter()
            .all(|(_, outcome)| rcode(outcome) == Some(Rcode::NXDOMAIN))
        {
            return Some(
                Finding::warning(what).advise("name one that exists from here with --external"),
            );
        }
        return Some(Finding::error(what).advise(
            "look at upstreams below; where the cluster shall not resolve external names, --external ''",
        ));
    }
    slow(
        asked,
        &asked.external,
        name,
        SLOW_OUTSIDE,
        "look at upstreams below",
    )
}

/// `over UDP and TCP: SERVFAIL`, or each for itself.
fn words(wrong: &[&(&'static str, Outcome)]) -> String {
    match wrong {
        [(a, first), (b, second)] if first.words() == second.words() => {
            format!("over {a} and {b}: {}", first.words())
        }
        _ => {
            let each = wrong
                .iter()
                .map(|(over, outcome)| format!("over {over}: {}", outcome.words()));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn slow(
    asked: &Asked,
    outcomes: &[(&'static str, Outcome)],
    name: &NameBuf,
    bound: Duration,
    advice: &str,
) -> Option<Finding> {
    let (over, elapsed) = outcomes
        .iter()
        .filter_map(|(over, outcome)| match outcome {
            Outcome::Answer { elapsed, .. } => Some((over, *elapsed)),
            _ => None,
        })
        .max_by_key(|(_, elapsed)| *elapsed)?;
    (elapsed > bound).then(|| {
        let what = format!(
            "{}: {name} over {over} took {}",
            asked.target.name,
            millis(elapsed)
        );
        Finding::warning(what).advise(advice)
    })
}

fn times(asked: &Asked, questions: &Questions) -> String {
    let each = |name: &NameBuf, outcomes: &[(&'static str, Outcome)]| {
        let times = outcomes.iter().filter_map(|(over, outcome)| match outcome {
            Outcome::Answer { elapsed, .. } => Some(format!("{} {over}", millis(*elapsed))),
            _ => None,
        });
        format!("{name} {}", times.collect::<Vec<_>>().join(", "))
    };
    let mut parts = vec![each(&questions.cluster.name, &asked.cluster)];
    if let Some(external) = &questions.external {
        parts.push(each(&external.name, &asked.external));
    }
    parts.join("; ")
}
