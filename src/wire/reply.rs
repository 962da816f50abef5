use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

mod order;
mod stored;

pub use order::Packed;
pub use stored::Stored;

use crate::denial::Denial;
use crate::response::{Origin, Source};

use super::{
    Ede, Edns, Error, HEADER_LEN, Name, RData, Rcode, Reader, Record, RecordView, Request, Section,
    class, flags, record, request, rtype,
};

/// The answer in the making, always in wire form.
///
/// Names are compressed as records are pushed; the OPT record is kept apart
/// until [`Reply::finish`], so no plugin meets it among the records. One
/// value serves query after query; [`Reply::start`] begins the next.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Header, question and records. The header's octets are only right
    /// after [`Reply::seal`]; until then the fields below are.
    buf: Vec<u8>,
    id: u16,
    flags: u16,
    rcode: Rcode,
    counts: [u16; 3],
    question_end: usize,
    edns: Edns,
    has_edns: bool,
    ede: Option<Ede>,
    live: bool,
    origin: Origin,
    /// Where names lie that later ones may point to.
    names: SmallVec<[u16; 32]>,
}

/// Who owns a record that is pushed.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// The name of the question, with the client's letter case.
    Question,
    /// Another name.
    Name(Name<'a>),
}

/// A pointer to the question's name, which always begins behind the header.
const QUESTION_POINTER: [u8; 2] = [0xC0, HEADER_LEN as u8];
/// How far back a pointer can reach (RFC 1035 section 4.1.4).
const POINTER_LIMIT: usize = 0x3FFF;
/// How many places are remembered as targets for pointers.
const REMEMBERED_NAMES: usize = 64;

impl Reply {
    /// An empty reply, to be begun by [`Reply::start`].
    pub fn new() -> Self {
        Self {
            buf: Vec::new(),
            id: 0,
            flags: flags::QR,
            rcode: Rcode::NOERROR,
            counts: [0; 3],
            question_end: HEADER_LEN,
            edns: Edns::default(),
            has_edns: false,
            ede: None,
            live: false,
            origin: Origin::default(),
            names: SmallVec::new(),
        }
    }

    /// Begins the reply to `request`: its id, its opcode, its RD and CD on a
    /// QUERY, its question; no record, NOERROR.
    pub fn start(&mut self, request: &Request) {
        self.id = request.id();
        self.flags = flags::QR | request::copied(request.flags());
        self.rcode = Rcode::NOERROR;
        self.counts = [0; 3];
        self.has_edns = false;
        self.ede = None;
        self.live = false;
        self.origin = Origin::default();
        self.names.clear();
        self.buf.clear();
        self.buf.extend_from_slice(&[0; HEADER_LEN]);
        request.write_question(&mut self.buf);
        self.question_end = self.buf.len();
    }

    /// Takes over a message from elsewhere, an upstream's or a cache's, as
    /// the reply to `request`.
    ///
    /// Header bits and records are as received, the OPT is kept apart, id
    /// and question become those of the request. The message must answer
    /// the request's question: one of another name or type is refused, and
    /// so is one whose records do not parse.
    pub fn adopt(&mut self, message: &[u8], request: &Request) -> Result<(), Error> {
        let mut reader = Reader::new(message);
        let [_, bits, questions, counts @ ..] = reader.header()?;
        if bits & flags::QR == 0 {
            return Err(Error::BadData("header: not a response"));
        }
        self.start(request);
        if questions != 1 {
            return Err(Error::BadData("question count"));
        }
        let name = Name::read(&mut reader)?;
        let asked = (reader.u16("question")?, reader.u16("question")?);
        if !name.eq_ignore_case(request.qname()) || asked != (request.qtype(), request.qclass()) {
            return Err(Error::BadData("question: not the one asked"));
        }
        self.origin.source = Source::Upstream;
        self.flags = bits & !flags::RCODE;
        self.rcode = Rcode(bits & flags::RCODE);
        let from = reader.position();
        let mut end = from;
        let mut first_opt = None;
        let mut kept = [0u16; 3];
        for view in record::views(message, from, counts) {
            let view = view?;
            view.owner()?;
            if view.rtype == rtype::OPT {
                // Of several the last one counts, as in miekg/dns.
                self.edns.read(view.class, view.ttl, view.rdata())?;
                self.rcode = Rcode((bits & flags::RCODE) | (u16::from(self.edns.ext_rcode) << 4));
                self.has_edns = true;
                first_opt.get_or_insert_with(|| view.range());
            } else if let Some(count) = kept.get_mut(view.section as usize) {
                *count += 1;
            }
            end = view.range().end;
        }
        match first_opt {
            // Something behind an OPT, if only another one: what follows it
            // may be pointed to, so cutting it out means writing the rest anew.
            Some(range) if range.end != end => {
                let records = record::views(message, from, counts)
                    .filter_map(Result::ok)
                    .filter(|view| view.rtype != rtype::OPT)
                    .map(|view| view.to_record())
                    .collect::<Result<Vec<_>, _>>()?;
                self.replace_records(&records);
                return Ok(());
            }
            Some(range) => end = range.start,
            None => {}
        }
        self.counts = kept;
        self.buf
            .extend_from_slice(message.get(from..end).unwrap_or_default());
        Ok(())
    }

