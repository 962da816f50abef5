//! `pando diff`: the rehearsal of a migration.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pando_test::{
    Ask, BOUND, ControlPlane, Port, Process, Reply, Rule, Server, ServerBuilder, Upstream,
    dns_rules, until,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::binary::{run, spawn};
use crate::pando;

const FIXTURE: &str = include_str!("../fixtures/every-service.yaml");
const COREFILE: &str = "
.:$PORT {
    chaos
    kubernetes cluster.local in-addr.arpa {
        manifests cluster.yaml
        pods insecure
    }
}";

const LIST: &str = "
# what a dashboard asks for
web.shop.svc.cluster.local A
web.shop.svc.cluster.local AAAA
WEB.shop.svc.cluster.local
_http._tcp.web.shop.svc.cluster.local SRV
none.shop.svc.cluster.local A
1.1.96.10.in-addr.arpa PTR
";

async fn cluster(objects: &str) -> Server {
    let builder = pando(COREFILE).file("cluster.yaml", objects);
    builder.start().await.expect("a server")
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, octets) in files {
        std::fs::write(folder.path().join(name), octets).expect("a file");
    }
    folder
}

/// What is found as `-o json` says it, and the exit code.
async fn found(
    folder: &Path,
    servers: [SocketAddr; 2],
    arguments: &[&str],
) -> (Value, Option<i32>) {
    let [server, against] = servers.map(|address| address.to_string());
    let mut all = vec!["diff", "--server", &server, "--against", &against];
    all.extend(["-o", "json", "--rate", "0"]);
    all.extend(arguments);
    let ran = run(folder, &all).await;
    let json = serde_json::from_str(&ran.stdout);
    let json = json.unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr));
    (json, ran.code)
}

#[tokio::test]
async fn another_cluster_answers_other_things() {
    let changed = FIXTURE.replace("10.96.1.1", "10.96.1.9");
    let (server, same, other) = (
        cluster(FIXTURE).await,
        cluster(FIXTURE).await,
        cluster(&changed).await,
    );
    let folder = folder(&[("names", LIST.as_bytes())]);
    let with = |other: &Server| [server.address(), other.address()];

    let (json, code) = found(folder.path(), with(&same), &["names"]).await;
    assert_eq!(code, Some(0), "{json:#}");
    for (field, count) in [
        ("read", 6),
        ("repeated", 1),
        ("asked", 5),
        ("same", 5),
        ("different", 0),
    ] {
        assert_eq!(json[field], count, "{field}: {json:#}");
    }

    let against = other.address().to_string();
    let arguments = ["diff", "--against", &against, "--server"];
    let address = server.address().to_string();
    let ran = run(
        folder.path(),
        &[&arguments[..], &[&address, "names"]].concat(),
    )
    .await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let part = "web.shop.svc.cluster.local. A
  answer     < web.shop.svc.cluster.local. 5 IN A 10.96.1.1
  answer     > web.shop.svc.cluster.local. 5 IN A 10.96.1.9
";
    assert!(ran.stdout.contains(part), "{}", ran.stdout);
    let sums = "6 read, 5 asked: 2 same, 0 settled when asked again, 3 different";
    assert!(ran.stdout.contains(sums), "{}", ran.stdout);

    let (json, code) = found(
        folder.path(),
        with(&other),
        &["names", "--zone", "in-addr.arpa", "--show", "0"],
    )
    .await;
    assert_eq!(code, Some(1), "{json:#}");
    assert_eq!(json["skipped"]["zone"], 5, "{json:#}");
    assert_eq!(json["different"], 1, "{json:#}");
    assert_eq!(json["differences"], serde_json::json!([]), "{json:#}");
}

/// Asks `names` of two servers that answer as they are told.
async fn told(ours: &Upstream, theirs: &Upstream, arguments: &[&str]) -> (Value, Option<i32>) {
    let folder = folder(&[("names", b"web.shop A\n")]);
    let servers = [ours.address(), theirs.address()];
    found(folder.path(), servers, &[&["names"], arguments].concat()).await
}

