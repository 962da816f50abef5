//! What is asked again: queries as they were sent, or made of a name and a type.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::BuildHasher;

use crate::ask::{self, Transport};
use crate::presentation::{parse_name, record::type_by_name};
use crate::upstream::message;
use crate::wire::{Name, NameBuf, RecordView, Reject, Request, class, flags, opcode, rtype};

/// Questions that are remembered so as not to be asked twice; 8 octets each.
const MOST_REMEMBERED: usize = 1 << 20;

/// A query that both servers get.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Query {
    /// Its id counts for nothing.
    pub(super) message: Vec<u8>,
    /// Whether it was sent by TCP.
    pub(super) tcp: bool,
    name: NameBuf,
    qtype: u16,
    qclass: u16,
    /// What else an answer may depend on: the header's flags, and of EDNS size and flags.
    manner: (u16, Option<(u16, u16)>),
}

/// Why a message is not asked again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Skip {
    /// An answer, or no DNS at all.
    NoQuery,
    /// NOTIFY, UPDATE and their like change what the server serves.
    Opcode,
    /// Zone transfers have many messages.
    Transfer,
    /// A signature does not hold for another id.
    Signed,
    /// Not one of the zones that were asked for.
    Zone,
    /// The capture, or the tap, does not have the whole message.
    Cut,
    /// A fragment of an IP packet.
    Fragment,
    /// A query that lies in several segments of TCP.
    Segments,
    /// A link layer that is not understood.
    Link,
}

impl Skip {
    /// As results spell it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoQuery => "no_query",
            Self::Opcode => "opcode",
            Self::Transfer => "transfer",
            Self::Signed => "signed",
            Self::Zone => "zone",
            Self::Cut => "cut",
            Self::Fragment => "fragment",
            Self::Segments => "segments",
            Self::Link => "link",
        }
    }
}

impl Query {
    /// A query of our own: `NAME [TYPE]`, in class IN, with EDNS.
    ///
    /// # Errors
    ///
    /// What is wrong with the line.
    pub(super) fn of_line(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let text = words.next().unwrap_or_default();
        let name = parse_name(text).ok_or_else(|| format!("no domain name: {text:?}"))?;
        let qtype = match words.next() {
            None => rtype::A,
            Some(word) => type_of(word).ok_or_else(|| format!("no record type: {word:?}"))?,
        };
        if let Some(extra) = words.next() {
            return Err(format!("more than a name and a type: {extra:?}"));
        }
        if matches!(qtype, rtype::AXFR | rtype::IXFR | rtype::OPT) {
            return Err(format!("cannot be asked: {}", rtype::display(qtype)));
        }
        Ok(Self {
            message: ask::query(name.name(), qtype, Some(ask::UDP_SIZE)),
            tcp: false,
            name,
            qtype,
            qclass: class::IN,
            manner: (flags::RD, Some((ask::UDP_SIZE, 0))),
        })
    }

    /// A query as it was captured.
    ///
    /// # Errors
    ///
    /// Why it is none to ask again.
    pub(super) fn captured(bytes: &[u8], tcp: bool) -> Result<Self, Skip> {
        if message::is_reply(bytes) || message::question(bytes).is_none() {
            return Err(Skip::NoQuery);
        }
        let mut request = Request::new();
        match request.parse(bytes) {
            Ok(()) if request.opcode() == opcode::QUERY => {}
            Ok(()) | Err(Reject::NotImplemented) => return Err(Skip::Opcode),
            Err(_) => return Err(Skip::NoQuery),
        }
        if matches!(request.qtype(), rtype::AXFR | rtype::IXFR) {
            return Err(Skip::Transfer);
        }
        let signature =
            |record: RecordView<'_>| matches!(record.rtype, rtype::TSIG | rtype::SIG | rtype::TKEY);
        if request.records().any(signature) {
            return Err(Skip::Signed);
        }
        Ok(Self {
            message: bytes.to_vec(),
            tcp,
            name: request.qname().to_buf(),
            qtype: request.qtype(),
            qclass: request.qclass(),
            manner: (
                request.flags(),
                request.edns().map(|edns| (edns.udp_size, edns.flags)),
            ),
        })
    }

    /// The name that it asks for.
    pub(super) fn name(&self) -> Name<'_> {
        self.name.name()
    }

    /// The type that it asks for, as text.
    pub(super) fn qtype(&self) -> String {
        rtype::display(self.qtype).to_string()
    }

    /// As it is to be asked: what was truncated for the client is asked for whole.
    pub(super) const fn transport(&self) -> Transport {
        match self.tcp {
            true => Transport::Tcp,
            false => Transport::Either,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name.name(), rtype::display(self.qtype))?;
        if self.qclass != class::IN {
            write!(f, " class {}", class::display(self.qclass))?;
        }
        if self.tcp {
            f.write_str(" by TCP")?;
        }
        Ok(())
    }
}

fn type_of(word: &str) -> Option<u16> {
    let upper = word.to_ascii_uppercase();
    let number = || upper.strip_prefix("TYPE")?.parse().ok();
    type_by_name(&upper).or_else(number)
}

/// Lets through what is to be asked, and counts what is not.
#[derive(Debug)]
pub(super) struct Sieve {
    zones: Vec<NameBuf>,
    left: Option<u64>,
    seen: HashSet<u64>,
    hasher: foldhash::quality::RandomState,
    /// Messages that were offered.
    pub(super) read: u64,
    /// Queries that were like one before.
    pub(super) repeated: u64,
    /// Messages that are none to ask again, by reason.
    pub(super) skipped: BTreeMap<&'static str, u64>,
}

impl Sieve {
    /// For names in one of `zones`, or all names without any, and at most `limit` questions.
    pub(super) fn new(zones: Vec<NameBuf>, limit: Option<u64>) -> Self {
        Self {
            zones,
            left: limit,
            seen: HashSet::new(),
            hasher: Default::default(),
            read: 0,
            repeated: 0,
            skipped: BTreeMap::new(),
        }
    }

    /// Whether no question is let through any more.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// The query if it is to be asked.
    pub(super) fn take(&mut self, offered: Result<Query, Skip>) -> Option<Query> {
        self.read += 1;
        let within = |query: &Query| {
            let name = query.name().to_lower();
            let mut zones = self.zones.iter();
            self.zones.is_empty() || zones.any(|zone| name.name().is_under(zone.name()))
        };
        let offered = offered.and_then(|query| match within(&query) {
            true => Ok(query),
            false => Err(Skip::Zone),
        });
        match offered {
            Err(skip) => *self.skipped.entry(skip.name()).or_default() += 1,
            Ok(query) if self.is_new(&query) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(1);
                }
                return Some(query);
            }
            Ok(_) => self.repeated += 1,
        }
        None
    }

    /// Whether nothing like it was asked. Ids, letter case and the options of
    /// EDNS (cookies are new each time) make no other question. Beyond the
    /// bound of what is remembered everything is new.
    fn is_new(&mut self, query: &Query) -> bool {
        let Query {
            tcp,
            qtype,
            qclass,
            manner,
            ..
        } = query;
        let name = query.name().to_lower();
        let hash = self
            .hasher
            .hash_one((name.wire(), qtype, qclass, manner, tcp));
        if self.seen.contains(&hash) {
            return false;
        }
        if self.seen.len() < MOST_REMEMBERED {
            self.seen.insert(hash);
        }
        true
    }
}
