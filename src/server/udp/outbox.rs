//! Replies that leave later than their batch.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::io::Interest;

use super::Udp;
use crate::clock::Tick;
use crate::server::job::Job;
use crate::server::ledger::Entry;
use crate::server::mmsg::{self, BATCH, Outgoing};
use crate::server::tally::Departures;

/// Replies that may wait for a full send buffer.
const OUTBOX: usize = 4096;
/// Until the next try to send, where nobody can say that there is room.
const SEND_PAUSE: Duration = Duration::from_millis(5);

/// A reply that could not be sent with its batch.
pub(super) enum Letter {
    /// The query had to wait; the ledger's entry ends when it is sent.
    Job(Box<Job>, Option<Entry>),
    /// The send buffer had no room.
    Copy {
        bytes: Box<[u8]>,
        to: SocketAddr,
        from: Option<IpAddr>,
        /// When the query arrived.
        arrived: Tick,
    },
}

impl Letter {
    pub(super) fn copy(outgoing: &Outgoing<'_>, arrived: Tick) -> Self {
        Self::Copy {
            bytes: outgoing.bytes.into(),
            to: outgoing.to,
            from: outgoing.from,
            arrived,
        }
    }

    fn arrived(&self) -> Tick {
        match self {
            Self::Copy { arrived, .. } => *arrived,
            Self::Job(job, _) => job.exchange.arrived,
        }
    }

    fn outgoing(&self) -> Outgoing<'_> {
        match self {
            Self::Copy {
                bytes, to, from, ..
            } => Outgoing {
                bytes,
                to: *to,
                from: *from,
            },
            Self::Job(job, _) => job.outgoing(),
        }
    }
}

impl Udp {
    /// Leaves a letter for [`Udp::deliver`].
    pub(super) fn post(self: &Rc<Self>, letter: Letter) {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.len() >= OUTBOX {
            return self.send_failed.inc();
        }
        outbox.push_back(letter);
        if !self.delivering.replace(true) {
            tokio::task::spawn_local(self.clone().deliver());
        }
    }

    /// Sends what is posted, in batches of what comes together.
    async fn deliver(self: Rc<Self>) {
        while self.empty_outbox() {
            if self.writable().await.is_err() {
                // Out of descriptors, by all odds.
                tokio::time::sleep(SEND_PAUSE).await;
            }
        }
        self.delivering.set(false);
    }

    /// Waits until the send buffer has room.
    async fn writable(&self) -> io::Result<()> {
        // By another descriptor: for this one, whoever receives may wait.
        let socket = Rc::new(self.socket.try_clone()?);
        let watched = mmsg::watch(socket, Interest::WRITABLE)?;
        watched.writable().await?.retain_ready();
        Ok(())
    }

    /// Sends what is posted; whether the send buffer has no room for the rest.
    fn empty_outbox(&self) -> bool {
        let mut batch = self.buffers.batch.borrow_mut();
        let mut outbox = self.outbox.borrow_mut();
        loop {
            let count = outbox.len().min(BATCH);
            if count == 0 {
                return false;
            }
            let mut entries = SmallVec::<[Entry; BATCH]>::new();
            let mut arrived = SmallVec::<[Tick; BATCH]>::new();
            for letter in outbox.drain(..count) {
                batch.push(&letter.outgoing());
                arrived.push(letter.arrived());
                if let Letter::Job(job, entry) = letter {
                    self.desk.recycle(job);
                    entries.extend(entry);
                }
            }
            self.send(&mut batch);
            drop(entries);
            let mut departures = Departures::default();
            let (gone, waiting) = arrived.split_at(batch.done().min(count));
            gone.iter().for_each(|arrived| departures.add(*arrived));
            departures.sent(self.local.borrow().tally());
            let left: SmallVec<[Letter; BATCH]> = batch
                .rest()
                .zip(waiting)
                .map(|(left, arrived)| Letter::copy(&left, *arrived))
                .collect();
            batch.clear();
            if !left.is_empty() {
                left.into_iter()
                    .rev()
                    .for_each(|letter| outbox.push_front(letter));
                return true;
            }
        }
    }

    /// Whether nothing is posted.
    pub(in crate::server) fn is_idle(&self) -> bool {
        !self.delivering.get()
    }
}
