//! One record as text: what a line of a zone file says.

use std::fmt;

use super::scan::{Kind, Token, scan};
use super::{is_fqdn, parse_name, rdata};
use crate::golang::strconv::quote_ascii;
use crate::wire::{NameBuf, Record, Section, class, rtype};

/// The TTL of a record that names none, in seconds.
const DEFAULT_TTL: u32 = 3600;

/// Why text is no record; prints in the words of CoreDNS's parser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParseError {
    message: String,
    token: String,
    line: usize,
    column: usize,
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "dns: {}: {} at line: {}:{}",
            self.message,
            quote_ascii(&self.token),
            self.line,
            self.column
        )
    }
}

impl ParseError {
    pub(super) fn new(message: impl Into<String>, at: &Token) -> Self {
        Self {
            message: message.into(),
            token: at.text.clone(),
            line: at.line,
            column: at.column,
        }
    }
}

/// Reads the first record in `text`; `None` where there is none.
///
/// The class is IN and the TTL 3600 where they are missing, names without a
/// trailing dot are completed by it, `$TTL` and `$ORIGIN` lines may come
/// before; `$INCLUDE` and `$GENERATE` may not. The data of rare types (SIG,
/// RRSIG, NSEC3, NSEC3PARAM, CERT, LOC, APL, HIP, IPSECKEY, AMTRELAY, EUI48,
/// EUI64, TKEY) is read in the form of RFC 3597 only. The record is for the
/// answer section.
pub fn parse(text: &str) -> Result<Option<Record>, ParseError> {
    let mut lines = String::with_capacity(text.len() + 1);
    lines.push_str(text);
    if !text.is_empty() && !text.ends_with('\n') {
        lines.push('\n');
    }
    let mut parser = Parser {
        words: Words {
            tokens: scan(&lines),
            at: 0,
        },
        origin: NameBuf::new(),
        default_ttl: DEFAULT_TTL,
        ttl_is_fixed: false,
    };
    parser.run()
}

/// The tokens under way.
pub(super) struct Words {
    tokens: Vec<Token>,
    at: usize,
}

impl Words {
    pub(super) fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    pub(super) fn peek(&self) -> Token {
        self.tokens.get(self.at).cloned().unwrap_or_else(|| Token {
            kind: Kind::End,
            text: String::new(),
            line: 0,
            column: 0,
        })
    }

    /// Nothing but a blank may follow on the line.
    pub(super) fn end_line(&mut self) -> Result<(), ParseError> {
        let mut token = self.next();
        if token.kind == Kind::Blank {
            token = self.next();
        }
        match token.kind {
            Kind::Newline | Kind::End => Ok(()),
            _ => Err(ParseError::new("garbage after rdata", &token)),
        }
    }
}

struct Parser {
    words: Words,
    origin: NameBuf,
    default_ttl: u32,
    /// Whether `$TTL` said so, and not an earlier record.
    ttl_is_fixed: bool,
}

/// What of a record is known before its data.
struct Header {
    owner: NameBuf,
    rtype: u16,
    class: u16,
    ttl: u32,
}

/// What may come next.
#[derive(Clone, Copy)]
enum Expect {
    Owner,
    Any,
    AfterTtl,
    AfterClass,
    Type,
}

