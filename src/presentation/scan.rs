//! Words of a zone file, split as CoreDNS's parser splits them.

use super::record::{class_by_name, type_by_name};

/// A piece of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    /// Where it ends, counted from 1, as errors print it.
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    End,
    Text,
    Blank,
    Quote,
    Newline,
    /// The first word of a line.
    Owner,
    Type(u16),
    Class(u16),
    /// `$TTL`, `$ORIGIN` and their like, in upper case.
    Directive,
    /// The text says what is wrong; nothing follows.
    Error,
}

/// Splits text into tokens. An error is the last token.
pub(super) fn scan(text: &str) -> Vec<Token> {
    let mut scanner = Scanner {
        tokens: Vec::new(),
        word: Vec::new(),
        line: 1,
        column: 0,
        depth: 0,
        quoted: false,
        spaced: false,
        comment: false,
        typed: false,
        owner: true,
    };
    let mut escaped = false;
    let mut newline = false;
    for octet in text.bytes() {
        if newline {
            scanner.line += 1;
            scanner.column = 0;
        }
        newline = octet == b'\n';
        scanner.column += usize::from(!newline);
        if scanner.octet(octet, &mut escaped).is_none() {
            return scanner.tokens;
        }
    }
    scanner.flush(Kind::Text);
    if scanner.depth != 0 {
        scanner.push(Kind::Error, "unbalanced brace");
    }
    scanner.tokens
}

struct Scanner {
    tokens: Vec<Token>,
    word: Vec<u8>,
    line: usize,
    column: usize,
    depth: u32,
    quoted: bool,
    /// Whether the blank between two words has been seen already.
    spaced: bool,
    comment: bool,
    /// Whether the line's type has been seen: after it a word is just a word.
    typed: bool,
    /// Whether the next word is the line's first.
    owner: bool,
}

impl Scanner {
    fn push(&mut self, kind: Kind, text: &str) {
        self.tokens.push(Token {
            kind,
            text: text.to_owned(),
            line: self.line,
            column: self.column,
        });
    }

    /// Ends the word under way.
    fn flush(&mut self, kind: Kind) {
        if !self.word.is_empty() {
            let word = std::mem::take(&mut self.word);
            self.push(kind, &String::from_utf8_lossy(&word));
        }
    }

    /// `None` after an error.
    fn octet(&mut self, octet: u8, escaped: &mut bool) -> Option<()> {
        let was_escaped = std::mem::replace(escaped, false);
        if self.comment && octet != b'\n' {
            return Some(());
        }
        let literal = was_escaped || self.quoted;
        match octet {
            b' ' | b'\t' if literal => self.word.push(octet),
            b' ' | b'\t' => self.blank()?,
            b';' if literal => self.word.push(octet),
            b';' => {
                self.comment = true;
                self.flush(Kind::Text);
            }
            b'\r' | b'\n' if self.quoted => self.word.push(octet),
            b'\r' => {}
            b'\n' => self.newline(),
            b'\\' => {
                self.word.push(octet);
                *escaped = !was_escaped;
            }
            b'"' if was_escaped => self.word.push(octet),
            b'"' => {
                self.spaced = false;
                self.flush(Kind::Text);
                self.push(Kind::Quote, "\"");
                self.quoted = !self.quoted;
            }
            b'(' | b')' if literal => self.word.push(octet),
            b'(' => self.depth += 1,
            b')' => match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => {
                    self.push(Kind::Error, "extra closing brace");
                    return None;
                }
            },
            _ => {
                self.word.push(octet);
                self.spaced = false;
            }
        }
        Some(())
    }

    fn blank(&mut self) -> Option<()> {
        if !self.word.is_empty() {
            let text = String::from_utf8_lossy(&std::mem::take(&mut self.word)).into_owned();
            let kind = self.classify(&text);
            match kind {
                Kind::Error => {
                    let broken = match text.get(..4).map(str::to_ascii_uppercase).as_deref() {
                        Some("TYPE") => "unknown RR type",
                        _ => "unknown class",
                    };
                    self.push(Kind::Error, broken);
                    return None;
                }
                kind => self.push(kind, &text),
            }
        }
        self.owner = false;
        if !self.spaced {
            self.spaced = true;
            self.push(Kind::Blank, " ");
        }
        Some(())
    }

    fn classify(&mut self, text: &str) -> Kind {
        let upper = text.to_uppercase();
        if self.owner {
            return match upper.as_str() {
                "$TTL" | "$ORIGIN" | "$INCLUDE" | "$GENERATE" => Kind::Directive,
                _ => Kind::Owner,
            };
        }
        if self.typed {
            return Kind::Text;
        }
        let mut kind = Kind::Text;
        if let Some(rtype) = type_by_name(&upper) {
            kind = Kind::Type(rtype);
        } else if upper.starts_with("TYPE") {
            match numbered(text, "TYPE") {
                Some(rtype) => kind = Kind::Type(rtype),
                None => return Kind::Error,
            }
        }
        self.typed = kind != Kind::Text;
        if let Some(class) = class_by_name(&upper) {
            kind = Kind::Class(class);
        } else if upper.starts_with("CLASS") {
            match numbered(text, "CLASS") {
                Some(class) => kind = Kind::Class(class),
                None => return Kind::Error,
            }
        }
        kind
    }

    fn newline(&mut self) {
        if self.comment {
            self.comment = false;
            self.typed = false;
            if self.depth == 0 {
                self.owner = true;
                self.push(Kind::Newline, "\n");
            }
            return;
        }
        if self.depth > 0 {
            return;
        }
        let kind = match type_by_name(&String::from_utf8_lossy(&self.word).to_uppercase()) {
            Some(rtype) if !self.typed => Kind::Type(rtype),
            _ => Kind::Text,
        };
        self.flush(kind);
        self.push(Kind::Newline, "\n");
        self.typed = false;
        self.owner = true;
    }
}

/// The number in `TYPE123` and `CLASS123`, in any letter case.
pub(super) fn numbered(text: &str, prefix: &str) -> Option<u16> {
    let digits = text.get(prefix.len()..)?;
    let plain = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}
