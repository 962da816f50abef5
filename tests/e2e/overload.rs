//! More load than the server can take, and clients that mean harm.

use std::time::Duration;

use pando_test::{Ask, BOUND, Client, Reply, Rule, Server, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::pando;

const METRICS: &str = ".:$PORT {\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}\n";

/// Resident memory in KiB.
fn resident(server: &Server) -> usize {
    let path = format!("/proc/{}/status", server.pid().unwrap());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Answers after so many milliseconds.
fn slow(upstream: &Upstream, millis: u64) {
    let reply = Reply::answer(&["slow.example.org. 60 IN A 192.0.2.1"]);
    upstream.rule(Rule::new(reply.after(Duration::from_millis(millis))));
}

/// A dead upstream and far more queries than may wait: memory stays flat,
/// what is shed is counted, other zones are answered.
#[tokio::test]
async fn queries_that_wait_are_bounded_and_the_oldest_go() {
    let upstream = Upstream::start().await.unwrap();
    upstream.rule(Rule::new(Reply::silence()));
    let corefile = format!(
        ".:$PORT {{\n forward . {}\n}}\nlocal:$PORT {{\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}}\n",
        upstream.address()
    );
    let mut server = pando(&corefile).start().await.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address()).await.unwrap();
    let flood = async |from: u32, count: u32| {
        for index in from..from + count {
            let name = format!("n{index}.example.org");
            let _ = socket.send(&Ask::new(&name, "A").bytes()).await;
            if index % 64 == 0 {
                // Lets the server read: the receive buffer is not what is tested.
                server.client().ask("x.local", "A").await.unwrap();
            }
        }
    };
    flood(0, 10_000).await;
    let before = resident(&server);
    flood(10_000, 20_000).await;
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KiB more");
    let shed = server
        .metric("pando_server_dropped_total{reason=\"overload\"}")
        .await
        .unwrap();
    assert!(shed.unwrap_or_default() > 0.0, "{shed:?}");
    server.client().ask("x.local", "A").await.unwrap();
}

/// What has piled up is answered whole, and so is who asks after it.
#[tokio::test]
async fn a_backlog_leaves_a_server_that_listens() {
    let server = pando(METRICS).start().await.unwrap();
    let query = Ask::new("example.org", "A").bytes();
    for _ in 0..3 {
        server.signal("STOP").await.unwrap();
        // Of so many ports that every worker has its share.
        let mut clients = Vec::new();
        for _ in 0..16 {
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.connect(server.address()).await.unwrap();
            for _ in 0..64 {
                client.send(&query).await.unwrap();
            }
            clients.push(client);
        }
        server.signal("CONT").await.unwrap();
        for client in &clients {
            for _ in 0..64 {
                let mut answer = [0; 512];
                let answer = client.recv(&mut answer);
                tokio::time::timeout(BOUND, answer).await.unwrap().unwrap();
            }
        }
        for _ in 0..16 {
            server.client().ask("example.org", "A").await.unwrap();
        }
    }
}

/// Thousands of connections that say nothing don't keep others out.
#[tokio::test]
async fn silent_connections_make_room() {
    let mut server = pando(METRICS).start().await.unwrap();
    let mut silent = Vec::new();
    let begun = std::time::Instant::now();
    // Enough for the share of one worker, whichever takes them.
    for _ in 0..4500 {
        // It ends at the test's own limit of descriptors at the latest.
        let Ok(mut stream) = TcpStream::connect(server.address()).await else {
            break;
        };
        let _ = stream.write_all(&[0]).await;
        silent.push(stream);
    }
    let answer = server
        .client()
        .bound(BOUND)
        .tcp(&Ask::new("example.org", "A"))
        .await
        .unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
    // On a machine that took longer, they were closed for their silence.
    if silent.len() >= 4500 && begun.elapsed() < Duration::from_secs(2) {
        let shed = server
            .metric("pando_server_dropped_total{reason=\"connections\"}")
            .await;
        assert!(shed.unwrap().unwrap_or_default() > 0.0);
    }
}

/// A client that asks and never reads is cut off; the others don't notice.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = pando(METRICS).start().await.unwrap();
    let mut greedy = TcpStream::connect(server.address()).await.unwrap();
    let bytes = Ask::new("example.org", "A").bytes();
    let framed = [&(bytes.len() as u16).to_be_bytes(), &bytes[..]]
        .concat()
        .repeat(1000);
    // Once its replies fill all buffers the server reads no more of it, and
    // after the write timeout closes: a write then fails.
    let cut = tokio::time::timeout(BOUND, async {
        while greedy.write_all(&framed).await.is_ok() {}
    });
    let asking = async {
        loop {
            server.client().ask("example.org", "A").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        cut = cut => cut.expect("cut off"),
        () = asking => unreachable!(),
    }
}

/// Ten thousand queries in one write, every other one for an upstream: each is answered, once.
#[tokio::test]
async fn a_flood_on_one_connection_is_answered_whole() {
    let upstream = Upstream::start().await.unwrap();
    upstream.rule(Rule::new(Reply::answer(&[
        "n.example.org. 60 IN A 192.0.2.1",
    ])));
    let corefile = format!(
        ".:$PORT {{\n forward . {}\n}}\nlocal:$PORT {{\n whoami\n}}\n",
        upstream.address()
    );
    let server = pando(&corefile).start().await.unwrap();
    let mut framed = Vec::new();
    for id in 0..10_000 {
        let name = ["n.example.org", "n.local"][usize::from(id % 2)];
        let bytes = Ask::new(name, "A").id(id).bytes();
        framed.extend((bytes.len() as u16).to_be_bytes());
        framed.extend(bytes);
    }
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sent = tokio::spawn(async move {
        write.write_all(&framed).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut ids = Vec::new();
    let receive = async {
        while let Ok(length) = read.read_u16().await {
            let mut message = vec![0; usize::from(length)];
            read.read_exact(&mut message).await.unwrap();
            assert_eq!(message[3] & 0x0F, 0, "NOERROR: {message:?}");
            ids.push(u16::from_be_bytes([message[0], message[1]]));
        }
    };
    tokio::time::timeout(6 * BOUND, receive).await.unwrap();
    sent.await.unwrap();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..10_000));
}

/// What a connection needed in a burst it does not keep while it is idle.
#[tokio::test]
async fn idle_connections_keep_no_large_buffers() {
    const CONNECTIONS: usize = 200;
    let text = "x".repeat(250);
    let corefile = format!(
        ".:$PORT {{\n template IN TXT . {{\n answer \"{{{{ .Name }}}} 60 IN TXT {text} {text} {text} {text}\"\n }}\n}}\n"
    );
    let server = pando(&corefile).start().await.unwrap();
    let bytes = Ask::new("example.org", "TXT").bytes();
    let framed = [&(bytes.len() as u16).to_be_bytes(), &bytes[..]].concat();
    let mut idle = Vec::new();
    let mut before = 0;
    for nth in 0..=CONNECTIONS {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let queries = framed.repeat(100);
        let sent = tokio::spawn(async move {
            write.write_all(&queries).await.unwrap();
            write
        });
        let receive = async {
            for _ in 0..100 {
                let length = read.read_u16().await.unwrap();
                read.read_exact(&mut vec![0; usize::from(length)])
                    .await
                    .unwrap();
            }
        };
        tokio::time::timeout(BOUND, receive).await.unwrap();
        idle.push((read, sent.await.unwrap()));
        if nth == 0 {
            before = resident(&server);
        }
    }
    let each = resident(&server).saturating_sub(before) / CONNECTIONS;
    assert!(each < 24, "{each} KiB a connection");
}

/// Answers come as they are ready: a fast one overtakes a slow one.
#[tokio::test]
async fn a_slow_answer_holds_up_nobody_on_its_connection() {
    let upstream = Upstream::start().await.unwrap();
    slow(&upstream, 500);
    let corefile = format!(
        ".:$PORT {{\n forward . {}\n}}\nlocal:$PORT {{\n whoami\n}}\n",
        upstream.address()
    );
    let server = pando(&corefile).start().await.unwrap();
    let client: Client = server.client();
    let mut stream = client.stream().await.unwrap();
    stream
        .send(&Ask::new("slow.example.org", "A").id(1))
        .await
        .unwrap();
    stream
        .send(&Ask::new("fast.local", "A").id(2))
        .await
        .unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(stream.receive().await.unwrap().unwrap().message.metadata.id);
    }
    assert_eq!(ids, [2, 1]);
    // The client has said all it will; what waits is answered all the same.
    stream
        .send(&Ask::new("slow.example.org", "A").id(3))
        .await
        .unwrap();
    stream.finish().await.unwrap();
    assert_eq!(
        stream.receive().await.unwrap().unwrap().message.metadata.id,
        3
    );
    stream.closed().await.unwrap();
}

/// SIGTERM finishes what is in flight.
#[tokio::test]
async fn a_query_in_flight_is_answered_before_the_end() {
    let upstream = Upstream::start().await.unwrap();
    slow(&upstream, 800);
    let corefile = format!(".:$PORT {{\n forward . {}\n}}\n", upstream.address());
    let mut server = pando(&corefile).start().await.unwrap();
    let ask = Ask::new("slow.example.org", "A");
    let (udp, tcp) = (server.client(), server.client());
    let udp = tokio::spawn({
        let ask = ask.clone();
        async move { udp.udp(&ask).await }
    });
    let tcp = tokio::spawn(async move { tcp.tcp(&ask).await });
    upstream.wait_seen(2, BOUND).await.unwrap();
    server.signal("TERM").await.unwrap();
    assert_eq!(udp.await.unwrap().unwrap().data(), ["192.0.2.1"]);
    assert_eq!(tcp.await.unwrap().unwrap().data(), ["192.0.2.1"]);
    assert_eq!(server.wait_exit(BOUND).await.unwrap().code(), Some(0));
}
