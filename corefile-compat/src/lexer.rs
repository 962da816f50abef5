//! Text to words.
//!
//! The rules are few: white space separates, `"` at the start of a word quotes
//! up to the next `"`, `\"` inside quotes is a quote, `#` outside quotes hides
//! what follows. Braces are words like any other.

use std::{str::CharIndices, sync::Arc};

use crate::source::{Source, Token};

/// All words of `source`, in order.
pub(crate) fn lex(source: &Arc<Source>) -> Vec<Token> {
    Lexer::new(source).collect()
}

struct Lexer<'s> {
    source: &'s Arc<Source>,
    chars: CharIndices<'s>,
    line: u32,
    /// Characters of the current line that were read.
    col: u32,
}

impl<'s> Lexer<'s> {
    fn new(source: &'s Arc<Source>) -> Self {
        let mut chars = source.text.char_indices();
        if source.text.starts_with('\u{feff}') {
            chars.next();
        }
        Self {
            source,
            chars,
            line: 1,
            col: 0,
        }
    }

    fn read(&mut self) -> Option<(usize, char)> {
        let (at, c) = self.chars.next()?;
        self.col = self.col.saturating_add(1);
        Some((at, c))
    }

    fn new_line(&mut self) {
        self.line = self.line.saturating_add(1);
        self.col = 0;
    }

    /// The rest of a quoted word whose opening quote was just read.
    ///
    /// `None` when the text ends right after the quote: caddy drops such a
    /// word, but keeps an unterminated one that has a character.
    fn quoted(&mut self, mut word: Word) -> Option<Token> {
        let mut escaped = false;
        while let Some((at, c)) = self.read() {
            word.end = at + c.len_utf8();
            if !escaped {
                match c {
                    '\\' => {
                        escaped = true;
                        continue;
                    }
                    '"' => return Some(word.token(self.source)),
                    _ => {}
                }
            }
            if c == '\n' {
                self.new_line();
            }
            if escaped && c != '"' {
                word.text.push('\\');
            }
            word.text.push(c);
            escaped = false;
        }
        (!word.text.is_empty()).then(|| word.token(self.source))
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let mut word: Option<Word> = None;
        // A comment that begins in the middle of a word ends with the white
        // space that ends the word, not with the line: `a#b c` is `a`, `c`.
        let mut comment = false;
        while let Some((at, c)) = self.read() {
            if c.is_whitespace() {
                if c == '\r' {
                    continue;
                }
                if c == '\n' {
                    self.new_line();
                    comment = false;
                }
                if let Some(word) = word {
                    return Some(word.token(self.source));
                }
                continue;
            }
            comment |= c == '#';
            if comment {
                continue;
            }
            if word.is_none() && c == '"' {
                return self.quoted(Word::new(self.line, self.col, at));
            }
            let word = word.get_or_insert_with(|| Word::new(self.line, self.col, at));
            word.text.push(c);
            word.end = at + c.len_utf8();
        }
        word.map(|word| word.token(self.source))
    }
}

struct Word {
    text: String,
    line: u32,
    col: u32,
    start: usize,
    end: usize,
}

impl Word {
    fn new(line: u32, col: u32, start: usize) -> Self {
        Self {
            text: String::new(),
            line,
            col,
            start,
            end: start + 1,
        }
    }

    fn token(self, source: &Arc<Source>) -> Token {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Token {
            text: self.text.into(),
            line: self.line,
            col: self.col,
            source: Arc::clone(source),
            span: (offset(self.start), offset(self.end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lines() {
        let cases: &[(&str, &[(u32, &str)])] = &[
            ("", &[]),
            (" \t\n\u{a0}\u{2003}\u{85}", &[]),
            ("host:123", &[(1, "host:123")]),
            (
                "host:123\n\n\tdirective",
                &[(1, "host:123"), (3, "directive")],
            ),
            ("\u{feff}a b", &[(1, "a"), (1, "b")]),
            ("a\u{feff}b \u{feff}", &[(1, "a\u{feff}b"), (1, "\u{feff}")]),
            ("a {\n  b\n}", &[(1, "a"), (1, "{"), (2, "b"), (3, "}")]),
            ("a{ }b", &[(1, "a{"), (1, "}b")]),
            // Comments.
            ("# all\nb", &[(2, "b")]),
            ("a # b c\nd", &[(1, "a"), (2, "d")]),
            ("a#b c\nd", &[(1, "a"), (1, "c"), (2, "d")]),
            ("a#b\nc", &[(1, "a"), (2, "c")]),
            ("a \"#b\" c", &[(1, "a"), (1, "#b"), (1, "c")]),
            ("#\"a\nb", &[(2, "b")]),
            // Quotes.
            (r#""a b" c"#, &[(1, "a b"), (1, "c")]),
            (r#""""#, &[(1, "")]),
            (r#""a""b"c"#, &[(1, "a"), (1, "b"), (1, "c")]),
            (r#"a"b c""#, &[(1, "a\"b"), (1, "c\"")]),
            (r#""\"a\" \b \\ C:\x""#, &[(1, r#""a" \b \\ C:\x"#)]),
            ("\"a\nb\" c\nd", &[(1, "a\nb"), (2, "c"), (3, "d")]),
            ("\"a\\\nb\" c", &[(1, "a\\\nb"), (2, "c")]),
            ("\"a\r\nb\"", &[(1, "a\r\nb")]),
            ("a \"", &[(1, "a")]),
            ("a \"b c", &[(1, "a"), (1, "b c")]),
            ("a \"b\\", &[(1, "a"), (1, "b")]),
            // No escapes, no continuation outside of quotes.
            ("a\\ b", &[(1, "a\\"), (1, "b")]),
            ("a \\\nb", &[(1, "a"), (1, "\\"), (2, "b")]),
            // A carriage return is no white space.
            ("a\rb\r\nc\r", &[(1, "ab"), (2, "c")]),
            ("a\r", &[(1, "a")]),
            ("\ra", &[(1, "a")]),
            ("a\u{b}b\u{c}c", &[(1, "a"), (1, "b"), (1, "c")]),
        ];
        for (text, want) in cases {
            let tokens = lex(&Source::new("Corefile", text, false));
            let got: Vec<_> = tokens.iter().map(|t| (t.line, &*t.text)).collect();
            assert_eq!(got, *want, "{text:?}");
        }
    }

    #[test]
    fn places() {
        let source = Source::new("Corefile", "\u{feff}é \"a b\"x\n  foo#c d", false);
        let got: Vec<_> = lex(&source)
            .iter()
            .map(|t| (t.line, t.col, source.text[t.range()].to_string()))
            .collect();
        let want = [
            (1, 1, "é"),
            (1, 3, "\"a b\""),
            (1, 8, "x"),
            (2, 3, "foo"),
            (2, 9, "d"),
        ];
        assert_eq!(got, want.map(|(l, c, s)| (l, c, s.to_string())));
    }
}
