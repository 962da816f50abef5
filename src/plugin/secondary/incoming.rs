//! A transfer as it comes in: records to a zone (RFC 5936, RFC 1995). No I/O.

use std::sync::Arc;

use crate::plugin::zone::{Op, Refused, Soa, Zone};
use crate::wire::{
    self, Name, NameBuf, Rcode, Reader, Record, Request, Section, flags, opcode, rtype,
};

/// What a zone may take on the heap, in octets.
const MAX_ZONE: usize = 64 << 20;
/// What a primary may send for it, in octets.
const MAX_STREAM: usize = 256 << 20;

/// A zone on its way to be the next one.
pub(super) struct Incoming {
    origin: NameBuf,
    id: u16,
    /// The copy that differences are from.
    base: Option<Arc<Zone>>,
    state: State,
    received: usize,
    messages: usize,
}

enum State {
    /// Nothing has come.
    Begin,
    /// The first SOA, which says what the zone will be.
    Started(Soa),
    /// All records follow, up to the SOA again.
    Whole(Zone),
    /// Differences follow, from version to version.
    Differences {
        zone: Zone,
        last: Soa,
        phase: Phase,
    },
    Ended(Transferred),
    /// An error was returned.
    Broken,
}

#[derive(Clone)]
enum Phase {
    Removing,
    /// Up to this version.
    Adding(Soa),
}

/// What a transfer came to.
#[derive(Debug)]
pub(super) enum Transferred {
    /// The primary has nothing newer.
    Current,
    /// The zone as the primary has it.
    Zone(Arc<Zone>),
}

