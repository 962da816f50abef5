use super::*;
use crate::chain::Chain;
use crate::plugin::testing::{self, Script, ask, refusal, shown};
use crate::wire::rtype::{A, AAAA, MX, PTR};

#[test]
fn setups_are_accepted_and_refused_as_coredns_does() {
    for (text, error) in [
        ("", ""),
        (" /tmp", ""),
        (" /etc/hosts miek.nl.", ""),
        (" /etc/hosts miek.nl. pun.gent.", ""),
        (" {\nfallthrough\n}", ""),
        (
            " /tmp {\nfallthrough example.org\nfallthrough_unsupported\n}",
            "",
        ),
        (" {\nfallthrough_unsupported\nfallthrough\n}", ""),
        (" {\n10.0.0.1 example.org\nfallthrough\n}", ""),
        (" {\nno_reverse\nttl 1\nreload 0s\n}", ""),
        (" {\nttl 65535 x\nreload 1m\nno_reverse x\n}", ""),
        (" {\nanything goes\n}", ""),
        (
            "\nhosts",
            "this plugin can only be used once per Server Block",
        ),
        (
            " {\nfallthrough\n10.0.0.1 example.org\n}",
            "3: unknown property '10.0.0.1'",
        ),
        (" {\nttl\n}", "2: ttl needs a time in second"),
        (" {\nttl x\n}", "2: ttl needs a number of second"),
        (" {\nttl 0\n}", "2: ttl provided is invalid"),
        (" {\nttl 65536\n}", "2: ttl provided is invalid"),
        (" {\nttl -1\n}", "2: ttl provided is invalid"),
        (
            " {\nreload\n}",
            "2: reload needs a duration (zero seconds to disable)",
        ),
        (
            " {\nreload 1s 2s\n}",
            "2: reload needs a duration (zero seconds to disable)",
        ),
        (" {\nreload 5\n}", "2: invalid duration for reload '5'"),
        (
            " {\nreload -5s\n}",
            "2: invalid negative duration for reload '-5s'",
        ),
        (
            " {\nfallthrough_unsupported x\n}",
            "2: Wrong argument count or unexpected line ending after 'x'",
        ),
        (
            " {\nfallthrough_unsupported\n}",
            "3: fallthrough_unsupported requires fallthrough",
        ),
    ] {
        let error = match error.split_once(": ") {
            Some((line, text)) if line.len() == 1 => {
                format!("Corefile:{line} - Error during parsing: {text}")
            }
            _ => error.to_owned(),
        };
        assert_eq!(
            refusal(&DEFINITION, &format!("hosts{text}")),
            error,
            "{text}"
        );
    }
}

const HOSTS: &str = "
127.0.0.1 localhost localhost.domain
::1 localhost localhost.domain
10.0.0.0 Example.org # a comment
10.0.0.1 example.org
::ffff:10.0.0.2 mapped.org
2001:db8::1%eth0 example.org
# 10.0.0.9 hidden.org
10.0.0.3 *.wild.org own.wild.org
2001:db8::3 *.wild.org six.wild.org
10.0.0 bad.org
10.0.0.4
";

