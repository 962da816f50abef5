//! UDP and TCP: who is answered, from where, and with what.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use pando_test::{Ask, BOUND, Client, Netns, Process, link};
use tokio::net::UdpSocket;

use crate::pando;

const WHOAMI: &str = ".:$PORT {\n whoami\n}\n";

#[tokio::test]
async fn whoami_tells_a_client_its_address_and_transport() {
    let server = pando(WHOAMI).start().await.unwrap();
    let client = server.client().from([127, 0, 0, 9].into());
    let ask = Ask::new("Example.org", "A").edns(4096);
    for (answer, transport) in [
        (client.udp(&ask).await.unwrap(), "_udp"),
        (server.client().tcp(&ask).await.unwrap(), "_tcp"),
        // What one transport has used is used again by the other.
        (client.udp(&ask).await.unwrap(), "_udp"),
    ] {
        assert_eq!(answer.flags(), "qr aa rd");
        assert_eq!(answer.question(), "Example.org. IN A");
        let additional = answer.additional();
        let address = if transport == "_udp" {
            "127.0.0.9"
        } else {
            "127.0.0.1"
        };
        assert!(
            additional.iter().any(|line| line.ends_with(address)),
            "{answer}"
        );
        assert!(
            additional.iter().any(|line| line.starts_with(transport)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn queries_larger_than_512_octets_are_read_whole() {
    let server = pando(WHOAMI).start().await.unwrap();
    let ask = Ask::new("example.org", "A")
        .edns(4096)
        .option(12, &[0; 3000]);
    let answer = server.client().udp(&ask).await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
}

#[tokio::test]
async fn a_reply_comes_from_the_address_that_was_asked() {
    let server = pando(WHOAMI).start().await.unwrap();
    let port = server.address().port();
    for ip in ["127.0.0.1", "127.1.2.3", "127.0.0.53", "::1"] {
        // The client's socket is connected: it hears nobody else.
        let client = Client::to((ip.parse::<std::net::IpAddr>().unwrap(), port).into());
        let answer = client.ask("example.org", "A").await.unwrap();
        assert_eq!(answer.rcode(), "NOERROR", "{ip}");
    }
}

#[tokio::test]
async fn bind_limits_the_addresses() {
    let server = pando(".:$PORT {\n bind 127.0.0.5 ::1\n whoami\n}\n").ip([127, 0, 0, 5].into());
    let server = server.start().await.unwrap();
    for address in [" on 127.0.0.5", " on ::1"] {
        server.wait_for_line(address, BOUND).await.unwrap();
    }
    let elsewhere = ([127, 0, 0, 1], server.address().port()).into();
    let client = Client::to(elsewhere).bound(Duration::from_millis(300));
    assert!(client.ask("example.org", "A").await.is_err());
}

#[tokio::test]
async fn a_connection_carries_many_queries() {
    let server = pando(WHOAMI).start().await.unwrap();
    let mut stream = server.client().stream().await.unwrap();
    for id in 0..500 {
        stream
            .send(&Ask::new("example.org", "A").id(id))
            .await
            .unwrap();
    }
    for id in 0..500 {
        let answer = stream.receive().await.unwrap().unwrap();
        assert_eq!(answer.message.metadata.id, id);
    }
    // Half a message, then the rest.
    let bytes = Ask::new("example.org", "A").id(9).bytes();
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend(bytes);
    stream.send_raw(&framed[..7]).await.unwrap();
    stream.send_raw(&framed[7..]).await.unwrap();
    assert_eq!(
        stream.receive().await.unwrap().unwrap().message.metadata.id,
        9
    );
    // What is no query gets its header or nothing; the connection goes on.
    stream.send_raw(b"\0\x03abc").await.unwrap();
    stream
        .send_raw(b"\0\x0c\0\x01\x29\0\0\x01\0\0\0\0\0\0")
        .await
        .unwrap();
    let answer = stream.receive().await.unwrap().unwrap();
    assert_eq!(answer.rcode(), "NOTIMP");
    stream.finish().await.unwrap();
    stream.closed().await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = pando(WHOAMI).start().await.unwrap();
    let started = std::time::Instant::now();
    let mut silent = server.client().bound(BOUND).stream().await.unwrap();
    let mut slow = server.client().bound(BOUND).stream().await.unwrap();
    // A length without a message keeps nothing open.
    slow.send_raw(&[0]).await.unwrap();
    silent.closed().await.unwrap();
    let waited = started.elapsed();
    // Three seconds, and not the ten of one that has asked something.
    assert!((2..10).contains(&waited.as_secs()), "{waited:?}");
    slow.closed().await.unwrap();
    assert!(started.elapsed().as_secs() < 10);
}

#[tokio::test]
async fn whoami_answers_in_the_class_of_the_question() {
    // Another class than IN is served where `chaos` is.
    let server = pando(".:$PORT {\n    chaos\n    whoami\n}")
        .start()
        .await
        .unwrap();
    let ask = Ask::new("example.org", "A").class(3);
    let answer = server.client().udp(&ask).await.unwrap();
    let lines = answer.additional();
    assert!(
        lines.contains(&"example.org. 0 CH A 127.0.0.1".to_owned()),
        "{answer}"
    );
    assert!(lines.iter().all(|line| line.contains(" 0 CH ")), "{answer}");
}

#[tokio::test]
async fn a_reply_too_large_for_its_path_goes_out_in_fragments() {
    if let Some(why) = Netns::missing() {
        return eprintln!("skipped: {why}");
    }
    let netns = Netns::create("mtu").unwrap();
    netns.ip("link set lo mtu 1500").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Corefile");
    let hosts = (1..=200).fold(String::new(), |mut text, i| {
        let _ = writeln!(text, "  10.0.0.{i} many.test");
        text
    });
    fs::write(&path, format!(".:53 {{\n hosts {{\n{hosts} }}\n}}\n")).unwrap();
    let mut command = netns.command(env!("CARGO_BIN_EXE_pando"));
    command.arg("-conf").arg(&path);
    let server = Process::spawn(command, None).unwrap();
    server.wait_for_line("Pando-", BOUND).await.unwrap();
    let ask = async || {
        let client = Client::to(([127, 0, 0, 1], 53).into());
        let large = client.udp(&Ask::new("many.test", "A").edns(4096)).await?;
        // Afterwards others go out as before.
        let small = client.udp(&Ask::new("many.test", "AAAA")).await?;
        Ok((large.answer().len(), large.flags(), small.rcode()))
    };
    let (seen, _inhabitant) = netns.inhabit(ask).unwrap();
    assert_eq!(seen, (200, "qr aa rd".to_owned(), "NOERROR".to_owned()));
}

/// The kernel keeps what it cannot deliver yet, up to the send buffer's size.
#[tokio::test]
async fn a_client_that_is_gone_holds_others_up_until_the_kernel_gives_it_up() {
    if let Some(why) = Netns::missing() {
        return eprintln!("skipped: {why}");
    }
    let (here, there) = (
        Netns::create("server").unwrap(),
        Netns::create("gone").unwrap(),
    );
    link((&here, "eth0"), (&there, "eth0")).unwrap();
    here.ip("link set eth0 address 02:00:00:00:00:01\naddr add 10.9.0.1/24 dev eth0\n")
        .unwrap();
    there
        .ip("addr add 10.9.0.2/24 dev eth0\n\
             neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent\n")
        .unwrap();
    // It asks, and nobody learns where to send what it asked for.
    there.sysctl("net/ipv4/conf/eth0/arp_ignore", "8").unwrap();
    let queue = "net/ipv4/neigh/eth0/unres_qlen_bytes";
    here.sysctl(queue, "16777216").unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Corefile");
    fs::write(&path, ".:53 {\n whoami\n}\n").unwrap();
    let mut command = here.command(env!("CARGO_BIN_EXE_pando"));
    command.arg("-conf").arg(&path);
    let server = Process::spawn(command, None).unwrap();
    server.wait_for_line("Pando-", BOUND).await.unwrap();
    let flood = async || {
        let query = Ask::new("example.org", "A").bytes();
        // Of so many ports that every worker has its share.
        for _ in 0..16 {
            let socket = UdpSocket::bind("10.9.0.2:0").await?;
            for _ in 0..128 {
                socket.send_to(&query, "10.9.0.1:53").await?;
            }
        }
        Ok(())
    };
    let (_, _flooder) = there.inhabit(flood).unwrap();
    let ask = async || {
        for _ in 0..8 {
            let client = Client::to(([127, 0, 0, 1], 53).into()).bound(BOUND);
            client.ask("example.org", "A").await?;
        }
        Ok(())
    };
    let (_, _client) = here.inhabit(ask).unwrap();
}
