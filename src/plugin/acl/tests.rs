use std::net::IpAddr;

use super::*;
use crate::plugin::testing::{self, Script, query, refusal, shown};

#[test]
fn setups_are_accepted_and_refused_as_coredns_does() {
    let action = |word: &str| {
        format!("unexpected token \"{word}\"; expect 'allow', 'block', 'filter' or 'drop'")
    };
    let section = |word: &str| format!("unexpected token \"{word}\"; expect 'type | net'");
    let none = |section: &str| format!("no token specified in \"{section}\" section");
    let cidr = |text: &str| format!("illegal CIDR notation \"{text}\"");
    let qtype = |text: &str| format!("unexpected token \"{text}\"; expect legal QTYPE");
    for (line, error) in [
        ("block type A net 192.168.0.0/16", String::new()),
        ("filter type A net 192.168.0.0/16", String::new()),
        ("drop type A net 192.168.0.0/16", String::new()),
        ("ALLOW TYPE A NET 192.168.0.1", String::new()),
        ("block type * net *", String::new()),
        ("block", String::new()),
        ("block net 2001:db8::1 2001:db8:1::/48", String::new()),
        ("block net 192.168.0.0/16 type A AAAA", String::new()),
        (
            "block type A type AAAA net 10.0.0.0/8 net 11.0.0.0/8",
            String::new(),
        ),
        ("block type * XYZ", String::new()),
        ("block net * x", String::new()),
        (
            "block type RESINFO NXNAME NSAP-PTR None Reserved",
            String::new(),
        ),
        ("block net 10.1.2.3/8", String::new()),
        ("deny type A", action("deny")),
        ("block A", section("A")),
        ("block tp A", section("tp")),
        ("block type", none("type")),
        ("block NET", none("net")),
        ("block type net 10.0.0.0/8", none("type")),
        ("block type A net", none("net")),
        ("block type a", qtype("a")),
        ("block type A XYZ", qtype("XYZ")),
        ("block type TYPE65", qtype("TYPE65")),
        ("block net 10.0.0.0/33", cidr("10.0.0.0/33")),
        ("block net 192.168.0.0.0/16", cidr("192.168.0.0.0/16")),
        ("block net 10", cidr("10/32")),
        ("block net 1:2:3", cidr("1:2:3/128")),
        ("block net 2001:db8::/129", cidr("2001:db8::/129")),
        ("block net x", cidr("x/32")),
    ] {
        let error = match error.as_str() {
            "" => error,
            text => format!("Corefile:2 - Error during parsing: {text}"),
        };
        assert_eq!(
            refusal(&DEFINITION, &format!("acl {{\n{line}\n}}")),
            error,
            "{line}"
        );
    }
    assert_eq!(refusal(&DEFINITION, "acl"), "");
    assert_eq!(refusal(&DEFINITION, "acl example.org {\n}\nacl\n"), "");
}

