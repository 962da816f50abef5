//! `forward` and `loop`: what upstreams are asked, and what clients get.
//!
//! What these tests expect CoreDNS does too, unless a test says otherwise; `PANDO_BIN` holds
//! them against it.

use std::time::{Duration, Instant};

use pando_test::{Ask, BOUND, Reply, Rule, Server, Transport, Upstream};

use crate::pando;

/// A server with these directives, `{0}` and so on standing for the upstreams.
async fn serve(directives: &str, upstreams: &[&Upstream]) -> Server {
    let mut block = directives.to_owned();
    for (nth, upstream) in upstreams.iter().enumerate() {
        block = block.replace(&format!("{{{nth}}}"), &upstream.address().to_string());
    }
    let corefile = format!(".:$PORT {{\n errors\n {block}\n}}\n");
    let server = pando(&corefile).start().await.unwrap();
    // What servers before this one asked.
    upstreams.iter().for_each(|upstream| upstream.forget());
    server
}

async fn upstream(rules: impl IntoIterator<Item = Rule>) -> Upstream {
    let upstream = Upstream::start().await.unwrap();
    rules.into_iter().for_each(|rule| upstream.rule(rule));
    upstream
}

fn always(reply: Reply) -> [Rule; 1] {
    [Rule::new(reply)]
}

fn one_address() -> Reply {
    Reply::answer(&["a.example. 60 IN A 10.0.0.1"])
}

/// Whether it is Pando that is held to what only Pando does.
fn is_pando() -> bool {
    std::env::var_os("PANDO_BIN").is_none()
}

#[tokio::test]
async fn queries_go_out_as_they_came() {
    let upstream = upstream(always(one_address())).await;
    let server = serve("forward . {0}", &[&upstream]).await;
    for ask in [
        Ask::new("a.example", "A"),
        Ask::new("MiXed.Example", "AAAA").no_recursion(),
        Ask::new("a.example", "A").edns(4096).checking_disabled(),
        Ask::new("a.example", "TXT").dnssec_ok().authentic(),
        Ask::new("a.example", "A")
            .edns(1232)
            .option(10, b"12345678")
            .option(65001, b"x"),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            upstream.forget();
            match transport {
                Transport::Udp => server.client().udp(&ask).await.unwrap(),
                Transport::Tcp => server.client().tcp(&ask).await.unwrap(),
            };
            let seen = upstream.wait_seen(1, BOUND).await.unwrap();
            assert_eq!(seen.len(), 1, "{ask}");
            assert_eq!(seen[0].transport, transport, "{ask}");
            assert_eq!(seen[0].bytes[2..], ask.bytes()[2..], "{ask}");
        }
    }
}

#[tokio::test]
async fn replies_come_back_as_they_were_sent() {
    let soa = "example. 300 IN SOA ns.example. host.example. 1 2 3 4 5";
    let upstream = upstream([
        Rule::new(
            one_address()
                .authority(&["example. 60 IN NS ns.example."])
                .additional(&["ns.example. 60 IN A 10.0.0.53"]),
        )
        .name("full.example"),
        Rule::new(Reply::rcode("NXDOMAIN").authority(&[soa])).name("none.example"),
        Rule::new(Reply::answer(&[]).authority(&[soa])).name("empty.example"),
        Rule::new(Reply::rcode("SERVFAIL")).name("fails.example"),
        Rule::new(Reply::rcode("REFUSED")).name("refused.example"),
        Rule::new(Reply::rcode("NOTIMP")).name("notimp.example"),
    ])
    .await;
    let server = serve("forward . {0}", &[&upstream]).await;
    for (name, rcode, sections) in [
        ("full.example", "NOERROR", [1, 1, 1]),
        ("none.example", "NXDOMAIN", [0, 1, 0]),
        ("empty.example", "NOERROR", [0, 1, 0]),
        ("fails.example", "SERVFAIL", [0, 0, 0]),
        ("refused.example", "REFUSED", [0, 0, 0]),
        ("notimp.example", "NOTIMP", [0, 0, 0]),
    ] {
        for ask in [Ask::new(name, "A"), Ask::new(name, "A").edns(1232)] {
            let reply = server.client().udp(&ask).await.unwrap();
            assert_eq!(reply.rcode(), rcode, "{ask}");
            assert_eq!(reply.flags(), "qr rd ra", "{ask}");
            let found = [
                reply.answer().len(),
                reply.authority().len(),
                reply.additional().len(),
            ];
            assert_eq!(found, sections, "{ask}");
            let size = ask.to_string().contains("1232").then_some(1232);
            assert_eq!(reply.edns().is_some(), size.is_some(), "{ask}: {reply}");
        }
    }
}

