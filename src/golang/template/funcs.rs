//! The functions of Go's templates, and CoreDNS's own `parseInt`.

use std::cmp::Ordering;
use std::fmt::Write;

use crate::golang::fmt::{print, print_all, print_line, printf};
use crate::golang::strconv::{is_print, parse_uint};
use crate::golang::value::{Signature, Type, Value};

/// What a function takes; `None` where there is no such function.
pub(super) fn signature(name: &str) -> Option<Signature> {
    use Type::{Any, Int, Str};
    let (fixed, variadic): (&'static [Type], _) = match name {
        "and" | "or" | "call" | "index" | "slice" | "eq" => (&[Any], Some(Any)),
        "html" | "js" | "urlquery" | "print" | "println" => (&[], Some(Any)),
        "printf" => (&[Str], Some(Any)),
        "len" | "not" => (&[Any], None),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[Any, Any], None),
        "parseInt" => (&[Str, Int, Int], None),
        _ => return None,
    };
    Some(Signature { fixed, variadic })
}

/// Calls a function with arguments of the right number and types. `callee` is
/// how the first of them is written.
pub(super) fn call(name: &str, args: &[Value], callee: Option<&str>) -> Result<Value, String> {
    match (name, args) {
        ("index", [item, keys @ ..]) => index(item, keys),
        ("slice", [item, bounds @ ..]) => slice(item, bounds),
        ("len", [item]) => len(item),
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("eq", [first, others @ ..]) => equals_any(first, others).map(Value::Bool),
        ("ne", [a, b]) => Ok(Value::Bool(!equals(a, b)?)),
        ("lt", [a, b]) => Ok(Value::Bool(order(a, b)? == Some(Ordering::Less))),
        ("le", [a, b]) => Ok(Value::Bool(order(a, b)?.is_some_and(Ordering::is_le))),
        // As in Go, `gt` is what `le` is not, and `ge` what `lt` is not.
        ("gt", [a, b]) => Ok(Value::Bool(!order(a, b)?.is_some_and(Ordering::is_le))),
        ("ge", [a, b]) => Ok(Value::Bool(order(a, b)? != Some(Ordering::Less))),
        ("print", args) => Ok(Value::str(print_all(args))),
        ("println", args) => Ok(Value::str(print_line(args))),
        ("printf", [Value::Str(format), args @ ..]) => Ok(Value::str(printf(format, args))),
        ("html", args) => Ok(Value::str(escape_html(&text_of(args)))),
        ("js", args) => Ok(Value::str(escape_js(&text_of(args)))),
        ("urlquery", args) => Ok(Value::str(escape_query(&text_of(args)))),
        ("call", [Value::None, ..]) => Err("call of nil".into()),
        ("call", [callee_value, ..]) => Err(format!(
            "non-function {} of type {}",
            callee.unwrap_or_default(),
            callee_value.type_name()
        )),
        ("parseInt", [Value::Str(text), Value::Int(base, _), Value::Int(bits, _)]) => {
            match parse_uint(text, *base, *bits) {
                Ok(number) => Ok(Value::Uint(number, "uint64")),
                Err(error) => Err(error.to_string()),
            }
        }
        _ => Err(format!("{name} cannot be called so")),
    }
}

fn text_of(args: &[Value]) -> String {
    match args {
        [Value::Str(text)] => text.to_string(),
        args => print_all(args),
    }
}

/// A position within `len` elements, the end included.
fn position(index: &Value, len: usize) -> Result<usize, String> {
    let at = match index {
        Value::Int(at, _) => *at,
        Value::Uint(at, _) => *at as i64,
        Value::None => return Err("cannot index slice/array with nil".into()),
        other => {
            return Err(format!(
                "cannot index slice/array with type {}",
                other.type_name()
            ));
        }
    };
    let within = usize::try_from(at).ok().filter(|at| *at <= len);
    within.ok_or_else(|| format!("index out of range: {at}"))
}

fn index(item: &Value, keys: &[Value]) -> Result<Value, String> {
    if let Value::None = item {
        return Err("index of untyped nil".into());
    }
    let mut item = item.clone();
    for key in keys {
        let beyond = |at: usize, len: usize| {
            format!("reflect: slice index out of range: {at} with length {len}")
        };
        item = match &item {
            Value::Null(_) | Value::None => return Err("index of nil pointer".into()),
            Value::List(items, _) => {
                let at = position(key, items.len())?;
                let found = items.get(at).cloned();
                // One behind the end passes Go's own check and fails in reflect.
                found.ok_or_else(|| match at == items.len() {
                    true => "reflect: slice index out of range".to_owned(),
                    false => beyond(at, items.len()),
                })?
            }
            Value::Str(text) => {
                let at = position(key, text.len())?;
                let octet = text.as_bytes().get(at);
                let octet = octet.ok_or("reflect: string index out of range")?;
                Value::Uint((*octet).into(), "uint8")
            }
            Value::Map(map) => match key {
                Value::Str(key) => Value::str(map.get(&**key).map_or("", String::as_str)),
                Value::None => return Err("value is nil; should be of type string".into()),
                other => {
                    return Err(format!(
                        "value has type {}; should be string",
                        other.type_name()
                    ));
                }
            },
            other => {
                return Err(format!(
                    "can't index item of type {}",
                    other.type_name().trim_start_matches('*')
                ));
            }
        };
    }
    Ok(item)
}