#[tokio::test]
async fn what_changes_under_way_is_asked_again() {
    let (ours, theirs) = (
        Upstream::start().await.unwrap(),
        Upstream::start().await.unwrap(),
    );
    let old = "web.shop. 30 IN A 10.0.0.1";
    let new = "web.shop. 29 IN A 10.0.0.2";
    ours.answer("web.shop", "A", &[new]);
    theirs.answer("web.shop", "A", &[new]);
    theirs.rule(Rule::new(Reply::answer(&[old])).times(1));
    let (json, code) = told(&ours, &theirs, &[]).await;
    assert_eq!((code, &json["settled"]), (Some(0), &1.into()), "{json:#}");
    assert_eq!(json["different"], 0, "{json:#}");

    // A lost datagram is no other answer, but it is counted.
    theirs.rule(Rule::new(Reply::silence()).times(1));
    let (json, code) = told(&ours, &theirs, &["--timeout", "1s"]).await;
    assert_eq!((code, &json["settled"]), (Some(0), &1.into()), "{json:#}");
    let unanswered = &json["unanswered"];
    assert_eq!(
        (&unanswered["server"], &unanswered["against"]),
        (&0.into(), &1.into()),
        "{json:#}"
    );

    // Without another chance it is.
    theirs.rule(Rule::new(Reply::answer(&[old])).times(1));
    let (json, code) = told(&ours, &theirs, &["--retries", "0"]).await;
    assert_eq!((code, &json["different"]), (Some(1), &1.into()), "{json:#}");
}

#[tokio::test]
async fn what_differs_on_purpose_counts_when_asked_to() {
    let (ours, theirs) = (
        Upstream::start().await.unwrap(),
        Upstream::start().await.unwrap(),
    );
    let soa = |serial| format!("shop. 30 IN SOA ns.shop. mail.shop. {serial} 7200 1800 86400 30");
    let denied = |serial| Reply::rcode("NXDOMAIN").authority(&[&soa(serial)]);
    ours.rule(Rule::new(denied(1)));
    theirs.rule(Rule::new(denied(2)));
    let (json, code) = told(&ours, &theirs, &[]).await;
    assert_eq!(
        (code, &json["known"]["serial"]),
        (Some(0), &1.into()),
        "{json:#}"
    );
    let (json, code) = told(&ours, &theirs, &["--strict", "serial,ede"]).await;
    assert_eq!(code, Some(1), "{json:#}");
    let difference = &json["differences"][0]["differences"][0];
    assert_eq!(difference["what"], "serial", "{json:#}");
    assert_eq!(difference["against"][0], soa(2), "{json:#}");

    // What one truncates is compared whole.
    let whole = Reply::answer(&["web.shop. 30 IN A 10.0.0.1"]);
    ours.rule(Rule::new(whole.clone()));
    theirs.rule(Rule::new(whole));
    theirs.rule(Rule::new(Reply::answer(&[]).truncated()).over(pando_test::Transport::Udp));
    let (json, code) = told(&ours, &theirs, &[]).await;
    assert_eq!(
        (code, &json["known"]["truncation"]),
        (Some(0), &1.into()),
        "{json:#}"
    );
}

/// A query in a datagram to port 53, in a packet of IPv4.
fn packet(message: &[u8]) -> Vec<u8> {
    let len = message.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((len + 28).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 96, 0, 10]);
    packet.extend([40_000, 53, len + 8, 0].map(u16::to_be_bytes).concat());
    packet.extend(message);
    packet
}