#[tokio::test]
async fn truncated_replies_are_the_clients_to_repeat_unless_udp_is_preferred() {
    let rules = || {
        [
            Rule::new(one_address()),
            Rule::new(Reply::answer(&[]).truncated()).over(Transport::Udp),
        ]
    };
    let upstream = upstream(rules()).await;
    let plain = serve("forward . {0}", &[&upstream]).await;
    let reply = plain.client().ask("a.example", "A").await.unwrap();
    assert_eq!(
        (reply.flags().as_str(), reply.answer().len()),
        ("qr tc rd ra", 0)
    );
    let reply = plain
        .client()
        .tcp(&Ask::new("a.example", "A"))
        .await
        .unwrap();
    assert_eq!(
        (reply.flags().as_str(), reply.answer().len()),
        ("qr rd ra", 1)
    );

    let preferring = serve("forward . {0} {\n prefer_udp\n }", &[&upstream]).await;
    for reply in [
        preferring.client().ask("a.example", "A").await.unwrap(),
        preferring
            .client()
            .tcp(&Ask::new("a.example", "A"))
            .await
            .unwrap(),
    ] {
        assert_eq!(
            (reply.flags().as_str(), reply.answer().len()),
            ("qr rd ra", 1)
        );
    }
    let over: Vec<_> = upstream.seen().iter().map(|seen| seen.transport).collect();
    assert_eq!(
        over,
        [
            Transport::Udp,
            Transport::Tcp,
            Transport::Udp,
            Transport::Tcp
        ]
    );
}

#[tokio::test]
async fn a_silent_upstream_is_servfail_and_a_line_of_errors() {
    let upstream = upstream(always(Reply::silence())).await;
    let server = serve("forward . {0} {\n read_timeout 200ms\n }", &[&upstream]).await;
    let started = Instant::now();
    let reply = server.client().ask("Slow.Example", "AAAA").await.unwrap();
    let took = started.elapsed();
    assert_eq!(
        (reply.rcode(), reply.flags()),
        ("SERVFAIL".into(), "qr rd".into())
    );
    // Two attempts of 200 ms, and not of the 2 s that are the default.
    assert!((400..4000).contains(&took.as_millis()), "{took:?}");
    upstream.wait_seen(2, BOUND).await.unwrap();
    assert_eq!(upstream.count("slow.example", "AAAA"), 2);
    let line = server
        .wait_for_line(
            "[ERROR] plugin/errors: 2 slow.example. AAAA: read udp ",
            BOUND,
        )
        .await
        .unwrap();
    let end = format!("->{}: i/o timeout", upstream.address());
    assert!(line.ends_with(&end), "{line}");
    let ask = Ask::new("slow.example", "A").edns(1232);
    let reply = server.client().udp(&ask).await.unwrap();
    let why = is_pando().then_some(23);
    assert_eq!(reply.extended_error(), why, "Network Error");
}

