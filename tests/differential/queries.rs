//! What is asked.

use pando_test::{Ask, ControlPlane};
use serde_json::Value;

/// A query and how it is sent.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) ask: Ask,
    pub(crate) tcp: bool,
}

/// The names of a cluster and around it.
pub(crate) struct Queries {
    names: Vec<String>,
}

const TYPES: [&str; 12] = [
    "A",
    "AAAA",
    "SRV",
    "TXT",
    "NS",
    "SOA",
    "CNAME",
    "PTR",
    "MX",
    "ANY",
    "HTTPS",
    "TYPE65280",
];

/// What may stand before a Service's name.
const BEFORE_SERVICE: [&str; 30] = [
    "",
    "_http._tcp.",
    "_HTTP._Tcp.",
    "http.tcp.",
    "_http._udp.",
    "_https._tcp.",
    "_dns._udp.",
    "_dns-tcp._tcp.",
    "_sctp._sctp.",
    "_metrics._tcp.",
    "_sql._tcp.",
    "_a-long-name-15c._tcp.",
    "__http._tcp.",
    "_._tcp.",
    "_http.",
    "x.",
    "*.",
    "x.y.z.",
    "a.b.c.d.",
    "10-1-1-1.",
    "10-1-2-1.",
    "10-1-2-5.",
    "named.",
    "TWIN.",
    "seven.",
    "fd00-1-2--0.",
    "fd00-1-2--.",
    "db-0.",
    "heads-6.",
    "_http._tcp.twin.",
];

const BEFORE_NAMESPACE: [&str; 24] = [
    "svc.",
    "pod.",
    "x.pod.",
    "10-1-1-1.pod.",
    "10-1-9-9.pod.",
    "1-2-3-4.pod.",
    "1-2-3.pod.",
    "1--2.pod.",
    "256-1-1-1.pod.",
    "10-1-1-1-1.pod.",
    "010-1-1-1.pod.",
    "fd00-1--1.pod.",
    "FD00-1--1.pod.",
    "fd00-1-0-0-0-0-0-1.pod.",
    "fd00-1-1--1.pod.",
    "--1.pod.",
    "x.10-1-1-1.pod.",
    "x.y.10-1-1-1.pod.",
    "x.y.z.10-1-1-1.pod.",
    "missing.svc.",
    "x.missing.svc.",
    "_http._tcp.missing.svc.",
    "*.svc.",
    "any.svc.",
];

/// Under the zone itself.
const BEFORE_ZONE: [&str; 24] = [
    "",
    "svc.",
    "pod.",
    "SVC.",
    "dns.",
    "ns.dns.",
    "NS.dns.",
    "x.ns.dns.",
    "dns-version.",
    "DNS-Version.",
    "x.dns-version.",
    "x.",
    "*.",
    "web.",
    "web.shop.",
    "nowhere.svc.",
    "web.nowhere.svc.",
    "web.shop.svc.svc.",
    "1-2-3-4.nowhere.pod.",
    "zone-a.pin._zone.heads.shop.svc.",
    "zone-b.prefer._zone.heads.shop.svc.",
    "zone.with.dots.pin._zone.heads.shop.svc.",
    "nowhere.prefer._zone.heads.shop.svc.",
    "zone-a.pin._zone.web.shop.svc.",
];

const ELSEWHERE: [&str; 65] = [
    ".",
    "local.",
    "other.local.",
    "other.example.",
    "web.shop.svc.other.example.",
    "web.shop.svc.cluster.local.cluster.local.",
    "www.example.net.",
    "WWW.Example.net.",
    "missing.example.net.",
    "broken.example.net.",
    "in-addr.arpa.",
    "10.in-addr.arpa.",
    "96.10.in-addr.arpa.",
    "1.1.96.10.in-addr.arpa.",
    "3.1.96.10.in-addr.arpa.",
    "99.99.96.10.in-addr.arpa.",
    "1.1.1.10.in-addr.arpa.",
    "2.1.1.10.in-addr.arpa.",
    "1.2.1.10.in-addr.arpa.",
    "3.2.1.10.in-addr.arpa.",
    "5.2.1.10.in-addr.arpa.",
    "6.2.1.10.in-addr.arpa.",
    "1.8.1.10.in-addr.arpa.",
    "2.9.1.10.in-addr.arpa.",
    "1.7.1.10.in-addr.arpa.",
    "x.1.1.1.10.in-addr.arpa.",
    "256.1.1.10.in-addr.arpa.",
    "01.1.1.10.in-addr.arpa.",
    "1.113.0.203.in-addr.arpa.",
    "3.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.D.F.ip6.arpa.",
    "3.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa.",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.",
    "0.0.d.f.ip6.arpa.",
    "clusterset.local.",
    "svc.clusterset.local.",
    "shop.svc.clusterset.local.",
    "empty.svc.clusterset.local.",
    "web.shop.svc.clusterset.local.",
    "_http._tcp.web.shop.svc.clusterset.local.",
    "x.web.shop.svc.clusterset.local.",
    "dual.shop.svc.clusterset.local.",
    "_https._tcp.dual.shop.svc.clusterset.local.",
    "portless.shop.svc.clusterset.local.",
    "heads.shop.svc.clusterset.local.",
    "_http._tcp.heads.shop.svc.clusterset.local.",
    "named.heads.shop.svc.clusterset.local.",
    "named.east.heads.shop.svc.clusterset.local.",
    "named.WEST.heads.shop.svc.clusterset.local.",
    "10-3-1-2.east.heads.shop.svc.clusterset.local.",
    "10-3-1-2.west.heads.shop.svc.clusterset.local.",
    "idle.data.svc.clusterset.local.",
    "out.shop.svc.clusterset.local.",
    "db.data.svc.clusterset.local.",
    "10-1-1-1.shop.pod.clusterset.local.",
    "dns-version.clusterset.local.",
    "ns.dns.clusterset.local.",
    "1.0.97.10.in-addr.arpa.",
    "web.shop.example.net.",
    "heads.shop.example.net.",
    "_http._tcp.heads.shop.example.net.",
    "a.b.c.d.internal.cloudapp.net.",
    "a.internal.cloudapp.net.",
    "from.hosts.",
    "version.bind.",
];

