//! Following an API server that misbehaves: what a client of the DNS server
//! sees. The API server is a double, so these run everywhere.

use std::time::Duration;

use pando_test::{
    Answer, ApiDouble, BOUND, Break, Client, Fault, Request, Server, ServerBuilder, until,
};
use serde_json::{Value, json};

/// How soon a change shows once nothing stands in its way.
const SOON: Duration = Duration::from_secs(2);

fn builder(double: &ApiDouble, options: &str) -> ServerBuilder {
    let corefile = format!(
        ".:$PORT {{
    errors
    ready 127.0.0.1:$READY_PORT
    prometheus 127.0.0.1:$METRICS_PORT
    kubernetes cluster.local in-addr.arpa {{
        endpoint {}
        {options}
    }}
}}",
        double.url()
    );
    crate::pando(&corefile)
}

async fn start(double: &ApiDouble) -> Server {
    let mut server = builder(double, "").start().await.expect("starts");
    server.ready().await.expect("gets ready");
    server
}

/// A Service with a cluster address that ends in `last`.
fn service(name: &str, last: u8) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": format!("10.96.0.{last}"),
            "clusterIPs": [format!("10.96.0.{last}")],
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
        },
    })
}

fn headless(name: &str) -> Value {
    let mut object = service(name, 0);
    object["spec"]["clusterIP"] = json!("None");
    object["spec"]["clusterIPs"] = json!(["None"]);
    object
}

fn slice(service: &str, suffix: &str, endpoints: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{suffix}"),
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}

fn name(service: &str) -> String {
    format!("{service}.default.svc.cluster.local.")
}

async fn addresses(client: &Client, service: &str) -> Option<Vec<String>> {
    let answer = client.ask(&name(service), "A").await.ok()?;
    Some(answer.data())
}

/// Waits until a Service has these addresses, none for a name that is not.
async fn expect(client: &Client, service: &str, expected: &[&str], bound: Duration) {
    let what = format!("{service} at {expected:?}");
    let there = until(&what, bound, || async {
        let found = addresses(client, service).await?;
        (found == expected).then_some(())
    });
    if let Err(error) = there.await {
        let now = client.ask(&name(service), "A").await;
        panic!(
            "{error}, but: {}",
            now.map_or_else(|error| error.to_string(), |now| now.to_string())
        );
    }
}

#[tokio::test]
async fn changes_show_at_once() {
    let double = ApiDouble::start().await.unwrap();
    let server = start(&double).await;
    let client = server.client();

    double.apply(&service("web", 1));
    expect(&client, "web", &["10.96.0.1"], SOON).await;
    double.apply(&service("web", 2));
    expect(&client, "web", &["10.96.0.2"], SOON).await;
    double.delete("services", "default", "web");
    expect(&client, "web", &[], SOON).await;

    double.apply(&headless("heads"));
    let one = json!([{ "addresses": ["10.1.0.1"], "conditions": { "ready": true } }]);
    let two = json!([{ "addresses": ["10.1.0.2"], "conditions": { "ready": true } }]);
    double.apply(&slice("heads", "a", &one));
    expect(&client, "heads", &["10.1.0.1"], SOON).await;
    double.apply(&slice("heads", "b", &two));
    expect(&client, "heads", &["10.1.0.1", "10.1.0.2"], SOON).await;
    double.delete("endpointslices", "default", "heads-a");
    expect(&client, "heads", &["10.1.0.2"], SOON).await;
    // A slice that moves to another Service leaves the first.
    double.apply(&headless("other"));
    let mut moved = slice("heads", "b", &two);
    moved["metadata"]["labels"]["kubernetes.io/service-name"] = json!("other");
    double.apply(&moved);
    expect(&client, "other", &["10.1.0.2"], SOON).await;
    expect(&client, "heads", &[], SOON).await;

    // A namespace that goes takes its names with it, and brings them back.
    double.apply(&service("web", 3));
    expect(&client, "web", &["10.96.0.3"], SOON).await;
    double.delete("namespaces", "", "default");
    expect(&client, "web", &[], SOON).await;
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } });
    double.apply(&namespace);
    expect(&client, "web", &["10.96.0.3"], SOON).await;
}

