use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::{Error, Reader};

/// A domain name in wire form, borrowed, without compression, its root label included.
///
/// Length octets are below 64 and letters above, so the octets of a name can
/// be lower-cased and compared as they stand.
#[derive(Clone, Copy)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// The root.
    pub const ROOT: Name<'static> = Name(&[0]);
    /// The longest name, in octets (RFC 1035 section 2.3.4).
    pub const MAX_LEN: usize = 255;
    /// The longest label, in octets.
    pub const MAX_LABEL: usize = 63;

    /// Takes an uncompressed name from the reader.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let rest = reader.message().get(reader.position()..);
        let rest = rest.unwrap_or_default();
        let mut len = 0;
        loop {
            match *rest.get(len).ok_or(Error::MissingData("name"))? {
                0 => break,
                label @ 1..=63 => len += 1 + usize::from(label),
                _ => return Err(Error::BadName("compressed where it may not be")),
            }
        }
        len += 1;
        if len > Self::MAX_LEN {
            return Err(Error::BadName("longer than 255 octets"));
        }
        Ok(Self(reader.take(len, "name")?))
    }

    /// The octets, root label included.
    pub fn wire(self) -> &'a [u8] {
        self.0
    }

    /// Whether this is the root.
    pub fn is_root(self) -> bool {
        self.0.len() == 1
    }

    /// The labels from the left, without the root.
    pub fn labels(self) -> Labels<'a> {
        Labels(self.0)
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(self) -> Option<Self> {
        let len = usize::from(*self.0.first()?);
        match len {
            0 => None,
            _ => self.0.get(1 + len..).map(Self),
        }
    }

    /// The octets of the labels in front of `zone` (empty at the apex), if
    /// the name is `zone` or below it. Letter case does not matter.
    pub fn prefix_of(self, zone: Name<'_>) -> Option<&'a [u8]> {
        let cut = self.0.len().checked_sub(zone.0.len())?;
        let (prefix, rest) = self.0.split_at_checked(cut)?;
        if zone.is_root() {
            return Some(prefix);
        }
        // Both are in lower case nearly always, and then this is one comparison.
        if rest != zone.0 && !rest.eq_ignore_ascii_case(zone.0) {
            return None;
        }
        // The octets agree; the cut must also fall between two labels.
        let mut at = 0;
        while at < cut {
            at += 1 + usize::from(*prefix.get(at)?);
        }
        (at == cut).then_some(prefix)
    }

    /// Whether the name is `zone` or below it. Letter case does not matter.
    pub fn is_under(self, zone: Name<'_>) -> bool {
        self.prefix_of(zone).is_some()
    }

    /// Equal but for letter case (RFC 4343).
    pub fn eq_ignore_case(self, other: Name<'_>) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }

    /// A copy.
    pub fn to_buf(self) -> NameBuf {
        let mut buf = NameBuf::new();
        buf.set(self);
        buf
    }

    /// A copy in lower case.
    pub fn to_lower(self) -> NameBuf {
        let mut buf = NameBuf::new();
        buf.set_lower(self);
        buf
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Name<'_> {}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Presentation form with a trailing dot; escapes as BIND and CoreDNS write them.
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                        write!(f, "\\{}", char::from(octet))?;
                    }
                    b'!'..=b'~' => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Iterates over the labels of a [`Name`].
#[derive(Clone, Debug)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let (&len, rest) = self.0.split_first()?;
        if len == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(len))?;
        self.0 = rest;
        Some(label)
    }
}

/// Why text is not a domain name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Two dots in a row, a leading dot, or nothing at all.
    #[error("empty label")]
    EmptyLabel,
    /// A label has more than 63 octets.
    #[error("label longer than 63 octets")]
    LabelTooLong,
    /// The name has more than 255 octets.
    #[error("name longer than 255 octets")]
    NameTooLong,
    /// A backslash at the end, or a `\DDD` above 255.
    #[error("bad escape")]
    BadEscape,
}

/// Octets that are lower-cased in one go.
const BLOCK: usize = 16;

