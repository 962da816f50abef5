//! `pando explain`: what a client's resolver does with a name.

#[path = "explain/corefile.rs"]
mod corefile;

use std::path::Path;

use pando_test::{Reply, Rule, Server, Upstream};
use serde_json::Value;

use crate::binary::{Ran, run};
use crate::pando;

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/demo/cluster.yaml");

/// A server for the demo's cluster, with a world that has one name.
async fn shop() -> (Server, Upstream) {
    let world = Upstream::start().await.expect("an upstream");
    let soa = ["test. 60 IN SOA ns.test. admin.test. 1 2 3 4 60"];
    world.rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&soa)));
    world.rule(Rule::new(Reply::answer(&[]).authority(&soa)).name("www.test."));
    world.answer("www.test.", "A", &["www.test. 60 IN A 192.0.2.1"]);
    let corefile = format!(
        ".:$PORT {{
    errors
    kubernetes cluster.local in-addr.arpa {{
        manifests {SHOP}
    }}
    forward . {}
}}",
        world.address()
    );
    let server = pando(&corefile).start().await.expect("starts");
    (server, world)
}

async fn explain(server: &Server, arguments: &[&str]) -> Ran {
    let address = server.address().to_string();
    let arguments = [&["explain", "--server", &address], arguments].concat();
    run(server.folder(), &arguments).await
}

/// The finding without what differs from run to run.
fn stable(ran: &Ran, server: &Server) -> String {
    let text = ran.stdout.replace(&server.address().to_string(), "SERVER");
    let words = text.split(' ').collect::<Vec<_>>();
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    for at in 1..words.len() {
        if words[at].starts_with("ms") {
            words[at - 1] = "N".to_owned();
        }
    }
    words.join(" ")
}

