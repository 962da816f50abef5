//! UDP on one worker: a batch in, a batch out.

mod looks;
mod outbox;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::time::SystemTime;

use tokio::io::Interest;
use tracing::warn;

use self::outbox::Letter;
use super::job::{Desk, Job};
use super::ledger::{Ledger, Share};
use super::listener::Local;
use super::mmsg::{self, BATCH, Batch, Datagram, Outgoing, Received};
use super::parked::DROPPED;
use crate::chain::Proto;
use crate::clock::{self, Tick};
use crate::metrics::Counter;

/// Batches that one wake-up may serve before others have their turn.
const TURN: usize = 8;
/// Batches that a socket may have left when it is closed.
const DRAIN: usize = 256;

/// The buffers of a worker; all its sockets use them in turn.
pub(super) struct Buffers {
    received: RefCell<Received<'static>>,
    batch: RefCell<Batch>,
    ledger: Option<Rc<Ledger>>,
}

impl Buffers {
    /// With a share of the ledger, what is received outlives the process.
    pub(super) fn new(share: Option<Share>) -> Rc<Self> {
        let (received, ledger) = match share {
            Some(share) => (Received::anew(share.room), Some(Rc::new(share.ledger))),
            None => (Received::new(), None),
        };
        Rc::new(Self {
            received: RefCell::new(received),
            batch: RefCell::new(Batch::new()),
            ledger,
        })
    }

    /// Receives a batch from the socket with this inode.
    fn receive(&self, socket: BorrowedFd<'_>, inode: u64) -> io::Result<usize> {
        if let Some(ledger) = &self.ledger {
            ledger.receives_from(inode);
        }
        self.received.borrow_mut().receive(socket)
    }

    /// The batch that was received is answered, but for what waits.
    fn settle(&self) {
        if self.ledger.is_some() {
            self.received.borrow_mut().settle();
        }
    }
}

/// A UDP socket of a worker.
pub(super) struct Udp {
    socket: Rc<UdpSocket>,
    bound: SocketAddr,
    /// What the ledger knows the socket by.
    inode: u64,
    local: RefCell<Rc<Local>>,
    desk: Rc<Desk>,
    buffers: Rc<Buffers>,
    /// Replies of queries that waited, and such as the send buffer had no room for.
    outbox: RefCell<VecDeque<Letter>>,
    delivering: Cell<bool>,
    /// The kernel's count of drops as last seen.
    dropped: Cell<u32>,
    /// When that was.
    looked: Cell<Option<Tick>>,
    /// Whether the kernel says when datagrams arrive.
    stamped: Cell<bool>,
    /// When it last did.
    sampled: Cell<Option<Tick>>,
    receive_buffer: Counter,
    send_failed: Counter,
}

/// Whether a socket had more than was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    Nothing,
    Perhaps,
}

impl Udp {
    pub(super) fn new(
        socket: UdpSocket,
        local: Rc<Local>,
        desk: Rc<Desk>,
        buffers: Rc<Buffers>,
    ) -> io::Result<Rc<Self>> {
        let bound = socket.local_addr()?;
        let inode = match buffers.ledger {
            Some(_) => File::from(OwnedFd::from(socket.try_clone()?))
                .metadata()?
                .ino(),
            None => 0,
        };
        Ok(Rc::new(Self {
            socket: Rc::new(socket),
            bound,
            inode,
            local: RefCell::new(local),
            desk,
            buffers,
            outbox: RefCell::default(),
            delivering: Cell::new(false),
            dropped: Cell::new(0),
            looked: Cell::new(None),
            stamped: Cell::new(false),
            sampled: Cell::new(None),
            receive_buffer: DROPPED.with(&["receive_buffer"]),
            send_failed: DROPPED.with(&["send"]),
        }))
    }

    /// Serves queries that come from now on by another configuration.
    pub(super) fn install(&self, local: Rc<Local>) {
        self.local.replace(local);
    }

