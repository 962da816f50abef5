//! `cache` between real clients and a real upstream.

use pando_test::{Ask, BOUND, Reply, Rule, Server, Upstream, until};

use crate::pando;

const LABELS: &str = "{server=\"dns://:$PORT\",view=\"\",zones=\".\"}";

async fn start(options: &str, upstream: &Upstream) -> Server {
    let address = upstream.address();
    let corefile = format!(
        ".:$PORT {{\n prometheus :$METRICS_PORT\n cache {options}\n forward . {address} {{\n \
         health_check 10s\n }}\n}}\n"
    );
    pando(&corefile).start().await.unwrap()
}

/// A metric of `cache`; `kind` is its `type` label.
async fn count(server: &mut Server, name: &str, kind: &str) -> Option<f64> {
    let port = server.address().port().to_string();
    let labels = LABELS.replace("$PORT", &port);
    let labels = match kind {
        "" => labels,
        kind => labels.replace(",view", &format!(",type=\"{kind}\",view")),
    };
    server
        .metric(&format!("coredns_cache_{name}{labels}"))
        .await
        .unwrap()
}

#[tokio::test]
async fn one_question_reaches_the_upstream_once() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer(
        "www.example.org",
        "A",
        &["www.example.org. 300 IN A 192.0.2.1"],
    );
    let soa = "example.org. 60 IN SOA ns.example.org. admin.example.org. 1 2 3 4 60";
    upstream
        .rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&[soa])).name("missing.example.org"));
    let mut server = start("", &upstream).await;
    let before = server.page("METRICS_PORT", "/metrics").await.unwrap().body;
    assert!(!before.contains("coredns_cache_hits_total"), "{before}");

    let client = server.client();
    let first = client.ask("www.example.org", "A").await.unwrap();
    assert_eq!(first.flags(), "qr rd ra");
    assert_eq!(first.data(), ["192.0.2.1"]);
    for ask in [
        Ask::new("www.example.org", "A"),
        Ask::new("WWW.Example.Org", "A").edns(1232),
        Ask::new("www.example.org", "A").no_recursion(),
    ] {
        let answer = client.udp(&ask).await.unwrap();
        assert_eq!(answer.data(), ["192.0.2.1"]);
        assert!(answer.flags().starts_with("qr aa"), "{answer}");
        let answer = client.tcp(&ask).await.unwrap();
        assert_eq!(answer.data(), ["192.0.2.1"]);
    }
    assert_eq!(upstream.count("www.example.org.", "A"), 1);

    for _ in 0..3 {
        let answer = client.ask("missing.example.org", "A").await.unwrap();
        assert_eq!(answer.rcode(), "NXDOMAIN");
        assert_eq!(answer.authority().len(), 1, "{answer}");
    }
    assert_eq!(upstream.count("missing.example.org.", "A"), 1);

    for (name, kind, value) in [
        ("requests_total", "", Some(10.0)),
        ("misses_total", "", Some(2.0)),
        ("hits_total", "success", Some(6.0)),
        ("hits_total", "denial", Some(2.0)),
        ("entries", "success", Some(1.0)),
        ("entries", "denial", Some(1.0)),
        ("prefetch_total", "", None),
        ("served_stale_total", "", None),
        ("evictions_total", "success", None),
        ("drops_total", "", None),
    ] {
        assert_eq!(count(&mut server, name, kind).await, value, "{name} {kind}");
    }
}

#[tokio::test]
async fn what_may_differ_is_asked_for_apart() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer(
        "www.example.org",
        "A",
        &["www.example.org. 300 IN A 192.0.2.1"],
    );
    let server = start("", &upstream).await;
    let ask = || Ask::new("www.example.org", "A");
    for (ask, count) in [
        (ask(), 1),
        (ask().edns(4096).dnssec_ok(), 2),
        (ask().checking_disabled(), 3),
        (ask().authentic(), 3),
        (ask().edns(4096), 3),
        (ask().edns(4096).dnssec_ok().checking_disabled(), 4),
    ] {
        for _ in 0..2 {
            server.client().udp(&ask).await.unwrap();
            assert_eq!(upstream.count("www.example.org.", "A"), count, "{ask}");
        }
    }
    // The upstream is always asked for AD.
    assert!(upstream.seen().iter().all(|seen| seen.flags & 0x20 != 0));
}

#[tokio::test]
async fn what_may_not_be_kept_is_not() {
    let upstream = Upstream::start().await.unwrap();
    let answer = Reply::answer(&["cut.example.org. 300 IN A 192.0.2.1"]);
    upstream.rule(Rule::new(answer.truncated()).name("cut.example.org"));
    upstream.rule(Rule::new(Reply::rcode("NXDOMAIN")).name("nosoa.example.org"));
    let alias = ["alias.example.org. 300 IN CNAME nowhere.example.org."];
    upstream.answer("alias.example.org", "A", &alias);
    let server = start("", &upstream).await;
    for name in ["cut", "nosoa", "alias", "refused"] {
        let name = format!("{name}.example.org.");
        for count in 1..3 {
            server.client().ask(&name, "A").await.unwrap();
            assert_eq!(upstream.count(&name, "A"), count, "{name}");
        }
    }
}

