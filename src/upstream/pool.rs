//! The sockets and connections that one worker has to one upstream.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::Failure;
use super::link::{Link, Ticket};
use super::rtt::Rtt;
use super::stream::Connection;
use super::udp::Socket;
use super::{Transport, Upstream};

/// UDP sockets over which the queries of a busy worker are spread.
const SOCKETS: usize = 4;

/// Connections opened before queries share one. Many servers answer the queries of one
/// connection one after the other, where a slow one would hold up the rest.
const CONNECTIONS: usize = 8;

/// Queries on one connection, until an upstream shows that it takes fewer.
const DEPTH: usize = 64;

/// Bounds of the time given to connecting, and the average assumed before the first connection
/// (CoreDNS: `pkg/proxy`).
const MIN_DIAL: Duration = Duration::from_secs(1);
const MAX_DIAL: Duration = Duration::from_secs(30);

/// How soon a link that is past its time but has queries in flight is looked at again.
const BUSY_RECHECK: Duration = Duration::from_millis(100);

/// What a Corefile says about sockets and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// How long an unused socket is kept; zero: none is used twice.
    pub(super) expire: Duration,
    /// How long any is kept; zero: for ever.
    pub(super) max_age: Duration,
    /// How many unused ones are kept, for each transport; zero: all.
    pub(super) max_idle: usize,
    pub(super) source: Option<IpAddr>,
}

pub(super) struct Pool {
    pub(super) upstream: Arc<Upstream>,
    pub(super) limits: Limits,
    pub(super) rtt: Rtt,
    dial: Cell<Duration>,
    depth: Cell<usize>,
    udp: RefCell<Vec<Rc<Socket>>>,
    tcp: RefCell<Vec<Rc<Connection>>>,
}

/// A query that has been sent.
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    /// Whether it went out on a socket that was there already.
    pub(super) reused: bool,
}

