use std::sync::Arc;

use super::key::{self, Key};
use super::node::Node;
use super::tree::{Change, Tree};
use crate::wire::{Name, NameBuf, RData, Reader, Record, Section, class, rtype};

/// A zone.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Zone {
    origin: NameBuf,
    soa: Soa,
    pub(super) tree: Tree,
    pub(super) kinds: Kinds,
    records: usize,
}

/// How many records there are of those that make a search longer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kinds {
    /// NS below the apex.
    pub(super) delegations: usize,
    pub(super) dnames: usize,
    /// Of any type, at `*` or below.
    pub(super) wildcards: usize,
}

/// The start of a zone's authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::plugin) struct Soa {
    /// In seconds.
    pub(in crate::plugin) ttl: u32,
    pub(super) rdata: Box<[u8]>,
    /// The version of the zone.
    pub(in crate::plugin) serial: u32,
    /// In seconds: how often the primary is asked.
    pub(in crate::plugin) refresh: u32,
    /// In seconds: how often, while it does not answer.
    pub(in crate::plugin) retry: u32,
    /// In seconds: how long the zone is good without it.
    pub(in crate::plugin) expire: u32,
}

/// What an edit does with a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::plugin) enum Op {
    /// Adds it, or changes the TTL of one that is there.
    Add,
    /// Removes it, whatever its TTL.
    Remove,
}

/// A record that does not fit, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{owner}: {why}")]
pub(in crate::plugin) struct Refused {
    /// The record's owner, as text.
    pub(in crate::plugin) owner: String,
    /// What is wrong with it.
    pub(in crate::plugin) why: EditError,
}

/// Why a record does not fit a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::plugin) enum EditError {
    /// The owner is not in the zone.
    #[error("record of a name outside of the zone")]
    Outside,
    /// The class is not IN.
    #[error("record of another class than IN")]
    Class,
    /// A type that only exists in messages.
    #[error("record of a type that no zone has")]
    Type,
    /// As in CoreDNS.
    #[error("NSEC3 zones are not supported")]
    Nsec3,
    /// A SOA that is none, or not at the apex.
    #[error("bad SOA")]
    Soa,
    /// What is to be removed is not there.
    #[error("removal of a record that is not there")]
    Missing,
    /// More than 65,536 records of one name and type.
    #[error("too many records of one name and type")]
    SetTooLarge,
}

impl Soa {
    /// Reads the SOA of `origin`.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub(in crate::plugin) fn of(record: &Record, origin: Name<'_>) -> Result<Self, EditError> {
        if record.rtype != rtype::SOA || !record.owner.name().eq_ignore_case(origin) {
            return Err(EditError::Soa);
        }
        if record.class != class::IN {
            return Err(EditError::Class);
        }
        let mut reader = Reader::new(&record.rdata);
        let mut read = || {
            reader.skip_name()?;
            reader.skip_name()?;
            let mut number = || reader.u32("SOA");
            Ok::<_, crate::wire::Error>([number()?, number()?, number()?, number()?])
        };
        let [serial, refresh, retry, expire] = read().map_err(|_| EditError::Soa)?;
        let mut record = record.clone();
        record.map_names(|name| Some(name.to_lower()));
        Ok(Self {
            ttl: record.ttl,
            rdata: record.rdata.into(),
            serial,
            refresh,
            retry,
            expire,
        })
    }

    /// Whether its serial comes behind `other` (RFC 1982).
    pub(in crate::plugin) fn is_newer_than(&self, other: u32) -> bool {
        let ahead = self.serial.wrapping_sub(other);
        ahead != 0 && ahead <= u32::MAX >> 1
    }
}

impl Zone {
    /// A zone of which there is only the start.
    pub(in crate::plugin) fn new(origin: Name<'_>, soa: Soa) -> Self {
        Self {
            origin: origin.to_lower(),
            soa,
            tree: Tree::default(),
            kinds: Kinds::default(),
            records: 0,
        }
    }

