//! `probe`: checks that run by themselves, and what a scrape tells of them.

use std::net::SocketAddr;

use pando_test::{BOUND, Reply, Rule, Upstream, page, until};

use crate::pando;

const CLUSTER: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: default }
---
apiVersion: v1
kind: Service
metadata: { name: kubernetes, namespace: default }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 443 }] }
";

/// The cluster's DNS at an address of this host where nobody listens.
const KUBE_DNS: &str = "
---
apiVersion: v1
kind: Namespace
metadata: { name: kube-system }
---
apiVersion: v1
kind: Service
metadata: { name: kube-dns, namespace: kube-system }
spec: { clusterIP: 127.1.2.3, ports: [{ port: 53 }] }
";

fn corefile(probe: &str) -> String {
    format!(
        ". {{
    prometheus 127.0.0.1:$METRICS_PORT
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local {{
        manifests cluster.yaml
    }}
    probe {probe}
}}
"
    )
}

const NAME: &str = "kubernetes.default.svc.cluster.local.";

/// How often a check came to this, by a scrape.
async fn count(metrics: SocketAddr, name: &str, target: &str, result: &str) -> f64 {
    let series = format!(
        "pando_probe_total{{name=\"{name}\",result=\"{result}\",target=\"{target}\",type=\"A\"}} "
    );
    let body = page(metrics, "/metrics", &[]).await.expect("metrics").body;
    let value = body.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Waits until a check has come to this more often than `before`.
async fn counted(metrics: SocketAddr, name: &str, target: &str, result: &str, before: f64) {
    let what = format!("{name} from {target}: {result}");
    let more = until(&what, BOUND, || async {
        (count(metrics, name, target, result).await > before).then_some(())
    });
    more.await.unwrap();
}

#[tokio::test]
async fn the_server_and_others_are_asked_and_counted() {
    let other = Upstream::start().await.unwrap();
    other.rule(Rule::new(Reply::rcode("NXDOMAIN")));
    let target = other.address().to_string();
    let probe = format!(
        "{{\n to self {target}\n name {NAME}\n name none.default.svc.cluster.local A nxdomain\n interval 1s\n timeout 1s\n}}"
    );
    let builder = pando(&corefile(&probe)).file("cluster.yaml", CLUSTER);
    let mut server = builder.start().await.unwrap();
    let metrics = server.at("METRICS_PORT");
    counted(metrics, NAME, "self", "success", 0.0).await;
    let none = "none.default.svc.cluster.local.";
    counted(metrics, none, "self", "success", 0.0).await;
    counted(metrics, none, &target, "success", 0.0).await;
    counted(metrics, NAME, &target, "nxdomain", 0.0).await;
    let failing = format!("[WARNING] plugin/probe: {NAME} A from {target}: nxdomain");
    server.wait_for_line(&failing, BOUND).await.unwrap();

    // Its queries are queries, and their time is known.
    let labels = format!("name=\"{NAME}\",target=\"self\",type=\"A\"");
    let durations = format!("pando_probe_duration_seconds_count{{{labels}}}");
    let durations = server.metric(&durations).await.unwrap();
    assert!(durations >= Some(1.0), "{durations:?}");
    let asked = format!(
        "coredns_dns_requests_total{{family=\"1\",proto=\"udp\",server=\"dns://:{}\",type=\"A\",view=\"\",zone=\".\"}}",
        server.address().port()
    );
    let asked = server.metric(&asked).await.unwrap();
    assert!(asked >= Some(2.0), "{asked:?}");

    other.answer(NAME, "A", &[&format!("{NAME} 5 IN A 10.96.0.1")]);
    let well = format!("[INFO] plugin/probe: {NAME} A from {target}: well again");
    server.wait_for_line(&well, BOUND).await.unwrap();
    other.down().await;
    counted(metrics, NAME, &target, "unreachable", 0.0).await;
    other.up().await.unwrap();
    other.rule(Rule::new(Reply::silence()));
    counted(metrics, NAME, &target, "timeout", 0.0).await;
}

#[tokio::test]
async fn a_reload_ends_what_it_drops_and_goes_on_with_the_rest() {
    let other = Upstream::start().await.unwrap();
    other.rule(Rule::new(Reply::rcode("SERVFAIL")));
    let target = other.address().to_string();
    let both = corefile(&format!(
        "{{\n to self {target}\n interval 1s\n timeout 1s\n}}"
    ));
    let builder = pando(&both).file("cluster.yaml", CLUSTER);
    let mut server = builder.start().await.unwrap();
    let metrics = server.at("METRICS_PORT");
    counted(metrics, NAME, "self", "success", 0.0).await;
    counted(metrics, NAME, &target, "servfail", 0.0).await;
    let before = count(metrics, NAME, "self", "success").await;

    let alone = corefile("{\n interval 1s\n timeout 1s\n}");
    server.write("Corefile", &alone).unwrap();
    server.signal("USR1").await.unwrap();
    server
        .wait_for_line("Reloading complete", BOUND)
        .await
        .unwrap();
    let asked = other.seen().len();
    let gone = until("the target's series to go", BOUND, async || {
        let page = page(metrics, "/metrics", &[]).await.ok()?;
        (!page.body.contains(&target)).then_some(())
    });
    gone.await.unwrap();
    counted(metrics, NAME, "self", "success", before).await;
    assert!(other.seen().len() <= asked + 1, "it is still asked");

    // A Corefile that is refused ends nothing.
    let wrong = corefile("{\n interval 1ms\n}");
    server.write("Corefile", &wrong).unwrap();
    server.signal("USR1").await.unwrap();
    let refused = "interval must be at least 1s";
    server.wait_for_line(refused, BOUND).await.unwrap();
    let before = count(metrics, NAME, "self", "success").await;
    counted(metrics, NAME, "self", "success", before).await;
}

#[tokio::test]
async fn the_service_is_found_by_its_name() {
    let probe = "{\n to service\n interval 1s\n timeout 1s\n}";
    let builder = pando(&corefile(probe)).file("cluster.yaml", CLUSTER);
    let mut server = builder.start().await.unwrap();
    let metrics = server.at("METRICS_PORT");
    counted(metrics, NAME, "service", "unresolved", 0.0).await;
    let with_dns = format!("{CLUSTER}{KUBE_DNS}");
    server.write("cluster.yaml", &with_dns).unwrap();
    counted(metrics, NAME, "service", "unreachable", 0.0).await;
    // While nobody knows where it is, it is where it was.
    server.write("cluster.yaml", CLUSTER).unwrap();
    let client = server.client();
    until("the Service to go", BOUND, async || {
        let gone = client
            .ask("kube-dns.kube-system.svc.cluster.local", "A")
            .await;
        (gone.ok()?.rcode() == "NXDOMAIN").then_some(())
    })
    .await
    .unwrap();
    let unresolved = count(metrics, NAME, "service", "unresolved").await;
    let before = count(metrics, NAME, "service", "unreachable").await;
    // One may have been under way.
    counted(metrics, NAME, "service", "unreachable", before + 1.0).await;
    let now = count(metrics, NAME, "service", "unresolved").await;
    assert_eq!(now, unresolved);
}
