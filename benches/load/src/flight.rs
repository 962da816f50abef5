//! The queries that are under way on one lane.

use std::time::{Duration, Instant};

use crate::message::id;

/// Queries under way on one lane, by id. The lower octet of an id is the slot,
/// the upper one counts, so that the reply to a query that has been given up
/// is not taken for the reply to the next one.
pub(crate) struct Flight {
    slots: Vec<Slot>,
    free: Vec<u8>,
}

/// Room for one query.
pub(crate) struct Slot {
    id: u16,
    under_way: bool,
    /// The query's place in the workload.
    pub(crate) query: usize,
    /// When it was sent, or was to be sent.
    pub(crate) since: Instant,
    /// The query as sent.
    pub(crate) bytes: Vec<u8>,
}

impl Flight {
    /// Room for so many queries, at most 256.
    pub(crate) fn new(depth: usize) -> Self {
        let slots = (0..=u8::MAX).take(depth).map(|index| Slot {
            id: index.into(),
            under_way: false,
            query: 0,
            since: Instant::now(),
            bytes: Vec::new(),
        });
        Self {
            slots: slots.collect(),
            free: (0..=u8::MAX).take(depth).collect(),
        }
    }

    /// Takes a free slot and lets `write` fill it; the id is passed to it.
    /// `None` when all are under way.
    pub(crate) fn depart(&mut self, write: impl FnOnce(u16, &mut Slot)) -> Option<u8> {
        let index = self.free.pop()?;
        let slot = self.slots.get_mut(usize::from(index))?;
        slot.id = slot.id.wrapping_add(0x100);
        slot.under_way = true;
        write(slot.id, slot);
        Some(index)
    }

    /// The query in a slot.
    pub(crate) fn bytes(&self, index: u8) -> &[u8] {
        let slot = self.slots.get(usize::from(index));
        slot.map(|slot| slot.bytes.as_slice()).unwrap_or_default()
    }

    /// The query that a reply belongs to, which is under way no longer.
    pub(crate) fn arrive(&mut self, reply: &[u8]) -> Option<&Slot> {
        let id = id(reply)?;
        let [_, index] = id.to_be_bytes();
        let slot = self.slots.get_mut(usize::from(index))?;
        if slot.id != id || !slot.under_way {
            return None;
        }
        slot.under_way = false;
        self.free.push(index);
        Some(slot)
    }

    /// Gives up what has been under way for longer than `bound`; tells how many.
    pub(crate) fn give_up(&mut self, now: Instant, bound: Duration) -> usize {
        let mut count = 0;
        for (index, slot) in (0..=u8::MAX).zip(&mut self.slots) {
            if slot.under_way && now.saturating_duration_since(slot.since) >= bound {
                slot.under_way = false;
                self.free.push(index);
                count += 1;
            }
        }
        count
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depart(flight: &mut Flight) -> Option<Vec<u8>> {
        let index = flight.depart(|id, slot| slot.bytes = id.to_be_bytes().to_vec())?;
        Some(flight.bytes(index).to_vec())
    }

    #[test]
    fn a_reply_belongs_to_one_query_once() {
        let mut flight = Flight::new(2);
        let (one, two) = (depart(&mut flight).unwrap(), depart(&mut flight).unwrap());
        assert_ne!(one, two);
        assert_eq!(depart(&mut flight), None);
        assert!(flight.arrive(&one).is_some());
        assert!(flight.arrive(&one).is_none(), "a second time");
        assert!(flight.arrive(&[9, 9]).is_none(), "nobody's");
        assert!(flight.arrive(&[9]).is_none(), "half an id");
        assert!(!flight.is_empty());
        assert!(flight.arrive(&two).is_some());
        assert!(flight.is_empty());
    }

    #[test]
    fn a_late_reply_is_not_that_of_the_next_query() {
        let mut flight = Flight::new(1);
        let late = depart(&mut flight).unwrap();
        assert_eq!(flight.give_up(Instant::now(), Duration::MAX), 0);
        assert_eq!(flight.give_up(Instant::now(), Duration::ZERO), 1);
        let next = depart(&mut flight).unwrap();
        assert!(flight.arrive(&late).is_none());
        assert!(flight.arrive(&next).is_some());
    }

    #[test]
    fn there_is_no_more_room_than_ids() {
        let mut flight = Flight::new(1000);
        let departed = std::iter::from_fn(|| depart(&mut flight)).count();
        assert_eq!(departed, 256);
    }
}
