use super::*;
use crate::{host::tests::Fake, parse};

/// The zones that a block with `keys` serves, or the error.
fn zones(keys: &str) -> Result<Vec<String>, String> {
    let tree = parse(
        "Corefile",
        &format!("{keys} {{\n}}\n"),
        &[],
        &Fake::default(),
    )
    .map_err(|error| error.first_line().to_owned())?;
    let blocks = inspect(&tree, 1053).map_err(|error| error.first_line().to_owned())?;
    Ok(blocks.concat().iter().map(ToString::to_string).collect())
}

#[test]
fn keys() {
    let cases: &[(&str, &[&str])] = &[
        (".", &["dns://.:1053"]),
        (".:53", &["dns://.:53"]),
        ("Example.ORG", &["dns://example.org.:1053"]),
        ("example.org.:0053", &["dns://example.org.:53"]),
        ("dns://a:53, tls://a", &["dns://a.:53", "tls://a.:853"]),
        ("quic://a https3://a", &["quic://a.:853", "https3://a.:443"]),
        ("grpc://a https://a", &["grpc://a.:443", "https://a.:443"]),
        ("unix://a", &["unix://a.:"]),
        // Not a scheme, so a name.
        ("http://a", &["dns://http://a.:1053"]),
        ("TLS://a", &["dns://tls://a.:1053"]),
        (
            "example.org,example.com:1053",
            &["dns://example.org,example.com.:1053"],
        ),
        ("a:53:54", &["dns://a:53.:54"]),
        ("a:b", &["dns://a:b.:1053"]),
        (
            "10.0.0.0/15:53 a",
            &[
                "dns://0.10.in-addr.arpa.:53",
                "dns://1.10.in-addr.arpa.:53",
                "dns://a.:1053",
            ],
        ),
        ("2001:db8::/32", &["dns://8.b.d.0.1.0.0.2.ip6.arpa.:1053"]),
        // An address is not a network: its last part is a port.
        ("2001:db8::1", &["dns://2001:db8:.:1"]),
        ("10.0.0.0/33", &["dns://10.0.0.0/33.:1053"]),
    ];
    for (keys, want) in cases {
        assert_eq!(zones(keys).unwrap(), *want, "{keys}");
    }
}

#[test]
fn names_that_are_too_long() {
    let label = "a".repeat(63);
    let three = format!("{label}.{label}.{label}");
    let error = |text: &str| format!("error inspecting server blocks: {text}");
    let cases = [
        (format!("{three}.{}.", &label[..62]), None),
        // 255 bytes as written, 256 with the final dot.
        (
            format!("{three}.{label}"),
            Some("specified zone is too long: 256 > 255".to_owned()),
        ),
        (
            "x".repeat(300),
            Some("specified zone is too long: 300 > 255".to_owned()),
        ),
        (
            format!("{label}a.org"),
            Some(format!("zone is not a valid domain name: {label}a.org")),
        ),
    ];
    for (key, want) in cases {
        assert_eq!(zones(&key).err(), want.as_deref().map(error), "{key}");
    }
}

#[test]
fn zones_of_plugins() {
    let tree = parse("Corefile", "a:53 10.0.0.0/15 {\n}", &[], &Fake::default()).unwrap();
    let block = inspect(&tree, 53).unwrap().concat();
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["a.", "0.10.in-addr.arpa.", "1.10.in-addr.arpa."]),
        (&["Example.org"], &["example.org."]),
        (
            &["tls://b:53", "10.1.0.0/16"],
            &["b.", "1.10.in-addr.arpa."],
        ),
        // What is no zone is left out, even if nothing is left.
        (&["a..b", "c"], &["c."]),
        (&["a:", ""], &[]),
    ];
    for (args, want) in cases {
        assert_eq!(origins(args, &block), *want, "{args:?}");
    }
}

#[test]
fn zones_with_a_view_may_be_shared() {
    let key = |zone: &str| inspect_one(zone);
    let mut overlap = Overlap::default();
    overlap.register(&key("a"), "", true).unwrap();
    overlap.register(&key("a"), "", false).unwrap();
    overlap.register(&key("a"), "", true).unwrap();
    let error = overlap.register(&key("a"), "", false).unwrap_err();
    assert_eq!(
        error.first_line(),
        "cannot serve dns://a.:53 - it is already defined"
    );
    let error = overlap.register(&key("a"), "127.0.0.1", true).unwrap_err();
    assert_eq!(
        error.first_line(),
        "cannot serve dns://a.:53 on 127.0.0.1 - zone overlap listener capacity with dns://a.:53"
    );
    overlap.register(&key("a:54"), "127.0.0.1", false).unwrap();
    overlap.register(&key("tls://a:53"), "", false).unwrap();
}

fn inspect_one(key: &str) -> ZoneKey {
    let tree = parse("Corefile", key, &[], &Fake::default()).unwrap();
    inspect(&tree, 53).unwrap().concat().remove(0)
}
