//! Options that make names vanish, go on to the next plugin, or say why.

use super::fixture::{cluster, half_read};
use super::*;

#[test]
fn namespaces_limit_what_is_shown() {
    let server = Server::new(
        "kubernetes cluster.local 10.in-addr.arpa {\nnamespaces shop gone Empty\n}",
        cluster(),
    );
    for (name, qtype, want) in [
        ("web.shop.svc.cluster.local.", "A", "NOERROR A 10.96.0.1"),
        ("web.hidden.svc.cluster.local.", "A", "NXDOMAIN SOA"),
        ("hidden.svc.cluster.local.", "A", "NXDOMAIN SOA"),
        // It must exist, too, and be written as it is.
        ("web.gone.svc.cluster.local.", "A", "NXDOMAIN SOA"),
        ("empty.svc.cluster.local.", "A", "NXDOMAIN SOA"),
        (
            "1.0.96.10.in-addr.arpa.",
            "PTR",
            "NOERROR PTR web.shop.svc.cluster.local.",
        ),
        ("5.0.96.10.in-addr.arpa.", "PTR", "NXDOMAIN SOA"),
        ("6.0.96.10.in-addr.arpa.", "PTR", "NXDOMAIN SOA"),
        ("40.0.0.10.in-addr.arpa.", "PTR", "NXDOMAIN SOA"),
    ] {
        assert_eq!(server.ask(name, qtype), want, "{name} {qtype}");
    }
    // Without the option a PTR record does not ask for the namespace.
    let open = Server::new("kubernetes cluster.local 10.in-addr.arpa", cluster());
    assert_eq!(
        open.ask("6.0.96.10.in-addr.arpa.", "PTR"),
        "NOERROR PTR web.gone.svc.cluster.local."
    );
}

#[test]
fn services_without_endpoints_can_be_ignored() {
    let server = Server::new(
        "kubernetes cluster.local {\nignore empty_service\n}",
        cluster(),
    );
    for (name, qtype, want) in [
        ("web", "A", "NOERROR A 10.96.0.1"),
        ("idle", "A", "NXDOMAIN SOA"),
        ("idle", "AAAA", "NXDOMAIN SOA"),
        ("_http._tcp.idle", "SRV", "NXDOMAIN SOA"),
        ("many", "A", "NXDOMAIN SOA"),
        (
            "db",
            "A",
            "NOERROR A 10.0.0.2, A 10.0.0.3, A 10.0.0.4, A 10.0.0.5",
        ),
        ("out", "CNAME", "NOERROR CNAME www.example.com."),
    ] {
        let name = format!("{name}.shop.svc.cluster.local.");
        assert_eq!(server.ask(&name, qtype), want, "{name} {qtype}");
    }
}

#[test]
fn only_names_that_do_not_exist_fall_through() {
    for (fall, name, qtype, want) in [
        ("", "none.shop.svc.cluster.local.", "A", "- NOTIMP"),
        ("", "x.cluster.local.", "A", "- NOTIMP"),
        ("", "9.9.9.10.in-addr.arpa.", "PTR", "- NOTIMP"),
        ("", "web.shop.svc.cluster.local.", "AAAA", "NOERROR SOA"),
        ("", "none.shop.svc.cluster.local.", "SOA", "NOERROR SOA"),
        ("", "cluster.local.", "A", "NOERROR SOA"),
        ("", "cluster.local.", "TXT", "- NOTIMP"),
        ("in-addr.arpa", "9.9.9.10.in-addr.arpa.", "PTR", "- NOTIMP"),
        (
            "in-addr.arpa",
            "none.shop.svc.cluster.local.",
            "A",
            "NXDOMAIN SOA",
        ),
        (
            "shop.svc.cluster.local",
            "None.Shop.svc.cluster.local.",
            "A",
            "- NOTIMP",
        ),
        (
            "shop.svc.cluster.local",
            "none.empty.svc.cluster.local.",
            "A",
            "NXDOMAIN SOA",
        ),
    ] {
        let corefile =
            format!("kubernetes cluster.local 10.in-addr.arpa {{\nfallthrough {fall}\n}}");
        let server = Server::new(&corefile, cluster());
        assert_eq!(server.ask(name, qtype), want, "{fall:?} {name} {qtype}");
    }
}

#[test]
fn ttls() {
    for (ttl, positive, soa, minimum) in [(0, 0, 0, 0), (30, 30, 30, 30), (3600, 3600, 300, 3600)] {
        let corefile = format!("kubernetes cluster.local {{\nttl {ttl}\n}}");
        let server = Server::new(&corefile, cluster());
        assert_eq!(
            server.ask("web.shop.svc.cluster.local.", "A"),
            format!("NOERROR ttl={positive} A 10.96.0.1")
        );
        let serial = fixture::SERIAL;
        let soa = format!(
            "ttl={soa} SOA ns.dns.cluster.local. hostmaster.cluster.local. {serial} 7200 1800 86400 {minimum}"
        );
        assert_eq!(
            server.ask("no.cluster.local.", "A"),
            format!("NXDOMAIN ns: cluster.local. {soa}")
        );
        assert_eq!(
            server.ask("cluster.local.", "SOA"),
            format!("NOERROR {soa}")
        );
    }
}

