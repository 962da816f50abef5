//! Go's `fmt`: how values print.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use super::strconv::{quote, quote_ascii, quote_char};
use super::value::Value;

/// `fmt.Sprint` of one value, and what a template writes for it.
pub fn print(value: &Value) -> String {
    match value {
        Value::None => "<no value>".into(),
        value => plain(value, Depth::Written),
    }
}

/// `fmt.Sprint`: a blank between two operands of which neither is a string.
pub fn print_all(values: &[Value]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for (at, value) in values.iter().enumerate() {
        let text = matches!(value, Value::Str(_));
        if at > 0 && !text && !after_text {
            out.push(' ');
        }
        after_text = text;
        out.push_str(&plain(value, Depth::Operand));
    }
    out
}

/// `fmt.Sprintln`: blanks between all operands, and a newline.
pub fn print_line(values: &[Value]) -> String {
    let shown: Vec<String> = values
        .iter()
        .map(|value| plain(value, Depth::Operand))
        .collect();
    format!("{}\n", shown.join(" "))
}

/// Where a value is printed, as far as it shows.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Depth {
    /// By a template, which looks through pointers.
    Written,
    /// By a function, as an operand.
    Operand,
    /// As part of another value.
    Inner,
}

/// `%v`.
fn plain(value: &Value, depth: Depth) -> String {
    match value {
        Value::None | Value::Null(_) => "<nil>".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value, _) => value.to_string(),
        Value::Uint(value, _) => value.to_string(),
        Value::Float(value) => float(*value, 'g', None),
        Value::Complex(real, imaginary) => complex(*real, *imaginary),
        Value::Str(text) => text.to_string(),
        Value::List(items, _) => {
            let shown: Vec<String> = items.iter().map(|item| plain(item, Depth::Inner)).collect();
            format!("[{}]", shown.join(" "))
        }
        Value::Map(map) => {
            let shown: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect();
            format!("map[{}]", shown.join(" "))
        }
        Value::Object(object) => {
            let pointer = object.type_name().starts_with('*');
            let text = object.text().filter(|_| pointer || depth != Depth::Inner);
            text.unwrap_or_else(|| {
                let fields = object.fields();
                let shown: Vec<String> = fields
                    .iter()
                    .map(|(_, value)| plain(value, Depth::Inner))
                    .collect();
                let star = if pointer && depth == Depth::Operand {
                    "&"
                } else {
                    ""
                };
                format!("{star}{{{}}}", shown.join(" "))
            })
        }
    }
}

fn complex(real: f64, imaginary: f64) -> String {
    let sign = if imaginary.is_sign_negative() {
        ""
    } else {
        "+"
    };
    format!(
        "({}{sign}{}i)",
        float(real, 'g', None),
        float(imaginary, 'g', None)
    )
}

/// A float in the form `e`, `f` or `g`; without a precision with as many
/// digits as tell it from its neighbours.
fn float(value: f64, form: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = |precision: Option<usize>| {
        let text = match precision {
            Some(precision) => format!("{value:.precision$e}"),
            None => format!("{value:e}"),
        };
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        format!("{mantissa}e{sign}{digits:0>2}")
    };
    match (form, precision) {
        ('e', precision) => scientific(precision),
        ('f', Some(precision)) => format!("{value:.precision$}"),
        ('f', None) => format!("{value}"),
        (_, precision) => {
            let digits = precision.map(|precision| precision.max(1));
            let text = match digits {
                Some(digits) => format!("{value:.*e}", digits - 1),
                None => format!("{value:e}"),
            };
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i64 = exponent.parse().unwrap_or(0);
            // Where nobody says how many digits, Go decides as if they were six.
            let limit = digits.map_or(6, |digits| digits as i64);
            if exponent < -4 || exponent >= limit {
                let mut short = mantissa.to_owned();
                if digits.is_some() && short.contains('.') {
                    short.truncate(short.trim_end_matches('0').trim_end_matches('.').len());
                }
                let sign = if exponent < 0 { '-' } else { '+' };
                return format!("{short}e{sign}{:02}", exponent.abs());
            }
            match digits {
                None => format!("{value}"),
                Some(digits) => {
                    let places = (digits as i64 - 1 - exponent).max(0) as usize;
                    let text = format!("{value:.places$}");
                    match text.contains('.') {
                        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                        false => text,
                    }
                }
            }
        }
    }
}

