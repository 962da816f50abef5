use smallvec::SmallVec;

use super::{
    Edns, Error, HEADER_LEN, Name, NameBuf, Reader, RecordView, Section, class, flags, opcode,
    record, rtype,
};

/// A query as the client sent it, and as plugins have changed it since.
///
/// One value is used again for query after query; see [`Request::parse`].
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The message as received.
    bytes: Vec<u8>,
    id: u16,
    flags: u16,
    qname: NameBuf,
    name: NameBuf,
    qtype: u16,
    qclass: u16,
    /// Where the question ends in `bytes`.
    body: usize,
    /// Records in `bytes` behind the question, the OPT included.
    counts: [u16; 3],
    edns: Edns,
    has_edns: bool,
    /// Whether question or EDNS no longer are what `bytes` say.
    edited: bool,
}

/// A message that never becomes a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reject {
    /// Too short for a header, or itself a response: no answer at all.
    Silent,
    /// An operation other than QUERY and NOTIFY.
    NotImplemented,
    /// Counts that no query has, or a question that does not parse.
    Malformed,
    /// A record that does not parse, behind a question that ends here.
    BadRecord(usize),
    /// A header that promises a question and ends.
    NoQuestion,
}

impl Reject {
    /// What answers `message`, if anything does: a header with the client's
    /// id and RD, and the question where there is one to be sent back.
    pub fn answer(self, message: &[u8]) -> Option<SmallVec<[u8; 64]>> {
        let mut reader = Reader::new(message);
        let id = reader.u16("header").ok()?;
        let asked = reader.u16("header").ok()?;
        let kept = asked & !(flags::OPCODE | flags::AA | flags::Z | flags::RCODE);
        let (word, question) = match self {
            Self::Silent => return None,
            Self::NotImplemented => (kept | (asked & flags::OPCODE) | 4, &[][..]),
            Self::Malformed => (kept | 1, &[][..]),
            Self::BadRecord(end) => (kept | 1, message.get(HEADER_LEN..end)?),
            Self::NoQuestion => (copied(asked) | 2, &[][..]),
        };
        let questions = u16::from(!question.is_empty());
        let words = [id, word | flags::QR, questions, 0, 0, 0];
        let mut answer: SmallVec<[u8; 64]> = words.into_iter().flat_map(u16::to_be_bytes).collect();
        answer.extend_from_slice(question);
        Some(answer)
    }
}

/// The header bits of a query that its reply has, too: CoreDNS copies RD and
/// CD for the opcode QUERY alone.
pub(super) fn copied(asked: u16) -> u16 {
    let operation = asked & flags::OPCODE;
    match operation >> 11 {
        opcode::QUERY => operation | (asked & (flags::RD | flags::CD)),
        _ => operation,
    }
}

impl Request {
    /// An empty request, to be filled by [`Request::parse`] or [`Request::ask`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a message from a client.
    ///
    /// What is accepted is what CoreDNS's listener accepts: one question, an
    /// opcode of QUERY or NOTIFY, at most one answer and one authority
    /// record, at most two additional ones. On an error the contents are
    /// unspecified.
    pub fn parse(&mut self, message: &[u8]) -> Result<(), Reject> {
        let (words, _) = message.as_chunks::<2>();
        let [id, bits, counts @ ..] = *words.first_chunk::<6>().ok_or(Reject::Silent)?;
        let [id, bits] = [id, bits].map(u16::from_be_bytes);
        let [questions, answers, authorities, additionals] = counts.map(u16::from_be_bytes);
        if bits & flags::QR != 0 {
            return Err(Reject::Silent);
        }
        if !matches!((bits & flags::OPCODE) >> 11, opcode::QUERY | opcode::NOTIFY) {
            return Err(Reject::NotImplemented);
        }
        if questions != 1 || answers > 1 || authorities > 1 || additionals > 2 {
            return Err(Reject::Malformed);
        }
        let mut reader = Reader::at(message, HEADER_LEN);
        if !reader.any_left() {
            return Err(Reject::NoQuestion);
        }
        self.id = id;
        self.flags = bits;
        self.counts = [answers, authorities, additionals];
        let whole = self
            .read_question(&mut reader)
            .map_err(|_| Reject::Malformed)?;
        self.read_records(&reader)
            .map_err(|_| Reject::BadRecord(self.body))?;
        self.bytes.clear();
        self.bytes.extend_from_slice(message);
        self.edited = !whole;
        Ok(())
    }

