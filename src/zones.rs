//! Lists of zones, as most plugins have them.

use std::fmt;

use crate::plugin::Block;
use crate::wire::{Name, NameBuf};

/// Zones that a plugin is responsible for, in the order of the Corefile.
///
/// The option `fallthrough` is such a list too: empty where it is missing,
/// the root where it names no zone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Zones {
    zones: Vec<NameBuf>,
    everything: bool,
}

impl Zones {
    /// The root: every name is in it.
    pub fn root() -> Self {
        std::iter::once(NameBuf::new()).collect()
    }

    /// The zones of a plugin: its arguments, or without any the zones of its
    /// server block. Arguments that are no zones are left out silently, as
    /// CoreDNS's `OriginsFromArgsOrServerBlock` does.
    pub fn from_args(args: &[&str], block: &Block) -> Self {
        block.origins(args).into_iter().collect()
    }

    /// The zones of a `fallthrough`.
    pub fn fallthrough(args: &[&str]) -> Self {
        match args {
            [] => Self::root(),
            args => Self::from_args(args, &Block::default()),
        }
    }

    /// The longest zone that the name is in.
    pub fn matching(&self, name: Name<'_>) -> Option<&NameBuf> {
        self.zones.get(self.position(name)?)
    }

    /// Where in the list the longest zone stands that the name is in.
    pub fn position(&self, name: Name<'_>) -> Option<usize> {
        let zones = self.zones.iter().enumerate();
        let zones = zones.filter(|(_, zone)| name.is_under(zone.name()));
        // Of zones as long as each other the first counts.
        let longest = zones.rev().max_by_key(|(_, zone)| zone.wire().len());
        longest.map(|(at, _)| at)
    }

    /// Whether the name is in any of the zones.
    pub fn contain(&self, name: Name<'_>) -> bool {
        self.everything || self.zones.iter().any(|zone| name.is_under(zone.name()))
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// The zones in order.
    pub fn iter(&self) -> impl Iterator<Item = &NameBuf> {
        self.zones.iter()
    }
}

impl FromIterator<NameBuf> for Zones {
    fn from_iter<I: IntoIterator<Item = NameBuf>>(zones: I) -> Self {
        let zones: Vec<NameBuf> = zones
            .into_iter()
            .map(|zone| zone.name().to_lower())
            .collect();
        Self {
            everything: zones.iter().any(|zone| zone.name().is_root()),
            zones,
        }
    }
}

/// Whether a zone lies in one of the trees of reverse names, or is the top of one.
pub fn is_reverse(zone: Name<'_>) -> bool {
    let trees: [&[u8]; 2] = [b"\x07in-addr\x04arpa\0", b"\x03ip6\x04arpa\0"];
    trees.iter().any(|tree| zone.wire().ends_with(tree))
}

/// Separated by commas, as the `zones` label of metrics shows them.
impl fmt::Display for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, zone) in self.zones.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{zone}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameBuf {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_zone_matches() {
        let block = Block {
            zones: vec![name("cluster.local")],
            ..Block::default()
        };
        let zones = Zones::from_args(
            &["Example.org", "a.example.org", "a..b", "10.1.0.0/16"],
            &block,
        );
        assert_eq!(
            zones.to_string(),
            "example.org.,a.example.org.,1.10.in-addr.arpa."
        );
        for (qname, zone) in [
            ("x.a.example.org", Some("a.example.org.")),
            ("x.example.org", Some("example.org.")),
            ("example.com", None),
            ("4.3.1.10.in-addr.arpa", Some("1.10.in-addr.arpa.")),
        ] {
            let qname = name(qname);
            let found = zones.matching(qname.name()).map(ToString::to_string);
            assert_eq!(found.as_deref(), zone, "{qname}");
            assert_eq!(zones.contain(qname.name()), zone.is_some());
        }
        assert!(Zones::from_args(&["a..b"], &block).is_empty());
        assert!(Zones::fallthrough(&[]).contain(name("x").name()));
        assert!(!Zones::default().contain(name("x").name()));
    }
}
