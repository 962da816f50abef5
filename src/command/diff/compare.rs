//! What differs between two answers to one question.
//!
//! Records count as sets: their order is the server's to choose, and one that
//! comes twice is one (RFC 2181 section 5). What differs on purpose
//! (docs/differences.md), or by the hour alone, is [`Known`]: told apart and
//! counted, no difference unless the operator says so. EDNS is not compared,
//! but for the Extended DNS Error.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use serde::Serialize;

use crate::ask::Answer;
use crate::wire::{
    self, Edns, HEADER_LEN, Rcode, Reader, Record, Section, class, flags, records, rtype,
};

/// A part of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Part {
    /// The response code.
    Rcode,
    /// The flag for authoritative answers.
    Aa,
    /// The flag for recursion available.
    Ra,
    /// The flag for authentic data.
    Ad,
    /// The records of the answer section.
    Answer,
    /// The records of the authority section.
    Authority,
    /// The records of the additional section.
    Additional,
}

/// What may differ and is no fault.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(super) enum Known {
    /// The serial of an SOA: when the server last saw a change.
    Serial,
    /// TTLs: one counts down what the other has just learnt.
    Ttl,
    /// The letter case of names.
    Case,
    /// One answer was truncated over UDP and the other was not; what is
    /// compared came over TCP.
    Truncation,
    /// The Extended DNS Error (RFC 8914).
    Ede,
    /// Answers of class CH: the server's own name and version.
    Identity,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Rcode => "rcode",
            Self::Aa => "aa",
            Self::Ra => "ra",
            Self::Ad => "ad",
            Self::Answer => "answer",
            Self::Authority => "authority",
            Self::Additional => "additional",
        }
    }
}

impl Known {
    /// As options and results spell it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Ttl => "ttl",
            Self::Case => "case",
            Self::Truncation => "truncation",
            Self::Ede => "ede",
            Self::Identity => "identity",
        }
    }
}

/// What the operator wants compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// These parts do not count.
    pub(super) ignore: Vec<Part>,
    /// These count.
    pub(super) strict: Vec<Known>,
    /// TTLs count where they are farther apart than this, in seconds.
    pub(super) ttl: Option<u32>,
}

/// One part of the answer that is not the same.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Difference {
    /// `reply`, the name of a [`Part`], or of a [`Known`] that was asked to count.
    pub(super) what: &'static str,
    /// What only the one server says.
    pub(super) server: Vec<String>,
    /// What only the other says.
    pub(super) against: Vec<String>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Findings {
    /// What counts.
    pub(super) differences: Vec<Difference>,
    /// What does not.
    pub(super) known: BTreeSet<Known>,
}

/// An answer in a form that compares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// A message.
    Message(Message),
    /// A message that cannot be read, and why.
    Broken(wire::Error),
    /// Nothing, and why.
    Nothing(&'static str),
}

/// A message in a form that compares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message {
    rcode: Rcode,
    flags: u16,
    /// It had to be asked for by TCP.
    truncated: bool,
    ede: Option<u16>,
    records: BTreeMap<Key, Record>,
}

/// What makes two records the same: all in lower case, without what differs by the hour.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    section: Section,
    rtype: u16,
    class: u16,
    owner: Vec<u8>,
    rdata: Vec<u8>,
}

impl Said {
    /// Reads an answer; `by_udp` says that a datagram was asked for first.
    pub(super) fn read(answer: &Answer, by_udp: bool) -> Self {
        match Message::read(&answer.message) {
            Ok(message) => Self::Message(Message {
                truncated: by_udp && answer.tcp,
                ..message
            }),
            Err(error) => Self::Broken(error),
        }
    }

    /// Whether a server was there.
    pub(super) const fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing(_))
    }

    fn in_short(&self) -> String {
        match self {
            Self::Message(message) => message.rcode_text(),
            Self::Broken(error) => format!("malformed: {error}"),
            Self::Nothing(why) => format!("no answer: {why}"),
        }
    }
}