/// A domain name in place: 255 octets, no allocation.
#[derive(Clone)]
pub struct NameBuf {
    len: u8,
    /// The name, and whatever fills its last block.
    octets: [u8; Name::MAX_LEN.next_multiple_of(BLOCK)],
}

impl NameBuf {
    /// The root.
    pub fn new() -> Self {
        Self {
            len: 1,
            octets: [0; Name::MAX_LEN.next_multiple_of(BLOCK)],
        }
    }

    /// The name, borrowed.
    pub fn name(&self) -> Name<'_> {
        Name(self.wire())
    }

    /// The octets, root label included.
    pub fn wire(&self) -> &[u8] {
        // `len` is at most 255, less than the array has.
        self.octets.get(..usize::from(self.len)).unwrap_or(&[0])
    }

    /// Becomes a copy of `name`.
    pub fn set(&mut self, name: Name<'_>) {
        // A Name is never longer than 255 octets: `read` and the builders check.
        self.len = name.0.len() as u8;
        if let Some(octets) = self.octets.get_mut(..name.0.len()) {
            octets.copy_from_slice(name.0);
        }
    }

    /// Becomes a copy of `name` in lower case.
    pub fn set_lower(&mut self, name: Name<'_>) {
        self.set(name);
        // Whole blocks: the loop over what is left of one costs as much as
        // all blocks together.
        let (blocks, _) = self.octets.as_chunks_mut::<BLOCK>();
        let blocks = blocks.iter_mut().take(name.0.len().div_ceil(BLOCK));
        blocks.for_each(|block| block.make_ascii_lowercase());
    }

    /// Lower-cases in place.
    pub fn make_lower(&mut self) {
        self.octets.make_ascii_lowercase();
    }

    /// Appends a label at the right end, before the root.
    pub fn push_label(&mut self, label: &[u8]) -> Result<(), NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > Name::MAX_LABEL {
            return Err(NameError::LabelTooLong);
        }
        let at = usize::from(self.len) - 1;
        let end = at + 1 + label.len();
        let octets = self.octets.get_mut(..Name::MAX_LEN);
        let slot = octets
            .and_then(|octets| octets.get_mut(at..=end))
            .ok_or(NameError::NameTooLong)?;
        if let [len, text @ .., root] = slot {
            *len = label.len() as u8;
            text.copy_from_slice(label);
            *root = 0;
        }
        self.len = end as u8 + 1;
        Ok(())
    }

    /// Appends all labels of `name`.
    pub fn push_name(&mut self, name: Name<'_>) -> Result<(), NameError> {
        name.labels().try_for_each(|label| self.push_label(label))
    }

    /// Reads a name that may be compressed, following pointers that lead
    /// strictly backwards (RFC 1035 section 4.1.4).
    pub fn read_compressed(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Self::read_compressed_above(reader, 0)
    }

    /// The same, where no pointer may lead below the offset `lowest`: what
    /// lies in a header changes on the way.
    pub(super) fn read_compressed_above(
        reader: &mut Reader<'_>,
        lowest: usize,
    ) -> Result<Self, Error> {
        let mut buf = Self::new();
        let mut cursor = reader.clone();
        let mut floor = cursor.position();
        let mut followed = false;
        loop {
            let len = cursor.u8("name")?;
            match len {
                0 => break,
                1..=63 => {
                    let label = cursor.take(usize::from(len), "name")?;
                    buf.push_label(label)
                        .map_err(|_| Error::BadName("longer than 255 octets"))?;
                }
                0xC0.. => {
                    let low = cursor.u8("name")?;
                    let target = usize::from(u16::from_be_bytes([len & 0x3F, low]));
                    if !followed {
                        *reader = cursor.clone();
                        followed = true;
                    }
                    if target >= floor || target < lowest {
                        return Err(Error::BadName("pointer does not lead backwards"));
                    }
                    floor = target;
                    cursor = Reader::at(cursor.message(), target);
                }
                _ => return Err(Error::BadName("reserved label type")),
            }
        }
        if !followed {
            *reader = cursor;
        }
        Ok(buf)
    }
}

impl Default for NameBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for NameBuf {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for NameBuf {}

impl Hash for NameBuf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wire().hash(state);
    }
}

