use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::chain::Served;
use crate::denial::Denial;
use crate::wire::Edns;

const Z: &str = "cluster.local.";
const SOA: &str = "!cluster.local. 30 SOA";

/// An upstream that knows some names and denies all others.
#[derive(Default)]
struct Upstream {
    answers: Mutex<BTreeMap<String, Answer>>,
    asked: Mutex<Vec<String>>,
}

impl Upstream {
    fn new() -> Arc<Self> {
        let upstream = Self::default();
        for name in ["svc", "shop.svc", "web.shop.svc", "_tcp.shop.svc"] {
            upstream.has(name, Rcode::NOERROR, &[SOA]);
        }
        Arc::new(upstream)
    }

    fn has(&self, name: &str, rcode: Rcode, records: &[&str]) {
        let answer = Answer::new(rcode, records);
        self.answers
            .lock()
            .unwrap()
            .insert(format!("{name}.{Z}"), answer);
    }

    /// What it was asked for since this was last called, without the zone.
    fn asked(&self) -> String {
        let names = std::mem::take(&mut *self.asked.lock().unwrap());
        let names = names
            .iter()
            .map(|name| name.trim_end_matches(".cluster.local."));
        names.collect::<Vec<_>>().join(" ")
    }
}

impl Plugin for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        let name = exchange.request.name().to_string();
        let denied = Answer::new(Rcode::NXDOMAIN, &[SOA]);
        let answer = self
            .answers
            .lock()
            .unwrap()
            .get(&name)
            .cloned()
            .unwrap_or(denied);
        self.asked.lock().unwrap().push(name);
        let served: Served = testing::write(exchange, &answer);
        Box::pin(std::future::ready(served))
    }
}

fn chain(upstream: &Arc<Upstream>) -> Chain {
    let (mut plugins, _) = testing::build(&DEFINITION, "cache {\n cut cluster.local\n}").unwrap();
    plugins.push(upstream.clone());
    plugins.into()
}

/// Asks for a name in the zone and lets what runs in the background finish.
async fn walk(chain: &Chain, name: &str) -> String {
    let answer = ask(chain, &format!("{name}.{Z}"), A).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    shown(&answer)
}

const DENIED: &str = "NXDOMAIN aa | !cluster.local. 30 SOA";

#[test]
fn what_is_denied_covers_what_is_beneath() {
    for (first, places, beneath) in [
        (
            "a.com.shop.svc",
            "svc shop.svc com.shop.svc",
            &[
                "b.com.shop.svc",
                "a.b.com.shop.svc",
                "_x._tcp.com.shop.svc",
                "B.COM.Shop.Svc",
            ][..],
        ),
        ("a.com.svc", "svc com.svc", &["b.com.svc", "b.a.com.svc"]),
        ("a.com", "svc com", &["b.com", "x.y.com"]),
        // A namespace that is not there.
        (
            "web.none.svc",
            "svc none.svc",
            &["db.none.svc", "x.db.none.svc"],
        ),
    ] {
        run(async {
            let upstream = Upstream::new();
            let chain = chain(&upstream);
            let seen = walk(&chain, first).await;
            assert!(seen.starts_with("NXDOMAIN"), "{seen}");
            assert_eq!(upstream.asked(), format!("{first} {places}"));
            seconds(10);
            for name in beneath {
                let seen = walk(&chain, name).await;
                assert_eq!(seen, DENIED.replace("30", "20"), "{name}");
            }
            assert_eq!(upstream.asked(), "");
            // The first query behind the end goes through, and is denied.
            seconds(20);
            walk(&chain, beneath[0]).await;
            let end = places.split(' ').next_back().unwrap();
            assert_eq!(
                upstream.asked(),
                format!("{} {end}", beneath[0].to_lowercase())
            );
            walk(&chain, "new.com.shop.svc").await;
        });
    }
}

