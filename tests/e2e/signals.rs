//! What signals do.

use std::time::Duration;

use pando_test::{Ask, BOUND, Reply, Rule, Server, Upstream, page, until};

use crate::pando;

async fn ended(server: &mut Server) -> Option<i32> {
    server.wait_exit(BOUND).await.expect("an end").code()
}

#[tokio::test]
async fn sigterm_is_not_ready_at_once_serves_on_and_ends_with_0() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer("quick.example.", "A", &["quick.example. 60 IN A 192.0.2.1"]);
    let slow = Reply::answer(&["slow.example. 60 IN A 192.0.2.2"]);
    upstream.rule(Rule::new(slow.after(Duration::from_millis(3500))).name("slow.example."));
    let corefile = format!(
        ". {{\n health 127.0.0.1:$HEALTH_PORT {{\n lameduck 3s\n }}\n ready 127.0.0.1:$READY_PORT\n forward . {} {{\n read_timeout 10s\n }}\n}}\n",
        upstream.address()
    );
    let mut server = pando(&corefile).start().await.unwrap();
    server.ready().await.unwrap();
    let client = server.client();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.ask("slow.example", "A").await }
    });
    upstream.wait_seen(1, BOUND).await.unwrap();

    server.signal("TERM").await.unwrap();
    let lines = [
        "[INFO] SIGTERM: Shutting down servers then terminating",
        "[INFO] plugin/health: Going into lameduck mode for 3s",
    ];
    for line in lines {
        server.wait_for_line(line, BOUND).await.unwrap();
    }
    // From here on the three seconds of lameduck run.
    let ready = page(server.at("READY_PORT"), "/ready", &[]).await;
    assert!(
        ready.is_err_and_or(|page| !page.status.is_success()),
        "not ready"
    );
    let health = server.page("HEALTH_PORT", "/health").await.unwrap();
    assert_eq!((health.status.as_u16(), health.body.as_str()), (200, "OK"));
    assert_eq!(
        client.ask("quick.example", "A").await.unwrap().data(),
        ["192.0.2.1"]
    );
    // Asked before the signal, answered after the lameduck.
    assert_eq!(waiting.await.unwrap().unwrap().data(), ["192.0.2.2"]);
    assert_eq!(ended(&mut server).await, Some(0));
    assert_eq!(server.stderr(), "");
}

/// Refused, or answered so.
trait RefusedOr<T> {
    fn is_err_and_or(&self, answered: impl FnOnce(&T) -> bool) -> bool;
}

impl<T, E> RefusedOr<T> for Result<T, E> {
    fn is_err_and_or(&self, answered: impl FnOnce(&T) -> bool) -> bool {
        self.as_ref().map_or(true, answered)
    }
}

#[tokio::test]
async fn sigterm_without_health_ends_at_once() {
    let mut server = pando(". {\n whoami\n}\n").start().await.unwrap();
    server.signal("TERM").await.unwrap();
    assert_eq!(
        server
            .wait_exit(Duration::from_secs(4))
            .await
            .unwrap()
            .code(),
        Some(0)
    );
}

#[tokio::test]
async fn a_start_that_waits_for_the_api_server_ends_at_once() {
    let corefile = "cluster.local {\n kubernetes {\n endpoint http://127.0.0.1:1\n startup_timeout 10m\n }\n}\n";
    for signal in ["TERM", "INT"] {
        let mut server = pando(corefile).spawn().unwrap();
        let line = "waiting for Kubernetes API before starting server";
        server.wait_for_line(line, BOUND).await.unwrap();
        server.signal(signal).await.unwrap();
        assert_eq!(ended(&mut server).await, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn sigquit_does_not_wait_for_anything() {
    let corefile = ". {\n health 127.0.0.1:$HEALTH_PORT {\n lameduck 1h\n }\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    server.signal("QUIT").await.unwrap();
    assert_eq!(ended(&mut server).await, Some(0));
    let last = "[INFO] SIGQUIT: Quitting process immediately\n";
    assert!(server.stdout().ends_with(last), "{}", server.shown());
}

#[tokio::test]
async fn sighup_changes_nothing() {
    let mut server = pando(". {\n whoami\n}\n").start().await.unwrap();
    server.wait_for_line("linux/", BOUND).await.unwrap();
    let before = server.lines().len();
    server.signal("HUP").await.unwrap();
    // Handled behind the other, if it were handled.
    server.signal("USR1").await.unwrap();
    server
        .wait_for_line("[INFO] Reloading complete", BOUND)
        .await
        .unwrap();
    assert!(!server.ended());
    let said: Vec<String> = (server.lines().into_iter().skip(before))
        .map(|line| line.text)
        .collect();
    let expected = [
        "[INFO] SIGUSR1: Reloading",
        "[INFO] Reloading",
        "[INFO] Reloading complete",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn sigusr1_with_a_broken_corefile_changes_nothing() {
    let mut server = pando("a.example {\n whoami\n}\n").start().await.unwrap();
    let client = server.client();
    for (corefile, reason) in [
        (
            "a.example {\n whoamii\n}\n",
            "Corefile:2 - Error during parsing: Unknown directive 'whoamii'",
        ),
        (
            "a.example {\n cache 0\n}\n",
            "plugin/cache: cache TTL can not be zero or negative: 0",
        ),
        (
            "a.example {\n bind 192.0.2.1\n whoami\n}\n",
            "bind: cannot assign requested address",
        ),
    ] {
        let before = server.lines().len();
        server.write("Corefile", corefile).unwrap();
        server.signal("USR1").await.unwrap();
        let line = server
            .wait_for_line_after(before, "[ERROR] SIGUSR1: ", BOUND)
            .await
            .unwrap();
        assert!(line.ends_with(reason), "{line}");
        assert_eq!(
            client
                .udp(&Ask::new("a.example", "A"))
                .await
                .unwrap()
                .rcode(),
            "NOERROR"
        );
    }
    assert!(!server.ended());
}

#[tokio::test]
async fn the_ports_of_http_listeners_follow_a_reload() {
    let mut server = pando(". {\n health 127.0.0.1:$OLD_PORT\n whoami\n}\n")
        .start()
        .await
        .unwrap();
    server.page("OLD_PORT", "/health").await.unwrap();
    server
        .write("Corefile", ". {\n health 127.0.0.1:$NEW_PORT\n whoami\n}\n")
        .unwrap();
    server.signal("USR1").await.unwrap();
    server
        .wait_for_line("[INFO] Reloading complete", BOUND)
        .await
        .unwrap();
    let (old, new) = (server.at("OLD_PORT"), server.at("NEW_PORT"));
    let there = async |address| page(address, "/health", &[]).await.is_ok();
    assert!(there(new).await);
    let closed = until("the old port closed", BOUND, || async {
        (!there(old).await).then_some(())
    });
    closed.await.unwrap();
}