    /// The response code, its extended bits included.
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// Sets the response code.
    pub fn set_rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    /// The second word of the header without the response code.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    /// Whether all bits of `flag` are set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }

    /// Sets or clears header bits.
    pub fn set_flag(&mut self, flag: u16, on: bool) {
        match on {
            true => self.flags |= flag,
            false => self.flags &= !flag,
        }
    }

    /// How many records a section has, the OPT not counted.
    pub fn count(&self, section: Section) -> usize {
        self.counts
            .get(section as usize)
            .map_or(0, |count| usize::from(*count))
    }

    /// What the OPT of the reply says, if it has one of its own.
    pub fn edns(&self) -> Option<&Edns> {
        self.has_edns.then_some(&self.edns)
    }

    /// The OPT of the reply, for a change.
    pub fn edns_mut(&mut self) -> Option<&mut Edns> {
        self.has_edns.then_some(&mut self.edns)
    }

    /// The OPT of the reply; made with this UDP size where there is none.
    pub fn edns_or_insert(&mut self, udp_size: u16) -> &mut Edns {
        if !self.has_edns {
            self.edns.clear();
            self.edns.udp_size = udp_size;
            self.has_edns = true;
        }
        &mut self.edns
    }

    /// Drops the OPT that an upstream or a cache sent along.
    pub fn clear_edns(&mut self) {
        self.has_edns = false;
    }

    /// Says why the answer is what it is, to clients that speak EDNS.
    pub fn set_ede(&mut self, ede: Ede) {
        self.ede = Some(ede);
    }

    /// Says that the answer was made from state that may change at any
    /// moment, such as the cluster's: no cache keeps it or touches its TTLs.
    pub fn set_live(&mut self) {
        self.live = true;
    }

    /// Whether the answer is [live](Self::set_live).
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Where the answer comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Says where the answer comes from. It was made here until somebody says
    /// otherwise; [`Reply::adopt`] and [`Reply::restore`] do.
    pub fn set_source(&mut self, source: Source) {
        self.origin.source = source;
    }

    /// Says why the name does not exist; it counts where the answer is NXDOMAIN.
    pub fn set_denial(&mut self, denial: Denial) {
        self.origin.denial = Some(denial);
    }

    /// Why the name does not exist, if the answer says that.
    pub fn denial(&self) -> Option<Denial> {
        let Origin { source, denial } = self.origin;
        (self.rcode == Rcode::NXDOMAIN).then(|| denial.unwrap_or_else(|| source.denial()))
    }

    /// Appends a record of class IN.
    ///
    /// Sections are written in their order: a record for an earlier section
    /// than the last one is a defect of the caller.
    pub fn push(&mut self, section: Section, owner: Owner<'_>, ttl: u32, rdata: &RData<'_>) {
        self.push_class(section, owner, class::IN, ttl, rdata);
    }

    /// Appends a record taken apart before.
    pub fn push_record(&mut self, record: &Record) {
        let owner = Owner::Name(record.owner.name());
        let rdata = RData::Other(record.rtype, &record.rdata);
        self.push_class(record.section, owner, record.class, record.ttl, &rdata);
    }

    /// Appends address records of class IN that the question's name owns:
    /// `packed` holds the addresses, 4 octets each for A, 16 for AAAA.
    pub fn push_addresses(&mut self, ttl: u32, rtype: u16, packed: &[u8]) {
        match rtype {
            rtype::A => self.push_octets::<4, 16>(ttl, rtype, packed.as_chunks().0.iter().copied()),
            _ => self.push_octets::<16, 28>(ttl, rtype, packed.as_chunks().0.iter().copied()),
        }
    }

