//! What an on-call sees of queries: who asks, what is denied and why, where
//! answers come from and how long they take.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use pando_test::{ApiDouble, Ask, BOUND, Client, Reply, Rule, Server, Upstream, until};
use serde_json::{Value, json};

use crate::pando;

const SHOP: [u8; 4] = [127, 0, 2, 1];
const PAYMENTS: [u8; 4] = [127, 0, 2, 2];
const BOTH: [u8; 4] = [127, 0, 2, 3];
const NOBODY: [u8; 4] = [127, 0, 2, 4];

/// Three namespaces; Pods are known as endpoints only.
async fn cluster() -> ApiDouble {
    let api = ApiDouble::start().await.unwrap();
    for namespace in ["shop", "payments", "redis"] {
        let metadata = json!({"name": namespace});
        api.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    }
    for (namespace, name, ip, endpoints) in [
        ("shop", "web", "10.96.0.1", vec![SHOP, BOTH]),
        ("payments", "api", "10.96.0.2", vec![PAYMENTS, BOTH]),
        ("payments", "idle", "None", vec![]),
    ] {
        let metadata = json!({"name": name, "namespace": namespace});
        api.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]},
        }));
        let endpoint = |ip: &[u8; 4]| json!({"addresses": [IpAddr::from(*ip).to_string()]});
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        api.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-1"), "namespace": namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "endpoints": endpoints, "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
        }));
    }
    api
}

/// The world: `api.stripe.com` exists, everything else does not.
async fn world() -> Upstream {
    let world = Upstream::start().await.unwrap();
    let soa = ". 60 IN SOA ns.test. admin.test. 1 2 3 4 60";
    world.rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&[soa])));
    let stripe = "api.stripe.com.";
    world.answer(stripe, "A", &[&format!("{stripe} 60 IN A 192.0.2.7")]);
    world
}

async fn server(api: &ApiDouble, world: &Upstream) -> Server {
    let corefile = format!(
        ".:$PORT {{
    kubernetes cluster.local in-addr.arpa {{
        endpoint {}
        fallthrough in-addr.arpa
    }}
    template ANY ANY ads.example {{
        rcode NXDOMAIN
    }}
    hosts {{
        192.0.2.1 printer.example
        fallthrough
    }}
    forward . {}
    cache 30
    prometheus 127.0.0.1:$METRICS_PORT
    ready 127.0.0.1:$READY_PORT
}}
",
        api.url(),
        world.address()
    );
    let mut server = pando(&corefile).start().await.unwrap();
    server.ready().await.unwrap();
    server
}

/// The series of a family: labels as printed, without the server's, and values.
async fn series(server: &mut Server, family: &str) -> BTreeMap<String, f64> {
    let page = server.page("METRICS_PORT", "/metrics").await.unwrap().body;
    let own = format!("server=\"dns://:{}\",", server.address().port());
    let lines = page.lines().filter_map(|line| {
        let (labels, value) = line
            .strip_prefix(family)?
            .strip_prefix('{')?
            .split_once("} ")?;
        Some((labels.replace(&own, ""), value.parse().unwrap()))
    });
    lines.collect()
}

fn map<const N: usize>(series: [(&str, f64); N]) -> BTreeMap<String, f64> {
    series
        .map(|(labels, value)| (labels.to_owned(), value))
        .into()
}

/// What a resolver with `ndots:5` asks of a Pod in this namespace; in a name
/// with a last dot nothing is appended.
async fn resolve(client: &Client, namespace: &str, name: &str) {
    let own = format!("{namespace}.svc.cluster.local.");
    let list = match name.ends_with('.') {
        true => &[""][..],
        false => &[&own, "svc.cluster.local.", "cluster.local.", ""],
    };
    for domain in list {
        let dot = if domain.is_empty() { "" } else { "." };
        let asked = format!("{name}{dot}{domain}");
        if client.ask(&asked, "A").await.unwrap().rcode() == "NOERROR" {
            return;
        }
    }
}

