//! Flags, and where the Corefile comes from.

use pando_test::{BOUND, Client, Port};
use tempfile::TempDir;

use crate::binary::{run, spawn};
use crate::pando;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn version_names_pando_and_its_contract() {
    for flag in ["-version", "--version", "-version=true"] {
        let ran = run(folder().path(), &[flag]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{flag}");
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            lines.first().copied(),
            Some(format!("Pando-{version} (compatible with CoreDNS-1.14.7)").as_str())
        );
        assert!(lines[1].starts_with("linux/"), "{lines:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}

#[tokio::test]
async fn plugins_lists_what_is_built_in() {
    let ran = run(folder().path(), &["-plugins"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let names: Vec<&str> = ran.stdout.lines().collect();
    for name in ["errors", "forward", "health", "loop", "rewrite", "whoami"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(!names.contains(&"dnstap"), "{names:?}");
    assert!(names.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn a_wrong_flag_is_told_with_the_usage_and_exit_2() {
    for (arguments, first) in [
        (&["-bogus"][..], "flag provided but not defined: -bogus"),
        (&["-conf"], "flag needs an argument: -conf"),
        (
            &["-quiet=maybe"],
            "invalid boolean value \"maybe\" for -quiet: parse error",
        ),
    ] {
        let ran = run(folder().path(), arguments).await;
        let mut lines = ran.stderr.lines();
        assert_eq!(lines.next(), Some(first));
        assert!(
            lines
                .next()
                .is_some_and(|line| line.starts_with("Usage of "))
        );
        assert!(
            ran.stderr
                .contains("\n  -dns.port string\n    \tDefault port")
        );
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    }
    let help = run(folder().path(), &["-h"]).await;
    assert_eq!(help.code, Some(0));
    assert!(help.stderr.starts_with("Usage of "), "{help:?}");
}

#[tokio::test]
async fn without_a_corefile_whoami_and_log_are_served() {
    // Held to the end: nobody else gets it meanwhile.
    let claimed = Port::claim();
    let port = claimed.number();
    let folder = folder();
    let mut process = spawn(folder.path(), &["-p", &port.to_string()], None);
    let zone = format!(".:{port}");
    process.wait_for_line(&zone, BOUND).await.unwrap();
    let client = Client::to(([127, 0, 0, 1], port).into());
    let answer = client.ask("example.org", "A").await.unwrap();
    assert_eq!(answer.additional().len(), 2, "{answer}");
    let line = process.wait_for_line("example.org.", BOUND).await.unwrap();
    assert!(line.starts_with("[INFO] 127.0.0.1:"), "{line}");
    process.signal("TERM").await.unwrap();
    assert_eq!(process.wait_exit(BOUND).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_corefile_in_the_working_directory_is_found() {
    // Held to the end: nobody else gets it meanwhile.
    let claimed = Port::claim();
    let port = claimed.number();
    let folder = folder();
    let corefile = format!("example.org:{port} {{\n  whoami\n}}\n");
    std::fs::write(folder.path().join("Corefile"), corefile).unwrap();
    let process = spawn(folder.path(), &[], None);
    let zone = format!("example.org.:{port}");
    process.wait_for_line(&zone, BOUND).await.unwrap();
}

#[tokio::test]
async fn a_corefile_comes_over_standard_input() {
    // Held to the end: nobody else gets it meanwhile.
    let claimed = Port::claim();
    let port = claimed.number();
    let folder = folder();
    let arguments = ["-conf", "stdin", "-dns.port", &port.to_string()];
    let process = spawn(
        folder.path(),
        &arguments,
        Some("example.org {\n whoami\n}\n"),
    );
    let zone = format!("example.org.:{port}");
    process.wait_for_line(&zone, BOUND).await.unwrap();
    // What came through a pipe cannot be read again: it is served again.
    process.signal("USR1").await.unwrap();
    let complete = "[INFO] Reloading complete";
    process.wait_for_line(complete, BOUND).await.unwrap();
    let client = Client::to(([127, 0, 0, 1], port).into());
    let answer = client.ask("example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
    let answer = client.ask("example.net", "A").await.unwrap();
    assert_eq!(answer.rcode(), "REFUSED");

    let mut broken = spawn(folder.path(), &arguments, Some(". {\n whoamii\n}\n"));
    assert_eq!(broken.wait_exit(BOUND).await.unwrap().code(), Some(1));
    let line = broken
        .stderr()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(
        line,
        "/dev/stdin:2 - Error during parsing: Unknown directive 'whoamii'"
    );
}

#[tokio::test]
async fn quiet_leaves_out_banner_and_zones_but_no_log_lines() {
    let quiet = pando(". {\n log\n whoami\n}\n").argument("-quiet");
    let server = quiet.start().await.unwrap();
    server.client().ask("example.org", "A").await.unwrap();
    server.wait_for_line("example.org.", BOUND).await.unwrap();
    let zone = format!(".:{}", server.address().port());
    let lines = server.stdout();
    assert!(!lines.lines().any(|line| line == zone), "{lines}");
    assert!(!lines.contains("linux/"), "{lines}");
}

#[tokio::test]
async fn check_says_what_a_corefile_means_and_opens_nothing() {
    let folder = folder();
    let path = folder.path().join("Corefile");
    // Both ports are taken: a check must not notice.
    let [dns, health] = [(), ()].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let (dns, health) = (port(&dns), port(&health));
    let corefile = format!(
        "example.org:{dns} 10.0.0.0/8 {{\n bind 127.0.0.1\n whoami\n errors\n health 127.0.0.1:{health}\n}}\nempty.example.org {{\n}}\n"
    );
    std::fs::write(&path, corefile).unwrap();
    let ran = run(folder.path(), &["check", "-conf", path.to_str().unwrap()]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        ran.stdout,
        format!(
            "example.org. 10.in-addr.arpa. on 127.0.0.1:{dns} 127.0.0.1:53: bind, health, errors, whoami\n\
             empty.example.org. on :53: refuse every query\n"
        )
    );

    std::fs::write(&path, ". {\n forwrd . 192.0.2.1\n}\n").unwrap();
    let ran = run(folder.path(), &["check", "-conf", "Corefile"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    let mut lines = ran.stderr.lines();
    assert_eq!(
        lines.next(),
        Some("Corefile:2 - Error during parsing: Unknown directive 'forwrd'")
    );
    assert!(ran.stderr.contains("forward"), "the nearest word: {ran:?}");
}