impl fmt::Display for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name(), f)
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name(), f)
    }
}

/// Presentation form (RFC 1035 section 5.1): `\DDD` and `\X` are understood,
/// the trailing dot may be missing, letter case is kept.
impl FromStr for NameBuf {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut name = Self::new();
        if text == "." {
            return Ok(name);
        }
        let mut label = [0u8; Name::MAX_LABEL];
        let mut len = 0;
        let mut ended = false;
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            ended = octet == b'.';
            let octet = match octet {
                b'.' => {
                    name.push_label(label.get(..len).unwrap_or_default())?;
                    len = 0;
                    continue;
                }
                b'\\' => unescape(&mut octets)?,
                other => other,
            };
            *label.get_mut(len).ok_or(NameError::LabelTooLong)? = octet;
            len += 1;
        }
        if !ended {
            name.push_label(label.get(..len).unwrap_or_default())?;
        }
        Ok(name)
    }
}

fn unescape(octets: &mut std::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = octets.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = octets
            .next()
            .filter(u8::is_ascii_digit)
            .ok_or(NameError::BadEscape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameBuf {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn text_and_wire_agree() {
        for (text, wire, shown) in [
            (".", &b"\0"[..], "."),
            ("Example.org", b"\x07Example\x03org\0", "Example.org."),
            ("example.org.", b"\x07example\x03org\0", "example.org."),
            (r"a\.b.c", b"\x03a.b\x01c\0", r"a\.b.c."),
            (r"a\032b", b"\x03a b\0", r"a\ b."),
            (r"\000.x", b"\x01\0\x01x\0", r"\000.x."),
            ("*._tcp", b"\x01*\x04_tcp\0", "*._tcp."),
        ] {
            let parsed = name(text);
            assert_eq!(parsed.wire(), wire, "{text}");
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(name(shown), parsed);
        }
        let long = "a".repeat(64);
        for (text, error) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a\\", NameError::BadEscape),
            ("a\\25", NameError::BadEscape),
            ("a\\256", NameError::BadEscape),
            (long.as_str(), NameError::LabelTooLong),
        ] {
            assert_eq!(text.parse::<NameBuf>(), Err(error), "{text}");
        }
        let almost = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61),
        ]
        .join(".");
        assert_eq!(name(&almost).wire().len(), 255);
        assert_eq!(
            format!("{almost}d").parse::<NameBuf>(),
            Err(NameError::NameTooLong)
        );
    }

    #[test]
    fn zones_are_cut_at_labels() {
        for (qname, zone, prefix) in [
            ("a.b.Example.ORG", "example.org", Some(&b"\x01a\x01b"[..])),
            ("example.org", "example.org", Some(b"")),
            ("example.org", ".", Some(b"\x07example\x03org")),
            ("badexample.org", "example.org", None),
            ("org", "example.org", None),
            (".", ".", Some(b"")),
        ] {
            assert_eq!(
                name(qname).name().prefix_of(name(zone).name()),
                prefix,
                "{qname}"
            );
        }
        // A label whose text looks like a length octet and a zone.
        let tricky = name(r"x\007example.org");
        assert_eq!(tricky.name().prefix_of(name("example.org").name()), None);
    }

    #[test]
    fn pointers_lead_backwards_only() {
        let message = b"\x03org\0\x07example\xC0\x00\xC0\x05\xC0\x0F";
        let mut reader = Reader::at(message, 15);
        assert_eq!(
            NameBuf::read_compressed(&mut reader),
            Ok(name("example.org"))
        );
        assert_eq!(reader.position(), 17);
        // 17 points at 15, which is itself a pointer.
        assert_eq!(
            NameBuf::read_compressed(&mut Reader::at(message, 17)),
            Ok(name("example.org"))
        );
        for looped in [&b"\xC0\x00"[..], b"\x01a\xC0\x00", b"\xC0\x09", b"\x01a"] {
            assert!(
                NameBuf::read_compressed(&mut Reader::new(looped)).is_err(),
                "{looped:?}"
            );
        }
    }
}
