use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::{Error, HEADER_LEN, Name, NameBuf, Reader, class, rtype};

/// The sections behind the question, in their order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Section {
    /// The answer.
    Answer = 0,
    /// Who has authority; the SOA of a negative answer.
    Authority = 1,
    /// What may be of use.
    Additional = 2,
}

/// A record where it lies in a message.
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    message: &'a [u8],
    /// The section it lies in.
    pub section: Section,
    /// Its type.
    pub rtype: u16,
    /// Its class, or the UDP size of an OPT.
    pub class: u16,
    /// Its time to live in seconds.
    pub ttl: u32,
    start: usize,
    rdata: Range<usize>,
}

impl<'a> RecordView<'a> {
    /// The owner name, pointers resolved.
    pub fn owner(&self) -> Result<NameBuf, Error> {
        NameBuf::read_compressed_above(&mut Reader::at(self.message, self.start), HEADER_LEN)
    }

    /// The RDATA as it lies there; names in it may be compressed.
    pub fn rdata(&self) -> &'a [u8] {
        self.message.get(self.rdata.clone()).unwrap_or_default()
    }

    /// The octets of the whole record within the message.
    pub fn range(&self) -> Range<usize> {
        self.start..self.rdata.end
    }

    /// Where the four octets of the TTL lie.
    pub fn ttl_at(&self) -> usize {
        // TTL, then two octets of length, then RDATA.
        self.rdata.start - 6
    }

    /// The name `skip` octets into the RDATA, pointers resolved: the target
    /// of a CNAME, NS or PTR (0), of an MX (2), of an SRV (6).
    pub fn target(&self, skip: usize) -> Result<NameBuf, Error> {
        NameBuf::read_compressed(&mut Reader::at(self.message, self.rdata.start + skip))
    }

    /// A copy that stands alone. RDATA that breaks its type's form is an error.
    pub fn to_record(&self) -> Result<Record, Error> {
        let mut rdata = Vec::with_capacity(self.rdata.len());
        let mut reader = Reader::at(self.message, self.rdata.start);
        let end = self.rdata.end;
        for part in layout(self.rtype) {
            match part {
                Part::Fixed(len) => rdata.extend_from_slice(reader.take(*len, "RDATA")?),
                Part::Text => {
                    let len = reader.u8("RDATA")?;
                    rdata.push(len);
                    rdata.extend_from_slice(reader.take(usize::from(len), "RDATA")?);
                }
                Part::Name | Part::PlainName => {
                    rdata.extend_from_slice(NameBuf::read_compressed(&mut reader)?.wire());
                }
            }
        }
        let left = end
            .checked_sub(reader.position())
            .ok_or(Error::BadData("RDATA"))?;
        if left != 0 && !open_ended(self.rtype) {
            return Err(Error::BadData("RDATA"));
        }
        rdata.extend_from_slice(reader.take(left, "RDATA")?);
        Ok(Record {
            section: self.section,
            owner: self.owner()?,
            rtype: self.rtype,
            class: self.class,
            ttl: self.ttl,
            rdata,
        })
    }
}

/// Walks the records of `message` from offset `at`, `counts` of them by section.
///
/// A message that ends where a record would begin ends the walk without an
/// error, as with CoreDNS; one that ends inside a record is an error.
pub(crate) fn views(
    message: &[u8],
    at: usize,
    counts: [u16; 3],
) -> impl Iterator<Item = Result<RecordView<'_>, Error>> {
    let mut reader = Reader::at(message, at);
    let [answers, authorities, additionals] = counts.map(u32::from);
    let (authority, additional) = (answers, answers + authorities);
    let end = additional + additionals;
    let mut index = 0;
    std::iter::from_fn(move || {
        if index >= end || !reader.any_left() {
            return None;
        }
        let section = match index {
            _ if index < authority => Section::Answer,
            _ if index < additional => Section::Authority,
            _ => Section::Additional,
        };
        let view = read_view(&mut reader, section);
        index = if view.is_ok() { index + 1 } else { end };
        Some(view)
    })
}

fn read_view<'a>(reader: &mut Reader<'a>, section: Section) -> Result<RecordView<'a>, Error> {
    let start = reader.position();
    reader.skip_name()?;
    // One step for all fields: every record of every message comes by here.
    let [type_a, type_b, class_a, class_b, ttl @ .., len_a, len_b] =
        reader.array::<10>("record")?;
    let len = usize::from(u16::from_be_bytes([len_a, len_b]));
    let from = reader.position();
    reader.take(len, "RDATA")?;
    Ok(RecordView {
        message: reader.message(),
        section,
        rtype: u16::from_be_bytes([type_a, type_b]),
        class: u16::from_be_bytes([class_a, class_b]),
        ttl: u32::from_be_bytes(ttl),
        start,
        rdata: from..from + len,
    })
}