#[tokio::test]
async fn each_denial_has_its_cause_and_its_namespace() {
    let (api, world) = (cluster().await, world().await);
    let mut server = server(&api, &world).await;
    let client = |ip: [u8; 4]| Client::to(server.address()).from(ip.into());
    let (shop, payments) = (client(SHOP), client(PAYMENTS));
    // Three search-path names and the one that is meant.
    resolve(&shop, "shop", "api.stripe.com").await;
    // The first one is a Service of another namespace, then it is found.
    resolve(&shop, "shop", "api.payments").await;
    resolve(&shop, "shop", "web").await;
    for (name, times) in [
        // Another namespace's in full.
        ("web.shop.svc.cluster.local.", 1),
        ("redis.payments.svc.cluster.local.", 1),
        ("redis.redis.payments.svc.cluster.local.", 1),
        ("redis.paymints.svc.cluster.local.", 2),
        ("idle.payments.svc.cluster.local.", 1),
        ("nobody.example.", 1),
        // From the cache.
        ("nobody.example.", 1),
        ("x.ads.example.", 3),
    ] {
        for _ in 0..times {
            resolve(&payments, "payments", name).await;
        }
    }
    // Over TCP, and from addresses of nobody, or of more than one namespace.
    let tcp = Ask::new("wob.svc.cluster.local.", "A");
    for ip in [NOBODY, BOTH] {
        client(ip).tcp(&tcp).await.unwrap();
    }

    assert_eq!(
        series(&mut server, "pando_queries_total").await,
        map([
            ("namespace=\"shop\"", 7.0),
            ("namespace=\"payments\"", 11.0),
            ("namespace=\"\"", 2.0),
        ])
    );
    assert_eq!(
        series(&mut server, "pando_nxdomain_total").await,
        map([
            ("cause=\"search_path\",namespace=\"shop\"", 4.0),
            ("cause=\"search_path\",namespace=\"payments\"", 1.0),
            ("cause=\"search_path\",namespace=\"\"", 2.0),
            ("cause=\"no_such_service\",namespace=\"payments\"", 1.0),
            ("cause=\"no_such_namespace\",namespace=\"payments\"", 2.0),
            ("cause=\"no_such_host\",namespace=\"payments\"", 1.0),
            ("cause=\"upstream\",namespace=\"payments\"", 2.0),
            ("cause=\"blocked\",namespace=\"payments\"", 3.0),
        ])
    );
    // Queries per lookup: 7 / (7 - 4) for `shop`.
    assert_eq!(
        series(&mut server, "pando_search_path_queries_total").await,
        map([
            ("namespace=\"shop\"", 4.0),
            ("namespace=\"payments\"", 1.0),
            ("namespace=\"\"", 2.0),
        ])
    );
}

#[tokio::test]
async fn each_answer_has_its_source_and_its_duration() {
    let (api, world) = (cluster().await, world().await);
    let mut server = server(&api, &world).await;
    let client = server.client();
    for (name, times) in [
        ("web.shop.svc.cluster.local.", 3),
        ("none.shop.svc.cluster.local.", 1),
        // Once from the upstream, then from the cache.
        ("api.stripe.com.", 4),
        ("printer.example.", 1),
    ] {
        for _ in 0..times {
            client.ask(name, "A").await.unwrap();
        }
    }
    // An answer that nobody has.
    world.down().await;
    let lost = client.bound(BOUND).ask("lost.example.", "A").await.unwrap();
    assert_eq!(lost.rcode(), "SERVFAIL");
    let sources = series(&mut server, "pando_answers_total").await;
    assert_eq!(
        sources,
        map([
            ("source=\"snapshot\"", 4.0),
            ("source=\"upstream\"", 1.0),
            ("source=\"cache\"", 3.0),
            ("source=\"local\"", 1.0),
            ("source=\"error\"", 1.0),
        ])
    );
    // Each is counted once it is sent, so perhaps just after it came; a client
    // that waits for long asks again.
    let label = format!("{{server=\"dns://:{}\"}}", server.address().port());
    let name = format!("pando_request_duration_seconds_count{label}");
    let metrics = server.at("METRICS_PORT");
    until("all are counted", BOUND, || async {
        let page = pando_test::page(metrics, "/metrics", &[]).await.ok()?.body;
        let count = page.lines().find_map(|line| line.strip_prefix(&name))?;
        (count.trim().parse::<u32>().ok()? >= 10).then_some(())
    })
    .await
    .unwrap();
    // Those from memory took microseconds, on a machine with nothing else to do.
    let fast = format!(
        "pando_request_duration_seconds_bucket{{server=\"dns://:{}\",le=\"1\"}}",
        server.address().port()
    );
    let fast = server.metric(&fast).await.unwrap().unwrap();
    assert!(fast >= 8.0, "{fast}");
    let sum = server
        .metric(&format!("pando_request_duration_seconds_sum{label}"))
        .await
        .unwrap();
    assert!(sum.unwrap() > 0.0);
}

