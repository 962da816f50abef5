//! Where words come from: a text with a name, and a word with its place in it.

use std::{ops::Range, sync::Arc};

/// One text that was read: the Corefile itself, or a file that it imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What errors call it: the `-conf` value as given for the Corefile, the
    /// absolute path for an imported file.
    pub name: Arc<str>,
    /// Its whole text, for showing the line that an error is about.
    pub text: Arc<str>,
    /// Whether it came in by `import`.
    pub imported: bool,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str, imported: bool) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
            imported,
        })
    }

    /// Whether two words of these sources count as words of the same file.
    fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.imported == other.imported && self.name == other.name)
    }
}

/// A word of a Corefile and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The word, without its quotes and with environment references replaced.
    pub text: Arc<str>,
    /// The line that it begins on, from 1.
    pub line: u32,
    /// The column that it begins at, in characters, from 1.
    pub col: u32,
    /// The text that it is a word of.
    pub source: Arc<Source>,
    /// The bytes of the source that it was read from, quotes included.
    pub(crate) span: (u32, u32),
}

impl Token {
    /// The name of the file that the word is in, as errors give it.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The bytes of the source that the word was read from.
    pub(crate) fn range(&self) -> Range<usize> {
        self.span.0 as usize..self.span.1 as usize
    }

    /// The same place with another text.
    pub(crate) fn with_text(&self, text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            ..self.clone()
        }
    }

    /// Whether `next`, the word after this one, begins on the line that this
    /// one ends on.
    ///
    /// A quoted word may span lines: they are counted in its text, so a line
    /// break that comes out of an environment variable counts too, as it does
    /// in caddy.
    pub(crate) fn same_line(&self, next: &Self) -> bool {
        self.source.is(&next.source) && self.last_line() == u64::from(next.line)
    }

    /// Whether `next`, the word after this one, begins on a later line or in
    /// another file.
    ///
    /// Not the opposite of [`same_line`](Self::same_line): an imported snippet
    /// may put a word of an earlier line after a word of a later one, and that
    /// is neither.
    pub(crate) fn breaks_before(&self, next: &Self) -> bool {
        !self.source.is(&next.source) || self.last_line() < u64::from(next.line)
    }

    /// Whether `next` was written on another line or in another file, whatever
    /// the text in between.
    pub(crate) fn starts_elsewhere(&self, next: &Self) -> bool {
        !self.source.is(&next.source) || self.line != next.line
    }

    fn last_line(&self) -> u64 {
        let breaks = self.text.bytes().filter(|&b| b == b'\n').count();
        u64::from(self.line) + breaks as u64
    }
}

/// The bytes of a Corefile as text: each byte that is not UTF-8 becomes one
/// U+FFFD, as in Go.
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_byte_is_one_replacement() {
        let cases: &[(&[u8], &str)] = &[
            (b"plain", "plain"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"\xe2\x82A", "\u{fffd}\u{fffd}A"),
            (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
            ("é".as_bytes(), "é"),
        ];
        for (bytes, want) in cases {
            assert_eq!(decode(bytes), *want, "{bytes:?}");
        }
    }
}
