//! The open connections of a listener, and which of them goes when there are
//! too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// The open connections.
pub(super) struct Connections {
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Open>,
    /// Counts connections and requests: what came later has a higher number.
    turn: u64,
}

struct Open {
    /// Whether a whole request came.
    asked: bool,
    /// When the last request came, or the connection itself.
    used: u64,
    task: Option<AbortHandle>,
}

/// A place in the table, until it is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            table: Mutex::default(),
        })
    }

    /// Makes room for a connection. Where there are too many, one goes that
    /// has asked for nothing yet, the oldest of them; else the one that asked
    /// longest ago. So whoever holds connections open keeps nobody out.
    pub(super) fn admit(self: &Arc<Self>) -> Place {
        let mut table = self.table();
        if table.open.len() >= self.limit {
            table.shed();
        }
        table.turn += 1;
        let id = table.turn;
        let open = Open {
            asked: false,
            used: id,
            task: None,
        };
        table.open.insert(id, open);
        Place {
            connections: Arc::clone(self),
            id,
        }
    }

    /// Says which task to end when the place is given to another.
    pub(super) fn attach(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.table().open.get_mut(&id) {
            open.task = Some(task);
        } else {
            // It is given away already, or done.
            task.abort();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn shed(&mut self) {
        let stalest = self
            .open
            .iter()
            .min_by_key(|(_, open)| (open.asked, open.used));
        let Some(id) = stalest.map(|(id, _)| *id) else {
            return;
        };
        if let Some(task) = self.open.remove(&id).and_then(|open| open.task) {
            task.abort();
        }
    }
}

impl Place {
    /// A whole request came.
    pub(super) fn touch(&self) {
        let mut table = self.connections.table();
        table.turn += 1;
        let turn = table.turn;
        if let Some(open) = table.open.get_mut(&self.id) {
            open.asked = true;
            open.used = turn;
        }
    }

    /// Where to say which task serves the connection.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_silent_make_room_before_those_who_asked() {
        let connections = Connections::new(3);
        let admit = || {
            let place = connections.admit();
            let task = tokio::spawn(std::future::pending::<()>());
            connections.attach(place.id(), task.abort_handle());
            (place, task)
        };
        let (asked, silent, later) = (admit(), admit(), admit());
        asked.0.touch();
        let fourth = admit();
        assert!(silent.1.await.unwrap_err().is_cancelled());
        let fifth = admit();
        assert!(later.1.await.unwrap_err().is_cancelled());
        fourth.0.touch();
        fifth.0.touch();
        // All have asked: the one that did so first goes.
        let sixth = admit();
        assert!(asked.1.await.unwrap_err().is_cancelled());
        assert!(!fourth.1.is_finished() && !sixth.1.is_finished());
        // Whose place is gone takes nobody's with it.
        drop((asked.0, silent.0, later.0));
        assert_eq!(connections.table().open.len(), 3);
        drop((fourth, fifth, sixth));
        assert_eq!(connections.table().open.len(), 0);
    }
}
