//! Records by service type, and the names around them.

use super::fixture::{cluster, half_read};
use super::*;

const COREFILE: &str = "kubernetes cluster.local 10.in-addr.arpa ip6.arpa";

/// Asks for each name below `cluster.local`, or for names that end in a dot.
fn check(server: &Server, rows: &[(&str, &str, &str)]) {
    for (name, qtype, want) in rows {
        let full = match *name {
            "" => "cluster.local.".to_owned(),
            name if name.ends_with('.') => name.to_owned(),
            name => format!("{name}.cluster.local."),
        };
        assert_eq!(server.ask(&full, qtype), *want, "{name} {qtype}");
    }
}

#[test]
fn a_zone_is_live_where_no_name_in_it_falls_through() {
    let zones = "kubernetes cluster.local 10.in-addr.arpa";
    for (fallthrough, live) in [
        ("", &["cluster.local.", "10.in-addr.arpa."][..]),
        ("fallthrough in-addr.arpa", &["cluster.local."]),
        ("fallthrough dev.cluster.local", &["10.in-addr.arpa."]),
        (
            "fallthrough example.org",
            &["cluster.local.", "10.in-addr.arpa."],
        ),
        ("fallthrough", &[]),
    ] {
        let plugin = plugin(&format!("{zones} {{\n{fallthrough}\n}}"), cluster(), &[]);
        let found: Vec<String> = plugin.live_zones().iter().map(NameBuf::to_string).collect();
        assert_eq!(found, live, "{fallthrough}");
    }
}

#[test]
fn services_with_cluster_ips() {
    check(
        &Server::new(COREFILE, cluster()),
        &[
            ("web.shop.svc", "A", "NOERROR A 10.96.0.1"),
            ("web.shop.svc", "AAAA", "NOERROR SOA"),
            ("six.shop.svc", "AAAA", "NOERROR AAAA fd00::1"),
            ("six.shop.svc", "A", "NOERROR SOA"),
            ("dual.shop.svc", "A", "NOERROR A 10.96.0.3"),
            ("dual.shop.svc", "AAAA", "NOERROR AAAA fd00::3"),
            // Endpoints or not.
            ("idle.shop.svc", "A", "NOERROR A 10.96.0.2"),
            ("none.shop.svc", "A", "NXDOMAIN SOA"),
            // A port's name answers for addresses, too, with underscores or without.
            ("_http._tcp.web.shop.svc", "A", "NOERROR A 10.96.0.1"),
            ("http.tcp.web.shop.svc", "A", "NOERROR A 10.96.0.1"),
            ("_._.web.shop.svc", "A", "NOERROR A 10.96.0.1"),
            ("_http._udp.web.shop.svc", "A", "NXDOMAIN SOA"),
            ("_https._tcp.web.shop.svc", "AAAA", "NXDOMAIN SOA"),
            // Endpoints of any service have names.
            ("front.web.shop.svc", "A", "NOERROR A 10.0.0.1"),
            ("10-0-0-1.web.shop.svc", "A", "NXDOMAIN SOA"),
            ("10-0-0-99.web.shop.svc", "A", "NXDOMAIN SOA"),
            ("a.b.c.web.shop.svc", "A", "NXDOMAIN SOA"),
        ],
    );
}

