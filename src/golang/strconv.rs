//! Numbers and quoted strings as Go's `strconv` reads and writes them.

use std::fmt::Write;

/// Why text is not a number.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("strconv.{function}: parsing {}: {reason}", quote(.text))]
pub struct NumberError {
    function: &'static str,
    text: String,
    reason: String,
}

impl NumberError {
    fn new(function: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self {
            function,
            text: text.to_owned(),
            reason: reason.into(),
        }
    }
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// `strconv.ParseUint`: base 0 goes by the prefix, `bits` 0 means 64.
pub fn parse_uint(text: &str, base: i64, bits: i64) -> Result<u64, NumberError> {
    let fail = |reason: String| NumberError::new("ParseUint", text, reason);
    if text.is_empty() {
        return Err(fail(SYNTAX.into()));
    }
    let (radix, digits) = match base {
        2..=36 => (base as u32, text),
        0 => split_prefix(text),
        _ => return Err(fail(format!("invalid base {base}"))),
    };
    let bits = match bits {
        0 => 64,
        1..=64 => bits as u32,
        _ => return Err(fail(format!("invalid bit size {bits}"))),
    };
    let max = u64::MAX >> (64 - bits);
    if digits.is_empty() || (base == 0 && !underscores_fit(text)) {
        return Err(fail(SYNTAX.into()));
    }
    let mut value = Some(0u64);
    for digit in digits.chars() {
        if digit == '_' && base == 0 {
            continue;
        }
        let Some(digit) = digit.to_digit(radix) else {
            return Err(fail(SYNTAX.into()));
        };
        // Go stops at the first overflow, whatever follows.
        value = value
            .and_then(|value| value.checked_mul(u64::from(radix)))
            .and_then(|value| value.checked_add(u64::from(digit)))
            .filter(|value| *value <= max);
        if value.is_none() {
            return Err(fail(RANGE.into()));
        }
    }
    value.ok_or_else(|| fail(RANGE.into()))
}

/// `strconv.ParseInt` with 64 bits.
pub fn parse_int(text: &str, base: i64) -> Result<i64, NumberError> {
    let fail = |reason: &str| NumberError::new("ParseInt", text, reason);
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let value = parse_uint(digits, base, 64).map_err(|error| fail(&error.reason))?;
    let value = if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    };
    value.ok_or_else(|| fail(RANGE))
}

/// `strconv.ParseFloat` with 64 bits, hexadecimal mantissas included.
pub fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let value = match unsigned.get(..2) {
        Some("0x" | "0X") => hex_float(unsigned.get(2..)?)?,
        _ if unsigned.contains('_') => return None,
        _ if unsigned
            .bytes()
            .all(|octet| octet.is_ascii_digit() || b".eE+-".contains(&octet)) =>
        {
            unsigned
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())?
        }
        _ => match unsigned.to_ascii_lowercase().as_str() {
            "inf" | "infinity" => f64::INFINITY,
            "nan" => f64::NAN,
            _ => return None,
        },
    };
    Some(if text.starts_with('-') { -value } else { value })
}

fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent: i32 = exponent.parse().ok()?;
    let shift = exponent.saturating_sub(4 * i32::try_from(fraction.len()).ok()?);
    (!whole.is_empty() || !fraction.is_empty()).then(|| value * 2f64.powi(shift))
}

fn split_prefix(text: &str) -> (u32, &str) {
    let octets = text.as_bytes();
    match (octets.first(), octets.get(1).map(u8::to_ascii_lowercase)) {
        (Some(b'0'), Some(mark @ (b'x' | b'b' | b'o'))) if octets.len() > 2 => {
            let radix = match mark {
                b'x' => 16,
                b'b' => 2,
                _ => 8,
            };
            (radix, text.get(2..).unwrap_or_default())
        }
        (Some(b'0'), Some(_)) => (8, text.get(1..).unwrap_or_default()),
        _ => (10, text),
    }
}

/// Underscores may stand between digits, or between a prefix and a digit.
fn underscores_fit(text: &str) -> bool {
    if !text.contains('_') {
        return true;
    }
    let rest = text.trim_start_matches(['+', '-']);
    let mut before = '^';
    let rest = match rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x" | "0b" | "0o") => {
            before = '0';
            rest.get(2..).unwrap_or_default()
        }
        _ => rest,
    };
    for octet in rest.chars() {
        let kind = match octet {
            '0'..='9' | 'a'..='f' | 'A'..='F' => '0',
            '_' if before == '0' => '_',
            '_' => return false,
            _ if before == '_' => return false,
            _ => '!',
        };
        before = kind;
    }
    before != '_'
}

/// `strconv.Quote`: a Go string literal in double quotes.
pub fn quote(text: &str) -> String {
    quote_with(text, '"', false)
}

/// `strconv.QuoteToASCII`.
pub fn quote_ascii(text: &str) -> String {
    quote_with(text, '"', true)
}

/// `strconv.QuoteRune`.
pub fn quote_char(value: char) -> String {
    quote_with(value.encode_utf8(&mut [0; 4]), '\'', false)
}