    /// Whether the question is there in full: like miekg/dns, and CoreDNS with
    /// it, we let a message end behind the name or the type.
    fn read_question(&mut self, reader: &mut Reader<'_>) -> Result<bool, Error> {
        let name = Name::read(reader)?;
        self.qname.set(name);
        self.name.set_lower(name);
        let mut field = || match reader.any_left() {
            true => reader.u16("question"),
            false => Ok(0),
        };
        self.qtype = field()?;
        self.qclass = field()?;
        self.body = reader.position();
        Ok(self.body == HEADER_LEN + self.question_len())
    }

    fn read_records(&mut self, reader: &Reader<'_>) -> Result<(), Error> {
        self.has_edns = false;
        if self.counts == [0; 3] {
            return Ok(());
        }
        for view in record::views(reader.message(), self.body, self.counts) {
            let view = view?;
            if view.rtype != rtype::OPT {
                // A record without data is one of a dynamic update.
                if !view.rdata().is_empty() {
                    view.to_record()?;
                }
                continue;
            }
            self.edns.read(view.class, view.ttl, view.rdata())?;
            self.edns.check()?;
            // Elsewhere an OPT is no EDNS (RFC 6891 section 6.1.1).
            self.has_edns = view.section == Section::Additional;
        }
        Ok(())
    }

    /// Becomes a fresh query for `name`, with recursion desired and no EDNS.
    pub fn ask(&mut self, id: u16, name: Name<'_>, qtype: u16) {
        self.id = id;
        self.flags = flags::RD;
        self.qname.set(name);
        self.name.set_lower(name);
        self.qtype = qtype;
        self.qclass = class::IN;
        self.counts = [0; 3];
        self.has_edns = false;
        self.edns.clear();
        self.bytes.clear();
        self.body = 0;
        self.edited = true;
    }

    /// Becomes `other` with another question: what CoreDNS's upstream lookup
    /// sends through the server, with the client's flags and EDNS.
    pub fn ask_as(&mut self, other: &Self, name: Name<'_>, qtype: u16) {
        self.ask(other.id, name, qtype);
        self.flags = other.flags;
        if let Some(edns) = other.edns() {
            self.edns.copy_from(edns);
            self.has_edns = true;
        }
    }

    /// The message id.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The second word of the header; see [`flags`].
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

    /// The operation.
    pub fn opcode(&self) -> u16 {
        (self.flags & flags::OPCODE) >> 11
    }