#[tokio::test]
async fn queries_are_judged() {
    const BLOCK: &str = "REFUSED";
    const FILTER: &str = "NOERROR";
    const DROP: &str = "-";
    const ALLOW: &str = "NOERROR aa";
    for (text, client, name, qtype, seen) in [
        (
            "acl {\nblock type A net 192.168.0.0/16\n}",
            "192.168.0.2",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl {\nblock type A net 192.168.0.0/16\n}",
            "192.167.0.2",
            "x.org.",
            "A",
            ALLOW,
        ),
        (
            "acl {\nblock type A net 192.168.0.0/16\n}",
            "192.168.0.2",
            "x.org.",
            "AAAA",
            ALLOW,
        ),
        (
            "acl {\nblock net 192.168.0.0/16\n}",
            "192.168.0.2",
            "x.org.",
            "TXT",
            BLOCK,
        ),
        (
            "acl {\nblock type A\n}",
            "2001:db8::1",
            "x.org.",
            "A",
            BLOCK,
        ),
        ("acl {\nblock type *\n}", "192.0.2.1", "x.org.", "A", BLOCK),
        ("acl {\nblock\n}", "192.0.2.1", "x.org.", "A", BLOCK),
        (
            "acl {\nfilter type A\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            FILTER,
        ),
        ("acl {\ndrop type A\n}", "192.0.2.1", "x.org.", "A", DROP),
        (
            "acl {\nblock type ANY\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            ALLOW,
        ),
        (
            "acl {\nblock type ANY\n}",
            "192.0.2.1",
            "x.org.",
            "ANY",
            BLOCK,
        ),
        ("acl a.org {\nblock\n}", "192.0.2.1", "x.org.", "A", ALLOW),
        (
            "acl x.org {\nblock\n}",
            "192.0.2.1",
            "www.X.org.",
            "A",
            BLOCK,
        ),
        (
            "acl x.org y.org {\nblock\n}",
            "192.0.2.1",
            "y.org.",
            "A",
            BLOCK,
        ),
        // The first line that fits decides.
        (
            "acl {\nallow net 192.0.2.1\nblock\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            ALLOW,
        ),
        (
            "acl {\nallow net 192.0.2.1\nblock\n}",
            "192.0.2.2",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl {\nblock\nallow net 192.0.2.1\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl {\nfilter type A\nblock\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            FILTER,
        ),
        (
            "acl {\nfilter type A\nblock\n}",
            "192.0.2.1",
            "x.org.",
            "AAAA",
            BLOCK,
        ),
        // Where none does, the next block is asked.
        (
            "acl {\nblock type MX\n}\nacl {\nfilter\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            FILTER,
        ),
        (
            "acl {\nallow\n}\nacl {\nblock\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            ALLOW,
        ),
        (
            "acl a.org {\nallow\n}\nacl x.org {\nblock\n}",
            "192.0.2.1",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl a.org {\nallow\n}\nacl x.org {\nblock\n}",
            "192.0.2.1",
            "a.org.",
            "A",
            ALLOW,
        ),
        // Sources.
        (
            "acl {\nblock net 10.0.0.1 10.0.0.3\n}",
            "10.0.0.2",
            "x.org.",
            "A",
            ALLOW,
        ),
        (
            "acl {\nblock net 10.0.0.1 10.0.0.3\n}",
            "10.0.0.3",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl {\nblock net 10.0.0.0/8 net *\n}",
            "11.0.0.1",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl {\nblock net 10.0.0.0/8\n}",
            "::ffff:10.0.0.1",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl {\nblock net 2001:db8::/32\n}",
            "2001:db8:1::1",
            "x.org.",
            "A",
            BLOCK,
        ),
        (
            "acl {\nblock net 2001:db8::/32\n}",
            "2001:db9::1",
            "x.org.",
            "A",
            ALLOW,
        ),
        (
            "acl {\nblock net 0.0.0.0/0\n}",
            "2001:db8::1",
            "x.org.",
            "A",
            ALLOW,
        ),
        (
            "acl {\nblock net ::/0\n}",
            "2001:db8::1",
            "x.org.",
            "A",
            BLOCK,
        ),
        ("acl", "192.0.2.1", "x.org.", "A", ALLOW),
        ("acl {\n}", "192.0.2.1", "x.org.", "A", ALLOW),
    ] {
        let script = Script::new(Rcode::NOERROR, &[]);
        script.answers(testing::Answer {
            flags: crate::wire::flags::AA,
            ..testing::Answer::default()
        });
        let chain = testing::chain(&DEFINITION, text, &script);
        let mut exchange = query(name, rtype::from_mnemonic(qtype).unwrap());
        let client: IpAddr = client.parse().unwrap();
        exchange.client.set_ip(client);
        let (mut exchange, served) = testing::serve(&chain, exchange).await;
        assert_eq!(served.unwrap(), Rcode::NOERROR);
        assert_eq!(shown(&exchange), seen, "{text} {client} {name} {qtype}");
        // Clients without EDNS get the option too.
        let option: &[u8] = match seen {
            BLOCK => &[0, 15, 0, 2, 0, 15],
            FILTER => &[0, 15, 0, 2, 0, 17],
            _ => &[],
        };
        let message = exchange.finish().unwrap_or_default();
        assert!(message.ends_with(option), "{text}");
    }
}

#[tokio::test]
async fn verdicts_are_counted() {
    let script = Script::new(Rcode::NOERROR, &[]);
    let text = "acl count.org org {\nblock type A\ndrop type MX\nfilter type SRV\n}";
    let chain = testing::chain(&DEFINITION, text, &script);
    for (name, qtype) in [
        ("a.count.org", rtype::A),
        ("b.count.org", rtype::A),
        ("other.org", rtype::MX),
        ("count.org", rtype::SRV),
    ] {
        testing::ask(&chain, name, qtype).await;
    }
    assert_eq!(BLOCKED.with(&["", "count.org.", ""]).value(), 2);
    assert_eq!(FILTERED.with(&["", "count.org.", ""]).value(), 1);
    assert!(DROPPED.with(&["", "org.", ""]).value() >= 1);
    assert_eq!(script.calls(), 0);
}