    /// Appends A records of class IN that the question's name owns.
    pub fn push_a(&mut self, ttl: u32, addresses: &[Ipv4Addr]) {
        let octets = addresses.iter().map(Ipv4Addr::octets);
        self.push_octets::<4, 16>(ttl, rtype::A, octets);
    }

    /// Appends AAAA records of class IN that the question's name owns.
    pub fn push_aaaa(&mut self, ttl: u32, addresses: &[Ipv6Addr]) {
        let octets = addresses.iter().map(Ipv6Addr::octets);
        self.push_octets::<16, 28>(ttl, rtype::AAAA, octets);
    }

    /// Appends records of `RECORD` octets for addresses of `SIZE`.
    fn push_octets<const SIZE: usize, const RECORD: usize>(
        &mut self,
        ttl: u32,
        rtype: u16,
        addresses: impl ExactSizeIterator<Item = [u8; SIZE]>,
    ) {
        let [name_a, name_b] = QUESTION_POINTER;
        let [type_a, type_b] = rtype.to_be_bytes();
        let [class_a, class_b] = class::IN.to_be_bytes();
        let [ttl_a, ttl_b, ttl_c, ttl_d] = ttl.to_be_bytes();
        let [size_a, size_b] = (SIZE as u16).to_be_bytes();
        let fields = [
            name_a, name_b, type_a, type_b, class_a, class_b, ttl_a, ttl_b, ttl_c, ttl_d, size_a,
            size_b,
        ];
        let mut record = [0; RECORD];
        let (head, _) = record.split_at_mut(RECORD - SIZE);
        head.copy_from_slice(&fields);
        let [answers, ..] = &mut self.counts;
        *answers = answers.saturating_add(addresses.len().try_into().unwrap_or(u16::MAX));
        self.buf.reserve(addresses.len() * RECORD);
        for address in addresses {
            let (_, data) = record.split_at_mut(RECORD - SIZE);
            data.copy_from_slice(&address);
            self.buf.extend_from_slice(&record);
        }
    }

    /// Appends a record in wire form that was made for this reply: the names
    /// in it are whole, or end in a pointer into the question's name, which
    /// begins behind the header.
    pub fn push_wire(&mut self, section: Section, record: &[u8]) {
        self.buf.extend_from_slice(record);
        self.count_one(section);
    }

    /// Appends a record as [`Self::push`] does, of any class.
    pub fn push_class(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        class: u16,
        ttl: u32,
        rdata: &RData<'_>,
    ) {
        debug_assert!(
            self.counts
                .iter()
                .skip(section as usize + 1)
                .all(|count| *count == 0),
            "sections are written in order"
        );
        match owner {
            Owner::Question => self.buf.extend_from_slice(&QUESTION_POINTER),
            Owner::Name(name) => self.push_name(name),
        }
        self.buf.extend_from_slice(&rdata.rtype().to_be_bytes());
        self.buf.extend_from_slice(&class.to_be_bytes());
        self.buf.extend_from_slice(&ttl.to_be_bytes());
        let len_at = self.buf.len();
        self.buf.extend_from_slice(&[0, 0]);
        let mut buf = std::mem::take(&mut self.buf);
        let (names, seed) = (&mut self.names, self.question_end);
        rdata.write(&mut buf, |out, name, compressible| match compressible {
            true => write_name(out, names, seed, name),
            false => out.extend_from_slice(name.wire()),
        });
        self.buf = buf;
        let len = u16::try_from(self.buf.len() - len_at - 2).unwrap_or(u16::MAX);
        for (slot, octet) in self.buf.iter_mut().skip(len_at).zip(len.to_be_bytes()) {
            *slot = octet;
        }
        self.count_one(section);
    }

    fn push_name(&mut self, name: Name<'_>) {
        write_name(&mut self.buf, &mut self.names, self.question_end, name);
    }

    fn count_one(&mut self, section: Section) {
        if let Some(count) = self.counts.get_mut(section as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// The records in order, the OPT not among them.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        // Whatever is in `buf` was written here or walked by `adopt`.
        record::views(&self.buf, self.question_end, self.counts).filter_map(Result::ok)
    }

    /// The records of one section.
    pub fn section(&self, section: Section) -> impl Iterator<Item = RecordView<'_>> {
        self.records().filter(move |view| view.section == section)
    }

    /// Copies of all records, for plugins that must take a reply apart.
    pub fn to_records(&self) -> Vec<Record> {
        self.records()
            .filter_map(|view| view.to_record().ok())
            .collect()
    }