impl Parser {
    fn run(&mut self) -> Result<Option<Record>, ParseError> {
        let mut owner = NameBuf::new();
        'line: loop {
            let mut header = Header {
                owner: owner.clone(),
                rtype: 0,
                class: class::IN,
                ttl: self.default_ttl,
            };
            let mut expect = Expect::Owner;
            loop {
                let token = self.words.next();
                let fail = |message| Err(ParseError::new(message, &token));
                match (expect, token.kind) {
                    (_, Kind::End) => return Ok(None),
                    (_, Kind::Error) => return fail(token.text.as_str()),
                    (Expect::Owner, Kind::Newline) => continue 'line,
                    (Expect::Owner, Kind::Blank) => continue,
                    (Expect::Owner, Kind::Directive) => {
                        self.directive(&token)?;
                        continue 'line;
                    }
                    (Expect::Owner, Kind::Owner) => {
                        let Some(name) = absolute(&token.text, &self.origin) else {
                            return fail("bad owner name");
                        };
                        owner = name;
                        header.owner = owner.clone();
                        self.blank("no blank after owner")?;
                        expect = Expect::Any;
                    }
                    (Expect::Type | Expect::AfterTtl | Expect::AfterClass, Kind::Type(rtype))
                    | (Expect::Owner | Expect::Any, Kind::Type(rtype)) => {
                        header.rtype = rtype;
                        return self.record(header).map(Some);
                    }
                    (Expect::Owner | Expect::Any, Kind::Class(class)) => {
                        header.class = class;
                        self.blank("no blank before class")?;
                        expect = Expect::AfterClass;
                    }
                    (Expect::AfterTtl, Kind::Class(class)) => {
                        header.class = class;
                        self.blank("no blank before RR type")?;
                        expect = Expect::Type;
                    }
                    (Expect::Owner | Expect::Any | Expect::AfterClass, Kind::Text) => {
                        let Some(ttl) = parse_ttl(&token.text) else {
                            return fail("not a TTL");
                        };
                        header.ttl = ttl;
                        if !self.ttl_is_fixed {
                            self.default_ttl = ttl;
                        }
                        expect = match expect {
                            Expect::AfterClass => {
                                self.blank("no blank before RR type")?;
                                Expect::Type
                            }
                            _ => {
                                self.blank("no blank before TTL")?;
                                Expect::AfterTtl
                            }
                        };
                    }
                    (Expect::Owner, _) => return fail("syntax error at beginning"),
                    (Expect::Any, _) => {
                        return fail("expecting RR type, TTL or class, not this...");
                    }
                    (Expect::AfterTtl, _) => {
                        return fail("expecting RR type or class, not this...");
                    }
                    (Expect::AfterClass, _) => {
                        return fail("expecting RR type or TTL, not this...");
                    }
                    (Expect::Type, _) => return fail("unknown RR type"),
                }
            }
        }
    }

    fn blank(&mut self, message: &str) -> Result<(), ParseError> {
        let token = self.words.next();
        match token.kind {
            Kind::Blank => Ok(()),
            Kind::Error => Err(ParseError::new(token.text.as_str(), &token)),
            _ => Err(ParseError::new(message, &token)),
        }
    }

    fn directive(&mut self, token: &Token) -> Result<(), ParseError> {
        let name = token.text.to_uppercase();
        if !matches!(name.as_str(), "$TTL" | "$ORIGIN") {
            let message = format!("{name} directive not allowed");
            return Err(ParseError::new(message, token));
        }
        self.blank(&format!("no blank after {name}-directive"))?;
        let value = self.words.next();
        let bad = || ParseError::new(format!("expecting {name} value, not this..."), &value);
        if value.kind != Kind::Text {
            return Err(bad());
        }
        self.words.end_line()?;
        if name == "$TTL" {
            self.default_ttl = parse_ttl(&value.text).ok_or_else(bad)?;
            self.ttl_is_fixed = true;
        } else {
            self.origin = absolute(&value.text, &self.origin)
                .ok_or_else(|| ParseError::new("bad origin name", &value))?;
        }
        Ok(())
    }

    fn record(&mut self, header: Header) -> Result<Record, ParseError> {
        // The blank, or the end of the line, behind the type.
        let after_type = self.words.next();
        let rdata = if self.words.peek().text.is_empty() {
            // Nothing at all: as in a dynamic update, a record without data.
            self.words.end_line()?;
            Vec::new()
        } else if after_type.kind == Kind::Newline {
            return Err(ParseError::new("unexpected newline", &after_type));
        } else {
            rdata::parse(header.rtype, &mut self.words, &self.origin)?
        };
        Ok(Record {
            section: Section::Answer,
            owner: header.owner,
            rtype: header.rtype,
            class: header.class,
            ttl: header.ttl,
            rdata,
        })
    }
}

/// The name that a word says, below `origin` where it has no trailing dot.
pub(super) fn absolute(text: &str, origin: &NameBuf) -> Option<NameBuf> {
    if text == "@" {
        return Some(origin.clone());
    }
    let mut name = parse_name(text)?;
    if text == "\n" {
        return None;
    }
    if !is_fqdn(text) {
        name.push_name(origin.name()).ok()?;
    }
    Some(name)
}

