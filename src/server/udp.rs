//! UDP on one worker: a batch in, a batch out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;

use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::warn;

use super::job::{Desk, Job};
use super::listener::Local;
use super::mmsg::{BATCH, Datagram, Outgoing, Received, Sender};
use super::parked::DROPPED;
use crate::chain::Proto;
use crate::clock;
use crate::metrics::Counter;

/// Batches that one wake-up may serve before others have their turn.
const TURN: usize = 8;
/// Batches that a socket may have left when it is closed.
const DRAIN: usize = 256;
/// Replies that may wait for a full send buffer.
const OUTBOX: usize = 4096;

/// The buffers of a worker; all its sockets use them in turn.
pub(super) struct Buffers {
    received: RefCell<Received>,
    sender: RefCell<Sender>,
}

impl Buffers {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            received: RefCell::new(Received::new()),
            sender: RefCell::new(Sender::new()),
        })
    }
}

/// A UDP socket of a worker.
pub(super) struct Udp {
    socket: UdpSocket,
    bound: SocketAddr,
    local: RefCell<Rc<Local>>,
    desk: Rc<Desk>,
    buffers: Rc<Buffers>,
    /// Replies of queries that waited, and such as the send buffer had no room for.
    outbox: RefCell<VecDeque<Letter>>,
    delivering: Cell<bool>,
    /// The kernel's count of drops as last seen.
    dropped: Cell<u32>,
    receive_buffer: Counter,
    send_failed: Counter,
}

/// A reply on its way, finished.
enum Letter {
    Job(Box<Job>),
    /// The answer to what is no query; boxed, because it is rare and large.
    Refusal(Box<Refusal>),
}

struct Refusal {
    bytes: SmallVec<[u8; 64]>,
    to: SocketAddr,
    from: Option<IpAddr>,
}

impl Letter {
    fn outgoing(&self) -> Outgoing<'_> {
        match self {
            Self::Refusal(refusal) => Outgoing {
                bytes: &refusal.bytes,
                to: refusal.to,
                from: refusal.from,
            },
            Self::Job(job) => Outgoing {
                bytes: job.exchange.finished(),
                to: job.sender,
                from: job.destination,
            },
        }
    }
}

/// Whether a socket had more than was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    Nothing,
    Perhaps,
}

impl Udp {
    pub(super) fn new(
        socket: std::net::UdpSocket,
        local: Rc<Local>,
        desk: Rc<Desk>,
        buffers: Rc<Buffers>,
    ) -> io::Result<Rc<Self>> {
        let bound = socket.local_addr()?;
        Ok(Rc::new(Self {
            socket: UdpSocket::from_std(socket)?,
            bound,
            local: RefCell::new(local),
            desk,
            buffers,
            outbox: RefCell::default(),
            delivering: Cell::new(false),
            dropped: Cell::new(0),
            receive_buffer: DROPPED.with(&["receive_buffer"]),
            send_failed: DROPPED.with(&["send"]),
        }))
    }

    /// Serves queries that come from now on by another configuration.
    pub(super) fn install(&self, local: Rc<Local>) {
        self.local.replace(local);
    }

