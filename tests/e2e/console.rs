//! The page of `console`, and the events behind it.

use pando_test::{Ask, BOUND, Events, Server, Upstream, events, page, until};
use serde_json::Value;

use crate::pando;

#[path = "console/browser.rs"]
mod browser;

const EVENTS: &str = "/console/events";

const COREFILE: &str = "cluster.local {
    errors
    prometheus 127.0.0.1:$METRICS_PORT
    console 127.0.0.1:$METRICS_PORT
    kubernetes {
        manifests $DIR/cluster.yaml
    }
}
. {
    errors
    prometheus 127.0.0.1:$METRICS_PORT
    forward . $UPSTREAM {
        max_fails 1
        health_check 50ms
    }
    reload 2s
}
";

const CLUSTER: &str = "apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.7, ports: [{ name: http, port: 80 }] }
";

async fn start(corefile: &str) -> Server {
    let server = pando(corefile).file("cluster.yaml", CLUSTER).start();
    let server = server.await.unwrap();
    // What is in force is noted behind the first answers, and before this line.
    server.wait_for_line("linux/", BOUND).await.unwrap();
    server
}

/// A server with an upstream that answers `a.test`.
async fn forwarding() -> (Server, Upstream) {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer("a.test.", "A", &["a.test. 60 IN A 192.0.2.1"]);
    let corefile = COREFILE.replace("$UPSTREAM", &upstream.address().to_string());
    (start(&corefile).await, upstream)
}

async fn watch(server: &mut Server) -> Events {
    events(server.at("METRICS_PORT"), EVENTS).await.unwrap()
}