#[tokio::test]
async fn stale_answers_outlive_the_upstream() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer(
        "www.example.org",
        "A",
        &["www.example.org. 300 IN A 192.0.2.1"],
    );
    let soa = "example.org. 1 IN SOA ns.example.org. admin.example.org. 1 2 3 4 1";
    upstream
        .rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&[soa])).name("missing.example.org"));
    let options = "{\n success 10 1 1\n denial 10 1 1\n serve_stale 1h\n }";
    let mut server = start(options, &upstream).await;
    let client = server.client();
    client.ask("www.example.org", "A").await.unwrap();
    client.ask("missing.example.org", "A").await.unwrap();
    upstream.down().await;
    let stale = until("a stale answer", BOUND, || async {
        let answer = client.ask("www.example.org", "A").await.unwrap();
        assert_eq!(answer.data(), ["192.0.2.1"]);
        answer
            .answer()
            .iter()
            .any(|line| line.contains(" 0 IN "))
            .then_some(answer)
    });
    let stale = stale.await.unwrap();
    assert_eq!(
        (stale.rcode().as_str(), stale.extended_error()),
        ("NOERROR", None)
    );
    let missing = "missing.example.org.";
    for (name, code) in [("www.example.org.", 3), (missing, 19)] {
        let ask = Ask::new(name, "A").edns(1232);
        until("a stale answer that says so", BOUND, || async {
            let answer = client.udp(&ask).await.unwrap();
            (answer.extended_error() == Some(code)).then_some(())
        })
        .await
        .unwrap();
    }
    assert!(count(&mut server, "served_stale_total", "").await.unwrap() >= 1.0);
    assert!(count(&mut server, "prefetch_total", "").await.unwrap() >= 1.0);

    upstream.clear();
    upstream.answer(
        "www.example.org",
        "A",
        &["www.example.org. 300 IN A 192.0.2.2"],
    );
    upstream.up().await.unwrap();
    until("the new answer", BOUND, || async {
        let answer = client.ask("www.example.org", "A").await.unwrap();
        (answer.data() == ["192.0.2.2"]).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn popular_answers_are_fetched_before_they_expire() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer(
        "www.example.org",
        "A",
        &["www.example.org. 300 IN A 192.0.2.1"],
    );
    let mut server = start("{\n success 10 10 1\n prefetch 2 1m 90%\n }", &upstream).await;
    let client = server.client();
    until("a refresh", BOUND, || async {
        let asked = upstream.count("www.example.org.", "A");
        client.ask("www.example.org", "A").await.unwrap();
        (asked > 1).then_some(())
    })
    .await
    .unwrap();
    assert!(count(&mut server, "prefetch_total", "").await.unwrap() >= 1.0);
    assert_eq!(count(&mut server, "misses_total", "").await, Some(1.0));
}

#[tokio::test]
async fn many_clients_share_what_is_kept() {
    let upstream = Upstream::start().await.unwrap();
    let server = start("{\n success 2048\n }", &upstream).await;
    let names: Vec<String> = (0..100)
        .map(|index| format!("n{index}.example.org."))
        .collect();
    for (index, name) in names.iter().enumerate() {
        upstream.answer(name, "A", &[&format!("{name} 300 IN A 192.0.2.{index}")]);
    }
    for _ in 0..3 {
        for (index, name) in names.iter().enumerate() {
            let answer = server.client().ask(name, "A").await.unwrap();
            assert_eq!(answer.data(), [format!("192.0.2.{index}")], "{name}");
        }
    }
    assert!(names.iter().all(|name| upstream.count(name, "A") == 1));
}

/// Difference 1: what the cluster answers is never kept.
#[tokio::test]
async fn cluster_names_never_sit_in_the_cache() {
    let service = |ip: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n---\napiVersion: v1\nkind: \
             Service\nmetadata:\n  name: web\n  namespace: default\nspec:\n  clusterIP: {ip}\n  \
             clusterIPs: [{ip}]\n  ports:\n  - port: 80\n    protocol: TCP\n"
        )
    };
    let corefile = ".:$PORT {\n prometheus :$METRICS_PORT\n cache 30\n kubernetes cluster.local {\n \
                    ttl 2\n manifests $DIR/cluster.yaml\n }\n}\n";
    let mut server = pando(corefile)
        .file("cluster.yaml", &service("10.96.0.1"))
        .start()
        .await
        .unwrap();
    let client = server.client();
    let name = "web.default.svc.cluster.local.";
    let first = until("the service", BOUND, || async {
        let answer = client.ask(name, "A").await.unwrap();
        (answer.data() == ["10.96.0.1"]).then_some(answer)
    });
    let first = first.await.unwrap();
    assert_eq!(first.answer(), [format!("{name} 2 IN A 10.96.0.1")]);
    server.write("cluster.yaml", &service("10.96.0.2")).unwrap();
    // Long before the cache's 30 s.
    until("the change", BOUND, || async {
        let answer = client.ask(name, "A").await.unwrap().answer();
        (answer == [format!("{name} 2 IN A 10.96.0.2")]).then_some(())
    })
    .await
    .unwrap();
    let missing = client
        .ask("none.default.svc.cluster.local.", "A")
        .await
        .unwrap();
    assert_eq!(missing.rcode(), "NXDOMAIN");
    let page = server.page("METRICS_PORT", "/metrics").await.unwrap().body;
    assert!(page.contains("coredns_cache_misses_total"), "{page}");
    assert!(!page.contains("coredns_cache_hits_total"), "{page}");
    assert!(!page.contains("coredns_cache_entries"), "{page}");
}