/// Why a transfer is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum TransferError {
    #[error("bad message: {0}")]
    Wire(#[from] wire::Error),
    #[error("not a reply to our question")]
    Stray,
    #[error("bad xfr rcode: {}", .0.0)]
    Rcode(Rcode),
    #[error("the answer is truncated")]
    Truncated,
    #[error("no SOA at the beginning")]
    NoStart,
    #[error(transparent)]
    Edit(#[from] Refused),
    #[error("differences from serial {0}, which is not ours")]
    OtherBase(u32),
    #[error("the serial changed on the way")]
    Serial,
    #[error("records behind the end")]
    Behind,
    #[error("no record in a message")]
    Empty,
    #[error("larger than {} MiB", MAX_ZONE >> 20)]
    TooLarge,
}

impl Incoming {
    /// A transfer of `origin` in reply to [`Self::question`]. With `base`
    /// differences are asked for.
    pub(super) fn new(origin: Name<'_>, base: Option<Arc<Zone>>, id: u16) -> Self {
        Self {
            origin: origin.to_lower(),
            id,
            base,
            state: State::Begin,
            received: 0,
            messages: 0,
        }
    }

    /// The message to send.
    pub(super) fn question(&self) -> Vec<u8> {
        let qtype = match self.base {
            Some(_) => rtype::IXFR,
            None => rtype::AXFR,
        };
        let mut request = Request::new();
        request.ask(self.id, self.origin.name(), qtype);
        request.set_flag(flags::RD, false);
        let mut message = Vec::new();
        request.write(self.id, &mut message);
        if let Some(base) = &self.base {
            base.soa_record().write_plain(&mut message);
            // One record of authority.
            if let Some(count) = message.get_mut(9) {
                *count = 1;
            }
        }
        message
    }

    /// Takes the next message in. `Some`: the transfer has ended.
    ///
    /// # Errors
    ///
    /// What makes all of it worthless.
    pub(super) fn take(&mut self, message: &[u8]) -> Result<Option<Transferred>, TransferError> {
        let taken = self.read(message);
        match (&taken, std::mem::replace(&mut self.state, State::Broken)) {
            (Ok(()), State::Ended(transferred)) => Ok(Some(transferred)),
            (Ok(()), state) => {
                self.state = state;
                Ok(None)
            }
            (Err(_), _) => taken.map(|()| None),
        }
    }

    fn read(&mut self, message: &[u8]) -> Result<(), TransferError> {
        self.received += message.len();
        if self.received > MAX_STREAM {
            return Err(TransferError::TooLarge);
        }
        let records = self.open(message)?;
        if records.is_empty() {
            return Err(TransferError::Empty);
        }
        self.messages += 1;
        let mut edits: Vec<(Op, Record)> = Vec::new();
        for record in records {
            if let Some(edit) = self.step(record, &mut edits)? {
                edits.push(edit);
            }
        }
        self.flush(&mut edits)
    }

    /// The records of a message, if it is one of ours.
    fn open(&self, message: &[u8]) -> Result<Vec<Record>, TransferError> {
        let mut reader = Reader::new(message);
        let [id, bits, questions, answers, authority, additional] = reader.header()?;
        let is_query = bits & flags::OPCODE == opcode::QUERY;
        if id != self.id || bits & flags::QR == 0 || !is_query {
            return Err(TransferError::Stray);
        }
        let rcode = Rcode(bits & flags::RCODE);
        if rcode != Rcode::NOERROR {
            return Err(TransferError::Rcode(rcode));
        }
        if bits & flags::TC != 0 {
            return Err(TransferError::Truncated);
        }
        // Messages behind the first one need not repeat the question.
        match questions {
            0 if self.messages > 0 => {}
            1 => {
                let name = NameBuf::read_compressed(&mut reader)?;
                let asked = (reader.u16("question")?, reader.u16("question")?);
                let xfr = matches!(asked.0, rtype::AXFR | rtype::IXFR);
                if !xfr || !name.name().eq_ignore_case(self.origin.name()) {
                    return Err(TransferError::Stray);
                }
            }
            _ => return Err(TransferError::Stray),
        }
        let counts = [answers, authority, additional];
        let views = wire::records(message, reader.position(), counts);
        let mut records = Vec::with_capacity(usize::from(answers));
        for view in views {
            let view = view?;
            if view.section == Section::Answer {
                records.push(view.to_record()?);
            }
        }
        match records.len() == usize::from(answers) {
            true => Ok(records),
            false => Err(wire::Error::MissingData("record").into()),
        }
    }

    /// Takes the next record in; returns what it changes.
    fn step(
        &mut self,
        record: Record,
        edits: &mut Vec<(Op, Record)>,
    ) -> Result<Option<(Op, Record)>, TransferError> {
        if record.rtype != rtype::SOA {
            let op = match &self.state {
                State::Begin => return Err(TransferError::NoStart),
                State::Ended(_) | State::Broken => return Err(TransferError::Behind),
                State::Started(soa) => {
                    self.state = State::Whole(Zone::new(self.origin.name(), soa.clone()));
                    Op::Add
                }
                State::Whole(_)
                | State::Differences {
                    phase: Phase::Adding(_),
                    ..
                } => Op::Add,
                State::Differences { .. } => Op::Remove,
            };
            return Ok(Some((op, record)));
        }
        let soa = Soa::of(&record, self.origin.name()).map_err(|why| Refused {
            owner: record.owner.to_string(),
            why,
        })?;
        self.flush(edits)?;
        self.state = match std::mem::replace(&mut self.state, State::Broken) {
            State::Begin => match &self.base {
                Some(base) if !soa.is_newer_than(base.soa().serial) => {
                    State::Ended(Transferred::Current)
                }
                _ => State::Started(soa),
            },
            State::Started(last) => match &self.base {
                // Nothing but a beginning and an end.
                _ if soa.serial == last.serial => ended(Zone::new(self.origin.name(), last)),
                Some(base) if soa.serial == base.soa().serial => State::Differences {
                    zone: Zone::clone(base),
                    last,
                    phase: Phase::Removing,
                },
                Some(_) => return Err(TransferError::OtherBase(soa.serial)),
                None => return Err(TransferError::Serial),
            },
            State::Whole(zone) if soa.serial == zone.soa().serial => ended(zone),
            State::Whole(_) => return Err(TransferError::Serial),
            State::Differences { zone, last, phase } => match phase {
                Phase::Removing => State::Differences {
                    zone,
                    last,
                    phase: Phase::Adding(soa),
                },
                Phase::Adding(reached) if soa.serial != reached.serial => {
                    return Err(TransferError::Serial);
                }
                Phase::Adding(reached) if reached.serial == last.serial => {
                    let mut zone = zone;
                    zone.set_soa(last);
                    ended(zone)
                }
                Phase::Adding(_) => State::Differences {
                    zone,
                    last,
                    phase: Phase::Removing,
                },
            },
            State::Ended(Transferred::Current) => State::Ended(Transferred::Current),
            State::Ended(_) | State::Broken => return Err(TransferError::Behind),
        };
        Ok(None)
    }

    /// Makes the changes so far.
    fn flush(&mut self, edits: &mut Vec<(Op, Record)>) -> Result<(), TransferError> {
        let (State::Whole(zone) | State::Differences { zone, .. }) = &mut self.state else {
            return Ok(());
        };
        if edits.is_empty() {
            return Ok(());
        }
        zone.apply(edits)?;
        edits.clear();
        match zone.size() > MAX_ZONE {
            true => Err(TransferError::TooLarge),
            false => Ok(()),
        }
    }
}

/// For the fuzzer: takes messages in, as differences from what `base` comes to
/// where that has messages; the zone as it would be handed on.
#[cfg(fuzzing)]
pub fn fuzz(
    origin: Name<'_>,
    id: u16,
    base: &[Vec<u8>],
    messages: &[Vec<u8>],
) -> Option<Vec<Record>> {
    let take = |base: Option<Arc<Zone>>, messages: &[Vec<u8>]| {
        let mut incoming = Incoming::new(origin, base, id);
        assert!(incoming.question().len() > wire::HEADER_LEN);
        for message in messages {
            match incoming.take(message) {
                Ok(None) => {}
                Ok(Some(Transferred::Zone(zone))) => return Some(zone),
                Ok(Some(Transferred::Current)) | Err(_) => return None,
            }
        }
        None
    };
    let base = take(None, base);
    let zone = take(base, messages)?;
    assert!(zone.size() <= MAX_ZONE);
    Some(zone.transfer().collect())
}

fn ended(zone: Zone) -> State {
    State::Ended(Transferred::Zone(Arc::new(zone)))
}