#[test]
fn ports_of_services_with_cluster_ips() {
    check(
        &Server::new(COREFILE, cluster()),
        &[
            (
                "_http._tcp.web.shop.svc",
                "SRV",
                "NOERROR SRV 0 100 80 web.shop.svc.cluster.local. extra: web.shop.svc.cluster.local. A 10.96.0.1",
            ),
            (
                "web.shop.svc",
                "SRV",
                "NOERROR SRV 0 100 80 web.shop.svc.cluster.local. extra: A 10.96.0.1",
            ),
            (
                "dual.shop.svc",
                "SRV",
                "NOERROR SRV 0 50 80 dual.shop.svc.cluster.local. extra: A 10.96.0.3, AAAA fd00::3",
            ),
            // Three candidates, of which two are one record.
            (
                "many.shop.svc",
                "SRV",
                "NOERROR SRV 0 33 53 many.shop.svc.cluster.local., SRV 0 33 9 many.shop.svc.cluster.local. extra: A 10.96.0.4",
            ),
            (
                "_dns._udp.many.shop.svc",
                "SRV",
                "NOERROR SRV 0 100 53 many.shop.svc.cluster.local. extra: many.shop.svc.cluster.local. A 10.96.0.4",
            ),
            ("_dns._tcp.many.shop.svc", "SRV", "NXDOMAIN SOA"),
            (
                "front.web.shop.svc",
                "SRV",
                "NOERROR SRV 0 100 80 front.web.shop.svc.cluster.local. extra: A 10.0.0.1",
            ),
        ],
    );
}

#[test]
fn headless_services() {
    check(
        &Server::new(COREFILE, cluster()),
        &[
            (
                "db.shop.svc",
                "A",
                "NOERROR A 10.0.0.2, A 10.0.0.3, A 10.0.0.4, A 10.0.0.5",
            ),
            ("db.shop.svc", "AAAA", "NOERROR AAAA fd01::1, AAAA fd01::"),
            ("_admin._tcp.db.shop.svc", "A", "NOERROR A 10.0.0.2"),
            ("_admin._tcp.db.shop.svc", "AAAA", "NOERROR SOA"),
            ("_admin._udp.db.shop.svc", "A", "NXDOMAIN SOA"),
            ("same.db.shop.svc", "A", "NOERROR A 10.0.0.4, A 10.0.0.5"),
            ("10-0-0-2.db.shop.svc", "A", "NOERROR A 10.0.0.2"),
            ("10-0-0-4.db.shop.svc", "A", "NXDOMAIN SOA"),
            ("db-0.db.shop.svc", "A", "NXDOMAIN SOA"),
            ("fd01--1.db.shop.svc", "AAAA", "NOERROR AAAA fd01::1"),
            ("fd01--0.db.shop.svc", "AAAA", "NOERROR AAAA fd01::"),
            ("fd01--1.db.shop.svc", "A", "NOERROR SOA"),
            ("bare.shop.svc", "A", "NOERROR A 10.0.0.20"),
            ("10-0-0-20.bare.shop.svc", "A", "NOERROR A 10.0.0.20"),
            ("bare.shop.svc", "SRV", "NOERROR SOA"),
            ("_http._tcp.bare.shop.svc", "SRV", "NXDOMAIN SOA"),
            // No ready endpoint, no name.
            ("lonely.shop.svc", "A", "NXDOMAIN SOA"),
            ("lonely.shop.svc", "SRV", "NXDOMAIN SOA"),
            // A slice alone makes no service.
            ("orphan.shop.svc", "A", "NXDOMAIN SOA"),
            ("left.orphan.shop.svc", "A", "NXDOMAIN SOA"),
            (
                "_http._tcp.db.shop.svc",
                "SRV",
                "NOERROR SRV 0 16 80 10-0-0-2.db.shop.svc.cluster.local., \
             SRV 0 16 80 10-0-0-3.db.shop.svc.cluster.local., \
             SRV 0 16 80 same.db.shop.svc.cluster.local., \
             SRV 0 16 80 fd01--1.db.shop.svc.cluster.local., \
             SRV 0 16 80 fd01--0.db.shop.svc.cluster.local. \
             extra: 10-0-0-2.db.shop.svc.cluster.local. A 10.0.0.2, \
             10-0-0-3.db.shop.svc.cluster.local. A 10.0.0.3, \
             same.db.shop.svc.cluster.local. A 10.0.0.4, \
             same.db.shop.svc.cluster.local. A 10.0.0.5, \
             fd01--1.db.shop.svc.cluster.local. AAAA fd01::1, \
             fd01--0.db.shop.svc.cluster.local. AAAA fd01::",
            ),
            (
                "_admin._tcp.db.shop.svc",
                "SRV",
                "NOERROR SRV 0 100 8080 10-0-0-2.db.shop.svc.cluster.local. \
             extra: 10-0-0-2.db.shop.svc.cluster.local. A 10.0.0.2",
            ),
            (
                "10-0-0-2.db.shop.svc",
                "SRV",
                "NOERROR SRV 0 50 80 10-0-0-2.db.shop.svc.cluster.local., \
             SRV 0 50 8080 10-0-0-2.db.shop.svc.cluster.local. extra: A 10.0.0.2",
            ),
        ],
    );
}

