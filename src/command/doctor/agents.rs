//! Node agents: do all nodes have one, does the one here answer, and does any
//! of them have its node fall through to the cluster DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::net::TcpStream;

use super::Options;
use super::cluster::{Facts, arguments};
use super::finding::Finding;
use super::probe::{Outcome, Question, millis};
use crate::ask::Transport;
use crate::plugin::kubernetes::causes;
use crate::wire::{NameBuf, rtype};

/// Agents whose metrics are looked at; a large cluster has thousands.
const MOST: usize = 100;
/// Octets of a page of metrics.
const PAGE: usize = 4 << 20;
/// Where the agent's own metrics are unless its flags say otherwise.
const METRICS: &str = "0.0.0.0:9353";

pub(super) async fn check(facts: &Facts, zone: &NameBuf, options: &Options) -> Vec<Finding> {
    let sets = match &facts.agents {
        Ok(sets) if sets.is_empty() => {
            return vec![Finding::info(
                "no node agent: Pods ask the Service over the network",
            )];
        }
        Ok(sets) => sets,
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let mut found: Vec<Finding> = sets.iter().map(rollout).collect();
    let here = async {
        let ips = facts.agent_ips();
        if !facts.vantage.inside() {
            let what = format!(
                "the agent's address cannot be asked from {}",
                facts.vantage.place()
            );
            return vec![Finding::not_checked(what)];
        }
        let Some(name) = super::under("kubernetes.default.svc", zone) else {
            return Vec::new();
        };
        let question = Question {
            name,
            qtype: rtype::A,
        };
        join_all(
            ips.into_iter()
                .map(|ip| address(ip, &question, options.timeout)),
        )
        .await
    };
    let (here, open) = tokio::join!(here, fail_open(facts, options.timeout));
    found.extend(here);
    found.extend(open);
    found
}

fn rollout(set: &DaemonSet) -> Finding {
    let name = set.name_any();
    let status = set.status.clone().unwrap_or_default();
    let (ready, wanted) = (status.number_ready, status.desired_number_scheduled);
    let what = format!("DaemonSet {name}: {ready} of {wanted} nodes have a ready agent");
    let advice =
        format!("kubectl get pods -A -o wide and look for those of {name} that are not ready");
    match ready {
        _ if wanted == 0 => Finding::warning(format!("DaemonSet {name} has no node"))
            .advise("look at its nodeSelector and tolerations"),
        0 => Finding::error(what).advise(advice),
        _ if ready < wanted => Finding::warning(what).advise(advice),
        _ => match status.updated_number_scheduled {
            Some(updated) if updated < wanted => {
                Finding::info(format!("{what}; {updated} of the newest version"))
            }
            _ => Finding::ok(what),
        },
    }
}

async fn address(ip: IpAddr, question: &Question, bound: Duration) -> Finding {
    let server = SocketAddr::new(ip, 53);
    match question.ask(server, Transport::Udp, bound).await {
        Outcome::Answer { elapsed, .. } => {
            Finding::ok(format!("{ip} answers here after {}", millis(elapsed)))
        }
        outcome => Finding::error(format!("{ip} does not answer here: {}", outcome.words()))
            .advise("look at the agent's Pod on this node: Pods whose resolv.conf names this address have no DNS"),
    }
}

/// Asks every agent that can be reached whether its node goes without it.
async fn fail_open(facts: &Facts, bound: Duration) -> Vec<Finding> {
    let pods = match &facts.agent_pods {
        Ok(pods) => pods,
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let all: Vec<_> = pods
        .iter()
        .filter_map(|pod| Some((pod, metrics(pod)?)))
        .collect();
    let asked = all.iter().take(MOST).map(async |(pod, server)| {
        let page = tokio::time::timeout(bound, page(*server)).await;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let page = page.unwrap_or_else(|_| Err(format!("no answer within {bound:?}")));
        (node.unwrap_or_else(|| pod.name_any()), page)
    });
    judge(&join_all(asked).await, all.len(), facts.vantage.place())
}

/// What the agents' pages say, by node, of `count` agents.
fn judge(pages: &[(String, Result<String, String>)], count: usize, place: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let value = |page: &str, name: &str| {
        let mut lines = page.lines();
        lines.find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')?
                .trim()
                .parse::<f64>()
                .ok()
        })
    };
    let nodes = |is: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let pages = pages
            .iter()
            .filter(|(_, page)| page.as_ref().is_ok_and(|page| is(page)));
        pages.map(|(node, _)| node.as_str()).collect()
    };
    let open = nodes(&|page| value(page, "pando_node_fail_open").is_some_and(|open| open > 0.0));
    let dead = nodes(&|page| value(page, "pando_node_worker_serving") == Some(0.0));
    if !open.is_empty() {
        let what = format!(
            "no agent stays up on {}: queries there go to the cluster DNS",
            super::some(&open)
        );
        found.push(
            Finding::error(what)
                .advise("look at the agent's log there: it says how its worker ends"),
        );
    }
    let dead: Vec<&str> = dead
        .into_iter()
        .filter(|node| !open.contains(node))
        .collect();
    if !dead.is_empty() {
        let what = format!("no worker of the agent serves on {}", super::some(&dead));
        found.push(Finding::error(what).advise("look at the agent's log there"));
    }
    let unread: Vec<&(String, Result<String, String>)> =
        pages.iter().filter(|(_, page)| page.is_err()).collect();
    if let Some((node, Err(why))) = unread.first() {
        let what = format!(
            "the metrics of {} of {count} agents cannot be read from {place}; on {node}: {why}",
            unread.len()
        );
        found.push(Finding::not_checked(what));
    }
    if count > pages.len() {
        let what = format!(
            "the metrics of the first {} of {count} agents were looked at",
            pages.len()
        );
        found.push(Finding::info(what));
    }
    let known = nodes(&|page| value(page, "pando_node_fail_open").is_some());
    if found.is_empty() && !known.is_empty() {
        found.push(Finding::ok(format!(
            "{} agents serve, none has its node go without it",
            known.len()
        )));
    }
    found
}

