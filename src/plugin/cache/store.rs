//! What all workers share of a cache: items by key, in parts that are locked one by one.
//!
//! Most hits lock none: a worker has what it saw last at hand (see `front`).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::item::Item;

/// CoreDNS spreads its capacity over so many parts; what is left over is not used.
const UNIT: u64 = 256;

/// Parts of a shelf, far more than there are workers to want one at the same time.
const PARTS: usize = 64;

/// What all workers share.
pub(super) struct Store {
    pub(super) success: Shelf,
    pub(super) denial: Shelf,
}

impl Store {
    pub(super) fn new(success: i64, denial: i64) -> Self {
        Self {
            success: Shelf::new(success),
            denial: Shelf::new(denial),
        }
    }
}

/// One cache of limited capacity. Expired items stay, for `serve_stale`, until
/// they are replaced or their room is needed.
pub(super) struct Shelf {
    parts: Box<[Mutex<Part>]>,
    capacity: u64,
    len: AtomicU64,
}

impl Shelf {
    fn new(capacity: i64) -> Self {
        let units = u64::try_from(capacity).unwrap_or(0) / UNIT;
        Self {
            parts: std::iter::repeat_with(Mutex::default).take(PARTS).collect(),
            capacity: UNIT * units.max(4),
            len: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<Arc<Item>> {
        let mut part = self.parts_from(key).next()?;
        let place = part.places.get_mut(&key)?;
        place.used = true;
        Some(place.item.clone())
    }

    /// Keeps an item; returns how many others had to go.
    pub(super) fn put(&self, key: u64, item: Arc<Item>) -> u64 {
        let mut parts = self.parts_from(key);
        let is_new = parts.next().is_some_and(|mut part| part.put(key, item));
        if !is_new || self.len.fetch_add(1, Ordering::Relaxed) < self.capacity {
            return 0;
        }
        let gone = self.parts_from(key).any(|mut part| part.evict(key));
        self.len.fetch_sub(u64::from(gone), Ordering::Relaxed);
        u64::from(gone)
    }

    pub(super) fn remove(&self, key: u64) {
        let part = self.parts_from(key).next();
        if part.is_some_and(|mut part| part.remove(key)) {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// All items with their keys, those of a part at a time.
    pub(super) fn items(&self) -> impl Iterator<Item = (u64, Arc<Item>)> {
        self.parts_from(0).flat_map(|part| {
            let items = part.places.iter();
            let items: Vec<_> = items
                .map(|(key, place)| (*key, place.item.clone()))
                .collect();
            items
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// All parts, that of `key` first, each locked when it is asked for.
    fn parts_from(&self, key: u64) -> impl Iterator<Item = MutexGuard<'_, Part>> {
        // The map inside goes by the lowest and the highest bits.
        let first = (key >> 32) as usize % PARTS;
        let parts = self.parts.iter().cycle().skip(first).take(PARTS);
        parts.map(|part| part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Default)]
struct Part {
    places: HashMap<u64, Place, BuildHasherDefault<KeyHasher>>,
    /// The keys of `places` in the order in which they go, unless they are used meanwhile.
    order: VecDeque<u64>,
}

struct Place {
    item: Arc<Item>,
    /// Since it was put at the end of the order.
    used: bool,
}

impl Part {
    /// Whether the key is new.
    fn put(&mut self, key: u64, item: Arc<Item>) -> bool {
        let used = false;
        let before = self.places.insert(key, Place { item, used });
        if before.is_none() {
            self.order.push_back(key);
        }
        before.is_none()
    }

    /// Lets an item go that was not used for long, but not that of `spared`.
    fn evict(&mut self, spared: u64) -> bool {
        // In the first round all may have been used.
        for _ in 0..2 * self.order.len() {
            let Some(key) = self.order.pop_front() else {
                break;
            };
            match self.places.get_mut(&key) {
                Some(place) if place.used || key == spared => {
                    place.used = false;
                    self.order.push_back(key);
                }
                _ => return self.places.remove(&key).is_some(),
            }
        }
        false
    }

    fn remove(&mut self, key: u64) -> bool {
        let gone = self.places.remove(&key).is_some();
        if gone {
            self.order.retain(|other| *other != key);
        }
        gone
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, octets: &[u8]) {
        // Keys are u64; this is for the trait.
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::{Class, Terms};
    use super::*;
    use crate::clock;
    use crate::wire::Reply;

    /// Keys as a good hash gives them.
    fn key(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)
    }

    fn item() -> Arc<Item> {
        let terms = Terms {
            class: Class::Success,
            ttl: 30,
            now: clock::now(),
            answering: true,
            wildcard: None,
        };
        Arc::new(Item::new(&Reply::new(), terms))
    }

    fn full() -> Shelf {
        let shelf = Shelf::new(1);
        assert_eq!((0..1024).map(|n| shelf.put(key(n), item())).sum::<u64>(), 0);
        shelf
    }

    #[test]
    fn it_takes_what_it_is_made_for_and_no_more() {
        let shelf = full();
        assert!((0..1024).all(|n| shelf.get(key(n)).is_some()));
        for n in 1024..9000 {
            assert_eq!(shelf.put(key(n), item()), 1, "one goes for each that comes");
            assert!(shelf.get(key(n)).is_some(), "but not the one that comes");
            assert_eq!(shelf.len(), 1024);
        }
        let (places, order) = shelf.parts.iter().fold((0, 0), |(places, order), part| {
            let part = part.lock().unwrap();
            (places + part.places.len(), order + part.order.len())
        });
        assert_eq!((places, order), (1024, 1024));
    }

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_goes() {
        let shelf = full();
        for n in 1024..6000 {
            assert!(
                (0..64).all(|wanted| shelf.get(key(wanted)).is_some()),
                "{n}"
            );
            shelf.put(key(n), item());
        }
        let left = (64..1024).filter(|n| shelf.get(key(*n)).is_some()).count();
        assert_eq!(left, 0);
    }

    #[test]
    fn what_is_replaced_or_removed_makes_room() {
        let shelf = full();
        assert_eq!(shelf.put(key(7), item()), 0);
        shelf.remove(key(7));
        shelf.remove(key(7));
        assert_eq!(shelf.len(), 1023);
        assert!(shelf.get(key(7)).is_none());
        assert_eq!(shelf.put(key(7), item()), 0);
        assert_eq!(shelf.put(key(5000), item()), 1);
    }
}
