//! Domain names and records as text (RFC 1035 section 5.1), with the rules of
//! CoreDNS where it is more lenient than the RFC.

mod rdata;
pub mod record;
mod scan;
mod svcb;

use std::borrow::Cow;
use std::fmt;

use crate::wire::{Name, NameBuf};

/// A name as text, in place: no allocation however long it is.
#[derive(Clone)]
pub struct NameText {
    len: usize,
    octets: [u8; Self::MAX],
}

impl NameText {
    /// 255 octets of which each may become `\DDD`.
    const MAX: usize = 4 * Name::MAX_LEN;

    /// The text of `name`, with its trailing dot; escapes as CoreDNS writes them.
    pub fn new(name: Name<'_>) -> Self {
        let mut text = Self {
            len: 0,
            octets: [0; Self::MAX],
        };
        if name.is_root() {
            text.push(b'.');
        }
        for label in name.labels() {
            for &octet in label {
                text.push_escaped(octet);
            }
            text.push(b'.');
        }
        text
    }

    fn push(&mut self, octet: u8) {
        if let Some(slot) = self.octets.get_mut(self.len) {
            *slot = octet;
            self.len += 1;
        }
    }

    fn push_escaped(&mut self, octet: u8) {
        match octet {
            b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                self.push(b'\\');
                self.push(octet);
            }
            b'!'..=b'~' => self.push(octet),
            _ => {
                self.push(b'\\');
                self.push(b'0' + octet / 100);
                self.push(b'0' + octet / 10 % 10);
                self.push(b'0' + octet % 10);
            }
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only printable ASCII is ever pushed.
        let octets = self.octets.get(..self.len).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl fmt::Debug for NameText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the text ends in a dot that no backslash escapes.
pub fn is_fqdn(text: &str) -> bool {
    let Some(text) = text.strip_suffix('.') else {
        return false;
    };
    let escapes = text.len() - text.trim_end_matches('\\').len();
    escapes % 2 == 0
}

/// The text with a trailing dot.
pub fn fqdn(text: &str) -> Cow<'_, str> {
    match is_fqdn(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{text}.")),
    }
}

/// The text in lower case with a trailing dot: how CoreDNS keeps the names of a Corefile.
pub fn normalize(text: &str) -> String {
    fqdn(text).to_lowercase()
}

/// The name that the text says; the trailing dot may be missing. `None` where
/// CoreDNS sees no domain name: empty text, empty or overlong labels, a
/// backslash at the end.
///
/// As there, `\DDD` above 255 wraps and `\D` with fewer digits is that digit.
pub fn parse_name(text: &str) -> Option<NameBuf> {
    let mut name = NameBuf::new();
    if text == "." {
        return Some(name);
    }
    let mut label = [0u8; Name::MAX_LABEL];
    let mut len = 0;
    let mut rest = text.as_bytes();
    while let Some((octet, after)) = next_octet(rest)? {
        rest = after;
        match octet {
            Octet::Dot => {
                name.push_label(label.get(..len)?).ok()?;
                len = 0;
            }
            Octet::Plain(octet) => {
                *label.get_mut(len)? = octet;
                len += 1;
            }
        }
    }
    if len > 0 {
        name.push_label(label.get(..len)?).ok()?;
    }
    (!name.name().is_root()).then_some(name)
}

enum Octet {
    Dot,
    Plain(u8),
}

/// The next octet of a name's text with escapes resolved; the outer `None` is
/// a backslash with nothing behind it.
fn next_octet(text: &[u8]) -> Option<Option<(Octet, &[u8])>> {
    Some(match text {
        [] => None,
        [b'.', rest @ ..] => Some((Octet::Dot, rest)),
        [b'\\', rest @ ..] => {
            let (octet, rest) = unescape(rest)?;
            Some((Octet::Plain(octet), rest))
        }
        [octet, rest @ ..] => Some((Octet::Plain(*octet), rest)),
    })
}

/// What stands behind a backslash.
fn unescape(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let value = u32::from(a - b'0') * 100 + u32::from(b - b'0') * 10 + u32::from(c - b'0');
            Some((value as u8, rest))
        }
        [octet, rest @ ..] => Some((*octet, rest)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_name_are_one() {
        for (text, printed) in [
            (".", "."),
            ("example.org", "example.org."),
            ("Example.ORG.", "Example.ORG."),
            (r"a\.b.c.", r"a\.b.c."),
            (r"a\ b.", r"a\ b."),
            ("a b.", r"a\ b."),
            (r"\065.", "A."),
            (r"\300.", ","),
            (r"\7x.", "7x."),
            ("é.", r"\195\169."),
            (r"\\.", r"\\."),
        ] {
            let name = parse_name(text).unwrap_or_else(|| panic!("{text}"));
            let printed = if printed == "," { ",." } else { printed };
            assert_eq!(NameText::new(name.name()).as_str(), printed, "{text}");
            assert_eq!(name.to_string(), printed, "{text}");
        }
        let long = "a".repeat(64);
        for text in ["", "..", ".a", "a..b", "a\\", &long] {
            assert_eq!(parse_name(text), None, "{text}");
        }
        let longest = "\u{1}".repeat(63) + ".";
        let longest = longest.repeat(3) + &"\u{2}".repeat(61);
        let name = parse_name(&longest).unwrap();
        assert_eq!(NameText::new(name.name()).as_str().len(), 4 * 250 + 4);
    }

    #[test]
    fn a_dot_counts_only_unescaped() {
        for (text, qualified) in [
            ("", "."),
            ("a", "a."),
            ("a.", "a."),
            (r"a\.", r"a\.."),
            (r"a\\.", r"a\\."),
            (".", "."),
        ] {
            assert_eq!(fqdn(text), qualified);
        }
        assert_eq!(normalize("WWW.Example"), "www.example.");
    }
}
