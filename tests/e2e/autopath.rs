//! `autopath @kubernetes`: who gets the answer with the first query of a walk,
//! and who walks on alone.

use std::net::IpAddr;

use pando_test::{
    ApiDouble, Ask, BOUND, Client, Reply, Rule, Server, ServerBuilder, Upstream, until,
};
use serde_json::{Value, json};

use crate::pando;

const USUAL: [u8; 4] = [127, 0, 1, 1];
const NDOTS: [u8; 4] = [127, 0, 1, 2];
const HOST: [u8; 4] = [127, 0, 1, 3];
const OWN_LIST: [u8; 4] = [127, 0, 1, 4];
const SHARED: [u8; 4] = [127, 0, 1, 5];
const ELSEWHERE: [u8; 4] = [127, 0, 1, 6];
const OVER: [u8; 4] = [127, 0, 1, 7];

fn pod(name: &str, node: &str, ip: [u8; 4], spec: Value, phase: &str) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": name.split('-').next()},
        "spec": {"nodeName": node, "dnsPolicy": "ClusterFirst"},
        "status": {"phase": phase, "podIP": IpAddr::from(ip).to_string(), "hostIP": "192.0.2.10"},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// A cluster of two namespaces and all sorts of pods.
async fn cluster() -> ApiDouble {
    let api = ApiDouble::start().await.unwrap();
    for namespace in ["shop", "other"] {
        let metadata = json!({"name": namespace});
        api.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    }
    for (namespace, name, ip) in [("shop", "web", "10.96.0.1"), ("other", "db", "10.96.0.2")] {
        api.apply(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]},
        }));
    }
    let ndots = json!({"dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}});
    for (name, node, ip, spec, phase) in [
        ("shop-usual", "n1", USUAL, json!({}), "Running"),
        ("shop-ndots", "n1", NDOTS, ndots, "Running"),
        (
            "shop-host",
            "n1",
            HOST,
            json!({"hostNetwork": true}),
            "Running",
        ),
        (
            "shop-own",
            "n1",
            OWN_LIST,
            json!({"dnsConfig": {"searches": ["a.test"]}}),
            "Running",
        ),
        ("shop-a", "n1", SHARED, json!({}), "Running"),
        ("other-b", "n1", SHARED, json!({}), "Running"),
        ("shop-elsewhere", "n2", ELSEWHERE, json!({}), "Running"),
        ("other-over", "n1", OVER, json!({}), "Succeeded"),
        ("shop-now", "n1", OVER, json!({}), "Running"),
    ] {
        api.apply(&pod(name, node, ip, spec, phase));
    }
    api
}

/// The rest of the world: one name, with an IPv4 address alone.
async fn world() -> Upstream {
    let upstream = Upstream::start().await.unwrap();
    let soa = ["org. 60 IN SOA ns.test. admin.test. 1 2 3 4 60"];
    upstream.rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&soa)));
    upstream.rule(Rule::new(Reply::rcode("NOERROR").authority(&soa)).name("api.example.org"));
    upstream.answer(
        "api.example.org",
        "A",
        &["api.example.org. 60 IN A 192.0.2.1"],
    );
    upstream
}

fn corefile(api: &ApiDouble, upstream: &Upstream, options: &str) -> String {
    format!(
        ".:$PORT {{
    errors
    ready 127.0.0.1:$READY_PORT
    prometheus 127.0.0.1:$METRICS_PORT
    autopath @kubernetes
    kubernetes cluster.local {{
        endpoint {}
        {options}
    }}
    forward . {} {{
        health_check 10s
    }}
}}
",
        api.url(),
        upstream.address()
    )
}

async fn start(builder: ServerBuilder) -> Server {
    let mut server = builder.start().await.unwrap();
    server.ready().await.unwrap();
    server
}

fn from(server: &Server, ip: [u8; 4]) -> Client {
    server.client().from(ip.into())
}

/// Response code and answers, the letter of what was asked left out.
async fn seen(client: &Client, name: &str, kind: &str) -> String {
    let answer = client.ask(name, kind).await.unwrap();
    format!("{} {}", answer.rcode(), answer.answer().join(" | "))
}

const FIRST: &str = "api.example.org.shop.svc.cluster.local.";

#[tokio::test]
async fn the_first_query_of_a_walk_is_the_last_one() {
    let (api, upstream) = (cluster().await, world().await);
    let mut server = start(pando(&corefile(&api, &upstream, "node n1"))).await;
    let client = from(&server, USUAL);
    assert_eq!(
        seen(&client, FIRST, "A").await,
        format!(
            "NOERROR api.example.org. 60 IN A 192.0.2.1 | {FIRST} 60 IN CNAME api.example.org."
        )
    );
    assert_eq!(seen(&client, FIRST, "AAAA").await, "NOERROR ");
    // Two queries left, and they were for the name itself.
    let left: Vec<_> = upstream.seen().into_iter().collect();
    let left: Vec<_> = left.iter().filter(|seen| seen.kind != "NS").collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|seen| seen.name == "api.example.org."));
    // Of another namespace, from its own, and of none.
    assert_eq!(
        seen(&client, "db.other.shop.svc.cluster.local.", "A").await,
        "NOERROR db.other.shop.svc.cluster.local. 5 IN CNAME db.other.svc.cluster.local. \
         | db.other.svc.cluster.local. 5 IN A 10.96.0.2"
    );
    let own = "web.shop.svc.cluster.local.";
    assert_eq!(
        seen(&client, own, "A").await,
        format!("NOERROR {own} 5 IN A 10.96.0.1")
    );
    let (rcode, name) = ("NXDOMAIN ", "none.example.org.shop.svc.cluster.local.");
    let denied = client.ask(name, "A").await.unwrap();
    assert_eq!(
        format!("{} {}", denied.rcode(), denied.answer().join("")),
        rcode
    );
    assert!(
        denied.authority()[0].starts_with("cluster.local."),
        "{denied}"
    );
    let port = server.address().port();
    let series = format!("coredns_autopath_success_total{{server=\"dns://:{port}\"}}");
    assert_eq!(server.metric(&series).await.unwrap(), Some(4.0));
}