#[tokio::test]
async fn a_closed_port_is_servfail_at_once() {
    let upstream = upstream([]).await;
    let server = serve("forward . {0}", &[&upstream]).await;
    upstream.down().await;
    let started = Instant::now();
    let reply = server.client().ask("a.example", "A").await.unwrap();
    assert_eq!(reply.rcode(), "SERVFAIL");
    assert!(started.elapsed() < Duration::from_secs(1));
    let refused = format!("->{}: read: connection refused", upstream.address());
    server.wait_for_line(&refused, BOUND).await.unwrap();
    let reply = server
        .client()
        .tcp(&Ask::new("b.example", "A"))
        .await
        .unwrap();
    assert_eq!(reply.rcode(), "SERVFAIL");
    let refused = format!(
        "[ERROR] plugin/errors: 2 b.example. A: dial tcp {}: connect: connection refused",
        upstream.address()
    );
    server.wait_for_line(&refused, BOUND).await.unwrap();
    // And it is used again when it is back.
    upstream.up().await.unwrap();
    upstream.rule(Rule::new(one_address()));
    let back = pando_test::until("an answer", BOUND, async || {
        let reply = server.client().ask("c.example", "A").await.unwrap();
        (reply.rcode() == "NOERROR").then_some(())
    });
    back.await.unwrap();
}

#[tokio::test]
async fn more_than_max_concurrent_are_refused() {
    // All four are there before the first is answered.
    let delay = Duration::from_secs(1);
    let upstream = upstream(always(one_address().after(delay))).await;
    let server = serve("forward . {0} {\n max_concurrent 2\n }", &[&upstream]).await;
    let ask = async |name: &str| server.client().ask(name, "A").await.unwrap().rcode();
    let (one, two, three, four) = tokio::join!(ask("a"), ask("b"), ask("c"), ask("d"));
    let mut rcodes = [one, two, three, four];
    rcodes.sort();
    assert_eq!(rcodes, ["NOERROR", "NOERROR", "REFUSED", "REFUSED"]);
    server
        .wait_for_line("A: concurrent queries exceeded maximum 2", BOUND)
        .await
        .unwrap();
    assert_eq!(ask("e").await, "NOERROR");
}

#[tokio::test]
async fn failover_and_next() {
    let failing = upstream(always(Reply::rcode("SERVFAIL"))).await;
    let knowing = upstream([
        Rule::new(one_address()),
        Rule::new(Reply::rcode("NXDOMAIN")).name("gone.example"),
    ])
    .await;
    for (directives, name, expected) in [
        (
            "forward . {0} {1} {\n policy sequential\n failover SERVFAIL\n }",
            "a.example",
            "NOERROR",
        ),
        (
            "forward . {0} {1} {\n policy sequential\n failover REFUSED\n }",
            "a.example",
            "SERVFAIL",
        ),
        (
            "forward . {1} {\n next NXDOMAIN\n }\n forward . {0}",
            "gone.example",
            "SERVFAIL",
        ),
        (
            "forward . {1} {\n next SERVFAIL\n }\n forward . {0}",
            "gone.example",
            "NXDOMAIN",
        ),
        (
            "forward . {1} {\n next NXDOMAIN\n }",
            "gone.example",
            "NXDOMAIN",
        ),
        (
            "forward other {0}\n forward example {1} {\n except gone.example\n }\n forward . {0}",
            "gone.example",
            "SERVFAIL",
        ),
    ] {
        let server = serve(directives, &[&failing, &knowing]).await;
        let reply = server.client().ask(name, "A").await.unwrap();
        assert_eq!(reply.rcode(), expected, "{directives}");
    }
}

#[tokio::test]
async fn a_dead_upstream_costs_no_client_its_answer() {
    if !is_pando() {
        return;
    }
    let dead = upstream(always(Reply::silence())).await;
    let live = upstream(always(one_address())).await;
    for policy in ["random", "round_robin", "sequential"] {
        let directives = format!("forward . {{0}} {{1}} {{\n policy {policy}\n }}");
        let server = serve(&directives, &[&dead, &live]).await;
        for _ in 0..10 {
            let started = Instant::now();
            let reply = server.client().ask("a.example", "A").await.unwrap();
            assert_eq!(reply.rcode(), "NOERROR");
            // Not the 2 s that an attempt may take.
            assert!(started.elapsed() < Duration::from_secs(2), "{policy}");
        }
    }
}

