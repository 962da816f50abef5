//! A reply, taken apart for people and for `-o json`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::Serialize;

use super::walk::Verdict;
use crate::wire::{
    Edns, Error, HEADER_LEN, NameBuf, Rcode, Reader, RecordView, Reply, Request, Section, flags,
    rtype,
};

/// What a server said to one query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Answer {
    /// The response code: `NOERROR`, `NXDOMAIN`, …
    pub(super) rcode: String,
    #[serde(skip)]
    code: Rcode,
    /// The flag AA.
    pub(super) authoritative: bool,
    /// Whether it came over TCP, a datagram having been too small for it: two
    /// queries then.
    pub(super) tcp: bool,
    /// From the question to the answer.
    pub(super) milliseconds: f64,
    /// The answer section.
    pub(super) records: Vec<Rr>,
    /// The zone whose SOA stands in the authority section: who says that there
    /// is nothing (RFC 2308 section 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) soa: Option<String>,
    /// Extended DNS Errors (RFC 8914).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ede: Vec<Ede>,
}

/// A record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Rr {
    /// The owner.
    pub(super) name: String,
    /// The type's mnemonic, or `TYPE123`.
    #[serde(rename = "type")]
    pub(super) rtype: String,
    /// In seconds.
    pub(super) ttl: u32,
    /// The RDATA as in a zone file, in the form of RFC 3597 where its own is
    /// not known here.
    pub(super) data: String,
}

/// An Extended DNS Error.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Ede {
    /// The INFO-CODE.
    pub(super) code: u16,
    /// The EXTRA-TEXT.
    pub(super) text: String,
}

impl Answer {
    /// Takes a reply to `request` apart.
    ///
    /// # Errors
    ///
    /// Where it is none, or breaks off.
    pub(super) fn read(
        message: &[u8],
        request: &Request,
        elapsed: Duration,
        tcp: bool,
    ) -> Result<Self, Error> {
        let mut answer = Self {
            rcode: String::new(),
            code: Rcode::NOERROR,
            authoritative: false,
            tcp,
            milliseconds: (elapsed.as_secs_f64() * 1e6).round() / 1e3,
            records: Vec::new(),
            soa: None,
            ede: Vec::new(),
        };
        if message.len() == HEADER_LEN {
            // Who could not read the query repeats no question.
            let mut header = Reader::at(message, 2);
            answer.set_code(Rcode(header.u16("header")? & flags::RCODE));
            return Ok(answer);
        }
        let mut reply = Reply::new();
        reply.adopt(message, request)?;
        answer.set_code(reply.rcode());
        answer.authoritative = reply.has(flags::AA);
        let records = reply.section(Section::Answer).map(|view| Rr::read(&view));
        answer.records = records.collect::<Result<_, _>>()?;
        let soa = reply
            .section(Section::Authority)
            .find(|view| view.rtype == rtype::SOA);
        answer.soa = soa.map(|view| view.owner()).transpose()?.map(name);
        let options = reply.edns().into_iter().flat_map(Edns::options);
        let ede = options.filter(|(code, _)| *code == Edns::EDE);
        answer.ede = ede.filter_map(|(_, data)| Ede::read(data)).collect();
        Ok(answer)
    }

    fn set_code(&mut self, code: Rcode) {
        self.code = code;
        self.rcode = rcode(code);
    }

    /// What it is worth to a resolver.
    pub(super) fn verdict(&self) -> Verdict {
        match self.code {
            Rcode::NOERROR if self.records.is_empty() => Verdict::NoData,
            Rcode::NOERROR => Verdict::Found,
            Rcode::NXDOMAIN => Verdict::NoName,
            Rcode::SERVFAIL => Verdict::Failed,
            _ => Verdict::Refused,
        }
    }

    /// The RDATA of the records of a type, those that an application gets.
    pub(super) fn data(&self, rtype: &str) -> impl Iterator<Item = &str> {
        let wanted = self.records.iter().filter(move |rr| rr.rtype == rtype);
        wanted.map(|rr| &*rr.data)
    }