impl Pool {
    pub(super) fn new(upstream: Arc<Upstream>, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            upstream,
            limits,
            rtt: Rtt::default(),
            dial: Cell::new(MAX_DIAL / 2),
            depth: Cell::new(DEPTH),
            udp: RefCell::default(),
            tcp: RefCell::default(),
        })
    }

    /// Sends `query`, whose question is the range given and whose first two bytes are
    /// overwritten. With `anew` on a connection that nobody else uses.
    pub(super) fn send(
        self: &Rc<Self>,
        transport: Transport,
        query: &mut [u8],
        question: Range<usize>,
        anew: bool,
        now: Instant,
    ) -> Result<Sent, Failure> {
        match transport {
            Transport::Udp => {
                let (socket, reused) = self.socket(now)?;
                let ticket = socket.send(query, question, now)?;
                Ok(Sent { ticket, reused })
            }
            Transport::Tcp => {
                let (connection, reused) = self.connection(anew, now);
                let ticket = connection.send(query, question, now)?;
                Ok(Sent { ticket, reused })
            }
        }
    }

    fn socket(self: &Rc<Self>, now: Instant) -> Result<(Rc<Socket>, bool), Failure> {
        let mut sockets = self.udp.borrow_mut();
        sockets.retain(|socket| socket.is_fresh() && self.is_usable(&socket.link, now));
        let busy = |socket: &&Rc<Socket>| socket.link.in_flight() > 0;
        let choice = match sockets.iter().find(|socket| !busy(socket)) {
            Some(idle) => Some(idle),
            None if sockets.len() < SOCKETS => None,
            None => fastrand::choice(sockets.iter()).filter(|socket| !socket.link.is_full()),
        };
        if let Some(socket) = choice {
            self.upstream.metrics.count_hit(Transport::Udp);
            return Ok((Rc::clone(socket), true));
        }
        self.upstream.metrics.count_miss(Transport::Udp);
        let socket = Socket::open(self, now)?;
        if !self.limits.expire.is_zero() {
            sockets.push(Rc::clone(&socket));
        }
        Ok((socket, false))
    }

    fn connection(self: &Rc<Self>, anew: bool, now: Instant) -> (Rc<Connection>, bool) {
        let mut connections = self.tcp.borrow_mut();
        if !anew {
            let usable = || {
                connections
                    .iter()
                    .filter(|one| one.is_shared() && self.is_usable(&one.link, now))
            };
            let choice = match usable().find(|one| one.link.in_flight() == 0) {
                Some(idle) => Some(idle),
                None if connections.len() < CONNECTIONS => None,
                None => usable()
                    .min_by_key(|one| one.link.in_flight())
                    .filter(|one| one.link.in_flight() < self.depth.get()),
            };
            if let Some(connection) = choice {
                self.upstream.metrics.count_hit(Transport::Tcp);
                return (Rc::clone(connection), true);
            }
        }
        self.upstream.metrics.count_miss(Transport::Tcp);
        let connection = Connection::open(self, anew, now);
        if !self.limits.expire.is_zero() {
            connections.push(Rc::clone(&connection));
        }
        (connection, false)
    }

    fn is_usable(&self, link: &Link, now: Instant) -> bool {
        now < self.retire_at(link)
    }

    /// When the link is closed if no further query uses it.
    fn retire_at(&self, link: &Link) -> Instant {
        let idle = link.used.get() + self.limits.expire;
        if self.limits.max_age.is_zero() {
            idle
        } else {
            idle.min(link.opened + self.limits.max_age)
        }
    }

    /// When to look again whether the link is still wanted; `None`: it is not.
    pub(super) fn next_idle_check(&self, link: &Link) -> Option<Instant> {
        let now = Instant::now();
        let retire = self.retire_at(link);
        if retire > now {
            Some(retire)
        } else if link.in_flight() > 0 {
            Some(now + BUSY_RECHECK)
        } else {
            None
        }
    }

    /// Gives no further query to the link.
    pub(super) fn forget(&self, link: &Rc<Link>) {
        match link.transport {
            Transport::Udp => self
                .udp
                .borrow_mut()
                .retain(|socket| !Rc::ptr_eq(&socket.link, link)),
            Transport::Tcp => self
                .tcp
                .borrow_mut()
                .retain(|connection| !Rc::ptr_eq(&connection.link, link)),
        }
    }

    /// A query is through with `link`: closes it if enough unused ones are there.
    pub(super) fn release(&self, link: &Rc<Link>) {
        if self.limits.max_idle == 0 || link.in_flight() > 0 {
            return;
        }
        let idle = match link.transport {
            Transport::Udp => count_idle(self.udp.borrow().iter().map(|socket| &socket.link)),
            Transport::Tcp => count_idle(self.tcp.borrow().iter().map(|one| &one.link)),
        };
        if idle > self.limits.max_idle {
            self.forget(link);
        }
    }

    /// The upstream closed a connection under queries that it had not answered: it may not
    /// want so many at once.
    pub(super) fn halve_depth(&self) {
        self.depth.set((self.depth.get() / 2).max(1));
    }

    /// How long connecting may take: twice the usual time.
    pub(super) fn dial_timeout(&self) -> Duration {
        (self.dial.get() * 2).clamp(MIN_DIAL, MAX_DIAL)
    }

    pub(super) fn observe_dial(&self, took: Duration) {
        self.dial.set(self.dial.get() * 3 / 4 + took / 4);
    }

    #[cfg(test)]
    pub(super) fn open_links(&self, transport: Transport) -> usize {
        match transport {
            Transport::Udp => self.udp.borrow().len(),
            Transport::Tcp => self.tcp.borrow().len(),
        }
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        let udp = self.udp.borrow();
        let tcp = self.tcp.borrow();
        udp.iter().map(|one| one.link.in_flight()).sum::<usize>()
            + tcp.iter().map(|one| one.link.in_flight()).sum::<usize>()
    }
}

fn count_idle<'a>(links: impl Iterator<Item = &'a Rc<Link>>) -> usize {
    links.filter(|link| link.in_flight() == 0).count()
}
