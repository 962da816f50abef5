//! Regular expressions in Go's dialect (RE2), run by the `regex` crate.
//!
//! The two share their semantics (leftmost-first, linear time) but not their
//! syntax: a pattern is checked by Go's grammar, refused in Go's words, and
//! written anew for the crate. Matching is over ASCII text; what differs
//! beyond it does not show.

use std::fmt;

use regex::bytes;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Regex {
    source: Box<str>,
    regex: bytes::Regex,
    names: Vec<String>,
}

/// The memory that one compiled pattern may take, in octets.
const SIZE_LIMIT: usize = 16 << 20;
/// How deep groups may nest, as in Go.
const MAX_DEPTH: u32 = 1000;
/// How often repetitions may repeat in all, as in Go.
const MAX_REPEAT: u32 = 1000;

impl Regex {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let mut translator = Translator::new(pattern);
        translator.run()?;
        let regex = bytes::RegexBuilder::new(&translator.out)
            .size_limit(SIZE_LIMIT)
            .nest_limit(MAX_DEPTH + 1)
            .build()
            .map_err(|_| Error::new("expression too large", pattern))?;
        Ok(Self {
            source: pattern.into(),
            regex,
            names: translator.names,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// How many groups capture, the whole match not counted.
    pub fn groups(&self) -> usize {
        self.names.len() - 1
    }

    /// The groups' names by number; empty for those without, the first is the whole match.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the pattern occurs in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text.as_bytes())
    }

    /// The whole match and what each group caught; a group that took no part caught nothing.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        let captures = self.regex.captures(text.as_bytes())?;
        let caught = captures.iter().map(|group| {
            group
                .and_then(|group| text.get(group.range()))
                .unwrap_or_default()
        });
        Some(caught.collect())
    }
}

/// Why a pattern is not one; prints in Go's words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    code: &'static str,
    place: String,
}

impl Error {
    fn new(code: &'static str, place: &str) -> Self {
        Self {
            code,
            place: place.to_owned(),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.code, self.place)
    }
}

const BAD_RANGE: &str = "invalid character class range";
const BAD_REPEAT: &str = "invalid repeat count";
const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_PERL: &str = "invalid or unsupported Perl syntax";

/// Walks a Go pattern and writes the same one for the `regex` crate.
struct Translator<'p> {
    whole: &'p str,
    rest: &'p str,
    out: String,
    names: Vec<String>,
    /// The groups that are open, the pattern itself first.
    open: Vec<Frame>,
}

