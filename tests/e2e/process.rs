//! The process: flags, banner, signals, reloads.

use std::process::{Command, Stdio};
use std::time::Duration;

use pando_test::{Ask, BOUND};

use crate::pando;

const WHOAMI: &str = ".:$PORT {\n whoami\n}\n";

/// Runs the binary to its end: exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pando"));
    let output = command
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn flags_end_the_process_with_coredns_codes() {
    for (arguments, code, stdout, stderr) in [
        (&["-version"][..], 0, "Pando-", ""),
        (&["--version"], 0, "Pando-", ""),
        (&["-plugins"], 0, "", ""),
        (&["-h"], 0, "", "Usage of "),
        (
            &["-bogus"],
            2,
            "",
            "flag provided but not defined: -bogus\nUsage of ",
        ),
        (&["a", "b"], 1, "", "extra command line arguments: [a b]\n"),
        (
            &["-conf", "/nonexistent"],
            1,
            "",
            "loading Caddyfile via flag: open /nonexistent: no such file or directory\n",
        ),
        (&["-p", "99999"], 1, "", "address 99999: invalid port"),
    ] {
        let (found, out, err) = run(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {err}");
        assert!(out.starts_with(stdout), "{arguments:?}: {out}");
        assert!(err.starts_with(stderr), "{arguments:?}: {err}");
    }
    let (_, version, _) = run(&["-version"]);
    assert!(version.contains("CoreDNS-1.14.7"), "{version}");
    assert_eq!(version.lines().count(), 2);
    let (_, plugins, _) = run(&["-plugins"]);
    assert!(plugins.lines().any(|line| line == "whoami"), "{plugins}");
}

#[test]
fn check_opens_nothing_and_tells_what_each_block_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Corefile");
    // Port 1 of an address that is not ours: serving it would fail.
    std::fs::write(&path, "example.org:1 {\n bind 192.0.2.1\n whoami\n}\n").unwrap();
    let path = path.to_str().unwrap();
    let (code, out, err) = run(&["check", "-conf", path]);
    assert_eq!(
        (code, &*out),
        (Some(0), "example.org. on 192.0.2.1:1: bind, whoami\n"),
        "{err}"
    );
    std::fs::write(path, ". {\n whoam\n}\n").unwrap();
    let (code, out, err) = run(&["check", "-conf", path]);
    assert_eq!((code, &*out), (Some(1), ""));
    let first = format!("{path}:2 - Error during parsing: Unknown directive 'whoam'");
    assert_eq!(err.lines().next(), Some(&*first));
    assert!(err.contains("did you mean `whoami`?"), "{err}");
}

#[tokio::test]
async fn a_port_in_use_is_told_and_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!(".:{port} {{\n bind 127.0.0.1\n whoami\n}}\n");
    let mut server = pando(&text).spawn().unwrap();
    assert_eq!(server.wait_exit(BOUND).await.unwrap().code(), Some(1));
    let expected = format!("Listen: listen tcp 127.0.0.1:{port}: bind: address already in use\n");
    assert_eq!(server.stderr(), expected);
}

#[tokio::test]
async fn signals_end_the_process_with_coredns_lines_and_codes() {
    for (signal, line) in [
        (
            "TERM",
            "[INFO] SIGTERM: Shutting down servers then terminating",
        ),
        ("INT", "[INFO] SIGINT: Shutting down"),
        ("QUIT", "[INFO] SIGQUIT: Quitting process immediately"),
    ] {
        let mut server = pando(WHOAMI)
            .argument("-pidfile=pid")
            .start()
            .await
            .unwrap();
        server.wait_for_line("linux/", BOUND).await.unwrap();
        let pid = std::fs::read_to_string(server.path("pid")).unwrap();
        assert_eq!(pid, format!("{}\n", server.pid().unwrap()));
        server.signal("HUP").await.unwrap();
        server.client().ask("example.org", "A").await.unwrap();
        server.signal(signal).await.unwrap();
        assert_eq!(
            server.wait_exit(BOUND).await.unwrap().code(),
            Some(0),
            "{signal}"
        );
        assert!(
            server.stdout().lines().any(|found| found == line),
            "{}",
            server.shown()
        );
        assert!(!server.path("pid").exists(), "{signal}");
    }
}

#[tokio::test]
async fn lameduck_serves_on_and_a_second_interrupt_ends_it() {
    let corefile = ".:$PORT {\n whoami\n health 127.0.0.1:$HEALTH_PORT {\n lameduck 60s\n }\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    server.signal("INT").await.unwrap();
    server
        .wait_for_line("Going into lameduck mode for 1m0s", BOUND)
        .await
        .unwrap();
    server.client().ask("example.org", "A").await.unwrap();
    server
        .client()
        .tcp(&Ask::new("example.org", "A"))
        .await
        .unwrap();
    assert_eq!(
        server.page("HEALTH_PORT", "/health").await.unwrap().body,
        "OK"
    );
    server.signal("INT").await.unwrap();
    assert_eq!(server.wait_exit(BOUND).await.unwrap().code(), Some(2));
    assert!(
        server.stdout().contains("[INFO] SIGINT: Force quit\n"),
        "{}",
        server.shown()
    );
}

