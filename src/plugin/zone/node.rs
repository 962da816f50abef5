//! What one name owns, as octets: sets of a type, a length and records; a
//! record is a TTL, a length and RDATA without compression.

use std::collections::HashMap;

use super::store::EditError;
use crate::wire::Reader;

/// What a name owns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) key: &'a [u8],
    sets: &'a [u8],
}

impl<'a> Node<'a> {
    /// `sets` as [`Builder::write`] writes them.
    pub(super) fn new(key: &'a [u8], sets: &'a [u8]) -> Self {
        Self { key, sets }
    }

    pub(super) fn sets(self) -> impl Iterator<Item = Set<'a>> {
        let mut reader = Reader::new(self.sets);
        std::iter::from_fn(move || {
            let rtype = reader.u16("set").ok()?;
            let len = reader.u32("set").ok()?;
            let records = reader.take(len as usize, "set").ok()?;
            Some(Set { rtype, records })
        })
    }

    /// Appends the sets as they are.
    pub(super) fn copy(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.sets);
    }

    pub(super) fn set(self, rtype: u16) -> Option<Set<'a>> {
        self.sets().find(|set| set.rtype == rtype)
    }
}

/// The records of one name and type; never empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set<'a> {
    pub(super) rtype: u16,
    records: &'a [u8],
}

impl<'a> Set<'a> {
    /// TTL and RDATA of each record.
    pub(super) fn records(self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let mut reader = Reader::new(self.records);
        std::iter::from_fn(move || {
            let ttl = reader.u32("record").ok()?;
            let len = reader.u16("record").ok()?;
            Some((ttl, reader.take(usize::from(len), "record").ok()?))
        })
    }
}

/// So many records of one name and type fit into no message, and searching
/// more of them for repeats would take long.
const MAX_SET: usize = 1 << 16;
/// Up to so many records are searched one by one.
const FEW: usize = 16;

/// A name's sets while they are edited.
#[derive(Default)]
pub(super) struct Builder<'a> {
    sets: Vec<Editing<'a>>,
}

struct Editing<'a> {
    rtype: u16,
    /// `None`: removed.
    records: Vec<Option<(u32, &'a [u8])>>,
    live: usize,
    /// Where each RDATA stands, once there are many.
    places: HashMap<&'a [u8], usize, foldhash::fast::RandomState>,
}

impl<'a> Builder<'a> {
    pub(super) fn of(node: Node<'a>) -> Self {
        let sets = node.sets().map(|set| Editing {
            rtype: set.rtype,
            records: set.records().map(Some).collect(),
            live: set.records().count(),
            places: HashMap::default(),
        });
        Self {
            sets: sets.collect(),
        }
    }

    /// Adds a record. One that is there already gets this TTL (RFC 2181
    /// section 5: a set has no repeats); returns whether it is new.
    pub(super) fn add(&mut self, rtype: u16, ttl: u32, rdata: &'a [u8]) -> Result<bool, EditError> {
        let at = match self.sets.iter().position(|set| set.rtype == rtype) {
            Some(at) => at,
            None => {
                self.sets.push(Editing {
                    rtype,
                    records: Vec::new(),
                    live: 0,
                    places: HashMap::default(),
                });
                self.sets.len() - 1
            }
        };
        let Some(set) = self.sets.get_mut(at) else {
            return Ok(false);
        };
        if let Some(known) = set.find(rdata).and_then(|at| set.records.get_mut(at)) {
            *known = Some((ttl, rdata));
            return Ok(false);
        }
        if set.live >= MAX_SET {
            return Err(EditError::SetTooLarge);
        }
        if !set.places.is_empty() {
            set.places.insert(rdata, set.records.len());
        }
        set.records.push(Some((ttl, rdata)));
        set.live += 1;
        Ok(true)
    }

    /// Removes a record, whatever its TTL.
    pub(super) fn remove(&mut self, rtype: u16, rdata: &[u8]) -> Result<(), EditError> {
        let set = self.sets.iter_mut().find(|set| set.rtype == rtype);
        let set = set.ok_or(EditError::Missing)?;
        let at = set.find(rdata).ok_or(EditError::Missing)?;
        if let Some(slot) = set.records.get_mut(at) {
            *slot = None;
            set.live -= 1;
            set.places.remove(rdata);
        }
        Ok(())
    }

    /// Appends the sets; nothing at all if no record is left.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for set in self.sets.iter().filter(|set| set.live > 0) {
            out.extend_from_slice(&set.rtype.to_be_bytes());
            let records = set.records.iter().flatten();
            let len: usize = records.clone().map(|(_, rdata)| 6 + rdata.len()).sum();
            out.extend_from_slice(&(len as u32).to_be_bytes());
            for (ttl, rdata) in records {
                out.extend_from_slice(&ttl.to_be_bytes());
                // RDATA comes from a record, whose length has 16 bits.
                out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
                out.extend_from_slice(rdata);
            }
        }
    }
}

impl<'a> Editing<'a> {
    fn find(&mut self, rdata: &[u8]) -> Option<usize> {
        if self.records.len() <= FEW {
            let same = |record: &Option<(u32, &[u8])>| record.is_some_and(|(_, own)| own == rdata);
            return self.records.iter().position(same);
        }
        if self.places.is_empty() {
            let records = self.records.iter().enumerate();
            let records = records.filter_map(|(at, record)| Some((record.as_ref()?.1, at)));
            self.places = records.collect();
        }
        self.places.get(rdata).copied()
    }
}
