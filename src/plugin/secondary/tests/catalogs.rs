//! Catalog zones as they are read.

use super::super::catalog::{Catalog, CatalogError};
use super::streams::whole;

/// Reads `example.org.` with these records.
fn read(lines: &[&str]) -> Result<Catalog, CatalogError> {
    let all = [&["SOA 1"], lines, &["SOA 1"]].concat();
    Catalog::of(&whole(&all))
}

/// Its members, each as `ID ZONE COO`.
fn shown(catalog: &Catalog) -> Vec<String> {
    let members = catalog.members().map(|(zone, listed)| {
        let coo = listed.moves_to.as_ref();
        let coo = coo.map_or_else(|| "-".to_owned(), ToString::to_string);
        format!("{} {zone} {coo}", listed.id)
    });
    let mut members: Vec<_> = members.collect();
    members.sort();
    members
}

const NS: &str = "@ 0 NS invalid.";
const VERSION: &str = "version 0 TXT \"2\"";

#[test]
fn members_are_what_is_listed() {
    for (lines, want) in [
        (&[NS, VERSION][..], &[][..]),
        (
            &[
                NS,
                VERSION,
                "B.zones 0 PTR Example.NET.",
                "a.zones 0 PTR example.com.",
                "group.a.zones 0 TXT \"operator\"",
                "group.a.zones 0 TXT \"unsigned\"",
                "coo.b.zones 0 PTR Other.example.",
            ],
            &["a example.com. -", "b example.net. other.example."],
        ),
        // Nothing of this says anything: other types, other places, a coo of nobody.
        (
            &[
                NS,
                VERSION,
                "a.zones 0 TXT \"example.com\"",
                "a.zone 0 PTR example.com.",
                "zones 0 PTR example.com.",
                "a.zones.b 0 PTR example.com.",
                "x.y.a.zones 0 PTR example.com.",
                "ext.a.zones 0 PTR example.com.",
                "coo.a.zones 0 PTR other.example.",
                "coo 0 PTR other.example.",
                "version.zones 0 TXT \"1\"",
                "www 0 A 192.0.2.1",
            ],
            &[],
        ),
        // In pieces it is the same version.
        (&[NS, "VERSION 0 TXT \"\" \"2\""], &[]),
    ] {
        let catalog = read(lines).unwrap_or_else(|error| panic!("{lines:?}: {error}"));
        assert_eq!(shown(&catalog), want, "{lines:?}");
        assert_eq!(catalog.len(), want.len());
    }
}

#[test]
fn what_is_broken_is_refused_whole() {
    let member = "a.zones 0 PTR example.com.";
    for (lines, why) in [
        (
            &[VERSION, member][..],
            "catalog zone example.org. has no NS record",
        ),
        (
            &["www 0 NS invalid.", VERSION],
            "catalog zone example.org. has no NS record",
        ),
        (
            &[NS, member],
            "catalog zone example.org. must have exactly one version TXT record",
        ),
        (
            &[NS, member, VERSION, "version 0 TXT \"3\""],
            "catalog zone example.org. must have exactly one version TXT record",
        ),
        (
            &[NS, member, "version 0 TXT \"1\""],
            "catalog zone example.org. has unsupported version \"1\"",
        ),
        (
            &[NS, VERSION, member, "a.zones 0 PTR example.net."],
            "catalog member a.zones.example.org. must have exactly one PTR record",
        ),
        (
            &[
                NS,
                VERSION,
                member,
                "coo.a.zones 0 PTR x.example.",
                "coo.a.zones 0 PTR y.example.",
            ],
            "catalog member a has more than one coo PTR record",
        ),
    ] {
        let error = read(lines).map(|catalog| shown(&catalog)).unwrap_err();
        assert_eq!(error.to_string(), why, "{lines:?}");
    }
    // Which of the two comes first is open.
    let twice = read(&[NS, VERSION, member, "b.zones 0 PTR EXAMPLE.com."]);
    assert!(matches!(twice, Err(CatalogError::Twice(..))), "{twice:?}");
}
