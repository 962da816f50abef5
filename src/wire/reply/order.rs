use std::ops::Range;

use smallvec::SmallVec;

use super::Reply;
use crate::wire::{Record, Section, rtype};

/// Octets of an address record in front of its address, its owner a pointer.
const ADDRESS_HEAD: usize = 12;

/// Address records with pointers for owners, one behind the other.
#[derive(Debug)]
pub enum Packed<'a> {
    /// Of type A.
    A(&'a mut [[u8; ADDRESS_HEAD + 4]]),
    /// Of type AAAA.
    Aaaa(&'a mut [[u8; ADDRESS_HEAD + 16]]),
}

/// The first `count` records, if all are of this type and length and have
/// pointers for owners.
fn alike<const LEN: usize>(
    octets: &mut [u8],
    count: usize,
    rtype: u16,
) -> Option<&mut [[u8; LEN]]> {
    let (records, _) = octets.as_chunks_mut::<LEN>();
    let records = records.get_mut(..count)?;
    let kind = rtype.to_be_bytes();
    let data = ((LEN - ADDRESS_HEAD) as u16).to_be_bytes();
    // A record that looks like this is LEN octets long, so behind it begins
    // the next.
    let fits = |record: &[u8; LEN]| match record.first_chunk() {
        Some(&[owner, _, kind_a, kind_b, _, _, _, _, _, _, data_a, data_b]) => {
            owner & 0xC0 == 0xC0 && [kind_a, kind_b] == kind && [data_a, data_b] == data
        }
        None => false,
    };
    records.iter().all(fits).then_some(records)
}

impl Reply {
    /// Puts the records of a section into another order: `order` names, for
    /// each place, the record that shall stand there, by its present index.
    ///
    /// Address records whose owner is a pointer are moved as octets; where
    /// others must move, all records are written anew. An `order` that is no
    /// permutation of the section's indices is ignored.
    pub fn reorder(&mut self, section: Section, order: &[u16]) {
        let mut seen: SmallVec<[bool; 32]> = SmallVec::from_elem(false, order.len());
        let is_permutation = order.iter().all(|&index| {
            let fresh = seen.get_mut(usize::from(index));
            fresh.is_some_and(|seen| !std::mem::replace(seen, true))
        });
        if !is_permutation || order.len() != self.count(section) {
            return;
        }
        let moved = |(place, index): (usize, &u16)| place != usize::from(*index);
        let Some(first) = order.iter().enumerate().position(moved) else {
            return;
        };
        if !self.move_octets(section, order, first) {
            self.move_records(section, order);
        }
    }

    /// The records of a section that is nothing but address records of one
    /// type with pointers for owners: they may change places. `None` for any
    /// other section.
    pub fn packed_addresses(&mut self, section: Section) -> Option<Packed<'_>> {
        let start = match section {
            Section::Answer => self.question_end,
            _ => self.section(section).next()?.range().start,
        };
        let count = self.count(section);
        let octets = self.buf.get_mut(start..)?;
        let &[_, _, kind_a, kind_b, ..] = &*octets else {
            return None;
        };
        match u16::from_be_bytes([kind_a, kind_b]) {
            rtype::A => alike(octets, count, rtype::A).map(Packed::A),
            rtype::AAAA => alike(octets, count, rtype::AAAA).map(Packed::Aaaa),
            _ => None,
        }
    }

    /// Moves octets, if nothing can point into those that move.
    fn move_octets(&mut self, section: Section, order: &[u16], first: usize) -> bool {
        let mut places: SmallVec<[Range<usize>; 32]> = SmallVec::new();
        for (index, view) in self.section(section).enumerate() {
            let range = view.range();
            let owner = self.buf.get(range.start).copied().unwrap_or(0);
            let plain = owner & 0xC0 == 0xC0 && matches!(view.rtype, rtype::A | rtype::AAAA);
            let stays = order
                .get(index)
                .is_some_and(|&from| usize::from(from) == index);
            if index >= first && !plain && !stays {
                return false;
            }
            places.push(range);
        }
        // What stays behind what moves would still shift where sizes differ.
        let mut run: SmallVec<[u8; 512]> = SmallVec::new();
        let rest = order.iter().enumerate().skip(first);
        let Some(start) = places.get(first).map(|place| place.start) else {
            return false;
        };
        for (place, &from) in rest {
            let (Some(to), Some(from)) = (places.get(place), places.get(usize::from(from))) else {
                return false;
            };
            if to == from && start + run.len() != to.start {
                return false;
            }
            run.extend_from_slice(self.buf.get(from.clone()).unwrap_or_default());
        }
        if let Some(slot) = self.buf.get_mut(start..start + run.len()) {
            slot.copy_from_slice(&run);
        }
        true
    }

    fn move_records(&mut self, section: Section, order: &[u16]) {
        let records = self.to_records();
        let before = records.partition_point(|record| record.section < section);
        let places = order.iter().map(|&from| before + usize::from(from));
        let moved = places.filter_map(|at| records.get(at));
        let kept = |record: &&Record| record.section != section;
        let all: Vec<&Record> = records.iter().filter(kept).chain(moved).collect();
        if all.len() == records.len() {
            // Sorts by section, otherwise in this order.
            self.replace_records(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, NameBuf, Owner, RData, Request};

    fn name(text: &str) -> NameBuf {
        text.parse().unwrap()
    }

    fn shown(reply: &Reply, section: Section) -> Vec<String> {
        let records = reply.section(section).map(|view| view.to_record().unwrap());
        let show = |record: Record| match record.target() {
            Some(target) => format!("{} {}", record.owner, target),
            None => format!("{} {}", record.owner, record.rdata.last().unwrap()),
        };
        records.map(show).collect()
    }

    #[test]
    fn addresses_lie_packed_where_nothing_else_is() {
        let mut request = Request::new();
        request.ask(1, name("example.org").name(), rtype::A);
        let four = RData::A([192, 0, 2, 1].into());
        let six = RData::Aaaa([0, 0, 0, 0, 0, 0, 0, 6].into());
        let own = name("own.example.net");
        let cname = RData::Cname(own.name());
        for (records, packed) in [
            (&[][..], None),
            (&[(Owner::Question, four)][..], Some((1, 16))),
            (&[(Owner::Question, four); 3], Some((3, 16))),
            (&[(Owner::Question, six); 2], Some((2, 28))),
            (&[(Owner::Question, four), (Owner::Question, six)], None),
            (&[(Owner::Question, cname), (Owner::Question, four)], None),
            (&[(Owner::Name(own.name()), four)], None),
        ] {
            let mut reply = Reply::new();
            reply.start(&request);
            for (owner, rdata) in records {
                reply.push(Section::Answer, *owner, 5, rdata);
            }
            let found = reply.packed_addresses(Section::Answer);
            let found = found.map(|found| match found {
                Packed::A(records) => (records.len(), 16),
                Packed::Aaaa(records) => (records.len(), 28),
            });
            assert_eq!(found, packed, "{records:?}");
        }
    }

    #[test]
    fn records_change_places() {
        let mut request = Request::new();
        request.ask(1, name("example.org").name(), rtype::A);
        let alias = name("www.example.org");
        let cname = (Owner::Question, RData::Cname(alias.name()));
        let at = |last: u8| {
            (
                Owner::Name(alias.name()),
                RData::A([192, 0, 2, last].into()),
            )
        };
        let six = (
            Owner::Name(alias.name()),
            RData::Aaaa([0, 0, 0, 0, 0, 0, 0, 6].into()),
        );
        let exchange = name("mx.example.net");
        let mut rdata = vec![0, 1];
        rdata.extend_from_slice(exchange.wire());
        let mx = (Owner::Question, RData::Other(rtype::MX, &rdata));
        let rdata = [&[0, 2][..], Name::ROOT.wire()].concat();
        let mx2 = (Owner::Question, RData::Other(rtype::MX, &rdata));
        for (records, order, want) in [
            (&[cname, at(1), at(2), at(3)][..], &[0, 3, 1, 2][..], "c312"),
            (&[cname, at(1), six, at(3)], &[0, 2, 3, 1], "c631"),
            (&[cname, at(1), six, at(3)], &[0, 1, 3, 2], "c136"),
            (&[at(1), six, cname, at(3)], &[2, 0, 3, 1], "c136"),
            // A record that stays between two that swap.
            (&[at(1), mx, at(3)], &[2, 1, 0], "3m1"),
            (&[six, mx, at(3)], &[2, 1, 0], "3m6"),
            (&[mx, mx2, at(3)], &[1, 0, 2], ".m3"),
            // Not a permutation: ignored.
            (&[at(1), at(2)], &[0, 0], "12"),
            (&[at(1), at(2)], &[1], "12"),
            (&[at(1), at(2)], &[1, 2], "12"),
        ] {
            let mut reply = Reply::new();
            reply.start(&request);
            for (owner, rdata) in records {
                reply.push(Section::Answer, *owner, 5, rdata);
            }
            let behind = RData::Cname(exchange.name());
            reply.push(Section::Additional, Owner::Name(alias.name()), 5, &behind);
            reply.reorder(Section::Answer, order);
            let letters: String = shown(&reply, Section::Answer)
                .iter()
                .map(|text| match text.split_once(' ').unwrap().1 {
                    "www.example.org." => "c",
                    "mx.example.net." => "m",
                    other => other,
                })
                .collect();
            assert_eq!(letters, want);
            let additional = shown(&reply, Section::Additional);
            assert_eq!(additional, ["www.example.org. mx.example.net."]);
        }
    }
}