fn quote_with(text: &str, mark: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(mark);
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0C' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0B' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => {
                out.push('\\');
                out.push(mark);
            }
            ' '..='~' => out.push(c),
            c if (c as u32) < 0x80 => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if !ascii && is_print(c) => out.push(c),
            c if (c as u32) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push(mark);
    out
}

/// Roughly `unicode.IsPrint`: neither control nor space beyond U+0020.
pub(super) fn is_print(c: char) -> bool {
    c == ' '
        || (!c.is_control()
            && !c.is_whitespace()
            && !matches!(c as u32, 0x200B..=0x200F | 0x2028..=0x202E | 0xE000..=0xF8FF | 0xFEFF))
}

/// `strconv.Unquote`: the text of a Go literal in `"`, `` ` `` or `'`.
pub fn unquote(literal: &str) -> Option<String> {
    let mark = literal.chars().next()?;
    let inner = literal.get(1..)?.strip_suffix(mark)?;
    match mark {
        '`' => (!inner.contains('`')).then(|| inner.replace('\r', "")),
        '"' => unquote_text(inner, '"'),
        '\'' => unquote_text(inner, '\'').filter(|text| text.chars().count() == 1),
        _ => None,
    }
}

fn unquote_text(text: &str, mark: char) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == mark || c == '\n' {
            return None;
        }
        let (value, after) = unquote_char(rest, mark)?;
        match value {
            Unquoted::Octet(octet) => out.push(octet),
            Unquoted::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = after;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// One character of a literal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unquoted {
    /// `\xNN` and `\NNN` name an octet, not a character.
    Octet(u8),
    Char(char),
}

pub(super) fn unquote_char(text: &str, mark: char) -> Option<(Unquoted, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first == mark {
        return None;
    }
    if first != '\\' {
        return Some((Unquoted::Char(first), chars.as_str()));
    }
    let escape = chars.next()?;
    let rest = chars.as_str();
    let digits = |len: usize, radix: u32| {
        let value = u32::from_str_radix(rest.get(..len)?, radix).ok()?;
        Some((value, rest.get(len..)?))
    };
    let simple = |c| Some((Unquoted::Char(c), rest));
    match escape {
        'a' => simple('\x07'),
        'b' => simple('\x08'),
        'f' => simple('\x0C'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\x0B'),
        '\\' => simple('\\'),
        '\'' | '"' if escape == mark => simple(escape),
        'x' => {
            let (value, rest) = digits(2, 16)?;
            Some((Unquoted::Octet(value as u8), rest))
        }
        'u' | 'U' => {
            let (value, rest) = digits(if escape == 'u' { 4 } else { 8 }, 16)?;
            Some((Unquoted::Char(char::from_u32(value)?), rest))
        }
        '0'..='7' => {
            let octal = text.get(1..4)?;
            let value = u8::try_from(u32::from_str_radix(octal, 8).ok()?).ok()?;
            Some((Unquoted::Octet(value), text.get(4..)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_numbers_are_read_as_go_reads_them() {
        for (text, base, bits, expected) in [
            ("0", 10, 16, Ok(0)),
            ("65535", 10, 16, Ok(65535)),
            ("0xfffe", 0, 16, Ok(65534)),
            ("0b101", 0, 16, Ok(5)),
            ("0o17", 0, 16, Ok(15)),
            ("017", 0, 16, Ok(15)),
            ("1_000", 0, 16, Ok(1000)),
            ("ff", 16, 8, Ok(255)),
            ("zz", 36, 64, Ok(1295)),
            ("65536", 10, 16, Err("\"65536\": value out of range")),
            ("", 10, 16, Err("\"\": invalid syntax")),
            ("-1", 0, 16, Err("\"-1\": invalid syntax")),
            ("1__0", 0, 16, Err("\"1__0\": invalid syntax")),
            ("0x", 0, 16, Err("\"0x\": invalid syntax")),
            ("1", 99, 16, Err("\"1\": invalid base 99")),
            ("1", 10, 99, Err("\"1\": invalid bit size 99")),
            ("9x", 10, 8, Err("\"9x\": invalid syntax")),
        ] {
            let expected = expected.map_err(|end| format!("strconv.ParseUint: parsing {end}"));
            let read = parse_uint(text, base, bits).map_err(|error| error.to_string());
            assert_eq!(read, expected, "{text} base {base}");
        }
        assert_eq!(parse_int("-0x10", 0), Ok(-16));
        assert_eq!(parse_int("9223372036854775808", 10).ok(), None);
        assert_eq!(parse_float("0x1p-2"), Some(0.25));
        assert_eq!(parse_float("1e3"), Some(1000.0));
    }

    #[test]
    fn literals_survive_quoting() {
        for text in ["plain", "a\"b\\c", "tab\there", "é\u{1F600}", "\x01"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
        assert_eq!(quote("a\x01é"), r#""a\x01é""#);
        assert_eq!(quote_ascii("é"), r#""\u00e9""#);
        assert_eq!(unquote("`raw\\n`").as_deref(), Some("raw\\n"));
        for broken in ["\"a", "\"\\q\"", "\"a\"b\"", "x", ""] {
            assert_eq!(unquote(broken), None, "{broken}");
        }
    }
}