impl Message {
    fn read(message: &[u8]) -> Result<Self, wire::Error> {
        let mut reader = Reader::new(message);
        let [_, bits, questions, counts @ ..] = reader.header()?;
        for _ in 0..questions {
            reader.skip_name()?;
            reader.u32("question")?;
        }
        let mut read = Self {
            rcode: Rcode(bits & flags::RCODE),
            flags: bits,
            truncated: false,
            ede: None,
            records: BTreeMap::new(),
        };
        for view in records(message, reader.position().max(HEADER_LEN), counts) {
            let view = view?;
            if view.rtype == rtype::OPT {
                let mut edns = Edns::default();
                edns.read(view.class, view.ttl, view.rdata())?;
                read.rcode.0 |= u16::from(edns.ext_rcode) << 4;
                let code = edns.option(Edns::EDE).and_then(<[u8]>::first_chunk);
                read.ede = code.map(|code| u16::from_be_bytes(*code));
            } else {
                let record = view.to_record()?;
                read.records.insert(Key::of(&record), record);
            }
        }
        Ok(read)
    }

    /// The records of a section that `other` does not have.
    fn only<'a>(&'a self, other: &Self, section: Section) -> Vec<&'a Record> {
        let here = self
            .records
            .iter()
            .filter(|(key, _)| key.section == section);
        let only = here.filter(|(key, _)| !other.records.contains_key(key));
        only.map(|(_, record)| record).collect()
    }

    fn rcode_text(&self) -> String {
        let name = self.rcode.mnemonic().map(str::to_owned);
        name.unwrap_or_else(|| format!("RCODE{}", self.rcode.0))
    }
}

impl Key {
    fn of(record: &Record) -> Self {
        let mut lower = record.clone();
        lower.map_names(|name| Some(name.to_lower()));
        if record.rtype == rtype::SOA
            && let Some(serial) = serial_of(&mut lower.rdata)
        {
            serial.fill(0);
        }
        Self {
            section: record.section,
            rtype: record.rtype,
            class: record.class,
            owner: record.owner.name().to_lower().wire().to_vec(),
            rdata: lower.rdata,
        }
    }
}

/// The serial: behind two names come five numbers, and it is the first.
fn serial_of(rdata: &mut [u8]) -> Option<&mut [u8]> {
    let at = rdata.len().checked_sub(20)?;
    rdata.get_mut(at..at + 4)
}

/// What differs between what the one and the other server said.
pub(super) fn compare(server: &Said, against: &Said, rules: &Rules) -> Findings {
    let mut findings = Findings::default();
    match (server, against) {
        (Said::Message(server), Said::Message(against)) => {
            messages(server, against, rules, &mut findings);
        }
        _ if server == against => {}
        _ => findings.differences.push(Difference {
            what: "reply",
            server: vec![server.in_short()],
            against: vec![against.in_short()],
        }),
    }
    findings
}

fn messages(server: &Message, against: &Message, rules: &Rules, findings: &mut Findings) {
    let sides = [server, against];
    findings.note(
        rules,
        Part::Rcode,
        sides.map(|side| vec![side.rcode_text()]),
    );
    for (part, flag) in [
        (Part::Aa, flags::AA),
        (Part::Ra, flags::RA),
        (Part::Ad, flags::AD),
    ] {
        let is_set = |side: &Message| yes_or_no(side.flags & flag != 0);
        findings.note(rules, part, sides.map(is_set));
    }
    for (part, section) in [
        (Part::Answer, Section::Answer),
        (Part::Authority, Section::Authority),
        (Part::Additional, Section::Additional),
    ] {
        let only = [server.only(against, section), against.only(server, section)];
        let of_ch = |record: &&Record| record.class == class::CH;
        let chaos = !only.concat().is_empty() && only.iter().flatten().all(of_ch);
        let lines = only.map(|records| records.into_iter().map(text).collect());
        match chaos {
            true => findings.know(rules, Known::Identity, lines),
            false => findings.note(rules, part, lines),
        }
    }
    let is_truncated = |side: &Message| yes_or_no(side.truncated);
    findings.know(rules, Known::Truncation, sides.map(is_truncated));
    let ede = |side: &Message| side.ede.map(|code| code.to_string()).into_iter().collect();
    findings.know(rules, Known::Ede, sides.map(ede));
    for (key, one) in &server.records {
        if let Some(other) = against.records.get(key) {
            nuances(one, other, rules, findings);
        }
    }
}