impl Queries {
    /// Names for every Service and namespace that the API server has.
    pub(crate) async fn of(plane: &ControlPlane) -> Self {
        let get = async |path| {
            plane
                .request("GET", path, &Value::Null)
                .await
                .expect("a list")
        };
        let services = get("/api/v1/services").await;
        let namespaces = get("/api/v1/namespaces").await;
        let named = |object: &Value, field: &str| {
            object["metadata"][field]
                .as_str()
                .expect("has it")
                .to_owned()
        };
        let items = |list: &Value| list["items"].as_array().expect("a list").clone();
        let zone = "cluster.local.";
        let mut names: Vec<_> = ELSEWHERE.iter().map(|name| (*name).to_owned()).collect();
        names.extend(BEFORE_ZONE.iter().map(|before| format!("{before}{zone}")));
        for namespace in items(&namespaces) {
            let namespace = named(&namespace, "name");
            for before in BEFORE_NAMESPACE {
                let (name, kind) = match before.strip_suffix("pod.") {
                    Some(name) => (name, "pod"),
                    None => (before.strip_suffix("svc.").expect("svc"), "svc"),
                };
                names.push(format!("{name}{namespace}.{kind}.{zone}"));
            }
        }
        for service in items(&services) {
            let (name, namespace) = (named(&service, "name"), named(&service, "namespace"));
            for before in BEFORE_SERVICE {
                names.push(format!("{before}{name}.{namespace}.svc.{zone}"));
            }
        }
        Self { names }
    }

    /// Every name with every type, and with every way of asking for some; or a
    /// part of that.
    pub(crate) fn for_setting(&self, whole: bool) -> Vec<Sent> {
        let types = if whole { &TYPES[..] } else { &TYPES[..6] };
        let mut all = Vec::new();
        for (at, name) in self.names.iter().enumerate() {
            for kind in types {
                all.push(Sent {
                    ask: Ask::new(name, kind),
                    tcp: false,
                });
            }
            // 7 shares no divisor with the tables above.
            if at % if whole { 7 } else { 29 } == 0 {
                for kind in ["A", "SRV", "PTR", "NS"] {
                    all.extend(ways(name, kind));
                }
            }
        }
        for name in [
            "heads.shop.svc.cluster.local.",
            "_http._tcp.heads.shop.svc.cluster.local.",
            "dual.shop.svc.cluster.local.",
            "out.shop.svc.cluster.local.",
            "cluster.local.",
            "www.example.net.",
            "missing.example.net.",
            "nowhere.cluster.local.",
        ] {
            for kind in TYPES {
                all.extend(ways(name, kind));
            }
        }
        all
    }
}

/// One question asked in every way.
fn ways(name: &str, kind: &str) -> Vec<Sent> {
    let plain = || Ask::new(name, kind);
    let subnet = [0, 1, 24, 0, 192, 0, 2];
    let udp = [
        Ask::new(&upper(name), kind),
        plain().no_recursion(),
        plain().checking_disabled(),
        plain().authentic(),
        plain().header_bits(0x0040),
        plain().header_bits(0x0480),
        plain().edns(0),
        plain().edns(512),
        plain().edns(600),
        plain().edns(1232),
        plain().edns(4096).dnssec_ok(),
        plain().edns(65_535).checking_disabled(),
        plain().edns_flags(0x8001),
        plain().edns_flags(0x4000),
        plain().edns_version(1),
        plain().option(10, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        plain().option(3, b""),
        plain().option(8, &subnet),
        plain().option(11, b""),
        plain().option(12, &[0; 16]),
        plain().option(65_001, b"local"),
        plain()
            .option(3, b"")
            .option(10, b"01234567")
            .option(65_001, b"x"),
        plain().class(3),
        plain().class(254),
        plain().class(255),
        plain().opcode(4),
        plain()
            .opcode(4)
            .checking_disabled()
            .header_bits(0x0020)
            .edns(1232),
        plain().opcode(5),
        plain().opcode(2),
    ];
    let tcp = [
        plain(),
        plain().edns(512),
        plain().edns(1232).dnssec_ok(),
        plain().option(11, b"\x00\x64"),
    ];
    let send = |tcp| move |ask| Sent { ask, tcp };
    let udp = udp.into_iter().map(send(false));
    udp.chain(tcp.into_iter().map(send(true))).collect()
}

/// Every other letter in upper case, as resolvers do against forgery.
fn upper(name: &str) -> String {
    let letters = name.chars().enumerate();
    letters
        .map(|(at, c)| match at % 2 {
            0 => c.to_ascii_uppercase(),
            _ => c,
        })
        .collect()
}