    /// The queried name with the letter case of the client.
    pub fn qname(&self) -> Name<'_> {
        self.qname.name()
    }

    /// The queried name in lower case.
    pub fn name(&self) -> Name<'_> {
        self.name.name()
    }

    /// The queried type.
    pub fn qtype(&self) -> u16 {
        self.qtype
    }

    /// The queried class.
    pub fn qclass(&self) -> u16 {
        self.qclass
    }

    /// Asks for another name.
    pub fn set_qname(&mut self, name: Name<'_>) {
        self.qname.set(name);
        self.name.set_lower(name);
        self.edited = true;
    }

    /// Asks for another type.
    pub fn set_qtype(&mut self, qtype: u16) {
        self.qtype = qtype;
        self.edited = true;
    }

    /// Asks in another class.
    pub fn set_qclass(&mut self, qclass: u16) {
        self.qclass = qclass;
        self.edited = true;
    }

    /// What the client said about itself by EDNS.
    pub fn edns(&self) -> Option<&Edns> {
        self.has_edns.then_some(&self.edns)
    }

    /// EDNS for a change that upstreams and the reply shall see.
    pub fn edns_mut(&mut self) -> Option<&mut Edns> {
        self.edited |= self.has_edns;
        self.has_edns.then_some(&mut self.edns)
    }

    /// EDNS for a change; one with this UDP size is made where the client sent none.
    pub fn edns_or_insert(&mut self, udp_size: u16) -> &mut Edns {
        if !self.has_edns {
            self.edns.clear();
            self.edns.udp_size = udp_size;
            self.has_edns = true;
        }
        self.edited = true;
        &mut self.edns
    }

    /// Forgets what the client said by EDNS.
    pub fn clear_edns(&mut self) {
        self.edited |= self.has_edns;
        self.has_edns = false;
    }

    /// Octets that its buffer holds on to.
    pub fn buffer_size(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether DNSSEC records are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.edns().is_some_and(Edns::dnssec_ok)
    }

    /// The octets of the message as received; 0 for a query of our own making.
    pub fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    /// The message as received; empty for a query of our own making.
    pub fn received(&self) -> &[u8] {
        &self.bytes
    }

    /// The records behind the question, as received, the OPT included.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        record::views(&self.bytes, self.body, self.counts).filter_map(Result::ok)
    }

    /// Octets of the query that [`Request::write`] writes, before any record but the OPT.
    pub fn question_len(&self) -> usize {
        self.qname.wire().len() + 4
    }

    /// Appends the query as it now stands, under another id.
    ///
    /// An unchanged query goes out octet by octet as it came; a changed one
    /// is written anew.
    pub fn write(&self, id: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&self.flags.to_be_bytes());
        if !self.edited {
            out.extend_from_slice(self.bytes.get(4..).unwrap_or_default());
            return;
        }
        let start = out.len() - 4;
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        self.write_question(out);
        let mut counts = [0u16; 3];
        for view in self.records().filter(|view| view.rtype != rtype::OPT) {
            let Ok(record) = view.to_record() else {
                continue;
            };
            record.write_plain(out);
            if let Some(count) = counts.get_mut(record.section as usize) {
                *count += 1;
            }
        }
        if let Some(edns) = self.edns() {
            edns.write(out);
            counts[Section::Additional as usize] += 1;
        }
        for (slot, octet) in out
            .iter_mut()
            .skip(start + 6)
            .zip(counts.into_iter().flat_map(u16::to_be_bytes))
        {
            *slot = octet;
        }
    }

    /// Appends the question with the letter case of the client.
    pub fn write_question(&self, out: &mut Vec<u8>) {
        let kind = [self.qtype, self.qclass].map(u16::to_be_bytes);
        out.extend_from_slice(self.qname.wire());
        out.extend_from_slice(kind.as_flattened());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bits: u16, counts: [u16; 4], body: &[u8]) -> Vec<u8> {
        let mut message = vec![0xAB, 0xCD];
        message.extend(bits.to_be_bytes());
        message.extend(counts.into_iter().flat_map(u16::to_be_bytes));
        message.extend_from_slice(body);
        message
    }

    const QUESTION: &[u8] = b"\x03WwW\x07example\x03org\0\0\x01\0\x01";
    const OPT: &[u8] = b"\0\0\x29\x04\xD0\0\0\x80\0\0\0";

    #[test]
    fn a_plain_query_goes_on_as_it_came() {
        let bytes = message(flags::RD, [1, 0, 0, 1], &[QUESTION, OPT].concat());
        let mut request = Request::new();
        request.parse(&bytes).unwrap();
        assert_eq!(request.qname().to_string(), "WwW.example.org.");
        assert_eq!(request.name().to_string(), "www.example.org.");
        assert_eq!((request.qtype(), request.qclass()), (rtype::A, class::IN));
        assert_eq!(request.edns().map(|edns| edns.udp_size), Some(1232));
        assert!(request.dnssec_ok());

        let mut out = Vec::new();
        request.write(0x0102, &mut out);
        assert_eq!(out[..2], [1, 2]);
        assert_eq!(out[2..], bytes[2..]);
    }

    #[test]
    fn a_changed_query_is_written_anew() {
        let mut request = Request::new();
        request
            .parse(&message(flags::RD, [1, 0, 0, 1], &[QUESTION, OPT].concat()))
            .unwrap();
        request.set_qtype(rtype::AAAA);
        request.edns_mut().unwrap().udp_size = 512;
        let mut out = Vec::new();
        request.write(7, &mut out);

        let mut again = Request::new();
        again.parse(&out).unwrap();
        assert_eq!(again.qtype(), rtype::AAAA);
        assert_eq!(again.edns().unwrap().udp_size, 512);
        assert_eq!(out.len(), request.wire_len());
    }

    #[test]
    fn what_is_no_query_is_rejected() {
        let ok = QUESTION;
        for (bytes, reject) in [
            (vec![], Reject::Silent),
            (vec![0; 11], Reject::Silent),
            (message(flags::QR, [1, 0, 0, 0], ok), Reject::Silent),
            (message(5 << 11, [1, 0, 0, 0], ok), Reject::NotImplemented),
            (message(0, [0, 0, 0, 0], ok), Reject::Malformed),
            (message(0, [2, 0, 0, 0], ok), Reject::Malformed),
            (message(0, [1, 2, 0, 0], ok), Reject::Malformed),
            (message(0, [1, 0, 2, 0], ok), Reject::Malformed),
            (message(0, [1, 0, 0, 3], ok), Reject::Malformed),
            (message(0, [1, 0, 0, 0], b""), Reject::NoQuestion),
            (message(0, [1, 0, 0, 0], b"\x05a"), Reject::Malformed),
            (
                message(0, [1, 0, 0, 0], b"\xC0\x0C\0\x01\0\x01"),
                Reject::Malformed,
            ),
            (
                message(
                    0,
                    [1, 0, 0, 1],
                    &[ok, b"\0\0\x29\0\0\0\0\0\0\0\x05"].concat(),
                ),
                Reject::BadRecord(12 + ok.len()),
            ),
        ] {
            assert_eq!(Request::new().parse(&bytes), Err(reject), "{bytes:?}");
        }
    }

    #[test]
    fn a_rejected_message_is_answered_by_a_header() {
        let asked = message((5 << 11) | flags::RD | flags::AA, [1, 0, 0, 0], QUESTION);
        let answer = Reject::NotImplemented.answer(&asked).unwrap();
        assert_eq!(answer[..], *b"\xAB\xCD\xA9\x04\0\0\0\0\0\0\0\0");
        let answer = Reject::Malformed.answer(&asked).unwrap();
        assert_eq!(answer[..], *b"\xAB\xCD\x81\x01\0\0\0\0\0\0\0\0");
        assert_eq!(Reject::Silent.answer(&asked), None);
        let answer = Reject::BadRecord(asked.len()).answer(&asked).unwrap();
        assert_eq!(answer[..HEADER_LEN], *b"\xAB\xCD\x81\x01\0\x01\0\0\0\0\0\0");
        assert_eq!(answer[HEADER_LEN..], *QUESTION);
    }

    #[test]
    fn a_question_may_end_early_and_is_then_written_in_full() {
        for (body, qtype, qclass) in [
            (&QUESTION[..QUESTION.len() - 2], 1, 0),
            (&QUESTION[..QUESTION.len() - 4], 0, 0),
        ] {
            let mut request = Request::new();
            request.parse(&message(0, [1, 0, 0, 0], body)).unwrap();
            assert_eq!((request.qtype(), request.qclass()), (qtype, qclass));
            let mut out = Vec::new();
            request.write(7, &mut out);
            assert_eq!(out.len(), HEADER_LEN + QUESTION.len());
        }
    }

    #[test]
    fn an_opt_counts_in_the_additional_section_alone() {
        let body = [QUESTION, OPT].concat();
        for (counts, has) in [
            ([1, 1, 0, 0], false),
            ([1, 0, 1, 0], false),
            ([1, 0, 0, 1], true),
        ] {
            let mut request = Request::new();
            request.parse(&message(0, counts, &body)).unwrap();
            assert_eq!(request.edns().is_some(), has, "{counts:?}");
        }
    }
}
