//! Networks in CIDR notation, as Go's `net.ParseCIDR` reads them, and sets of them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Reads `ADDRESS/LENGTH`. Bits of the address behind the prefix are dropped;
/// a network of IPv4-mapped IPv6 addresses is the IPv4 network.
pub fn parse(text: &str) -> Option<IpNet> {
    let (address, len) = text.split_once('/')?;
    if len.is_empty() || !len.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let address: IpAddr = address.parse().ok()?;
    let len: u8 = len.parse().ok()?;
    let net = IpNet::new(address, len).ok()?.trunc();
    match (address.to_canonical(), len.checked_sub(96)) {
        (IpAddr::V4(mapped), Some(len)) if address.is_ipv6() => {
            IpNet::new(mapped.into(), len).ok().map(|net| net.trunc())
        }
        _ => Some(net),
    }
}

/// A set of networks; a look-up is a binary search, however many there are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks {
    /// First and last addresses of disjoint ranges, ascending. IPv4 addresses
    /// stand among the IPv6 ones as mapped addresses.
    ranges: Vec<(u128, u128)>,
}

impl Networks {
    /// Every address there is.
    pub fn all() -> Self {
        Self {
            ranges: vec![(0, u128::MAX)],
        }
    }

    /// Whether the address lies in one of the networks.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = mapped(address);
        let behind = self.ranges.partition_point(|(first, _)| *first <= address);
        let range = behind.checked_sub(1).and_then(|at| self.ranges.get(at));
        range.is_some_and(|(_, last)| address <= *last)
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let range = |net: IpNet| (mapped(net.network()), mapped(net.broadcast()));
        let mut all: Vec<(u128, u128)> = networks.into_iter().map(range).collect();
        all.sort_unstable();
        let mut ranges: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match ranges.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }
}

fn mapped(address: IpAddr) -> u128 {
    let six: Ipv6Addr = match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    };
    six.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_go_reads_them() {
        for (text, net) in [
            ("10.0.0.1/8", Some("10.0.0.0/8")),
            ("10.0.0.0/08", Some("10.0.0.0/8")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("::ffff:10.1.2.3/112", Some("10.1.0.0/16")),
            ("10.0.0.0", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/", None),
            ("010.0.0.0/8", None),
            ("10.0.0/8", None),
            ("::1/129", None),
            ("fe80::1%eth0/64", None),
            ("a/8", None),
        ] {
            let shown = parse(text).map(|net| net.to_string());
            assert_eq!(shown.as_deref(), net, "{text}");
        }
    }

    #[test]
    fn sets_merge_what_overlaps() {
        let texts = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "11.0.0.0/8",
            "192.0.2.7/32",
            "2001:db8::/32",
        ];
        let set: Networks = texts.into_iter().filter_map(parse).collect();
        assert_eq!(set.ranges.len(), 3);
        for (address, inside) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("11.255.255.255", true),
            ("12.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:192.0.2.7", true),
            ("2001:db8:ffff::", true),
            ("2001:db9::", false),
            ("::", false),
        ] {
            assert_eq!(set.contain(address.parse().unwrap()), inside, "{address}");
        }
        let all = Networks::all();
        assert!(all.contain("::".parse().unwrap()) && all.contain("1.2.3.4".parse().unwrap()));
        assert!(!Networks::default().contain("1.2.3.4".parse().unwrap()));
        let every: Networks = ["0.0.0.0/0"].into_iter().filter_map(parse).collect();
        assert!(every.contain("255.255.255.255".parse().unwrap()));
        assert!(!every.contain("2001:db8::".parse().unwrap()));
    }
}
