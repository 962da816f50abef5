use super::*;
use crate::{Ask, BOUND, Client};

const A: &str = "example.org. 300 IN A 192.0.2.1";

fn quick(upstream: &Upstream) -> Client {
    Client::to(upstream.address()).bound(Duration::from_millis(200))
}

#[tokio::test]
async fn answers_by_rule_over_both_transports_and_remembers() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer("example.org", "A", &[A]);
    let client = Client::to(upstream.address());
    let ask = Ask::new("Example.org", "A").edns(1400).dnssec_ok();
    for answer in [client.udp(&ask).await, client.tcp(&ask).await] {
        let answer = answer.unwrap();
        assert_eq!(answer.flags(), "qr rd ra");
        assert_eq!(answer.answer(), [A]);
        assert_eq!(answer.question(), "Example.org. IN A");
        assert!(answer.edns().is_some_and(|edns| edns.contains("0x8000")));
    }
    let other = client.ask("example.org", "AAAA").await.unwrap();
    assert_eq!((other.rcode(), other.edns()), ("REFUSED".into(), None));
    let seen = upstream.wait_seen(3, BOUND).await.unwrap();
    assert_eq!(seen[0].transport, Transport::Udp);
    assert_eq!(seen[1].transport, Transport::Tcp);
    assert_eq!((seen[0].edns, seen[0].dnssec_ok), (Some(1400), true));
    assert_eq!(upstream.count("EXAMPLE.org.", "A"), 2);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn lies_and_losses_are_as_scripted() {
    let upstream = Upstream::start().await.unwrap();
    let ask = Ask::new("example.org", "A").id(1);
    let query = ask.bytes();

    upstream.rule(Rule::new(Reply::answer(&[A]).wrong_id()));
    let bytes = quick(&upstream).raw_udp(&query).await.unwrap().unwrap();
    assert_ne!(bytes[..2], query[..2]);

    upstream.rule(Rule::new(Reply::answer(&[A]).wrong_question("other.org.")));
    let answer = quick(&upstream).udp(&ask).await.unwrap();
    assert_eq!(answer.question(), "other.org. IN A");

    upstream.rule(Rule::new(Reply::answer(&[A]).cut(20)));
    let bytes = quick(&upstream).raw_udp(&query).await.unwrap().unwrap();
    assert_eq!(bytes.len(), 20);

    upstream.rule(Rule::new(Reply::default().truncated()).over(Transport::Udp));
    let answer = quick(&upstream).udp(&ask).await.unwrap();
    assert_eq!(answer.flags(), "qr tc rd ra");

    // A connected socket does not take what another port sends.
    upstream.rule(Rule::new(Reply::answer(&[A]).wrong_port()));
    assert_eq!(quick(&upstream).raw_udp(&query).await.unwrap(), None);

    upstream.rule(Rule::new(Reply::silence()));
    assert_eq!(quick(&upstream).raw_udp(&query).await.unwrap(), None);
}

#[tokio::test]
async fn a_rule_ends_after_its_times_and_the_one_before_takes_over() {
    let upstream = Upstream::start().await.unwrap();
    upstream.rule(Rule::new(Reply::answer(&[A])).below("org"));
    upstream.rule(Rule::new(Reply::rcode("SERVFAIL")).times(1));
    let client = Client::to(upstream.address());
    let first = client.ask("example.org", "A").await.unwrap();
    let second = client.ask("example.org", "A").await.unwrap();
    assert_eq!(first.rcode(), "SERVFAIL");
    assert_eq!(second.answer(), [A]);
}

#[tokio::test]
async fn delayed_replies_are_overtaken_on_one_connection() {
    let upstream = Upstream::start().await.unwrap();
    let slow = Reply::default().after(Duration::from_millis(100));
    upstream.rule(Rule::new(Reply::default()));
    upstream.rule(Rule::new(slow).name("slow.org"));
    let mut stream = Client::to(upstream.address()).stream().await.unwrap();
    stream.send(&Ask::new("slow.org", "A").id(1)).await.unwrap();
    stream.send(&Ask::new("fast.org", "A").id(2)).await.unwrap();
    stream.finish().await.unwrap();
    let mut ids = Vec::new();
    while let Some(answer) = stream.receive().await.unwrap() {
        ids.push(answer.message.metadata.id);
        if ids.len() == 2 {
            break;
        }
    }
    assert_eq!(ids, [2, 1]);
}

#[tokio::test]
async fn connections_close_as_scripted() {
    let upstream = Upstream::start().await.unwrap();
    upstream.rule(Rule::new(Reply::default()));
    upstream.close_tcp_after(Some(1));
    let mut stream = Client::to(upstream.address()).stream().await.unwrap();
    stream.send(&Ask::new("a.org", "A")).await.unwrap();
    assert!(stream.receive().await.unwrap().is_some());
    stream.closed().await.unwrap();

    upstream.rule(Rule::new(Reply::hang_up()));
    let mut stream = Client::to(upstream.address()).stream().await.unwrap();
    stream.send(&Ask::new("a.org", "A")).await.unwrap();
    stream.closed().await.unwrap();
}

#[tokio::test]
async fn down_closes_the_port_and_up_opens_it_again() {
    let upstream = Upstream::start().await.unwrap();
    let client = Client::to(upstream.address());
    client.ask("example.org", "A").await.unwrap();
    upstream.down().await;
    assert!(client.ask("example.org", "A").await.is_err());
    assert!(client.stream().await.is_err());
    upstream.up().await.unwrap();
    client.ask("example.org", "A").await.unwrap();
}
