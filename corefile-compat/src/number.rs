//! Numbers and quoting as Go's `strconv` does them, for the plugins whose
//! errors repeat its words.

use std::fmt::Write;

use thiserror::Error;

/// Why a text is no number: `strconv.Atoi: parsing "x": invalid syntax`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("strconv.{function}: parsing {text}: {reason}")]
pub struct NumberError {
    function: &'static str,
    text: String,
    reason: &'static str,
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// A signed number, as Go's `strconv.Atoi`.
///
/// # Errors
///
/// In Go's words.
pub fn atoi(text: &str) -> Result<i64, NumberError> {
    signed("Atoi", text, 64)
}

/// A signed number of `bits` bits, as Go's `strconv.ParseInt(text, 10, bits)`.
///
/// # Errors
///
/// In Go's words.
pub fn parse_int(text: &str, bits: u32) -> Result<i64, NumberError> {
    signed("ParseInt", text, bits)
}

/// An unsigned number of `bits` bits, as Go's `strconv.ParseUint(text, 10,
/// bits)`: no sign.
///
/// # Errors
///
/// In Go's words.
pub fn parse_uint(text: &str, bits: u32) -> Result<u64, NumberError> {
    unsigned(text)
        .and_then(|value| match value {
            Some(value) if bits >= 64 || value < 1 << bits => Ok(value),
            _ => Err(RANGE),
        })
        .map_err(|reason| error("ParseUint", text, reason))
}

/// A truth value, as Go's `strconv.ParseBool`.
///
/// # Errors
///
/// In Go's words.
pub fn parse_bool(text: &str) -> Result<bool, NumberError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(error("ParseBool", text, SYNTAX)),
    }
}

/// A text in double quotes, as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            '\0'..='\u{7f}' => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if !c.is_control() && !c.is_whitespace() => out.push(c),
            c if u32::from(c) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// A text in double quotes, as Go's `time` package prints it: all that is not
/// plain ASCII byte by byte.
pub(crate) fn quote_bytes(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=0x7f => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

fn signed(function: &'static str, text: &str, bits: u32) -> Result<i64, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let limit = 1_i128 << (bits.clamp(1, 64) - 1);
    unsigned(digits)
        .and_then(|value| {
            let value = value.map(i128::from).ok_or(RANGE)?;
            let value = if negative { -value } else { value };
            if value < -limit || value >= limit {
                return Err(RANGE);
            }
            i64::try_from(value).map_err(|_| RANGE)
        })
        .map_err(|reason| error(function, text, reason))
}

/// The number that `digits` are; `None` when it has more than 64 bits.
fn unsigned(digits: &str) -> Result<Option<u64>, &'static str> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SYNTAX);
    }
    Ok(digits.parse().ok())
}

fn error(function: &'static str, text: &str, reason: &'static str) -> NumberError {
    NumberError {
        function,
        text: quote(text),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(atoi("-12"), Ok(-12));
        assert_eq!(atoi("+007"), Ok(7));
        assert_eq!(atoi("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(parse_int("-32768", 16), Ok(-32768));
        assert_eq!(parse_uint("65535", 16), Ok(65535));
        assert_eq!(parse_uint("18446744073709551615", 64), Ok(u64::MAX));
        assert_eq!(parse_bool("True"), Ok(true));
    }

    #[test]
    fn errors() {
        let cases = [
            (
                atoi("").unwrap_err(),
                r#"strconv.Atoi: parsing "": invalid syntax"#,
            ),
            (
                atoi("-").unwrap_err(),
                r#"strconv.Atoi: parsing "-": invalid syntax"#,
            ),
            (
                atoi("1x").unwrap_err(),
                r#"strconv.Atoi: parsing "1x": invalid syntax"#,
            ),
            (
                atoi("1_0").unwrap_err(),
                r#"strconv.Atoi: parsing "1_0": invalid syntax"#,
            ),
            (
                atoi("9223372036854775808").unwrap_err(),
                r#"strconv.Atoi: parsing "9223372036854775808": value out of range"#,
            ),
            (
                parse_int("128", 8).unwrap_err(),
                r#"strconv.ParseInt: parsing "128": value out of range"#,
            ),
            (
                parse_uint("-1", 16).unwrap_err(),
                r#"strconv.ParseUint: parsing "-1": invalid syntax"#,
            ),
            (
                parse_uint("65536", 16).unwrap_err(),
                r#"strconv.ParseUint: parsing "65536": value out of range"#,
            ),
            (
                parse_bool("yes").unwrap_err(),
                r#"strconv.ParseBool: parsing "yes": invalid syntax"#,
            ),
        ];
        for (error, want) in cases {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn quoting() {
        assert_eq!(quote("a\"\\\n\u{1}é\u{7f}"), r#""a\"\\\n\x01é\x7f""#);
        assert_eq!(quote("\u{a0}\u{2028}"), r#""\u00a0\u2028""#);
    }
}
