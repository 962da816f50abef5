//! The upstreams of `forward`, asked from here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use corefile::Token;
use futures_util::future::join_all;

use super::Options;
use super::cluster::{Facts, Vantage};
use super::finding::Finding;
use super::probe::{Outcome, Question, millis};
use super::reading::stanzas;
use crate::ask::Transport;
use crate::plugin::{self, Destination};
use crate::wire::{NameBuf, Rcode, rtype};

/// One TO of a `forward`.
struct Upstream {
    word: Token,
    /// The zone that is forwarded.
    from: NameBuf,
    found: Result<Vec<SocketAddr>, Finding>,
}

pub(super) async fn check(facts: &Facts, options: &Options) -> Vec<Finding> {
    let Some(reading) = facts.reading() else {
        return vec![Finding::not_checked(
            "there is no Corefile that can be read",
        )];
    };
    let mut own = facts.service_ips();
    own.extend(facts.agent_ips());
    let mut upstreams = Vec::new();
    for (_, directive) in reading.directives("forward") {
        for stanza in stanzas(directive) {
            let Some((from, tos)) = stanza.args.split_first() else {
                continue;
            };
            let Ok(from) = corefile::key::normalize(&from.text).parse::<NameBuf>() else {
                continue;
            };
            for to in tos {
                upstreams.push(Upstream {
                    word: (*to).clone(),
                    from: from.clone(),
                    found: resolve(&to.text, &own, facts.vantage).await,
                });
            }
        }
    }
    if upstreams.is_empty() {
        return vec![Finding::info("the Corefile forwards nothing")];
    }
    let asked = upstreams.into_iter().map(async |upstream| {
        let servers = match &upstream.found {
            Ok(servers) => servers,
            Err(finding) => return vec![finding.clone().at(&upstream.word)],
        };
        // What is forwarded for one zone knows that zone, and often nothing else.
        let question = match options.external_question() {
            Some(question) if upstream.from == NameBuf::new() => question,
            _ => Question {
                name: upstream.from.clone(),
                qtype: rtype::SOA,
            },
        };
        let asked = servers.iter().map(async |server| {
            let outcome = question
                .ask(*server, Transport::Either, options.timeout)
                .await;
            (*server, outcome)
        });
        let asked = join_all(asked).await;
        let found = judge(&asked, &question.name, facts.vantage, options.timeout);
        found
            .into_iter()
            .map(|finding| finding.at(&upstream.word))
            .collect()
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The servers behind a TO, as this host sees them.
async fn resolve(to: &str, own: &[IpAddr], vantage: Vantage) -> Result<Vec<SocketAddr>, Finding> {
    let destination = plugin::forward_destination(to);
    let destination = destination.map_err(Finding::not_checked)?;
    if let Destination::Address(address) = destination {
        return Ok(vec![address]);
    }
    if !vantage.inside() {
        let what = format!(
            "{to} is as the replicas see it, which is not to be told from outside the cluster"
        );
        return Err(Finding::not_checked(what));
    }
    let text = to.to_owned();
    let found = tokio::task::spawn_blocking(move || plugin::forward_upstreams(&text)).await;
    let found = found.unwrap_or_else(|error| Err(error.to_string()));
    let found = found.map_err(|error| {
        Finding::warning(format!("{to} as {} sees it: {error}", vantage.place()))
    })?;
    let cluster = found.iter().find(|server| own.contains(&server.ip()));
    match cluster {
        Some(server) => Err(Finding::not_checked(format!(
            "{to} of {} names the cluster DNS ({}); the replicas have their node's",
            vantage.place(),
            server.ip()
        ))),
        None => Ok(found),
    }
}

fn judge(
    asked: &[(SocketAddr, Outcome)],
    name: &NameBuf,
    vantage: Vantage,
    slow: Duration,
) -> Vec<Finding> {
    let place = vantage.place();
    let fine = |outcome: &Outcome| matches!(outcome, Outcome::Answer { rcode, .. } if matches!(*rcode, Rcode::NOERROR | Rcode::NXDOMAIN));
    let any = asked.iter().any(|(_, outcome)| fine(outcome));
    let mut found = Vec::new();
    for (server, outcome) in asked {
        match outcome {
            Outcome::Answer { elapsed, .. } if fine(outcome) => {
                let what = format!(
                    "{server} answers {name} after {} from {place}",
                    millis(*elapsed)
                );
                found.push(match *elapsed > slow / 2 {
                    true => Finding::warning(what),
                    false => Finding::ok(what),
                });
            }
            outcome => {
                let what = format!(
                    "{server}, asked for {name} from {place}: {}",
                    outcome.words()
                );
                found.push(match (vantage.inside(), any) {
                    (false, _) => Finding::not_checked(what),
                    (true, true) => Finding::warning(what).advise("queries wait for it before another is asked: mend it or leave it out"),
                    (true, false) => Finding::error(what).advise("no query that goes there is answered: look at the resolver, its access list and the firewall on UDP and TCP 53"),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Severity;

    fn answer(rcode: Rcode, millis: u64) -> Outcome {
        Outcome::Answer {
            rcode,
            addresses: Vec::new(),
            elapsed: Duration::from_millis(millis),
        }
    }

    #[test]
    fn an_upstream_that_fails_is_bad_and_worse_when_it_is_the_only_one() {
        let server: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let name: NameBuf = "example.com.".parse().unwrap();
        let inside = Vantage {
            pod: true,
            node: false,
        };
        let outside = Vantage::default();
        let silent = || Outcome::Nothing("no answer".to_owned());
        for (outcomes, vantage, want) in [
            (vec![answer(Rcode::NOERROR, 3)], inside, vec![Severity::Ok]),
            (vec![answer(Rcode::NXDOMAIN, 3)], inside, vec![Severity::Ok]),
            (
                vec![answer(Rcode::NOERROR, 3000)],
                inside,
                vec![Severity::Warning],
            ),
            (
                vec![answer(Rcode::SERVFAIL, 3)],
                inside,
                vec![Severity::Error],
            ),
            (vec![silent()], inside, vec![Severity::Error]),
            (
                vec![silent(), answer(Rcode::NOERROR, 3)],
                inside,
                vec![Severity::Warning, Severity::Ok],
            ),
            (vec![silent()], outside, vec![Severity::NotChecked]),
            (
                vec![answer(Rcode::REFUSED, 3)],
                outside,
                vec![Severity::NotChecked],
            ),
        ] {
            let asked: Vec<_> = outcomes
                .into_iter()
                .map(|outcome| (server, outcome))
                .collect();
            let found = judge(&asked, &name, vantage, Duration::from_secs(5));
            let found: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
            assert_eq!(found, want, "{asked:?}");
        }
    }

    #[tokio::test]
    async fn the_clusters_own_address_is_no_upstream_to_ask() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        std::fs::write(&file, "nameserver 10.96.0.10\n").unwrap();
        let to = file.to_str().unwrap();
        let own = ["10.96.0.10".parse().unwrap()];
        let inside = Vantage {
            pod: true,
            node: false,
        };
        let found = resolve(to, &own, inside).await.unwrap_err();
        assert_eq!(found.severity, Severity::NotChecked);
        assert!(
            found.what.contains("names the cluster DNS (10.96.0.10)"),
            "{}",
            found.what
        );
        assert_eq!(
            resolve(to, &[], inside).await.unwrap(),
            ["10.96.0.10:53".parse().unwrap()]
        );
        let outside = resolve(to, &[], Vantage::default()).await.unwrap_err();
        assert!(
            outside.what.contains("outside the cluster"),
            "{}",
            outside.what
        );
    }
}