fn pcap(messages: &[Vec<u8>]) -> Vec<u8> {
    // Link type 101: bare IP.
    let mut file = [0xA1B2_C3D4_u32, 0x0002_0004, 0, 0, 65_535, 101]
        .map(u32::to_le_bytes)
        .concat();
    for message in messages {
        let packet = packet(message);
        let len = packet.len() as u32;
        file.extend([1, 2, len, len].map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    file
}

fn pcapng(messages: &[Vec<u8>]) -> Vec<u8> {
    let block = |kind: u32, mut body: Vec<u8>| {
        body.resize(body.len().next_multiple_of(4), 0);
        let len = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes()[..], &len, &body, &len].concat()
    };
    let section = [0x1A2B_3C4D, 0x0001_0000, u32::MAX, u32::MAX];
    let mut file = block(0x0A0D_0D0A, section.map(u32::to_be_bytes).concat());
    file.extend(block(1, vec![0, 101, 0, 0, 0, 0, 0, 0]));
    for message in messages {
        let packet = packet(message);
        let len = packet.len() as u32;
        let head = [0, 1, 2, len, len].map(u32::to_be_bytes).concat();
        file.extend(block(6, [head, packet].concat()));
    }
    file
}

/// A frame of control: its kind, and the content type where there is one.
fn control(kind: u8, content: &str) -> Vec<u8> {
    let mut body = vec![0, 0, 0, kind];
    if !content.is_empty() {
        body.extend([0, 0, 0, 1, 0, 0, 0, content.len() as u8]);
        body.extend(content.as_bytes());
    }
    [&[0, 0, 0, 0, 0, 0, 0, body.len() as u8], &body[..]].concat()
}

const DNSTAP: &str = "protobuf:dnstap.Dnstap";

/// START, a frame for each message, STOP. Messages are short: lengths take one octet.
fn dnstap(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = control(2, DNSTAP);
    for message in messages {
        let head = [8, 5, 24, 1, 10 << 3 | 2, message.len() as u8];
        let inner = [&head[..], message].concat();
        let frame = [&[14 << 3 | 2, inner.len() as u8], &inner[..], &[15 << 3, 1]].concat();
        stream.extend((frame.len() as u32).to_be_bytes());
        stream.extend(frame);
    }
    stream.extend(control(3, ""));
    stream
}

/// Two questions, one of them twice, and what is not to be asked again.
fn messages() -> Vec<Vec<u8>> {
    let web = Ask::new("web.shop.svc.cluster.local", "A");
    let mut answer = web.clone().id(9).bytes();
    answer[2] |= 0x80;
    vec![
        web.bytes(),
        Ask::new("Web.shop.svc.cluster.local", "A").bytes(),
        Ask::new("none.shop.svc.cluster.local", "AAAA")
            .edns(1232)
            .bytes(),
        Ask::new("web.shop.svc.cluster.local", "A")
            .opcode(5)
            .bytes(),
        Ask::new("cluster.local", "AXFR").bytes(),
        answer,
    ]
}

#[tokio::test]
async fn what_was_captured_is_asked_again() {
    let (server, other) = (cluster(FIXTURE).await, cluster(FIXTURE).await);
    let messages = messages();
    let (a, b, c) = (pcap(&messages), pcapng(&messages), dnstap(&messages));
    let folder = folder(&[("a.pcap", &a), ("b.pcapng", &b), ("c.dnstap", &c)]);
    for file in ["a.pcap", "b.pcapng", "c.dnstap"] {
        let servers = [server.address(), other.address()];
        let (json, code) = found(folder.path(), servers, &[file]).await;
        assert_eq!(code, Some(0), "{file}: {json:#}");
        for (field, count) in [("read", 6), ("repeated", 1), ("asked", 2), ("same", 2)] {
            assert_eq!(json[field], count, "{file}, {field}: {json:#}");
        }
        let skipped = serde_json::json!({"no_query": 1, "opcode": 1, "transfer": 1});
        assert_eq!(json["skipped"], skipped, "{file}: {json:#}");
    }
}

#[tokio::test]
async fn a_server_that_taps_is_rehearsed_live() {
    let (server, other) = (cluster(FIXTURE).await, cluster(FIXTURE).await);
    let folder = folder(&[]);
    let (server, against) = (server.address().to_string(), other.address().to_string());
    let socket = folder.path().join("tap");
    let listen = format!("unix://{}", socket.display());
    let arguments = ["diff", "--listen", &listen, "--limit", "2"];
    let servers = ["--server", &server, "--against", &against];
    let mut process = spawn(folder.path(), &[&arguments[..], &servers].concat(), None);
    process
        .wait_for_line("waiting for dnstap", BOUND)
        .await
        .unwrap();

    // Who does not tap is told apart and harms nobody.
    let mut stranger = UnixStream::connect(&socket).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    process.wait_for_line("dnstap: ", BOUND).await.unwrap();

    let mut tap = UnixStream::connect(&socket).await.unwrap();
    tap.write_all(&control(4, DNSTAP)).await.unwrap();
    let mut accepted = vec![0; control(1, DNSTAP).len()];
    tap.read_exact(&mut accepted).await.unwrap();
    assert_eq!(accepted, control(1, DNSTAP));
    tap.write_all(&dnstap(&messages())).await.unwrap();
    let status = process.wait_exit(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", process.shown());
    let sums = "2 asked: 2 same";
    assert!(process.stdout().contains(sums), "{}", process.stdout());
    assert!(!socket.exists(), "the socket's file is left");
}

#[tokio::test]
async fn a_signal_asks_for_the_sums() {
    let (server, other) = (cluster(FIXTURE).await, cluster(FIXTURE).await);
    let folder = folder(&[]);
    let port = Port::claim();
    let listen = format!("tcp://127.0.0.1:{}", port.number());
    let (server, against) = (server.address().to_string(), other.address().to_string());
    let arguments = ["diff", "--listen", &listen, "--server", &server];
    let all = [&arguments[..], &["--against", &against]].concat();
    let mut process = spawn(folder.path(), &all, None);
    process
        .wait_for_line("waiting for dnstap", BOUND)
        .await
        .unwrap();
    process.signal("INT").await.unwrap();
    let status = process.wait_exit(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(2), "{}", process.shown());
    let why = format!("{listen}: there was no query to ask\n");
    assert!(process.stderr().ends_with(&why), "{}", process.shown());
}

/// Runs it with this text on standard input: the exit code and standard error.
async fn refused(folder: &Path, arguments: &[&str], stdin: &str) -> (Option<i32>, String) {
    let arguments = [&["diff"], arguments].concat();
    let mut process: Process = spawn(folder, &arguments, Some(stdin));
    let status = process.wait_exit(BOUND).await.expect("an end");
    (status.code(), process.stderr())
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_exit_2() {
    let server = cluster(FIXTURE).await;
    let address = server.address().to_string();
    let claimed = Port::claim();
    let nobody = format!("127.0.0.1:{}", claimed.number());
    let folder = folder(&[
        ("cut.pcap", &pcap(&messages())[..100]),
        ("names", b"web.shop.svc.cluster.local\n"),
        ("empty", b""),
    ]);
    let both = ["--server", &address, "--against", &nobody];
    let with = |arguments: &[&'static str]| [&both[..], arguments].concat();
    for (arguments, stdin, said) in [
        (vec!["names"], "", "--against <ADDRESS>"),
        (with(&[]), "", "<FILE|--listen <ENDPOINT>>"),
        (
            with(&["names", "--listen", "/tap"]),
            "",
            "cannot be used with",
        ),
        (
            with(&["names", "--ignore", "colour"]),
            "",
            "[possible values: rcode, ",
        ),
        (
            with(&["names", "--timeout", "0"]),
            "",
            "more than nothing and at most 10m",
        ),
        (
            with(&["--listen", "here"]),
            "",
            "neither tcp://ADDRESS:PORT nor unix:///PATH",
        ),
        (
            with(&["--listen", "/none/tap"]),
            "",
            "unix:///none/tap: cannot be listened on: no such file",
        ),
        (
            vec!["names", "--against", "kube-dns"],
            "",
            "not an IP address, with :PORT where it is not 53",
        ),
        (
            vec!["names", "--against", "127.0.0.1"],
            "",
            "--server and --against are the same: 127.0.0.1:53\n",
        ),
        (
            with(&["nothing"]),
            "",
            "nothing: cannot be opened: no such file or directory\n",
        ),
        (with(&["empty"]), "", "empty: there was no query to ask\n"),
        (with(&["cut.pcap"]), "", "cut.pcap: ends inside "),
        (
            with(&["-"]),
            "a..b A\n",
            "standard input: line 1: no domain name: \"a..b\"\n",
        ),
        (
            with(&["names", "--retries", "0"]),
            "",
            "answered nothing at all\n",
        ),
    ] {
        let (code, stderr) = refused(folder.path(), &arguments, stdin).await;
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_real_coredns_is_rehearsed_from_its_own_tap() {
    let port = Port::claim();
    let tap = format!("tcp://127.0.0.1:{}", port.number());
    let Some(plain) = ServerBuilder::coredns("") else {
        println!("skipped: COREDNS_BIN names no CoreDNS");
        return;
    };
    drop(plain);
    let Some(plane) = ControlPlane::start().await.expect("a control plane") else {
        return;
    };
    plane.apply(FIXTURE).await.expect("the fixture fits");
    let account = plane
        .account("dns", &dns_rules())
        .await
        .expect("an account");
    let corefile = |tap: &str| {
        format!(
            ".:$PORT {{\n ready 127.0.0.1:$READY_PORT\n chaos\n {tap}\n kubernetes cluster.local in-addr.arpa {{\n kubeconfig {} test\n pods insecure\n }}\n}}\n",
            account.kubeconfig.display()
        )
    };
    let mut ours = pando(&corefile("")).start().await.expect("pando");
    ours.ready().await.expect("ready");

    // CoreDNS dials when it starts, so the rehearsal begins first.
    let theirs_port = Port::claim();
    let theirs = SocketAddr::from(([127, 0, 0, 1], theirs_port.number()));
    let folder = folder(&[]);
    let (server, against) = (ours.address().to_string(), theirs.to_string());
    let all = [
        "diff",
        "--listen",
        &tap,
        "--server",
        &server,
        "--against",
        &against,
        "--limit",
        "4",
    ];
    let mut process = spawn(folder.path(), &all, None);
    process
        .wait_for_line("waiting for dnstap", BOUND)
        .await
        .unwrap();
    let tapped =
        corefile(&format!("dnstap {tap} full")).replace("$PORT", &theirs_port.number().to_string());
    let coredns = ServerBuilder::coredns(&tapped).expect("was there");
    let mut coredns = coredns.spawn().expect("CoreDNS starts");
    coredns.ready().await.expect("CoreDNS is ready");
    let client = pando_test::Client::to(theirs).bound(Duration::from_secs(5));
    for ask in [
        Ask::new("web.shop.svc.cluster.local", "A"),
        Ask::new("none.shop.svc.cluster.local", "A").edns(1232),
        Ask::new("version.bind", "TXT").class(3),
        Ask::new("1.1.96.10.in-addr.arpa", "PTR"),
    ] {
        // It is ready before it listens.
        let answered = until("an answer", BOUND, || async { client.udp(&ask).await.ok() });
        answered.await.expect("CoreDNS answers");
    }
    let status = process.wait_exit(BOUND).await.expect("an end");
    assert_eq!(status.code(), Some(0), "{}", process.shown());
    let stdout = process.stdout();
    assert!(stdout.contains("4 asked: 4 same"), "{stdout}");
    assert!(stdout.contains("identity 1"), "{stdout}");
}