#[test]
fn a_cut_says_why() {
    run(async {
        let upstream = Upstream::new();
        let chain = chain(&upstream);
        for (first, name, why) in [
            ("a.com.shop.svc", "b.com.shop.svc", "search_path"),
            ("a.b.none.shop.svc", "c.b.none.shop.svc", "search_path"),
            ("a.none.shop.svc", "b.none.shop.svc", "no_such_service"),
            ("a.com.svc", "b.com.svc", "search_path"),
            ("a.gone.svc", "b.gone.svc", "no_such_namespace"),
            ("a.gone.svc", "c.d.b.gone.svc", "search_path"),
            ("a.gone.svc", "_c._tcp.b.gone.svc", "no_such_namespace"),
            ("a.com", "b.com", "search_path"),
        ] {
            walk(&chain, first).await;
            upstream.asked();
            let exchange = query(&format!("{name}.{Z}"), A);
            let (answered, _) = testing::serve(&chain, exchange).await;
            assert_eq!(upstream.asked(), "", "{name}");
            assert_eq!(answered.denial().map(Denial::as_str), Some(why), "{name}");
        }
    });
}

#[test]
fn nothing_is_cut_elsewhere() {
    for (name, places, other) in [
        // Beneath a Service, a namespace or a domain that is there.
        (
            "x.web.shop.svc",
            "svc shop.svc web.shop.svc",
            "y.web.shop.svc",
        ),
        ("x._tcp.shop.svc", "svc shop.svc", "y._tcp.shop.svc"),
        ("_x._tcp", "", "_y._tcp"),
        ("x.shop.svc", "svc shop.svc", "y.shop.svc"),
        ("1-2-3-4.shop.pod", "", "1-2-3-5.shop.pod"),
        ("x.dns", "", "ns.dns"),
        ("svc.x", "svc x", "x"),
        ("x", "", "y"),
    ] {
        run(async {
            let upstream = Upstream::new();
            let chain = chain(&upstream);
            walk(&chain, name).await;
            assert_eq!(upstream.asked(), format!("{name} {places}").trim_end());
            walk(&chain, other).await;
            if other != "x" {
                assert_eq!(upstream.asked(), other);
            }
        });
    }
}

#[test]
fn a_zone_without_services_is_no_clusters() {
    run(async {
        let upstream = Upstream::new();
        upstream.answers.lock().unwrap().clear();
        let chain = chain(&upstream);
        for name in ["a.com", "b.com", "a.com.shop.svc"] {
            walk(&chain, name).await;
        }
        assert_eq!(upstream.asked(), "a.com svc b.com a.com.shop.svc");
        seconds(300);
        walk(&chain, "c.com").await;
        assert_eq!(upstream.asked(), "c.com svc");
    });
}

#[test]
fn an_answer_beneath_is_a_proof() {
    for (rcode, records) in [
        (
            Rcode::NOERROR,
            &["t.com.svc.cluster.local. 30 A 192.0.2.1"][..],
        ),
        (Rcode::NOERROR, &[SOA]),
        (
            Rcode::NXDOMAIN,
            &["t.com.svc.cluster.local. 30 CNAME nowhere.test.", SOA],
        ),
    ] {
        run(async {
            // Before anything was denied.
            let upstream = Upstream::new();
            upstream.has("t.com.svc", rcode, records);
            let chain = chain(&upstream);
            walk(&chain, "t.com.svc").await;
            walk(&chain, "a.com.svc").await;
            walk(&chain, "b.com.svc").await;
            assert_eq!(upstream.asked(), "t.com.svc a.com.svc svc b.com.svc");
        });
        run(async {
            // Behind the end of a cut, and it stays so for an hour.
            let upstream = Upstream::new();
            upstream.has("t.com.svc", rcode, records);
            let chain = chain(&upstream);
            walk(&chain, "a.com.svc").await;
            assert_eq!(walk(&chain, "t.com.svc").await, DENIED);
            seconds(30);
            walk(&chain, "t.com.svc").await;
            upstream.asked();
            seconds(3500);
            walk(&chain, "b.com.svc").await;
            walk(&chain, "c.com.svc").await;
            assert_eq!(upstream.asked(), "b.com.svc c.com.svc");
            seconds(200);
            walk(&chain, "d.com.svc").await;
            assert_eq!(upstream.asked(), "d.com.svc svc com.svc");
        });
    }
}

