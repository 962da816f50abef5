//! Query lines of `log`, error lines of `errors`.

use pando_test::{Ask, BOUND, Upstream};

use crate::pando;

/// A line with its ports, its time and, as compression is ours to choose, the
/// octets of the reply replaced.
fn normal(line: &str) -> String {
    let number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let words = line.split(' ').map(|word| {
        if let Some(seconds) = word.strip_suffix('s')
            && seconds
                .split_once('.')
                .is_some_and(|(whole, part)| number(whole) && number(part))
        {
            return "TIME".to_owned();
        }
        match word.rsplit_once(':') {
            Some((host, port)) if number(port) => format!("{host}:PORT"),
            _ => word.to_owned(),
        }
    });
    let mut words: Vec<String> = words.collect();
    if let Some(flags) = words.iter().position(|word| word.starts_with("qr,"))
        && let Some(size) = words.get_mut(flags + 1).filter(|size| number(size))
    {
        *size = "SIZE".to_owned();
    }
    words.join(" ")
}

#[tokio::test]
async fn a_query_is_a_line_in_the_common_format() {
    let server = pando(". {\n log\n whoami\n}\n").start().await.unwrap();
    let client = server.client();
    client
        .udp(&Ask::new("A.Example.ORG", "AAAA").id(29008).edns(4096))
        .await
        .unwrap();
    let line = server.wait_for_line(" 29008 ", BOUND).await.unwrap();
    assert_eq!(
        normal(&line),
        "[INFO] 127.0.0.1:PORT - 29008 \"AAAA IN a.example.org. udp 42 false 4096\" NOERROR qr,aa,rd SIZE TIME"
    );
    client
        .tcp(&Ask::new("example.org", "TYPE65280").id(29009).dnssec_ok())
        .await
        .unwrap();
    let line = server.wait_for_line(" 29009 ", BOUND).await.unwrap();
    assert_eq!(
        normal(&line),
        "[INFO] 127.0.0.1:PORT - 29009 \"TYPE65280 IN example.org. tcp 40 true 65535\" NOERROR qr,aa,rd SIZE TIME"
    );
}

#[tokio::test]
async fn a_format_says_what_a_line_holds() {
    let corefile = "a.example {\n log . \"{combined}\"\n whoami\n}\n\
        b.example {\n log . \"{type} {class} {name} {proto} {size} {local} {>id} {>opcode} {>do} {>bufsize} {rcode} {rsize} {>rflags} {nothing} {/forward/upstream}\"\n whoami\n}\n";
    let server = pando(corefile).start().await.unwrap();
    let client = server.client();
    client.tcp(&Ask::new("a.example", "A").id(1)).await.unwrap();
    let line = server.wait_for_line("IN a.example.", BOUND).await.unwrap();
    assert_eq!(
        normal(&line),
        "[INFO] 127.0.0.1:PORT - 1 \"A IN a.example. tcp 27 false 65535\" NOERROR qr,aa,rd SIZE TIME \"0\""
    );
    client.udp(&Ask::new("B.example", "A").id(2)).await.unwrap();
    let line = server.wait_for_line("IN b.example.", BOUND).await.unwrap();
    let size = line.split(' ').rev().nth(3).unwrap_or_default();
    assert_eq!(
        line.replace(&format!(" {size} qr"), " SIZE qr"),
        "[INFO] A IN b.example. udp 27 127.0.0.1 2 0 false 512 NOERROR SIZE qr,aa,rd {nothing} -"
    );
}

#[tokio::test]
async fn classes_choose_the_queries_that_become_lines() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer("good.example.", "A", &["good.example. 60 IN A 192.0.2.1"]);
    let corefile = format!(
        "example {{\n log {{\n class denial error\n }}\n forward . {}\n}}\n\
         last.test {{\n log\n whoami\n}}\n",
        upstream.address()
    );
    let server = pando(&corefile).start().await.unwrap();
    let client = server.client();
    client.ask("good.example", "A").await.unwrap();
    client.ask("refused.example", "A").await.unwrap();
    client.ask("last.test", "A").await.unwrap();
    server.wait_for_line("IN last.test.", BOUND).await.unwrap();
    let lines = server.stdout();
    assert!(!lines.contains("good.example."), "{lines}");
    assert!(lines.contains("IN refused.example. udp"), "{lines}");
}

#[tokio::test]
async fn a_failed_query_is_a_query_line_and_then_an_error_line() {
    let upstream = Upstream::start().await.unwrap();
    let dead = upstream.address();
    upstream.down().await;
    let corefile = format!(". {{\n log\n errors\n forward . {dead}\n}}\n");
    let server = pando(&corefile).start().await.unwrap();
    let answer = server.client().ask("Dead.example", "A").await.unwrap();
    assert_eq!(answer.rcode(), "SERVFAIL");
    let error = server.wait_for_line("plugin/errors", BOUND).await.unwrap();
    let from = error.strip_prefix("[ERROR] plugin/errors: 2 dead.example. A: read udp 127.0.0.1:");
    let reason = format!("->{dead}: read: connection refused");
    assert!(from.is_some_and(|rest| rest.ends_with(&reason)), "{error}");
    let lines = server.stdout();
    let query = lines
        .find("\"A IN dead.example. udp")
        .expect("a query line");
    assert!(
        lines
            .find("plugin/errors")
            .is_some_and(|error| query < error),
        "{lines}"
    );
}

#[tokio::test]
async fn errors_that_look_alike_become_one_line() {
    let upstream = Upstream::start().await.unwrap();
    let dead = upstream.address();
    upstream.down().await;
    let corefile = format!(
        ". {{\n errors {{\n consolidate 3s \"^read udp .*\" warning\n }}\n forward . {dead}\n}}\n"
    );
    let server = pando(&corefile).start().await.unwrap();
    for name in ["a.example", "b.example", "c.example"] {
        server.client().ask(name, "A").await.unwrap();
    }
    let line = server.wait_for_line("plugin/errors", BOUND).await.unwrap();
    assert_eq!(
        line,
        "[WARNING] plugin/errors: 3 errors like '^read udp .*' occurred in last 3s"
    );
    assert!(
        !server.stdout().contains("a.example."),
        "{}",
        server.shown()
    );
}

#[tokio::test]
async fn counts_in_hand_are_told_at_the_end() {
    let upstream = Upstream::start().await.unwrap();
    let dead = upstream.address();
    upstream.down().await;
    let corefile = format!(
        ". {{\n errors {{\n consolidate 1h \".*\" error show_first\n }}\n forward . {dead}\n}}\n"
    );
    let mut server = pando(&corefile).start().await.unwrap();
    for name in ["a.example", "b.example"] {
        server.client().ask(name, "A").await.unwrap();
    }
    let first = server.wait_for_line("plugin/errors", BOUND).await.unwrap();
    assert!(
        first.starts_with("[ERROR] plugin/errors: 2 a.example. A: "),
        "{first}"
    );
    server.signal("TERM").await.unwrap();
    server.wait_exit(BOUND).await.unwrap();
    let told = "[ERROR] plugin/errors: 2 errors like '.*' occurred in last 1h0m0s";
    assert!(server.stdout().contains(told), "{}", server.shown());
}
