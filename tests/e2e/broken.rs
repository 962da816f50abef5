//! Corefiles that cannot be served: the first line on standard error, exit 1.
//!
//! `broken.txt` holds them: stanzas apart by an empty line, `> ` before the
//! line that is expected. Where it is not CoreDNS's, `coredns> ` says what
//! that prints (`starts` if it starts) and `; ` why.

use std::path::Path;

use pando_test::{BOUND, Process, Server, ServerBuilder};

use crate::pando;

struct Case<'a> {
    corefile: String,
    pando: &'a str,
    coredns: &'a str,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let stanzas = text
        .split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty());
    let case = |stanza| {
        let mut case = Case {
            corefile: String::new(),
            pando: "",
            coredns: "",
        };
        for line in str::lines(stanza) {
            if let Some(expected) = line.strip_prefix("> ") {
                case.pando = expected;
            } else if let Some(expected) = line.strip_prefix("coredns> ") {
                case.coredns = expected;
            } else if !line.starts_with("; ") {
                case.corefile = case.corefile + line + "\n";
            }
        }
        if case.coredns.is_empty() {
            case.coredns = case.pando;
        }
        case
    };
    stanzas.map(case).collect()
}

/// The first line of what a server that must not start has to say.
async fn first_line(mut server: Server) -> String {
    let said = |process: &Process, folder: &Path| {
        let line = process
            .stderr()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        line.replace(&format!("{}/", folder.display()), "")
    };
    match server.wait_exit(BOUND).await {
        Ok(status) if status.code() == Some(1) => said(&server, server.folder()),
        Ok(status) => format!("{status}: {}", said(&server, server.folder())),
        Err(_) => "starts".to_owned(),
    }
}

async fn wrong(
    cases: &[Case<'_>],
    expected: impl Fn(&Case<'_>) -> String,
    start: impl Fn(&str) -> ServerBuilder,
) -> String {
    let mut wrong = String::new();
    for case in cases {
        let server = start(&case.corefile)
            .environment("KUBERNETES_SERVICE_HOST", "")
            .spawn()
            .expect("the binary starts");
        let expected = expected(case).replace("$PORT", &server.address().port().to_string());
        let found = first_line(server).await;
        if found != expected {
            wrong += &format!("{}expected {expected}\n   found {found}\n\n", case.corefile);
        }
    }
    wrong
}

#[tokio::test]
async fn each_broken_corefile_is_refused_in_these_words() {
    let cases = cases(include_str!("broken.txt"));
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let wrong = wrong(&cases, |case| case.pando.to_owned(), pando).await;
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn coredns_says_the_same_but_for_what_the_table_notes() {
    if ServerBuilder::coredns("").is_none() {
        println!("skipped: COREDNS_BIN names no CoreDNS");
        return;
    }
    let cases = cases(include_str!("broken.txt"));
    let coredns = |corefile: &str| ServerBuilder::coredns(corefile).expect("is there");
    let wrong = wrong(&cases, |case| case.coredns.to_owned(), coredns).await;
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What CoreDNS knows and Pando does not do yet.
const UNSUPPORTED: [&str; 31] = [
    "metadata",
    "geoip",
    "cancel",
    "proxyproto",
    "quic",
    "grpc_server",
    "https",
    "https3",
    "timeouts",
    "multisocket",
    "nsid",
    "trace",
    "pprof",
    "shed",
    "dnstap",
    "local",
    "dns64",
    "any",
    "tsig",
    "header",
    "dnssec",
    "tls",
    "route53",
    "azure",
    "clouddns",
    "k8s_external",
    "auto",
    "etcd",
    "grpc",
    "erratic",
    "nomad",
];

#[tokio::test]
async fn what_is_not_supported_yet_is_refused_by_name_and_place() {
    let cases: Vec<Case<'static>> = UNSUPPORTED
        .iter()
        .map(|directive| Case {
            corefile: format!(". {{\n    whoami\n    {directive} a {{\n        b\n    }}\n}}\n"),
            pando: directive,
            coredns: "",
        })
        .collect();
    let expected = |case: &Case<'_>| {
        let name = case.pando;
        format!("Corefile:3 - Error during parsing: directive '{name}' is not supported yet")
    };
    let wrong = wrong(&cases, expected, pando).await;
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn below_the_first_line_the_place_is_shown_with_the_nearest_word() {
    let mut server = pando(". {\n    whoami\n    forwrd . 192.0.2.1\n}\n")
        .spawn()
        .unwrap();
    server.wait_exit(BOUND).await.unwrap();
    let stderr = server.stderr();
    let mut lines = stderr.lines().skip(1);
    let shown = lines.find(|line| line.contains("forwrd . 192.0.2.1"));
    assert!(shown.is_some(), "{stderr}");
    assert!(lines.any(|line| line.contains("^^^^^^")), "{stderr}");
    assert!(stderr.contains("forward"), "{stderr}");
}
