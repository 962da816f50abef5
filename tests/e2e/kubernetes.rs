//! `kubernetes` and `transfer`, from objects to answers.

use std::fmt::Write;
use std::time::{Duration, Instant};

use pando_test::{ApiDouble, Ask, BOUND, Server, until};
use serde_json::json;

use crate::pando;

const FIXTURE: &str = include_str!("../fixtures/every-service.yaml");

const COREFILE: &str = "
cluster.local in-addr.arpa ip6.arpa {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        manifests cluster.yaml
        pods insecure
    }
    transfer {
        to 127.0.0.1
    }
}
";

async fn data(server: &Server, name: &str, kind: &str) -> Vec<String> {
    let answer = server.client().ask(name, kind).await;
    answer.map(|answer| answer.data()).unwrap_or_default()
}

#[tokio::test]
async fn manifests_are_a_cluster() {
    let server = pando(COREFILE)
        .file("cluster.yaml", FIXTURE)
        .start()
        .await
        .unwrap();
    for (name, kind, want) in [
        ("web.shop.svc.cluster.local", "A", "10.96.1.1"),
        ("WEB.data.svc.cluster.local", "A", "10.96.1.2"),
        ("dual.shop.svc.cluster.local", "AAAA", "fd00:10:96::103"),
        (
            "_http._tcp.web.shop.svc.cluster.local",
            "SRV",
            "0 100 80 web.shop.svc.cluster.local.",
        ),
        ("named.web.shop.svc.cluster.local", "A", "10.1.1.2"),
        ("10-1-2-3.shop.pod.cluster.local", "A", "10.1.2.3"),
        (
            "1.1.96.10.in-addr.arpa",
            "PTR",
            "web.shop.svc.cluster.local.",
        ),
        ("dns-version.cluster.local", "TXT", "\"1.1.0\""),
    ] {
        let found = data(&server, name, kind).await;
        assert_eq!(
            found
                .iter()
                .map(|text| text.trim_matches('"'))
                .collect::<Vec<_>>(),
            [want.trim_matches('"')],
            "{name} {kind}"
        );
    }
    let denied = server
        .client()
        .ask("none.shop.svc.cluster.local", "A")
        .await
        .unwrap();
    assert_eq!(
        (denied.rcode(), denied.flags()),
        ("NXDOMAIN".into(), "qr aa rd".into())
    );
    assert!(denied.authority()[0].contains("SOA ns.dns.cluster.local. hostmaster.cluster.local."));
}

#[tokio::test]
async fn a_changed_file_is_another_cluster_and_a_reload_is_not() {
    let mut server = pando(COREFILE)
        .file("cluster.yaml", FIXTURE)
        .start()
        .await
        .unwrap();
    // What it tells people of itself comes before this.
    server.wait_for_line("linux/", BOUND).await.unwrap();
    assert!(
        data(&server, "late.shop.svc.cluster.local", "A")
            .await
            .is_empty()
    );
    let late = "---\napiVersion: v1\nkind: Service\nmetadata: { name: late, namespace: shop }\nspec: { clusterIP: 10.96.9.9, ports: [{ port: 80 }] }\n";
    server
        .write("cluster.yaml", &format!("{FIXTURE}{late}"))
        .unwrap();
    until("the new Service", BOUND, async || {
        let found = data(&server, "late.shop.svc.cluster.local", "A").await;
        (found == ["10.96.9.9"]).then_some(())
    })
    .await
    .unwrap();

    let tries = |server: &Server| server.stdout().matches("try: dig @127.0.0.1").count();
    assert_eq!(tries(&server), 3, "{}", server.shown());
    // Another option of another plugin: the watch goes on as it was.
    let other = COREFILE.replace("errors", "errors\n    log");
    server.write("Corefile", &other).unwrap();
    server.signal("USR1").await.unwrap();
    server
        .wait_for_line("Reloading complete", BOUND)
        .await
        .unwrap();
    assert_eq!(
        data(&server, "late.shop.svc.cluster.local", "A").await,
        ["10.96.9.9"]
    );
}

