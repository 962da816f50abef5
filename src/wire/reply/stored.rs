use smallvec::SmallVec;

use super::Reply;
use crate::denial::Denial;
use crate::response::Source;
use crate::wire::{Ede, Name, Rcode, Reader, Request, flags};

/// A reply that was put away, to answer the same question again.
///
/// Header bits, response code and records are kept, the OPT is not. Records
/// stay in wire form, so that putting them back is one copy and a store for
/// each TTL; names that point to the question's name follow the letter case
/// of the client that asks.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The question in lower case, then the records as they lay behind it.
    octets: Box<[u8]>,
    /// Octets of the question.
    question: u16,
    /// Where the TTLs lie, counted from the end of the question.
    ttls: SmallVec<[u16; 12]>,
    counts: [u16; 3],
    flags: u16,
    rcode: Rcode,
    denial: Option<Denial>,
    ede: Option<Box<Ede>>,
}

impl Stored {
    /// Copies what `reply` says.
    pub fn new(reply: &Reply) -> Self {
        let question = reply.question().len();
        let body = super::HEADER_LEN + question;
        let mut octets: Box<[u8]> = reply
            .buf
            .get(super::HEADER_LEN..)
            .unwrap_or_default()
            .into();
        if let Some(name) = octets.get_mut(..question.saturating_sub(4)) {
            name.make_ascii_lowercase();
        }
        Self {
            octets,
            // A name of 255 octets at most, a type and a class.
            question: question as u16,
            // A message has no more octets than fit 16 bits.
            ttls: reply
                .records()
                .map(|view| (view.ttl_at() - body) as u16)
                .collect(),
            counts: reply.counts,
            flags: reply.flags,
            rcode: reply.rcode,
            denial: reply.origin.denial,
            ede: reply.ede.clone().map(Box::new),
        }
    }

    /// Whether `request` asks the question that this answers.
    pub fn answers(&self, request: &Request) -> bool {
        let Some((name, kind)) = self.question().split_last_chunk::<4>() else {
            return false;
        };
        let [a, b, c, d] = *kind;
        name == request.name().wire()
            && (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
                == (request.qtype(), request.qclass())
    }

    /// The queried name in lower case.
    pub fn name(&self) -> Name<'_> {
        Name::read(&mut Reader::new(&self.octets)).unwrap_or(Name::ROOT)
    }

    /// The queried type and class.
    pub fn asked(&self) -> Option<(u16, u16)> {
        let (_, [a, b, c, d]) = self.question().split_last_chunk()?;
        Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
    }

    /// It as a message of id 0 without OPT, so with the lower bits of the
    /// response code alone. TTLs are as they were when it was put away.
    pub fn message(&self) -> Vec<u8> {
        let [answers, authorities, additionals] = self.counts;
        let bits = self.flags | (self.rcode.0 & flags::RCODE);
        let header = [0, bits, 1, answers, authorities, additionals];
        let header = header.into_iter().flat_map(u16::to_be_bytes);
        header.chain(self.octets.iter().copied()).collect()
    }

    /// Why the answer is what it is.
    pub fn ede(&self) -> Option<&Ede> {
        self.ede.as_deref()
    }

    /// The response code.
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// The second word of the header without the response code.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    fn question(&self) -> &[u8] {
        self.octets
            .get(..usize::from(self.question))
            .unwrap_or_default()
    }
}

impl Reply {
    /// Becomes the answer to `request` with the response code and records of
    /// `stored`, all of one TTL in seconds. Header bits are those of a fresh
    /// reply. `stored` must [answer](Stored::answers) the request.
    pub fn restore(&mut self, stored: &Stored, request: &Request, ttl: u32) {
        self.start(request);
        let records = stored
            .octets
            .get(usize::from(stored.question)..)
            .unwrap_or_default();
        self.buf.extend_from_slice(records);
        self.counts = stored.counts;
        self.rcode = stored.rcode;
        self.origin.source = Source::Cache;
        self.origin.denial = stored.denial;
        self.ede = stored.ede.as_deref().cloned();
        let ttl = ttl.to_be_bytes();
        let Some(records) = self.buf.get_mut(self.question_end..) else {
            return;
        };
        for at in &stored.ttls {
            let at = usize::from(*at);
            if let Some(slot) = records.get_mut(at..at + 4) {
                slot.copy_from_slice(&ttl);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{NameBuf, Owner, RData, Section, flags, rtype};

    fn request(name: &str, qtype: u16) -> Request {
        let mut request = Request::new();
        request.ask(7, name.parse::<NameBuf>().unwrap().name(), qtype);
        request
    }

    #[test]
    fn a_stored_reply_answers_the_next_client() {
        let first = request("WWW.example.org", rtype::A);
        let mut reply = Reply::new();
        reply.start(&first);
        reply.set_flag(flags::RA | flags::AA, true);
        let target: NameBuf = "web.example.org".parse().unwrap();
        reply.push(
            Section::Answer,
            Owner::Question,
            60,
            &RData::Cname(target.name()),
        );
        let address = RData::A([192, 0, 2, 1].into());
        reply.push(Section::Answer, Owner::Name(target.name()), 300, &address);
        reply.push(Section::Additional, Owner::Question, 9, &address);
        reply.edns_or_insert(512);
        let stored = Stored::new(&reply);
        assert_eq!(stored.name().to_string(), "www.example.org.");
        assert_eq!(stored.flags(), reply.flags());

        let second = request("www.EXAMPLE.org", rtype::A);
        assert!(stored.answers(&second));
        assert!(!stored.answers(&request("www.example.org", rtype::AAAA)));
        assert!(!stored.answers(&request("ww.example.org", rtype::A)));
        reply.restore(&stored, &second, 17);
        let shown: Vec<String> = reply
            .records()
            .map(|view| format!("{} {} {}", view.owner().unwrap(), view.ttl, view.rtype))
            .collect();
        assert_eq!(
            shown,
            [
                "www.EXAMPLE.org. 17 5",
                "web.EXAMPLE.org. 17 1",
                "www.EXAMPLE.org. 17 1"
            ]
        );
        assert!(reply.edns().is_none());
        assert!(!reply.has(flags::RA));
        assert_eq!(reply.count(Section::Additional), 1);
    }
}