#[tokio::test]
async fn the_wait_in_the_socket_is_sampled_and_drops_are_counted() {
    let corefile = ".:$PORT {\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    let client = server.client();
    let label = format!("{{server=\"dns://:{}\"}}", server.address().port());
    let count = format!("pando_socket_queue_seconds_count{label} ");
    let metrics = server.at("METRICS_PORT");
    let seen = async || {
        let page = pando_test::page(metrics, "/metrics", &[]).await.ok()?.body;
        let count = page.lines().find_map(|line| line.strip_prefix(&count))?;
        count.parse::<u32>().ok()
    };
    // The kernel is asked after the first batch and says it of the next.
    until("a wait is seen", BOUND, || async {
        client.ask("example.org.", "A").await.ok()?;
        seen().await
    })
    .await
    .unwrap();

    let drops = format!("pando_socket_drops_total{label}");
    assert_eq!(server.metric(&drops).await.unwrap(), None);
    server.signal("STOP").await.unwrap();
    let flood = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    flood.connect(server.address()).await.unwrap();
    let query = Ask::new("example.org.", "A").bytes();
    for _ in 0..50_000 {
        let _ = flood.send(&query).await;
    }
    server.signal("CONT").await.unwrap();
    // The first one may find the buffer full, too.
    let client = client.bound(Duration::from_millis(500));
    until("drops are counted", BOUND, || async {
        client.ask("example.org.", "A").await.ok()?;
        let page = pando_test::page(metrics, "/metrics", &[]).await.ok()?.body;
        let count = page.lines().find_map(|line| line.strip_prefix(&drops))?;
        (count.trim().parse::<f64>().ok()? > 0.0).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_state_of_the_cluster_says_how_old_it_is() {
    let (api, world) = (cluster().await, world().await);
    let mut server = server(&api, &world).await;
    let version = api.apply(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "late", "namespace": "shop"},
        "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]},
    }));
    let metrics = server.at("METRICS_PORT");
    let line = async |wanted: &str| {
        until(wanted, BOUND, || async {
            let page = pando_test::page(metrics, "/metrics", &[]).await.ok()?.body;
            page.lines().any(|line| line == wanted).then_some(())
        })
        .await
        .unwrap();
    };
    line("pando_snapshot_stale 0").await;
    line(&format!(
        "pando_kubernetes_resource_version{{resource=\"services\"}} {version}"
    ))
    .await;
    api.apply(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "late-1", "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "late"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2020-01-01T00:00:00Z"},
        },
        "endpoints": [{"addresses": ["10.1.0.1"]}], "ports": [{"port": 80}],
    }));
    // The Service has no selector: somebody writes its endpoints.
    line("pando_kubernetes_programming_duration_seconds_count{service_kind=\"headless_without_selector\"} 1").await;
    line("coredns_kubernetes_dns_programming_duration_seconds_count{service_kind=\"headless_with_selector\"} 1").await;
    let age = server.metric("pando_snapshot_age_seconds").await.unwrap();
    assert!((0.0..60.0).contains(&age.unwrap()), "{age:?}");

    api.down().await;
    line("pando_snapshot_stale 1").await;
    let web = "web.shop.svc.cluster.local.";
    assert_eq!(
        server.client().ask(web, "A").await.unwrap().rcode(),
        "NOERROR"
    );
    let mut older = async || server.metric("pando_snapshot_age_seconds").await.unwrap();
    let first = older().await.unwrap();
    assert!(older().await.unwrap() > first);
    api.up().await.unwrap();
    line("pando_snapshot_stale 0").await;
}

#[tokio::test]
async fn upstreams_fail_for_a_reason() {
    let (api, world) = (cluster().await, world().await);
    let mut server = server(&api, &world).await;
    let failed = Rule::new(Reply::rcode("SERVFAIL"));
    world.rule(failed.name("broken.example."));
    let rcode = server.client().ask("broken.example.", "A").await.unwrap();
    assert_eq!(rcode.rcode(), "SERVFAIL");
    world.down().await;
    let lost = server.client().bound(BOUND).ask("lost.example.", "A").await;
    assert_eq!(lost.unwrap().rcode(), "SERVFAIL");
    let to = world.address();
    for reason in ["servfail", "connection_refused"] {
        let series = format!("pando_upstream_failures_total{{reason=\"{reason}\",to=\"{to}\"}}");
        let count = server.metric(&series).await.unwrap();
        assert!(
            count.is_some_and(|count| count >= 1.0),
            "{reason}: {count:?}"
        );
    }
}

#[tokio::test]
async fn the_build_is_named() {
    let corefile = ".:$PORT {\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    let page = server.page("METRICS_PORT", "/metrics").await.unwrap().body;
    let line = page
        .lines()
        .find(|line| line.starts_with("pando_build_info{"));
    let line = line.expect("the build");
    let version = env!("CARGO_PKG_VERSION");
    assert!(line.contains(&format!("version=\"{version}\"")), "{line}");
    assert!(
        line.contains("rustc=\"1.") && line.ends_with(" 1"),
        "{line}"
    );
}
