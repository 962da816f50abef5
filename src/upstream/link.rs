//! One socket or connection to an upstream and the queries that wait on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::buf::Buf;
use super::error::{Cause, Failure, Op};
use super::metrics::Dropped;
use super::stream::Connection;
use super::udp::Socket;
use super::{Transport, Upstream, message};

/// Half the IDs stay free, so a free one is found with two draws on average at the very most.
const MOST_IN_FLIGHT: usize = 1 << 15;

/// What sockets and connections have in common.
pub(super) struct Link {
    pub(super) upstream: Arc<Upstream>,
    pub(super) transport: Transport,
    pub(super) opened: Instant,
    /// When it became usable; at once for UDP.
    pub(super) connected: Cell<Option<Instant>>,
    pub(super) local: Cell<Option<SocketAddr>>,
    /// When a query was last given to it.
    pub(super) used: Cell<Instant>,
    /// Messages that answered a query.
    pub(super) replies: Cell<u32>,
    waiting: RefCell<HashMap<u16, Waiting, foldhash::fast::RandomState>>,
}

/// A query in flight.
struct Waiting {
    question: SmallVec<[u8; 64]>,
    waker: Option<Waker>,
    outcome: Option<Result<Buf, (Op, Cause)>>,
}

impl Link {
    pub(super) fn new(upstream: &Arc<Upstream>, transport: Transport, now: Instant) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            transport,
            opened: now,
            connected: Cell::new(None),
            local: Cell::new(None),
            used: Cell::new(now),
            replies: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Queries that wait, or whose reply has not been taken yet.
    pub(super) fn in_flight(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.in_flight() >= MOST_IN_FLIGHT
    }

    /// Takes an ID that no other query on this link has. The caller has seen that the link is
    /// not full, and turns the ID into a [`Ticket`] at once.
    pub(super) fn register(&self, question: &[u8]) -> u16 {
        let mut waiting = self.waiting.borrow_mut();
        let mut id = rand::random::<u16>();
        while waiting.contains_key(&id) {
            id = rand::random();
        }
        waiting.insert(
            id,
            Waiting {
                question: SmallVec::from_slice(question),
                waker: None,
                outcome: None,
            },
        );
        id
    }

    /// Hands `message` to the query it answers, or says why there is none.
    ///
    /// Over UDP anybody can send, so what does not repeat the question is no reply. An error
    /// reply may leave the question out, as servers that do not know EDNS do.
    pub(super) fn deliver(&self, received: &[u8]) -> Result<(), Dropped> {
        if received.len() < message::HEADER || !message::is_reply(received) {
            return Err(Dropped::NotAReply);
        }
        let id = message::id(received).ok_or(Dropped::NotAReply)?;
        let mut waiting = self.waiting.borrow_mut();
        let query = waiting.get_mut(&id).ok_or(Dropped::UnknownId)?;
        if query.outcome.is_some() {
            return Err(Dropped::UnknownId);
        }
        let repeats = message::question(received)
            .and_then(|range| received.get(range))
            .is_some_and(|theirs| message::same_question(&query.question, theirs));
        let bare = received[4..6] == [0, 0] && message::rcode(received) != 0;
        if !repeats && !bare && self.transport == Transport::Udp {
            return Err(Dropped::OtherQuestion);
        }
        query.outcome = Some(Ok(Buf::copy_of(received)));
        let waker = query.waker.take();
        drop(waiting);
        self.replies.set(self.replies.get().saturating_add(1));
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Ends all queries that still wait.
    pub(super) fn fail(&self, op: Op, cause: Cause) {
        self.wake_all(|query| query.outcome = Some(Err((op, cause))));
    }

    /// The link is usable: those that wait count their time from now on.
    pub(super) fn establish(&self, local: Option<SocketAddr>, now: Instant) {
        self.local.set(local);
        self.connected.set(Some(now));
        self.wake_all(|_| {});
    }

    fn wake_all(&self, change: impl Fn(&mut Waiting)) {
        let mut wakers: SmallVec<[Waker; 8]> = SmallVec::new();
        for query in self.waiting.borrow_mut().values_mut() {
            if query.outcome.is_none() {
                change(query);
                wakers.extend(query.waker.take());
            }
        }
        for waker in wakers {
            waker.wake();
        }
    }

    pub(super) fn failure(&self, op: Op, cause: Cause) -> Failure {
        Failure {
            op,
            transport: self.transport,
            local: self.local.get(),
            remote: self.upstream.addr,
            cause,
        }
    }
}

/// What a [`Ticket`] keeps open. The reader of a link ends with its last handle.
pub(super) enum Handle {
    Udp(Rc<Socket>),
    Tcp(Rc<Connection>),
}

impl Handle {
    pub(super) fn link(&self) -> &Rc<Link> {
        match self {
            Self::Udp(socket) => &socket.link,
            Self::Tcp(connection) => &connection.link,
        }
    }
}

/// The right to one reply. Dropping it forgets the query and frees its ID.
pub(super) struct Ticket {
    pub(super) handle: Handle,
    id: u16,
}

impl Ticket {
    /// For an ID from [`Link::register`] of the same link.
    pub(super) fn new(handle: Handle, id: u16) -> Self {
        Self { handle, id }
    }

    pub(super) fn link(&self) -> &Rc<Link> {
        self.handle.link()
    }

    /// Forgets the query. The ticket never becomes ready any more.
    pub(super) fn cancel(&self) {
        self.link().waiting.borrow_mut().remove(&self.id);
    }
}

impl Future for Ticket {
    type Output = Result<Buf, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let link = self.link();
        let mut waiting = link.waiting.borrow_mut();
        let Some(query) = waiting.get_mut(&self.id) else {
            // Polled again after it was ready.
            return Poll::Pending;
        };
        match query.outcome.take() {
            Some(outcome) => {
                waiting.remove(&self.id);
                drop(waiting);
                Poll::Ready(outcome.map_err(|(op, cause)| link.failure(op, cause)))
            }
            None => {
                match &mut query.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel();
    }
}