#[test]
fn the_longest_zone_answers_and_the_root_is_one() {
    let server = Server::new("kubernetes . a.cluster.local cluster.local", cluster());
    for (name, want) in [
        ("web.shop.svc.cluster.local.", "NOERROR A 10.96.0.1"),
        ("web.shop.svc.a.cluster.local.", "NOERROR A 10.96.0.1"),
        ("web.shop.svc.", "NOERROR A 10.96.0.1"),
    ] {
        assert_eq!(server.ask(name, "A"), want, "{name}");
    }
    let serial = fixture::SERIAL;
    assert_eq!(
        server.ask("example.org.", "A"),
        format!("NXDOMAIN ns: . SOA ns.dns. hostmaster. {serial} 7200 1800 86400 5")
    );
    assert_eq!(
        server.ask("web.shop.svc.", "SRV"),
        "NOERROR SRV 0 100 80 web.shop.svc. extra: A 10.96.0.1"
    );
}

#[test]
fn failures_say_why() {
    let why = |snapshot: Snapshot, name: &str| {
        let server = Server::new("kubernetes cluster.local", snapshot);
        let mut exchange = exchange(name, "A");
        exchange.request.edns_or_insert(1232);
        Next::new(&server.chain)
            .serve(&mut exchange)
            .now_or_never()
            .unwrap()
            .unwrap();
        let rcode = exchange.reply().unwrap().rcode();
        exchange.finish();
        let edns = exchange.reply().unwrap().edns().unwrap();
        let code = edns.option(crate::wire::Edns::EDE).map(|ede| ede[1]);
        (rcode, code)
    };
    let (there, missing) = (
        "web.shop.svc.cluster.local.",
        "none.shop.svc.cluster.local.",
    );
    let stale = || {
        let mut snapshot = half_read();
        snapshot.state.stale = true;
        snapshot
    };
    for (snapshot, name, want) in [
        (cluster(), there, (Rcode::NOERROR, None)),
        (cluster(), missing, (Rcode::NXDOMAIN, None)),
        (half_read(), there, (Rcode::NOERROR, None)),
        (half_read(), missing, (Rcode::SERVFAIL, Some(14))),
        // What an earlier run knew: answers, marked as such.
        (stale(), there, (Rcode::NOERROR, Some(3))),
        (
            stale(),
            "shop.svc.cluster.local.",
            (Rcode::NOERROR, Some(3)),
        ),
        (stale(), missing, (Rcode::NXDOMAIN, Some(19))),
    ] {
        assert_eq!(why(snapshot, name), want, "{name}");
    }
}

#[test]
fn answers_are_live() {
    let server = Server::new("kubernetes cluster.local", cluster());
    for name in ["web.shop.svc.cluster.local.", "none.cluster.local."] {
        let mut exchange = exchange(name, "A");
        Next::new(&server.chain)
            .serve(&mut exchange)
            .now_or_never()
            .unwrap()
            .unwrap();
        assert!(exchange.reply().unwrap().is_live(), "{name}");
    }
}

#[test]
fn metadata() {
    let corefile = "kubernetes cluster.local clusterset.local {\npods verified\nzonal\nmulticluster clusterset.local\n}";
    let plugin = plugin(corefile, cluster(), &[]);
    for (name, label, want) in [
        ("web.shop.svc.cluster.local.", "service", Some("web")),
        ("web.shop.svc.cluster.local.", "namespace", Some("shop")),
        ("web.shop.svc.cluster.local.", "kind", Some("svc")),
        ("web.shop.svc.cluster.local.", "endpoint", Some("")),
        ("web.shop.svc.cluster.local.", "parse-error", None),
        ("10-0-0-1.shop.pod.cluster.local.", "kind", Some("pod")),
        (
            "10-0-0-1.shop.pod.cluster.local.",
            "service",
            Some("10-0-0-1"),
        ),
        (
            "front.web.shop.svc.cluster.local.",
            "endpoint",
            Some("front"),
        ),
        (
            "_http._tcp.web.shop.svc.cluster.local.",
            "port-name",
            Some("http"),
        ),
        (
            "_http._tcp.web.shop.svc.cluster.local.",
            "protocol",
            Some("tcp"),
        ),
        (
            "a.b.pin._zone.web.shop.svc.cluster.local.",
            "zone",
            Some("a.b"),
        ),
        ("ep.east.web.shop.svc.clusterset.local.", "cluster", None),
        (
            "ep.east.web.shop.svc.clusterset.local.",
            "port-name",
            Some("ep"),
        ),
        (
            "x.y.cluster.local.",
            "parse-error",
            Some("invalid query name"),
        ),
        ("x.y.cluster.local.", "service", None),
        ("svc.cluster.local.", "kind", Some("")),
        ("example.org.", "service", None),
        ("example.org.", "client-pod-name", Some("web-x")),
        ("example.org.", "client-namespace", Some("shop")),
        ("example.org.", "client-label/app", Some("web-x")),
        ("example.org.", "client-label/other", None),
    ] {
        let mut exchange = exchange(name, "A");
        exchange.client = "10.0.0.1:1".parse().unwrap();
        let value = plugin.metadata(&exchange, &format!("kubernetes/{label}"));
        assert_eq!(value.as_deref(), want, "{name} {label}");
    }
    let mut exchange = exchange("web.shop.svc.cluster.local.", "A");
    exchange.client = "10.9.9.9:1".parse().unwrap();
    assert_eq!(
        plugin.metadata(&exchange, "kubernetes/client-namespace"),
        None
    );
    assert_eq!(plugin.metadata(&exchange, "forward/upstream"), None);
}