fn slice(item: &Value, bounds: &[Value]) -> Result<Value, String> {
    let len = match item {
        Value::None => return Err("slice of untyped nil".into()),
        Value::Null(_) => return Err("slice of nil pointer".into()),
        _ if bounds.len() > 3 => return Err(format!("too many slice indexes: {}", bounds.len())),
        Value::Str(_) if bounds.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::Str(text) => text.len(),
        Value::List(items, _) => items.len(),
        other => {
            return Err(format!(
                "can't slice item of type {}",
                other.type_name().trim_start_matches('*')
            ));
        }
    };
    let mut places = [0, len, len];
    for (place, bound) in places.iter_mut().zip(bounds) {
        *place = position(bound, len)?;
    }
    let [from, to, end] = places;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > end {
        return Err(format!("invalid slice index: {to} > {end}"));
    }
    Ok(match item {
        Value::Str(text) => {
            let octets = text.as_bytes().get(from..to).unwrap_or_default();
            Value::str(&*String::from_utf8_lossy(octets))
        }
        Value::List(items, name) => {
            let part: Vec<Value> = items.get(from..to).unwrap_or_default().to_vec();
            Value::List(part.into(), name)
        }
        other => other.clone(),
    })
}

fn len(item: &Value) -> Result<Value, String> {
    let len = match item {
        Value::Str(text) => text.len(),
        Value::List(items, _) => items.len(),
        Value::Map(map) => map.len(),
        Value::Null(_) => return Err("len of nil pointer".into()),
        Value::None => return Err("reflect: call of reflect.Value.Type on zero Value".into()),
        other => {
            return Err(format!(
                "len of type {}",
                other.type_name().trim_start_matches('*')
            ));
        }
    };
    Ok(Value::int(len as i64))
}

fn equals_any(first: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if equals(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equals(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a, _), Value::Int(b, _)) => a == b,
        (Value::Uint(a, _), Value::Uint(b, _)) => a == b,
        (Value::Int(a, _), Value::Uint(b, _)) | (Value::Uint(b, _), Value::Int(a, _)) => {
            u64::try_from(*a).is_ok_and(|a| a == *b)
        }
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::None | Value::Null(_), Value::None | Value::Null(_)) => true,
        (Value::None | Value::Null(_), _) | (_, Value::None | Value::Null(_)) => false,
        (Value::Object(a), Value::Object(b)) => std::rc::Rc::ptr_eq(a, b),
        (Value::List(..), Value::List(..)) | (Value::Map(_), Value::Map(_)) => {
            return Err(format!(
                "non-comparable type {}: {}",
                print(b),
                b.type_name()
            ));
        }
        _ => {
            return Err(format!(
                "incompatible types for comparison: {} and {}",
                a.type_name(),
                b.type_name()
            ));
        }
    })
}

fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    const BAD: &str = "invalid type for comparison";
    let basic = |value: &Value| {
        matches!(
            value,
            Value::Bool(_)
                | Value::Int(..)
                | Value::Uint(..)
                | Value::Float(_)
                | Value::Complex(..)
                | Value::Str(_)
        )
    };
    if !basic(a) || !basic(b) {
        return Err(BAD.into());
    }
    Ok(match (a, b) {
        (Value::Int(a, _), Value::Int(b, _)) => Some(a.cmp(b)),
        (Value::Uint(a, _), Value::Uint(b, _)) => Some(a.cmp(b)),
        (Value::Int(a, _), Value::Uint(b, _)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a, _), Value::Int(b, _)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) | (Value::Complex(..), Value::Complex(..)) => {
            return Err(BAD.into());
        }
        _ => {
            return Err(format!(
                "incompatible types for comparison: {} and {}",
                a.type_name(),
                b.type_name()
            ));
        }
    })
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{FFFD}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '\'' => out.push_str(r"\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..='\x1F' => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c if c.is_ascii() || is_print(c) => out.push(c),
            c => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
        }
    }
    out
}

fn escape_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(octet));
            }
            _ => {
                let _ = write!(out, "%{octet:02X}");
            }
        }
    }
    out
}