#[test]
fn endpoints_by_pod_name() {
    let server = Server::new(
        "kubernetes cluster.local {\nendpoint_pod_names\n}",
        cluster(),
    );
    check(
        &server,
        &[
            ("db-0.db.shop.svc", "A", "NOERROR A 10.0.0.2"),
            // In the slice that does not name the pod it keeps its address.
            (
                "10-0-0-2.db.shop.svc",
                "SRV",
                "NOERROR SRV 0 100 8080 10-0-0-2.db.shop.svc.cluster.local. extra: A 10.0.0.2",
            ),
            ("front.web.shop.svc", "A", "NOERROR A 10.0.0.1"),
            ("web-x.web.shop.svc", "A", "NXDOMAIN SOA"),
            ("10-0-0-3.db.shop.svc", "A", "NOERROR A 10.0.0.3"),
        ],
    );
}

#[test]
fn external_names() {
    let server = Server::at(COREFILE, cluster(), &["10.9.9.9"]).finding(Elsewhere(&[
        ("www.example.com.", Some(&["192.0.2.80", "2001:db8::80"])),
        ("cut.example.com.", Some(&["192.0.2.81", "truncated"])),
        ("silent.example.com.", None),
    ]));
    check(
        &server,
        &[
            (
                "out.shop.svc",
                "A",
                "NOERROR CNAME www.example.com., www.example.com. ttl=60 A 192.0.2.80",
            ),
            (
                "out.shop.svc",
                "AAAA",
                "NOERROR CNAME www.example.com., www.example.com. ttl=60 AAAA 2001:db8::80",
            ),
            ("out.shop.svc", "CNAME", "NOERROR CNAME www.example.com."),
            ("out.shop.svc", "SRV", "NOERROR SOA"),
            ("out.shop.svc", "TXT", "NOERROR SOA"),
            ("out.shop.svc", "MX", "NOERROR SOA"),
            ("x.out.shop.svc", "A", "NXDOMAIN SOA"),
            ("_http._tcp.out.shop.svc", "CNAME", "NXDOMAIN SOA"),
            (
                "cut.shop.svc",
                "A",
                "NOERROR truncated CNAME cut.example.com., cut.example.com. ttl=60 A 192.0.2.81",
            ),
            // A denial leaves the CNAME, silence does not.
            (
                "nowhere.shop.svc",
                "A",
                "NOERROR CNAME nowhere.example.com.",
            ),
            ("silent.shop.svc", "A", "NOERROR SOA"),
            (
                "in.shop.svc",
                "A",
                "NOERROR CNAME web.shop.svc.cluster.local., web.shop.svc.cluster.local. A 10.96.0.1",
            ),
            ("in.shop.svc", "AAAA", "NOERROR SOA"),
            (
                "in.shop.svc",
                "CNAME",
                "NOERROR CNAME web.shop.svc.cluster.local.",
            ),
            (
                "in-two.shop.svc",
                "A",
                "NOERROR CNAME out.shop.svc.cluster.local., \
             out.shop.svc.cluster.local. CNAME www.example.com., www.example.com. ttl=60 A 192.0.2.80",
            ),
            ("in-none.shop.svc", "A", "NOERROR SOA"),
            (
                "in-none.shop.svc",
                "CNAME",
                "NOERROR CNAME none.shop.svc.cluster.local.",
            ),
            (
                "in-six.shop.svc",
                "AAAA",
                "NOERROR CNAME six.shop.svc.cluster.local., six.shop.svc.cluster.local. AAAA fd00::1",
            ),
            ("in-pod.shop.svc", "A", "NOERROR SOA"),
            (
                "in-ns.shop.svc",
                "A",
                "NOERROR CNAME ns.dns.cluster.local., ns.dns.cluster.local. A 10.9.9.9",
            ),
            ("self.shop.svc", "A", "NOERROR SOA"),
            ("below.shop.svc", "A", "NOERROR SOA"),
            ("ping.shop.svc", "A", "NOERROR SOA"),
            ("address.shop.svc", "A", "NXDOMAIN SOA"),
            ("address.shop.svc", "CNAME", "NXDOMAIN SOA"),
            // Eleven CNAMEs are the most.
            ("chain-3.shop.svc", "A", "NOERROR SOA"),
        ],
    );
    let longest = server.ask("chain-4.shop.svc.cluster.local.", "A");
    assert_eq!(longest.matches("CNAME").count(), 11, "{longest}");
    assert!(
        longest.ends_with("chain-15.shop.svc.cluster.local. A 10.96.0.7"),
        "{longest}"
    );
}

