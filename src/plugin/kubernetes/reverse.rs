//! Names of addresses (CoreDNS `plugin/kubernetes/reverse.go` and `pkg/dnsutil/reverse.go`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::lookup::Rules;
use super::records::{push_labels, service_name};
use super::snapshot::Snapshot;
use crate::wire::{Name, NameBuf};

/// Whether a name lies below `in-addr.arpa` or `ip6.arpa`.
pub(super) fn is_reverse(zone: Name<'_>) -> bool {
    // Arrays and not slices: then each is compared in a few instructions.
    let wire = zone.wire();
    (wire.len() > V4.len() && wire.last_chunk() == Some(V4))
        || (wire.len() > V6.len() && wire.last_chunk() == Some(V6))
}

const V4: &[u8; 14] = b"\x07in-addr\x04arpa\0";
const V6: &[u8; 10] = b"\x03ip6\x04arpa\0";

/// Labels of a whole IPv6 address.
const NIBBLES: usize = 32;

/// The address that a reverse name in lower case stands for, if it is whole
/// (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub(super) fn address(name: Name<'_>) -> Option<IpAddr> {
    // The two labels of the tree come last.
    let labels: SmallVec<[&[u8]; 40]> = name.labels().collect();
    let (rest, tree) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
    match tree {
        [b"in-addr", b"arpa"] => {
            let mut octets = [0; 4];
            if rest.len() != octets.len() {
                return None;
            }
            for (octet, label) in octets.iter_mut().rev().zip(rest) {
                *octet = decimal(label)?;
            }
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        [b"ip6", b"arpa"] => {
            // CoreDNS reads groups of four from the right and drops what is left over.
            if !(NIBBLES..NIBBLES + 4).contains(&rest.len()) {
                return None;
            }
            let mut bits = 0u128;
            for label in rest.iter().rev().take(NIBBLES) {
                let [digit] = label else { return None };
                bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bits)).to_canonical())
        }
        _ => None,
    }
}

fn decimal(label: &[u8]) -> Option<u8> {
    let plain = matches!(label, [b'0'] | [b'1'..=b'9', ..]);
    plain.then(|| std::str::from_utf8(label).ok()?.parse().ok())?
}

/// The names that an address has: of the Service whose cluster IP it is, else
/// of every endpoint, each once. `namespaces` counts, `namespace_labels` does
/// not, unless `namespaces` is there, as in CoreDNS.
pub(super) fn targets(
    rules: &Rules,
    snapshot: &Snapshot,
    zone: Name<'_>,
    ip: IpAddr,
) -> SmallVec<[NameBuf; 1]> {
    let shown = |namespace: &str| {
        rules.namespaces.is_empty() || rules.exposed(snapshot, namespace.as_bytes())
    };
    let service = snapshot.service_by_cluster_ip(ip);
    if let Some((entry, _)) = service.filter(|(entry, _)| shown(entry.namespace())) {
        return service_name(entry, zone).into_iter().collect();
    }
    let mut names = SmallVec::new();
    for (entry, _, endpoint) in snapshot.endpoints_by_ip(ip) {
        if !shown(entry.namespace()) {
            continue;
        }
        let mut name = NameBuf::new();
        let host = push_labels(&mut name, rules.label(&endpoint).as_bytes());
        let service = host.and_then(|()| service_name(entry, zone));
        let whole = service.and_then(|service| name.push_name(service.name()).ok());
        if whole.is_some() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_are_addresses() {
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        let mapped = "4.0.3.0.2.0.1.0.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";
        for (name, want) in [
            (
                "100.1.168.192.in-addr.arpa".to_owned(),
                Some("192.168.1.100"),
            ),
            ("1.168.192.in-addr.arpa".into(), None),
            ("5.4.3.2.1.in-addr.arpa".into(), None),
            ("01.1.168.192.in-addr.arpa".into(), None),
            ("256.1.168.192.in-addr.arpa".into(), None),
            ("+1.1.168.192.in-addr.arpa".into(), None),
            ("in-addr.arpa".into(), None),
            ("4.3.2.1.example.arpa".into(), None),
            ("arpa".into(), None),
            (format!("{nibbles}.ip6.arpa"), Some("2001:db8::1")),
            (format!("x.{nibbles}.ip6.arpa"), Some("2001:db8::1")),
            (format!("w.x.y.z.{nibbles}.ip6.arpa"), None),
            (format!("{}.ip6.arpa", &nibbles[2..]), None),
            (format!("{}.ip6.arpa", nibbles.replace('8', "g")), None),
            (format!("{}.ip6.arpa", nibbles.replace('8', "88")), None),
            (format!("{mapped}.ip6.arpa"), Some("1.2.3.4")),
        ] {
            let parsed: NameBuf = name.parse().unwrap();
            assert_eq!(
                address(parsed.name()),
                want.map(|ip| ip.parse().unwrap()),
                "{name}"
            );
        }
    }
}
