//! `rewrite` and `template`: what a client asks, what is asked instead, what comes back.

use pando_test::{Ask, BOUND, Reply, Rule, Server, Upstream};

use crate::pando;

async fn serve(corefile: &str) -> Server {
    pando(corefile).start().await.unwrap()
}

#[tokio::test]
async fn a_client_never_learns_that_it_asked_for_something_else() {
    let upstream = Upstream::start().await.unwrap();
    upstream.rule(Rule::new(Reply::answer(&[
        "web.internal.test. 60 IN CNAME node.web.internal.test.",
        "node.web.internal.test. 60 IN A 192.0.2.1",
    ])));
    let server = serve(&format!(
        ".:$PORT {{
            rewrite stop {{
                name regex (.*)\\.public\\.test\\. {{1}}.internal.test
                answer auto
            }}
            rewrite ttl suffix other.test 5
            forward . {}
        }}",
        upstream.address()
    ))
    .await;
    let answer = server
        .client()
        .udp(&Ask::new("Web.Public.test", "A"))
        .await
        .unwrap();
    assert_eq!(answer.question(), "Web.Public.test. IN A");
    assert_eq!(
        answer.answer(),
        [
            "node.web.public.test. 60 IN A 192.0.2.1",
            "web.public.test. 60 IN CNAME node.web.public.test.",
        ]
    );
    assert_eq!(upstream.count("web.internal.test", "A"), 1);
}

#[tokio::test]
async fn codes_are_rewritten_even_where_nobody_answered() {
    let server = serve(
        ".:$PORT {
            rewrite rcode suffix test REFUSED NXDOMAIN
            acl {
                block
            }
            whoami
        }",
    )
    .await;
    for (name, rcode) in [("a.test", "NXDOMAIN"), ("a.other", "REFUSED")] {
        let answer = server.client().udp(&Ask::new(name, "A")).await.unwrap();
        assert_eq!(answer.rcode(), rcode, "{name}");
    }
}

#[tokio::test]
async fn templates_answer_and_are_counted() {
    let mut server = serve(
        ".:$PORT {
            errors
            prometheus 127.0.0.1:$METRICS_PORT
            template ANY ANY internal.cloudapp.net {
                match \"^[^.]+\\.[^.]+\\.[^.]+\\.internal\\.cloudapp\\.net\\.$\"
                rcode NXDOMAIN
                fallthrough
            }
            template IN A ip.test {
                match ^ip-(?P<a>\\d+)-(?P<b>\\d+)\\.ip\\.test\\.$
                answer \"{{ .Name }} 30 IN A 10.0.{{ .Group.a }}.{{ .Group.b }}\"
                fallthrough
            }
            template IN A alias.test {
                answer \"{{ .Name }} 30 IN CNAME ip-3-4.ip.test.\"
            }
            template IN A broken.test {
                answer \"{{ .Name }} 30 IN A 10.0.0\"
            }
        }",
    )
    .await;
    for (name, rcode, records) in [
        ("a.b.c.internal.cloudapp.net", "NXDOMAIN", &[][..]),
        ("b.c.internal.cloudapp.net", "SERVFAIL", &[]),
        (
            "IP-1-2.ip.test",
            "NOERROR",
            &["ip-1-2.ip.test. 30 IN A 10.0.1.2"],
        ),
        (
            "x.alias.test",
            "NOERROR",
            &[
                "ip-3-4.ip.test. 30 IN A 10.0.3.4",
                "x.alias.test. 30 IN CNAME ip-3-4.ip.test.",
            ],
        ),
        ("a.broken.test", "SERVFAIL", &[]),
    ] {
        let answer = server.client().udp(&Ask::new(name, "A")).await.unwrap();
        assert_eq!(
            (&*answer.rcode(), &*answer.answer()),
            (rcode, &strings(records)[..]),
            "{name}"
        );
    }
    let logged =
        "[ERROR] plugin/errors: 2 a.broken.test. A: dns: bad A A: \"10.0.0\" at line: 1:29";
    server.wait_for_line(logged, BOUND).await.unwrap();
    let page = server.page("METRICS_PORT", "/metrics").await.unwrap();
    let counted = |name: &str, labels: &[String], count: u32| {
        page.body.lines().any(|line| {
            line.starts_with(name)
                && labels.iter().all(|label| line.contains(label))
                && line.ends_with(&format!(" {count}"))
        })
    };
    let server = format!("server=\"dns://:{}\"", server.address().port());
    for (zone, count) in [
        ("internal.cloudapp.net.", 1),
        ("ip.test.", 2),
        ("broken.test.", 1),
    ] {
        let zone = format!("zone=\"{zone}\"");
        let labels = [
            server.clone(),
            zone,
            "class=\"IN\"".into(),
            "type=\"A\"".into(),
        ];
        assert!(
            counted("coredns_template_matches_total{", &labels, count),
            "{labels:?}\n{}",
            page.body
        );
    }
    let template = "template=\"{{.Name}} 30 IN A 10.0.0\"".to_owned();
    let labels = [server, "section=\"answer\"".into(), template];
    assert!(
        counted("coredns_template_rr_failures_total{", &labels, 1),
        "{}",
        page.body
    );
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_broken_rule_or_template_ends_the_start() {
    for (directive, line) in [
        (
            "rewrite name regex [ b.test",
            "plugin/rewrite: invalid regex matching pattern: [",
        ),
        (
            "template IN A {\n answer \"{{ foo }}\"\n }",
            "Error during parsing: could not compile template: {{ foo }}, template: answer:1: function \"foo\" not defined",
        ),
    ] {
        let mut server = pando(&format!(".:$PORT {{\n {directive}\n whoami\n}}\n"))
            .spawn()
            .unwrap();
        assert_eq!(server.wait_exit(BOUND).await.unwrap().code(), Some(1));
        let shown = server.stderr();
        let first = shown.lines().next().unwrap_or_default();
        assert!(first.ends_with(line), "{shown}");
    }
}