#[test]
fn letter_case_stays_where_coredns_leaves_it() {
    let server = Server::at(COREFILE, cluster(), &["10.9.9.9"]);
    for (name, qtype, want) in [
        ("WEB.Shop.SVC.Cluster.LOCAL.", "A", "NOERROR A 10.96.0.1"),
        (
            "_HTTP._TCP.web.shop.svc.Cluster.Local.",
            "SRV",
            "NOERROR SRV 0 100 80 web.shop.svc.Cluster.Local. extra: web.shop.svc.Cluster.Local. A 10.96.0.1",
        ),
        (
            "SAME.db.shop.svc.cluster.local.",
            "A",
            "NOERROR A 10.0.0.4, A 10.0.0.5",
        ),
        (
            "FD01--1.db.shop.svc.cluster.local.",
            "AAAA",
            "NOERROR AAAA fd01::1",
        ),
        (
            "_ADMIN._Tcp.db.shop.svc.cluster.local.",
            "A",
            "NOERROR A 10.0.0.2",
        ),
        (
            "DNS-Version.cluster.local.",
            "TXT",
            "NOERROR ttl=28800 TXT 1.1.0",
        ),
        (
            "Cluster.Local.",
            "SOA",
            &format!(
                "NOERROR SOA ns.dns.Cluster.Local. hostmaster.Cluster.Local. {} 7200 1800 86400 5",
                fixture::SERIAL
            ),
        ),
        (
            "no.Cluster.Local.",
            "A",
            &format!(
                "NXDOMAIN ns: Cluster.Local. SOA ns.dns.Cluster.Local. hostmaster.Cluster.Local. {} 7200 1800 86400 5",
                fixture::SERIAL
            ),
        ),
        // The server's own name is compared without regard to this.
        ("NS.DNS.cluster.local.", "A", "NOERROR A 10.9.9.9"),
    ] {
        assert_eq!(server.ask(name, qtype), want, "{name} {qtype}");
    }
    // With capitals in the zone it vanishes, and the apex has no NS records.
    assert!(
        server
            .ask("ns.dns.Cluster.local.", "A")
            .starts_with("NXDOMAIN")
    );
    assert!(
        server
            .ask("Cluster.local.", "NS")
            .starts_with("NOERROR ns: ")
    );
}

