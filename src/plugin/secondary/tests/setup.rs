//! What a Corefile may say.

use corefile::SystemHost;

use super::*;

/// Reads directives from line 2 on, in a block of one zone.
fn read(text: &str) -> Result<SecondarySpec, String> {
    let corefile = format!("example.org {{\n{text}\n}}\n");
    let tree = corefile::parse(
        "Corefile",
        &corefile,
        &["secondary"],
        &SystemHost::default(),
    );
    let tree = tree.map_err(|error| error.first_line().to_owned())?;
    let keys = corefile::key::inspect(&tree, 53).unwrap().remove(0);
    let directive = tree.blocks[0].directive("secondary").unwrap();
    spec::parse(directive, &Block::new(keys)).map_err(|error| error.first_line().to_owned())
}

#[test]
fn setups_are_accepted_and_refused_as_coredns_does() {
    let at = |line: u32, why: &str| format!("Corefile:{line} - Error during parsing: {why}");
    for (text, want) in [
        ("secondary {\ntransfer from 192.0.2.1\n}", None),
        (
            "secondary {\ntransfer from 192.0.2.1:5300 [2001:db8::1]:53 2001:db8::2\ntransfer from 192.0.2.9\n}",
            None,
        ),
        (
            "secondary a.org b.org {\ntransfer from 192.0.2.1\nfallthrough a.org\n}",
            None,
        ),
        ("secondary {\ntransfer from 192.0.2.1\nrefresh 30s\n}", None),
        (
            "secondary",
            Some(at(2, "secondary zones require a transfer from property")),
        ),
        (
            "secondary {\nfallthrough\n}",
            Some(at(4, "secondary zones require a transfer from property")),
        ),
        (
            "secondary {\ntransfer\n}",
            Some(at(
                3,
                "Wrong argument count or unexpected line ending after 'transfer'",
            )),
        ),
        (
            "secondary {\ntransfer from\n}",
            Some(at(
                3,
                "Wrong argument count or unexpected line ending after 'from'",
            )),
        ),
        (
            "secondary {\ntransfer to *\n}",
            Some(at(3, "unknown property to")),
        ),
        (
            "secondary {\ntransfer from *\n}",
            Some("can't use '*' in transfer from".to_owned()),
        ),
        (
            "secondary {\ntransfer from example.org\n}",
            Some("must specify an IP address: `example.org'".to_owned()),
        ),
        (
            "secondary {\ntransfer from 192.0.2.1:99999\n}",
            Some("invalid port \"99999\"".to_owned()),
        ),
        ("secondary {\ntransfer from 192.0.2.1\ncatalog\n}", None),
        (
            "secondary {\ncatalog\n}",
            Some(at(4, "secondary zones require a transfer from property")),
        ),
        (
            "secondary {\ntransfer from 192.0.2.1\ncatalog a.org :\n}",
            Some("invalid catalog member zone \":\"".to_owned()),
        ),
        (
            "secondary {\ntransfer from 192.0.2.1\ncatalog a..b\n}",
            Some("invalid catalog member zone \"a..b\"".to_owned()),
        ),
        (
            "secondary {\ntsig key\n}",
            Some(at(3, "unknown property 'tsig'")),
        ),
        (
            "secondary {\ntransfer from 192.0.2.1\nrefresh 10ms\n}",
            Some(at(4, "invalid refresh '10ms'")),
        ),
    ] {
        assert_eq!(read(text).err(), want, "{text}");
    }
}

#[test]
fn zones_and_primaries_are_what_is_written() {
    let text = "secondary A.org b.org {\ntransfer from 192.0.2.1\nfallthrough\n}\n\
                secondary b.org {\ntransfer from 192.0.2.2:54\nrefresh 1m\n}";
    let spec = read(text).unwrap();
    let shown = |source: &Source| {
        let refresh = source.refresh.map_or(0, |refresh| refresh.as_secs());
        format!("{} {:?} {refresh}", source.zone, source.primaries)
    };
    let zones: Vec<String> = spec.zones.iter().map(shown).collect();
    assert_eq!(
        zones,
        ["a.org. [192.0.2.1:53] 0", "b.org. [192.0.2.2:54] 60"]
    );
    assert!(!spec.fall.is_empty());
}

#[test]
fn a_catalog_lets_in_what_any_of_its_lists_names() {
    let other = "\nsecondary other.org {\ntransfer from 192.0.2.1\n}";
    for (catalog, want) in [
        ("", None),
        ("catalog", Some("")),
        (
            "catalog A.org 192.0.2.0/24",
            Some("a.org.,2.0.192.in-addr.arpa."),
        ),
        (
            "catalog a.org\ncatalog B.ORG c.org",
            Some("a.org.,b.org.,c.org."),
        ),
        ("catalog a.org\ncatalog", Some("")),
        ("catalog\ncatalog a.org", Some("")),
        (
            "catalog a.org\n}\nsecondary example.org {\ntransfer from 192.0.2.2",
            Some("a.org."),
        ),
    ] {
        let text = format!("secondary {{\ntransfer from 192.0.2.1\n{catalog}\n}}{other}");
        let spec = read(&text).unwrap();
        let [own, other] = &spec.zones[..] else {
            panic!("{text}: {spec:?}");
        };
        let shown = own.catalog.as_ref().map(ToString::to_string);
        assert_eq!(shown.as_deref(), want, "{catalog}");
        assert_eq!(other.catalog, None);
    }
}
