//! UDP to one upstream: connected sockets with random source ports, shared by many queries.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::pin::pin;
use std::rc::{Rc, Weak};

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use tokio::io::Interest;
use tokio::net;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::error::{Cause, Failure, Op};
use super::link::{Handle, Link, Ticket};
use super::metrics::Dropped;
use super::pool::Pool;
use super::{Transport, message};

/// A source port is given up after this many queries, so that one who finds it out has little
/// time to guess IDs.
const QUERIES_PER_PORT: u32 = 256;

/// … or after this many datagrams that answered nothing. Some are just late.
const STRAYS_PER_PORT: u32 = 16;

/// Datagrams read before other tasks of the worker have their turn.
const BATCH: usize = 64;

/// Room for replies in the kernel, in octets.
const RECEIVE_BUFFER: usize = 1 << 20;

thread_local! {
    /// Large enough for any datagram, so that none is cut.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 65536].into_boxed_slice());
}

/// A connected socket. Its reader ends when the pool and all queries have let go of it.
pub(super) struct Socket {
    pub(super) link: Rc<Link>,
    socket: Rc<net::UdpSocket>,
    queries: Cell<u32>,
    /// Datagrams that answered nothing; [`STRAYS_PER_PORT`] spoil the port.
    strays: Rc<Cell<u32>>,
    reader: AbortHandle,
}

impl Socket {
    /// Opens a socket to the upstream of `pool`. Must run inside a `LocalSet`.
    pub(super) fn open(pool: &Rc<Pool>, now: Instant) -> Result<Rc<Self>, Failure> {
        let link = Link::new(&pool.upstream, Transport::Udp, now);
        let socket = connect(pool.upstream.addr, pool.limits.source)
            .and_then(|socket| {
                link.establish(socket.local_addr().ok(), now);
                net::UdpSocket::from_std(socket)
            })
            .map_err(|error| link.failure(Op::Dial, Cause::of(&error)))?;
        let (link, socket, strays) = (Rc::new(link), Rc::new(socket), Rc::default());
        let reader = Reader {
            pool: Rc::downgrade(pool),
            link: Rc::clone(&link),
            socket: Rc::clone(&socket),
            strays: Rc::clone(&strays),
        };
        let reader = tokio::task::spawn_local(reader.run()).abort_handle();
        Ok(Rc::new(Self {
            link,
            socket,
            queries: Cell::new(0),
            strays,
            reader,
        }))
    }

    /// Whether another query may go out from this port.
    pub(super) fn is_fresh(&self) -> bool {
        self.queries.get() < QUERIES_PER_PORT && self.strays.get() < STRAYS_PER_PORT
    }

    /// Sends `query`, whose first two bytes become the ID.
    pub(super) fn send(
        self: Rc<Self>,
        query: &mut [u8],
        question: Range<usize>,
        now: Instant,
    ) -> Result<Ticket, Failure> {
        let link = Rc::clone(&self.link);
        let id = link.register(query.get(question).unwrap_or_default());
        let ticket = Ticket::new(Handle::Udp(Rc::clone(&self)), id);
        if let Some(place) = query.first_chunk_mut() {
            *place = id.to_be_bytes();
        }
        link.used.set(now);
        self.queries.set(self.queries.get() + 1);
        // Not through the runtime, which takes a new socket for not writable until it has seen
        // the first event.
        match SockRef::from(&*self.socket).send(query) {
            Ok(_) => Ok(ticket),
            // The fate of an earlier datagram (ICMP port unreachable) is reported here when the
            // reader has not fetched it yet, and then the reader never hears of it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.strays.set(STRAYS_PER_PORT);
                link.fail(Op::Read, Cause::of(&error));
                Ok(ticket)
            }
            Err(error) => Err(link.failure(Op::Write, Cause::of(&error))),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A non-blocking socket on a port of the kernel's choice (Linux draws it at random).
pub(super) fn connect(remote: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        Domain::for_address(remote),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    // Replies to a burst come as a burst. The kernel gives what it allows, which may be less.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    if let Some(source) = source {
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    socket.connect(&SockAddr::from(remote))?;
    Ok(socket.into())
}

struct Reader {
    pool: Weak<Pool>,
    link: Rc<Link>,
    socket: Rc<net::UdpSocket>,
    strays: Rc<Cell<u32>>,
}

impl Reader {
    async fn run(self) {
        let mut check = pin!(sleep_until(self.link.opened));
        loop {
            tokio::select! {
                outcome = self.read_batch() => {
                    if let Err(error) = outcome {
                        return self.give_up(&error);
                    }
                }
                () = check.as_mut() => {
                    let Some(pool) = self.pool.upgrade() else {
                        return self.read_on().await;
                    };
                    match pool.next_idle_check(&self.link) {
                        Some(next) => check.as_mut().reset(next),
                        None => return pool.forget(&self.link),
                    }
                }
            }
        }
    }

    /// The pool is gone; queries that still wait keep the socket and this task alive.
    async fn read_on(self) {
        loop {
            if let Err(error) = self.read_batch().await {
                return self.give_up(&error);
            }
        }
    }

    async fn read_batch(&self) -> io::Result<()> {
        let ready = self
            .socket
            .ready(Interest::READABLE | Interest::ERROR)
            .await?;
        if ready.is_error() {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            // A query that was being sent has met it already.
            let _ = self.socket.try_io(Interest::ERROR, || {
                Err::<(), _>(io::ErrorKind::WouldBlock.into())
            });
        }
        let more = SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..BATCH {
                let len = match self.socket.try_recv(scratch) {
                    Ok(len) => len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                };
                if let Err(reason) = self.link.deliver(&scratch[..len]) {
                    self.stray(reason);
                }
            }
            Ok(true)
        })?;
        if more {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn stray(&self, reason: Dropped) {
        self.link.upstream.metrics.count_dropped(reason);
        let weight = match reason {
            // The right ID on another question is no accident.
            Dropped::OtherQuestion => STRAYS_PER_PORT,
            Dropped::NotAReply | Dropped::UnknownId => 1,
        };
        self.strays.set(self.strays.get().saturating_add(weight));
    }

    /// Nobody listens there, or the interface went away.
    fn give_up(&self, error: &io::Error) {
        if let Some(pool) = self.pool.upgrade() {
            pool.forget(&self.link);
        }
        self.link.fail(Op::Read, Cause::of(error));
    }
}

/// A reply over UDP that ends inside a record: the server it comes from does not know how much
/// we can take. What is left of it is an empty message with TC set, so that the client comes
/// back over TCP.
pub(super) fn truncate(reply: &mut super::buf::Buf) {
    let Some(end) = message::question(reply).map(|range| range.end) else {
        return;
    };
    reply.truncate(end);
    if let Some(flags) = reply.get_mut(2) {
        *flags |= 0x02;
    }
    if let Some(counts) = reply.get_mut(6..message::HEADER) {
        counts.fill(0);
    }
}
