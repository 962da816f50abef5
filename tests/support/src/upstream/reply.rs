//! What an upstream does with a query.

use std::time::Duration;

use anyhow::Context;
use hickory_proto::op::{Edns, Message, MessageType, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, Record};

use crate::records::record;

/// A reply and the ways in which it may go wrong.
///
/// By default it is what a good recursive server sends: id, question and RD
/// as asked, RA set, an OPT record if the query had one.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) how: How,
    pub(super) delay: Duration,
    pub(super) wrong_port: bool,
    pub(super) copies: usize,
    pub(super) close: bool,
}

#[derive(Clone, Debug)]
pub(super) enum How {
    Message(Box<Content>),
    Bytes(Vec<u8>),
    Silence,
}

#[derive(Clone, Debug)]
pub(super) struct Content {
    rcode: u16,
    bits: u16,
    cleared: u16,
    sections: [Vec<Record>; 3],
    edns: Option<Opt>,
    no_edns: bool,
    wrong_id: bool,
    question: Option<Name>,
    no_question: bool,
    cut: Option<usize>,
}

#[derive(Clone, Debug)]
struct Opt {
    size: u16,
    options: Vec<(u16, Vec<u8>)>,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            how: How::Message(Box::new(Content {
                rcode: 0,
                bits: 0x8080,
                cleared: 0,
                sections: Default::default(),
                edns: None,
                no_edns: false,
                wrong_id: false,
                question: None,
                no_question: false,
                cut: None,
            })),
            delay: Duration::ZERO,
            wrong_port: false,
            copies: 1,
            close: false,
        }
    }
}

impl Reply {
    /// NOERROR with these records, each as [`record`] reads it.
    ///
    /// # Panics
    ///
    /// When a text is no record.
    #[must_use]
    pub fn answer(records: &[&str]) -> Self {
        Self::default().section(0, records)
    }

    /// An RCODE by name (`NXDOMAIN`) and no records.
    ///
    /// # Panics
    ///
    /// When the name is unknown.
    #[must_use]
    pub fn rcode(name: &str) -> Self {
        let code = (0..=10u16).find(|&code| crate::records::rcode_name(code) == name);
        let code = code.unwrap_or_else(|| panic!("no RCODE: {name}"));
        Self::default().with(|content| content.rcode = code)
    }

    /// Nothing at all: the query is lost.
    #[must_use]
    pub fn silence() -> Self {
        Self {
            how: How::Silence,
            ..Self::default()
        }
    }