/// One verb with what stands between it and its percent sign.
#[derive(Clone, Copy, Default)]
struct Verb {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Widths and precisions beyond this are refused, as in Go.
const MAX_NUMBER: usize = 1_000_000;

/// `fmt.Sprintf`.
pub fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    let mut reordered = false;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '+' => verb.plus = true,
                '-' => verb.minus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                '0' => verb.zero = true,
                _ => break,
            }
            chars.next();
        }
        let mut good_index = true;
        let mut index = |chars: &mut Peekable<Chars<'_>>, next: &mut usize| {
            if chars.peek() != Some(&'[') {
                return;
            }
            reordered = true;
            chars.next();
            let mut digits = String::new();
            let mut closed = false;
            for c in chars.by_ref() {
                if c == ']' {
                    closed = true;
                    break;
                }
                digits.push(c);
            }
            match digits.parse::<usize>() {
                Ok(number) if closed && (1..=args.len()).contains(&number) => *next = number - 1,
                _ => good_index = false,
            }
        };
        index(&mut chars, &mut next);
        if chars.peek() == Some(&'*') {
            chars.next();
            match star(args, &mut next) {
                Some(width) => {
                    verb.minus |= width < 0;
                    verb.width = Some(width.unsigned_abs() as usize);
                }
                None => out.push_str("%!(BADWIDTH)"),
            }
        } else {
            verb.width = number(&mut chars);
        }
        if chars.peek() == Some(&'.') {
            chars.next();
            index(&mut chars, &mut next);
            if chars.peek() == Some(&'*') {
                chars.next();
                verb.precision = star(args, &mut next).and_then(|digits| digits.try_into().ok());
                if verb.precision.is_none() {
                    out.push_str("%!(BADPREC)");
                }
            } else {
                verb.precision = Some(number(&mut chars).unwrap_or(0));
            }
        }
        index(&mut chars, &mut next);
        let Some(letter) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if letter == '%' {
            out.push('%');
        } else if !good_index {
            let _ = write!(out, "%!{letter}(BADINDEX)");
        } else if let Some(value) = args.get(next) {
            next += 1;
            out.push_str(&verb.format(letter, value));
        } else {
            let _ = write!(out, "%!{letter}(MISSING)");
        }
    }
    if !reordered && next < args.len() {
        let extra: Vec<String> = args
            .iter()
            .skip(next)
            .map(|value| match value {
                Value::None => "<nil>".to_owned(),
                value => format!("{}={}", value.type_name(), plain(value, Depth::Operand)),
            })
            .collect();
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

/// A number, if there is one; one that is too large takes the rest of the format with it.
fn number(chars: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let mut value: Option<usize> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let sum = value.unwrap_or(0) * 10 + digit as usize;
        if sum > MAX_NUMBER {
            chars.by_ref().for_each(drop);
            return None;
        }
        value = Some(sum);
    }
    value
}

fn star(args: &[Value], next: &mut usize) -> Option<i64> {
    let value = match args.get(*next)? {
        Value::Int(value, _) => Some(*value),
        Value::Uint(value, _) => i64::try_from(*value).ok(),
        _ => None,
    };
    *next += 1;
    value.filter(|value| value.unsigned_abs() as usize <= MAX_NUMBER)
}

