//! What a start says, and what keeps a server from starting.

use std::net::{TcpListener, UdpSocket};

use pando_test::{BOUND, Port, Server};
use tokio::process::Command;

use crate::binary::{binary, spawn};
use crate::pando;

async fn refused(mut server: Server) -> String {
    let status = server.wait_exit(BOUND).await.expect("an end");
    assert_eq!(status.code(), Some(1), "{}", server.shown());
    server.stderr()
}

#[tokio::test]
async fn zones_are_listed_before_the_banner() {
    let corefile = "b.example.org:$PORT . {\n whoami\n}\n\
                    x_y.:$PORT 192.168.0.0/23 {\n whoami\n}\n\
                    a.example.org:$B_PORT {\n bind 127.0.0.1\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    server.wait_for_line("linux/", BOUND).await.unwrap();
    let (port, other) = (server.address().port(), server.at("B_PORT").port());
    let stdout = server.stdout();
    let lines: Vec<&str> = stdout
        .lines()
        .filter(|line| !line.starts_with("maxprocs"))
        .collect();
    let mut listed = lines[..lines.len() - 2].to_vec();
    // The order of listeners is nobody's promise, that of a listener's zones is.
    listed.sort_by_key(|line| line.contains(&other.to_string()));
    assert_eq!(
        listed,
        [
            &format!(".:{port}"),
            &format!("0.168.192.in-addr.arpa.:{port}"),
            &format!("1.168.192.in-addr.arpa.:{port}"),
            &format!("b.example.org.:{port}"),
            "Warning: Domain \"x_y.\" does not follow RFC1035 preferred syntax",
            &format!("x_y.:{port}"),
            &format!("a.example.org.:{other} on 127.0.0.1"),
        ]
    );
    assert!(
        lines[lines.len() - 2].contains("CoreDNS-1.14.7"),
        "{lines:?}"
    );
    assert_eq!(server.stderr(), "");
}

#[tokio::test]
async fn a_udp_port_in_use_is_named_with_the_reason() {
    // One whose TCP side nobody's outgoing connection holds.
    let claimed = Port::claim();
    let port = claimed.number();
    let _udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let corefile = format!(".:{port} {{\n bind 127.0.0.1\n whoami\n}}\n");
    let stderr = refused(pando(&corefile).spawn().unwrap()).await;
    assert_eq!(
        stderr,
        format!("ListenPacket: listen udp 127.0.0.1:{port}: bind: address already in use\n")
    );
}

#[tokio::test]
async fn an_address_of_another_machine_is_named_with_the_reason() {
    let builder = pando(". {\n bind 192.0.2.1\n whoami\n}\n");
    let server = builder.spawn().unwrap();
    let port = server.address().port();
    assert_eq!(
        refused(server).await,
        format!("Listen: listen tcp 192.0.2.1:{port}: bind: cannot assign requested address\n")
    );
}

#[tokio::test]
async fn the_port_of_health_in_use_keeps_it_from_starting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let corefile = format!(". {{\n health {address}\n whoami\n}}\n");
    let stderr = refused(pando(&corefile).spawn().unwrap()).await;
    let reason = format!("listen tcp {address}: bind: address already in use\n");
    assert!(stderr.ends_with(&reason), "{stderr}");
}

#[tokio::test]
async fn the_ports_of_ready_and_metrics_in_use_are_logged_and_dns_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (directive, handler) in [("ready", "ready"), ("prometheus", "metrics")] {
        let corefile = format!(". {{\n {directive} {address}\n whoami\n}}\n");
        let server = pando(&corefile).start().await.unwrap();
        let part = format!("Failed to start {handler} handler");
        let line = server.wait_for_line(&part, BOUND).await.unwrap();
        let reason = format!("listen tcp {address}: bind: address already in use");
        assert!(
            line.starts_with("[ERROR] ") && line.ends_with(&reason),
            "{line}"
        );
        server.client().ask("example.org", "A").await.unwrap();
    }
}

#[tokio::test]
async fn a_port_below_1024_without_the_capability_is_named_with_the_reason() {
    let privileged = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if privileged.is_ok_and(|first| first.trim().parse().is_ok_and(|first: u16| first <= 53)) {
        println!("skipped: this system lets everybody listen on port 53");
        return;
    }
    // As nobody, if we are somebody.
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(binary())
        .args(["-conf", "stdin"]);
    let corefile = ". {\n bind 127.0.0.53\n whoami\n}\n".to_owned();
    let Ok(mut process) = pando_test::Process::spawn(command, Some(corefile)) else {
        println!("skipped: setpriv (util-linux) is not installed");
        return;
    };
    let status = process.wait_exit(BOUND).await.unwrap();
    if process.stderr().contains("setpriv:") {
        println!("skipped: {}", process.stderr());
        return;
    }
    assert_eq!(
        (status.code(), process.stderr().as_str()),
        (
            Some(1),
            "Listen: listen tcp 127.0.0.53:53: bind: permission denied\n"
        )
    );
}

#[tokio::test]
async fn an_empty_corefile_is_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Corefile"), "\n# nothing\n").unwrap();
    // Held to the end: nobody else gets it meanwhile.
    let claimed = Port::claim();
    let port = claimed.number();
    let process = spawn(folder.path(), &["-dns.port", &port.to_string()], None);
    let zone = format!(".:{port}");
    process.wait_for_line(&zone, BOUND).await.unwrap();
}

#[tokio::test]
async fn a_block_without_plugins_refuses() {
    let server = pando(". {\n}\n").start().await.unwrap();
    let answer = server.client().ask("example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "REFUSED");
}