/// Seconds, or numbers with units as in `1h30m`.
pub(super) fn parse_ttl(text: &str) -> Option<u32> {
    let (mut sum, mut number) = (0u64, 0u64);
    for c in text.chars() {
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            digit => {
                let digit = u64::from(digit.to_digit(10)?);
                number = number.checked_mul(10)?.checked_add(digit)?;
                continue;
            }
        };
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        number = 0;
    }
    u32::try_from(sum.checked_add(number)?).ok()
}

/// The number of a type by its name in upper case, as CoreDNS knows it.
pub fn type_by_name(name: &str) -> Option<u16> {
    match name {
        "NSAP-PTR" => Some(23),
        "NXNAME" => Some(128),
        "RESINFO" => Some(261),
        _ => rtype::from_mnemonic(name),
    }
}

/// The name of a type; `None` where CoreDNS has none.
pub fn type_name(value: u16) -> Option<&'static str> {
    match value {
        23 => Some("NSAP-PTR"),
        128 => Some("NXNAME"),
        261 => Some("RESINFO"),
        _ => rtype::mnemonic(value),
    }
}

/// The number of a class by its name in upper case.
pub fn class_by_name(name: &str) -> Option<u16> {
    Some(match name {
        "IN" => class::IN,
        "CS" => 2,
        "CH" => class::CH,
        "HS" => class::HS,
        "NONE" => class::NONE,
        "ANY" => class::ANY,
        _ => return None,
    })
}

/// The number of a response code by its name in upper case, as CoreDNS knows it.
pub fn rcode_by_name(name: &str) -> Option<u16> {
    Some(match name {
        "NOERROR" => 0,
        "FORMERR" => 1,
        "SERVFAIL" => 2,
        "NXDOMAIN" => 3,
        "NOTIMP" | "NOTIMPL" => 4,
        "REFUSED" => 5,
        "YXDOMAIN" => 6,
        "YXRRSET" => 7,
        "NXRRSET" => 8,
        "NOTAUTH" => 9,
        "NOTZONE" => 10,
        "DSOTYPENI" => 11,
        "BADSIG" => 16,
        "BADKEY" => 17,
        "BADTIME" => 18,
        "BADMODE" => 19,
        "BADNAME" => 20,
        "BADALG" => 21,
        "BADTRUNC" => 22,
        "BADCOOKIE" => 23,
        _ => return None,
    })
}

