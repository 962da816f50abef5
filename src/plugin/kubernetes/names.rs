//! The grammar of names below a cluster zone (Kubernetes DNS specification
//! 1.1.0, section 2; CoreDNS `plugin/kubernetes/parse.go`).
//!
//! Names are read as wire labels in lower case, from the right, without an
//! allocation. A field that a name does not have is empty, so that a label
//! that is nothing but the underscore of a port reads as no port at all, as
//! in CoreDNS.

use smallvec::SmallVec;

/// What stands in front of the zone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Asked<'q> {
    /// The subtree; `None` for the zone itself and for the bare `svc` and
    /// `pod`, which exist and have no records.
    pub(super) subtree: Option<Subtree>,
    /// The namespace.
    pub(super) namespace: &'q [u8],
    /// The service, or a pod's address with dashes.
    pub(super) service: &'q [u8],
    /// An endpoint of the service.
    pub(super) endpoint: &'q [u8],
    /// The cluster that the endpoint belongs to; multicluster zones only.
    pub(super) cluster: &'q [u8],
    /// A port's name without its underscore.
    pub(super) port: &'q [u8],
    /// A protocol without its underscore.
    pub(super) protocol: &'q [u8],
    /// A topology zone, as labels in wire form without a root label; with
    /// the option `zonal` only.
    pub(super) zone: &'q [u8],
    /// Whether a topology zone without endpoints means all of them (`prefer`)
    /// or none (`pin`).
    pub(super) prefer: bool,
}

/// The two halves of a cluster zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Subtree {
    /// `svc`.
    Services,
    /// `pod`.
    Pods,
}

impl Subtree {
    /// Its label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Services => "svc",
            Self::Pods => "pod",
        }
    }
}

/// The name fits no form that the zone has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid query name")]
pub(super) struct Invalid;

/// What makes a zone read names in another way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dialect {
    /// The zone is a multicluster zone.
    pub(super) multicluster: bool,
    /// The option `zonal` is set.
    pub(super) zonal: bool,
}

impl<'q> Asked<'q> {
    /// Reads the labels in front of the zone, in wire form without a root label.
    pub(super) fn parse(prefix: &'q [u8], dialect: Dialect) -> Result<Self, Invalid> {
        let mut asked = Self::default();
        // Where the last eight labels begin, each in an octet, the last one
        // lowest: no name is longer than an octet can tell.
        let (mut starts, mut count, mut at) = (0u64, 0, 0);
        while let Some(len) = prefix.get(at) {
            starts = starts << 8 | at as u64;
            count += 1;
            at += 1 + usize::from(*len);
        }
        let start = |behind: u32| usize::from((starts >> (8 * behind)) as u8);
        let label = |behind: u32| match behind < count {
            true => label_at(prefix, start(behind)),
            false => &[],
        };
        let subtree = match (count, label(0)) {
            (0, _) | (1, b"svc" | b"pod") => return Ok(asked),
            (_, b"svc") => Subtree::Services,
            (_, b"pod") => Subtree::Pods,
            _ => return Err(Invalid),
        };
        asked.subtree = Some(subtree);
        asked.namespace = label(1);
        asked.service = label(2);
        match count {
            ..=3 => {}
            4 => asked.endpoint = label(3),
            5 => {
                let (first, second) = (label(3), label(4));
                let port_like = first.starts_with(b"_") || second.starts_with(b"_");
                if dialect.multicluster && !port_like {
                    asked.cluster = first;
                    asked.endpoint = second;
                } else {
                    asked.protocol = without_underscore(first);
                    asked.port = without_underscore(second);
                }
            }
            _ => {
                let defined = dialect.zonal && !dialect.multicluster;
                if !defined || label(3) != b"_zone" || subtree != Subtree::Services {
                    return Err(Invalid);
                }
                asked.prefer = match label(4) {
                    b"pin" => false,
                    b"prefer" => true,
                    _ => return Err(Invalid),
                };
                asked.zone = prefix.get(..start(4)).ok_or(Invalid)?;
            }
        }
        Ok(asked)
    }

    /// Whether anything stands in front of the service.
    pub(super) fn is_bare(&self) -> bool {
        self.endpoint.is_empty()
            && self.port.is_empty()
            && self.protocol.is_empty()
            && self.zone.is_empty()
    }
}