    /// Its name, in lower case.
    pub(in crate::plugin) fn origin(&self) -> Name<'_> {
        self.origin.name()
    }

    /// Its SOA.
    pub(in crate::plugin) fn soa(&self) -> &Soa {
        &self.soa
    }

    /// Makes it another version of itself.
    pub(in crate::plugin) fn set_soa(&mut self, soa: Soa) {
        self.soa = soa;
    }

    /// How many records it has, the SOA not among them.
    pub(in crate::plugin) fn len(&self) -> usize {
        self.records
    }

    /// Octets on the heap, without what the allocator adds.
    pub(in crate::plugin) fn size(&self) -> usize {
        self.tree.size()
    }

    /// Makes the changes, in order. The SOA is not among them.
    ///
    /// # Errors
    ///
    /// The first one that is not possible; then some have been made, and the
    /// zone is of no use.
    pub(in crate::plugin) fn apply(&mut self, changes: &[(Op, Record)]) -> Result<(), Refused> {
        let prepare = |(op, record): &(Op, Record)| {
            self.prepare(*op, record).map_err(|why| Refused {
                owner: record.owner.to_string(),
                why,
            })
        };
        let prepared = changes.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let mut steps: Vec<Change<'_>> = prepared
            .iter()
            .map(|(key, ttl, record)| Change {
                key: key.octets(),
                rtype: record.rtype,
                rdata: &record.rdata,
                ttl: *ttl,
            })
            .collect();
        let (kinds, records) = (&mut self.kinds, &mut self.records);
        let applied = self.tree.apply(&mut steps, |key, rtype, came| {
            let step = |count: &mut usize| match came {
                true => *count += 1,
                false => *count -= 1,
            };
            step(records);
            if rtype == rtype::NS && !key.is_empty() {
                step(&mut kinds.delegations);
            }
            if rtype == rtype::DNAME {
                step(&mut kinds.dnames);
            }
            if key::ancestry(key).any(key::is_wildcard) {
                step(&mut kinds.wildcards);
            }
        });
        applied.map_err(|(key, why)| Refused {
            owner: key::name(&key, self.origin.name()).to_string(),
            why,
        })
    }

    fn prepare(&self, op: Op, record: &Record) -> Result<(Key, Option<u32>, Record), EditError> {
        if record.class != class::IN {
            return Err(EditError::Class);
        }
        match record.rtype {
            rtype::SOA => return Err(EditError::Soa),
            rtype::NSEC3 | rtype::NSEC3PARAM => return Err(EditError::Nsec3),
            0 | rtype::OPT | rtype::TKEY..=rtype::ANY => return Err(EditError::Type),
            _ => {}
        }
        let key = Key::in_zone(record.owner.name(), self.origin());
        let key = key.ok_or(EditError::Outside)?;
        let mut record = record.clone();
        // As CoreDNS keeps them; the targets of SRV and PTR stay as they are.
        if matches!(
            record.rtype,
            rtype::NS | rtype::CNAME | rtype::MX | rtype::SVCB | rtype::HTTPS
        ) {
            record.map_names(|name| Some(name.to_lower()));
        }
        let ttl = (op == Op::Add).then_some(record.ttl);
        Ok((key, ttl, record))
    }

    /// The SOA as a record.
    pub(in crate::plugin) fn soa_record(&self) -> Record {
        let rdata = RData::Other(rtype::SOA, &self.soa.rdata);
        Record::new(Section::Answer, self.origin(), self.soa.ttl, &rdata)
    }

    /// What the apex owns, but for the SOA.
    pub(super) fn apex(&self) -> Option<Node<'_>> {
        self.tree.find(&[])
    }

    /// All records in the order of a transfer: SOA, NS, the others by name, SOA.
    pub(in crate::plugin) fn transfer(self: Arc<Self>) -> impl Iterator<Item = Record> + Send {
        let apex: Vec<Record> = self
            .apex()
            .into_iter()
            .flat_map(|node| self.records_of(node))
            .collect();
        let (ns, others): (Vec<_>, Vec<_>) = apex
            .into_iter()
            .partition(|record| record.rtype == rtype::NS);
        let soa = self.soa_record();
        let mut at = 0;
        let below = std::iter::from_fn(move || {
            let leaf = self.tree.leaf(at)?;
            at += 1;
            let nodes = leaf.nodes().filter(|node| !node.key.is_empty());
            Some(
                nodes
                    .flat_map(|node| self.records_of(node))
                    .collect::<Vec<_>>(),
            )
        });
        let first = std::iter::once(soa.clone());
        let records = first.chain(ns).chain(others).chain(below.flatten());
        records.chain([soa])
    }

    fn records_of<'z>(&'z self, node: Node<'z>) -> impl Iterator<Item = Record> + 'z {
        let owner = key::name(node.key, self.origin());
        node.sets().flat_map(move |set| {
            let owner = owner.clone();
            set.records().map(move |(ttl, rdata)| {
                let rdata = RData::Other(set.rtype, rdata);
                Record::new(Section::Answer, owner.name(), ttl, &rdata)
            })
        })
    }
}
