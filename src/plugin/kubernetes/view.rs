//! The snapshot as a worker reads it.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use smallvec::SmallVec;

use super::snapshot::Snapshot;
use super::versions::Versions;

type Cell = Arc<ArcSwap<Snapshot>>;
type Caches = SmallVec<[Cache<Cell, Arc<Snapshot>>; REMEMBERED]>;

/// How many clusters a thread keeps a hold on. A server with more of them
/// pays one shared counter a query.
const REMEMBERED: usize = 4;

thread_local! {
    static SEEN: RefCell<Caches> = const { RefCell::new(SmallVec::new_const()) };
}

/// A way to the newest snapshot that touches no counter shared by workers
/// while the snapshot stays the same.
#[derive(Clone, Debug)]
pub(super) struct View {
    cell: Cell,
    versions: Arc<Versions>,
}

impl View {
    pub(super) fn new(cell: Cell) -> Self {
        let versions = Arc::default();
        Self { cell, versions }
    }

    /// The same, of which these versions are handed out.
    pub(super) fn with_versions(self, versions: Arc<Versions>) -> Self {
        Self { versions, ..self }
    }

    /// What has been handed out as a zone.
    pub(super) fn versions(&self) -> &Arc<Versions> {
        &self.versions
    }

    /// Calls `f` with the newest snapshot. `f` must not read a view itself.
    pub(super) fn read<R>(&self, f: impl FnOnce(&Snapshot) -> R) -> R {
        SEEN.with_borrow_mut(|seen| {
            let known = |cache: &Cache<Cell, _>| std::ptr::eq(cache.arc_swap(), &*self.cell);
            if let Some(cache) = seen.iter_mut().find(|cache| known(cache)) {
                return f(cache.load());
            }
            // Those in front are the oldest: most likely of a configuration
            // that is gone.
            if seen.len() >= REMEMBERED {
                seen.remove(0);
            }
            let mut cache = Cache::new(Arc::clone(&self.cell));
            let result = f(cache.load());
            seen.push(cache);
            result
        })
    }

    /// The newest snapshot, to be kept.
    pub(super) fn load(&self) -> Arc<Snapshot> {
        self.cell.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_sees_the_newest_snapshot_of_its_own_cluster() {
        let cells: Vec<Cell> = (0..REMEMBERED + 2)
            .map(|_| Arc::new(ArcSwap::from_pointee(Snapshot::empty())))
            .collect();
        let views: Vec<View> = cells.iter().cloned().map(View::new).collect();
        for _ in 0..2 {
            for (cell, view) in cells.iter().zip(&views) {
                let newest = Arc::new(Snapshot::empty());
                cell.store(newest.clone());
                view.read(|seen| assert!(std::ptr::eq(seen, &*newest)));
                view.read(|seen| assert!(std::ptr::eq(seen, &*newest)));
            }
        }
    }
}