#[tokio::test]
async fn lists_come_in_one_stream_or_in_pages() {
    for streaming in [true, false] {
        let double = ApiDouble::start().await.unwrap();
        if !streaming {
            double.no_streaming_lists();
        }
        double.page_size(7);
        for last in 1..=50 {
            double.apply(&service(&format!("web-{last}"), last));
        }
        let server = start(&double).await;
        let client = server.client();
        for last in 1..=50 {
            let expected = format!("10.96.0.{last}");
            expect(&client, &format!("web-{last}"), &[&expected], SOON).await;
        }
        // Whatever the way of listing, what happens next is seen.
        double.apply(&service("late", 99));
        expect(&client, "late", &["10.96.0.99"], SOON).await;
        let pages = |request: &Request| {
            request.path.ends_with("/services") && !request.is_watch() && request.status == 200
        };
        let pages = double
            .requests()
            .iter()
            .filter(|request| pages(request))
            .count();
        assert_eq!(streaming, pages < 8, "{pages} pages");
    }
}

#[tokio::test]
async fn broken_watches_are_followed_again() {
    for how in [Break::End, Break::Cut, Break::Gone] {
        let double = ApiDouble::start().await.unwrap();
        double.apply(&service("kept", 1));
        double.apply(&service("dropped", 2));
        let server = start(&double).await;
        let client = server.client();
        expect(&client, "dropped", &["10.96.0.2"], SOON).await;

        // What happens while no watch runs is found out all the same.
        if how == Break::Gone {
            double.compact();
        }
        double.break_watches(how);
        double.delete("services", "default", "dropped");
        double.apply(&service("new", 3));
        expect(&client, "new", &["10.96.0.3"], BOUND).await;
        expect(&client, "dropped", &[], SOON).await;
        expect(&client, "kept", &["10.96.0.1"], SOON).await;
        double.apply(&service("after", 4));
        expect(&client, "after", &["10.96.0.4"], SOON).await;
    }
}

#[tokio::test]
async fn history_that_is_gone_means_a_new_list() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&service("dropped", 1));
    double.apply(&service("kept", 2));
    let server = start(&double).await;
    let client = server.client();
    double.down().await;
    double.delete("services", "default", "dropped");
    double.apply(&service("new", 3));
    double.compact();
    double.up().await.unwrap();
    expect(&client, "new", &["10.96.0.3"], BOUND).await;
    expect(&client, "dropped", &[], SOON).await;
    expect(&client, "kept", &["10.96.0.2"], SOON).await;
}

#[tokio::test]
async fn answers_go_on_while_the_api_server_is_away() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&service("web", 1));
    let server = start(&double).await;
    let client = server.client();
    expect(&client, "web", &["10.96.0.1"], SOON).await;
    double.down().await;
    for _ in 0..50 {
        assert_eq!(addresses(&client, "web").await.unwrap(), ["10.96.0.1"]);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    double.up().await.unwrap();
    double.apply(&service("new", 2));
    expect(&client, "new", &["10.96.0.2"], SOON).await;
}

#[tokio::test]
async fn a_rebuilt_cluster_replaces_the_old_one() {
    let double = ApiDouble::start().await.unwrap();
    for last in 1..=20 {
        double.apply(&service(&format!("old-{last}"), last));
    }
    let server = start(&double).await;
    let client = server.client();
    expect(&client, "old-20", &["10.96.0.20"], SOON).await;
    double.down().await;
    double.rebuild();
    double.apply(&service("new", 99));
    double.up().await.unwrap();
    expect(&client, "new", &["10.96.0.99"], Duration::from_secs(10)).await;
    expect(&client, "old-20", &[], SOON).await;
}

#[tokio::test]
async fn started_before_the_api_server_it_fails_and_then_follows() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&service("web", 1));
    double.down().await;
    let server = builder(&double, "startup_timeout 1s")
        .start()
        .await
        .unwrap();
    let client = server.client();
    let answer = client.ask(&name("web"), "A").await.unwrap();
    assert_eq!(answer.rcode(), "SERVFAIL", "{answer}");
    // What needs no object is answered.
    let apex = client.ask("cluster.local.", "SOA").await.unwrap();
    assert_eq!(apex.rcode(), "NOERROR", "{apex}");
    double.up().await.unwrap();
    expect(&client, "web", &["10.96.0.1"], BOUND).await;
}

#[tokio::test]
async fn a_server_that_says_no_is_asked_again() {
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(503),
        Fault::Close,
        Fault::Cut(200),
        Fault::Slow(Duration::from_millis(300)),
        Fault::Gone,
    ] {
        let double = ApiDouble::start().await.unwrap();
        double.apply(&service("web", 1));
        // Each of the three kinds meets it, in its first requests.
        for resource in ["services", "endpointslices", "namespaces"] {
            double.fault(Some(resource), fault.clone(), 2);
        }
        let server = builder(&double, "").start().await.unwrap();
        expect(&server.client(), "web", &["10.96.0.1"], BOUND).await;
    }
}

