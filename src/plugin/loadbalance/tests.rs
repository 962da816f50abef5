use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::plugin::testing::{self, Script, ask, refusal, shown};
use crate::wire::rtype::{A, AXFR, MX};

#[test]
fn setups_are_accepted_and_refused_as_coredns_does() {
    for (text, error) in [
        ("", ""),
        (" round_robin", ""),
        (" weighted weights", ""),
        (" weighted weights {\n}", ""),
        (" weighted weights {\nreload 10s\n}", ""),
        (" weighted weights {\nreload 0s\n}", ""),
        (" {\nprefer 10.9.20.0/24 2001:db8::/32\n}", ""),
        (" round_robin {\nprefer\n}", ""),
        ("\nloadbalance", ""),
        (" fleeb", "unknown policy: fleeb"),
        (" a b", "unknown policy: a"),
        (" round_robin a", "1: unknown property for round_robin"),
        (" weighted", "1: missing weight file argument"),
        (" weighted a b", "1: unexpected argument(s)"),
        (
            " weighted a {\nreload\n}",
            "2: reload duration value is missing",
        ),
        (" weighted a {\nreload 1s 2s\n}", "2: unexpected argument"),
        (
            " weighted a {\nreload never\n}",
            "2: invalid reload duration 'never'",
        ),
        (
            " weighted a {\nreload -1s\n}",
            "2: invalid reload duration '-1s'",
        ),
        (
            " weighted a {\nprefer 10.0.0.0/8\n}",
            "2: unknown property 'prefer'",
        ),
        (" {\nreload 1s\n}", "2: unknown property 'reload'"),
        (
            " {\nprefer 10.0.0.0\n}",
            "2: invalid CIDR \"10.0.0.0\": invalid CIDR address: 10.0.0.0",
        ),
    ] {
        let error = match error.split_once(": ") {
            Some((line @ ("1" | "2"), text)) => {
                format!("Corefile:{line} - Error during parsing: {text}")
            }
            _ => error.to_owned(),
        };
        let text = format!("loadbalance{text}");
        assert_eq!(refusal(&DEFINITION, &text), error, "{text}");
    }
}

