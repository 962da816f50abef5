//! A query as a test writes it.

use std::fmt;

use anyhow::ensure;
use hickory_proto::rr::{DNSClass, RecordType};

use super::Answer;

/// A query. Its bytes are laid out here and not by a DNS library, so that
/// letter case, odd labels and odd headers reach the server as written.
#[derive(Clone, Debug)]
pub struct Ask {
    name: String,
    kind: u16,
    class: u16,
    id: u16,
    flags: u16,
    edns: Option<Edns>,
}

#[derive(Clone, Debug)]
struct Edns {
    size: u16,
    version: u8,
    flags: u16,
    options: Vec<(u16, Vec<u8>)>,
}

const RECURSION_DESIRED: u16 = 0x0100;
const AUTHENTIC: u16 = 0x0020;
const CHECKING_DISABLED: u16 = 0x0010;
const DNSSEC_OK: u16 = 0x8000;
const OPT: u16 = 41;

impl Ask {
    /// A query for `name` in presentation form (`\.` and `\065` as in zone
    /// files; the last dot may be left out) and a type by name or as `TYPE65`,
    /// with a random id and recursion desired.
    ///
    /// # Panics
    ///
    /// When `kind` is no type.
    #[must_use]
    pub fn new(name: &str, kind: &str) -> Self {
        let number = kind
            .strip_prefix("TYPE")
            .and_then(|number| number.parse().ok());
        let kind = number
            .or_else(|| kind.parse::<RecordType>().ok().map(u16::from))
            .unwrap_or_else(|| panic!("no record type: {kind}"));
        Self {
            name: name.to_owned(),
            kind,
            class: DNSClass::IN.into(),
            id: random(),
            flags: RECURSION_DESIRED,
            edns: None,
        }
    }

    /// Asks in another class: 3 is CHAOS.
    #[must_use]
    pub fn class(mut self, class: u16) -> Self {
        self.class = class;
        self
    }

    /// Uses this message id.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Uses this opcode (0–15): 4 is NOTIFY, 5 UPDATE.
    #[must_use]
    pub fn opcode(mut self, opcode: u8) -> Self {
        self.flags = self.flags & !0x7800 | u16::from(opcode & 0xf) << 11;
        self
    }

    /// Clears RD.
    #[must_use]
    pub fn no_recursion(mut self) -> Self {
        self.flags &= !RECURSION_DESIRED;
        self
    }

    /// Sets AD.
    #[must_use]
    pub fn authentic(mut self) -> Self {
        self.flags |= AUTHENTIC;
        self
    }

    /// Sets CD.
    #[must_use]
    pub fn checking_disabled(mut self) -> Self {
        self.flags |= CHECKING_DISABLED;
        self
    }

    /// Sets any header bits, the second 16 bits of the message.
    #[must_use]
    pub fn header_bits(mut self, bits: u16) -> Self {
        self.flags |= bits;
        self
    }

    /// Adds an OPT record that advertises `size` bytes.
    #[must_use]
    pub fn edns(mut self, size: u16) -> Self {
        self.opt().size = size;
        self
    }

    /// Sets DO; adds an OPT record of 1232 bytes if there is none.
    #[must_use]
    pub fn dnssec_ok(mut self) -> Self {
        self.opt().flags |= DNSSEC_OK;
        self
    }

    /// Sets the low 16 bits of the OPT record's TTL.
    #[must_use]
    pub fn edns_flags(mut self, flags: u16) -> Self {
        self.opt().flags = flags;
        self
    }

    /// Uses this EDNS version.
    #[must_use]
    pub fn edns_version(mut self, version: u8) -> Self {
        self.opt().version = version;
        self
    }

    /// Adds an EDNS option.
    #[must_use]
    pub fn option(mut self, code: u16, data: &[u8]) -> Self {
        self.opt().options.push((code, data.to_vec()));
        self
    }

    fn opt(&mut self) -> &mut Edns {
        self.edns.get_or_insert(Edns {
            size: 1232,
            version: 0,
            flags: 0,
            options: Vec::new(),
        })
    }