    /// These bytes in place of a message (TCP still frames them).
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self {
            how: How::Bytes(bytes.to_vec()),
            ..Self::default()
        }
    }

    /// Over TCP: closes the connection without a reply. Over UDP: silence.
    #[must_use]
    pub fn hang_up() -> Self {
        Self {
            close: true,
            ..Self::silence()
        }
    }

    /// Records for the authority section.
    ///
    /// # Panics
    ///
    /// When a text is no record.
    #[must_use]
    pub fn authority(self, records: &[&str]) -> Self {
        self.section(1, records)
    }

    /// Records for the additional section.
    ///
    /// # Panics
    ///
    /// When a text is no record.
    #[must_use]
    pub fn additional(self, records: &[&str]) -> Self {
        self.section(2, records)
    }

    /// Waits before it replies. Other queries are served meanwhile, also on
    /// the same connection, so replies overtake each other.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets TC.
    #[must_use]
    pub fn truncated(self) -> Self {
        self.bits(0x0200)
    }

    /// Sets AA.
    #[must_use]
    pub fn authoritative(self) -> Self {
        self.bits(0x0400)
    }

    /// Sets AD.
    #[must_use]
    pub fn authentic(self) -> Self {
        self.bits(0x0020)
    }

    /// Leaves RA clear.
    #[must_use]
    pub fn no_recursion(self) -> Self {
        self.with(|content| content.cleared |= 0x0080)
    }

    /// Sets header bits, of bytes 2 and 3.
    #[must_use]
    pub fn bits(self, bits: u16) -> Self {
        self.with(|content| content.bits |= bits)
    }

    /// Sends an OPT record of this size with these options, asked or not.
    #[must_use]
    pub fn edns(self, size: u16, options: &[(u16, &[u8])]) -> Self {
        let options = options.iter().map(|(code, data)| (*code, data.to_vec()));
        let options = options.collect();
        self.with(|content| content.edns = Some(Opt { size, options }))
    }

    /// Sends no OPT record even to who sent one.
    #[must_use]
    pub fn no_edns(self) -> Self {
        self.with(|content| content.no_edns = true)
    }

    /// Lies: another id than was asked with.
    #[must_use]
    pub fn wrong_id(self) -> Self {
        self.with(|content| content.wrong_id = true)
    }

    /// Lies: the question of another name.
    ///
    /// # Panics
    ///
    /// When this is no name.
    #[must_use]
    pub fn wrong_question(self, name: &str) -> Self {
        let name = Name::from_ascii(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.with(|content| content.question = Some(name))
    }

    /// Leaves the question out.
    #[must_use]
    pub fn no_question(self) -> Self {
        self.with(|content| content.no_question = true)
    }

    /// Lies: over UDP, sent from another port than was asked.
    #[must_use]
    pub fn wrong_port(mut self) -> Self {
        self.wrong_port = true;
        self
    }

    /// Cuts the message to its first `length` bytes.
    #[must_use]
    pub fn cut(self, length: usize) -> Self {
        self.with(|content| content.cut = Some(length))
    }

    /// Sends the reply more than once.
    #[must_use]
    pub fn copies(mut self, count: usize) -> Self {
        self.copies = count;
        self
    }

    /// Over TCP: closes the connection after this reply.
    #[must_use]
    pub fn then_close(mut self) -> Self {
        self.close = true;
        self
    }

    fn section(self, at: usize, records: &[&str]) -> Self {
        let parse = |text: &&str| record(text).unwrap_or_else(|error| panic!("{error}"));
        let records: Vec<_> = records.iter().map(parse).collect();
        self.with(|content| content.sections[at] = records)
    }

    fn with(mut self, change: impl FnOnce(&mut Content)) -> Self {
        if let How::Message(content) = &mut self.how {
            change(content);
        }
        self
    }

    /// The bytes for `query`, or `None` for silence.
    pub(super) fn render(&self, query: &Message) -> anyhow::Result<Option<Vec<u8>>> {
        match &self.how {
            How::Silence => Ok(None),
            How::Bytes(bytes) => Ok(Some(bytes.clone())),
            How::Message(content) => content.render(query).map(Some),
        }
    }
}

impl Content {
    fn render(&self, query: &Message) -> anyhow::Result<Vec<u8>> {
        let asked = &query.metadata;
        let id = asked.id ^ if self.wrong_id { 0x5555 } else { 0 };
        let mut reply = Message::new(id, MessageType::Response, asked.op_code);
        reply.metadata.recursion_desired = asked.recursion_desired;
        reply.metadata.checking_disabled = asked.checking_disabled;
        if !self.no_question {
            for question in &query.queries {
                let mut question: Query = question.clone();
                if let Some(name) = &self.question {
                    question.set_name(name.clone());
                }
                reply.add_query(question);
            }
        }
        let [answers, authorities, additionals] = self.sections.clone();
        reply.answers = answers;
        reply.authorities = authorities;
        reply.additionals = additionals;
        if let Some(Opt { size, options }) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(*size);
            for (code, data) in options {
                let option = EdnsOption::Unknown(*code, data.clone());
                edns.options_mut().options.push(((*code).into(), option));
            }
            reply.edns = Some(edns);
        } else if let (Some(asked), false) = (&query.edns, self.no_edns) {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            reply.edns = Some(edns);
        }
        let mut bytes = reply.to_vec().context("render a reply")?;
        let flags = u16::from_be_bytes([bytes[2], bytes[3]]);
        let flags = (flags | self.bits) & !self.cleared | self.rcode & 0xf;
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        if let Some(length) = self.cut {
            bytes.truncate(length);
        }
        Ok(bytes)
    }
}
