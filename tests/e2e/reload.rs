//! `reload`: the file changes, the server follows.

use pando_test::{BOUND, Server, page, until};

use crate::pando;

/// Looks every 2 s, the least there is.
const WATCHED: &str =
    "a.example {\n reload 2s 0s\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}\n";

/// Waits until a metric has this value.
async fn becomes(server: &mut Server, metric: &str, value: &str) {
    let metrics = server.at("METRICS_PORT");
    let line = format!("{metric} {value}\n");
    let becomes = until(&line, BOUND, || async {
        let page = page(metrics, "/metrics", &[]).await.ok()?;
        page.body.contains(&line).then_some(())
    });
    becomes.await.unwrap();
}

#[tokio::test]
async fn the_running_configuration_is_named_by_its_hash() {
    let server = pando("a.example:1053 {\n bind 127.0.0.153\n reload\n whoami\n}\n")
        .spawn()
        .unwrap();
    let line = server.wait_for_line("plugin/reload", BOUND).await.unwrap();
    let hash = line.strip_prefix("[INFO] plugin/reload: Running configuration SHA512 = ");
    // What CoreDNS 1.14.7 prints for this text, so that dashboards may compare.
    assert_eq!(
        hash,
        Some(
            "f26bbdec4b3bbff188aa9dd72c05b7d79772193b739b08b91205216cb1222471fb3b76a1df5b9ed6a9d5522fec1f6ef3546d3641d3c52a4438b911f741220afd"
        )
    );
}

#[tokio::test]
async fn a_changed_file_is_served() {
    let mut server = pando(WATCHED).start().await.unwrap();
    let first = server
        .wait_for_line("Running configuration", BOUND)
        .await
        .unwrap();
    let before = server.lines().len();
    server
        .write("Corefile", &WATCHED.replace("a.example", "b.example"))
        .unwrap();
    let complete = server.wait_for_line_after(before, "[INFO] Reloading complete", BOUND);
    complete.await.unwrap();
    let said: Vec<String> = (server.lines().into_iter().skip(before))
        .map(|line| line.text)
        .skip_while(|line| line != "[INFO] Reloading")
        .collect();
    assert!(
        said[1].starts_with("[INFO] plugin/reload: Running configuration SHA512 = "),
        "{said:?}"
    );
    assert_ne!(said[1], first);
    let client = server.client();
    assert_eq!(
        client.ask("b.example", "A").await.unwrap().rcode(),
        "NOERROR"
    );
    assert_eq!(
        client.ask("a.example", "A").await.unwrap().rcode(),
        "REFUSED"
    );
    let hash = said[1].rsplit(' ').next().unwrap_or_default().to_owned();
    let version = format!("coredns_reload_version_info{{hash=\"sha512\",value=\"{hash}\"}}");
    // Set a moment behind the line.
    becomes(&mut server, &version, "1").await;
    becomes(&mut server, "coredns_reload_failed_total", "0").await;
    // The plugins of the new configuration, and no longer those of the old one.
    let metrics = server.at("METRICS_PORT");
    until("the plugins are those of the new file", BOUND, || async {
        let page = page(metrics, "/metrics", &[]).await.ok()?;
        let mut enabled: Vec<&str> = (page.body.lines())
            .filter(|line| line.starts_with("coredns_plugin_enabled{"))
            .map(|line| line.rsplit("zone=").next().unwrap_or_default())
            .collect();
        enabled.dedup();
        (enabled == ["\"b.example.\"} 1"]).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_served_changes_nothing_and_is_counted() {
    let mut server = pando(WATCHED).start().await.unwrap();
    becomes(&mut server, "coredns_reload_failed_total", "0").await;
    let before = server.lines().len();
    server
        .write("Corefile", &WATCHED.replace("whoami", "whoami\n cache 0"))
        .unwrap();
    let reason = "plugin/cache: cache TTL can not be zero or negative: 0";
    for start in [
        "[ERROR] Restart failed: ",
        "[ERROR] plugin/reload: Corefile changed but reload failed: starting with listener file descriptors: ",
    ] {
        let line = server
            .wait_for_line_after(before, start, BOUND)
            .await
            .unwrap();
        assert_eq!(line, format!("{start}{reason}"));
    }
    let client = server.client();
    assert_eq!(
        client.ask("a.example", "A").await.unwrap().rcode(),
        "NOERROR"
    );
    becomes(&mut server, "coredns_reload_failed_total", "1").await;
    // And the way back is open.
    server
        .write("Corefile", &WATCHED.replace("a.example", "c.example"))
        .unwrap();
    server
        .wait_for_line_after(before, "[INFO] Reloading complete", BOUND)
        .await
        .unwrap();
    assert_eq!(
        client.ask("c.example", "A").await.unwrap().rcode(),
        "NOERROR"
    );
}

#[tokio::test]
async fn a_file_that_does_not_parse_is_told_and_changes_nothing() {
    let mut server = pando(WATCHED).start().await.unwrap();
    server.write("Corefile", "a.example {\n whoami\n").unwrap();
    let line = server
        .wait_for_line("plugin/reload: Corefile parse failed: ", BOUND)
        .await
        .unwrap();
    assert!(
        line.starts_with("[WARNING] ")
            && line.ends_with("Unexpected token 'whoami', expecting '}'"),
        "{line}"
    );
    let answer = server.client().ask("a.example", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
}

#[tokio::test]
async fn an_imported_file_that_changes_is_a_change() {
    let corefile = "import zones\n";
    let zones = |zone: &str| format!("{zone} {{\n reload 2s 0s\n whoami\n}}\n");
    let mut server = pando(corefile)
        .file("zones", &zones("a.example"))
        .start()
        .await
        .unwrap();
    server.write("zones", &zones("b.example")).unwrap();
    server
        .wait_for_line("[INFO] Reloading complete", BOUND)
        .await
        .unwrap();
    let answer = server.client().ask("b.example", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
}