#[test]
fn names_that_are_only_places() {
    check(
        &Server::new(COREFILE, cluster()),
        &[
            ("", "A", "NOERROR SOA"),
            ("svc", "A", "NOERROR SOA"),
            ("pod", "AAAA", "NOERROR SOA"),
            ("shop.svc", "A", "NOERROR SOA"),
            ("shop.svc", "SRV", "NOERROR SOA"),
            ("empty.svc", "A", "NOERROR SOA"),
            ("gone.svc", "A", "NXDOMAIN SOA"),
            ("shop.pod", "A", "NXDOMAIN SOA"),
            ("web.gone.svc", "A", "NXDOMAIN SOA"),
            ("shop", "A", "NXDOMAIN SOA"),
            ("x.y", "A", "NXDOMAIN SOA"),
            ("*.shop.svc", "A", "NXDOMAIN SOA"),
            ("any.shop.svc", "A", "NXDOMAIN SOA"),
        ],
    );
}

#[test]
fn types_without_records() {
    check(
        &Server::new(COREFILE, cluster()),
        &[
            ("dns-version", "TXT", "NOERROR ttl=28800 TXT 1.1.0"),
            ("dns-version", "A", "NXDOMAIN SOA"),
            ("web.shop.svc", "TXT", "NOERROR SOA"),
            ("front.web.shop.svc", "TXT", "NOERROR SOA"),
            ("none.shop.svc", "TXT", "NXDOMAIN SOA"),
            ("", "TXT", "NXDOMAIN SOA"),
            ("svc", "TXT", "NXDOMAIN SOA"),
            ("shop.svc", "TXT", "NXDOMAIN SOA"),
            ("web.shop.svc", "SOA", "NOERROR SOA"),
            ("none.shop.svc", "SOA", "NOERROR SOA"),
            ("web.shop.svc", "NS", "NOERROR SOA"),
            ("shop.svc", "NS", "NOERROR SOA"),
            ("none.svc", "NS", "NXDOMAIN SOA"),
            ("web.shop.svc", "MX", "NOERROR SOA"),
            ("none.shop.svc", "MX", "NXDOMAIN SOA"),
            ("web.shop.svc", "HTTPS", "NOERROR SOA"),
            ("none.shop.svc", "HTTPS", "NXDOMAIN SOA"),
            ("web.shop.svc", "ANY", "NOERROR SOA"),
            ("web.shop.svc", "CNAME", "NOERROR SOA"),
            ("web.shop.svc", "PTR", "NOERROR SOA"),
            ("none.shop.svc", "PTR", "NXDOMAIN SOA"),
            ("", "AXFR", "- REFUSED"),
            ("", "IXFR", "- REFUSED"),
            ("example.org.", "A", "- NOTIMP"),
        ],
    );
}

#[test]
fn the_zones_own_servers() {
    let alone = Server::at(COREFILE, cluster(), &["192.0.2.1", "2001:db8::1"]);
    check(
        &alone,
        &[
            (
                "",
                "NS",
                "NOERROR NS ns.dns.cluster.local. extra: ns.dns.cluster.local. A 192.0.2.1, ns.dns.cluster.local. AAAA 2001:db8::1",
            ),
            ("ns.dns", "A", "NOERROR A 192.0.2.1"),
            ("ns.dns", "AAAA", "NOERROR AAAA 2001:db8::1"),
            ("ns.dns", "SRV", "NOERROR SOA"),
            ("ns.dns", "CNAME", "NOERROR SOA"),
            ("ns.dns", "HTTPS", "NOERROR SOA"),
            ("ns.dns", "TXT", "NXDOMAIN SOA"),
            ("ns.dns", "PTR", "NXDOMAIN SOA"),
            ("x.ns.dns", "A", "NXDOMAIN SOA"),
        ],
    );
    let known = Server::at(COREFILE, cluster(), &["10.0.0.53"]);
    check(
        &known,
        &[
            (
                "",
                "NS",
                "NOERROR NS dns.kube-system.svc.cluster.local. extra: dns.kube-system.svc.cluster.local. A 10.96.0.10",
            ),
            ("ns.dns", "A", "NOERROR A 10.96.0.10"),
            ("ns.dns", "AAAA", "NOERROR SOA"),
        ],
    );
    let headless = Server::at(COREFILE, cluster(), &["10.0.0.54"]);
    check(
        &headless,
        &[(
            "",
            "NS",
            "NOERROR NS ns1.dns-headless.kube-system.svc.cluster.local., NS 10-0-0-55.dns-headless.kube-system.svc.cluster.local. \
         extra: ns1.dns-headless.kube-system.svc.cluster.local. A 10.0.0.54, \
         10-0-0-55.dns-headless.kube-system.svc.cluster.local. A 10.0.0.55",
        )],
    );
    // An endpoint of no service, and no address at all.
    check(
        &Server::at(COREFILE, cluster(), &["10.0.0.30"]),
        &[("", "NS", "NOERROR SOA")],
    );
    check(
        &Server::new(COREFILE, cluster()),
        &[("", "NS", "NOERROR SOA"), ("ns.dns", "A", "NOERROR SOA")],
    );
}