    /// Whether another server said the same, whatever the TTLs and the order.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let sorted = |answer: &Self| {
            let records = answer.records.iter();
            let mut all: Vec<_> = records
                .map(|rr| {
                    let name = rr.name.to_ascii_lowercase();
                    (name, rr.rtype.clone(), rr.data.to_ascii_lowercase())
                })
                .collect();
            all.sort();
            all
        };
        self.code == other.code && sorted(self) == sorted(other)
    }
}

impl Rr {
    fn read(view: &RecordView<'_>) -> Result<Self, Error> {
        Ok(Self {
            name: name(view.owner()?),
            rtype: rtype::display(view.rtype).to_string(),
            ttl: view.ttl,
            data: data(view)?,
        })
    }
}

impl Ede {
    fn read(data: &[u8]) -> Option<Self> {
        let (code, text) = data.split_first_chunk()?;
        Some(Self {
            code: u16::from_be_bytes(*code),
            text: printable(&String::from_utf8_lossy(text)),
        })
    }
}

/// A response code as logs print it.
pub(super) fn rcode(code: Rcode) -> String {
    let mnemonic = code.mnemonic().map(ToOwned::to_owned);
    mnemonic.unwrap_or_else(|| format!("RCODE{}", code.0))
}

fn name(name: NameBuf) -> String {
    name.to_string()
}

fn data(view: &RecordView<'_>) -> Result<String, Error> {
    let record = view.to_record()?;
    let mut reader = Reader::new(&record.rdata);
    Ok(match view.rtype {
        rtype::A => Ipv4Addr::from(reader.array::<4>("RDATA")?).to_string(),
        rtype::AAAA => Ipv6Addr::from(reader.array::<16>("RDATA")?).to_string(),
        rtype::CNAME | rtype::NS | rtype::PTR | rtype::DNAME => next_name(&mut reader)?,
        rtype::MX => format!("{} {}", reader.u16("RDATA")?, next_name(&mut reader)?),
        rtype::SRV => {
            let [priority, weight, port] = [
                reader.u16("RDATA")?,
                reader.u16("RDATA")?,
                reader.u16("RDATA")?,
            ];
            format!("{priority} {weight} {port} {}", next_name(&mut reader)?)
        }
        rtype::SOA => {
            let (mname, rname) = (next_name(&mut reader)?, next_name(&mut reader)?);
            let mut text = format!("{mname} {rname}");
            for _ in 0..5 {
                let number = reader.u32("RDATA")?;
                text.push_str(&format!(" {number}"));
            }
            text
        }
        rtype::TXT => {
            let mut strings = Vec::new();
            while reader.any_left() {
                let len = reader.u8("RDATA")?;
                strings.push(quoted(reader.take(usize::from(len), "RDATA")?));
            }
            strings.join(" ")
        }
        _ => {
            let octets = record.rdata.iter().map(|octet| format!("{octet:02x}"));
            format!("\\# {} {}", record.rdata.len(), octets.collect::<String>())
        }
    })
}

fn next_name(reader: &mut Reader<'_>) -> Result<String, Error> {
    NameBuf::read_compressed(reader).map(name)
}