/// Where a Pod's agent has its metrics; `None` while it does not run.
fn metrics(pod: &Pod) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let containers = &pod.spec.as_ref()?.containers;
    let written = containers
        .iter()
        .find_map(|container| flag(arguments(container), "metrics-listen-address"));
    let (_, port) = written.unwrap_or(METRICS).rsplit_once(':')?;
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

async fn page(server: SocketAddr) -> Result<String, String> {
    let stream = TcpStream::connect(server)
        .await
        .map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| causes(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/metrics").header("Host", server.to_string());
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answered = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| causes(&error))?;
        let body = Limited::new(response.into_body(), PAGE).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    };
    let answered = answered.await;
    connection.abort();
    answered
}

/// The value of a flag, as Go's `flag` reads it.
fn flag<'a>(words: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let mut words = words;
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            continue;
        };
        match rest.strip_prefix(name) {
            Some("") => return words.next(),
            Some(value) if value.starts_with('=') => return value.get(1..),
            _ => {}
        }
    }
    None
}

/// The addresses of `-localip`.
pub(super) fn local_ips<'a>(words: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    let written = flag(words, "localip").unwrap_or_default();
    written
        .split(',')
        .filter_map(|ip| ip.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::command::doctor::finding::Severity;

    #[test]
    fn flags_are_read_as_go_reads_them() {
        for (words, want) in [
            (
                "-localip 169.254.20.10,10.96.0.10",
                "169.254.20.10 10.96.0.10",
            ),
            ("/node-cache --localip=fd00::1 -x", "fd00::1"),
            ("-localipx=1.1.1.1", ""),
            ("-localip", ""),
        ] {
            let ips = local_ips(words.split(' '));
            let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
            assert_eq!(ips.join(" "), want, "{words}");
        }
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {}, "status": { "podIP": "192.0.2.7" },
            "spec": { "containers": [{ "name": "a", "args": ["-metrics-listen-address=:9400"] }] },
        }))
        .unwrap();
        assert_eq!(metrics(&pod), Some("192.0.2.7:9400".parse().unwrap()));
    }

    #[test]
    fn a_rollout_is_told_by_its_numbers() {
        for (ready, wanted, updated, severity) in [
            (3, 3, 3, Severity::Ok),
            (3, 3, 1, Severity::Info),
            (2, 3, 3, Severity::Warning),
            (0, 3, 3, Severity::Error),
            (0, 0, 0, Severity::Warning),
        ] {
            let set: DaemonSet = serde_json::from_value(json!({
                "metadata": { "name": "node-local-dns" },
                "status": {
                    "numberReady": ready, "desiredNumberScheduled": wanted, "currentNumberScheduled": wanted,
                    "numberMisscheduled": 0, "updatedNumberScheduled": updated,
                },
            }))
            .unwrap();
            assert_eq!(
                rollout(&set).severity,
                severity,
                "{ready} {wanted} {updated}"
            );
        }
    }

    #[test]
    fn nodes_without_their_agent_are_named() {
        let page = |text: &str| Ok(text.to_owned());
        let good = "# HELP x\npando_node_fail_open 0\npando_node_worker_serving 1\n";
        let open = "pando_node_fail_open 1\npando_node_worker_serving 0\n";
        let dead = "pando_node_fail_open 0\npando_node_worker_serving 0\n";
        let pages = [
            ("a".to_owned(), page(good)),
            ("b".to_owned(), page(open)),
            ("c".to_owned(), page(dead)),
            ("d".to_owned(), Err("connection refused".to_owned())),
        ];
        let found = judge(&pages, 5, "this Pod");
        let whats: Vec<&str> = found.iter().map(|finding| &*finding.what).collect();
        assert_eq!(
            whats,
            [
                "no agent stays up on b: queries there go to the cluster DNS",
                "no worker of the agent serves on c",
                "the metrics of 1 of 5 agents cannot be read from this Pod; on d: connection refused",
                "the metrics of the first 4 of 5 agents were looked at",
            ]
        );
        assert_eq!(judge(&pages[..1], 1, "")[0].severity, Severity::Ok);
        // node-cache has no such metrics.
        assert_eq!(
            judge(&[("a".to_owned(), page("go_goroutines 3\n"))], 1, ""),
            []
        );
    }
}