#[test]
fn addresses_have_names() {
    let v6 = |nibbles: &str| {
        let reversed: Vec<String> = nibbles.chars().rev().map(String::from).collect();
        format!("{}.ip6.arpa.", reversed.join("."))
    };
    let rows = [
        (
            "1.0.96.10.in-addr.arpa.",
            "PTR",
            "NOERROR PTR web.shop.svc.cluster.local.",
        ),
        (
            "1.0.0.10.IN-ADDR.arpa.",
            "PTR",
            "NOERROR PTR front.web.shop.svc.cluster.local.",
        ),
        (
            "2.0.0.10.in-addr.arpa.",
            "PTR",
            "NOERROR PTR 10-0-0-2.db.shop.svc.cluster.local.",
        ),
        (
            "30.0.0.10.in-addr.arpa.",
            "PTR",
            "NOERROR PTR left.orphan.shop.svc.cluster.local.",
        ),
        // Pods without a service, and endpoints that are not ready, have none.
        ("7.0.0.10.in-addr.arpa.", "PTR", "NXDOMAIN SOA"),
        ("99.0.0.10.in-addr.arpa.", "PTR", "NXDOMAIN SOA"),
        ("1.0.96.10.in-addr.arpa.", "A", "NXDOMAIN SOA"),
        ("96.10.in-addr.arpa.", "PTR", "NXDOMAIN SOA"),
        ("10.in-addr.arpa.", "PTR", "NOERROR SOA"),
        ("svc.10.in-addr.arpa.", "A", "NOERROR SOA"),
        ("web.shop.svc.10.in-addr.arpa.", "A", "NXDOMAIN SOA"),
        (
            &v6("fd000000000000000000000000000003"),
            "PTR",
            "NOERROR PTR dual.shop.svc.cluster.local.",
        ),
        (
            &v6("fd010000000000000000000000000000"),
            "PTR",
            "NOERROR PTR fd01--0.db.shop.svc.cluster.local.",
        ),
        (
            &v6("fd010000000000000000000000000009"),
            "PTR",
            "NXDOMAIN SOA",
        ),
        // Imports have none.
        ("1.0.97.10.in-addr.arpa.", "PTR", "NXDOMAIN SOA"),
    ];
    check(&Server::new(COREFILE, cluster()), &rows);
}