#[tokio::test]
async fn a_signal_reloads_and_a_broken_corefile_changes_nothing() {
    let mut server = pando(".:$PORT {\n}\n").start().await.unwrap();
    let client = server.client();
    assert_eq!(client.ask("a", "A").await.unwrap().rcode(), "REFUSED");

    server.write("Corefile", WHOAMI).unwrap();
    server.signal("USR1").await.unwrap();
    server
        .wait_for_line("[INFO] Reloading complete", BOUND)
        .await
        .unwrap();
    assert_eq!(client.ask("a", "A").await.unwrap().rcode(), "NOERROR");

    server.write("Corefile", ".:$PORT {\n whoam\n}\n").unwrap();
    server.signal("USR1").await.unwrap();
    let line = server
        .wait_for_line("[ERROR] SIGUSR1: ", BOUND)
        .await
        .unwrap();
    assert!(
        line.ends_with(":2 - Error during parsing: Unknown directive 'whoam'"),
        "{line}"
    );
    assert!(
        server.stdout().contains("[ERROR] Restart failed: "),
        "{}",
        server.shown()
    );
    assert_eq!(client.ask("a", "A").await.unwrap().rcode(), "NOERROR");
}

#[tokio::test]
async fn a_reload_opens_new_ports_and_closes_old_ones() {
    let mut server = pando(WHOAMI).start().await.unwrap();
    let old = server.client();
    let new = pando_test::Client::to(server.at("NEW_PORT"));
    server
        .write("Corefile", ".:$NEW_PORT {\n whoami\n}\n")
        .unwrap();
    server.signal("USR1").await.unwrap();
    server
        .wait_for_line("[INFO] Reloading complete", BOUND)
        .await
        .unwrap();
    new.ask("a", "A").await.unwrap();
    new.tcp(&Ask::new("a", "A")).await.unwrap();
    assert!(
        old.bound(Duration::from_millis(300))
            .ask("a", "A")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_reload_directive_follows_the_file() {
    let corefile = |body: &str| {
        format!(".:$PORT {{\n reload 2s 0s\n prometheus 127.0.0.1:$METRICS_PORT\n{body}\n}}\n")
    };
    let mut server = pando(&corefile("")).start().await.unwrap();
    server
        .wait_for_line(
            "[INFO] plugin/reload: Running configuration SHA512 = ",
            BOUND,
        )
        .await
        .unwrap();
    server.write("Corefile", &corefile("whoami")).unwrap();
    server
        .wait_for_line("[INFO] Reloading complete", BOUND)
        .await
        .unwrap();
    assert_eq!(
        server.client().ask("a", "A").await.unwrap().rcode(),
        "NOERROR"
    );

    server.write("Corefile", &corefile("whoami now")).unwrap();
    server
        .wait_for_line(
            "[ERROR] plugin/reload: Corefile changed but reload failed: ",
            BOUND,
        )
        .await
        .unwrap();
    server.write("Corefile", ".:$PORT {\n").unwrap();
    server
        .wait_for_line("[WARNING] plugin/reload: Corefile parse failed: ", BOUND)
        .await
        .unwrap();
    let failed = server.metric("coredns_reload_failed_total").await.unwrap();
    assert_eq!(failed, Some(1.0));
    let metrics = server.page("METRICS_PORT", "/metrics").await.unwrap().body;
    let versions: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("coredns_reload_version_info{hash=\"sha512\",value=\""))
        .collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
    assert_eq!(
        server.client().ask("a", "A").await.unwrap().rcode(),
        "NOERROR"
    );
}

#[tokio::test]
async fn what_cannot_be_done_by_signal_is_said() {
    let server = pando(WHOAMI).start().await.unwrap();
    server.signal("USR2").await.unwrap();
    server
        .wait_for_line(
            "[WARNING] SIGUSR2: in-place upgrade is not supported",
            BOUND,
        )
        .await
        .unwrap();
    std::fs::remove_file(server.path("Corefile")).unwrap();
    server.signal("USR1").await.unwrap();
    let line = server
        .wait_for_line("[ERROR] SIGUSR1: loading updated Caddyfile: open ", BOUND)
        .await
        .unwrap();
    assert!(
        line.ends_with("Corefile: no such file or directory"),
        "{line}"
    );
    server.client().ask("a", "A").await.unwrap();
}

#[test]
fn a_corefile_may_come_by_standard_input() {
    use std::io::Write;
    let mut command = Command::new(env!("CARGO_BIN_EXE_pando"));
    command
        .args(["-conf", "stdin"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b". {\n whoam\n}\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("/dev/stdin:2 - Error during parsing: Unknown directive 'whoam'\n"),
        "{stderr}"
    );
}

/// Ten reloads under load: every query is answered.
#[tokio::test]
async fn no_query_is_lost_in_a_reload() {
    let mut server = pando(WHOAMI).start().await.unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop) = (server.client(), stop.clone());
            tokio::spawn(async move {
                let mut asked = 0;
                let mut stream = client.stream().await.unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    client.ask("example.org", "A").await.unwrap();
                    stream.send(&Ask::new("example.org", "A")).await.unwrap();
                    stream
                        .receive()
                        .await
                        .unwrap()
                        .expect("the connection stays open");
                    asked += 2;
                }
                asked
            })
        })
        .collect();
    for round in 0..10 {
        let text = format!("{}# {round}\n", "\n".repeat(round));
        server.write("Corefile", &(text + WHOAMI)).unwrap();
        server.signal("USR1").await.unwrap();
        pando_test::until("reloaded", BOUND, || {
            let done = server.stdout().matches("Reloading complete").count() > round;
            async move { done.then_some(()) }
        })
        .await
        .unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}
