//! The queries that were received and are not answered yet, in memory that
//! outlives the process.
//!
//! A worker that is killed leaves queries behind that nobody else has. Those
//! of its batch lie in its room, where the kernel wrote them; they are
//! forgotten there once the batch is answered. Those that wait for an
//! upstream are copied into slots, up to 512 octets each. The next process
//! serves what it finds before it receives anything. A client may get two
//! answers then; nobody waits for the second one.
//!
//! A query that ends a process must not end every process. So what was in a
//! batch is served one by one the second time, each slot says whether its
//! query is being served at this very moment, and what was being served when
//! two processes ended is left out.
//!
//! Not protected is an answer that found no room in the send buffer.

mod slot;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use self::slot::{Left, Slot, State};
use super::mmsg::{Datagram, ROOM, Received};
use super::shared;

/// Tells a ledger of this layout: `pando` and a version.
const MAGIC: u64 = 0x7061_6e64_6f00_0001;
/// Where the header says from which socket each room was last received into,
/// behind what it is and how many rooms there are.
const SOCKETS: usize = 4;
/// Workers that there is room for.
const WORKERS: usize = 1020;
/// Words of the header.
const HEADER: usize = SOCKETS + WORKERS;
/// Queries that may wait: as many as the server lets wait.
const SLOTS: usize = super::IN_FLIGHT;
/// As many processes may end while a query is being served.
const DEATHS: u8 = 2;
/// As many processes may end while a query is not answered; it may end them
/// by what it leaves behind.
const LIVES: u8 = 8;

/// One worker's part of the ledger.
pub(super) struct Ledger {
    book: Arc<Book>,
    /// The number of the worker.
    worker: usize,
    free: RefCell<Vec<usize>>,
    /// The slot of a query of the process before that is being served.
    resumed: Cell<Option<usize>>,
}

/// What a worker begins with.
pub(super) struct Share {
    /// The memory that it receives into.
    pub room: &'static mut [u64],
    pub ledger: Ledger,
}

/// What all workers share.
struct Book {
    header: &'static [AtomicU64],
    states: &'static [AtomicU64],
    slots: &'static [[AtomicU64; slot::WORDS]],
    /// Slots that the process before has left, by socket.
    found: Mutex<HashMap<u64, Vec<usize>>>,
}

/// A query in a slot, which is free again once this is dropped.
pub(super) struct Entry {
    ledger: Rc<Ledger>,
    slot: usize,
}

/// Makes the ledger ready for this many workers: the share of each.
///
/// # Errors
///
/// The system's, or too many workers.
pub(super) fn open(memory: OwnedFd, workers: usize) -> io::Result<Vec<Share>> {
    if workers > WORKERS {
        return Err(io::Error::other(format!("more than {WORKERS} workers")));
    }
    let file = File::from(memory);
    let before = rooms(&file)?;
    let words = HEADER + SLOTS + SLOTS * slot::WORDS;
    let mut shared = shared::map(&file, words, before.max(workers), ROOM)?;
    let (header, slots) = shared.words.split_at(HEADER);
    let (states, slots) = slots.split_at(SLOTS);
    let (slots, _) = slots.as_chunks();
    let book = Book {
        header,
        states,
        slots,
        found: Mutex::default(),
    };
    let free = book.take_stock(&mut shared.rooms);
    for (word, value) in header
        .iter()
        .zip([MAGIC, ROOM as u64, SLOTS as u64, workers as u64])
    {
        word.store(value, Ordering::Relaxed);
    }
    let book = Arc::new(book);
    let share = |(worker, room)| Share {
        room,
        ledger: Ledger {
            book: book.clone(),
            worker,
            free: RefCell::new(free.iter().copied().skip(worker).step_by(workers).collect()),
            resumed: Cell::default(),
        },
    };
    let rooms = shared.rooms.into_iter().take(workers);
    Ok(rooms.enumerate().map(share).collect())
}

/// How many rooms a ledger has. A file that is none of this layout is emptied.
fn rooms(file: &File) -> io::Result<usize> {
    let word = |at: u64| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, 8 * at)?;
        Ok::<_, io::Error>(u64::from_ne_bytes(word))
    };
    let whole = file.metadata()?.len() >= 8 * HEADER as u64;
    if whole && [word(0)?, word(1)?, word(2)?] == [MAGIC, ROOM as u64, SLOTS as u64] {
        let rooms = usize::try_from(word(3)?).unwrap_or(usize::MAX);
        return Ok(rooms.min(WORKERS));
    }
    file.set_len(0)?;
    Ok(0)
}

