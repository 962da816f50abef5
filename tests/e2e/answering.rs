//! `hosts`, `loadbalance`, `acl`, `minimal` and `bufsize` as clients meet them.

use std::collections::BTreeSet;
use std::time::Duration;

use pando_test::{Ask, BOUND, Reply, Rule, Upstream, page, until};

use crate::pando;

#[tokio::test]
async fn a_hosts_file_is_followed() {
    let corefile = ".:$PORT {\n prometheus :$METRICS_PORT\n hosts $DIR/NodeHosts {\n ttl 60\n \
                    reload 50ms\n 10.0.0.9 inline.example.org\n fallthrough\n }\n whoami\n}\n";
    let mut server = pando(corefile)
        .file("NodeHosts", "10.0.0.1 node1.example.org\n")
        .start()
        .await
        .unwrap();
    let client = server.client();
    let answer = client.ask("node1.example.org", "A").await.unwrap();
    assert_eq!(answer.answer(), ["node1.example.org. 60 IN A 10.0.0.1"]);
    assert_eq!(answer.flags(), "qr aa rd");
    let inline = client.ask("inline.example.org", "A").await.unwrap();
    assert_eq!(inline.data(), ["10.0.0.9"]);
    let passed = client.ask("node2.example.org", "A").await.unwrap();
    assert!(passed.answer().is_empty(), "whoami answers: {passed}");

    server
        .write(
            "NodeHosts",
            "10.0.0.1 node1.example.org\n10.0.0.2 node2.example.org\n",
        )
        .unwrap();
    until("the new line", BOUND, || async {
        let answer = client.ask("node2.example.org", "A").await.unwrap();
        (answer.data() == ["10.0.0.2"]).then_some(())
    })
    .await
    .unwrap();
    let reverse = client.ask("2.0.0.10.in-addr.arpa", "PTR").await.unwrap();
    assert_eq!(reverse.data(), ["node2.example.org."]);
    let path = server.path("NodeHosts").display().to_string();
    let entries = format!("coredns_hosts_entries{{hostsfile=\"{path}\"}}");
    assert_eq!(server.metric(&entries).await.unwrap(), Some(6.0));
}

#[tokio::test]
async fn a_name_that_no_hosts_file_knows_is_a_failure() {
    let corefile = ".:$PORT {\n hosts $DIR/none\n}\n";
    let server = pando(corefile).start().await.unwrap();
    let line = server.wait_for_line("plugin/hosts: File does not exist", BOUND);
    line.await.unwrap();
    let answer = server.client().ask("x.example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "SERVFAIL");
}

#[tokio::test]
async fn addresses_are_shuffled() {
    let upstream = Upstream::start().await.unwrap();
    let name = "www.example.org";
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    let records = addresses.map(|address| format!("web.example.org. 300 IN A {address}"));
    let [a, b, c] = records.each_ref().map(String::as_str);
    let alias = "www.example.org. 300 IN CNAME web.example.org.";
    upstream.rule(Rule::new(Reply::answer(&[alias, a, b, c])).name(name));
    let address = upstream.address();
    let corefile = format!(".:$PORT {{\n cache\n loadbalance\n forward . {address}\n}}\n");
    let server = pando(&corefile).start().await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let answer = server.client().ask(name, "A").await.unwrap();
        // In the order of the reply; the test client's own lists are sorted.
        let answers = answer.message.answers.iter();
        let order: Vec<String> = answers.map(|record| record.data.to_string()).collect();
        let [first, rest @ ..] = &order[..] else {
            panic!("{answer}");
        };
        assert_eq!(first, "web.example.org.");
        let all: BTreeSet<&str> = rest.iter().map(String::as_str).collect();
        assert_eq!(all, BTreeSet::from(addresses));
        seen.insert(rest.to_vec());
    }
    assert_eq!(seen.len(), 6, "every order: {seen:?}");
    assert_eq!(upstream.count("www.example.org.", "A"), 1);
}

