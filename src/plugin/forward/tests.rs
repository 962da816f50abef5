use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pando_test::{Reply, Rule, Upstream};
use tokio::task::LocalSet;

use super::{Forward, setup, to};
use crate::chain::{Chain, Exchange, Failure, Next, Plugin, Proto, Served};
use crate::upstream::{HealthCheck, Options, Policy};
use crate::wire::{NameBuf, Rcode, Section, rtype};

/// A folder with resolv.conf files, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("pando-forward-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let folder = Self(path);
        folder.write(
            "two",
            "nameserver 10.10.255.252\n# x\nnameserver  10.10.255.253 \n",
        );
        folder.write(
            "six",
            "nameserver 0388:d254:7aec:6892:9f7f:e93b:5806:1b0f%en0\n",
        );
        folder.write("comments", "# nameserver 1.1.1.1\noptions ndots:5\n");
        folder.write("empty", "");
        folder.write("name", "nameserver dns.example\n");
        let many: String = (1..=70)
            .map(|n| format!("nameserver 10.0.0.{n}\n"))
            .collect();
        folder.write("many", &many);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn parse(text: &str) -> Result<Vec<setup::Stanza>, String> {
    let directive = corefile::Directive::new("Corefile", text);
    setup::parse(&directive).map_err(|error| error.first_line().to_owned())
}

/// The upstreams of all stanzas, or the first line of the error.
fn upstreams(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for stanza in parse(text)? {
        let found = to::expand(&stanza.to, &stanza.resolvers)?;
        names.extend(found.into_iter().map(|(_, name)| name));
    }
    Ok(names)
}