    /// Serves the socket until the task is aborted.
    ///
    /// While it is busy nobody waits for it: the kernel would tell whoever
    /// does of every query that comes and of every reply that has left, which
    /// is a fifteenth of what a reply costs.
    pub(super) async fn receive(self: Rc<Self>) {
        loop {
            if let Err(error) = self.serve_announced().await {
                warn!("UDP on {}: {error}", self.bound);
                return;
            }
            while self.take_turn() == Left::Perhaps {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Serves what comes whenever the kernel says that something did, until
    /// there is more than one turn takes.
    async fn serve_announced(self: &Rc<Self>) -> io::Result<()> {
        let announced = mmsg::watch(self.socket.clone(), Interest::READABLE)?;
        loop {
            let mut ready = announced.readable().await?;
            if self.take_turn() == Left::Perhaps {
                return Ok(());
            }
            // What has arrived since is announced anew.
            ready.clear_ready();
        }
    }

    /// Serves up to [`TURN`] batches.
    fn take_turn(self: &Rc<Self>) -> Left {
        match (0..TURN).all(|_| self.take_batch() == Left::Perhaps) {
            true => Left::Perhaps,
            false => Left::Nothing,
        }
    }

    /// Serves one batch.
    fn take_batch(self: &Rc<Self>) -> Left {
        match self.buffers.receive(self.socket.as_fd(), self.inode) {
            Ok(count) => {
                self.serve();
                match count {
                    BATCH => Left::Perhaps,
                    // The kernel had no more at that moment.
                    _ => Left::Nothing,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Left::Nothing,
            // Of an earlier send; what was received is still there.
            Err(_) => Left::Perhaps,
        }
    }

    /// Serves what is in the receive buffer, for a socket that is about to be closed.
    pub(super) fn drain(self: &Rc<Self>) {
        for _ in 0..DRAIN {
            match self.buffers.receive(self.socket.as_fd(), self.inode) {
                Ok(_) => self.serve(),
                Err(_) => return,
            }
        }
    }

    /// Serves the batch that was received.
    fn serve(self: &Rc<Self>) {
        let arrived = clock::refresh();
        // The clock by which the kernel stamps datagrams.
        let day = self.stamped.get().then(SystemTime::now);
        self.desk.census.turn();
        let local = self.local.borrow().clone();
        let mut batch = self.buffers.batch.borrow_mut();
        let mut job = self.desk.job(&local, Proto::Udp);
        for datagram in self.buffers.received.borrow().datagrams() {
            job = match self.answer(&datagram, job, &local, &mut batch) {
                Some(job) => job,
                None => self.desk.job(&local, Proto::Udp),
            };
        }
        self.desk.recycle(job);
        self.dispatch(&mut batch, &local, arrived);
        self.sample(&local, arrived, day);
        self.count_drops(&local, arrived);
        self.buffers.settle();
    }

    /// Serves what a process before this one has received and not answered.
    pub(super) fn resume(self: &Rc<Self>) {
        let Some(ledger) = &self.buffers.ledger else {
            return;
        };
        let local = self.local.borrow().clone();
        let mut batch = self.buffers.batch.borrow_mut();
        while let Some(left) = ledger.resume(self.inode) {
            let arrived = clock::refresh();
            let job = self.desk.job(&local, Proto::Udp);
            if let Some(job) = self.answer(&left.datagram(), job, &local, &mut batch) {
                self.desk.recycle(job);
            }
            self.dispatch(&mut batch, &local, arrived);
        }
    }

    /// Sends a batch, or leaves it for [`Udp::deliver`].
    fn dispatch(self: &Rc<Self>, batch: &mut Batch, local: &Local, arrived: Tick) {
        self.send(batch);
        if batch.done() > 0 {
            // They leave together, so one look at the clock tells how long all took.
            local
                .tally()
                .sent(arrived, clock::refresh(), batch.done() as u64);
        }
        for left in batch.rest() {
            self.post(Letter::copy(&left, arrived));
        }
        batch.clear();
    }

    /// Adds the answer to a datagram, unless there is none or it takes longer;
    /// then it keeps the job.
    fn answer(
        self: &Rc<Self>,
        datagram: &Datagram<'_>,
        mut job: Box<Job>,
        local: &Local,
        batch: &mut Batch,
    ) -> Option<Box<Job>> {
        if let Err(reject) = job.exchange.request.parse(datagram.bytes) {
            if let Some(bytes) = reject.answer(datagram.bytes) {
                batch.push(&Outgoing {
                    bytes: &bytes,
                    to: datagram.sender,
                    from: datagram.destination,
                });
            }
            return Some(job);
        }
        let asked = datagram.destination.unwrap_or_else(|| self.bound.ip());
        let asked = (asked, self.bound.port()).into();
        job.address(datagram.sender, asked);
        job.names_source = datagram.destination.is_some();
        let client = job.exchange.client.ip();
        let mut bench = match self.desk.begin(job) {
            Ok(mut job) => {
                if job.exchange.finish().is_some() {
                    batch.push(&job.outgoing());
                }
                local.count(&job.exchange, &self.desk.census);
                job.exchange.reset();
                return Some(job);
            }
            Err(bench) => bench,
        };
        let place = self.desk.parked.admit(client);
        let ticket = place.ticket();
        let ledger = self.buffers.ledger.as_ref();
        let entry = ledger.and_then(|ledger| ledger.keep(self.inode, datagram));
        let udp = self.clone();
        let task = tokio::task::spawn_local(async move {
            let mut job = match &entry {
                Some(entry) => entry.watch(bench.finish()).await,
                None => bench.finish().await,
            };
            udp.desk.keep(bench);
            match job.conclude(&udp.desk.census) {
                true => udp.post(Letter::Job(job, entry)),
                false => udp.desk.recycle(job),
            }
            drop(place);
        });
        self.desk.parked.attach(ticket, task.abort_handle());
        None
    }

    /// Sends as much of a batch as the send buffer takes.
    fn send(&self, batch: &mut Batch) {
        while !batch.is_done() {
            let socket = self.socket.as_fd();
            let sent = batch.send(socket).or_else(|error| match error {
                error if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    batch.send_in_fragments(socket)
                }
                error => Err(error),
            });
            match sent {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // No route, a firewall rule, a client's port of 0: this
                    // one cannot be sent, which must not keep the others.
                    self.send_failed.inc();
                    batch.skip();
                }
            }
        }
    }
}
