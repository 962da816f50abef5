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