#[tokio::test]
async fn a_walk_shows_each_query_and_what_it_costs() {
    let (server, _world) = shop().await;
    let ran = explain(&server, &["web", "--from", "shop"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    insta::assert_snapshot!(stable(&ran, &server), @r#"
    web  (glibc, a Pod of namespace shop with dnsPolicy ClusterFirst)
      search shop.svc.cluster.local. svc.cluster.local. cluster.local., ndots:5
      server SERVER

    1. web.shop.svc.cluster.local.  (search shop.svc.cluster.local.)
       A     10.96.0.80 (TTL 5), authoritative, N ms
       AAAA  fd00:10:96::80 (TTL 5), authoritative, N ms

    Resolves to 10.96.0.80, fd00:10:96::80 with 2 queries.
    Note: the kubelet appends the search domains of the node's own resolv.conf, which are not known here; --resolv-conf takes a Pod's whole file.
    "#);
    let ran = explain(&server, &["www.test", "--from", "shop"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    insta::assert_snapshot!(stable(&ran, &server), @r#"
    www.test  (glibc, a Pod of namespace shop with dnsPolicy ClusterFirst)
      search shop.svc.cluster.local. svc.cluster.local. cluster.local., ndots:5
      server SERVER

    1. www.test.shop.svc.cluster.local.  (search shop.svc.cluster.local.)
       A     NXDOMAIN, says the zone cluster.local., authoritative, N ms
       AAAA  NXDOMAIN, says the zone cluster.local., authoritative, N ms

    2. www.test.svc.cluster.local.  (search svc.cluster.local.)
       A     NXDOMAIN, says the zone cluster.local., authoritative, N ms
       AAAA  NXDOMAIN, says the zone cluster.local., authoritative, N ms

    3. www.test.cluster.local.  (search cluster.local.)
       A     NXDOMAIN, says the zone cluster.local., authoritative, N ms
       AAAA  NXDOMAIN, says the zone cluster.local., authoritative, N ms

    4. www.test.  (as written)
       A     192.0.2.1 (TTL 60), N ms
       AAAA  no such record, says the zone test., N ms

    Resolves to 192.0.2.1 with 8 queries, 6 of them in vain.
    Advice: write `www.test.`, with the dot at its end: 2 queries instead of 8.
    Note: the kubelet appends the search domains of the node's own resolv.conf, which are not known here; --resolv-conf takes a Pod's whole file.
    "#);
}

#[tokio::test]
async fn what_does_not_resolve_is_an_exit_code() {
    let (server, _world) = shop().await;
    let ran = explain(
        &server,
        &["nobody.shop.svc.cluster.local.", "--from", "shop"],
    )
    .await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    insta::assert_snapshot!(stable(&ran, &server), @r#"
    nobody.shop.svc.cluster.local.  (glibc, a Pod of namespace shop with dnsPolicy ClusterFirst)
      search shop.svc.cluster.local. svc.cluster.local. cluster.local., ndots:5
      server SERVER

    1. nobody.shop.svc.cluster.local.  (as written)
       A     NXDOMAIN, says the zone cluster.local., authoritative, N ms
       AAAA  NXDOMAIN, says the zone cluster.local., authoritative, N ms

    Does not resolve: 2 queries.
    Note: the kubelet appends the search domains of the node's own resolv.conf, which are not known here; --resolv-conf takes a Pod's whole file.
    "#);
    let ran = explain(&server, &["10.96.0.80", "-o", "json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(found["answers"][0], "web.shop.svc.cluster.local.");
}

/// That nothing comes back says something of the way to the server, and
/// nothing of the name.
#[tokio::test]
async fn a_server_that_is_silent_leaves_it_open() {
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await;
    let nobody = nobody.expect("a socket");
    let address = nobody.local_addr().expect("bound").to_string();
    let asked = ["explain", "web", "--from", "shop", "--server", &address];
    let asked = [&asked[..], &["--timeout", "300ms"]].concat();
    let ran = run(Path::new("/"), &asked).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""), "{ran:?}");
    let end = "\nNot known: the server did not answer. 2 queries.\n";
    assert!(ran.stdout.contains(end), "{ran:?}");
    let ran = run(Path::new("/"), &[&asked[..], &["-o", "json"]].concat()).await;
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(found.get("resolves").is_none(), "{found}");
}

#[tokio::test]
async fn what_is_pasted_in_the_place_of_a_name_is_told() {
    let (server, _world) = shop().await;
    for (given, advice) in [
        ("http://web.shop:80/x", "ask for `web.shop`."),
        ("web:80", "ask for `web`."),
        (
            "80.0.96.10.in-addr.arpa",
            "`--type PTR`, or give the address",
        ),
        (
            "b\u{fc}cher.test",
            "ask for its form of letters, digits and dashes",
        ),
    ] {
        let ran = explain(&server, &[given, "--from", "shop"]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stdout.contains(advice), "{advice}: {ran:?}");
    }
}

#[tokio::test]
async fn wrong_use_is_told_and_exits_2() {
    for (arguments, message) in [
        (&["explain"][..], "required arguments"),
        (&["explain", ""], "`` is no domain name: "),
        (
            &["explain", "a..b", "--server", "127.0.0.1"],
            "`a..b` is no domain name",
        ),
        (
            &["explain", "\u{1b}[2J", "--server", "nobody"],
            "no address",
        ),
        (
            &["explain", "web", "--type", "AXFR"],
            "a zone transfer is no lookup",
        ),
        (
            &["explain", "web", "--from", "Shop"],
            "NAMESPACE or NAMESPACE/POD",
        ),
        (
            &["explain", "web", "--from", "shop"],
            "say which one with --server",
        ),
        (
            &["explain", "web", "--resolv-conf", "/nonexistent/x"],
            "/nonexistent/x: no such file or directory\n",
        ),
        (
            &["explain", "web", "--timeout", "0"],
            "more than nothing and at most 10m",
        ),
    ] {
        let ran = run(Path::new("/"), arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(message), "{message}: {ran:?}");
    }
    let help = run(Path::new("/"), &["explain", "-h"]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.contains("--resolv-conf"), "{help:?}");
    let help = run(Path::new("/"), &["help"]).await;
    assert!(help.stderr.contains("explain ..."), "{help:?}");
}
