//! The data of records as text, type by type.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::record::{ParseError, Words, absolute, decode_hex, parse_ttl, type_by_name, type_name};
use super::scan::{Kind, Token, numbered};
use super::{svcb, unescape};
use crate::wire::{NameBuf, rtype};

/// One field of a record's data and what errors call it.
#[derive(Clone, Copy)]
enum Field {
    U8(&'static str),
    U16(&'static str),
    U32(&'static str),
    /// Seconds or numbers with units.
    Period(&'static str),
    Name(&'static str),
    /// A DNSSEC algorithm by number or name.
    Algorithm(&'static str),
    /// A string without quotes.
    Word(&'static str),
    /// A string in quotes.
    Quoted(&'static str),
    /// Sixteen hexadecimal digits in four groups.
    NodeId(&'static str),
    V4(&'static str),
    /// The rest of the line, blanks left out.
    Hex(&'static str),
    Base64(&'static str),
    /// The rest of the line as strings.
    Strings(&'static str),
    /// The rest of the line as one string that goes without its length.
    Octets(&'static str),
    /// The rest of the line as names of types.
    Types(&'static str),
    Parameters,
}

impl Field {
    /// Whether it takes the rest of the line.
    fn is_last(self) -> bool {
        matches!(
            self,
            Self::Hex(_)
                | Self::Base64(_)
                | Self::Strings(_)
                | Self::Octets(_)
                | Self::Types(_)
                | Self::Parameters
        )
    }
}

/// The fields of a type; `None` where its data is only read in the form of RFC 3597.
fn fields(rtype: u16) -> Option<&'static [Field]> {
    use Field::{
        Algorithm, Base64, Hex, Name, NodeId, Octets, Parameters, Period, Quoted, Strings, Types,
        U8, U16, U32, V4, Word,
    };
    Some(match rtype {
        rtype::NS => &[Name("Ns")],
        rtype::CNAME | rtype::DNAME => &[Name("Target")],
        rtype::PTR | 23 => &[Name("Ptr")],
        rtype::MB => &[Name("Mb")],
        rtype::MG => &[Name("Mg")],
        rtype::MR => &[Name("Mr")],
        rtype::MD => &[Name("Md")],
        rtype::MF => &[Name("Mf")],
        rtype::MINFO => &[Name("Rmail"), Name("Email")],
        rtype::RP => &[Name("Mbox"), Name("Txt")],
        rtype::TALINK => &[Name("PreviousName"), Name("NextName")],
        rtype::MX => &[U16("Pref"), Name("Mx")],
        rtype::RT => &[U16("Preference"), Name("Host")],
        rtype::AFSDB => &[U16("Subtype"), Name("Hostname")],
        rtype::KX => &[U16("Pref"), Name("Exchanger")],
        rtype::LP => &[U16("Preference"), Name("Fqdn")],
        rtype::PX => &[U16("Preference"), Name("Map822"), Name("Mapx400")],
        rtype::SOA => &[
            Name("Ns"),
            Name("Mbox"),
            U32("zone parameter"),
            Period("zone parameter"),
            Period("zone parameter"),
            Period("zone parameter"),
            Period("zone parameter"),
        ],
        rtype::SRV => &[U16("Priority"), U16("Weight"), U16("Port"), Name("Target")],
        rtype::NAPTR => &[
            U16("Order"),
            U16("Preference"),
            Quoted("Flags"),
            Quoted("Service"),
            Quoted("Regexp"),
            Name("Replacement"),
        ],
        rtype::TXT | rtype::SPF | rtype::AVC => &[Strings("Txt")],
        rtype::NINFO => &[Strings("ZSData")],
        261 => &[Strings("Resinfo")],
        rtype::X25 => &[Word("PSDNAddress")],
        rtype::GPOS => &[Word("Longitude"), Word("Latitude"), Word("Altitude")],
        rtype::CAA => &[U8("Flag"), Word("Tag"), Octets("Value")],
        rtype::URI => &[U16("Priority"), U16("Weight"), Octets("Target")],
        rtype::DS | rtype::CDS | rtype::DLV | rtype::TA => &[
            U16("KeyTag"),
            Algorithm("Algorithm"),
            U8("DigestType"),
            Hex("Digest"),
        ],
        rtype::DNSKEY | rtype::CDNSKEY | rtype::KEY | rtype::RKEY => &[
            U16("Flags"),
            U8("Protocol"),
            U8("Algorithm"),
            Base64("PublicKey"),
        ],
        rtype::TLSA | rtype::SMIMEA => &[
            U8("Usage"),
            U8("Selector"),
            U8("MatchingType"),
            Hex("Certificate"),
        ],
        rtype::SSHFP => &[U8("Algorithm"), U8("Type"), Hex("Fingerprint")],
        rtype::ZONEMD => &[
            U32("Serial"),
            U8("Scheme"),
            U8("Hash Algorithm"),
            Hex("Digest"),
        ],
        rtype::OPENPGPKEY => &[Base64("PublicKey")],
        rtype::DHCID => &[Base64("Digest")],
        rtype::EID => &[Hex("Endpoint")],
        rtype::NIMLOC => &[Hex("Locator")],
        rtype::NSEC => &[Name("NextDomain"), Types("TypeBitMap")],
        rtype::CSYNC => &[U32("serial"), U16("flags"), Types("TypeBitMap")],
        rtype::UID => &[U32("Uid")],
        rtype::GID => &[U32("Gid")],
        rtype::NID | rtype::L64 => &[U16("Preference"), NodeId("NodeID/Locator64")],
        rtype::L32 => &[U16("Preference"), V4("Locator")],
        rtype::SVCB | rtype::HTTPS => &[U16("priority"), Name("Target"), Parameters],
        _ => return None,
    })
}

/// Reads the data of a record of this type; the blank in front has been read.
pub(super) fn parse(
    rtype: u16,
    words: &mut Words,
    origin: &NameBuf,
) -> Result<Vec<u8>, ParseError> {
    if words.peek().text == "\\#" {
        return unknown(words);
    }
    let mut out = Vec::new();
    match rtype {
        rtype::A | rtype::AAAA => address(rtype, words, &mut out)?,
        rtype::HINFO | rtype::ISDN => pair_of_strings(rtype, words, &mut out)?,
        _ => {
            let Some(fields) = fields(rtype) else {
                return unknown(words);
            };
            let mut reader = Reader {
                kind: type_name(rtype).unwrap_or_default(),
                words,
                origin,
                out: &mut out,
                last: None,
            };
            reader.read(fields)?;
        }
    }
    Ok(out)
}

/// `\# LENGTH HEX…` (RFC 3597 section 5).
fn unknown(words: &mut Words) -> Result<Vec<u8>, ParseError> {
    let mark = words.next();
    if mark.text != "\\#" {
        return Err(ParseError::new("bad RFC3597 Rdata", &mark));
    }
    words.next();
    let len = words.next();
    let octets: u16 =
        decimal(&len.text).ok_or_else(|| ParseError::new("bad RFC3597 Rdata ", &len))?;
    let bad = |at| ParseError::new("bad RFC3597 Rdata", at);
    let hex = rest_of_line(words, "bad RFC3597 Rdata")?;
    let data = decode_hex(&hex).map_err(|_| bad(&len))?;
    match data.len() == usize::from(octets) {
        true => Ok(data),
        false => Err(bad(&len)),
    }
}

fn address(rtype: u16, words: &mut Words, out: &mut Vec<u8>) -> Result<(), ParseError> {
    let token = words.next();
    let v4 = token.text.parse::<Ipv4Addr>().ok();
    let v6 = token.text.parse::<Ipv6Addr>().ok();
    match (rtype, v4, v6) {
        (rtype::A, Some(address), _) => out.extend_from_slice(&address.octets()),
        (rtype::AAAA, _, Some(address)) => out.extend_from_slice(&address.octets()),
        (rtype::A, ..) => return Err(ParseError::new("bad A A", &token)),
        _ => return Err(ParseError::new("bad AAAA AAAA", &token)),
    }
    words.end_line()
}

/// Two strings; one alone is split where it has a blank.
fn pair_of_strings(rtype: u16, words: &mut Words, out: &mut Vec<u8>) -> Result<(), ParseError> {
    let message = format!("bad {} Fields", type_name(rtype).unwrap_or_default());
    let (strings, token) = strings(words, &message)?;
    let (first, second) = match strings.as_slice() {
        [] => (String::new(), String::new()),
        [one] => {
            let mut parts = one.split_ascii_whitespace();
            let first = parts.next().unwrap_or_default();
            let rest: Vec<&str> = parts.collect();
            match rest.is_empty() {
                true => (one.clone(), String::new()),
                false => (first.to_owned(), rest.join(" ")),
            }
        }
        [first, rest @ ..] => (first.clone(), rest.join(" ")),
    };
    for text in [first, second] {
        push_string(out, &text).ok_or_else(|| ParseError::new(message.as_str(), &token))?;
    }
    Ok(())
}

struct Reader<'r> {
    kind: &'static str,
    words: &'r mut Words,
    origin: &'r NameBuf,
    out: &'r mut Vec<u8>,
    /// The field read last, for errors about the end of a line.
    last: Option<Token>,
}

impl Reader<'_> {
    fn read(&mut self, fields: &[Field]) -> Result<(), ParseError> {
        for (at, field) in fields.iter().enumerate() {
            // Strings and parameters look at the blanks in front themselves.
            if at > 0 && !matches!(field, Field::Parameters) {
                self.words.next();
            }
            self.field(*field)?;
        }
        match fields.last() {
            Some(last) if last.is_last() => Ok(()),
            _ => self.words.end_line(),
        }
    }

    fn bad(&self, field: &str, at: &Token) -> ParseError {
        ParseError::new(format!("bad {} {field}", self.kind), at)
    }

    fn field(&mut self, field: Field) -> Result<(), ParseError> {
        match field {
            Field::Hex(name) | Field::Base64(name) => {
                let at = self.words.peek();
                let text = rest_of_line(self.words, &format!("bad {} {name}", self.kind))?;
                let data = match field {
                    Field::Hex(_) => decode_hex(&text).ok(),
                    _ => decode_base64(&text),
                };
                self.out.extend(data.ok_or_else(|| self.bad(name, &at))?);
                return Ok(());
            }
            Field::Strings(name) => {
                let (texts, at) = strings(self.words, &format!("bad {} {name}", self.kind))?;
                for text in texts {
                    push_string(self.out, &text).ok_or_else(|| self.bad(name, &at))?;
                }
                return Ok(());
            }
            Field::Octets(name) => {
                let (texts, at) = strings(self.words, &format!("bad {} {name}", self.kind))?;
                let [text] = texts.as_slice() else {
                    return Err(self.bad(name, self.last.as_ref().unwrap_or(&at)));
                };
                self.out.extend(octets(text));
                return Ok(());
            }
            Field::Types(name) => return self.types(name),
            Field::Parameters => return svcb::parse(self.words, self.out),
            Field::Quoted(name) => return self.quoted(name),
            _ => {}
        }
        let token = self.words.next();
        let text = token.text.as_str();
        let written = match field {
            Field::U8(_) => decimal(text).map(|number: u8| self.out.push(number)),
            Field::Algorithm(_) => decimal(text)
                .or_else(|| algorithm(&text.to_uppercase()))
                .map(|number| self.out.push(number)),
            Field::U16(_) => decimal(text).map(|number: u16| self.push(&number.to_be_bytes())),
            Field::U32(_) => decimal(text).map(|number: u32| self.push(&number.to_be_bytes())),
            Field::Period(_) => decimal(text)
                .or_else(|| parse_ttl(text))
                .map(|number: u32| self.push(&number.to_be_bytes())),
            Field::Name(_) => absolute(text, self.origin)
                .filter(|_| token.kind != Kind::Newline)
                .map(|name| self.out.extend_from_slice(name.wire())),
            Field::Word(_) if token.kind == Kind::Text => push_string(self.out, text),
            Field::NodeId(_) => node_id(text).map(|id| self.push(&id.to_be_bytes())),
            Field::V4(_) => text
                .parse()
                .ok()
                .map(|address: Ipv4Addr| self.push(&address.octets())),
            _ => None,
        };
        let name = match field {
            Field::U8(name)
            | Field::U16(name)
            | Field::U32(name)
            | Field::Period(name)
            | Field::Name(name)
            | Field::Algorithm(name)
            | Field::Word(name)
            | Field::NodeId(name)
            | Field::V4(name) => name,
            _ => "",
        };
        if written.is_none() || token.kind == Kind::Error {
            return Err(self.bad(name, &token));
        }
        self.last = Some(token);
        Ok(())
    }

    fn push(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    fn quoted(&mut self, name: &str) -> Result<(), ParseError> {
        let open = self.words.next();
        if open.kind != Kind::Quote {
            return Err(self.bad(name, &open));
        }
        let token = self.words.next();
        let text = match token.kind {
            Kind::Quote => String::new(),
            Kind::Text => {
                let close = self.words.next();
                if close.kind != Kind::Quote {
                    return Err(self.bad(name, &close));
                }
                token.text.clone()
            }
            _ => return Err(self.bad(name, &token)),
        };
        push_string(self.out, &text).ok_or_else(|| self.bad(name, &token))
    }

    fn types(&mut self, name: &str) -> Result<(), ParseError> {
        let mut types = Vec::new();
        loop {
            let token = self.words.next();
            match token.kind {
                Kind::Newline | Kind::End => break,
                Kind::Blank => {}
                Kind::Text => {
                    let known = type_by_name(&token.text.to_uppercase());
                    let value = known.or_else(|| numbered(&token.text, "TYPE"));
                    types.push(value.ok_or_else(|| self.bad(name, &token))?);
                }
                _ => return Err(self.bad(name, &token)),
            }
        }
        types.sort_unstable();
        for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
            let mut bits = [0u8; 32];
            let mut len = 0;
            for value in window {
                let at = usize::from(value & 0xFF) / 8;
                if let Some(octet) = bits.get_mut(at) {
                    *octet |= 0x80 >> (value % 8);
                }
                len = at + 1;
            }
            let number = window.first().map_or(0, |value| (value >> 8) as u8);
            self.out.extend_from_slice(&[number, len as u8]);
            self.out.extend(bits.iter().take(len));
        }
        Ok(())
    }
}

/// The words up to the end of the line, put together.
fn rest_of_line(words: &mut Words, message: &str) -> Result<String, ParseError> {
    let mut text = String::new();
    loop {
        let token = words.next();
        match token.kind {
            Kind::Newline | Kind::End => return Ok(text),
            Kind::Text => text.push_str(&token.text),
            Kind::Blank => {}
            _ => return Err(ParseError::new(message, &token)),
        }
    }
}

/// The strings up to the end of the line, escapes still in them, none longer
/// than 255 octets, and the token that ended them.
fn strings(words: &mut Words, message: &str) -> Result<(Vec<String>, Token), ParseError> {
    let mut found = Vec::new();
    let (mut quoted, mut empty) = (false, false);
    loop {
        let token = words.next();
        let bad = || ParseError::new(message, &token);
        match token.kind {
            Kind::Newline | Kind::End if quoted => return Err(bad()),
            Kind::Newline | Kind::End => return Ok((found, token)),
            Kind::Text => {
                empty = false;
                split_string(&token.text, &mut found).ok_or_else(bad)?;
            }
            Kind::Blank if quoted => return Err(bad()),
            Kind::Blank => {}
            Kind::Quote => {
                if empty && quoted {
                    found.push(String::new());
                }
                quoted = !quoted;
                empty = true;
            }
            _ => return Err(bad()),
        }
    }
}

/// Cuts text into pieces of 255 octets, an escape counting as one.
fn split_string(text: &str, out: &mut Vec<String>) -> Option<()> {
    let mut rest = text.as_bytes();
    let mut start = rest;
    let mut octets = 0;
    let cut = |from: &[u8], to: &[u8]| {
        let piece = from.get(..from.len() - to.len()).unwrap_or_default();
        String::from_utf8_lossy(piece).into_owned()
    };
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b'\\' => unescape(after)?.1,
            _ => after,
        };
        octets += 1;
        if octets == 255 && !rest.is_empty() {
            out.push(cut(start, rest));
            (start, octets) = (rest, 0);
        }
    }
    out.push(cut(start, rest));
    Some(())
}

/// The octets of a string, escapes resolved; a lone backslash at the end is dropped.
fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'\\' => match unescape(rest) {
                Some((octet, after)) => {
                    out.push(octet);
                    rest = after;
                }
                None => break,
            },
            other => out.push(*other),
        }
    }
    out
}

fn push_string(out: &mut Vec<u8>, text: &str) -> Option<()> {
    let octets = octets(text);
    out.push(u8::try_from(octets.len()).ok()?);
    out.extend(octets);
    Some(())
}

fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

fn algorithm(name: &str) -> Option<u8> {
    Some(match name {
        "RSAMD5" => 1,
        "DH" => 2,
        "DSA" => 3,
        "RSASHA1" => 5,
        "DSA-NSEC3-SHA1" => 6,
        "RSASHA1-NSEC3-SHA1" => 7,
        "RSASHA256" => 8,
        "RSASHA512" => 10,
        "ECC-GOST" => 12,
        "ECDSAP256SHA256" => 13,
        "ECDSAP384SHA384" => 14,
        "ED25519" => 15,
        "ED448" => 16,
        "INDIRECT" => 252,
        "PRIVATEDNS" => 253,
        "PRIVATEOID" => 254,
        _ => return None,
    })
}

fn node_id(text: &str) -> Option<u64> {
    let groups = [
        text.get(0..4)?,
        text.get(5..9)?,
        text.get(10..14)?,
        text.get(15..19)?,
    ];
    u64::from_str_radix(&groups.concat(), 16).ok()
}

/// Standard base64 with padding (RFC 4648 section 4).
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let data = text.trim_end_matches('=');
    let padding = text.len() - data.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for octet in data.bytes() {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}