#[tokio::test]
async fn a_zone_of_several_messages_is_transferred() {
    let services = 3_000;
    let mut objects = String::from("apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n");
    for at in 0..services {
        let [_, _, high, low] = u32::to_be_bytes(at);
        writeln!(
            objects,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: s-{at}, namespace: shop }}\n\
             spec: {{ clusterIP: 10.96.{high}.{low}, ports: [{{ name: http, port: 80 }}] }}"
        )
        .unwrap();
    }
    let server = pando(COREFILE)
        .file("cluster.yaml", &objects)
        .start()
        .await
        .unwrap();

    let mut stream = server.client().stream().await.unwrap();
    stream
        .send(&Ask::new("cluster.local", "AXFR").id(9))
        .await
        .unwrap();
    let (mut records, mut messages) = (Vec::new(), 0);
    let is_soa = |record: &String| record.contains(" SOA ");
    while records.iter().filter(|record| is_soa(record)).count() < 2 {
        let message = stream
            .receive()
            .await
            .unwrap()
            .expect("the zone does not end here");
        assert_eq!(
            (message.rcode(), message.flags()),
            ("NOERROR".into(), "qr aa rd".into())
        );
        // The SOA comes in the first message and again in the last.
        assert!(messages > 0 || message.answer().iter().any(is_soa));
        records.extend(message.answer());
        messages += 1;
    }
    assert!(messages > 1);
    let addresses = records
        .iter()
        .filter(|record| record.starts_with("s-") && record.contains(" A "));
    assert_eq!(addresses.count(), services as usize);

    // Not over UDP, and not to others.
    let refused = server.client().ask("cluster.local", "AXFR").await.unwrap();
    assert_eq!(refused.rcode(), "REFUSED");
    let stranger = server.client().from([127, 0, 0, 9].into());
    let refused = stranger
        .tcp(&Ask::new("cluster.local", "AXFR"))
        .await
        .unwrap();
    assert_eq!(refused.rcode(), "REFUSED");
}

/// A Corefile that follows an API server and waits a second for it.
fn following(api: &str, options: &str) -> String {
    format!(
        "cluster.local {{
    errors
    ready 127.0.0.1:$READY_PORT
    prometheus 127.0.0.1:$METRICS_PORT
    kubernetes {{
        endpoint {api}
        startup_timeout 1s
        {options}
    }}
}}
"
    )
}

#[tokio::test]
async fn without_an_api_server_names_fail_and_say_why() {
    let mut server = pando(&following("http://127.0.0.1:1", ""))
        .start()
        .await
        .unwrap();
    for line in [
        "[INFO] plugin/kubernetes: waiting for Kubernetes API before starting server",
        "[WARNING] plugin/kubernetes: starting server with unsynced Kubernetes API",
    ] {
        server.wait_for_line(line, BOUND).await.unwrap();
    }
    let ask = Ask::new("web.shop.svc.cluster.local", "A").edns(1232);
    let answer = server.client().udp(&ask).await.unwrap();
    assert_eq!(
        (answer.rcode(), answer.extended_error()),
        ("SERVFAIL".into(), Some(14))
    );
    assert_eq!(
        server
            .client()
            .ask("cluster.local", "A")
            .await
            .unwrap()
            .rcode(),
        "NOERROR"
    );
    let page = server.page("READY_PORT", "/ready").await.unwrap();
    assert_eq!(
        (page.status.as_u16(), page.body.trim()),
        (503, "kubernetes")
    );
}

#[tokio::test]
async fn the_last_state_answers_while_the_api_server_is_away() {
    let api = ApiDouble::start().await.unwrap();
    api.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    api.apply(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]},
    }));
    let folder = tempfile::tempdir().unwrap();
    let state = format!("snapshot {}", folder.path().join("state").display());
    let corefile = following(&api.url(), &state);

    let mut server = pando(&corefile).start().await.unwrap();
    server.ready().await.unwrap();
    assert_eq!(
        data(&server, "web.shop.svc.cluster.local", "A").await,
        ["10.96.0.1"]
    );
    let host = api.address();
    for series in [
        format!("requests_total{{code=\"200\",host=\"{host}\",method=\"GET\"}}"),
        format!("request_duration_seconds_count{{host=\"{host}\",verb=\"GET\"}}"),
        format!("rate_limiter_duration_seconds_count{{host=\"{host}\",verb=\"GET\"}}"),
    ] {
        let name = format!("coredns_kubernetes_rest_client_{series}");
        assert!(server.metric(&name).await.unwrap() > Some(0.0), "{name}");
    }
    server.signal("TERM").await.unwrap();
    server.wait_exit(BOUND).await.unwrap();

    api.down().await;
    let begun = Instant::now();
    let mut server = pando(&corefile.replace("startup_timeout 1s", "startup_timeout 60s"))
        .start()
        .await
        .unwrap();
    let ask = |name: &str| Ask::new(name, "A").edns(1232);
    let answer = server
        .client()
        .udp(&ask("web.shop.svc.cluster.local"))
        .await
        .unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "it waits for the API server"
    );
    assert_eq!(
        (answer.data(), answer.extended_error()),
        (vec!["10.96.0.1".to_owned()], Some(3))
    );
    let denied = server
        .client()
        .udp(&ask("none.shop.svc.cluster.local"))
        .await
        .unwrap();
    assert_eq!(
        (denied.rcode(), denied.extended_error()),
        ("NXDOMAIN".into(), Some(19))
    );
    assert_eq!(
        server.page("READY_PORT", "/ready").await.unwrap().status,
        503
    );

    api.up().await.unwrap();
    server.ready().await.unwrap();
    let answer = server
        .client()
        .udp(&ask("web.shop.svc.cluster.local"))
        .await
        .unwrap();
    assert_eq!(
        (answer.data(), answer.extended_error()),
        (vec!["10.96.0.1".to_owned()], None)
    );
}
