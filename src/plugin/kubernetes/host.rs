//! The label that an endpoint has below its service (CoreDNS
//! `endpointHostname`): its hostname, else with `endpoint_pod_names` its
//! pod's name, else its address with dashes.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::model::Endpoint;

/// Text on the stack. The longest address has 45 characters.
type Text = SmallVec<[u8; 48]>;

/// An endpoint's label. A pod's name may hold dots: then it is several.
pub(super) fn label<'e>(endpoint: &Endpoint<'e>, pod_names: bool) -> Label<'e> {
    match endpoint {
        Endpoint { hostname, .. } if !hostname.is_empty() => Label::Given(hostname),
        Endpoint { pod, .. } if pod_names && !pod.is_empty() => Label::Given(pod),
        Endpoint { ip, .. } => Label::Made(dashed(*ip)),
    }
}

/// An endpoint's label, borrowed or made from its address.
pub(super) enum Label<'e> {
    /// As it stands in the object.
    Given(&'e str),
    /// The address with dashes.
    Made(Text),
}

impl Label<'_> {
    /// The octets.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Given(text) => text.as_bytes(),
            Self::Made(text) => text,
        }
    }
}

/// A label that is looked for among many endpoints: what it says as an
/// address is worked out once.
pub(super) struct Wanted<'q> {
    label: &'q [u8],
    ip: Option<IpAddr>,
    pod_names: bool,
}

impl<'q> Wanted<'q> {
    pub(super) fn new(label: &'q [u8], pod_names: bool) -> Self {
        let ip = undashed(label).filter(|ip| *dashed(*ip) == *label);
        Self {
            label,
            ip,
            pod_names,
        }
    }

    /// Whether this is the endpoint's label; letter case does not matter.
    pub(super) fn is(&self, endpoint: &Endpoint<'_>) -> bool {
        match endpoint {
            Endpoint { hostname, .. } if !hostname.is_empty() => {
                hostname.as_bytes().eq_ignore_ascii_case(self.label)
            }
            Endpoint { pod, .. } if self.pod_names && !pod.is_empty() => {
                pod.as_bytes().eq_ignore_ascii_case(self.label)
            }
            Endpoint { ip, .. } => self.ip == Some(*ip),
        }
    }
}

/// An address as a label: `10-1-2-3`, `2001-db8--1`, `2001-db8--0`.
fn dashed(ip: IpAddr) -> Text {
    let mut text = with_dashes(ip);
    // A label does not end in a dash.
    if text.ends_with(b"-") {
        text.push(b'0');
    }
    text
}

fn with_dashes(ip: IpAddr) -> Text {
    struct Dashes(Text);

    impl Write for Dashes {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let octets = text.bytes();
            self.0.extend(octets.map(|octet| match octet {
                b'.' | b':' => b'-',
                octet => octet,
            }));
            Ok(())
        }
    }

    let mut text = Dashes(Text::new());
    // Writing to a vector does not fail.
    let _ = write!(text, "{ip}");
    text.0
}

/// The address that a label in lower case spells: with exactly three dashes,
/// none of them beside another, an IPv4 address, else an IPv6 one.
pub(super) fn undashed(label: &[u8]) -> Option<IpAddr> {
    let dashes = label.iter().filter(|octet| **octet == b'-').count();
    let doubled = label.windows(2).any(|pair| pair == b"--");
    let separator = if dashes == 3 && !doubled { b'.' } else { b':' };
    let text: Text = label
        .iter()
        .map(|octet| if *octet == b'-' { separator } else { *octet })
        .collect();
    let text = std::str::from_utf8(&text).ok()?;
    match separator {
        b'.' => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        // Go keeps an IPv4 address and the IPv6 address that maps it as one.
        _ => text
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| IpAddr::V6(ip).to_canonical()),
    }
}

/// As [`undashed`], for labels that spell the address just as the API does.
pub(super) fn undashed_exactly(label: &[u8]) -> Option<IpAddr> {
    undashed(label).filter(|ip| *with_dashes(*ip) == *label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_labels() {
        for (ip, want) in [
            ("10.1.2.3", "10-1-2-3"),
            ("2001:db8::1", "2001-db8--1"),
            ("2001:db8::", "2001-db8--0"),
            ("::1", "--1"),
        ] {
            let endpoint = Endpoint {
                ip: ip.parse().unwrap(),
                hostname: "",
                pod: "web-0",
                zone: "",
            };
            assert_eq!(label(&endpoint, false).as_bytes(), want.as_bytes(), "{ip}");
            assert!(Wanted::new(want.as_bytes(), false).is(&endpoint), "{ip}");
            assert!(!Wanted::new(want.as_bytes(), true).is(&endpoint), "{ip}");
            assert!(Wanted::new(b"web-0", true).is(&endpoint));
            assert!(!Wanted::new(b"web-0", false).is(&endpoint));
            let named = Endpoint {
                hostname: "Own",
                ..endpoint
            };
            assert_eq!(label(&named, true).as_bytes(), b"Own");
            assert!(Wanted::new(b"own", true).is(&named));
            assert!(!Wanted::new(want.as_bytes(), false).is(&named));
        }
    }

    #[test]
    fn only_the_canonical_label_is_an_endpoints() {
        let endpoint = Endpoint {
            ip: "2001:db8::1".parse().unwrap(),
            hostname: "",
            pod: "",
            zone: "",
        };
        for label in [
            "2001-db8-0--1",
            "2001-0db8--1",
            "2001-db8---1",
            "2001-db8--1-",
        ] {
            assert!(
                !Wanted::new(label.as_bytes(), false).is(&endpoint),
                "{label}"
            );
        }
    }

    #[test]
    fn pod_labels() {
        for (label, ip, exact) in [
            ("10-240-0-1", Some("10.240.0.1"), true),
            ("10-240-0-01", None, false),
            ("10-240-0", None, false),
            ("10-240-0-1-1", None, false),
            ("1234-abcd--1", Some("1234:abcd::1"), true),
            ("1234-abcd-0--1", Some("1234:abcd::1"), false),
            ("1-2--3-4", Some("1:2::3:4"), true),
            ("1--2-3", Some("1::2:3"), true),
            ("--ffff-102-304", Some("1.2.3.4"), false),
            ("a-b-c-d", None, false),
            ("web", None, false),
            ("-", None, false),
        ] {
            let want = ip.map(|ip| ip.parse().unwrap());
            assert_eq!(undashed(label.as_bytes()), want, "{label}");
            assert_eq!(
                undashed_exactly(label.as_bytes()).is_some(),
                exact,
                "{label}"
            );
        }
    }
}
