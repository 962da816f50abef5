//! Templates cut into words.

use crate::golang::strconv::{is_print, quote};

/// A word and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Item<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// The offset of its first octet.
    pub(super) pos: usize,
    /// The line that it begins on, counted from 1.
    pub(super) line: usize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The message; the last item.
    Error(String),
    End,
    Text,
    Open,
    Close,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    Char,
    CharConstant,
    Str,
    RawStr,
    Number,
    Complex,
    Bool,
    Field,
    Variable,
    Identifier,
    Dot,
    Nil,
    /// `if`, `end` and their like.
    Keyword,
}

impl Item<'_> {
    /// The item as errors show it.
    pub(super) fn show(&self) -> String {
        match &self.kind {
            Kind::End => "EOF".into(),
            Kind::Error(message) => message.clone(),
            Kind::Dot | Kind::Nil | Kind::Keyword => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                format!("{}...", quote(&start))
            }
            _ => quote(self.text),
        }
    }
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a template into items; the last is an end or an error.
pub(super) fn lex(text: &str) -> Vec<Item<'_>> {
    let mut lexer = Lexer {
        text,
        pos: 0,
        start: 0,
        line: 1,
        start_line: 1,
        depth: 0,
        items: Vec::new(),
    };
    if let Err(message) = lexer.run() {
        lexer.items.push(Item {
            kind: Kind::Error(message),
            text: "",
            pos: lexer.start,
            line: lexer.start_line,
        });
    }
    lexer.items
}

