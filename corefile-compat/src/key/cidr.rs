//! Networks and the reverse zones that cover them (RFC 1035 3.5, RFC 3596 2.5).

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A network: the bits of its address above its mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    V4(u32, u32),
    V6(u128, u32),
}

/// Reads `ADDRESS/BITS`. Host bits are cleared. A network of IPv4-mapped
/// addresses is one of IPv4, as Go prints it so.
pub(super) fn parse(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/')?;
    if bits.is_empty() || bits.len() > 8 || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let bits: u32 = bits.parse().ok()?;
    match address.parse().ok()? {
        IpAddr::V4(_) if bits > 32 => None,
        IpAddr::V6(_) if bits > 128 => None,
        IpAddr::V4(ip) => Some(v4(ip, bits)),
        IpAddr::V6(ip) => Some(match (ip.to_ipv4_mapped(), bits.checked_sub(96)) {
            (Some(ip), Some(bits)) => v4(ip, bits),
            _ => v6(ip, bits),
        }),
    }
}

fn v4(ip: Ipv4Addr, bits: u32) -> Network {
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Network::V4(u32::from(ip) & mask, bits)
}

fn v6(ip: Ipv6Addr, bits: u32) -> Network {
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Network::V6(u128::from(ip) & mask, bits)
}

impl Network {
    /// The reverse zones that make up the network: one when its mask falls on
    /// a label, else all of the next longer mask that does, up to 128.
    pub(super) fn reverse_zones(self) -> Vec<String> {
        match self {
            Self::V4(address, bits) => {
                let labels = bits.div_ceil(8);
                let step = 1_u64 << (32 - labels * 8);
                let count = 1_u64 << (labels * 8 - bits);
                (0..count)
                    .map(|n| u64::from(address) + n * step)
                    .map(|address| v4_zone(address, labels))
                    .collect()
            }
            Self::V6(address, bits) => {
                let labels = bits.div_ceil(4);
                let step = 1_u128.checked_shl(128 - labels * 4).unwrap_or(0);
                let count = 1_u128 << (labels * 4 - bits);
                (0..count)
                    .map(|n| address.wrapping_add(n.wrapping_mul(step)))
                    .map(|address| v6_zone(address, labels))
                    .collect()
            }
        }
    }
}

fn v4_zone(address: u64, labels: u32) -> String {
    let mut zone = String::new();
    for label in (0..labels).rev() {
        let octet = address >> (24 - 8 * label) & 0xff;
        // Writing to a String does not fail.
        let _ = write!(zone, "{octet}.");
    }
    zone + "in-addr.arpa."
}

fn v6_zone(address: u128, labels: u32) -> String {
    let mut zone = String::new();
    for label in (0..labels).rev() {
        let nibble = address >> (124 - 4 * label) & 0xf;
        let _ = write!(zone, "{nibble:x}.");
    }
    zone + "ip6.arpa."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones() {
        let cases: &[(&str, &[&str])] = &[
            ("10.0.0.0/24", &["0.0.10.in-addr.arpa."]),
            ("10.0.0.9/24", &["0.0.10.in-addr.arpa."]),
            ("10.0.0.0/8", &["10.in-addr.arpa."]),
            ("10.0.0.0/08", &["10.in-addr.arpa."]),
            ("0.0.0.0/0", &["in-addr.arpa."]),
            ("10.0.0.1/32", &["1.0.0.10.in-addr.arpa."]),
            ("10.0.0.0/15", &["0.10.in-addr.arpa.", "1.10.in-addr.arpa."]),
            (
                "255.255.255.254/31",
                &[
                    "254.255.255.255.in-addr.arpa.",
                    "255.255.255.255.in-addr.arpa.",
                ],
            ),
            (
                "192.168.1.1/23",
                &["0.168.192.in-addr.arpa.", "1.168.192.in-addr.arpa."],
            ),
            (
                "10.129.60.0/22",
                &[
                    "60.129.10.in-addr.arpa.",
                    "61.129.10.in-addr.arpa.",
                    "62.129.10.in-addr.arpa.",
                    "63.129.10.in-addr.arpa.",
                ],
            ),
            ("2001:db8::/32", &["8.b.d.0.1.0.0.2.ip6.arpa."]),
            (
                "2001:db8::/31",
                &["8.b.d.0.1.0.0.2.ip6.arpa.", "9.b.d.0.1.0.0.2.ip6.arpa."],
            ),
            ("::/0", &["ip6.arpa."]),
            ("::ffff:10.0.0.0/104", &["10.in-addr.arpa."]),
        ];
        for (network, want) in cases {
            assert_eq!(parse(network).unwrap().reverse_zones(), *want, "{network}");
        }
        assert_eq!(parse("192.168.1.0/25").unwrap().reverse_zones().len(), 128);
        assert_eq!(parse("0.0.0.0/1").unwrap().reverse_zones().len(), 128);
        assert_eq!(parse("2001:db8::1/128").unwrap().reverse_zones().len(), 1);
        assert_eq!(parse("2001:db8::/125").unwrap().reverse_zones().len(), 8);
    }

    #[test]
    fn not_networks() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "010.0.0.0/8",
            "2001:db8::/129",
            "fe80::1%eth0/64",
            "10.0.0.0/24.",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