impl Book {
    fn slot(&self, index: usize) -> Slot<'static> {
        Slot {
            state: &self.states[index],
            words: &self.slots[index],
        }
    }

    /// Notes what the process before has left: the slots that are free, the first one last.
    fn take_stock(&self, rooms: &mut [&'static mut [u64]]) -> Vec<usize> {
        let (mut free, mut used) = (Vec::new(), Vec::new());
        let mut given_up = 0;
        for index in (0..SLOTS).rev() {
            let slot = self.slot(index);
            match slot.state() {
                Some(state) if state.deaths < DEATHS && state.lives < LIVES => {
                    let lives = state.lives + 1;
                    slot.set(State { lives, ..state });
                    used.push(index);
                }
                state => {
                    slot.clear();
                    free.push(index);
                    given_up += usize::from(state.is_some());
                }
            }
        }
        for (room, socket) in rooms.iter_mut().zip(self.header.iter().skip(SOCKETS)) {
            let mut received = Received::within(room);
            let socket = socket.load(Ordering::Relaxed);
            let datagrams = received.datagrams();
            for datagram in datagrams.filter(|datagram| !datagram.bytes.is_empty()) {
                let Some(index) = free.pop() else { break };
                // Any of a batch may be what has ended the process.
                match self.slot(index).write(socket, &datagram, 1) {
                    true => used.push(index),
                    false => free.push(index),
                }
            }
            received.settle();
        }
        if !used.is_empty() {
            let count = used.len();
            info!("The process before has left {count} queries, which are served now");
        }
        if given_up > 0 {
            warn!("Queries that are not served again since processes ended with them: {given_up}");
        }
        let mut found = (self.found.lock()).unwrap_or_else(PoisonError::into_inner);
        for index in used {
            let socket = self.slot(index).socket();
            found.entry(socket).or_default().push(index);
        }
        free
    }
}

impl Ledger {
    /// Says which socket is received from next, by its inode.
    pub(super) fn receives_from(&self, socket: u64) {
        if let Some(word) = self.book.header.get(SOCKETS + self.worker) {
            word.store(socket, Ordering::Relaxed);
        }
        // The kernel does not know that this comes first.
        compiler_fence(Ordering::SeqCst);
    }

    /// Keeps a query that has to wait; `None` where it is too long, or where
    /// too many wait.
    pub(super) fn keep(self: &Rc<Self>, socket: u64, datagram: &Datagram<'_>) -> Option<Entry> {
        let resumed = self.resumed.take();
        let entry = Entry {
            slot: resumed.or_else(|| self.free.borrow_mut().pop())?,
            ledger: self.clone(),
        };
        if resumed.is_some() {
            entry.slot().survived();
            return Some(entry);
        }
        // Dropped, its slot is free again.
        entry.slot().write(socket, datagram, 0).then_some(entry)
    }

    /// The next query of a socket that the process before has left, to be
    /// served now. It is [kept](Self::keep), or counts as answered when the
    /// next one is asked for.
    pub(super) fn resume(self: &Rc<Self>, socket: u64) -> Option<Left> {
        if let Some(answered) = self.resumed.take() {
            self.release(answered);
        }
        let mut found = (self.book.found.lock()).unwrap_or_else(PoisonError::into_inner);
        let index = found.get_mut(&socket)?.pop()?;
        let slot = self.book.slot(index);
        let left = slot.read()?;
        slot.risk();
        self.resumed.set(Some(index));
        Some(left)
    }

    fn release(&self, slot: usize) {
        self.book.slot(slot).clear();
        self.free.borrow_mut().push(slot);
    }
}

impl Entry {
    fn slot(&self) -> Slot<'static> {
        self.ledger.book.slot(self.slot)
    }

    /// Serves the query on, and notes when.
    pub(super) async fn watch<T>(&self, serving: impl Future<Output = T>) -> T {
        let mut serving = pin!(serving);
        poll_fn(|context| {
            self.slot().risk();
            let poll = serving.as_mut().poll(context);
            self.slot().survived();
            poll
        })
        .await
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A worker that panics takes the process with it, but not its queries.
        if !std::thread::panicking() {
            self.ledger.release(self.slot);
        }
    }
}

#[cfg(test)]
mod tests;