    /// Replaces all records; they are sorted by section, otherwise in the order given.
    pub fn replace_records<'r>(
        &mut self,
        records: impl IntoIterator<Item = &'r Record, IntoIter: Clone>,
    ) {
        self.clear_records();
        let records = records.into_iter();
        for section in [Section::Answer, Section::Authority, Section::Additional] {
            for record in records.clone().filter(|record| record.section == section) {
                self.push_record(record);
            }
        }
    }

    /// Drops all records; header, question and EDNS stay.
    pub fn clear_records(&mut self) {
        self.buf.truncate(self.question_end);
        self.counts = [0; 3];
        self.names.clear();
    }

    /// Drops the records behind the answer section.
    pub fn keep_answer_only(&mut self) {
        let end = self
            .section(Section::Answer)
            .last()
            .map_or(self.question_end, |view| view.range().end);
        self.buf.truncate(end);
        self.names.clear();
        let [answers, _, _] = self.counts;
        self.counts = [answers, 0, 0];
    }

    /// Passes the TTL of every record through `map`, in seconds.
    pub fn map_ttls(&mut self, mut map: impl FnMut(&RecordView<'_>) -> u32) {
        let places: SmallVec<[(usize, u32); 16]> = self
            .records()
            .map(|view| (view.ttl_at(), map(&view)))
            .collect();
        for (at, ttl) in places {
            for (slot, octet) in self.buf.iter_mut().skip(at).zip(ttl.to_be_bytes()) {
                *slot = octet;
            }
        }
    }

    /// The smallest TTL of any record, in seconds; `None` where there is no record.
    pub fn min_ttl(&self) -> Option<u32> {
        self.records().map(|view| view.ttl).min()
    }

    /// The question of the reply: name, type and class in wire form.
    pub fn question(&self) -> &[u8] {
        self.buf
            .get(HEADER_LEN..self.question_end)
            .unwrap_or_default()
    }

    /// Makes the question that of `request` again; what points to its name
    /// keeps doing so if the names are of one length, otherwise the records
    /// are written anew with the owners they had.
    pub fn set_question(&mut self, request: &Request) {
        let fits = request.question_len() == self.question_end - HEADER_LEN;
        let same = fits
            && Name::read(&mut Reader::at(&self.buf, HEADER_LEN))
                .is_ok_and(|name| name.eq_ignore_case(request.qname()));
        let records = if same { Vec::new() } else { self.to_records() };
        let tail = self.buf.split_off(self.question_end);
        self.buf.truncate(HEADER_LEN);
        request.write_question(&mut self.buf);
        self.question_end = self.buf.len();
        if same {
            self.buf.extend_from_slice(&tail);
        } else {
            self.replace_records(&records);
        }
    }

    /// The message as it stands, without OPT: what a cache keeps.
    pub fn wire(&mut self) -> &[u8] {
        self.seal(0);
        &self.buf
    }

    /// Octets of the message as it stands, without OPT.
    pub fn wire_len(&self) -> usize {
        self.buf.len()
    }

    /// Writes the header, with so many OPT records.
    fn seal(&mut self, opts: u16) {
        let [answers, authorities, additionals] = self.counts;
        let words = [
            self.id,
            self.flags | (self.rcode.0 & flags::RCODE),
            1,
            answers,
            authorities,
            additionals.saturating_add(opts),
        ];
        if let Some(header) = self.buf.first_chunk_mut::<HEADER_LEN>() {
            header.copy_from_slice(words.map(u16::to_be_bytes).as_flattened());
        }
    }

    /// Makes the reply ready to be sent, within `limit` octets.
    ///
    /// The OPT follows CoreDNS's rules (reference: EDNS in replies): a
    /// client without EDNS gets none unless the reply has one of its own; a
    /// client with EDNS gets its own size and DO back, and of its options
    /// those that may be echoed, `echoed` adding to the list. Records that
    /// do not fit go from the end, and TC says so.
    pub fn finish(&mut self, request: &Request, limit: usize, echoed: &[u16]) -> &[u8] {
        self.finish_edns(request, echoed);
        let room = limit.saturating_sub(if self.has_edns {
            self.edns.wire_len()
        } else {
            0
        });
        if self.buf.len() > room {
            self.cut(room);
        }
        self.seal(self.has_edns.into());
        if self.has_edns {
            self.edns.write(&mut self.buf);
        }
        &self.buf
    }

    /// The octets that [`Reply::finish`] returned last.
    pub fn finished(&self) -> &[u8] {
        &self.buf
    }

    /// Octets that its buffer holds on to.
    pub fn buffer_size(&self) -> usize {
        self.buf.capacity()
    }

    fn finish_edns(&mut self, request: &Request, echoed: &[u16]) {
        let Some(client) = request.edns() else {
            self.edns.ext_rcode = (self.rcode.0 >> 4) as u8;
            return;
        };
        if self.has_edns {
            self.edns.version = 0;
            self.edns.udp_size = client.udp_size;
            self.edns.flags = (self.edns.flags | client.flags) & Edns::DO;
        } else {
            self.has_edns = true;
            self.edns.copy_from(client);
            self.edns.version = 0;
            // CoreDNS masks with 0xff00: DO and the seven bits behind it.
            self.edns.flags &= 0xFF00;
            self.edns.retain_options(|code, _| {
                matches!(
                    code,
                    Edns::NSID | Edns::EXPIRE | Edns::COOKIE | Edns::TCP_KEEPALIVE | Edns::PADDING
                ) || echoed.contains(&code)
            });
        }
        self.edns.ext_rcode = (self.rcode.0 >> 4) as u8;
        if let Some(ede) = self.ede.take() {
            ede.write(&mut self.edns);
        }
    }

    /// Keeps the records that end within `room` octets.
    fn cut(&mut self, room: usize) {
        let mut end = self.question_end;
        let mut kept = [0u16; 3];
        for view in self.records().take_while(|view| view.range().end <= room) {
            end = view.range().end;
            if let Some(count) = kept.get_mut(view.section as usize) {
                *count += 1;
            }
        }
        self.buf.truncate(end);
        self.counts = kept;
        self.flags |= flags::TC;
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self::new()
    }
}