/// `encoding/hex`'s `DecodeString`; the error is in its words.
pub fn decode_hex(text: &str) -> Result<Vec<u8>, String> {
    let digit = |octet: u8| {
        let value = char::from(octet).to_digit(16).map(|digit| digit as u8);
        value.ok_or_else(|| {
            let shown = char::from(octet);
            format!(
                "encoding/hex: invalid byte: U+{octet:04X} {}",
                crate::golang::strconv::quote_char(shown)
            )
        })
    };
    let mut pairs = text.as_bytes().chunks_exact(2);
    let mut out = Vec::with_capacity(text.len() / 2);
    for pair in &mut pairs {
        if let [high, low] = pair {
            out.push(digit(*high)? << 4 | digit(*low)?);
        }
    }
    match pairs.remainder() {
        [] => Ok(out),
        [odd, ..] => {
            digit(*odd)?;
            Err("encoding/hex: odd length hex string".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(None) => "nothing".into(),
            Ok(Some(record)) => {
                let hex: String = record
                    .rdata
                    .iter()
                    .map(|octet| format!("{octet:02x}"))
                    .collect();
                format!(
                    "{} {} {} {} {hex}",
                    record.owner, record.ttl, record.class, record.rtype
                )
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn records_are_read_as_coredns_reads_them() {
        for (text, expected) in [
            ("", "nothing"),
            ("; only a comment", "nothing"),
            ("a.test. 60 IN A 192.0.2.1", "a.test. 60 1 1 c0000201"),
            ("a.test. IN 60 A 192.0.2.1", "a.test. 60 1 1 c0000201"),
            ("a.test A 192.0.2.1", "a.test. 3600 1 1 c0000201"),
            (
                "a.test. 1h30m A 192.0.2.1 ; why",
                "a.test. 5400 1 1 c0000201",
            ),
            ("a.test. CH A 192.0.2.1", "a.test. 3600 3 1 c0000201"),
            (
                "a.test. CLASS7 TYPE1 192.0.2.1",
                "a.test. 3600 7 1 c0000201",
            ),
            ("@ A 192.0.2.1", ". 3600 1 1 c0000201"),
            ("a. 60 IN A", "a. 60 1 1 "),
            (
                "$TTL 5\n$ORIGIN test.\na A 192.0.2.1",
                "a.test. 5 1 1 c0000201",
            ),
            ("a. A \\# 4 c0000201", "a. 3600 1 1 c0000201"),
            ("a. TYPE999 \\# 3 ab cdef", "a. 3600 1 999 abcdef"),
            (
                "a. AAAA 2001:db8::1",
                "a. 3600 1 28 20010db8000000000000000000000001",
            ),
            ("a. CNAME b", "a. 3600 1 5 016200"),
            ("a. MX 10 b.", "a. 3600 1 15 000a016200"),
            ("a. SRV 1 2 3 b.", "a. 3600 1 33 000100020003016200"),
            (
                "a. SOA b. c. ( 1 2h\n 3 4 5 )",
                "a. 3600 1 6 0162000163000000000100001c20000000030000000400000005",
            ),
            ("a. TXT b \"c d\" \"\"", "a. 3600 1 16 01620363206400"),
            ("a. TXT \"x\\\"y\\065\"", "a. 3600 1 16 0478227941"),
            ("a. TXT \"a;b\" ; c", "a. 3600 1 16 03613b62"),
            ("a. HINFO \"i n\" l", "a. 3600 1 13 0369206e016c"),
            ("a. HINFO \"i n\"", "a. 3600 1 13 0169016e"),
            ("a. CAA 0 issue \"b\"", "a. 3600 1 257 0005697373756562"),
            (
                "a. NAPTR 1 2 \"u\" \"\" \"!\" .",
                "a. 3600 1 35 00010002017500012100",
            ),
            ("a. URI 1 2 \"h\"", "a. 3600 1 256 0001000268"),
            ("a. DS 1 RSASHA256 2 ab cd", "a. 3600 1 43 00010802abcd"),
            ("a. DNSKEY 257 3 8 AQID", "a. 3600 1 48 01010308010203"),
            ("a. TLSA 3 1 1 abcd", "a. 3600 1 52 030101abcd"),
            (
                "a. NSEC b. A TYPE1234",
                "a. 3600 1 47 016200000140041b000000000000000000000000000000000000000000000000000020",
            ),
            (
                "a. HTTPS 1 . alpn=\"h2,h3\" port=8443 ipv4hint=192.0.2.1",
                "a. 3600 1 65 000100000100060268320268330003000220fb00040004c0000201",
            ),
            ("a. SVCB 0 b.", "a. 3600 1 64 0000016200"),
            (
                "a. SVCB 1 . key65400=\"a\\001\" mandatory=port,alpn alpn=h2 port=1",
                "a. 3600 1 64 000100000000040001000300010003026832000300020001ff7800026101",
            ),
            (
                "a. 60 IN A 192.0.2",
                "dns: bad A A: \"192.0.2\" at line: 1:18",
            ),
            (
                "a. A 1.2.3.4 x",
                "dns: garbage after rdata: \"x\" at line: 1:14",
            ),
            (
                "a. A 2001:db8::1",
                "dns: bad A A: \"2001:db8::1\" at line: 1:16",
            ),
            (
                "a..b A 1.2.3.4",
                "dns: bad owner name: \"a..b\" at line: 1:5",
            ),
            (
                "a. 60 IN FOO b",
                "dns: unknown RR type: \"FOO\" at line: 1:13",
            ),
            ("a. x A 1.2.3.4", "dns: not a TTL: \"x\" at line: 1:5"),
            ("a. MX ten b.", "dns: bad MX Pref: \"ten\" at line: 1:10"),
            (
                "a. ( A 1.2.3.4",
                "dns: garbage after rdata: \"unbalanced brace\" at line: 1:14",
            ),
            (
                "a. A ) 1",
                "dns: bad A A: \"extra closing brace\" at line: 1:6",
            ),
            (
                "a. TYPE9x 1",
                "dns: unknown RR type: \"unknown RR type\" at line: 1:10",
            ),
            (
                "a. CLASSx A 1.2.3.4",
                "dns: unknown class: \"unknown class\" at line: 1:10",
            ),
            (
                "a. TYPE999 x",
                "dns: bad RFC3597 Rdata: \"x\" at line: 1:12",
            ),
            ("a. CNAME", "a. 3600 1 5 "),
            (
                "a. CNAME b c",
                "dns: garbage after rdata: \"c\" at line: 1:12",
            ),
            (
                "a. CNAME b..c",
                "dns: bad CNAME Target: \"b..c\" at line: 1:13",
            ),
            ("a. SRV 1 2 b.", "dns: bad SRV Port: \"b.\" at line: 1:13"),
            (
                "a. SOA b. c. x 2 3 4 5",
                "dns: bad SOA zone parameter: \"x\" at line: 1:15",
            ),
            ("a. HTTPS 1 . alpn=", "a. 3600 1 65 00010000010000"),
            (
                "a. HTTPS 1 . port=x",
                "dns: bad svcbport: port out of range: \"port=x\" at line: 1:19",
            ),
            (
                "a. HTTPS 1 . =\"x\"",
                "dns: bad SVCB key: \"=\" at line: 1:15",
            ),
            (
                "a. HTTPS 1 . key1=x",
                "dns: bad SVCB key: \"key1=x\" at line: 1:19",
            ),
            (
                "a. HTTPS 1 . alpn=\"h2\"port=1",
                "dns: bad SVCB value quotation: \"port=1\" at line: 1:28",
            ),
            (
                "a. NAPTR 1 2 u \"\" \"\" .",
                "dns: bad NAPTR Flags: \"u\" at line: 1:15",
            ),
            (
                "a. CAA 0 issue",
                "dns: bad CAA Value: \"issue\" at line: 1:14",
            ),
            (
                "a. CAA 256 issue \"x\"",
                "dns: bad CAA Flag: \"256\" at line: 1:11",
            ),
            ("a. TXT", "a. 3600 1 16 "),
            ("a. TXT \\# 2 0161", "a. 3600 1 16 0161"),
            ("60 IN A 1.2.3.4", "60. 3600 1 1 01020304"),
            ("a. ANY x", "dns: not a TTL: \"x\" at line: 1:8"),
            (
                "a. IN 60 CH A 1.2.3.4",
                "dns: unknown RR type: \"CH\" at line: 1:12",
            ),
            (
                "a. 60 60 A 1.2.3.4",
                "dns: expecting RR type or class, not this...: \"60\" at line: 1:9",
            ),
            (
                "a. 4294967296 A 1.2.3.4",
                "dns: not a TTL: \"4294967296\" at line: 1:14",
            ),
            ("a. SSHFP 1 1 ab", "a. 3600 1 44 0101ab"),
            ("a. A 1.2.3.4;c", "a. 3600 1 1 01020304"),
            ("a. A;c", "dns: not a TTL: \"A\" at line: 1:5"),
            (
                "a. AAAA ::ffff:1.2.3.4",
                "a. 3600 1 28 00000000000000000000ffff01020304",
            ),
            ("a. PTR b", "a. 3600 1 12 016200"),
            ("a. RP b. c.", "a. 3600 1 17 016200016300"),
            ("a. SPF \"x\"", "a. 3600 1 99 0178"),
            ("a. X25 123", "a. 3600 1 19 03313233"),
            ("a. GPOS 1 2 3", "a. 3600 1 27 013101320133"),
            ("a. UID 5", "a. 3600 1 101 00000005"),
            ("a. NSAP-PTR b.", "a. 3600 1 23 016200"),
            ("a. IN", "dns: not a TTL: \"IN\" at line: 1:5"),
            ("a. 60", "dns: no blank before TTL: \"\\n\" at line: 1:5"),
            ("a.", "dns: not a TTL: \"a.\" at line: 1:2"),
            ("a. DNAME b", "a. 3600 1 39 016200"),
            ("a. TXT a\\ b", "a. 3600 1 16 03612062"),
            ("a. TXT (a\nb)", "a. 3600 1 16 026162"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        for text in [
            "a. TXT \"b",
            "$INCLUDE /etc/passwd",
            "$GENERATE 1-2 a$ A 192.0.2.1",
            "a. LOC 1 N 1 E 1m",
        ] {
            assert!(shown(text).starts_with("dns: "), "{text}");
        }
    }
}