/// How two records differ that are the same.
fn nuances(one: &Record, other: &Record, rules: &Rules, findings: &mut Findings) {
    let lines = || [one, other].map(|record| vec![text(record)]);
    if one.ttl.abs_diff(other.ttl) > rules.ttl.unwrap_or(0) {
        match rules.ttl {
            Some(_) => findings.count(Known::Ttl, lines()),
            None => findings.know(rules, Known::Ttl, lines()),
        }
    }
    let (mut mine, mut theirs) = (one.rdata.clone(), other.rdata.clone());
    if one.rtype == rtype::SOA
        && let (Some(a), Some(b)) = (serial_of(&mut mine), serial_of(&mut theirs))
        && a != b
    {
        findings.know(rules, Known::Serial, lines());
        a.copy_from_slice(b);
    }
    if one.owner.wire() != other.owner.wire() || mine != theirs {
        findings.know(rules, Known::Case, lines());
    }
}

impl Findings {
    /// Whether the answers count as the same.
    pub(super) const fn are_same(&self) -> bool {
        self.differences.is_empty()
    }

    fn note(&mut self, rules: &Rules, part: Part, [server, against]: [Vec<String>; 2]) {
        if server != against && !rules.ignore.contains(&part) {
            self.differences.push(Difference {
                what: part.name(),
                server,
                against,
            });
        }
    }

    fn know(&mut self, rules: &Rules, known: Known, lines: [Vec<String>; 2]) {
        if lines[0] == lines[1] {
            return;
        }
        match rules.strict.contains(&known) {
            true => self.count(known, lines),
            false => {
                self.known.insert(known);
            }
        }
    }

    fn count(&mut self, known: Known, [server, against]: [Vec<String>; 2]) {
        let what = known.name();
        let mut counted = self.differences.iter_mut();
        match counted.find(|counted| counted.what == what) {
            Some(counted) => {
                counted.server.extend(server);
                counted.against.extend(against);
            }
            None => self.differences.push(Difference {
                what,
                server,
                against,
            }),
        }
    }
}

fn yes_or_no(yes: bool) -> Vec<String> {
    vec![if yes { "yes" } else { "no" }.to_owned()]
}

