//! The resolv.conf of a Pod: our own, where this is one.

use std::net::IpAddr;

use super::cluster::Facts;
use super::finding::Finding;
use crate::command::resolv_conf::ResolvConf;
use crate::wire::NameBuf;

pub(super) fn check(facts: &Facts, zone: &NameBuf) -> Vec<Finding> {
    if !facts.vantage.pod {
        return vec![Finding::not_checked("this is no Pod")];
    }
    let text = match std::fs::read("/etc/resolv.conf") {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => {
            return vec![Finding::not_checked(format!(
                "/etc/resolv.conf: {}",
                corefile::io_message(&error)
            ))];
        }
    };
    let (service, agents) = (facts.service_ips(), facts.agent_ips());
    judge(&text, &service, &agents, zone)
}

fn judge(text: &str, service: &[IpAddr], agents: &[IpAddr], name: &NameBuf) -> Vec<Finding> {
    let conf = ResolvConf::parse(text);
    let zone = name.to_string();
    let zone = zone.trim_end_matches('.');
    let services = super::under("svc", name);
    let walks = services.is_some_and(|services| conf.search.contains(&services));
    let mut found = Vec::new();
    if conf.nameservers.is_empty() {
        found.push(
            Finding::error("/etc/resolv.conf names no server")
                .advise("look at the Pod's dnsPolicy and dnsConfig"),
        );
    }
    for server in &conf.nameservers {
        let of = |known: &[IpAddr]| known.contains(server);
        found.push(if of(agents) && of(service) {
            Finding::ok(format!("nameserver {server}: the Service's address, taken by the node agent"))
        } else if of(agents) {
            Finding::ok(format!("nameserver {server}: the node agent"))
        } else if of(service) {
            Finding::ok(format!("nameserver {server}: the Service"))
        } else if service.is_empty() && agents.is_empty() {
            Finding::not_checked(format!("nameserver {server}: the Service's address is not known"))
        } else if walks {
            Finding::error(format!("nameserver {server} is neither the Service nor a node agent"))
                .advise("compare clusterDNS of the kubelet with the Service's clusterIP; the Pod keeps the file until it is made anew")
        } else {
            Finding::warning(format!("nameserver {server} is not the cluster's: this Pod resolves no Service"))
                .advise("as dnsPolicy Default means; ClusterFirst (with the host's network: ClusterFirstWithHostNet) asks the cluster DNS")
        });
    }
    if walks {
        let steps = conf.search.len() + 1;
        found.push(match conf.ndots > 1 && steps > 1 {
            true => Finding::info(format!(
                "ndots:{} and {} search domains: an external name with fewer dots costs up to {} queries (A and AAAA)",
                conf.ndots, conf.search.len(), steps * 2
            ))
            .advise("a dot at its end, or dnsConfig with ndots:2, asks at once; so do the node agent and autopath for all"),
            false => Finding::ok(format!("ndots:{}", conf.ndots)),
        });
    } else if !conf.search.is_empty() || !service.is_empty() {
        found.push(Finding::info(format!(
            "the search list has no svc.{zone}: short names of Services do not resolve here"
        )));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Severity::{self, Error, Info, NotChecked, Ok, Warning};

    #[test]
    fn a_pods_file_leads_to_the_cluster_dns() {
        let search =
            "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
        for (text, want) in [
            (format!("nameserver 10.96.0.10\n{search}"), vec![Ok, Info]),
            (
                format!("nameserver 169.254.20.10\n{search}"),
                vec![Ok, Info],
            ),
            (
                format!("nameserver 10.96.0.11\n{search}"),
                vec![Error, Info],
            ),
            (
                "nameserver 192.0.2.1\nsearch corp.test\n".to_owned(),
                vec![Warning, Info],
            ),
            (search.to_owned(), vec![Error, Info]),
            (
                format!("nameserver 10.96.0.10\nnameserver 192.0.2.1\n{search}"),
                vec![Ok, Error, Info],
            ),
            (
                "nameserver 10.96.0.10\nsearch svc.cluster.local\n".to_owned(),
                vec![Ok, Ok],
            ),
        ] {
            let (service, agent) = (
                "10.96.0.10".parse().unwrap(),
                "169.254.20.10".parse().unwrap(),
            );
            let found = judge(
                &text,
                &[service],
                &[agent],
                &"cluster.local.".parse().unwrap(),
            );
            let found: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
            assert_eq!(found, want, "{text}");
        }
        let found = judge(
            "nameserver 10.0.0.1\n",
            &[],
            &[],
            &"cluster.local.".parse().unwrap(),
        );
        assert_eq!(found[0].severity, NotChecked);
    }

    #[test]
    fn the_walk_is_counted() {
        let text = "search a.svc.c.test svc.c.test c.test\nnameserver 10.96.0.10\noptions timeout:1 ndots:5\n";
        let found = judge(
            text,
            &["10.96.0.10".parse().unwrap()],
            &[],
            &"c.test.".parse().unwrap(),
        );
        assert!(
            found[1].what.contains("up to 8 queries"),
            "{}",
            found[1].what
        );
    }
}