#[test]
fn pods() {
    let mode = |mode: &str| {
        Server::new(
            &format!("kubernetes cluster.local {{\npods {mode}\n}}"),
            cluster(),
        )
    };
    check(
        &mode("disabled"),
        &[
            ("10-0-0-1.shop.pod", "A", "NXDOMAIN SOA"),
            ("shop.pod", "A", "NXDOMAIN SOA"),
            ("pod", "A", "NOERROR SOA"),
        ],
    );
    check(
        &mode("insecure"),
        &[
            ("10-240-0-1.shop.pod", "A", "NOERROR A 10.240.0.1"),
            ("10-240-0-1.shop.pod", "AAAA", "NOERROR SOA"),
            ("10-240-0-1.shop.pod", "TXT", "NOERROR SOA"),
            ("10-240-0-1.shop.pod", "MX", "NOERROR SOA"),
            ("10-240-0-1.gone.pod", "A", "NXDOMAIN SOA"),
            ("fd01--9.shop.pod", "AAAA", "NOERROR AAAA fd01::9"),
            ("fd01--9.shop.pod", "A", "NOERROR SOA"),
            ("web.shop.pod", "A", "NXDOMAIN SOA"),
            ("shop.pod", "A", "NOERROR SOA"),
            ("gone.pod", "A", "NXDOMAIN SOA"),
            ("x.10-240-0-1.shop.pod", "A", "NOERROR A 10.240.0.1"),
            ("_x._y.10-240-0-1.shop.pod", "A", "NOERROR A 10.240.0.1"),
            ("x.y.z.10-240-0-1.shop.pod", "A", "NXDOMAIN SOA"),
            (
                "10-240-0-1.shop.pod",
                "SRV",
                "NOERROR SRV 0 100 0 10-240-0-1.shop.pod.cluster.local. extra: A 10.240.0.1",
            ),
        ],
    );
    check(
        &mode("verified"),
        &[
            ("10-0-0-1.shop.pod", "A", "NOERROR A 10.0.0.1"),
            ("10-0-0-1.empty.pod", "A", "NXDOMAIN SOA"),
            ("10-240-0-1.shop.pod", "A", "NXDOMAIN SOA"),
            ("fd01--1.shop.pod", "AAAA", "NOERROR AAAA fd01::1"),
            ("fd01-0--1.shop.pod", "AAAA", "NXDOMAIN SOA"),
            ("10-0-0-7.shop.pod", "A", "NOERROR A 10.0.0.7"),
            (
                "10-0-0-7.shop.pod",
                "SRV",
                "NOERROR SRV 0 50 0 10-0-0-7.shop.pod.cluster.local. extra: A 10.0.0.7",
            ),
            ("shop.pod", "A", "NOERROR SOA"),
        ],
    );
}

#[test]
fn topology_zones() {
    let zonal = Server::new("kubernetes cluster.local {\nzonal\n}", cluster());
    check(
        &zonal,
        &[
            ("west.pin._zone.zoned.shop.svc", "A", "NOERROR A 10.0.1.2"),
            ("east.1.pin._zone.zoned.shop.svc", "A", "NOERROR A 10.0.1.1"),
            ("EAST.1.pin._zone.zoned.shop.svc", "A", "NOERROR A 10.0.1.1"),
            ("east.pin._zone.zoned.shop.svc", "A", "NOERROR SOA"),
            ("north.pin._zone.zoned.shop.svc", "A", "NOERROR SOA"),
            ("north.pin._zone.zoned.shop.svc", "SRV", "NOERROR SOA"),
            ("north.pin._zone.zoned.shop.svc", "TXT", "NOERROR SOA"),
            (
                "north.prefer._zone.zoned.shop.svc",
                "A",
                "NOERROR A 10.0.1.1, A 10.0.1.2",
            ),
            (
                "west.prefer._zone.zoned.shop.svc",
                "A",
                "NOERROR A 10.0.1.2",
            ),
            (
                "west.pin._zone.zoned.shop.svc",
                "SRV",
                "NOERROR SRV 0 100 80 10-0-1-2.zoned.shop.svc.cluster.local. \
             extra: 10-0-1-2.zoned.shop.svc.cluster.local. A 10.0.1.2",
            ),
            ("north.pin._zone.lonely.shop.svc", "A", "NOERROR SOA"),
            ("west.pin._zone.web.shop.svc", "A", "NXDOMAIN SOA"),
            ("west.pin._zone.web.shop.svc", "TXT", "NXDOMAIN SOA"),
            ("west.pin._zone.none.shop.svc", "A", "NXDOMAIN SOA"),
            ("west.pin._zone.out.shop.svc", "A", "NXDOMAIN SOA"),
            ("west.other._zone.zoned.shop.svc", "A", "NXDOMAIN SOA"),
            ("pin._zone.zoned.shop.svc", "A", "NXDOMAIN SOA"),
        ],
    );
    check(
        &Server::new(COREFILE, cluster()),
        &[("west.pin._zone.zoned.shop.svc", "A", "NXDOMAIN SOA")],
    );
}