/// What is seen of a reply over many queries.
async fn seen(text: &str, qtype: u16, rcode: Rcode, records: &[&str]) -> BTreeMap<String, usize> {
    let script = Script::new(rcode, records);
    let chain = testing::chain(&DEFINITION, text, &script);
    let mut seen = BTreeMap::new();
    for _ in 0..400 {
        let reply = shown(&ask(&chain, "x.org.", qtype).await);
        *seen.entry(reply).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn addresses_change_places() {
    let [a1, a2, a3] = [1, 2, 3].map(|last| format!("x.org. 5 A 192.0.2.{last}"));
    let [mx1, mx2] = ["a.org.", "b.org."].map(|name| format!("x.org. 5 MX {name}"));
    let (six, cname) = ("x.org. 5 AAAA 2001:db8::1", "x.org. 5 CNAME y.org.");
    let (ns1, ns2) = ("!x.org. 5 NS n1.org.", "!x.org. 5 NS n2.org.");
    let [m1, m2] = [1, 2].map(|last| format!("+m.org. 5 A 192.0.2.{last}"));
    for (rcode, qtype, records, first, orders) in [
        (Rcode::NOERROR, A, &[&a1[..]][..], "", 1),
        (Rcode::NOERROR, A, &[&a1, &a2], "", 2),
        (Rcode::NOERROR, A, &[&a1, &a2, &a3], "", 6),
        (Rcode::NOERROR, A, &[&a1, six, &a3], "", 6),
        (Rcode::NOERROR, MX, &[&mx1, &mx2], "", 2),
        (Rcode::NOERROR, MX, &[&mx1, &mx2, &m1, &m2], "", 4),
        (
            Rcode::NOERROR,
            A,
            &[ns1, ns2],
            "NOERROR | !x.org. 5 NS n1.org. | !x.org. 5 NS n2.org.",
            1,
        ),
        (
            Rcode::NOERROR,
            A,
            &[&a1, cname, &mx1, &a2],
            "NOERROR | x.org. 5 CNAME y.org. | x.org. 5 A",
            2,
        ),
        (Rcode::NOERROR, AXFR, &[&a1, &a2], "", 1),
        (Rcode::NXDOMAIN, A, &[&a1, &a2], "", 1),
    ] {
        let seen = seen("loadbalance", qtype, rcode, records).await;
        assert_eq!(seen.len(), orders, "{records:?}: {seen:#?}");
        let parts = |text: &str| {
            text.split(" | ")
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        };
        let (text, _) = seen.first_key_value().unwrap();
        for (other, count) in &seen {
            assert!(other.starts_with(first), "{other}");
            assert_eq!(parts(other), parts(text));
            assert!(*count > 400 / orders / 3, "{seen:#?}");
        }
    }
}

#[tokio::test]
async fn preferred_networks_come_first() {
    let text = "loadbalance {\nprefer 10.9.0.0/16 2001:db8::/32 10.0.0.0/8\n}";
    let records = [
        "x.org. 5 A 192.0.2.1",
        "x.org. 5 A 10.0.0.1",
        "x.org. 5 NS n.org.",
        "x.org. 5 A 10.9.0.1",
        "x.org. 5 AAAA 2001:db8::1",
        "x.org. 5 CNAME y.org.",
    ];
    let seen = seen(text, A, Rcode::NOERROR, &records).await;
    let want = "NOERROR | x.org. 5 CNAME y.org. | x.org. 5 A 10.9.0.1 \
                | x.org. 5 AAAA 2001:db8::1 | x.org. 5 A 10.0.0.1 | x.org. 5 A 192.0.2.1 \
                | x.org. 5 NS n.org.";
    assert_eq!(seen.keys().collect::<Vec<_>>(), [want]);
}

#[tokio::test]
async fn heavy_addresses_come_first_more_often() {
    let file = std::env::temp_dir().join(format!("pando-heavy-{}", std::process::id()));
    std::fs::write(&file, "x.org\n192.0.2.1 10\n192.0.2.2 200\n").unwrap();
    let text = format!("loadbalance weighted {} {{\nreload 0s\n}}", file.display());
    let (mut plugins, hooks) = testing::build(&DEFINITION, &text).unwrap();
    for hook in hooks.startup {
        hook().await.unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    let records = [
        "x.org. 5 A 192.0.2.1",
        "x.org. 5 A 192.0.2.2",
        "x.org. 5 A 192.0.2.3",
    ];
    let script = Script::new(Rcode::NOERROR, &records);
    plugins.push(script);
    let chain = plugins.into();
    let mut first = [0; 4];
    for _ in 0..2000 {
        let reply = shown(&ask(&chain, "x.org.", A).await);
        assert_eq!(reply.matches(" | ").count(), 3);
        let (_, rest) = reply.split_once("192.0.2.").unwrap();
        first[rest[..1].parse::<usize>().unwrap()] += 1;
    }
    let [_, light, heavy, unknown] = first;
    assert!(
        heavy > 1800 && light > 40 && unknown > 0 && unknown < light,
        "{first:?}"
    );
    // Other types stay as they are.
    let reply = shown(&ask(&chain, "x.org.", MX).await);
    assert!(reply.starts_with("NOERROR | x.org. 5 A 192.0.2.1 |"));
}

#[tokio::test]
async fn a_weight_file_must_be_there_if_it_is_read_once() {
    for (reload, error) in [
        ("0s", Some("plugin/loadbalance: weight file open error")),
        ("1h", None),
    ] {
        let text = format!("loadbalance weighted /nowhere/weights {{\nreload {reload}\n}}");
        let (_, hooks) = testing::build(&DEFINITION, &text).unwrap();
        for hook in hooks.startup {
            let found = hook().await.err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), error);
        }
    }
}
