//! The pages for probes and for Prometheus.

use std::time::Duration;

use pando_test::{BOUND, Page, page};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::pando;

const COREFILE: &str = ". {\n health 127.0.0.1:$HEALTH_PORT\n ready 127.0.0.1:$READY_PORT\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}\n";

fn kind(page: &Page) -> &str {
    let kind = page.headers.get("content-type");
    kind.map_or("", |kind| kind.to_str().unwrap_or_default())
}

#[tokio::test]
async fn each_listener_has_one_page() {
    let mut server = pando(COREFILE).start().await.unwrap();
    for (port, path) in [("HEALTH_PORT", "/health"), ("READY_PORT", "/ready")] {
        let page = server.page(port, path).await.unwrap();
        assert_eq!(
            (page.status.as_u16(), page.body.as_str()),
            (200, "OK"),
            "{path}"
        );
        assert_eq!(kind(&page), "text/plain; charset=utf-8", "{path}");
    }
    for (port, path) in [
        ("HEALTH_PORT", "/"),
        ("HEALTH_PORT", "/healthz"),
        ("HEALTH_PORT", "/health/"),
        ("READY_PORT", "/"),
        ("READY_PORT", "/readyz"),
        ("METRICS_PORT", "/"),
        ("METRICS_PORT", "/metrics/x"),
    ] {
        let page = server.page(port, path).await.unwrap();
        assert_eq!(
            (page.status.as_u16(), page.body.as_str()),
            (404, "404 page not found\n"),
            "{port} {path}"
        );
        assert_eq!(kind(&page), "text/plain; charset=utf-8", "{port} {path}");
    }
}

#[tokio::test]
async fn metrics_come_as_text_whatever_is_asked_for() {
    let mut server = pando(COREFILE).start().await.unwrap();
    let address = server.at("METRICS_PORT");
    for headers in [
        &[][..],
        // What Prometheus sends; the text format is its last choice.
        &[(
            "accept",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2",
        )],
    ] {
        let page = page(address, "/metrics", headers).await.unwrap();
        assert_eq!(kind(&page), "text/plain; version=0.0.4; charset=utf-8");
        assert!(
            page.body.starts_with("# HELP coredns_build_info "),
            "{page:?}"
        );
    }
}

#[tokio::test]
async fn one_address_serves_several_blocks() {
    let block = |zone: &str| {
        format!(
            "{zone} {{\n ready 127.0.0.1:$READY_PORT\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}}\n"
        )
    };
    let corefile = block("a.example") + &block("b.example");
    let mut server = pando(&corefile).start().await.unwrap();
    server.ready().await.unwrap();
    let client = server.client();
    for zone in ["a.example", "b.example"] {
        client.ask(zone, "A").await.unwrap();
        let listener = format!("dns://:{}", server.address().port());
        let count = format!(
            "coredns_dns_requests_total{{family=\"1\",proto=\"udp\",server=\"{listener}\",type=\"A\",view=\"\",zone=\"{zone}.\"}}"
        );
        assert_eq!(server.metric(&count).await.unwrap(), Some(1.0));
    }
}

#[tokio::test]
async fn one_address_serves_several_directives() {
    let corefile = ". {\n health 127.0.0.1:$METRICS_PORT {\n lameduck 3s\n }\n ready 127.0.0.1:$METRICS_PORT\n prometheus localhost:$METRICS_PORT\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    server.wait_for_line("linux/", BOUND).await.unwrap();
    // More often than the kernel would give all of them to one listener of two.
    for _ in 0..16 {
        for (path, status) in [
            ("/health", 200),
            ("/ready", 200),
            ("/metrics", 200),
            ("/", 404),
        ] {
            let page = server.page("METRICS_PORT", path).await.unwrap();
            assert_eq!(page.status.as_u16(), status, "{path}");
        }
    }
    // `ready` ends first, and takes nobody else's path along.
    server.signal("TERM").await.unwrap();
    server
        .wait_for_line("Going into lameduck mode", BOUND)
        .await
        .unwrap();
    for (path, status) in [("/health", 200), ("/ready", 404), ("/metrics", 200)] {
        let page = server.page("METRICS_PORT", path).await.unwrap();
        assert_eq!(page.status.as_u16(), status, "{path} in lameduck mode");
    }
    assert!(server.wait_exit(BOUND).await.unwrap().success());
}

#[tokio::test]
async fn a_listener_for_localhost_hides_no_path_of_the_one_for_all_addresses() {
    let corefile = ". {\n health localhost:$METRICS_PORT\n prometheus :$METRICS_PORT\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    for path in ["/health", "/metrics"] {
        let page = server.page("METRICS_PORT", path).await.unwrap();
        assert_eq!(page.status.as_u16(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_reload_takes_the_paths_along_that_nobody_names_any_more() {
    let with = |directive: &str| {
        format!(". {{\n health 127.0.0.1:$HEALTH_PORT\n {directive}\n whoami\n}}\n")
    };
    let mut server = pando(&with("prometheus 127.0.0.1:$HEALTH_PORT"))
        .start()
        .await
        .unwrap();
    let metrics = server.page("HEALTH_PORT", "/metrics").await.unwrap();
    assert_eq!(metrics.status.as_u16(), 200);
    server.write("Corefile", &with("errors")).unwrap();
    server.signal("USR1").await.unwrap();
    server
        .wait_for_line("Reloading complete", BOUND)
        .await
        .unwrap();
    for (path, status) in [("/health", 200), ("/metrics", 404)] {
        let page = server.page("HEALTH_PORT", path).await.unwrap();
        assert_eq!(page.status.as_u16(), status, "{path}");
    }
}

/// A Pod that holds connections open and says nothing must not have the
/// kubelet end the server.
#[tokio::test]
async fn silent_connections_keep_nobody_from_health_or_metrics() {
    let mut server = pando(COREFILE).start().await.unwrap();
    let mut silent = Vec::new();
    for port in ["HEALTH_PORT", "METRICS_PORT"] {
        let address = server.at(port);
        for _ in 0..400 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    }
    // Long before the silent ones are closed for their silence.
    let answered = tokio::time::timeout(Duration::from_secs(3), async {
        let health = server.page("HEALTH_PORT", "/health").await.unwrap();
        let metrics = server.page("METRICS_PORT", "/metrics").await.unwrap();
        (health.status.as_u16(), metrics.status.as_u16())
    });
    assert_eq!(answered.await.expect("answers"), (200, 200));
}

/// What a client asks for and does not take is not kept for ever.
#[tokio::test]
async fn a_client_that_does_not_take_its_pages_is_cut_off() {
    let mut server = pando(COREFILE).start().await.unwrap();
    let mut greedy = TcpStream::connect(server.at("METRICS_PORT")).await.unwrap();
    let asked = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    // Nothing more is read of it once its pages fill all buffers; a write
    // fails once it is closed.
    let cut = async { while greedy.write_all(&asked).await.is_ok() {} };
    tokio::time::timeout(BOUND, cut).await.expect("cut off");
    assert_eq!(
        server
            .page("METRICS_PORT", "/metrics")
            .await
            .unwrap()
            .status
            .as_u16(),
        200
    );
}