#[tokio::test]
async fn a_forbidden_watch_is_named_and_the_server_is_not_ready() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&service("web", 1));
    double.fault(Some("endpointslices"), Fault::Status(403), usize::MAX);
    let mut server = builder(&double, "startup_timeout 1s")
        .start()
        .await
        .unwrap();
    let ready = server.page("READY_PORT", "/ready").await.unwrap();
    assert_eq!(
        (ready.status.as_u16(), ready.body.as_str()),
        (503, "kubernetes")
    );
    server.wait_for_line("endpointslices", BOUND).await.unwrap();
    double.heal();
    server.ready().await.unwrap();
    expect(&server.client(), "web", &["10.96.0.1"], SOON).await;
}

#[tokio::test]
async fn objects_that_make_no_sense_do_not_hide_the_others() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&headless("heads"));
    let nonsense = json!([
        { "addresses": ["not an address"], "conditions": { "ready": true } },
        { "addresses": ["10.1.0.1"], "conditions": null },
        { "addresses": [], "conditions": { "ready": true } },
        { "addresses": ["10.1.0.2"] },
        { "addresses": ["10.1.0.999"], "hostname": "x" },
    ]);
    let mut odd = slice("heads", "a", &nonsense);
    odd["ports"] = json!([{ "name": null, "port": null }, { "name": "http", "port": 80 }]);
    double.apply(&odd);
    let mut portless = slice("heads", "b", &json!([{ "addresses": ["10.1.0.3"] }]));
    portless["ports"] = Value::Null;
    double.apply(&portless);
    let mut no_endpoints = slice("heads", "c", &Value::Null);
    no_endpoints["metadata"]["annotations"] = json!({
        "endpoints.kubernetes.io/last-change-trigger-time": "yesterday",
    });
    double.apply(&no_endpoints);
    let mut odd_service = service("odd", 1);
    odd_service["spec"]["clusterIPs"] = json!(["10.96.0.999", "10.96.0.7"]);
    double.apply(&odd_service);
    let mut bare = service("bare", 1);
    bare["spec"] = json!({});
    double.apply(&bare);
    double.apply(&service("web", 2));

    let server = start(&double).await;
    let client = server.client();
    expect(
        &client,
        "heads",
        &["10.1.0.1", "10.1.0.2", "10.1.0.3"],
        SOON,
    )
    .await;
    expect(&client, "web", &["10.96.0.2"], SOON).await;
    for odd in ["odd", "bare"] {
        client.ask(&name(odd), "A").await.expect("any answer");
    }
}

#[tokio::test]
async fn a_slice_of_no_service_has_no_name() {
    let double = ApiDouble::start().await.unwrap();
    let endpoint = json!([{ "addresses": ["10.1.0.1"], "hostname": "lost" }]);
    let mut stray = slice("none", "a", &endpoint);
    stray["metadata"]["labels"] = json!({ "app": "stray" });
    double.apply(&stray);
    let server = start(&double).await;
    let ask = server.client().ask("1.0.1.10.in-addr.arpa.", "PTR").await;
    assert_eq!(ask.unwrap().rcode(), "NXDOMAIN");
}

#[tokio::test]
async fn a_service_of_five_thousand_endpoints_fits_over_tcp() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&headless("huge"));
    for part in 0..50 {
        let endpoints: Vec<_> = (0..100)
            .map(|last| {
                let address = format!("10.2.{part}.{last}");
                json!({ "addresses": [address], "conditions": { "ready": true } })
            })
            .collect();
        double.apply(&slice("huge", &part.to_string(), &json!(endpoints)));
    }
    let server = start(&double).await;
    let ask = pando_test::Ask::new(&name("huge"), "A");
    let udp: Answer = server.client().udp(&ask).await.unwrap();
    assert_eq!(udp.flags(), "qr aa tc rd");
    assert!(udp.bytes.len() <= 512, "{} bytes", udp.bytes.len());
    assert!(!udp.answer().is_empty());
    let tcp = server.client().tcp(&ask).await.unwrap();
    // 65,535 bytes hold 4,093 of them; none is half.
    assert_eq!(tcp.flags(), "qr aa tc rd");
    assert!(tcp.answer().len() > 4000, "{}", tcp.answer().len());
}

#[tokio::test]
async fn bookmarks_change_nothing() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&service("web", 1));
    let server = start(&double).await;
    let client = server.client();
    expect(&client, "web", &["10.96.0.1"], SOON).await;
    for _ in 0..3 {
        double.bookmark();
    }
    expect(&client, "web", &["10.96.0.1"], SOON).await;
    double.apply(&service("web", 2));
    expect(&client, "web", &["10.96.0.2"], SOON).await;
}
