use smallvec::SmallVec;

use crate::wire::{Name, NameBuf};

/// A name below its zone as octets that sort as names do (RFC 4034 section
/// 6.1): the labels from the right, in lower case, each with a zero behind
/// it. Zeros and ones within a label are escaped. The apex is empty.
///
/// A name is below another if its key begins with the other's.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key(SmallVec<[u8; 96]>);

impl Key {
    /// The key of the labels in front of a zone, in wire form.
    pub(super) fn of(prefix: &[u8]) -> Self {
        let mut labels: SmallVec<[&[u8]; 24]> = SmallVec::new();
        let mut rest = prefix;
        while let Some((&len, behind)) = rest.split_first() {
            let Some((label, behind)) = behind.split_at_checked(usize::from(len)) else {
                break;
            };
            labels.push(label);
            rest = behind;
        }
        let mut key = Self(SmallVec::new());
        for label in labels.iter().rev() {
            key.push(label);
        }
        key
    }

    /// The key of a name; `None` if it is not in the zone.
    pub(super) fn in_zone(name: Name<'_>, zone: Name<'_>) -> Option<Self> {
        Some(Self::of(name.prefix_of(zone)?))
    }

    /// The key of `*` below `parent`.
    pub(super) fn wildcard(parent: &[u8]) -> Self {
        let mut key = Self(SmallVec::from_slice(parent));
        key.push(b"*");
        key
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }

    fn push(&mut self, label: &[u8]) {
        for octet in label.iter().map(u8::to_ascii_lowercase) {
            match octet {
                0 => self.0.extend_from_slice(&[1, 1]),
                1 => self.0.extend_from_slice(&[1, 2]),
                octet => self.0.push(octet),
            }
        }
        self.0.push(0);
    }
}

/// The name of a key.
pub(super) fn name(key: &[u8], zone: Name<'_>) -> NameBuf {
    let mut name = NameBuf::new();
    let mut labels = labels(key);
    // All of them were a name when the key was made, so nothing is too long.
    while let Some(label) = labels.next_back() {
        let _ = match label.contains(&1) {
            true => name.push_label(&unescape(label)),
            false => name.push_label(label),
        };
    }
    let _ = name.push_name(zone);
    name
}

/// The keys from the apex down to `key` itself.
pub(super) fn ancestry(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = key.iter().enumerate().filter(|(_, octet)| **octet == 0);
    let ends = ends.map(|(at, _)| at + 1);
    std::iter::once(0)
        .chain(ends)
        .map(|end| key.get(..end).unwrap_or_default())
}

/// The longest name that both lie below or are.
pub(super) fn common<'k>(key: &'k [u8], other: &[u8]) -> &'k [u8] {
    let same = key.iter().zip(other).take_while(|(a, b)| a == b).count();
    let same = key.get(..same).unwrap_or_default();
    let end = same
        .iter()
        .rposition(|octet| *octet == 0)
        .map_or(0, |at| at + 1);
    same.get(..end).unwrap_or_default()
}

/// Whether the leftmost label is `*`.
pub(super) fn is_wildcard(key: &[u8]) -> bool {
    labels(key).next_back() == Some(b"*")
}

/// Labels from the right, as they are escaped.
fn labels(key: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let inner = key.strip_suffix(&[0]).unwrap_or_default();
    let labels = inner.split(|octet| *octet == 0);
    labels.filter(|label| !label.is_empty())
}

fn unescape(label: &[u8]) -> SmallVec<[u8; 64]> {
    let mut out = SmallVec::new();
    let mut octets = label.iter();
    while let Some(&octet) = octets.next() {
        out.push(match octet {
            1 => octets.next().map_or(1, |escaped| escaped - 1),
            octet => octet,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        let (name, zone): (NameBuf, NameBuf) = (text.parse().unwrap(), "example".parse().unwrap());
        Key::in_zone(name.name(), zone.name()).unwrap()
    }

    /// The example of RFC 4034 section 6.1, and what makes it hard.
    #[test]
    fn keys_sort_as_names_do() {
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "z.example",
            r"\000.z.example",
            r"\000a.z.example",
            r"\001.z.example",
            r"\002.z.example",
            "*.z.example",
            r"\200.z.example",
            "za.example",
        ];
        let keys: Vec<Key> = sorted.iter().map(|text| key(text)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    }

    #[test]
    fn a_key_knows_its_name() {
        let zone: NameBuf = "example".parse().unwrap();
        for text in [
            "example.",
            "a.b.example.",
            r"\000\001a.\001.example.",
            "*.x.example.",
        ] {
            assert_eq!(name(key(text).octets(), zone.name()).to_string(), text);
        }
        assert_eq!(Key::in_zone(zone.name(), key_zone("org").name()), None);
        assert!(is_wildcard(key("*.a.example").octets()));
        assert!(!is_wildcard(key("a.*.example").octets()));
    }

    fn key_zone(text: &str) -> NameBuf {
        text.parse().unwrap()
    }

    #[test]
    fn names_have_ancestors_in_common() {
        let (long, other) = (key("web.prod.svc.example"), key("db.prod.svc.example"));
        let shared = common(long.octets(), other.octets());
        assert_eq!(shared, key("prod.svc.example").octets());
        assert_eq!(
            common(key("ab.example").octets(), key("a.example").octets()),
            b""
        );
        let line: Vec<_> = ancestry(long.octets()).collect();
        assert_eq!(line.len(), 4);
        assert_eq!((line[0], line[2]), (&b""[..], shared));
    }
}
