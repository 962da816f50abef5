//! The walk over a directive's words.

use std::sync::Arc;

use crate::{
    error::Error,
    source::{Source, Token},
};

/// Hands out the words of a directive one by one.
///
/// The meaning of each step, which words a plugin accepts and what its errors
/// say all hang on the exact semantics of caddy's `Dispenser`, so they are kept
/// to the letter. A walk begins before the first word: `next()` comes first.
///
/// ```
/// # use corefile::Directive;
/// let directive = Directive::new("Corefile", "cache 30 {\n  success 5000\n}\n");
/// let mut words = directive.dispenser();
/// while words.next() {
///     assert_eq!(words.remaining_args(), ["30"]);
///     while words.next_block() {
///         assert_eq!(words.val(), "success");
///         assert_eq!(words.remaining_args(), ["5000"]);
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Dispenser<'a> {
    tokens: &'a [Token],
    main: &'a Arc<Source>,
    /// The number of the current word plus one; 0 before the first.
    position: usize,
    nesting: u32,
}

impl<'a> Dispenser<'a> {
    pub(crate) fn new(tokens: &'a [Token], main: &'a Arc<Source>) -> Self {
        Self {
            tokens,
            main,
            position: 0,
            nesting: 0,
        }
    }

    /// Steps to the next word. False at the end, where the last word stays the
    /// current one.
    #[expect(
        clippy::should_implement_trait,
        reason = "the name that Corefile plugins know; it yields no item"
    )]
    pub fn next(&mut self) -> bool {
        let more = self.position < self.tokens.len();
        self.position += usize::from(more);
        more
    }

    /// Steps to the next word if it is on the same line.
    ///
    /// Before the first word it always steps, even when there is none.
    pub fn next_arg(&mut self) -> bool {
        self.next_if(Token::same_line)
    }

    /// Steps to the next word if it is on a later line or in another file.
    pub fn next_line(&mut self) -> bool {
        self.next_if(Token::breaks_before)
    }

    /// Steps into or on within a `{ … }` block: true for each word that begins
    /// the block or follows what the body of the loop took, false when there is
    /// no block, when it is empty, and at its `}`.
    ///
    /// The brace must open on the current line. Blocks in blocks are not
    /// looked for.
    pub fn next_block(&mut self) -> bool {
        if self.nesting > 0 {
            if !self.next() {
                return false;
            }
            if self.val() == "}" {
                self.nesting -= 1;
                return false;
            }
            return true;
        }
        if !self.next_arg() {
            return false;
        }
        if self.val() != "{" {
            self.position -= 1;
            return false;
        }
        if !self.next() || self.val() == "}" {
            return false;
        }
        self.nesting += 1;
        true
    }

    /// The current word; empty when there is none.
    pub fn val(&self) -> &'a str {
        self.token().map_or("", |token| &token.text)
    }

    /// The current word with its place.
    pub fn token(&self) -> Option<&'a Token> {
        self.tokens.get(self.position.checked_sub(1)?)
    }

    /// The file of the current word; the Corefile when there is none.
    pub fn file(&self) -> &'a str {
        self.token().map_or(&*self.main.name, Token::file)
    }

    /// The line of the current word; 0 when there is none.
    pub fn line(&self) -> u32 {
        self.token().map_or(0, |token| token.line)
    }

    /// Steps over the rest of the line and yields its words, up to a `{`, which
    /// is left for [`next_block`](Self::next_block).
    pub fn remaining_args(&mut self) -> Vec<&'a str> {
        self.remaining_tokens().iter().map(|t| &*t.text).collect()
    }

    /// [`remaining_args`](Self::remaining_args) with their places.
    pub fn remaining_tokens(&mut self) -> Vec<&'a Token> {
        let mut args = Vec::new();
        while self.next_arg() {
            if self.val() == "{" {
                self.position -= 1;
                break;
            }
            // No token only when there are no words at all.
            args.extend(self.token());
        }
        args
    }

    /// The error for a word that is missing, or one too many: `Wrong argument
    /// count or unexpected line ending after 'X'`.
    pub fn arg_err(&self) -> Error {
        if self.val() == "{" {
            return self.err("Unexpected token '{', expecting argument");
        }
        self.err(format!(
            "Wrong argument count or unexpected line ending after '{}'",
            self.val()
        ))
    }

    /// The error for a word where another one belongs: `Syntax error:
    /// Unexpected token 'X', expecting 'E'`.
    pub fn syntax_err(&self, expected: &str) -> Error {
        Error::syntax(self.main, self.token(), expected)
    }

    /// The error for an end that comes too early.
    pub fn eof_err(&self) -> Error {
        self.err("Unexpected EOF")
    }

    /// `FILE:LINE - Error during parsing: MSG`, about the current word.
    pub fn err(&self, message: impl AsRef<str>) -> Error {
        Error::parsing(self.main, self.token(), message.as_ref())
    }

    /// An error about the current word that CoreDNS prints without its place.
    /// The place shows below the first line.
    pub fn plain_err(&self, message: impl Into<String>) -> Error {
        let error = Error::plain(message);
        match self.token() {
            Some(token) => error.at(token),
            None => error,
        }
    }

    /// The error of the many plugins that a block may have once only.
    pub fn once_err(&self) -> Error {
        self.plain_err("this plugin can only be used once per Server Block")
    }

    /// The error for an option that a plugin does not have, in the words that
    /// most plugins use.
    pub fn unknown_property_err(&self, known: &[&str]) -> Error {
        self.err(format!("unknown property '{}'", self.val()))
            .suggest(known)
    }

    fn next_if(&mut self, wanted: fn(&Token, &Token) -> bool) -> bool {
        let step = match (self.token(), self.tokens.get(self.position)) {
            _ if self.position == 0 => true,
            (Some(current), Some(next)) => wanted(current, next),
            _ => false,
        };
        self.position += usize::from(step);
        step
    }
}