#[tokio::test]
async fn forged_replies_do_not_count() {
    if !is_pando() {
        return;
    }
    let forged = Reply::answer(&["a.example. 60 IN A 6.6.6.6"]);
    let upstream = upstream(always(one_address())).await;
    let server = serve("forward . {0} {\n read_timeout 1s\n }", &[&upstream]).await;
    for lie in [
        forged.clone().wrong_id(),
        forged.clone().wrong_question("b.example."),
        forged.wrong_port(),
    ] {
        upstream.rule(Rule::new(lie).times(1));
        let reply = server.client().ask("a.example", "A").await.unwrap();
        assert_eq!(
            reply.data(),
            ["10.0.0.1"],
            "the second attempt has the truth"
        );
    }
}

#[tokio::test]
async fn metrics_of_a_fresh_and_of_a_used_server() {
    let upstream = upstream(always(one_address())).await;
    let directives = "prometheus 127.0.0.1:$METRICS_PORT\n forward . {0}";
    let mut server = serve(directives, &[&upstream]).await;
    for name in [
        "coredns_forward_healthcheck_broken_total",
        "coredns_forward_max_concurrent_rejects_total",
    ] {
        assert_eq!(server.metric(name).await.unwrap(), Some(0.0), "{name}");
    }
    for _ in 0..3 {
        server.client().ask("a.example", "A").await.unwrap();
    }
    server
        .client()
        .tcp(&Ask::new("a.example", "A"))
        .await
        .unwrap();
    let page = server.page("METRICS_PORT", "/metrics").await.unwrap();
    let to = upstream.address();
    for row in [
        format!(
            r#"coredns_proxy_conn_cache_misses_total{{proto="tcp",proxy_name="forward",to="{to}"}} 1"#
        ),
        format!(
            r#"coredns_proxy_conn_cache_hits_total{{proto="udp",proxy_name="forward",to="{to}"}}"#
        ),
        format!(
            r#"coredns_proxy_request_duration_seconds_count{{proxy_name="forward",rcode="NOERROR",to="{to}"}}"#
        ),
    ] {
        // Pando writes the labels in the order of their documentation.
        let has = |line: &&str| labels(line).is_some_and(|found| Some(found) == labels(&row));
        assert!(
            page.body.lines().any(|line| has(&line)),
            "{row} in\n{}",
            page.body
        );
    }
}

/// A row's name and labels, these in order.
fn labels(row: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = row.split_once('{')?;
    let mut labels: Vec<_> = rest.split_once('}')?.0.split(',').collect();
    labels.sort_unstable();
    Some((name, labels))
}

#[tokio::test]
async fn a_loop_ends_a_server_that_has_nothing_else_to_serve() {
    let corefile = ".:$PORT {\n errors\n loop\n forward . 127.0.0.1:$PORT\n}\n";
    let mut server = pando(corefile).spawn().unwrap();
    let line = server
        .wait_for_line("[FATAL] plugin/loop: Loop (127.0.0.1:", BOUND)
        .await
        .unwrap();
    let port = server.address().port();
    let middle = format!(
        " -> :{port}) detected for zone \".\", see https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO "
    );
    assert!(line.contains(&middle), "{line}");
    assert!(line.ends_with(".\""), "{line}");
    let status = server.wait_exit(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(1));
}

#[tokio::test]
async fn a_loop_stops_its_zone_and_no_other() {
    if !is_pando() {
        return;
    }
    let corefile = "
        .:$PORT {
            errors
            ready 127.0.0.1:$READY_PORT
            loop
            forward . 127.0.0.1:$PORT
        }
        good.example:$PORT {
            whoami
        }";
    let mut server = pando(corefile).spawn().unwrap();
    server
        .wait_for_line("[ERROR] plugin/loop: Loop (127.0.0.1:", BOUND)
        .await
        .unwrap();
    let reply = server.client().ask("a.example", "A").await.unwrap();
    assert_eq!(reply.rcode(), "SERVFAIL");
    let reply = server.client().ask("good.example", "A").await.unwrap();
    assert_eq!(reply.rcode(), "NOERROR");
    let page = server.page("READY_PORT", "/ready").await.unwrap();
    assert_eq!(page.status, 503);
}