/// A record as a line of a zone file; RDATA that is not what its type says in
/// the form of RFC 3597 section 5.
fn text(record: &Record) -> String {
    let mut plain = Vec::new();
    record.write_plain(&mut plain);
    match hickory_proto::rr::Record::read(&mut BinDecoder::new(&plain)) {
        Ok(record) => record.to_string(),
        Err(_) => {
            let hex: String = record.rdata.iter().map(|b| format!("{b:02x}")).collect();
            format!(
                "{} {} {} {} \\# {} {hex}",
                record.owner.name(),
                record.ttl,
                class::display(record.class),
                rtype::display(record.rtype),
                record.rdata.len()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presentation::record::parse;

    /// An answer to `web.shop. A`: flags and code, then records of the answer,
    /// the authority and the additional section.
    fn said(bits: u16, sections: [&[&str]; 3]) -> Said {
        let mut message = [0, bits, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
        message.extend(b"\x03web\x04shop\x00\x00\x01\x00\x01");
        for (nth, lines) in sections.into_iter().enumerate() {
            message[7 + 2 * nth] = lines.len() as u8;
            for line in lines {
                match line.strip_prefix("EDE ") {
                    Some(code) => {
                        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0]);
                        message.push(code.parse().unwrap());
                    }
                    None => parse(line).unwrap().unwrap().write_plain(&mut message),
                }
            }
        }
        Said::Message(Message::read(&message).unwrap())
    }

    const QR: u16 = flags::QR;
    const A1: &str = "web.shop. 30 IN A 10.0.0.1";
    const A2: &str = "web.shop. 30 IN A 10.0.0.2";
    const SOA: &str = "shop. 30 IN SOA ns.shop. mail.shop. 1 2 3 4 5";

    fn found(one: &Said, other: &Said, rules: &Rules) -> (Vec<&'static str>, Vec<&'static str>) {
        let findings = compare(one, other, rules);
        let known = findings.known.into_iter().map(Known::name).collect();
        let counted = findings.differences.iter().map(|found| found.what);
        (counted.collect(), known)
    }

    #[test]
    fn what_differs_and_what_only_seems_to() {
        let one = said(QR, [&[A1, A2], &[], &[]]);
        #[rustfmt::skip]
        let table: &[(Said, &[&str], &[&str])] = &[
            (said(QR, [&[A2, A1], &[], &[]]), &[], &[]),
            (said(QR, [&[A1, A1, A2], &[], &[]]), &[], &[]),
            (said(QR, [&[A1], &[], &[]]), &["answer"], &[]),
            (said(QR, [&[A1, A2, "web.shop. 30 IN A 10.0.0.3"], &[], &[]]), &["answer"], &[]),
            (said(QR | 3, [&[], &[SOA], &[]]), &["rcode", "answer", "authority"], &[]),
            (said(QR | flags::AA | flags::RA | flags::AD, [&[A1, A2], &[], &[]]), &["aa", "ra", "ad"], &[]),
            (said(QR, [&[A1, A2], &[], &[A1]]), &["additional"], &[]),
            (said(QR, [&["web.shop. 5 IN A 10.0.0.1", A2], &[], &[]]), &[], &["ttl"]),
            (said(QR, [&["WEB.shop. 30 IN A 10.0.0.1", A2], &[], &[]]), &[], &["case"]),
            (said(QR, [&[A1, A2], &[], &["EDE 3"]]), &[], &["ede"]),
            (Said::Nothing("timeout"), &["reply"], &[]),
        ];
        for (other, counted, known) in table {
            let found = found(&one, other, &Rules::default());
            assert_eq!(found, (counted.to_vec(), known.to_vec()), "{other:?}");
        }
    }

    #[test]
    fn serials_and_names_of_servers_are_known() {
        let later = SOA.replace(" 1 2", " 7 2").replace("mail", "MAIL");
        let (one, other) = (
            said(QR | 3, [&[], &[SOA], &[]]),
            said(QR | 3, [&[], &[&later], &[]]),
        );
        let default = found(&one, &other, &Rules::default());
        assert_eq!(default, (vec![], vec!["serial", "case"]));
        let retry = said(QR | 3, [&[], &[&SOA.replace(" 3 4", " 9 4")], &[]]);
        assert_eq!(found(&one, &retry, &Rules::default()).0, ["authority"]);
        let version = |text| said(QR, [&[&format!("version.bind. 0 CH TXT {text}")], &[], &[]]);
        let names = found(&version("Pando"), &version("CoreDNS"), &Rules::default());
        assert_eq!(names, (vec![], vec!["identity"]));
    }

    #[test]
    fn the_operator_says_what_counts() {
        let one = said(QR | flags::AA, [&[A1], &[], &[]]);
        let other = said(QR, [&["web.shop. 27 IN A 10.0.0.1"], &[], &["EDE 3"]]);
        let rules = |ignore: &[Part], strict: &[Known], ttl| Rules {
            ignore: ignore.to_vec(),
            strict: strict.to_vec(),
            ttl,
        };
        #[rustfmt::skip]
        let table: [(Rules, &[&str], &[&str]); 4] = [
            (rules(&[], &[], None), &["aa"], &["ttl", "ede"]),
            (rules(&[Part::Aa], &[Known::Ede], None), &["ede"], &["ttl"]),
            (rules(&[Part::Aa], &[], Some(3)), &[], &["ede"]),
            (rules(&[Part::Aa], &[], Some(2)), &["ttl"], &["ede"]),
        ];
        for (rules, counted, known) in table {
            assert_eq!(
                found(&one, &other, &rules),
                (counted.to_vec(), known.to_vec()),
                "{rules:?}"
            );
        }
    }

    #[test]
    fn records_are_told_as_in_a_zone_file() {
        let other = said(QR, [&[r"web.shop. 30 IN TYPE52 \# 1 0a"], &[], &[]]);
        let findings = compare(&said(QR, [&[A1], &[], &[]]), &other, &Rules::default());
        assert_eq!(findings.differences[0].server, [A1]);
        assert_eq!(
            findings.differences[0].against,
            [r"web.shop. 30 IN TLSA \# 1 0a"]
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_answers_are_read_or_refused(octets: Vec<u8>) {
            let _ = Message::read(&octets);
            let mut header = vec![0, 0, 0x80, 0, 0, 0, 0, 9, 0, 9, 0, 9];
            header.extend(octets);
            let _ = Message::read(&header);
        }
    }
}