/// What repetition wants to know about an open group.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// How often its costliest part is repeated, nested repetitions multiplied.
    cost: u32,
    /// The same for the last part; `None` where there is nothing to repeat.
    last: Option<u32>,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str) -> Self {
        Self {
            whole: pattern,
            rest: pattern,
            out: String::with_capacity(pattern.len() * 2),
            names: vec![String::new()],
            open: vec![Frame::default()],
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        // Where the repetition that was just read began, if one was.
        let mut repeated: Option<&'p str> = None;
        while let Some(first) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeats = false;
            match first {
                '(' => self.open_group()?,
                ')' => self.close_group()?,
                '|' => {
                    self.bump(1);
                    self.out.push('|');
                    if let Some(frame) = self.open.last_mut() {
                        frame.last = None;
                    }
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.bump(1);
                    self.repeat(None, before, repeated)?;
                    repeats = true;
                }
                '{' => match parse_repeat(before) {
                    Some((bounds, after)) => {
                        self.rest = after;
                        self.repeat(Some(bounds), before, repeated)?;
                        repeats = true;
                    }
                    None => {
                        self.bump(1);
                        self.literal('{');
                    }
                },
                '\\' => self.escape()?,
                '^' | '$' | '.' => {
                    self.bump(1);
                    self.atom(first.encode_utf8(&mut [0; 4]));
                }
                other => {
                    self.bump(other.len_utf8());
                    self.literal(other);
                }
            }
            repeated = repeats.then_some(before);
        }
        if self.open.len() != 1 {
            return Err(Error::new("missing closing )", self.whole));
        }
        Ok(())
    }

    fn bump(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// What was read since `start`.
    fn since(&self, start: &'p str) -> &'p str {
        start
            .get(..start.len() - self.rest.len())
            .unwrap_or_default()
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        self.ended(1);
    }

    fn ended(&mut self, cost: u32) {
        if let Some(frame) = self.open.last_mut() {
            frame.last = Some(cost);
            frame.cost = frame.cost.max(cost);
        }
    }

    fn literal(&mut self, c: char) {
        write_char(&mut self.out, c);
        self.ended(1);
    }

    fn open_group(&mut self) -> Result<(), Error> {
        let start = self.rest;
        let Some(inner) = start.strip_prefix("(?") else {
            self.bump(1);
            return self.push_group("(", Some(String::new()));
        };
        let named = inner
            .strip_prefix("P<")
            .filter(|_| start.len() > 4)
            .or_else(|| inner.strip_prefix('<').filter(|_| start.len() > 3));
        if let Some(name) = named {
            let Some((name, after)) = name.split_once('>') else {
                return Err(Error::new("invalid named capture", start));
            };
            self.rest = after;
            let valid =
                !name.is_empty() && name.bytes().all(|c| c == b'_' || c.is_ascii_alphanumeric());
            if !valid {
                return Err(Error::new("invalid named capture", self.since(start)));
            }
            // The crate is stricter about names, so they are kept here only.
            return self.push_group("(", Some(name.to_owned()));
        }
        self.bump(2);
        let (mut on, mut off) = (String::new(), String::new());
        let (mut negative, mut saw) = (false, false);
        while let Some(c) = self.rest.chars().next() {
            self.bump(c.len_utf8());
            match c {
                'i' | 'm' | 's' | 'U' => {
                    saw = true;
                    let (to, from) = match negative {
                        true => (&mut off, &mut on),
                        false => (&mut on, &mut off),
                    };
                    from.retain(|flag| flag != c);
                    if !to.contains(c) {
                        to.push(c);
                    }
                }
                '-' if !negative => (negative, saw) = (true, false),
                ':' | ')' if saw || !negative => {
                    let minus = if off.is_empty() { "" } else { "-" };
                    if c == ':' {
                        return self.push_group(&format!("(?{on}{minus}{off}:"), None);
                    }
                    if !(on.is_empty() && off.is_empty()) {
                        self.out.push_str(&format!("(?{on}{minus}{off})"));
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(Error::new(BAD_PERL, self.since(start)))
    }

    fn push_group(&mut self, opening: &str, name: Option<String>) -> Result<(), Error> {
        if self.open.len() > MAX_DEPTH as usize {
            return Err(Error::new("expression nests too deeply", self.whole));
        }
        self.names.extend(name);
        self.out.push_str(opening);
        self.open.push(Frame::default());
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), Error> {
        if self.open.len() == 1 {
            return Err(Error::new("unexpected )", self.whole));
        }
        self.bump(1);
        let cost = self.open.pop().map_or(1, |frame| frame.cost.max(1));
        self.out.push(')');
        self.ended(cost);
        Ok(())
    }

    /// Writes a repetition; the operator itself has been read.
    fn repeat(
        &mut self,
        bounds: Option<Bounds>,
        before: &'p str,
        repeated: Option<&'p str>,
    ) -> Result<(), Error> {
        if bounds.is_some_and(|bounds| !bounds.fits()) {
            return Err(Error::new(BAD_REPEAT, self.since(before)));
        }
        let operator = self.since(before);
        if self.rest.starts_with('?') {
            self.bump(1);
        }
        if let Some(first) = repeated {
            return Err(Error::new(
                "invalid nested repetition operator",
                self.since(first),
            ));
        }
        let Some(last) = self.open.last().and_then(|frame| frame.last) else {
            return Err(Error::new(
                "missing argument to repetition operator",
                self.since(before),
            ));
        };
        let mut cost = last;
        if let Some(Bounds { min, max }) = bounds {
            cost = match max.unwrap_or(min) {
                0 => 1,
                times => times.saturating_mul(last),
            };
            if (min >= 2 || max.is_some_and(|max| max >= 2)) && cost > MAX_REPEAT {
                return Err(Error::new(BAD_REPEAT, self.since(before)));
            }
        }
        self.out.push_str(operator);
        if self.since(before).len() > operator.len() {
            self.out.push('?');
        }
        self.ended(cost);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Error> {
        let start = self.rest;
        let mark = start.as_bytes().get(1).copied();
        match mark {
            Some(b'A') => return self.assertion(r"\A"),
            Some(b'z') => return self.assertion(r"\z"),
            Some(b'b') => return self.assertion(r"(?-u:\b)"),
            Some(b'B') => return self.assertion(r"(?-u:\B)"),
            Some(b'C') => return Err(Error::new(BAD_ESCAPE, r"\C")),
            Some(b'Q') => {
                let quoted = start.get(2..).unwrap_or_default();
                let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                text.chars().for_each(|c| self.literal(c));
                self.rest = after;
                return Ok(());
            }
            _ => {}
        }
        if let Some(class) = self.unicode_class()? {
            self.atom(&class);
        } else if let Some(class) = perl_class(start) {
            self.bump(2);
            self.atom(&format!("[{class}]"));
        } else {
            let c = self.escaped_char()?;
            self.literal(c);
        }
        Ok(())
    }

    fn assertion(&mut self, text: &str) -> Result<(), Error> {
        self.bump(2);
        self.atom(text);
        Ok(())
    }

    /// `\pN`, `\p{Name}` and their negations.
    fn unicode_class(&mut self) -> Result<Option<String>, Error> {
        let start = self.rest;
        if !start.starts_with(r"\p") && !start.starts_with(r"\P") {
            return Ok(None);
        }
        let mut negative = start.starts_with(r"\P");
        let body = start.get(2..).unwrap_or_default();
        let name = match body.strip_prefix('{') {
            Some(inner) => {
                let Some((name, after)) = inner.split_once('}') else {
                    return Err(Error::new(BAD_RANGE, start));
                };
                self.rest = after;
                name
            }
            None => {
                let len = body.chars().next().map_or(0, char::len_utf8);
                self.bump(2 + len);
                body.get(..len).unwrap_or_default()
            }
        };
        let place = self.since(start);
        let name = match name.strip_prefix('^') {
            Some(name) => {
                negative = !negative;
                name
            }
            None => name,
        };
        let class = format!(r"\{}{{{name}}}", if negative { 'P' } else { 'p' });
        let known = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
            && bytes::Regex::new(&class).is_ok();
        match known {
            true => Ok(Some(class)),
            false => Err(Error::new(BAD_RANGE, place)),
        }
    }

    /// One escaped character, in or out of a class.
    fn escaped_char(&mut self) -> Result<char, Error> {
        let start = self.rest;
        self.bump(1);
        let Some(mark) = self.rest.chars().next() else {
            return Err(Error::new("trailing backslash at end of expression", ""));
        };
        self.bump(mark.len_utf8());
        let octal = |text: &str| {
            text.bytes()
                .take_while(|digit| (b'0'..=b'7').contains(digit))
                .take(2)
                .count()
        };
        let code = match mark {
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            'x' => self.hex_escape(),
            '0'..='7' if mark == '0' || octal(self.rest) > 0 => {
                self.bump(octal(self.rest));
                let digits = self.since(start).get(1..).unwrap_or_default();
                u32::from_str_radix(digits, 8).ok()
            }
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(other as u32),
            _ => None,
        };
        match code {
            // A surrogate names no character and so matches nothing in text.
            Some(code) => Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
            None => Err(Error::new(BAD_ESCAPE, self.since(start))),
        }
    }

    fn hex_escape(&mut self) -> Option<u32> {
        let mut next = || {
            let c = self.rest.chars().next()?;
            self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
            Some(c)
        };
        let first = next()?;
        if first != '{' {
            let second = next();
            return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
        }
        let mut value = None;
        loop {
            match next()? {
                '}' => return value,
                digit => {
                    let sum = value.unwrap_or(0) * 16 + digit.to_digit(16)?;
                    value = Some(sum).filter(|sum| *sum <= char::MAX as u32);
                    value?;
                }
            }
        }
    }

    fn class(&mut self) -> Result<(), Error> {
        let start = self.rest;
        self.bump(1);
        let mut class = String::from("[");
        if self.rest.starts_with('^') {
            self.bump(1);
            class.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(named) = self.posix_class()? {
                class.push_str(named);
                continue;
            }
            if let Some(unicode) = self.unicode_class()? {
                class.push_str(&unicode);
                continue;
            }
            if let Some(perl) = perl_class(self.rest) {
                self.bump(2);
                match perl.strip_prefix('^') {
                    Some(_) => class.push_str(&format!("[{perl}]")),
                    None => class.push_str(perl),
                }
                continue;
            }
            let range = self.rest;
            let low = self.class_char(start)?;
            let mut high = low;
            if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.bump(1);
                high = self.class_char(start)?;
                if high < low {
                    return Err(Error::new(BAD_RANGE, self.since(range)));
                }
            }
            write_char(&mut class, low);
            if high != low {
                class.push('-');
                write_char(&mut class, high);
            }
        }
        self.bump(1);
        class.push(']');
        self.atom(&class);
        Ok(())
    }

    fn posix_class(&mut self) -> Result<Option<&'p str>, Error> {
        let start = self.rest;
        let Some(inner) = start.strip_prefix("[:").filter(|inner| !inner.is_empty()) else {
            return Ok(None);
        };
        let Some((name, after)) = inner.split_once(":]") else {
            return Ok(None);
        };
        self.rest = after;
        let place = self.since(start);
        let known = matches!(
            name.strip_prefix('^').unwrap_or(name),
            "alnum"
                | "alpha"
                | "ascii"
                | "blank"
                | "cntrl"
                | "digit"
                | "graph"
                | "lower"
                | "print"
                | "punct"
                | "space"
                | "upper"
                | "word"
                | "xdigit"
        );
        match known {
            true => Ok(Some(place)),
            false => Err(Error::new(BAD_RANGE, place)),
        }
    }

    fn class_char(&mut self, class: &str) -> Result<char, Error> {
        match self.rest.chars().next() {
            None => Err(Error::new("missing closing ]", class)),
            Some('\\') => self.escaped_char(),
            Some(c) => {
                self.bump(c.len_utf8());
                Ok(c)
            }
        }
    }
}

/// The members of a Perl class, ASCII only as in Go.
fn perl_class(text: &str) -> Option<&'static str> {
    Some(match text.get(..2)? {
        r"\d" => "0-9",
        r"\D" => "^0-9",
        r"\s" => r"\t\n\x0C\r\x20",
        r"\S" => r"^\t\n\x0C\r\x20",
        r"\w" => "0-9A-Za-z_",
        r"\W" => "^0-9A-Za-z_",
        _ => return None,
    })
}

fn write_char(out: &mut String, c: char) {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => out.push(c),
        _ => out.push_str(&format!("\\x{{{:X}}}", c as u32)),
    }
}

/// `{min,max}`; without `max` there is no upper end.
#[derive(Clone, Copy)]
struct Bounds {
    min: u32,
    max: Option<u32>,
}

impl Bounds {
    fn fits(self) -> bool {
        self.min <= MAX_REPEAT
            && self
                .max
                .is_none_or(|max| self.min <= max && max <= MAX_REPEAT)
    }
}

fn parse_repeat(text: &str) -> Option<(Bounds, &str)> {
    let (min, rest) = parse_count(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => parse_count(rest).map(|(max, rest)| (Some(max), rest))?,
    };
    Some((Bounds { min, max }, rest.strip_prefix('}')?))
}

fn parse_count(text: &str) -> Option<(u32, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(len)?;
    if digits.is_empty() || (len > 1 && digits.starts_with('0')) {
        return None;
    }
    // Too big a number is a repetition all the same, only one out of bounds.
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            ("", "", Some(vec![""])),
            (
                "^ip-(?P<a>[0-9]*)\\.",
                "ip-10.example.",
                Some(vec!["ip-10.", "10"]),
            ),
            ("(?<1st>a)(?:b)(c)?", "ab", Some(vec!["ab", "a", ""])),
            ("(?i)WWW", "www.", Some(vec!["www"])),
            ("a{,2}", "a{,2}", Some(vec!["a{,2}"])),
            ("x{", "x{", Some(vec!["x{"])),
            ("[]a]+", "]a]", Some(vec!["]a]"])),
            ("[^]a]", "b", Some(vec!["b"])),
            ("[a-]", "-", Some(vec!["-"])),
            ("[a&&b]+", "a&b", Some(vec!["a&b"])),
            ("[[a]", "[", Some(vec!["["])),
            ("[[:alpha:]_]+", "ab_1", Some(vec!["ab_"])),
            ("[\\d\\-]+", "1-2", Some(vec!["1-2"])),
            ("[^\\W]+", ".ab", Some(vec!["ab"])),
            ("\\Qa.b\\E.", "a.bc", Some(vec!["a.bc"])),
            ("\\x41\\x{42}\\103", "ABC", Some(vec!["ABC"])),
            ("\\s", "\x0B", None),
            ("\\bexample\\b", "an.example.", Some(vec!["example"])),
            ("a.c(?s)", "a\nc", None),
            ("(?s)a.c", "a\nc", Some(vec!["a\nc"])),
            ("(?U)a+", "aaa", Some(vec!["a"])),
            ("a+?", "aaa", Some(vec!["a"])),
            ("(a|ab)(c|bcd)", "abcd", Some(vec!["abcd", "a", "bcd"])),
            ("a|", "b", Some(vec![""])),
            ("\\_\\-\\!", "_-!", Some(vec!["_-!"])),
            ("\\pL\\p{Lu}\\P{Lu}\\p{^Lu}", "aBc1", Some(vec!["aBc1"])),
            ("^$", "", Some(vec![""])),
            ("a$", "a\n", None),
            ("(?m)a$", "a\n", Some(vec!["a"])),
            ("(?)a(?ii-s:b)", "aB", Some(vec!["aB"])),
        ] {
            let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.captures(text), expected, "{pattern}");
            assert_eq!(regex.is_match(text), expected.is_some(), "{pattern}");
        }
        let regex = Regex::new("(a)(?P<x>b)(?<y>c)").unwrap();
        assert_eq!(regex.names(), ["", "", "x", "y"]);
        assert_eq!(regex.groups(), 3);
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (pattern, message) in [
            ("[", "missing closing ]: `[`"),
            ("a[b", "missing closing ]: `[b`"),
            ("[]", "missing closing ]: `[]`"),
            ("(", "missing closing ): `(`"),
            ("a(b(c)", "missing closing ): `a(b(c)`"),
            ("a)", "unexpected ): `a)`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|*", "missing argument to repetition operator: `*`"),
            ("(?:+?)", "missing argument to repetition operator: `+?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+?{2}", "invalid nested repetition operator: `+?{2}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("(a{40}){40}", "invalid repeat count: `{40}`"),
            ("\\", "trailing backslash at end of expression: ``"),
            ("\\q", "invalid escape sequence: `\\q`"),
            ("\\8", "invalid escape sequence: `\\8`"),
            ("(a)\\1", "invalid escape sequence: `\\1`"),
            ("\\C", "invalid escape sequence: `\\C`"),
            ("\\Z", "invalid escape sequence: `\\Z`"),
            ("\\x{110000}", "invalid escape sequence: `\\x{110000`"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("[a-\\d]", "invalid escape sequence: `\\d`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (
                "\\p{Klingon}",
                "invalid character class range: `\\p{Klingon}`",
            ),
            ("\\pX", "invalid character class range: `\\pX`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("(?P<n-m>a)", "invalid named capture: `(?P<n-m>`"),
            ("(?<>a)", "invalid named capture: `(?<>`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?<!a)", "invalid named capture: `(?<!a)`"),
            ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
            ("(?x)", "invalid or unsupported Perl syntax: `(?x`"),
        ] {
            let error = Regex::new(pattern).map(|_| ()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("error parsing regexp: {message}")
            );
        }
    }
}
