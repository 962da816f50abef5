//! Why names are denied: walks of real search lists, and real mistakes.

use super::fixture::cluster;
use super::*;
use crate::denial::Denial::{self, *};

fn why(server: &Server, name: &str, qtype: &str) -> Option<Denial> {
    let mut exchange = exchange(name, qtype);
    server.serve(&mut exchange);
    exchange.denial()
}

#[test]
fn each_denial_has_its_cause() {
    let server = Server::new("kubernetes cluster.local 10.in-addr.arpa", cluster());
    for (name, qtype, want) in [
        // `api.stripe.com` from a pod in `shop`, and shorter and longer ones.
        ("api.stripe.com.shop.svc", "A", Some(SearchPath)),
        ("api.stripe.com.svc", "A", Some(SearchPath)),
        ("api.stripe.com", "AAAA", Some(SearchPath)),
        ("stripe.com.shop.svc", "A", Some(SearchPath)),
        ("stripe.com.svc", "A", Some(SearchPath)),
        ("a.b.stripe.com.shop.svc", "A", Some(SearchPath)),
        ("b.kafka.aws.svc", "A", Some(NoSuchNamespace)),
        ("b-1.kafka.cloud.svc", "A", Some(SearchPath)),
        // `redis.empty`, `redis.empty.svc` and a whole name without the last dot.
        ("redis.empty.shop.svc", "A", Some(SearchPath)),
        ("redis.empty.svc.shop.svc", "A", Some(SearchPath)),
        ("redis.empty.svc.svc", "A", Some(SearchPath)),
        ("redis.empty", "A", Some(SearchPath)),
        ("web.shop.svc.cluster.local.shop.svc", "A", Some(SearchPath)),
        ("web.shop.svc.cluster.local.svc", "A", Some(SearchPath)),
        ("web.shop.svc.cluster.local", "A", Some(SearchPath)),
        // `web`: the first name of the walk is the one that is meant.
        ("wob.shop.svc", "A", Some(NoSuchService)),
        ("wob.svc", "A", Some(SearchPath)),
        ("wob", "A", Some(SearchPath)),
        ("wob.pod", "A", Some(SearchPath)),
        // What somebody means.
        ("_http._tcp.wob.shop.svc", "SRV", Some(NoSuchService)),
        ("wob-0.wob.shop.svc", "A", Some(NoSuchService)),
        ("web.shup.svc", "A", Some(NoSuchNamespace)),
        ("_http._tcp.web.shup.svc", "SRV", Some(NoSuchNamespace)),
        ("1-2-3-4.shup.pod", "A", Some(NoSuchNamespace)),
        ("1-2-3-4.shop.pod", "A", Some(NoSuchHost)),
        ("db-7.db.shop.svc", "A", Some(NoSuchHost)),
        ("_https._tcp.web.shop.svc", "SRV", Some(NoSuchHost)),
        ("lonely.shop.svc", "A", Some(NoSuchHost)),
        ("a.out.shop.svc", "A", Some(NoSuchHost)),
        // What is there.
        ("web.shop.svc", "A", None),
        ("web.shop.svc", "AAAA", None),
        ("shop.svc", "A", None),
        ("svc", "A", None),
    ] {
        let name = format!("{name}.cluster.local.");
        assert_eq!(why(&server, &name, qtype), want, "{name} {qtype}");
    }
    for (name, qtype) in [
        ("9.9.9.10.in-addr.arpa.", "PTR"),
        ("b.9.9.10.in-addr.arpa.", "PTR"),
        ("b.9.9.10.in-addr.arpa.", "A"),
    ] {
        assert_eq!(why(&server, name, qtype), Some(NoSuchHost), "{name}");
    }
}

#[test]
fn what_the_corefile_hides_is_no_namespace() {
    let server = Server::new("kubernetes cluster.local {\nnamespaces shop\n}", cluster());
    let name = "web.hidden.svc.cluster.local.";
    assert_eq!(why(&server, name, "A"), Some(NoSuchNamespace));
}

/// What a person is told, and which names that exist are near.
fn told(server: &Server, name: &str, qtype: &str) -> (String, Vec<String>) {
    let mut exchange = exchange(name, qtype);
    server.serve(&mut exchange);
    let why = server.plugin.why(&exchange).expect("a name of the zone");
    (why.text, why.near)
}

#[test]
fn people_are_told_which_part_of_a_name_leads_nowhere() {
    let server = Server::new("kubernetes cluster.local 10.in-addr.arpa", cluster());
    for (name, qtype, text, near) in [
        (
            "stripe.com",
            "A",
            "`com` stands where a name of cluster.local. has `svc` or `pod`",
            "",
        ),
        ("a.b.c.d.shop.svc", "A", "no record has so many labels", ""),
        ("web.com.svc", "A", "namespace `com` does not exist", ""),
        (
            "web.shup.svc",
            "A",
            "namespace `shup` does not exist",
            "web.shop.svc.cluster.local.",
        ),
        (
            "wob.shop.svc",
            "A",
            "Service `wob` does not exist in namespace `shop`",
            "web.shop.svc.cluster.local.",
        ),
        (
            "web.empty.svc",
            "A",
            "Service `web` does not exist in namespace `empty`",
            "web.hidden.svc.cluster.local. web.shop.svc.cluster.local.",
        ),
        (
            "db-7.db.shop.svc",
            "A",
            "Service `db` in namespace `shop` has no ready endpoint called `db-7`",
            "",
        ),
        (
            "_https._tcp.web.shop.svc",
            "SRV",
            "Service `web` in namespace `shop` has no port `https` of protocol `tcp`",
            "",
        ),
        (
            "1-2-3-4.shop.pod",
            "A",
            "Pods have no names here (`pods disabled`)",
            "",
        ),
        (
            "shop.svc",
            "A",
            "it stands above other names and has no records of its own",
            "",
        ),
        (
            "\u{1b}.shop.svc",
            "A",
            "Service `\\u{1b}` does not exist in namespace `shop`",
            "",
        ),
    ] {
        let name = format!("{name}.cluster.local.");
        let (told, names) = told(&server, &name, qtype);
        assert_eq!(
            (told.as_str(), names.join(" ").as_str()),
            (text, near),
            "{name}"
        );
    }
    let (told, _) = told(&server, "9.9.9.10.in-addr.arpa.", "PTR");
    assert_eq!(
        told,
        "no Service and no ready endpoint has the address 10.9.9.9"
    );
}