#[cfg(test)]
mod tests {
    use crate::tree::Directive;

    #[test]
    fn next_and_val() {
        let directive = Directive::new("Testfile", "host:port\ndir1 arg1\ndir2 arg2 arg3");
        let mut d = directive.dispenser();
        assert_eq!((d.val(), d.line(), d.file()), ("", 0, "Testfile"));
        for (word, line) in [
            ("host:port", 1),
            ("dir1", 2),
            ("arg1", 2),
            ("dir2", 3),
            ("arg2", 3),
            ("arg3", 3),
        ] {
            assert!(d.next());
            assert_eq!((d.val(), d.line()), (word, line));
        }
        assert!(!d.next());
        assert_eq!(d.val(), "arg3");
        assert!(!d.next_arg());
        assert!(!d.next_line());
    }

    #[test]
    fn args_and_lines() {
        let directive = Directive::new("Testfile", "dir1 arg1\ndir2 \"a\nb\" arg3\ndir4");
        let mut d = directive.dispenser();
        assert!(d.next_arg(), "the first step always succeeds");
        assert_eq!(d.val(), "dir1");
        assert!(!d.next_line());
        assert!(d.next_arg());
        assert!(!d.next_arg());
        assert!(d.next_line());
        assert_eq!(d.remaining_args(), ["a\nb", "arg3"]);
        assert!(d.next_line());
        assert_eq!(d.val(), "dir4");
        assert!(d.remaining_args().is_empty());

        let nothing = Directive::new("Testfile", "");
        let mut d = nothing.dispenser();
        assert!(!d.next());
        assert!(d.next_arg());
        assert!(!d.next_arg());
        assert!(d.remaining_args().is_empty());
    }

    #[test]
    fn blocks() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("d {\n a\n b c\n}\ne", &["a", "b"], "}"),
            ("d {\n}\ne", &[], "}"),
            ("d { }\ne", &[], "}"),
            ("d\n{\n a\n}", &[], "d"),
            ("d a {\n}", &[], "d"),
            ("d {", &[], "{"),
            ("d {\n a", &["a"], "a"),
            ("d { a\n}", &["a"], "}"),
        ];
        for (text, want, last) in cases {
            let directive = Directive::new("Testfile", text);
            let mut d = directive.dispenser();
            assert!(d.next());
            let mut got = Vec::new();
            while d.next_block() {
                got.push(d.val());
                if d.val() != "a" {
                    d.remaining_args();
                }
            }
            assert_eq!(got, *want, "{text:?}");
            assert_eq!(d.val(), *last, "{text:?}");
        }
    }

    #[test]
    fn errors() {
        let directive = Directive::new("Testfile", "dir {\n a\n}");
        let mut d = directive.dispenser();
        assert_eq!(
            d.err("x").first_line(),
            "Testfile:0 - Error during parsing: x"
        );
        d.next();
        assert_eq!(
            d.arg_err().first_line(),
            "Testfile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'dir'"
        );
        assert_eq!(
            d.once_err().in_plugin("cache").first_line(),
            "plugin/cache: this plugin can only be used once per Server Block"
        );
        d.next();
        assert_eq!(
            d.arg_err().first_line(),
            "Testfile:1 - Error during parsing: Unexpected token '{', expecting argument"
        );
        d.next();
        assert_eq!(
            d.syntax_err("{").in_plugin("x").first_line(),
            "plugin/x: Testfile:2 - Syntax error: Unexpected token 'a', expecting '{'"
        );
        assert_eq!(
            d.eof_err().first_line(),
            "Testfile:2 - Error during parsing: Unexpected EOF"
        );
    }
}