#[tokio::test]
async fn no_loop_changes_nothing() {
    let upstream = upstream(always(one_address())).await;
    let server = serve("loop\n forward . {0}", &[&upstream]).await;
    let seen = pando_test::until("the query to itself", BOUND, async || {
        let seen = upstream.seen();
        seen.into_iter().find(|seen| seen.kind == "HINFO")
    });
    // It may have been sent before the server was asked for the first time, and forgotten.
    let seen = tokio::time::timeout(Duration::from_millis(500), seen).await;
    if let Ok(seen) = seen {
        let name = seen.unwrap().name;
        assert_eq!(name.matches('.').count(), 2, "two labels: {name}");
    }
    for _ in 0..5 {
        let reply = server.client().ask("a.example", "HINFO").await.unwrap();
        assert_eq!(reply.rcode(), "NOERROR");
    }
}

/// With neither EDNS nor trust in what came back.
#[tokio::test]
async fn odd_replies() {
    let big: Vec<_> = (0..60)
        .map(|n| format!("big. 60 IN A 10.0.1.{n}"))
        .collect();
    let big = Reply::answer(&big.iter().map(String::as_str).collect::<Vec<_>>());
    let opt = one_address().edns(4096, &[(8, &[0, 1, 0, 0])]);
    // Name, reply, and what UDP and TCP clients see: RCODE, flags, answers.
    #[rustfmt::skip]
    let table = [
        ("opt", opt, ("NOERROR", "qr rd ra", 1), ("NOERROR", "qr rd ra", 1)),
        ("bits", one_address().authoritative().authentic(), ("NOERROR", "qr aa rd ra ad", 1), ("NOERROR", "qr aa rd ra ad", 1)),
        ("tc", one_address().truncated(), ("NOERROR", "qr tc rd ra", 1), ("NOERROR", "qr tc rd ra", 1)),
        ("cut", big.cut(700), ("NOERROR", "qr tc rd ra", 0), ("SERVFAIL", "qr rd", 0)),
        ("bare", Reply::rcode("FORMERR").no_question(), ("FORMERR", "qr rd", 0), ("FORMERR", "qr rd", 0)),
        ("junk", Reply::bytes(b"junk"), ("SERVFAIL", "qr rd", 0), ("SERVFAIL", "qr rd", 0)),
        ("zero", Reply::bytes(&[0; 40]), ("SERVFAIL", "qr rd", 0), ("SERVFAIL", "qr rd", 0)),
        ("rcode", Reply::answer(&[]).bits(11), ("RCODE11", "qr rd ra", 0), ("RCODE11", "qr rd ra", 0)),
    ];
    let rules = table
        .iter()
        .map(|(name, reply, ..)| Rule::new(reply.clone()).name(name));
    let upstream = upstream(rules).await;
    // Only where nothing of use comes is the time worth saving.
    let patient = serve("forward . {0}", &[&upstream]).await;
    let hasty = serve("forward . {0} {\n read_timeout 100ms\n }", &[&upstream]).await;
    for (name, _, over_udp, over_tcp) in table {
        let ask = Ask::new(name, "A");
        for (transport, (rcode, flags, answers)) in
            [(Transport::Udp, over_udp), (Transport::Tcp, over_tcp)]
        {
            let client = match rcode {
                "SERVFAIL" => hasty.client(),
                _ => patient.client(),
            };
            let reply = match transport {
                Transport::Udp => client.udp(&ask).await.unwrap(),
                Transport::Tcp => client.tcp(&ask).await.unwrap(),
            };
            let found = (reply.rcode(), reply.flags(), reply.answer().len());
            assert_eq!(found, (rcode.into(), flags.into(), answers), "{name}");
        }
    }
    let line = "[ERROR] plugin/errors: 2 junk. A: dns: short read";
    hasty.wait_for_line(line, BOUND).await.unwrap();
}
