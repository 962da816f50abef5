use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::wire::{Name, NameBuf, Reader};
use crate::zones::Zones;

type Map<K, V> = HashMap<K, V, RandomState>;

/// What a hosts file says. Names are in wire form and lower case, addresses
/// packed one behind the other.
#[derive(Debug, Default)]
pub(super) struct Entries {
    v4: Family,
    v6: Family,
    names: Map<IpAddr, Vec<Box<[u8]>>>,
}

/// The addresses of one family.
#[derive(Debug, Default)]
struct Family {
    exact: Map<Box<[u8]>, Vec<u8>>,
    /// By the name behind the `*` label.
    wild: Map<Box<[u8]>, Vec<u8>>,
}

impl Family {
    fn add(&mut self, name: Name<'_>, octets: &[u8]) {
        let (map, name) = match name.labels().next() {
            Some(b"*") => (&mut self.wild, name.parent().unwrap_or(name)),
            _ => (&mut self.exact, name),
        };
        let packed = map.entry(name.wire().into()).or_default();
        packed.extend_from_slice(octets);
    }

    /// The addresses of a name; the wildcard's where the name itself has none.
    fn find(&self, name: Name<'_>) -> &[u8] {
        if let Some(packed) = self.exact.get(name.wire()) {
            return packed;
        }
        if self.wild.is_empty() {
            return &[];
        }
        // A wildcard is never for a name of one label.
        let parent = name.parent().filter(|parent| !parent.is_root());
        parent
            .and_then(|parent| self.wild.get(parent.wire()))
            .map_or(&[], Vec::as_slice)
    }

    fn octets(&self) -> usize {
        let maps = [&self.exact, &self.wild];
        maps.into_iter().flat_map(Map::values).map(Vec::len).sum()
    }
}

impl Entries {
    /// Reads lines `ADDRESS NAME…`; `#` begins a comment. Lines that are none
    /// and names outside of `zones` are passed over.
    pub(super) fn parse(text: &str, zones: &Zones, reverse: bool) -> Self {
        let mut entries = Self::default();
        for line in text.lines() {
            let line = line.split_once('#').map_or(line, |(line, _)| line);
            let mut fields = line.split_whitespace();
            let Some(address) = fields.next().and_then(parse_address) else {
                continue;
            };
            for name in fields {
                let Ok(name) = corefile::key::normalize(name).parse::<NameBuf>() else {
                    continue;
                };
                if zones.contain(name.name()) {
                    entries.add(address, name.name(), reverse);
                }
            }
        }
        entries
    }

    fn add(&mut self, address: IpAddr, name: Name<'_>, reverse: bool) {
        match address {
            IpAddr::V4(address) => self.v4.add(name, &address.octets()),
            IpAddr::V6(address) => self.v6.add(name, &address.octets()),
        }
        if reverse && name.labels().next() != Some(b"*") {
            let names = self.names.entry(address).or_default();
            names.push(name.wire().into());
        }
    }

    /// Addresses of names and names of addresses.
    pub(super) fn len(&self) -> usize {
        let names: usize = self.names.values().map(Vec::len).sum();
        self.v4.octets() / 4 + self.v6.octets() / 16 + names
    }
}

/// The file's entries, and behind them the Corefile's.
#[derive(Debug)]
pub(super) struct Tables {
    file: Entries,
    inline: Arc<Entries>,
}

impl Tables {
    pub(super) fn new(file: Entries, inline: Arc<Entries>) -> Self {
        Self { file, inline }
    }

    pub(super) fn inline(&self) -> Arc<Entries> {
        self.inline.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.file.len() + self.inline.len()
    }

    /// The IPv4 addresses of a name, packed, from the file and the Corefile.
    pub(super) fn addresses_v4(&self, name: Name<'_>) -> [&[u8]; 2] {
        [self.file.v4.find(name), self.inline.v4.find(name)]
    }

    /// The IPv6 addresses of a name, packed, from the file and the Corefile.
    pub(super) fn addresses_v6(&self, name: Name<'_>) -> [&[u8]; 2] {
        [self.file.v6.find(name), self.inline.v6.find(name)]
    }

    /// Whether any address has a name.
    pub(super) fn has_reverse(&self) -> bool {
        !self.file.names.is_empty() || !self.inline.names.is_empty()
    }

    /// The names of an address.
    pub(super) fn names(&self, address: IpAddr) -> impl Iterator<Item = Name<'_>> {
        let both = [&self.file, &self.inline].into_iter();
        let names = both.filter_map(move |entries| entries.names.get(&address));
        let names = names.flatten();
        names.filter_map(|name| Name::read(&mut Reader::new(name)).ok())
    }
}

/// An address as hosts files write it, an IPv6 zone left out.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    let address: IpAddr = text.parse().ok()?;
    Some(address.to_canonical())
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for. The
/// name is in lower case.
pub(super) fn reverse_address(name: Name<'_>) -> Option<IpAddr> {
    let labels: Vec<&[u8]> = name.labels().collect();
    match &labels[..] {
        [parts @ .., b"in-addr", b"arpa"] => {
            let parts: Option<Vec<&str>> = parts
                .iter()
                .rev()
                .map(|part| str::from_utf8(part).ok())
                .collect();
            let address: Ipv4Addr = parts?.join(".").parse().ok()?;
            Some(address.into())
        }
        [nibbles @ .., b"ip6", b"arpa"] if nibbles.len() == 32 => {
            let mut bits = 0u128;
            for nibble in nibbles.iter().rev() {
                let [digit] = nibble else { return None };
                let digit = char::from(*digit).to_digit(16)?;
                bits = bits << 4 | u128::from(digit);
            }
            Some(IpAddr::from(Ipv6Addr::from_bits(bits)).to_canonical())
        }
        _ => None,
    }
}