impl Verb {
    fn format(self, letter: char, value: &Value) -> String {
        match (letter, value) {
            ('T', value) => {
                let name = match value {
                    Value::None => "<nil>",
                    value => value.type_name(),
                };
                self.pad(name.to_owned())
            }
            ('v', Value::None | Value::Null(_)) => self.pad("<nil>".into()),
            (_, Value::None) => format!("%!{letter}(<nil>)"),
            (_, Value::List(items, _)) => {
                let shown: Vec<String> =
                    items.iter().map(|item| self.format(letter, item)).collect();
                format!("[{}]", shown.join(" "))
            }
            (_, Value::Map(map)) => {
                let shown: Vec<String> = map
                    .iter()
                    .map(|(key, value)| {
                        let (key, value) = (Value::str(&**key), Value::str(&**value));
                        format!(
                            "{}:{}",
                            self.format(letter, &key),
                            self.format(letter, &value)
                        )
                    })
                    .collect();
                format!("map[{}]", shown.join(" "))
            }
            ('v' | 's', Value::Object(object)) => match object.text() {
                Some(text) => self.format('s', &Value::str(text)),
                None => {
                    let fields = object.fields();
                    let shown: Vec<String> = fields
                        .iter()
                        .map(|(_, value)| self.format(letter, value))
                        .collect();
                    let star = if object.type_name().starts_with('*') {
                        "&"
                    } else {
                        ""
                    };
                    format!("{star}{{{}}}", shown.join(" "))
                }
            },
            ('t' | 'v', Value::Bool(value)) => self.pad(value.to_string()),
            (_, Value::Int(number, _)) => self
                .integer(letter, *number < 0, number.unsigned_abs())
                .unwrap_or_else(|| bad(letter, value)),
            (_, Value::Uint(number, _)) => self
                .integer(letter, false, *number)
                .unwrap_or_else(|| bad(letter, value)),
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'v', Value::Float(number)) => {
                let precision = match (letter, self.precision) {
                    ('g' | 'G' | 'v', precision) => precision,
                    (_, precision) => Some(precision.unwrap_or(6)),
                };
                let form = match letter {
                    'v' => 'g',
                    other => other.to_ascii_lowercase(),
                };
                let mut text = float(*number, form, precision);
                if letter.is_ascii_uppercase() {
                    text.make_ascii_uppercase();
                }
                self.pad_number(text)
            }
            ('v', Value::Complex(..)) => self.pad(plain(value, Depth::Operand)),
            (_, Value::Str(text)) => self
                .text(letter, text)
                .unwrap_or_else(|| bad(letter, value)),
            _ => bad(letter, value),
        }
    }

    fn text(self, letter: char, text: &str) -> Option<String> {
        let cut: String = match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        };
        Some(match letter {
            's' => self.pad(cut),
            'v' if self.sharp => self.pad(quote(&cut)),
            'v' => self.pad(cut),
            'q' if self.sharp && !cut.contains('`') => self.pad(format!("`{cut}`")),
            'q' if self.plus => self.pad(quote_ascii(&cut)),
            'q' => self.pad(quote(&cut)),
            'x' | 'X' => {
                let octets = text.bytes().take(self.precision.unwrap_or(usize::MAX));
                let prefix = match (self.sharp, letter) {
                    (false, _) => "",
                    (true, 'x') => "0x",
                    (true, _) => "0X",
                };
                let mut out = String::new();
                for (at, octet) in octets.enumerate() {
                    if self.space && at > 0 {
                        out.push(' ');
                    }
                    if at == 0 || self.space {
                        out.push_str(prefix);
                    }
                    let _ = match letter {
                        'x' => write!(out, "{octet:02x}"),
                        _ => write!(out, "{octet:02X}"),
                    };
                }
                self.pad(out)
            }
            _ => return None,
        })
    }

    /// A number in a base or as a character; `None` for a verb of other types.
    fn integer(self, letter: char, negative: bool, value: u64) -> Option<String> {
        let (digits, prefix) = match letter {
            'd' | 'v' => (value.to_string(), ""),
            'b' => (format!("{value:b}"), "0b"),
            'o' => (format!("{value:o}"), "0"),
            'O' => (format!("{value:o}"), "0o"),
            'x' => (format!("{value:x}"), "0x"),
            'X' => (format!("{value:X}"), "0X"),
            'c' | 'q' | 'U' => {
                let c = u32::try_from(value)
                    .ok()
                    .filter(|_| !negative)
                    .and_then(char::from_u32);
                let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                return Some(self.pad(match letter {
                    'c' => c.to_string(),
                    'q' => quote_char(c),
                    _ if self.sharp => format!("U+{value:04X} '{c}'"),
                    _ => format!("U+{value:04X}"),
                }));
            }
            _ => return None,
        };
        let mut digits = digits;
        if let Some(precision) = self.precision {
            digits = match (precision, value) {
                (0, 0) => String::new(),
                _ => format!("{digits:0>precision$}"),
            };
        }
        let sign = match negative {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        let prefix = match self.sharp || letter == 'O' {
            true => prefix,
            false => "",
        };
        if self.zero && !self.minus && self.precision.is_none() {
            // Go counts the sign, but not the prefix, into the width.
            let width = self.width.unwrap_or(0).saturating_sub(sign.len());
            digits = format!("{digits:0>width$}");
        }
        Some(
            Self {
                zero: false,
                ..self
            }
            .pad(format!("{sign}{prefix}{digits}")),
        )
    }

    fn pad_number(self, text: String) -> String {
        let text = match self.plus && !text.starts_with(['-', '+']) {
            true => format!("+{text}"),
            false => text,
        };
        self.pad(text)
    }

    fn pad(self, text: String) -> String {
        let width = self.width.unwrap_or(0);
        let missing = width.saturating_sub(text.chars().count());
        match (self.minus, self.zero) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) => "0".repeat(missing) + &text,
            (false, false) => " ".repeat(missing) + &text,
        }
    }
}

/// A verb that does not fit the value.
fn bad(letter: char, value: &Value) -> String {
    format!(
        "%!{letter}({}={})",
        value.type_name(),
        plain(value, Depth::Operand)
    )
}