/// Every one of these was put to CoreDNS 1.14.7, but for those that say otherwise.
#[test]
fn what_is_refused_and_how() {
    let folder = Folder::new("refused");
    let args = |after: &str| {
        format!(
            "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after '{after}'"
        )
    };
    let missing = |after: &str| args(after).replacen(":1", ":2", 1);
    let parsing = |message: &str| format!("Corefile:2 - Error during parsing: {message}");
    let sixteen: String = (1..=16).map(|n| format!(" 127.0.0.{n}")).collect();
    let long = "x".repeat(64);
    #[rustfmt::skip]
    let table: Vec<(String, String)> = vec![
        ("forward".into(), args("forward")),
        ("forward .".into(), args(".")),
        ("forward 127.0.0.1".into(), args("127.0.0.1")),
        ("forward . {\n}".into(), args(".")),
        (format!("forward {long} 127.0.0.1"), format!("unable to normalize '{long}'")),
        (format!("forward .{sixteen}"), "more than 15 TOs configured: 16".into()),
        (format!("forward . {}/empty", folder.path().display()), "no valid upstream addresses found".into()),
        (format!("forward . {}", folder.path().display()), "no valid upstream addresses found".into()),
        ("forward . /no/such/file".into(), r#"failed to resolve "/no/such/file": lookup /no/such/file: no such host"#.into()),
        ("forward . not..aname".into(), r#"not an IP address, file, or valid domain: "not..aname""#.into()),
        ("forward . tls://".into(), r#"invalid address: "tls://""#.into()),
        ("forward . dns://".into(), r#"invalid address: "dns://""#.into()),
        ("forward . https://1.1.1.1/".into(), "paths are not allowed in HTTPS upstream addresses (the /dns-query path is used by default): https://1.1.1.1/".into()),
        ("forward . quic://127.0.0.1".into(), "'quic' is not supported as a destination protocol in forward: quic://127.0.0.1:853".into()),
        ("forward . grpc://127.0.0.1:99".into(), "'grpc' is not supported as a destination protocol in forward: grpc://127.0.0.1:99".into()),
        ("forward . unix:///tmp/x".into(), "'unix' is not supported as a destination protocol in forward: unix:///tmp/x".into()),
        ("forward . quic://example".into(), r#"not an IP address, file, or valid domain: "quic://example""#.into()),
        // CoreDNS starts with these, and has an upstream that it cannot reach.
        ("forward . https3://127.0.0.1".into(), "'https3' is not supported as a destination protocol in forward: https3://127.0.0.1:443".into()),
        ("forward . 127.0.0.1:99999".into(), r#"invalid port "99999" of upstream 127.0.0.1"#.into()),
        ("forward . 127.0.0.1:".into(), r#"invalid port "" of upstream 127.0.0.1"#.into()),
        (format!("forward . {}/name", folder.path().display()), format!(r#"nameserver "dns.example" in {}/name is not an IP address"#, folder.path().display())),
        (format!("forward . {}/many", folder.path().display()), "more than 64 upstream addresses: 70".into()),
        // CoreDNS has these, and Pando will.
        ("forward . tls://127.0.0.1".into(), "tls upstreams are not supported yet: tls://127.0.0.1".into()),
        ("forward . https://dns.example".into(), "https upstreams are not supported yet: https://dns.example".into()),
        ("forward . 127.0.0.1 {\ntls /cert /key\n}".into(), "tls with files is not supported yet".into()),
    ];
    #[rustfmt::skip]
    let options: Vec<(&str, String)> = vec![
        ("blaatl", parsing("unknown property 'blaatl'")),
        ("max_fail 3", parsing("unknown property 'max_fail'")),
        ("max_fails 3 4", parsing("unknown property '4'")),
        ("max_fails", missing("max_fails")),
        ("max_fails 4294967296", r#"strconv.ParseUint: parsing "4294967296": value out of range"#.into()),
        ("max_connect_attempts", missing("max_connect_attempts")),
        ("max_connect_attempts -4", r#"strconv.ParseUint: parsing "-4": invalid syntax"#.into()),
        ("health_check", missing("health_check")),
        ("health_check 5", r#"time: missing unit in duration "5""#.into()),
        ("health_check -5s", "health_check can't be negative: -5000000000".into()),
        ("health_check 5s foo", "health_check: unknown option foo".into()),
        ("health_check 5s domain", missing("domain")),
        ("health_check 5s domain a..b", "health_check: invalid domain name a..b".into()),
        ("force_tcp yes", missing("yes")),
        ("prefer_udp yes", missing("yes")),
        ("expire", missing("expire")),
        ("expire x", r#"time: invalid duration "x""#.into()),
        ("expire -1s", "expire can't be negative: -1s".into()),
        ("max_age -1s", "max_age can't be negative: -1s".into()),
        ("max_age 5s", "max_age (5s) must not be less than expire (10s)".into()),
        ("expire 1m30s\nmax_age 300ms", "max_age (300ms) must not be less than expire (1m30s)".into()),
        ("max_idle_conns -1", "max_idle_conns can't be negative: -1".into()),
        ("max_idle_conns 1.5", r#"strconv.Atoi: parsing "1.5": invalid syntax"#.into()),
        ("read_timeout 0s", "read_timeout must be positive: 0s".into()),
        ("read_timeout -1s", "read_timeout must be positive: -1s".into()),
        ("read_timeout 2", r#"time: missing unit in duration "2""#.into()),
        ("doh_method get", "doh_method must be either POST or GET".into()),
        ("policy", missing("policy")),
        ("policy first", parsing("unknown policy 'first'")),
        ("max_concurrent", missing("max_concurrent")),
        ("max_concurrent many", r#"strconv.Atoi: parsing "many": invalid syntax"#.into()),
        ("max_concurrent -4", "max_concurrent can't be negative: -4".into()),
        ("next", missing("next")),
        ("next NOSUCH", "NOSUCH is not a valid rcode".into()),
        ("next BADVERS", "BADVERS is not a valid rcode".into()),
        ("next_on_nodata x", missing("x")),
        ("failfast_all_unhealthy_upstreams x", missing("x")),
        ("failover", missing("failover")),
        ("failover NOERROR", "NoError cannot be used in failover".into()),
        ("failover 2", "2 is not a valid rcode".into()),
        ("except", missing("except")),
        ("resolver", missing("resolver")),
        ("resolver dns.example", r#"resolver must be an IP address or IP:port: "dns.example""#.into()),
        ("tls a b c d", missing("d")),
        ("tls_servername", missing("tls_servername")),
        ("source_address", missing("source_address")),
        ("source_address not-an-ip", parsing("invalid IP address: not-an-ip")),
    ];
    let options = options
        .into_iter()
        .map(|(option, error)| (format!("forward . 127.0.0.1 {{\n{option}\n}}"), error));
    for (text, error) in table.into_iter().chain(options) {
        assert_eq!(upstreams(&text), Err(error), "{text}");
    }
}

#[test]
fn where_queries_go() {
    let folder = Folder::new("accepted");
    let file = |name: &str| folder.path().join(name).display().to_string();
    #[rustfmt::skip]
    let table: Vec<(String, Vec<&str>)> = vec![
        ("127.0.0.1".into(), vec!["127.0.0.1:53"]),
        ("127.0.0.1:8080 [::1]:53 [2003::1] ::2 dns://127.0.0.2 dns://127.0.0.3:54".into(),
            vec!["127.0.0.1:8080", "[::1]:53", "[2003::1]:53", "[::2]:53", "127.0.0.2:53", "127.0.0.3:54"]),
        ("127.0.0.1 127.0.0.2 dns://127.0.0.1:53".into(), vec!["127.0.0.1:53", "127.0.0.2:53"]),
        (file("two"), vec!["10.10.255.252:53", "10.10.255.253:53"]),
        (file("six"), vec!["[0388:d254:7aec:6892:9f7f:e93b:5806:1b0f]:53"]),
        (format!("{} 127.0.0.1 {}", file("comments"), file("two")),
            vec!["127.0.0.1:53", "10.10.255.252:53", "10.10.255.253:53"]),
        ("fe80::1%eth0 [fe80::2%eth0]:54".into(), vec!["[fe80::1]:53", "[fe80::2]:54"]),
        ("[::1".into(), vec!["[::1]:53"]),
        ("127.0.0.1:domain".into(), vec!["127.0.0.1:domain"]),
        ("localhost:5353 {\nmax_fails 0\n}".into(), vec!["127.0.0.1:5353"]),
    ];
    for (to, names) in table {
        let found = upstreams(&format!("forward . {to}")).unwrap();
        // A machine may call its IPv6 loopback localhost too.
        let found: Vec<_> = found.iter().filter(|name| *name != "[::1]:5353").collect();
        assert_eq!(found, names, "{to}");
    }
}

#[test]
fn all_options() {
    let text = "forward example.org 127.0.0.1 {
        health_check 1s no_rec domain Example.ORG
        except miek.nl 10.0.0.0/8 a..b
        max_fails 3
        force_tcp
        prefer_udp
        expire 20s
        max_age 30s
        max_idle_conns 5
        read_timeout 1500ms
        max_connect_attempts 0
        doh_method GET
        tls
        tls_servername x
        policy round_robin
        max_concurrent 1000
        next NXDOMAIN notimpl
        next_on_nodata
        failfast_all_unhealthy_upstreams
        failover SERVFAIL refused badcookie
        source_address ::ffff:127.0.0.1
        resolver 127.0.0.1 127.0.0.1:54 ::1
    }";
    let [stanza] = &parse(text).unwrap()[..] else {
        panic!("one stanza");
    };
    let name = |text: &str| text.parse::<NameBuf>().unwrap();
    assert_eq!(stanza.from, name("example.org."));
    assert_eq!(stanza.except, [name("miek.nl."), name("10.in-addr.arpa.")]);
    assert_eq!(stanza.next_rcodes, [3, 4]);
    assert!(stanza.next_on_nodata);
    assert_eq!(stanza.resolvers, ["127.0.0.1", "127.0.0.1:54", "::1"]);
    assert_eq!(
        stanza.options,
        Options {
            proxy_name: "forward",
            policy: Policy::RoundRobin,
            max_fails: 3,
            health_check: HealthCheck {
                interval: Duration::from_secs(1),
                recursion: false,
                domain: b"\x07example\x03org\0".to_vec(),
            },
            expire: Duration::from_secs(20),
            max_age: Duration::from_secs(30),
            max_idle_conns: 5,
            read_timeout: Duration::from_millis(1500),
            max_concurrent: 1000,
            max_connect_attempts: Some(0),
            force_tcp: true,
            prefer_udp: true,
            failfast_all_unhealthy: true,
            failover: vec![2, 5, 23],
            source: Some([127, 0, 0, 1].into()),
        }
    );
    let [plain] = &parse("forward . 127.0.0.1").unwrap()[..] else {
        panic!("one stanza");
    };
    assert_eq!(plain.options, Options::default());
}

#[test]
fn a_network_that_is_several_zones_is_one_and_a_warning() {
    let [stanza] = &parse("forward 10.9.3.0/18 127.0.0.1").unwrap()[..] else {
        panic!("one stanza");
    };
    assert_eq!(stanza.from, "0.9.10.in-addr.arpa.".parse().unwrap());
    assert_eq!(
        stanza.warning.as_deref(),
        Some(
            "Unsupported CIDR notation: '10.9.3.0/18' expands to multiple zones. Using only '0.9.10.in-addr.arpa.'."
        )
    );
}

#[test]
fn a_misspelt_option_names_the_nearest() {
    let directive = corefile::Directive::new("Corefile", "forward . 127.0.0.1 {\nmax_fial 3\n}");
    let error = setup::parse(&directive).unwrap_err().render();
    assert!(error.contains("max_fails"), "{error}");
}

/// Runs a test as a worker runs queries, and not for ever.
fn worker<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(30), test).await };
    LocalSet::new()
        .block_on(&runtime, bounded)
        .expect("the test ends in time");
}

/// The chain that these `forward` make, with `{0}` and so on for the upstreams.
fn chain(text: &str, upstreams: &[&Upstream]) -> Chain {
    let mut text = text.to_owned();
    for (nth, upstream) in upstreams.iter().enumerate() {
        text = text.replace(&format!("{{{nth}}}"), &upstream.address().to_string());
    }
    let stanzas = parse(&text).unwrap().into_iter();
    let plugins = stanzas.map(|stanza| Arc::new(Forward::new(stanza).unwrap()) as Arc<dyn Plugin>);
    plugins.collect()
}

async fn ask(chain: &Chain, name: &str, proto: Proto) -> (Served, Exchange) {
    let client = SocketAddr::from(([127, 0, 0, 1], 40000));
    let mut exchange = Exchange::new(client, client, proto);
    let name: NameBuf = name.parse().unwrap();
    exchange.request.ask(77, name.name(), rtype::A);
    let served = Next::new(chain).serve(&mut exchange).await;
    (served, exchange)
}

/// The RCODE and the number of answers that the client gets, or the failure.
async fn outcome(chain: &Chain, name: &str) -> Result<(Rcode, usize), Failure> {
    let (served, exchange) = ask(chain, name, Proto::Udp).await;
    served.map(|_| {
        let reply = exchange.reply().expect("an answer was written");
        (reply.rcode(), reply.count(Section::Answer))
    })
}

#[test]
fn queries_within_from_and_not_excepted_are_forwarded() {
    worker(async {
        let upstream = Upstream::start().await.unwrap();
        upstream.rule(Rule::new(Reply::answer(&["x. 60 IN A 10.0.0.1"])));
        let chain = chain(
            "forward example.org {0} {\nexcept no.example.org\n}",
            &[&upstream],
        );
        for (name, forwarded) in [
            ("example.org.", true),
            ("a.EXAMPLE.org.", true),
            ("no.example.org.", false),
            ("a.No.example.org.", false),
            ("notno.example.org.", true),
            ("example.com.", false),
            (".", false),
        ] {
            upstream.forget();
            let outcome = outcome(&chain, name).await;
            assert_eq!(upstream.seen().len(), usize::from(forwarded), "{name}");
            match outcome {
                Ok(outcome) => assert_eq!((outcome, forwarded), ((Rcode::NOERROR, 1), true)),
                Err(failure) => {
                    assert!(!forwarded, "{name}: {failure}");
                    assert_eq!(failure.message, "plugin/forward: no next plugin found");
                }
            }
        }
        let all = self::chain("forward a {0} {\nexcept a\n}", &[&upstream]);
        let (served, exchange) = ask(&all, "a.", Proto::Tcp).await;
        assert!(served.is_ok(), "FROM itself cannot be excepted");
        let (name, value) = &exchange.metadata[0];
        assert_eq!(
            (*name, value),
            ("forward/upstream", &upstream.address().to_string())
        );
    });
}

#[test]
fn next_hands_over_to_another_forward_only() {
    worker(async {
        let [first, second] = [
            Upstream::start().await.unwrap(),
            Upstream::start().await.unwrap(),
        ];
        first.rule(Rule::new(Reply::rcode("NXDOMAIN")));
        first.rule(Rule::new(Reply::answer(&[])).name("empty."));
        second.rule(Rule::new(Reply::answer(&["x. 60 IN A 10.0.0.1"])));
        let both = |options: &str| {
            chain(
                &format!("forward . {{0}} {{\n{options}\n}}\nforward . {{1}}"),
                &[&first, &second],
            )
        };
        let found = (Rcode::NOERROR, 1);
        #[rustfmt::skip]
        let table = [
            (both("next NXDOMAIN"), "a.", found),
            (both("next SERVFAIL"), "a.", (Rcode::NXDOMAIN, 0)),
            (both("next_on_nodata"), "empty.", found),
            (both("next_on_nodata"), "a.", (Rcode::NXDOMAIN, 0)),
            (both("next NXDOMAIN"), "empty.", (Rcode::NOERROR, 0)),
            (chain("forward . {0} {\nnext NXDOMAIN\n}", &[&first]), "a.", (Rcode::NXDOMAIN, 0)),
        ];
        for (nth, (chain, name, expected)) in table.into_iter().enumerate() {
            assert_eq!(outcome(&chain, name).await.unwrap(), expected, "row {nth}");
        }
    });
}

#[test]
fn failures_say_what_coredns_says_and_explain_themselves() {
    worker(async {
        let silent = Upstream::start().await.unwrap();
        silent.rule(Rule::new(Reply::silence()));
        let chain = chain(
            "forward . {0} {\nread_timeout 100ms\nmax_concurrent 1\n}",
            &[&silent],
        );
        let (first, second) = tokio::join!(outcome(&chain, "a."), outcome(&chain, "b."));
        let failure = first.unwrap_err();
        assert_eq!(failure.rcode, Rcode::SERVFAIL);
        let end = format!("->{}: i/o timeout", silent.address());
        assert!(
            failure.message.starts_with("read udp 127.0.0.1:"),
            "{failure}"
        );
        assert!(failure.message.ends_with(&end), "{failure}");
        assert_eq!(failure.ede.as_ref().unwrap().code, 23);
        let refused = second.unwrap_err();
        assert_eq!(refused.rcode, Rcode::REFUSED);
        assert_eq!(refused.message, "concurrent queries exceeded maximum 1");
    });
}

#[test]
fn a_reply_to_another_question_over_tcp_is_formerr() {
    worker(async {
        let liar = Upstream::start().await.unwrap();
        liar.rule(Rule::new(
            Reply::answer(&[]).wrong_question("other.example."),
        ));
        let chain = chain("forward . {0}", &[&liar]);
        let (served, exchange) = ask(&chain, "a.", Proto::Tcp).await;
        assert!(served.is_ok());
        assert_eq!(exchange.reply().unwrap().rcode(), Rcode::FORMERR);
    });
}

#[test]
fn host_names_are_resolved_by_the_resolver_that_is_named() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let resolver = runtime.block_on(Upstream::start()).unwrap();
    resolver.answer(
        "dns.example.",
        "A",
        &[
            "dns.example. 5 IN A 10.0.0.7",
            "dns.example. 5 IN A 10.0.0.8",
        ],
    );
    resolver.answer(
        "dns.example.",
        "AAAA",
        &["dns.example. 5 IN AAAA 2001:db8::7"],
    );
    let with = |name: &str| {
        format!(
            "forward . {name}:54 {{\nresolver 127.0.0.1:1 {}\n}}",
            resolver.address()
        )
    };
    assert_eq!(
        upstreams(&with("dns.example")).unwrap(),
        ["10.0.0.7:54", "10.0.0.8:54", "[2001:db8::7]:54"]
    );
    let error = upstreams(&with("other.example")).unwrap_err();
    assert!(
        error.starts_with(
            r#"failed to resolve "other.example": no addresses found for "other.example""#
        ),
        "{error}"
    );
}