/// The next event for which `found` has something.
async fn first<T>(events: &mut Events, found: impl Fn(&Value) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = events.next().await.unwrap().expect("the stream goes on");
            let event: Value = serde_json::from_str(&event).unwrap();
            if let Some(found) = found(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(BOUND, search).await.unwrap()
}

#[tokio::test]
async fn the_page_stands_beside_the_metrics_and_lets_nothing_in() {
    let (mut server, _upstream) = forwarding().await;
    let page = server.page("METRICS_PORT", "/").await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<title>Pando</title>"), "{}", page.body);
    let header = |name: &str| {
        let value = page.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    };
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("x-frame-options"), "DENY");
    assert_eq!(header("cross-origin-resource-policy"), "same-origin");
    assert_eq!(header("access-control-allow-origin"), "");
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (path, status) in [("/metrics", 200), ("/console", 404), ("/index.html", 404)] {
        let page = server.page("METRICS_PORT", path).await.unwrap();
        assert_eq!(page.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn other_web_sites_get_nothing() {
    let (mut server, _upstream) = forwarding().await;
    let address = server.at("METRICS_PORT");
    let localhost = format!("localhost:{}", address.port());
    for (path, headers, status) in [
        ("/", &[("host", localhost.as_str())][..], 200),
        ("/", &[("host", "evil.example")], 421),
        (EVENTS, &[("host", "evil.example")], 421),
        (EVENTS, &[("sec-fetch-site", "cross-site")], 403),
        // Prometheus may ask by whatever name it likes.
        ("/metrics", &[("host", "pando.monitoring.svc")], 200),
    ] {
        let page = page(address, path, headers).await.unwrap();
        assert_eq!(page.status.as_u16(), status, "{path} {headers:?}");
    }
}

#[tokio::test]
async fn figures_move_when_queries_come() {
    let (mut server, upstream) = forwarding().await;
    let client = server.client();
    let mut events = watch(&mut server).await;
    let fresh = first(&mut events, |event| Some(event.clone())).await;
    assert_eq!(fresh["since"], Value::Null);
    assert_eq!(fresh["zones"]["rows"][0]["zone"], "cluster.local.");
    assert_eq!(fresh["zones"]["rows"][0]["state"], "current");
    assert_eq!(
        fresh["zones"]["rows"][0]["detail"],
        "1 Service, 0 endpoints"
    );
    assert_eq!(fresh["upstreams"]["rows"][0]["health"], "up");
    let quiet = first(&mut events, |event| event["since"]["queries"].as_f64()).await;
    assert_eq!(quiet, 0.0);

    let asking = tokio::spawn(async move {
        for name in [
            "web.shop.svc.cluster.local",
            "db.shop.svc.cluster.local",
            "a.test",
        ]
        .into_iter()
        .cycle()
        {
            client.ask(name, "A").await.unwrap();
        }
    });
    // A second in which all of them were asked for.
    let busy = first(&mut events, |event| {
        let since = &event["since"];
        let moves = |figure: &Value| figure.as_f64().is_some_and(|figure| figure > 0.0);
        let timed = since["latency"]["counts"].as_array()?.iter().any(moves);
        let all = [
            &since["queries"],
            &since["rcodes"]["NOERROR"],
            &since["rcodes"]["NXDOMAIN"],
            &event["upstreams"]["rows"][0]["replies"],
        ];
        (timed && all.into_iter().all(moves)).then(|| event.clone())
    });
    let busy = busy.await;
    asking.abort();
    let since = &busy["since"];
    let counts = since["latency"]["counts"].as_array().unwrap();
    let bounds = since["latency"]["bounds"].as_array().unwrap();
    assert_eq!(counts.len(), bounds.len() + 1);
    let row = &busy["upstreams"]["rows"][0];
    assert_eq!(row["to"], upstream.address().to_string());
    assert!(row["took"].as_f64().unwrap() > 0.0, "{row}");
}

#[tokio::test]
async fn an_upstream_that_dies_is_shown_and_so_is_its_return() {
    let (mut server, upstream) = forwarding().await;
    let client = server.client();
    let mut events = watch(&mut server).await;
    upstream.down().await;
    let health = |event: &Value| event["upstreams"]["rows"][0]["health"].clone();
    // Only what is asked is checked.
    let _ = client.ask("b.test", "A").await;
    first(&mut events, |event| (health(event) == "down").then_some(())).await;
    upstream.up().await.unwrap();
    first(&mut events, |event| (health(event) == "up").then_some(())).await;
}

#[tokio::test]
async fn a_zone_says_what_is_wrong_with_it() {
    let primary = pando(
        "example.org {\n kubernetes {\n manifests $DIR/cluster.yaml\n }\n transfer {\n to *\n }\n}\n",
    );
    let mut primary = primary.file("cluster.yaml", CLUSTER).start().await.unwrap();
    let from = primary.address();
    let corefile = format!(
        "example.org {{\n console 127.0.0.1:$METRICS_PORT\n secondary {{\n transfer from {from}\n refresh 1s\n }}\n}}\n\
         example.net {{\n secondary {{\n transfer from 127.0.0.1:9\n }}\n}}\n"
    );
    let mut server = start(&corefile).await;
    let mut events = watch(&mut server).await;
    // The worst come first.
    let row = |event: &Value, at: usize| event["zones"]["rows"][at].clone();
    let rows = first(&mut events, |event| {
        let rows = [row(event, 0), row(event, 1)];
        (rows[1]["state"] == "current" && rows[0]["detail"] != "no primary has given it yet")
            .then_some(rows)
    });
    let [missing, copied] = rows.await;
    assert_eq!(missing["zone"], "example.net.");
    assert_eq!(missing["state"], "loading");
    let why = missing["detail"].as_str().unwrap();
    assert!(why.contains("127.0.0.1:9"), "{why}");
    assert_eq!(copied["zone"], "example.org.");
    assert_eq!(copied["plugin"], "secondary");
    assert!(copied["serial"].as_u64().is_some(), "{copied}");
    primary.kill().await.unwrap();
    let alone = first(&mut events, |event| {
        Some(row(event, 1)).filter(|row| row["state"] == "retrying")
    });
    let why = alone.await["detail"].as_str().unwrap().to_owned();
    assert!(why.contains(&from.to_string()), "{why}");
}

#[tokio::test]
async fn who_watches_goes_on_watching_over_a_reload() {
    let (mut server, upstream) = forwarding().await;
    let mut events = watch(&mut server).await;
    let reload = |event: &Value| event["configuration"]["last_reload"].clone();
    let before = first(&mut events, |event| Some(event.clone())).await;
    assert_eq!(reload(&before), Value::Null);
    let hash = before["configuration"]["hash"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 128, "{hash}");

    let corefile = COREFILE.replace("$UPSTREAM", &upstream.address().to_string());
    server
        .write(
            "Corefile",
            &(corefile.clone() + "a.example {\n nonsense\n}\n"),
        )
        .unwrap();
    let failed = first(&mut events, |event| {
        Some(event.clone()).filter(|event| !reload(event).is_null())
    });
    let failed = failed.await;
    let error = reload(&failed)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("nonsense"), "{error}");
    assert_eq!(failed["configuration"]["hash"], hash);

    let secret = "a.example {\n console 127.0.0.1:$METRICS_PORT\n template IN TXT {\n answer \"{{ .Name }} TXT hunter2\"\n }\n}\n";
    server.write("Corefile", &(corefile + secret)).unwrap();
    let done = first(&mut events, |event| {
        let done = reload(event)["error"].is_null() && event["configuration"]["hash"] != hash;
        done.then(|| event.clone())
    });
    let done = done.await;
    let blocks = done["configuration"]["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[2]["zones"][0], "a.example.");
    assert_eq!(
        blocks[2]["directives"],
        serde_json::json!(["console", "template"])
    );
    assert!(!done.to_string().contains("hunter2"), "arguments stay here");

    // Without `console` there is nothing to watch any more.
    let upstream = upstream.address();
    server
        .write(
            "Corefile",
            &format!(
                ". {{\n prometheus 127.0.0.1:$METRICS_PORT\n reload 2s\n forward . {upstream}\n}}\n"
            ),
        )
        .unwrap();
    let ended = async { while events.next().await.unwrap().is_some() {} };
    tokio::time::timeout(BOUND, ended)
        .await
        .expect("the stream ends");
    let page = server.page("METRICS_PORT", "/").await.unwrap();
    assert_eq!(page.status, 404);
}

#[tokio::test]
async fn only_so_many_watch_and_a_place_is_free_when_one_goes() {
    let (mut server, _upstream) = forwarding().await;
    let address = server.at("METRICS_PORT");
    let mut watching = Vec::new();
    for _ in 0..16 {
        watching.push(events(address, EVENTS).await.unwrap());
    }
    let refused = page(address, EVENTS, &[]).await.unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.body, "16 pages watch this server already\n");
    assert_eq!(refused.headers["retry-after"], "10");
    // The page itself is there.
    assert_eq!(server.page("METRICS_PORT", "/").await.unwrap().status, 200);
    drop(watching.pop());
    let again = until("a free place", BOUND, || async {
        events(address, EVENTS).await.ok()
    });
    let mut again = again.await.unwrap();
    assert!(again.next().await.unwrap().is_some());
}

/// Names are chosen by whoever asks; here one that would be a script.
#[tokio::test]
async fn a_hostile_name_is_text_in_an_event() {
    let (mut server, _upstream) = forwarding().await;
    let address = server.at("METRICS_PORT");
    let mut events = events(address, EVENTS).await.unwrap();
    let client = server.client();
    let name = r#"<script>alert\(1\)</script>\010\010data:\032x\".example.com"#;
    let hostile = format!("{name}.shop.svc.cluster.local");
    // Few of them are in the sample.
    let asking =
        tokio::spawn(async move { while client.udp(&Ask::new(&hostile, "A")).await.is_ok() {} });
    let shown = first(&mut events, |event| {
        let names = event["names"].as_array()?;
        names.iter().find_map(|row| {
            let shown = row["name"].as_str()?;
            shown.contains("script").then(|| shown.to_owned())
        })
    });
    // In its presentation form, and that in JSON: one line of one event.
    let text = shown.await;
    asking.abort();
    assert_eq!(text.replace(r"\ ", r"\032"), name, "{text}");
}