#[test]
fn services_of_other_clusters() {
    let server = Server::new(
        "kubernetes cluster.local clusterset.local {\nmulticluster clusterset.local\n}",
        cluster(),
    );
    let ask = |name: &str, qtype: &str| server.ask(&format!("{name}.clusterset.local."), qtype);
    let soa = "ns: clusterset.local. SOA ns.dns.clusterset.local. hostmaster.clusterset.local. 0 7200 1800 86400 5";
    let denied = format!("NXDOMAIN {soa}");
    for (name, qtype, want) in [
        ("web.shop.svc", "A", "NOERROR A 10.97.0.1"),
        (
            "_http._tcp.web.shop.svc",
            "SRV",
            "NOERROR SRV 0 100 80 web.shop.svc.clusterset.local. extra: web.shop.svc.clusterset.local. A 10.97.0.1",
        ),
        ("portless.shop.svc", "A", &denied),
        ("db.shop.svc", "A", "NOERROR A 10.2.0.1, A 10.2.0.2"),
        ("10-2-0-1.east.db.shop.svc", "A", "NOERROR A 10.2.0.1"),
        ("10-2-0-2.east.db.shop.svc", "A", &denied),
        ("10-2-0-2.WEST.db.shop.svc", "A", "NOERROR A 10.2.0.2"),
        ("10-2-0-1.db.shop.svc", "A", &denied),
        (
            "_http._tcp.db.shop.svc",
            "SRV",
            "NOERROR SRV 0 33 80 10-2-0-1.east.db.shop.svc.clusterset.local., \
             SRV 0 33 80 10-2-0-1.west.db.shop.svc.clusterset.local., \
             SRV 0 33 80 10-2-0-2.west.db.shop.svc.clusterset.local. \
             extra: 10-2-0-1.east.db.shop.svc.clusterset.local. A 10.2.0.1, \
             10-2-0-1.west.db.shop.svc.clusterset.local. A 10.2.0.1, \
             10-2-0-2.west.db.shop.svc.clusterset.local. A 10.2.0.2",
        ),
        ("out.shop.svc", "A", &denied),
        ("a.b.c.web.shop.svc", "A", &denied),
    ] {
        assert_eq!(ask(name, qtype), want, "{name} {qtype}");
    }
    // The other zone is none of it.
    assert_eq!(
        server.ask("web.shop.svc.cluster.local.", "A"),
        "NOERROR A 10.96.0.1"
    );
    assert_eq!(
        server.ask("10-2-0-1.east.db.shop.svc.cluster.local.", "A"),
        "NXDOMAIN SOA"
    );
}

#[test]
fn until_all_was_read() {
    let server = Server::new(
        "kubernetes cluster.local {\nfallthrough fall.svc.cluster.local\n}",
        half_read(),
    );
    check(
        &server,
        &[
            // What is there answers.
            ("web.shop.svc", "A", "NOERROR A 10.96.0.1"),
            ("web.shop.svc", "AAAA", "NOERROR SOA"),
            ("svc", "A", "NOERROR SOA"),
            // What is not there may yet come.
            ("none.shop.svc", "A", "SERVFAIL SOA"),
            ("x", "A", "SERVFAIL SOA"),
            ("", "TXT", "SERVFAIL SOA"),
            ("none.fall.svc", "A", "- NOTIMP"),
        ],
    );
    let plugin = plugin("kubernetes cluster.local", half_read(), &[]);
    assert_eq!(plugin.ready(), Some(false));
    assert_eq!(
        self::plugin("kubernetes cluster.local", cluster(), &[]).ready(),
        Some(true)
    );
}
