//! The parameters of SVCB and HTTPS records (RFC 9460 section 2.1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::next_octet;
use super::rdata::decode_base64;
use super::record::{ParseError, Words};
use super::scan::Kind;
use super::{Octet, unescape};

/// The registered keys by number.
const KEYS: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

/// Reads the parameters up to the end of the line and appends them in the order of their keys.
pub(super) fn parse(words: &mut Words, out: &mut Vec<u8>) -> Result<(), ParseError> {
    let mut parameters = BTreeMap::new();
    // A value in quotes must be followed by a blank.
    let mut separated = true;
    loop {
        let mut token = words.next();
        let (key, mut value) = match token.kind {
            Kind::Newline | Kind::End => break,
            Kind::Blank => {
                separated = true;
                continue;
            }
            Kind::Quote => {
                return Err(ParseError::new(
                    "SVCB key can't contain double quotes",
                    &token,
                ));
            }
            Kind::Text if !separated => {
                return Err(ParseError::new("bad SVCB value quotation", &token));
            }
            Kind::Text => match token.text.split_once('=') {
                Some(("", _)) => return Err(ParseError::new("bad SVCB key", &token)),
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (token.text.clone(), String::new()),
            },
            _ => return Err(ParseError::new("bad SVCB values", &token)),
        };
        if value.is_empty() && token.text.ends_with('=') && words.peek().kind == Kind::Quote {
            words.next();
            separated = false;
            token = words.next();
            match token.kind {
                Kind::Quote => {}
                Kind::Text => {
                    value.clone_from(&token.text);
                    token = words.next();
                    if token.kind != Kind::Quote {
                        return Err(ParseError::new("SVCB unterminated value", &token));
                    }
                }
                _ => return Err(ParseError::new("bad SVCB value", &token)),
            }
        }
        let number = key_number(&key).ok_or_else(|| ParseError::new("bad SVCB key", &token))?;
        let packed = pack(number, &value).map_err(|message| ParseError::new(message, &token))?;
        if parameters.insert(number, packed).is_some() {
            return Err(ParseError::new(
                "repeated SVCB keys are not allowed",
                &token,
            ));
        }
    }
    for (key, value) in parameters {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(&value);
    }
    Ok(())
}

fn key_number(key: &str) -> Option<u16> {
    if let Some(at) = KEYS.iter().position(|known| *known == key) {
        return u16::try_from(at).ok();
    }
    let digits = key.strip_prefix("key")?;
    let plain = digits.bytes().all(|octet| octet.is_ascii_digit()) && !digits.starts_with('0');
    let number: u16 = digits.parse().ok().filter(|_| plain)?;
    (usize::from(number) >= KEYS.len() && number != u16::MAX).then_some(number)
}

fn pack(key: u16, value: &str) -> Result<Vec<u8>, &'static str> {
    match key {
        0 => {
            let keys = value.split(',').filter(|_| !value.is_empty());
            let mut keys: Vec<u16> = keys
                .map(|key| key_number(key).unwrap_or(u16::MAX))
                .collect();
            keys.sort_unstable();
            Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        1 => pack_alpn(value),
        2 if !value.is_empty() => Err("bad svcbnodefaultalpn: no-default-alpn must have no value"),
        8 if !value.is_empty() => Err("bad svcbotthp: svcbotthp must have no value"),
        2 | 8 => Ok(Vec::new()),
        3 => {
            let plain = value.bytes().all(|octet| octet.is_ascii_digit());
            let port = value.parse::<u16>().ok().filter(|_| plain);
            let port = port.ok_or("bad svcbport: port out of range")?;
            Ok(port.to_be_bytes().to_vec())
        }
        4 if value.is_empty() => Err("bad svcbipv4hint: empty hint"),
        4 if value.contains(':') => Err("bad svcbipv4hint: expected ipv4, got ipv6"),
        4 => pack_hints(value, |address| match address {
            IpAddr::V4(address) => Ok(address.octets().to_vec()),
            IpAddr::V6(_) => Err("bad svcbipv4hint: bad ip"),
        })
        .map_err(|error| error.unwrap_or("bad svcbipv4hint: bad ip")),
        5 => decode_base64(value).ok_or("bad svcbech: bad base64 ech"),
        6 if value.is_empty() => Err("bad svcbipv6hint: empty hint"),
        6 => pack_hints(value, |address| match address {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
                Ok(address.octets().to_vec())
            }
            _ => Err("bad svcbipv6hint: expected ipv6, got ipv4-mapped-ipv6"),
        })
        .map_err(|error| error.unwrap_or("bad svcbipv6hint: bad ip")),
        _ => unescaped(value)
            .ok_or("bad svcblocal: svcb private/experimental key escape unterminated"),
    }
}

fn pack_hints(
    value: &str,
    octets: impl Fn(IpAddr) -> Result<Vec<u8>, &'static str>,
) -> Result<Vec<u8>, Option<&'static str>> {
    let mut packed = Vec::new();
    for hint in value.strip_suffix(',').unwrap_or(value).split(',') {
        let address = hint.parse().map_err(|_| None)?;
        packed.extend(octets(address).map_err(Some)?);
    }
    Ok(packed)
}

fn pack_alpn(value: &str) -> Result<Vec<u8>, &'static str> {
    let mut packed = Vec::new();
    if value.is_empty() {
        return Ok(packed);
    }
    let mut id = Vec::new();
    let mut rest = value.as_bytes();
    let mut finish = |id: &mut Vec<u8>| {
        let len = u8::try_from(id.len()).map_err(|_| "bad svcbalpn: alpn-id too long")?;
        if len == 0 {
            return Err("bad svcbalpn: empty protocol identifier");
        }
        packed.push(len);
        packed.append(id);
        Ok(())
    };
    // A list within a string: escapes of the string come off first, then those of the list.
    let next = |rest: &mut &[u8]| -> Result<Option<u8>, &'static str> {
        let Some((octet, after)) = next_octet(rest).ok_or("bad svcbalpn: unterminated escape")?
        else {
            return Ok(None);
        };
        let advanced = rest.get(rest.len() - after.len()..).unwrap_or_default();
        *rest = advanced;
        Ok(Some(match octet {
            Octet::Dot => b'.',
            Octet::Plain(octet) => octet,
        }))
    };
    while let Some(octet) = next(&mut rest)? {
        match octet {
            b',' => finish(&mut id)?,
            b'\\' => match next(&mut rest)? {
                Some(escaped @ (b'\\' | b',')) => id.push(escaped),
                Some(_) => {
                    return Err(
                        "bad svcbalpn: bad escaped character decoding comma-separated list",
                    );
                }
                None => {
                    return Err("bad svcbalpn: unterminated escape decoding comma-separated list");
                }
            },
            other => id.push(other),
        }
    }
    finish(&mut id)?;
    Ok(packed)
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        let mut octet = *octet;
        if octet == b'\\' {
            (octet, rest) = unescape(rest)?;
        }
        out.push(octet);
    }
    Some(out)
}