struct Lexer<'t> {
    text: &'t str,
    pos: usize,
    /// Where the item under way begins, and on which line.
    start: usize,
    line: usize,
    start_line: usize,
    /// How many parentheses are open.
    depth: usize,
    items: Vec<Item<'t>>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.pos..).unwrap_or_default()
    }

    fn word(&self) -> &'t str {
        self.text.get(self.start..self.pos).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
    }

    /// Moves over text and counts its lines.
    fn advance(&mut self, len: usize) {
        let passed = self.rest().get(..len).unwrap_or_default();
        self.line += passed.matches('\n').count();
        self.pos += passed.len();
    }

    fn emit(&mut self, kind: Kind) {
        self.items.push(Item {
            kind,
            text: self.word(),
            pos: self.start,
            line: self.start_line,
        });
        self.ignore();
    }

    fn ignore(&mut self) {
        self.start = self.pos;
        self.start_line = self.line;
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let Some(len) = self.rest().find(OPEN) else {
                self.advance(self.rest().len());
                if self.pos > self.start {
                    self.emit(Kind::Text);
                }
                self.emit(Kind::End);
                return Ok(());
            };
            let text = self.rest().get(..len).unwrap_or_default();
            let behind = self.rest().get(len + OPEN.len()..).unwrap_or_default();
            let trims = behind.starts_with('-') && behind.get(1..).is_some_and(starts_with_space);
            let kept = match trims {
                true => text.trim_end_matches(SPACES).len(),
                false => len,
            };
            self.advance(kept);
            if kept > 0 {
                self.emit(Kind::Text);
            }
            self.advance(len - kept);
            self.ignore();
            self.action(if trims { 2 } else { 0 })?;
        }
    }

    /// An action or a comment; `marker` octets of a trim marker follow the braces.
    fn action(&mut self, marker: usize) -> Result<(), String> {
        self.advance(OPEN.len());
        let inner = self.rest().get(marker..).unwrap_or_default();
        if inner.starts_with("/*") {
            self.advance(marker);
            self.ignore();
            return self.comment();
        }
        self.emit(Kind::Open);
        self.advance(marker);
        self.ignore();
        self.depth = 0;
        loop {
            if let Some(trims) = self.at_close() {
                if self.depth > 0 {
                    return Err("unclosed left paren".into());
                }
                self.close(trims);
                return Ok(());
            }
            self.inside()?;
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(len) = self.rest().get(2..).and_then(|rest| rest.find("*/")) else {
            return Err("unclosed comment".into());
        };
        self.advance(len + 4);
        let Some(trims) = self.at_close() else {
            return Err("comment ends before closing delimiter".into());
        };
        self.advance(if trims { 4 } else { 2 });
        if trims {
            self.skip_while(|c| SPACES.contains(&c));
        }
        self.ignore();
        Ok(())
    }

    /// Whether the action ends here, and whether with a trim marker.
    fn at_close(&self) -> Option<bool> {
        let rest = self.rest();
        let marked = starts_with_space(rest)
            && rest
                .get(1..)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|rest| rest.starts_with(CLOSE));
        match marked {
            true => Some(true),
            false => rest.starts_with(CLOSE).then_some(false),
        }
    }

    fn close(&mut self, trims: bool) {
        if trims {
            self.advance(2);
            self.ignore();
        }
        self.advance(CLOSE.len());
        self.emit(Kind::Close);
        if trims {
            self.skip_while(|c| SPACES.contains(&c));
            self.ignore();
        }
    }

    fn inside(&mut self) -> Result<(), String> {
        let Some(c) = self.next() else {
            return Err("unclosed action".into());
        };
        match c {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            '=' => self.emit(Kind::Assign),
            ':' => match self.next() {
                Some('=') => self.emit(Kind::Declare),
                _ => return Err("expected :=".into()),
            },
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted('"', Kind::Str, "unterminated quoted string")?,
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant")?,
            '`' => loop {
                match self.next() {
                    None => return Err("unterminated raw quoted string".into()),
                    Some('`') => {
                        self.emit(Kind::RawStr);
                        break;
                    }
                    Some(_) => {}
                }
            },
            '$' => self.field_or_variable(Kind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) && self.peek().is_some() => {
                self.field_or_variable(Kind::Field)?;
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.pos -= 1;
                self.number()?;
            }
            c if is_alphanumeric(c) => self.identifier()?,
            '(' => {
                self.depth += 1;
                self.emit(Kind::LeftParen);
            }
            ')' => {
                let Some(depth) = self.depth.checked_sub(1) else {
                    return Err("unexpected right paren".into());
                };
                self.depth = depth;
                self.emit(Kind::RightParen);
            }
            '!'..='~' => self.emit(Kind::Char),
            c => {
                return Err(format!(
                    "unrecognized character in action: {}",
                    unicode(Some(c))
                ));
            }
        }
        Ok(())
    }

    /// Blanks; the last one may belong to a closing trim marker.
    fn space(&mut self) {
        self.skip_while(|c| SPACES.contains(&c));
        let last = self.pos - 1;
        let marked = self
            .text
            .get(last + 1..)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| rest.starts_with(CLOSE));
        if marked {
            self.line -= usize::from(self.text.get(last..last + 1) == Some("\n"));
            self.pos = last;
            if self.pos == self.start {
                return;
            }
        }
        self.emit(Kind::Space);
    }

    fn quoted(&mut self, mark: char, kind: Kind, message: &str) -> Result<(), String> {
        loop {
            match self.next() {
                None | Some('\n') => return Err(message.into()),
                Some('\\') => {
                    if matches!(self.next(), None | Some('\n')) {
                        return Err(message.into());
                    }
                }
                Some(c) if c == mark => {
                    self.emit(kind);
                    return Ok(());
                }
                Some(_) => {}
            }
        }
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(') => true,
            _ => self.rest().starts_with(CLOSE),
        }
    }

    fn identifier(&mut self) -> Result<(), String> {
        self.skip_while(is_alphanumeric);
        if !self.at_terminator() {
            return Err(format!("bad character {}", unicode(self.peek())));
        }
        let kind = match self.word() {
            "block" | "break" | "continue" | "define" | "else" | "end" | "if" | "range"
            | "template" | "with" => Kind::Keyword,
            "nil" => Kind::Nil,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.emit(kind);
        Ok(())
    }

    fn field_or_variable(&mut self, kind: Kind) -> Result<(), String> {
        if self.at_terminator() {
            let alone = match kind {
                Kind::Variable => Kind::Variable,
                _ => Kind::Dot,
            };
            self.emit(alone);
            return Ok(());
        }
        self.skip_while(is_alphanumeric);
        if !self.at_terminator() {
            return Err(format!("bad character {}", unicode(self.peek())));
        }
        self.emit(kind);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        let whole = self.scan_number();
        let complex = whole && matches!(self.peek(), Some('+' | '-'));
        let valid = whole && (!complex || (self.scan_number() && self.word().ends_with('i')));
        if !valid {
            return Err(format!("bad number syntax: {}", quote(self.word())));
        }
        self.emit(match complex {
            true => Kind::Complex,
            false => Kind::Number,
        });
        Ok(())
    }

    fn accept(&mut self, set: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| set.contains(c));
        if accepted {
            self.next();
        }
        accepted
    }

    fn scan_number(&mut self) -> bool {
        let mut digits = "0123456789_";
        self.accept("+-");
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.skip_while(|c| digits.contains(c));
        if self.accept(".") {
            self.skip_while(|c| digits.contains(c));
        }
        let exponent = match digits.len() {
            11 => self.accept("eE"),
            23 => self.accept("pP"),
            _ => false,
        };
        if exponent {
            self.accept("+-");
            self.skip_while(|c| "0123456789_".contains(c));
        }
        self.accept("i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }
}

fn starts_with_space(text: &str) -> bool {
    text.starts_with(SPACES)
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A character as `%#U` shows it.
fn unicode(c: Option<char>) -> String {
    match c {
        None => "U+FFFFFFFFFFFFFFFF".into(),
        Some(c) if is_print(c) => format!("U+{:04X} '{c}'", c as u32),
        Some(c) => format!("U+{:04X}", c as u32),
    }
}
