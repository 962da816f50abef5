//! The TCP connections of a worker, and which of them go when there are too many.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::parked::DROPPED;
use crate::clock::{self, Tick};
use crate::metrics::Counter;

/// The open connections.
pub(super) struct Connections {
    limit: usize,
    open: RefCell<HashMap<u64, Weak<Entry>>>,
    next: Cell<u64>,
    /// Told when the last one closes.
    closed: Notify,
    shed: Counter,
}

/// An open connection; it counts until this is dropped.
pub(super) struct Entry {
    table: Rc<Connections>,
    id: u64,
    /// When a whole message last came.
    used: Cell<Tick>,
    task: RefCell<Option<AbortHandle>>,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit,
            open: RefCell::default(),
            next: Cell::new(0),
            closed: Notify::new(),
            shed: DROPPED.with(&["connections"]),
        })
    }

    /// Makes room for a connection. Where there are too many, the one that
    /// has sent nothing for the longest time goes.
    pub(super) fn admit(self: &Rc<Self>) -> Rc<Entry> {
        if self.open.borrow().len() >= self.limit {
            self.shed_one();
        }
        let id = self.next.replace(self.next.get() + 1);
        let entry = Rc::new(Entry {
            table: self.clone(),
            id,
            used: Cell::new(clock::now()),
            task: RefCell::default(),
        });
        self.open.borrow_mut().insert(id, Rc::downgrade(&entry));
        entry
    }

    /// Closes the connection that has sent nothing for the longest time.
    pub(super) fn shed_one(&self) {
        let mut open = self.open.borrow_mut();
        let entries = open.values().filter_map(Weak::upgrade);
        let Some(stalest) = entries.min_by_key(|entry| entry.used.get()) else {
            return;
        };
        // It leaves the table now; its task ends at its next turn.
        open.remove(&stalest.id);
        drop(open);
        self.shed.inc();
        if let Some(task) = stalest.task.take() {
            task.abort();
        }
    }

    /// Waits until all are closed.
    pub(super) async fn emptied(&self) {
        while !self.open.borrow().is_empty() {
            self.closed.notified().await;
        }
    }
}

impl Entry {
    /// Says which task to end when the connection is shed.
    pub(super) fn attach(&self, task: AbortHandle) {
        self.task.replace(Some(task));
    }

    /// A whole message came.
    pub(super) fn touch(&self) {
        self.used.set(clock::now());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.table.open.borrow_mut();
        open.remove(&self.id);
        if open.is_empty() {
            self.table.closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stalest_connection_makes_room() {
        let connections = Connections::new(2);
        let task = || tokio::spawn(std::future::pending::<()>());
        let (first, second) = (connections.admit(), connections.admit());
        let (first_task, second_task) = (task(), task());
        first.attach(first_task.abort_handle());
        second.attach(second_task.abort_handle());
        clock::refresh();
        first.touch();
        let third = connections.admit();
        assert!(second_task.await.unwrap_err().is_cancelled());
        assert!(!first_task.is_finished());
        assert_eq!(connections.open.borrow().len(), 2);
        drop((first, second, third));
        connections.emptied().await;
    }
}