/// To how many octets of the labels in front of the zone a client's search
/// list was appended: what stands in front of `NAMESPACE.svc`, of `svc`, or of
/// the zone itself.
pub(super) fn relative(prefix: &[u8], is_namespace: impl Fn(&[u8]) -> bool) -> usize {
    let mut starts = SmallVec::<[usize; 16]>::new();
    let mut at = 0;
    while let Some(len) = prefix.get(at) {
        starts.push(at);
        at += 1 + usize::from(*len);
    }
    let services = Subtree::Services.label().as_bytes();
    match *starts {
        [.., namespace, last] if label_at(prefix, last) == services => {
            match is_namespace(label_at(prefix, namespace)) {
                true => namespace,
                false => last,
            }
        }
        _ => prefix.len(),
    }
}

/// Labels in wire form, with or without a root label at the end.
#[derive(Clone)]
pub(super) struct Labels<'q>(pub(super) &'q [u8]);

impl<'q> Iterator for Labels<'q> {
    type Item = &'q [u8];

    fn next(&mut self) -> Option<&'q [u8]> {
        let (&len, rest) = self.0.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(len))?;
        self.0 = rest;
        (len != 0).then_some(label)
    }
}

/// The label that begins at an offset.
fn label_at(labels: &[u8], start: usize) -> &[u8] {
    let label = labels.get(start..).and_then(<[u8]>::split_first);
    let label = label.and_then(|(len, rest)| rest.get(..usize::from(*len)));
    label.unwrap_or_default()
}

fn without_underscore(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}