    /// Serves the socket until the task is aborted.
    pub(super) async fn receive(self: Rc<Self>) {
        loop {
            if let Err(error) = self.socket.readable().await {
                warn!("UDP on {}: {error}", self.bound);
                return;
            }
            if (0..TURN).all(|_| self.take_batch() == Left::Perhaps) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Serves one batch of a socket that is said to be readable.
    fn take_batch(self: &Rc<Self>) -> Left {
        let mut count = 0;
        let receive = || {
            count = self
                .buffers
                .received
                .borrow_mut()
                .receive(self.socket.as_fd())?;
            match count {
                BATCH => Ok(()),
                // The kernel had no more at that moment: what arrives later
                // makes the socket readable anew.
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        };
        let received = self.socket.try_io(Interest::READABLE, receive);
        if count > 0 {
            self.serve();
        }
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Left::Nothing,
            // Other errors are of an earlier send; what was received is still there.
            _ => Left::Perhaps,
        }
    }

    /// Serves what is in the receive buffer, for a socket that is about to be closed.
    pub(super) fn drain(self: &Rc<Self>) {
        for _ in 0..DRAIN {
            let received = self
                .buffers
                .received
                .borrow_mut()
                .receive(self.socket.as_fd());
            match received {
                Ok(_) => self.serve(),
                Err(_) => return,
            }
        }
    }

    /// Serves the batch that was received.
    fn serve(self: &Rc<Self>) {
        clock::refresh();
        let local = self.local.borrow().clone();
        let mut ready: SmallVec<[Letter; BATCH]> = SmallVec::new();
        for datagram in self.buffers.received.borrow().datagrams() {
            if let Some(count) = datagram.dropped {
                // Both wrap at 32 bits.
                let more = count.wrapping_sub(self.dropped.replace(count));
                self.receive_buffer.add(more.into());
            }
            ready.extend(self.answer(&datagram, &local));
        }
        self.send(&mut ready);
        for letter in ready {
            self.post(letter);
        }
    }

    /// The answer to a datagram, unless there is none or it takes longer.
    fn answer(self: &Rc<Self>, datagram: &Datagram<'_>, local: &Rc<Local>) -> Option<Letter> {
        let mut job = self.desk.job();
        if let Err(reject) = job.exchange.request.parse(datagram.bytes) {
            self.desk.recycle(job);
            let refusal = Refusal {
                bytes: reject.answer(datagram.bytes)?,
                to: datagram.sender,
                from: datagram.destination,
            };
            return Some(Letter::Refusal(Box::new(refusal)));
        }
        job.sender = datagram.sender;
        job.destination = datagram.destination;
        let asked = datagram.destination.unwrap_or_else(|| self.bound.ip());
        let asked = (asked, self.bound.port()).into();
        job.address(local, Proto::Udp, datagram.sender, asked);
        let client = job.exchange.client.ip();
        let mut bench = match self.desk.begin(job) {
            Ok(job) => return self.finish(job),
            Err(bench) => bench,
        };
        let place = self.desk.parked.admit(client);
        let ticket = place.ticket();
        let udp = self.clone();
        let task = tokio::task::spawn_local(async move {
            let job = bench.finish().await;
            udp.desk.keep(bench);
            if let Some(letter) = udp.finish(job) {
                udp.post(letter);
            }
            drop(place);
        });
        self.desk.parked.attach(ticket, task.abort_handle());
        None
    }

    fn finish(&self, mut job: Box<Job>) -> Option<Letter> {
        if job.exchange.finish().is_some() {
            return Some(Letter::Job(job));
        }
        self.desk.recycle(job);
        None
    }

    /// Sends as much as the send buffer takes; what is left stays.
    fn send(&self, letters: &mut SmallVec<[Letter; BATCH]>) {
        let batch: SmallVec<[Outgoing<'_>; BATCH]> = letters.iter().map(Letter::outgoing).collect();
        let mut left = batch.as_slice();
        let mut sender = self.buffers.sender.borrow_mut();
        while !left.is_empty() {
            match sender.send(self.socket.as_fd(), left) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // No route, a firewall rule, a client's port of 0: this
                    // one cannot be sent, which must not keep the others.
                    self.send_failed.inc();
                    left = left.get(1..).unwrap_or_default();
                }
            }
        }
        let sent = batch.len() - left.len();
        drop(batch);
        for letter in letters.drain(..sent) {
            if let Letter::Job(job) = letter {
                self.desk.recycle(job);
            }
        }
    }

    /// Leaves a letter for [`Udp::deliver`].
    fn post(self: &Rc<Self>, letter: Letter) {
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
        loop {
            let mut letters: SmallVec<[Letter; BATCH]> = {
                let mut outbox = self.outbox.borrow_mut();
                let count = outbox.len().min(BATCH);
                outbox.drain(..count).collect()
            };
            if letters.is_empty() {
                return self.delivering.set(false);
            }
            self.send(&mut letters);
            if letters.is_empty() {
                continue;
            }
            self.put_back(letters);
            // Says that it is full, and waits until it is not.
            let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.socket.try_io(Interest::WRITABLE, full);
            if self.socket.writable().await.is_err() {
                return;
            }
        }
    }

    fn put_back(&self, letters: SmallVec<[Letter; BATCH]>) {
        let mut outbox = self.outbox.borrow_mut();
        for letter in letters.into_iter().rev() {
            outbox.push_front(letter);
        }
    }

    /// Whether nothing is posted.
    pub(super) fn is_idle(&self) -> bool {
        !self.delivering.get()
    }
}