/// An [`Ede`] whose text is made at run time.
impl From<(u16, String)> for Ede {
    fn from((code, text): (u16, String)) -> Self {
        Self {
            code,
            text: Cow::Owned(text),
        }
    }
}

/// Appends `name`, with a pointer where a tail of it lies in the message already.
fn write_name(
    out: &mut Vec<u8>,
    names: &mut SmallVec<[u16; 32]>,
    question_end: usize,
    name: Name<'_>,
) {
    if names.is_empty() {
        remember(names, out, HEADER_LEN, question_end);
    }
    let start = out.len();
    let mut rest = name;
    while !rest.is_root() {
        let found = names
            .iter()
            .find(|at| lies_at(out, usize::from(**at), rest));
        if let Some(at) = found {
            out.extend_from_slice(&(0xC000 | at).to_be_bytes());
            remember_labels(names, start, name, rest);
            return;
        }
        let Some(parent) = rest.parent() else { break };
        let label = rest.wire().len() - parent.wire().len();
        out.extend_from_slice(rest.wire().get(..label).unwrap_or_default());
        rest = parent;
    }
    out.push(0);
    remember_labels(names, start, name, rest);
}

/// Remembers the labels of `name`, written at `start`, up to the tail `rest`.
fn remember_labels(names: &mut SmallVec<[u16; 32]>, start: usize, name: Name<'_>, rest: Name<'_>) {
    let mut at = start;
    let mut tail = name;
    while tail.wire().len() > rest.wire().len() && names.len() < REMEMBERED_NAMES {
        if at > POINTER_LIMIT {
            return;
        }
        names.push(at as u16);
        let Some(parent) = tail.parent() else { return };
        at += tail.wire().len() - parent.wire().len();
        tail = parent;
    }
}

fn remember(names: &mut SmallVec<[u16; 32]>, out: &[u8], at: usize, question_end: usize) {
    let question = out.get(..question_end).unwrap_or_default();
    if let Ok(name) = Name::read(&mut Reader::at(question, at)) {
        remember_labels(names, at, name, Name::ROOT);
    }
}

/// Whether the name at offset `at` is `name`, letter case included.
fn lies_at(out: &[u8], mut at: usize, name: Name<'_>) -> bool {
    let mut rest = name.wire();
    loop {
        let Some(&len) = out.get(at) else {
            return false;
        };
        if len & 0xC0 == 0xC0 {
            let Some(&low) = out.get(at + 1) else {
                return false;
            };
            at = usize::from(u16::from_be_bytes([len & 0x3F, low]));
            continue;
        }
        let size = 1 + usize::from(len);
        let Some((label, behind)) = rest.split_at_checked(size) else {
            return false;
        };
        if out.get(at..at + size) != Some(label) {
            return false;
        }
        if len == 0 {
            return behind.is_empty();
        }
        rest = behind;
        at += size;
    }
}

#[cfg(test)]
mod tests;