/// A chain of `hosts` with a file of its own, read as at startup.
async fn hosts(contents: &str, options: &str, name: &str) -> (Chain, Arc<Script>) {
    let file = std::env::temp_dir().join(format!("pando-hosts-{}-{name}", std::process::id()));
    std::fs::write(&file, contents).unwrap();
    let text = format!("hosts {} {options}", file.display());
    let (mut plugins, hooks) = testing::build(&DEFINITION, &text).unwrap();
    for hook in hooks.startup {
        hook().await.unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    let script = Script::new(Rcode::REFUSED, &[]);
    plugins.push(script.clone());
    (plugins.into(), script)
}

#[tokio::test]
async fn queries_are_answered_from_the_file() {
    const PASSED: &str = "REFUSED";
    const FAILED: &str = "-";
    let four = "NOERROR aa | example.org. 3600 A 10.0.0.0 | example.org. 3600 A 10.0.0.1";
    let arpa = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.";
    let reverse = format!("NOERROR aa | {arpa} 3600 PTR example.org.");
    let mapped = "2.0.0.0.0.0.a.0.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.";
    for (index, (options, name, qtype, seen)) in [
        ("", "example.org.", A, four),
        ("", "EXAMPLE.org.", A, &four.replace("example", "EXAMPLE")),
        ("", "example.org.", AAAA, "NOERROR aa | example.org. 3600 AAAA 2001:db8::1"),
        ("", "example.org.", MX, "NOERROR aa"),
        ("", "localhost.", A, "NOERROR aa | localhost. 3600 A 127.0.0.1"),
        ("", "mapped.org.", A, "NOERROR aa | mapped.org. 3600 A 10.0.0.2"),
        ("", "mapped.org.", AAAA, "NOERROR aa"),
        ("", "missing.org.", A, FAILED),
        ("", "hidden.org.", A, FAILED),
        ("", "bad.org.", A, FAILED),
        ("", "missing.org.", MX, FAILED),
        ("", "0.0.0.10.in-addr.arpa.", PTR, "NOERROR aa | 0.0.0.10.in-addr.arpa. 3600 PTR example.org."),
        ("", "1.0.0.127.in-addr.arpa.", PTR,
         "NOERROR aa | 1.0.0.127.in-addr.arpa. 3600 PTR localhost. | 1.0.0.127.in-addr.arpa. 3600 PTR localhost.domain."),
        ("", arpa, PTR, &reverse),
        ("", mapped, PTR, &format!("NOERROR aa | {mapped} 3600 PTR mapped.org.")),
        ("", "9.0.0.10.in-addr.arpa.", PTR, PASSED),
        ("", "1.0.10.in-addr.arpa.", PTR, PASSED),
        ("", "example.org.", PTR, PASSED),
        ("example.com", "example.org.", A, PASSED),
        ("example.org", "localhost.", A, PASSED),
        ("example.org", "0.0.0.10.in-addr.arpa.", PTR, "NOERROR aa | 0.0.0.10.in-addr.arpa. 3600 PTR example.org."),
        ("example.org", "1.0.0.127.in-addr.arpa.", PTR, PASSED),
        ("{\nno_reverse\n}", "0.0.0.10.in-addr.arpa.", PTR, PASSED),
        ("{\nttl 7\n}", "localhost.", A, "NOERROR aa | localhost. 7 A 127.0.0.1"),
        ("{\nfallthrough\n}", "missing.org.", A, PASSED),
        ("{\nfallthrough\n}", "example.org.", MX, "NOERROR aa"),
        ("{\nfallthrough example.org\n}", "missing.org.", A, FAILED),
        ("{\nfallthrough example.org\n}", "x.example.org.", A, PASSED),
        ("{\nfallthrough\nfallthrough_unsupported\n}", "example.org.", MX, PASSED),
        ("{\nfallthrough\nfallthrough_unsupported\n}", "example.org.", A, four),
        ("{\nfallthrough x.org\nfallthrough_unsupported\n}", "example.org.", MX, "NOERROR aa"),
        // The wildcard is for one label and for families that the name lacks.
        ("", "a.wild.org.", A, "NOERROR aa | a.wild.org. 3600 A 10.0.0.3"),
        ("", "a.wild.org.", AAAA, "NOERROR aa | a.wild.org. 3600 AAAA 2001:db8::3"),
        ("", "a.b.wild.org.", A, FAILED),
        ("", "wild.org.", A, FAILED),
        ("", "own.wild.org.", AAAA, "NOERROR aa | own.wild.org. 3600 AAAA 2001:db8::3"),
        ("", "six.wild.org.", A, "NOERROR aa | six.wild.org. 3600 A 10.0.0.3"),
        ("", "3.0.0.10.in-addr.arpa.", PTR, "NOERROR aa | 3.0.0.10.in-addr.arpa. 3600 PTR own.wild.org."),
        // Lines of the Corefile stand behind those of the file.
        ("{\n10.1.0.1 example.org new.org\n}", "example.org.", A,
         &format!("{four} | example.org. 3600 A 10.1.0.1")),
        ("{\n10.1.0.1 example.org new.org\n}", "new.org.", A, "NOERROR aa | new.org. 3600 A 10.1.0.1"),
        ("{\n10.1.0.1 #new.org\n}", "new.org.", A, FAILED),
    ]
    .into_iter()
    .enumerate()
    {
        let (chain, script) = hosts(HOSTS, options, &index.to_string()).await;
        let exchange = ask(&chain, name, qtype).await;
        assert_eq!(shown(&exchange), seen, "{options} {name} {qtype}");
        assert_eq!(script.calls(), usize::from(seen == PASSED));
    }
}

#[tokio::test]
async fn a_missing_name_is_a_failure_of_ours() {
    let (chain, _) = hosts(HOSTS, "", "failure").await;
    let (exchange, served) = testing::serve(&chain, testing::query("missing.org.", A)).await;
    assert_eq!(
        (shown(&exchange), served.unwrap()),
        ("-".to_owned(), Rcode::SERVFAIL)
    );
}

#[test]
fn a_changed_file_is_read_again() {
    let path = std::env::temp_dir().join(format!("pando-hosts-{}-change", std::process::id()));
    let file = HostsFile::new(path.clone(), "10.0.0.9 inline.org", Zones::root(), true);
    file.update();
    assert_eq!(file.load().len(), 2, "no file yet");
    for (text, len) in [
        ("10.0.0.1 a.org", 4),
        ("10.0.0.1 a.org b.org\n::1 c.org", 8),
        ("", 2),
    ] {
        std::fs::write(&path, text).unwrap();
        file.update();
        assert_eq!(file.load().len(), len, "{text}");
    }
    let before = file.load().clone();
    file.update();
    assert!(Arc::ptr_eq(&before, &file.load()), "unchanged");
    std::fs::remove_file(&path).unwrap();
    file.update();
    assert!(
        Arc::ptr_eq(&before, &file.load()),
        "gone: the last one stays"
    );
}
