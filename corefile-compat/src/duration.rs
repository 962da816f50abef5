//! Durations as Corefiles spell them: Go's.

use std::{fmt, time};

use thiserror::Error;

use crate::number::{self, quote_bytes};

/// A signed time span of up to 292 years, in nanoseconds, as Go has it.
///
/// What is negative is for the plugin to refuse, in its own words;
/// [`to_std`](Self::to_std) gives the unsigned kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(i64);

/// Why a text is no duration, in the words of Go's `time` package. Each has the
/// quoted text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not a sequence of numbers and units, or too long a time.
    #[error("time: invalid duration {0}")]
    Invalid(String),
    /// A number with nothing after it.
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    /// A unit that Go does not have.
    #[error("time: unknown unit {0} in duration {1}")]
    UnknownUnit(String, String),
}

/// Why an argument is no duration, in the words of CoreDNS's `durations`
/// package.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("failed to parse duration '{0}'")]
pub struct ArgError(String);

/// The largest magnitude of a duration.
const LIMIT: u64 = 1 << 63;

/// Parses `1h30m`, `500ms`, `-1.5s`, `0`: numbers with the units `ns`, `us`,
/// `µs`, `ms`, `s`, `m` and `h`. As Go's `time.ParseDuration`.
///
/// # Errors
///
/// With Go's words, see [`DurationError`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(quote_bytes(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration(0));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let whole = leading_int(whole).ok_or_else(invalid)?;
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(quote_bytes(text)));
        }
        let nanos = unit_nanos(unit)
            .ok_or_else(|| DurationError::UnknownUnit(quote_bytes(unit), quote_bytes(text)))?;
        let mut value = whole
            .checked_mul(nanos)
            .filter(|&value| value <= LIMIT)
            .ok_or_else(invalid)?;
        let (fraction, scale) = leading_fraction(fraction);
        if fraction > 0 {
            // In floating point, so that fractions of hours are exact.
            value += (fraction as f64 * (nanos as f64 / scale)) as u64;
            if value > LIMIT {
                return Err(invalid());
            }
        }
        total = total
            .checked_add(value)
            .filter(|&total| total <= LIMIT)
            .ok_or_else(invalid)?;
        rest = after;
    }
    if negative {
        // -2^63 is a duration, 2^63 is not.
        return Ok(Duration((total as i64).wrapping_neg()));
    }
    i64::try_from(total).map(Duration).map_err(|_| invalid())
}

/// [`parse`], with a bare integer taken as seconds. As CoreDNS's
/// `durations.NewDurationFromArg`.
///
/// # Errors
///
/// `failed to parse duration 'X'`, X being the argument with the unit that it
/// was given.
pub fn parse_arg(arg: &str) -> Result<Duration, ArgError> {
    let text = match number::atoi(arg) {
        Ok(_) => format!("{arg}s"),
        Err(_) => arg.to_owned(),
    };
    parse(&text).map_err(|_| ArgError(text))
}

impl Duration {
    /// That many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// That many seconds.
    pub const fn from_secs(seconds: i32) -> Self {
        Self(seconds as i64 * 1_000_000_000)
    }

    /// In nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whether it is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The unsigned kind; `None` below zero.
    pub fn to_std(self) -> Option<time::Duration> {
        u64::try_from(self.0).ok().map(time::Duration::from_nanos)
    }
}

/// As Go prints it: `1h0m0s`, `1.5s`, `300ms`, `0s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", Decimal(nanos, 3)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", Decimal(nanos, 6)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", Decimal(nanos % 60_000_000_000, 9))
            }
        }
    }
}

/// A number with so many of its digits behind the point, zeros left out.
struct Decimal(u64, u32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10_u64.pow(self.1);
        let digits = format!("{:0width$}", self.0 % scale, width = self.1 as usize);
        let digits = digits.trim_end_matches('0');
        write!(f, "{}", self.0 / scale)?;
        if digits.is_empty() {
            return Ok(());
        }
        write!(f, ".{digits}")
    }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The number that `digits` are; `None` above the limit.
fn leading_int(digits: &str) -> Option<u64> {
    digits.bytes().try_fold(0_u64, |value, digit| {
        value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))
            .filter(|&value| value <= LIMIT)
    })
}

/// The number that `digits` behind a point are, and what to divide it by.
/// Digits too many to count don't.
fn leading_fraction(digits: &str) -> (u64, f64) {
    let (mut value, mut scale) = (0_u64, 1.0);
    for digit in digits.bytes() {
        if value > (LIMIT - 1) / 10 {
            break;
        }
        let next = value * 10 + u64::from(digit - b'0');
        if next > LIMIT {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale)
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid() {
        const S: i64 = 1_000_000_000;
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("5s", 5 * S),
            ("+5s", 5 * S),
            ("-5s", -5 * S),
            ("5.s", 5 * S),
            (".5s", S / 2),
            ("5.6s", 5 * S + 600_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("13ms", 13_000_000),
            ("1h2m3s", 3723 * S),
            ("10.5s4m", 250 * S + S / 2),
            ("0.3333333333333333333h", 20 * 60 * S),
            ("0.100000000000000000000h", 6 * 60 * S),
            (
                "0.830103483285477580700h",
                49 * 60 * S + 48 * S + 372_539_827,
            ),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("9223372036s854ms775us807ns", i64::MAX),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text), Ok(Duration(want)), "{text}");
        }
    }

    #[test]
    fn invalid() {
        let cases = [
            ("", r#"time: invalid duration """#),
            ("-", r#"time: invalid duration "-""#),
            ("s", r#"time: invalid duration "s""#),
            (".", r#"time: invalid duration ".""#),
            (".s", r#"time: invalid duration ".s""#),
            ("+.s", r#"time: invalid duration "+.s""#),
            ("--1s", r#"time: invalid duration "--1s""#),
            ("3", r#"time: missing unit in duration "3""#),
            (
                "3000000000000000000000",
                r#"time: invalid duration "3000000000000000000000""#,
            ),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("1s 2s", r#"time: unknown unit "s " in duration "1s 2s""#),
            ("1\"s", r#"time: unknown unit "\"s" in duration "1\"s""#),
            (
                "1é",
                r#"time: unknown unit "\xc3\xa9" in duration "1\xc3\xa9""#,
            ),
            ("1\t", r#"time: unknown unit "\x09" in duration "1\x09""#),
            (
                "9223372036854775808ns",
                r#"time: invalid duration "9223372036854775808ns""#,
            ),
            (
                "9223372036854775.808us",
                r#"time: invalid duration "9223372036854775.808us""#,
            ),
            ("3000000h", r#"time: invalid duration "3000000h""#),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn arguments() {
        assert_eq!(parse_arg("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_arg("-1"), Ok(Duration::from_secs(-1)));
        assert_eq!(parse_arg("1m"), Ok(Duration::from_secs(60)));
        for (arg, want) in [
            ("", "failed to parse duration ''"),
            ("1x", "failed to parse duration '1x'"),
            ("9223372037", "failed to parse duration '9223372037s'"),
        ] {
            assert_eq!(parse_arg(arg).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn printed() {
        for text in [
            "0s",
            "1ns",
            "1.1µs",
            "2.2ms",
            "3.3s",
            "4m5s",
            "4m5.001s",
            "5h6m7.001s",
            "8m0.000000001s",
            "2562047h47m16.854775807s",
            "-2562047h47m16.854775808s",
            "30s",
            "1h0m0s",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }
}
