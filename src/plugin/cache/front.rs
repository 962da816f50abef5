//! What a worker keeps at hand of the cache, so that most hits touch nothing
//! that another worker writes.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use super::item::Item;

/// Sets of the table, each of two items.
const SETS: usize = 1024;
/// Keys that are remembered as live.
const LIVE: usize = 4096;

thread_local! {
    static TABLES: RefCell<Vec<(Weak<()>, Table)>> = const { RefCell::new(Vec::new()) };
}

/// One cache's tables, one in every worker that asked for it.
#[derive(Debug)]
pub(super) struct Front(Arc<()>);

impl Front {
    pub(super) fn new() -> Self {
        Self(Arc::new(()))
    }

    /// This worker's table. `work` must not ask for a table itself.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Table) -> R) -> R {
        TABLES.with_borrow_mut(|tables| {
            let mine = |(owner, _): &(Weak<()>, Table)| owner.as_ptr() == Arc::as_ptr(&self.0);
            let at = tables.iter().position(mine).unwrap_or_else(|| {
                // A new cache often means that an old one has gone.
                tables.retain(|(owner, _)| owner.strong_count() > 0);
                tables.push((Arc::downgrade(&self.0), Table::new()));
                tables.len() - 1
            });
            match tables.get_mut(at) {
                Some((_, table)) => work(table),
                None => work(&mut Table::new()),
            }
        })
    }
}

type Slot = Option<(u64, Arc<Item>)>;

/// Items by key, the latest of each set first, and keys that need no look-up.
pub(super) struct Table {
    sets: Box<[[Slot; 2]]>,
    live: Box<[u64]>,
}

impl Table {
    fn new() -> Self {
        Self {
            sets: std::iter::repeat_with(|| [None, None]).take(SETS).collect(),
            live: vec![0; LIVE].into(),
        }
    }

    /// The item under `key`, if a look-up would find it too.
    pub(super) fn find(&self, key: u64) -> Option<&Arc<Item>> {
        let set = self.sets.get(key as usize % SETS)?;
        let (_, item) = set.iter().flatten().find(|(at, _)| *at == key)?;
        item.is_alone().then_some(item)
    }

    /// Keeps an item at hand.
    pub(super) fn put(&mut self, key: u64, item: Arc<Item>) {
        let Some([first, second]) = self.sets.get_mut(key as usize % SETS) else {
            return;
        };
        if first.as_ref().is_some_and(|(at, _)| *at != key) {
            *second = first.take();
        }
        *first = Some((key, item));
    }

    /// Remembers that the answer to `key` is live.
    pub(super) fn set_live(&mut self, key: u64, live: bool) {
        if let Some(slot) = self.live.get_mut(key as usize % LIVE)
            && (live || *slot == key)
        {
            *slot = if live { key } else { 0 };
        }
    }

    /// Whether the last answer to `key` was live. A mistake costs a hit, no more.
    pub(super) fn is_live(&self, key: u64) -> bool {
        self.live.get(key as usize % LIVE) == Some(&key)
    }
}