#[test]
fn a_denial_that_proves_nothing_cuts_nothing() {
    let signed = ["!cluster.local. 30 SOA", "!cluster.local. 30 RRSIG"];
    for (rcode, records) in [
        (Rcode::NXDOMAIN, &[][..]),
        (Rcode::NXDOMAIN, &["!com.svc.cluster.local. 30 SOA"]),
        (Rcode::NXDOMAIN, &["!other.test. 30 SOA"]),
        (Rcode::NXDOMAIN, &signed),
        (Rcode::SERVFAIL, &[]),
    ] {
        run(async {
            let upstream = Upstream::new();
            upstream.has("com.svc", rcode, records);
            let chain = chain(&upstream);
            walk(&chain, "a.com.svc").await;
            walk(&chain, "b.com.svc").await;
            assert_eq!(
                upstream.asked(),
                "a.com.svc svc com.svc b.com.svc",
                "{records:?}"
            );
        });
    }
}

#[test]
fn only_plain_questions_are_answered_from_above() {
    run(async {
        let upstream = Upstream::new();
        let chain = chain(&upstream);
        walk(&chain, "a.com.svc").await;
        upstream.asked();
        let name = "b.com.svc.cluster.local.";
        // Who wants proof gets it from the upstream.
        let mut signed = query(name, A);
        signed.request.edns_or_insert(1232).flags = Edns::DO;
        testing::serve(&chain, signed).await.1.unwrap();
        let mut chaos = query(name, A);
        chaos.request.set_qclass(3);
        testing::serve(&chain, chaos).await.1.unwrap();
        assert_eq!(upstream.asked(), "b.com.svc b.com.svc");
        let (mx, _) = testing::serve(&chain, query(name, MX)).await;
        assert_eq!(
            (shown(&mx), upstream.asked()),
            (DENIED.to_owned(), String::new())
        );
    });
}

#[test]
fn the_zones_of_clusters_are_named_or_found() {
    let block = |keys: &[&str]| {
        let keys = keys.iter().map(|zone| corefile::key::ZoneKey {
            zone: (*zone).to_owned(),
            ..testing::block().keys.remove(0)
        });
        crate::plugin::Block::new(keys.collect())
    };
    let bad = "cut needs the zone of a cluster";
    for (keys, options, zones) in [
        (&["cluster.local."][..], "cut", Ok(Some("cluster.local."))),
        (
            &["a.local.", "1.10.in-addr.arpa."],
            "cut",
            Ok(Some("a.local.")),
        ),
        (&["."], "cut a.local B.local", Ok(Some("a.local. b.local."))),
        (&["cluster.local."], "cut off", Ok(Some(""))),
        (&["cluster.local."], "", Ok(None)),
        (&["."], "cut", Err(bad)),
        (&["."], "cut in-addr.arpa", Err(bad)),
        (&["in-addr.arpa.", "ip6.arpa."], "cut", Err(bad)),
    ] {
        let text = format!("cache {{\n{options}\n}}");
        let directive = corefile::Directive::new("Corefile", &text);
        let found = CacheSpec::parse(&directive, &block(keys));
        let found = found
            .map(|spec| spec.cut)
            .map_err(|error| error.first_line().to_owned());
        let found = found.map(|zones| {
            zones.map(|zones| {
                let texts: Vec<String> = zones.iter().map(ToString::to_string).collect();
                texts.join(" ")
            })
        });
        let zones = zones
            .map(|zones| zones.map(str::to_owned))
            .map_err(str::to_owned);
        assert_eq!(found, zones, "{keys:?} {options}");
    }
}
