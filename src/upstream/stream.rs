//! TCP to one upstream: connections that carry many queries at a time and take replies in any
//! order (RFC 7766 sections 6.2.1 and 7).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::pin::pin;
use std::rc::{Rc, Weak};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::Transport;
use super::error::{Cause, Failure, Op};
use super::link::{Handle, Link, Ticket};
use super::message::HEADER;
use super::pool::Pool;

/// First size of the read buffer, and what it shrinks back to after a large reply.
const READ_BUFFER: usize = 4096;

/// A connection, or one that is being made. Its task ends when the pool and all queries have
/// let go of it.
pub(super) struct Connection {
    pub(super) link: Rc<Link>,
    outbox: Rc<Outbox>,
    /// Opened because another connection was closed under a query: it serves that one query
    /// until the upstream has shown that it answers.
    reserved: Cell<bool>,
    task: AbortHandle,
}

/// Framed queries on their way to the socket.
#[derive(Default)]
struct Outbox {
    bytes: RefCell<Vec<u8>>,
    filled: Notify,
}

impl Connection {
    /// Starts to connect. Queries can be given to it at once. Must run inside a `LocalSet`.
    pub(super) fn open(pool: &Rc<Pool>, reserved: bool, now: Instant) -> Rc<Self> {
        let link = Rc::new(Link::new(&pool.upstream, Transport::Tcp, now));
        let outbox = Rc::new(Outbox::default());
        let driver = Driver {
            pool: Rc::downgrade(pool),
            link: Rc::clone(&link),
            outbox: Rc::clone(&outbox),
        };
        let task = tokio::task::spawn_local(driver.run(pool.limits.source)).abort_handle();
        Rc::new(Self {
            link,
            outbox,
            reserved: Cell::new(reserved),
            task,
        })
    }

    /// Whether other queries than the one it was opened for may use it.
    pub(super) fn is_shared(&self) -> bool {
        !self.reserved.get() || self.link.replies.get() > 0
    }

    /// Sends `query`, whose first two bytes become the ID.
    pub(super) fn send(
        self: Rc<Self>,
        query: &mut [u8],
        question: Range<usize>,
        now: Instant,
    ) -> Result<Ticket, Failure> {
        let link = &self.link;
        let len = u16::try_from(query.len())
            .map_err(|_| link.failure(Op::Write, Cause::Malformed("message too large")))?;
        let id = link.register(query.get(question).unwrap_or_default());
        if let Some(place) = query.first_chunk_mut() {
            *place = id.to_be_bytes();
        }
        link.used.set(now);
        {
            let mut bytes = self.outbox.bytes.borrow_mut();
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(query);
        }
        self.outbox.filled.notify_one();
        Ok(Ticket::new(Handle::Tcp(self), id))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens a connection as CoreDNS does: from `source` where one is given, without Nagle's delay.
pub(super) async fn connect(remote: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Driver {
    pool: Weak<Pool>,
    link: Rc<Link>,
    outbox: Rc<Outbox>,
}

impl Driver {
    async fn run(self, source: Option<IpAddr>) {
        let started = Instant::now();
        let connected = connect(self.link.upstream.addr, source).await;
        let now = Instant::now();
        if let Some(pool) = self.pool.upgrade() {
            pool.observe_dial(now - started);
        }
        let (op, cause) = match connected {
            Ok(mut stream) => {
                self.link.establish(stream.local_addr().ok(), now);
                let (read, write) = stream.split();
                tokio::select! {
                    ended = self.read(read) => ended,
                    error = self.write(write) => (Op::Write, Cause::of(&error)),
                    () = self.idle() => (Op::Read, Cause::Closed),
                }
            }
            Err(error) => (Op::Dial, Cause::of(&error)),
        };
        if let Some(pool) = self.pool.upgrade() {
            pool.forget(&self.link);
            if self.link.replies.get() > 0 && self.link.in_flight() > 0 {
                pool.halve_depth();
            }
        }
        self.link.fail(op, cause);
    }

    /// Until the connection ends.
    async fn read(&self, mut half: ReadHalf<'_>) -> (Op, Cause) {
        let mut buffer = vec![0; READ_BUFFER];
        let mut filled = 0;
        loop {
            match half.read(&mut buffer[filled..]).await {
                Ok(0) if filled == 0 => return (Op::Read, Cause::Closed),
                Ok(0) => return (Op::Read, Cause::ClosedEarly),
                Ok(len) => filled += len,
                Err(error) => return (Op::Read, Cause::of(&error)),
            }
            let mut at = 0;
            let mut wanted = 2;
            while let Some((len, rest)) = buffer[at..filled].split_first_chunk::<2>() {
                let len = usize::from(u16::from_be_bytes(*len));
                let Some(message) = rest.get(..len) else {
                    wanted = 2 + len;
                    break;
                };
                if message.len() < HEADER {
                    // Whoever frames such a thing does not speak DNS.
                    return (Op::Read, Cause::Malformed("short read"));
                }
                if let Err(reason) = self.link.deliver(message) {
                    self.link.upstream.metrics.count_dropped(reason);
                }
                at += 2 + len;
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
            buffer.resize(wanted.max(READ_BUFFER), 0);
            buffer.shrink_to(wanted.max(READ_BUFFER));
        }
    }

    /// Until the connection ends.
    async fn write(&self, mut half: WriteHalf<'_>) -> io::Error {
        let mut sending = Vec::new();
        loop {
            self.outbox.filled.notified().await;
            sending.clear();
            std::mem::swap(&mut sending, &mut *self.outbox.bytes.borrow_mut());
            if let Err(error) = half.write_all(&sending).await {
                return error;
            }
        }
    }

    /// Until the connection has been idle for as long as it may, or its pool has gone and no
    /// query waits.
    async fn idle(&self) {
        let mut check = pin!(sleep_until(self.link.opened));
        loop {
            check.as_mut().await;
            let Some(pool) = self.pool.upgrade() else {
                // The last query that waits drops this task.
                return std::future::pending().await;
            };
            match pool.next_idle_check(&self.link) {
                Some(next) => check.as_mut().reset(next),
                None => return,
            }
        }
    }
}
