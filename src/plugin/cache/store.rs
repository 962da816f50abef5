use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;

use super::item::Item;

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
    items: moka::sync::Cache<u64, Arc<Item>, BuildHasherDefault<KeyHasher>>,
    evicted: Arc<AtomicU64>,
}

/// CoreDNS spreads its capacity over so many parts.
const PARTS: u64 = 256;

impl Shelf {
    fn new(capacity: i64) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let count = evicted.clone();
        let part = u64::try_from(capacity).unwrap_or(0) / PARTS;
        let items = moka::sync::Cache::builder()
            .max_capacity(PARTS * part.max(4))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        Self { items, evicted }
    }

    pub(super) fn get(&self, key: u64) -> Option<Arc<Item>> {
        self.items.get(&key)
    }

    /// Keeps an item; returns how many others had to go.
    pub(super) fn put(&self, key: u64, item: Arc<Item>) -> u64 {
        self.items.insert(key, item);
        // Only replies from elsewhere come here: they can pay for the upkeep,
        // and hits need not.
        self.items.run_pending_tasks();
        self.evicted.swap(0, Ordering::Relaxed)
    }

    pub(super) fn remove(&self, key: u64) {
        self.items.invalidate(&key);
        self.items.run_pending_tasks();
    }

    pub(super) fn len(&self) -> u64 {
        self.items.entry_count()
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
