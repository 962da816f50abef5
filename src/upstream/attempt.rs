//! One query sent to one upstream.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Cause, Failure, Op};
use super::link::Ticket;
use super::pool::Pool;
use super::{Group, Transport};

/// Least time given to a connection that is being made.
const LEAST_DIAL: Duration = Duration::from_secs(1);

/// One query sent to one upstream.
pub(super) struct Attempt {
    pub(super) index: usize,
    pub(super) pool: Rc<Pool>,
    pub(super) ticket: Ticket,
    pub(super) transport: Transport,
    /// When this upstream was first asked.
    pub(super) began: Instant,
    pub(super) sent: Instant,
    /// Whether the connection was there before.
    pub(super) reused: bool,
    /// What the link had delivered when the query was sent.
    pub(super) replies_before: u32,
}

impl Attempt {
    /// When it is given up.
    pub(super) fn deadline(&self, group: &Group, give_up: Instant) -> Instant {
        match self.ticket.link().connected.get() {
            Some(connected) => connected.max(self.sent) + group.options.read_timeout,
            None => (self.sent + self.pool.dial_timeout()).min(give_up.max(self.sent + LEAST_DIAL)),
        }
    }

    /// Whether its link has delivered nothing since the query was sent.
    pub(super) fn is_silent(&self) -> bool {
        self.ticket.link().replies.get() == self.replies_before
    }

    pub(super) fn failure(&self, cause: Cause) -> Failure {
        let link = self.ticket.link();
        let op = match link.connected.get() {
            Some(_) => Op::Read,
            None => Op::Dial,
        };
        link.failure(op, cause)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.ticket.cancel();
        self.pool.release(self.ticket.link());
    }
}