/// Whether labels, joined by dots, are this text.
pub(super) fn labels_are(labels: &[u8], text: &str) -> bool {
    let mut rest = text.as_bytes();
    for (at, label) in Labels(labels).enumerate() {
        if at > 0 {
            match rest.strip_prefix(b".") {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        match rest.strip_prefix(label) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::NameBuf;

    /// The fields in order, `subtree namespace service endpoint cluster port protocol zone`.
    fn read(text: &str, dialect: Dialect) -> String {
        let name: NameBuf = match text {
            "" => NameBuf::new(),
            _ => text.parse().unwrap(),
        };
        let wire = name.wire();
        let prefix = &wire[..wire.len() - 1];
        let Ok(asked) = Asked::parse(prefix, dialect) else {
            return "invalid".into();
        };
        let zone: Vec<_> = Labels(asked.zone).map(String::from_utf8_lossy).collect();
        let text = |field: &[u8]| match field {
            [] => "-".to_owned(),
            _ => String::from_utf8_lossy(field).into_owned(),
        };
        [
            asked.subtree.map_or("-", Subtree::label).to_owned(),
            text(asked.namespace),
            text(asked.service),
            text(asked.endpoint),
            text(asked.cluster),
            text(asked.port),
            text(asked.protocol),
            text(zone.join(".").as_bytes()),
            if asked.prefer { "prefer" } else { "" }.to_owned(),
        ]
        .join(" ")
        .trim_end()
        .to_owned()
    }

    #[test]
    fn names_are_read_from_the_right() {
        let plain = Dialect::default();
        let multicluster = Dialect {
            multicluster: true,
            ..plain
        };
        let zonal = Dialect {
            zonal: true,
            ..plain
        };
        let both = Dialect {
            multicluster: true,
            zonal: true,
        };
        for (dialect, name, want) in [
            (plain, "", "- - - - - - - -"),
            (plain, "svc", "- - - - - - - -"),
            (plain, "pod", "- - - - - - - -"),
            (plain, "ns.svc", "svc ns - - - - - -"),
            (plain, "ns.pod", "pod ns - - - - - -"),
            (plain, "web.ns.svc", "svc ns web - - - - -"),
            (plain, "10-0-0-1.ns.pod", "pod ns 10-0-0-1 - - - - -"),
            (plain, "ep.web.ns.svc", "svc ns web ep - - - -"),
            (plain, "_http.web.ns.svc", "svc ns web _http - - - -"),
            (plain, "_http._tcp.web.ns.svc", "svc ns web - - http tcp -"),
            (plain, "http.tcp.web.ns.svc", "svc ns web - - http tcp -"),
            (plain, "__http._.web.ns.svc", "svc ns web - - _http - -"),
            (plain, "a._http._tcp.web.ns.svc", "invalid"),
            (plain, "foo", "invalid"),
            (plain, "ns.foo", "invalid"),
            (plain, "svc.ns", "invalid"),
            (plain, "us.pin._zone.web.ns.svc", "invalid"),
            (multicluster, "web.ns.svc", "svc ns web - - - - -"),
            (multicluster, "ep.web.ns.svc", "svc ns web ep - - - -"),
            (
                multicluster,
                "ep.east.web.ns.svc",
                "svc ns web ep east - - -",
            ),
            (
                multicluster,
                "_http._tcp.web.ns.svc",
                "svc ns web - - http tcp -",
            ),
            (
                multicluster,
                "http._tcp.web.ns.svc",
                "svc ns web - - http tcp -",
            ),
            (multicluster, "a.ep.east.web.ns.svc", "invalid"),
            (zonal, "us.pin._zone.web.ns.svc", "svc ns web - - - - us"),
            (
                zonal,
                "us.prefer._zone.web.ns.svc",
                "svc ns web - - - - us prefer",
            ),
            (
                zonal,
                "a.b.c.pin._zone.web.ns.svc",
                "svc ns web - - - - a.b.c",
            ),
            (zonal, "us.other._zone.web.ns.svc", "invalid"),
            (zonal, "us.pin._zones.web.ns.svc", "invalid"),
            (zonal, "us.pin._zone.web.ns.pod", "invalid"),
            (zonal, "pin._zone.web.ns.svc", "svc ns web - - pin zone -"),
            (both, "us.pin._zone.web.ns.svc", "invalid"),
        ] {
            assert_eq!(read(name, dialect), want, "{name} {dialect:?}");
        }
    }

    proptest::proptest! {
        /// Any labels whatsoever: no panic, and what is read is what stands there.
        #[test]
        fn every_name_is_read_or_refused(
            labels in proptest::collection::vec("[a-z_]{1,9}|svc|pod|pin|prefer|_zone|_tcp", 0..9),
            multicluster: bool,
            zonal: bool,
        ) {
            let mut prefix = Vec::new();
            for label in &labels {
                prefix.push(label.len() as u8);
                prefix.extend_from_slice(label.as_bytes());
            }
            let at = |back: usize| labels.iter().rev().nth(back).map_or(&b""[..], |label| label.as_bytes());
            match Asked::parse(&prefix, Dialect { multicluster, zonal }) {
                Err(Invalid) => {
                    let known = matches!(at(0), b"svc" | b"pod");
                    proptest::prop_assert!(!known || labels.len() > 5);
                }
                Ok(Asked { subtree: None, .. }) => {
                    proptest::prop_assert!(matches!(labels.len(), 0 | 1));
                }
                Ok(asked) => {
                    proptest::prop_assert_eq!(asked.namespace, at(1));
                    proptest::prop_assert_eq!(asked.service, at(2));
                    proptest::prop_assert_eq!(asked.zone.is_empty(), labels.len() <= 5);
                    let zone = match labels.len() {
                        ..=5 => String::new(),
                        _ => labels.get(..labels.len() - 5).unwrap_or_default().join("."),
                    };
                    proptest::prop_assert!(labels_are(asked.zone, &zone), "{}", zone);
                }
            }
        }

        #[test]
        fn octets_that_are_no_labels_do_no_harm(prefix: Vec<u8>, multicluster: bool, zonal: bool) {
            let _ = Asked::parse(&prefix, Dialect { multicluster, zonal });
        }
    }

    #[test]
    fn a_search_list_is_taken_off_again() {
        for (text, want) in [
            ("api.stripe.com.shop.svc", "api.stripe.com"),
            ("api.stripe.com.svc", "api.stripe.com"),
            ("api.stripe.com", "api.stripe.com"),
            ("redis.svc", "redis"),
            ("redis.svc.svc", "redis.svc"),
            ("redis.svc.shop.svc", "redis.svc"),
            ("redis", "redis"),
            ("shop.svc", ""),
        ] {
            let name: NameBuf = text.parse().unwrap();
            let prefix = &name.wire()[..name.wire().len() - 1];
            let octets = relative(prefix, |label| label == b"shop");
            let labels = Labels(&prefix[..octets]).map(String::from_utf8_lossy);
            assert_eq!(labels.collect::<Vec<_>>().join("."), want, "{text}");
        }
    }

    #[test]
    fn joined_labels_are_compared_with_text() {
        for (labels, text, same) in [
            (&b"\x02us"[..], "us", true),
            (b"\x02us\x01a", "us.a", true),
            (b"\x02us\x01a", "us", false),
            (b"\x02us", "us.a", false),
            (b"\x02us\x01a", "us-a", false),
        ] {
            assert_eq!(labels_are(labels, text), same, "{text}");
        }
    }
}