#[tokio::test]
async fn clients_are_told_apart() {
    let corefile = ".:$PORT {\n prometheus :$METRICS_PORT\n acl {\n block net 127.0.0.2\n \
                    filter net 127.0.0.3\n drop net 127.0.0.4\n }\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    let client = |last| server.client().from([127, 0, 0, last].into());
    let blocked = client(2).ask("example.org", "A").await.unwrap();
    assert_eq!(
        (blocked.rcode().as_str(), blocked.extended_error()),
        ("REFUSED", Some(15))
    );
    let ask = Ask::new("example.org", "A").edns(1232);
    let filtered = client(3).udp(&ask).await.unwrap();
    assert_eq!(
        (filtered.rcode().as_str(), filtered.extended_error()),
        ("NOERROR", Some(17))
    );
    let dropped = client(4)
        .bound(Duration::from_millis(200))
        .ask("example.org", "A")
        .await;
    assert!(dropped.is_err());
    let allowed = client(5).ask("example.org", "A").await.unwrap();
    assert!(!allowed.additional().is_empty(), "{allowed}");

    let port = server.address().port();
    for (name, labels) in [
        ("blocked", ",view=\"\",zone=\".\""),
        ("filtered", ",view=\"\",zone=\".\""),
        ("dropped", ",view=\"\",zone=\".\""),
        ("allowed", ",view=\"\""),
    ] {
        let metric =
            format!("coredns_acl_{name}_requests_total{{server=\"dns://:{port}\"{labels}}}");
        // Who is dropped hears nothing, so not either when that was.
        let metrics = server.at("METRICS_PORT");
        until(&metric, BOUND, || async {
            let page = page(metrics, "/metrics", &[]).await.ok()?;
            (page.body.lines().any(|line| line == format!("{metric} 1"))).then_some(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn minimal_replies_are_answers_alone() {
    let upstream = Upstream::start().await.unwrap();
    let answer = Reply::answer(&["www.example.org. 300 IN A 192.0.2.1"])
        .authority(&["example.org. 300 IN NS ns.example.org."])
        .additional(&["ns.example.org. 300 IN A 192.0.2.2"]);
    upstream.rule(Rule::new(answer));
    let address = upstream.address();
    let corefile = format!(".:$PORT {{\n minimal\n forward . {address}\n}}\n");
    let server = pando(&corefile).start().await.unwrap();
    let ask = Ask::new("www.example.org", "A").edns(1232);
    let answer = server.client().udp(&ask).await.unwrap();
    assert_eq!(answer.data(), ["192.0.2.1"]);
    assert!(
        answer.authority().is_empty() && answer.additional().is_empty(),
        "{answer}"
    );
    assert!(answer.edns().is_some());
}

#[tokio::test]
async fn bufsize_bounds_upstreams_and_replies() {
    let upstream = Upstream::start().await.unwrap();
    let records: Vec<String> = (0..60)
        .map(|index| format!("www.example.org. 300 IN A 192.0.2.{index}"))
        .collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    upstream.rule(Rule::new(Reply::answer(&records)));
    let address = upstream.address();
    let corefile = format!(".:$PORT {{\n bufsize 700\n forward . {address}\n}}\n");
    let server = pando(&corefile).start().await.unwrap();
    for (ask, size, edns) in [
        (Ask::new("www.example.org", "A").edns(4096), 700, Some(700)),
        (Ask::new("www.example.org", "A").edns(600), 600, Some(600)),
        (Ask::new("www.example.org", "A"), 512, None),
    ] {
        upstream.forget();
        let reply = server
            .client()
            .raw_udp(&ask.bytes())
            .await
            .unwrap()
            .unwrap();
        assert!(reply.len() <= size, "{}", reply.len());
        assert!(reply[2] & 2 != 0, "truncated");
        let seen = upstream.seen();
        assert!(seen.iter().all(|seen| seen.edns == edns), "{seen:?}");
    }
}