#[tokio::test]
async fn who_is_not_known_for_certain_walks_alone() {
    let (api, upstream) = (cluster().await, world().await);
    for options in ["node n1", "pods verified", "node n1\npods insecure"] {
        let server = start(pando(&corefile(&api, &upstream, options))).await;
        let everywhere = options == "pods verified";
        for (ip, known) in [
            (USUAL, true),
            // It has asked for a name of two dots as it is before.
            (NDOTS, false),
            (HOST, false),
            (OWN_LIST, false),
            (SHARED, false),
            (ELSEWHERE, everywhere),
            // What ran there before is over.
            (OVER, true),
            ([127, 0, 1, 99], false),
        ] {
            let answer = seen(&from(&server, ip), FIRST, "A").await;
            assert_eq!(
                answer.contains("192.0.2.1"),
                known,
                "{options} {ip:?} {answer}"
            );
            assert!(known || answer == "NXDOMAIN ", "{answer}");
            // The walk itself is as ever.
            let last = seen(&from(&server, ip), "api.example.org.", "A").await;
            assert_eq!(last, "NOERROR api.example.org. 60 IN A 192.0.2.1");
        }
        let short = seen(
            &from(&server, NDOTS),
            "db.other.shop.svc.cluster.local.",
            "A",
        )
        .await;
        assert!(short.contains("10.96.0.2"), "{short}");
        // A pod of another node has what `pods` says.
        let pod = seen(&server.client(), "127-0-1-6.shop.pod.cluster.local.", "A").await;
        assert_eq!(
            pod.starts_with("NOERROR"),
            options != "node n1",
            "{options} {pod}"
        );
    }
    let lists = api.requests();
    let mut pods = lists
        .iter()
        .filter(|request| request.path == "/api/v1/pods");
    let selected = pods.any(|request| {
        let fields = request.parameter("fieldSelector").unwrap_or_default();
        fields.ends_with(",spec.nodeName=n1")
    });
    assert!(selected, "{lists:?}");
}

#[tokio::test]
async fn a_pod_that_goes_takes_its_list_along() {
    let (api, upstream) = (cluster().await, world().await);
    let server = start(pando(&corefile(&api, &upstream, "node n1"))).await;
    let client = from(&server, USUAL);
    let becomes = async |known: bool| {
        until("the change", BOUND, || async {
            let answer = seen(&client, FIRST, "A").await;
            (answer.contains("192.0.2.1") == known).then_some(())
        })
        .await
        .unwrap();
    };
    becomes(true).await;
    let mut ending = pod("shop-usual", "n1", USUAL, json!({}), "Running");
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    api.apply(&ending);
    becomes(false).await;
    // Another pod gets the address. Its names are below another domain, and
    // what is asked below this one is asked for by name.
    api.delete("pods", "shop", "shop-usual");
    api.apply(&pod("other-next", "n1", USUAL, json!({}), "Running"));
    until("the next pod", BOUND, || async {
        let answer = seen(&client, "api.example.org.other.svc.cluster.local.", "A").await;
        answer.contains("192.0.2.1").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(seen(&client, FIRST, "A").await, "NXDOMAIN ");
}

/// The same questions to CoreDNS, where it is installed.
#[tokio::test]
async fn coredns_answers_the_same_to_pods_that_are_known() {
    let (api, upstream) = (cluster().await, world().await);
    let corefile = corefile(&api, &upstream, "pods verified");
    let Some(peer) = ServerBuilder::coredns(&corefile) else {
        println!("skipped: COREDNS_BIN names no CoreDNS");
        return;
    };
    let (peer, server) = (start(peer).await, start(pando(&corefile)).await);
    for name in [
        FIRST,
        "API.example.org.Shop.svc.cluster.local.",
        "web.shop.svc.cluster.local.",
        "web.shop.shop.svc.cluster.local.",
        "db.other.svc.shop.svc.cluster.local.",
        "db.other.svc.cluster.local.shop.svc.cluster.local.",
        "none.shop.svc.cluster.local.",
        "none.example.org.shop.svc.cluster.local.",
        "db.other.svc.cluster.local.",
        "api.example.org.svc.cluster.local.",
        "api.example.org.other.svc.cluster.local.",
        "api.example.org.",
    ] {
        for (kind, edns) in [("A", false), ("AAAA", false), ("SRV", true), ("A", true)] {
            let ask = Ask::new(name, kind);
            let ask = if edns { ask.edns(1232) } else { ask };
            let shown = async |server: &Server| {
                let answer = from(server, USUAL).udp(&ask).await.unwrap();
                let soa = answer.authority().join(" ");
                let (soa, _) = soa.split_once(" hostmaster").unwrap_or((&soa, ""));
                let records = (answer.answer(), answer.additional(), answer.flags());
                format!("{} {} {records:?} {soa}", answer.rcode(), answer.question())
            };
            assert_eq!(shown(&server).await, shown(&peer).await, "{ask}");
        }
    }
}