/// A record that stands alone: no name in it is compressed.
///
/// For what must be taken apart; the way of most queries never makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The section it is for.
    pub section: Section,
    /// The owner name.
    pub owner: NameBuf,
    /// Its type.
    pub rtype: u16,
    /// Its class.
    pub class: u16,
    /// Its time to live in seconds.
    pub ttl: u32,
    /// Its RDATA without compression.
    pub rdata: Vec<u8>,
}

impl Record {
    /// A record of class IN.
    pub fn new(section: Section, owner: Name<'_>, ttl: u32, rdata: &RData<'_>) -> Self {
        Self {
            section,
            owner: owner.to_buf(),
            rtype: rdata.rtype(),
            class: class::IN,
            ttl,
            rdata: rdata.to_vec(),
        }
    }

    /// Passes every name in the RDATA through `map`; `None` leaves it as it is.
    pub fn map_names(&mut self, mut map: impl FnMut(Name<'_>) -> Option<NameBuf>) {
        let mut mapped = Vec::with_capacity(self.rdata.len());
        let mut changed = false;
        for piece in pieces(self.rtype, &self.rdata) {
            match piece {
                Piece::Octets(octets) => mapped.extend_from_slice(octets),
                Piece::Name(name, _) => match map(name) {
                    Some(other) => {
                        changed = true;
                        mapped.extend_from_slice(other.wire());
                    }
                    None => mapped.extend_from_slice(name.wire()),
                },
            }
        }
        if changed {
            self.rdata = mapped;
        }
    }

    /// The first name in the RDATA: the target of a CNAME, NS, PTR, MX or SRV.
    pub fn target(&self) -> Option<Name<'_>> {
        pieces(self.rtype, &self.rdata).find_map(|piece| match piece {
            Piece::Name(name, _) => Some(name),
            Piece::Octets(_) => None,
        })
    }

    /// Appends the record without compressing anything.
    pub fn write_plain(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.owner.wire());
        out.extend_from_slice(&self.rtype.to_be_bytes());
        out.extend_from_slice(&self.class.to_be_bytes());
        out.extend_from_slice(&self.ttl.to_be_bytes());
        let len = u16::try_from(self.rdata.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend(self.rdata.iter().take(usize::from(len)));
    }
}

/// The RDATA of the records that Pando makes itself.
#[derive(Clone, Copy, Debug)]
pub enum RData<'a> {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// An alias.
    Cname(Name<'a>),
    /// A name server.
    Ns(Name<'a>),
    /// A pointer.
    Ptr(Name<'a>),
    /// A service (RFC 2782).
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// The share among equals.
        weight: u16,
        /// The port.
        port: u16,
        /// The host; never compressed.
        target: Name<'a>,
    },
    /// One or more strings of at most 255 octets each; longer ones are cut.
    Txt(&'a [&'a [u8]]),
    /// The start of a zone of authority.
    Soa {
        /// The primary server.
        mname: Name<'a>,
        /// The mailbox of who is responsible.
        rname: Name<'a>,
        /// The version of the zone.
        serial: u32,
        /// Refresh, retry, expire and negative TTL, in seconds.
        timers: [u32; 4],
    },
    /// CPU and operating system; here for RFC 8482 and `loop`.
    Hinfo(&'a [u8], &'a [u8]),
    /// RDATA of any type, already without compression.
    Other(u16, &'a [u8]),
}

impl RData<'_> {
    /// The type of record that it belongs to.
    pub fn rtype(&self) -> u16 {
        match self {
            Self::A(_) => rtype::A,
            Self::Aaaa(_) => rtype::AAAA,
            Self::Cname(_) => rtype::CNAME,
            Self::Ns(_) => rtype::NS,
            Self::Ptr(_) => rtype::PTR,
            Self::Srv { .. } => rtype::SRV,
            Self::Txt(_) => rtype::TXT,
            Self::Soa { .. } => rtype::SOA,
            Self::Hinfo(..) => rtype::HINFO,
            Self::Other(rtype, _) => *rtype,
        }
    }

    /// The octets without compression.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, |out, name, _| out.extend_from_slice(name.wire()));
        out
    }

    /// Appends the octets; `name` writes the names and is told which of them may be compressed.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        mut name: impl FnMut(&mut Vec<u8>, Name<'_>, bool),
    ) {
        match *self {
            Self::A(address) => out.extend_from_slice(&address.octets()),
            Self::Aaaa(address) => out.extend_from_slice(&address.octets()),
            Self::Cname(target) | Self::Ns(target) | Self::Ptr(target) => name(out, target, true),
            Self::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                out.extend(
                    [priority, weight, port]
                        .into_iter()
                        .flat_map(u16::to_be_bytes),
                );
                name(out, target, false);
            }
            Self::Txt(strings) => strings.iter().for_each(|text| push_string(out, text)),
            Self::Soa {
                mname,
                rname,
                serial,
                timers,
            } => {
                name(out, mname, true);
                name(out, rname, true);
                out.extend_from_slice(&serial.to_be_bytes());
                out.extend(timers.into_iter().flat_map(u32::to_be_bytes));
            }
            Self::Hinfo(cpu, os) => [cpu, os].iter().for_each(|text| push_string(out, text)),
            Self::Other(rtype, rdata) => {
                for piece in pieces(rtype, rdata) {
                    match piece {
                        Piece::Octets(octets) => out.extend_from_slice(octets),
                        Piece::Name(target, compressible) => name(out, target, compressible),
                    }
                }
            }
        }
    }
}

fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend(text.iter().take(usize::from(len)));
}

enum Piece<'a> {
    Octets(&'a [u8]),
    /// A name, and whether it may be compressed.
    Name(Name<'a>, bool),
}

/// Cuts uncompressed RDATA into names and what lies between them. RDATA that
/// breaks its type's form comes out as octets from there on.
fn pieces(rtype: u16, rdata: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut parts = layout(rtype).iter();
    let mut reader = Reader::new(rdata);
    std::iter::from_fn(move || {
        let piece = parts.next().and_then(|part| match part {
            Part::Fixed(len) => reader.take(*len, "").ok().map(Piece::Octets),
            Part::Text => {
                let len = usize::from(*rdata.get(reader.position())?);
                reader.take(1 + len, "").ok().map(Piece::Octets)
            }
            Part::Name => Name::read(&mut reader)
                .ok()
                .map(|name| Piece::Name(name, true)),
            Part::PlainName => Name::read(&mut reader)
                .ok()
                .map(|name| Piece::Name(name, false)),
        });
        piece.or_else(|| {
            parts = [].iter();
            let rest = rdata
                .get(reader.position()..)
                .filter(|rest| !rest.is_empty())?;
            reader = Reader::at(rdata, rdata.len());
            Some(Piece::Octets(rest))
        })
    })
}

enum Part {
    Fixed(usize),
    Text,
    /// May be compressed (RFC 1035 types only, RFC 3597 section 4).
    Name,
    /// Is decompressed when read, never compressed when written.
    PlainName,
}

/// The parts of a type's RDATA up to its last name; what follows is opaque.
fn layout(rtype: u16) -> &'static [Part] {
    use Part::{Fixed, Name, PlainName, Text};
    match rtype {
        rtype::A => &[Fixed(4)],
        rtype::AAAA => &[Fixed(16)],
        rtype::NS
        | rtype::MD
        | rtype::MF
        | rtype::CNAME
        | rtype::MB
        | rtype::MG
        | rtype::MR
        | rtype::PTR => &[Name],
        rtype::SOA => &[Name, Name, Fixed(20)],
        rtype::MINFO => &[Name, Name],
        rtype::MX => &[Fixed(2), Name],
        rtype::RP => &[PlainName, PlainName],
        rtype::AFSDB | rtype::RT | rtype::KX => &[Fixed(2), PlainName],
        rtype::PX => &[Fixed(2), PlainName, PlainName],
        rtype::SRV => &[Fixed(6), PlainName],
        rtype::NAPTR => &[Fixed(4), Text, Text, Text, PlainName],
        rtype::DNAME => &[PlainName],
        rtype::SIG | rtype::RRSIG => &[Fixed(18), PlainName],
        rtype::NXT | rtype::NSEC => &[PlainName],
        rtype::SVCB | rtype::HTTPS => &[Fixed(2), PlainName],
        _ => &[],
    }
}

/// Whether the RDATA goes on behind the parts that [`layout`] names.
fn open_ended(rtype: u16) -> bool {
    layout(rtype).is_empty()
        || matches!(
            rtype,
            rtype::SIG | rtype::RRSIG | rtype::NXT | rtype::NSEC | rtype::SVCB | rtype::HTTPS
        )
}