/// A character string with its quotes (RFC 1035 section 5.1).
fn quoted(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => text.push(char::from(*octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
    text.push('"');
    text
}

/// Text from a server without what would steer a terminal.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Ede as WireEde, RData, Record, rtype};

    fn request() -> Request {
        let name: NameBuf = "web.test.".parse().unwrap();
        let mut request = Request::new();
        request.ask(7, name.name(), rtype::A);
        request.edns_or_insert(1232);
        request
    }

    fn message(fill: impl FnOnce(&mut Reply)) -> Vec<u8> {
        let request = request();
        let mut reply = Reply::new();
        reply.start(&request);
        fill(&mut reply);
        reply.finish(&request, 65_535, &[]).to_vec()
    }

    fn read(message: &[u8]) -> Result<Answer, Error> {
        Answer::read(message, &request(), Duration::from_micros(1500), false)
    }

    #[test]
    fn records_are_shown_as_in_a_zone_file() {
        let name: NameBuf = "a.test.".parse().unwrap();
        let name = name.name();
        for (rdata, text) in [
            (RData::A([10, 0, 0, 1].into()), "10.0.0.1"),
            (RData::Aaaa(Ipv6Addr::LOCALHOST), "::1"),
            (RData::Cname(name), "a.test."),
            (
                RData::Srv {
                    priority: 0,
                    weight: 100,
                    port: 80,
                    target: name,
                },
                "0 100 80 a.test.",
            ),
            (
                RData::Txt(&[b"a \"b\"", b"\x1b[2J"]),
                "\"a \\\"b\\\"\" \"\\027[2J\"",
            ),
            (
                RData::Soa {
                    mname: name,
                    rname: name,
                    serial: 1,
                    timers: [2, 3, 4, 5],
                },
                "a.test. a.test. 1 2 3 4 5",
            ),
            (RData::Other(65_280, &[1, 255]), "\\# 2 01ff"),
        ] {
            let owner: NameBuf = "web.test.".parse().unwrap();
            let record = Record::new(Section::Answer, owner.name(), 5, &rdata);
            let answer = read(&message(|reply| reply.push_record(&record))).unwrap();
            assert_eq!(answer.records[0].data, text);
            assert_eq!(answer.records[0].name, "web.test.");
            assert_eq!(answer.verdict(), Verdict::Found);
        }
    }

    #[test]
    fn a_denial_says_whose_it_is() {
        let zone: NameBuf = "test.".parse().unwrap();
        let soa = RData::Soa {
            mname: zone.name(),
            rname: zone.name(),
            serial: 1,
            timers: [2, 3, 4, 5],
        };
        let answer = read(&message(|reply| {
            reply.set_rcode(Rcode::NXDOMAIN);
            reply.set_flag(flags::AA, true);
            reply.push_record(&Record::new(Section::Authority, zone.name(), 5, &soa));
            reply.set_ede(WireEde::new(3, "old\u{1b}[2J"));
        }));
        let answer = answer.unwrap();
        assert_eq!(answer.rcode, "NXDOMAIN");
        assert_eq!(answer.verdict(), Verdict::NoName);
        assert_eq!(answer.soa.as_deref(), Some("test."));
        assert_eq!(answer.milliseconds, 1.5);
        let text = "old\\u{1b}[2J".to_owned();
        assert_eq!(answer.ede, [Ede { code: 3, text }]);
    }

    #[test]
    fn answers_agree_whatever_their_order() {
        let with = |addresses: &[[u8; 4]]| {
            read(&message(|reply| {
                let addresses: Vec<Ipv4Addr> = addresses.iter().map(|a| (*a).into()).collect();
                reply.push_a(5, &addresses);
            }))
            .unwrap()
        };
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        assert!(with(&[a, b]).agrees(&with(&[b, a])));
        assert!(!with(&[a, b]).agrees(&with(&[a])));
        assert!(!with(&[]).agrees(&read(&message(|r| r.set_rcode(Rcode::NXDOMAIN))).unwrap()));
    }

    #[test]
    fn whatever_arrives_is_read_or_refused() {
        let whole = message(|reply| reply.push_a(5, &[[10, 0, 0, 1].into()]));
        for len in 0..whole.len() {
            if let Ok(cut) = read(&whole[..len]) {
                let right = cut.records.iter().all(|rr| rr.data == "10.0.0.1");
                assert!(right, "{len}: {cut:?}");
            }
        }
        let bare = [0, 7, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&bare).unwrap().rcode, "FORMERR");
    }
}