    /// The message as it goes out, without a length prefix.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let additional = u16::from(self.edns.is_some());
        for field in [self.id, self.flags, 1, 0, 0, additional] {
            out.extend(field.to_be_bytes());
        }
        put_name(&mut out, &self.name);
        out.extend(self.kind.to_be_bytes());
        out.extend(self.class.to_be_bytes());
        if let Some(edns) = &self.edns {
            out.push(0);
            out.extend(OPT.to_be_bytes());
            out.extend(edns.size.to_be_bytes());
            out.extend([0, edns.version]);
            out.extend(edns.flags.to_be_bytes());
            let mut options = Vec::new();
            for (code, data) in &edns.options {
                options.extend(code.to_be_bytes());
                options.extend((data.len() as u16).to_be_bytes());
                options.extend(data);
            }
            out.extend((options.len() as u16).to_be_bytes());
            out.extend(options);
        }
        out
    }

    pub(super) fn check(&self, answer: Answer) -> anyhow::Result<Answer> {
        let id = answer.message.metadata.id;
        ensure!(
            id == self.id,
            "{self}: asked with id {}, answered with {id}",
            self.id
        );
        Ok(answer)
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, RecordType::from(self.kind))?;
        if self.class != 1 {
            write!(f, " class {}", self.class)?;
        }
        if self.flags != RECURSION_DESIRED {
            write!(f, " flags {:#06x}", self.flags)?;
        }
        if let Some(edns) = &self.edns {
            write!(f, " edns {} {:#06x}", edns.size, edns.flags)?;
            for (code, data) in &edns.options {
                write!(f, " {code}:{}", data.escape_ascii())?;
            }
        }
        Ok(())
    }
}

/// Writes a name label by label. Labels over 63 bytes are written as they
/// are, so that a test can send what no library would.
fn put_name(out: &mut Vec<u8>, name: &str) {
    let mut label = Vec::new();
    let mut bytes = name.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' => put_label(out, &mut label),
            b'\\' => {
                let mut code = String::new();
                while let (Some(digit), true) = (bytes.peek(), code.len() < 3) {
                    if !digit.is_ascii_digit() {
                        break;
                    }
                    code.push(char::from(*digit));
                    bytes.next();
                }
                label.extend(code.parse::<u8>().ok().or_else(|| bytes.next()));
            }
            byte => label.push(byte),
        }
    }
    put_label(out, &mut label);
    out.push(0);
}

fn put_label(out: &mut Vec<u8>, label: &mut Vec<u8>) {
    if !label.is_empty() {
        out.push(label.len() as u8);
        out.append(label);
    }
}

/// An id that differs between queries and runs; nothing relies on more.
fn random() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u16
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;

    use super::*;

    #[test]
    fn a_query_is_what_a_dns_library_reads() {
        let ask = Ask::new("_http._tcp.Web.default.svc.cluster.local", "SRV")
            .id(7)
            .checking_disabled()
            .edns(4096)
            .dnssec_ok()
            .option(10, b"01234567");
        let message = Message::from_vec(&ask.bytes()).expect("well-formed");
        assert_eq!(message.metadata.id, 7);
        assert!(message.metadata.recursion_desired && message.metadata.checking_disabled);
        assert_eq!(
            message.queries[0].name().to_ascii(),
            "_http._tcp.Web.default.svc.cluster.local."
        );
        assert_eq!(message.queries[0].query_type(), RecordType::SRV);
        let edns = message.edns.expect("OPT");
        assert_eq!(edns.max_payload(), 4096);
        assert!(edns.flags().dnssec_ok);
        assert!(edns.option(10.into()).is_some());
    }

    #[test]
    fn names_are_written_byte_for_byte() {
        for (text, wire) in [
            (".", &b"\0"[..]),
            ("", b"\0"),
            ("a.B.", b"\x01a\x01B\0"),
            (r"a\.b.c", b"\x03a.b\x01c\0"),
            (r"\000\255", b"\x02\0\xff\0"),
        ] {
            let mut out = Vec::new();
            put_name(&mut out, text);
            assert_eq!(out, wire, "{text}");
        }
    }
}
