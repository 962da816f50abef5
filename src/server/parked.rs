//! The queries of a worker that wait for something: how many, whose, and
//! which of them go when there are too many.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::LazyLock;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::metrics::{Counter, Family};

/// What the server itself did not serve, by reason.
pub(super) static DROPPED: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "pando_server_dropped_total",
        "Counter of queries, replies and connections dropped by the server, by reason.",
        &["reason"],
    )
});

/// How many waiting queries are looked at in search of one from a client
/// that has more than its share.
const SEARCH: usize = 256;

/// The waiting queries of a worker, oldest first.
pub(super) struct Parked {
    limit: usize,
    state: RefCell<State>,
    /// Told when the last one goes.
    idle: Notify,
    overload: Counter,
}

#[derive(Default)]
struct State {
    /// `None` is one that is gone while older ones wait.
    queue: VecDeque<Option<Waiting>>,
    /// The ticket of the first in the queue.
    first: u64,
    waiting: usize,
    clients: HashMap<IpAddr, usize, foldhash::fast::RandomState>,
}

struct Waiting {
    client: IpAddr,
    task: Option<AbortHandle>,
}

/// A place among the waiting, given up when dropped.
pub(super) struct Place {
    parked: Rc<Parked>,
    ticket: u64,
}

impl Parked {
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit,
            state: RefCell::default(),
            idle: Notify::new(),
            overload: DROPPED.with(&["overload"]),
        })
    }

    /// Finds a place for a query of this client; where there are too many,
    /// an old one goes: the oldest of a client that has more than its share,
    /// if it is found near the front, otherwise the oldest.
    pub(super) fn admit(self: &Rc<Self>, client: IpAddr) -> Place {
        let mut state = self.state.borrow_mut();
        let crowded = state.waiting >= self.limit;
        // A long tail behind one old query takes room as well.
        if crowded || state.queue.len() >= self.limit.saturating_mul(4) {
            let greedy = crowded.then(|| state.victim(self.limit)).flatten();
            let victim = greedy.unwrap_or(state.first);
            let shed = state.remove(victim);
            if let Some(task) = shed.and_then(|shed| shed.task) {
                task.abort();
            }
            self.overload.inc();
        }
        let ticket = state.first + state.queue.len() as u64;
        state.queue.push_back(Some(Waiting { client, task: None }));
        state.waiting += 1;
        *state.clients.entry(client).or_default() += 1;
        Place {
            parked: self.clone(),
            ticket,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state.borrow().waiting == 0
    }

    /// Waits until nothing waits.
    pub(super) async fn emptied(&self) {
        while !self.is_empty() {
            self.idle.notified().await;
        }
    }
}

impl Place {
    /// The ticket by which the task of the query is named.
    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }
}

impl Parked {
    /// Says which task to end when the query is shed.
    pub(super) fn attach(&self, ticket: u64, task: AbortHandle) {
        let mut state = self.state.borrow_mut();
        if let Some(waiting) = state.get_mut(ticket) {
            waiting.task = Some(task);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.parked.state.borrow_mut();
        state.remove(self.ticket);
        if state.waiting == 0 {
            self.parked.idle.notify_waiters();
        }
    }
}

impl State {
    fn get_mut(&mut self, ticket: u64) -> Option<&mut Waiting> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        self.queue.get_mut(index)?.as_mut()
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiting> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let gone = self.queue.get_mut(index)?.take()?;
        self.waiting -= 1;
        if let Some(count) = self.clients.get_mut(&gone.client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&gone.client);
            }
        }
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
        }
        Some(gone)
    }

    fn victim(&self, limit: usize) -> Option<u64> {
        let share = limit / self.clients.len().max(1);
        let greedy = |waiting: &Waiting| self.clients.get(&waiting.client) > Some(&share);
        let mut tickets = (self.first..).zip(&self.queue).take(SEARCH);
        let found = tickets.find(|(_, waiting)| waiting.as_ref().is_some_and(greedy));
        found.map(|(ticket, _)| ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn waiting(parked: &Parked) -> Vec<(u64, IpAddr)> {
        let state = parked.state.borrow();
        let tickets = (state.first..).zip(&state.queue);
        tickets
            .filter_map(|(ticket, place)| Some((ticket, place.as_ref()?.client)))
            .collect()
    }

    #[test]
    fn the_oldest_of_a_greedy_client_goes_first() {
        let parked = Parked::new(4);
        let mut places = vec![parked.admit(client(1))];
        places.extend((0..3).map(|_| parked.admit(client(2))));
        // Client 2 holds 3 of 4 places; with two clients the share is 2.
        places.push(parked.admit(client(3)));
        assert_eq!(
            waiting(&parked),
            [
                (0, client(1)),
                (2, client(2)),
                (3, client(2)),
                (4, client(3))
            ]
        );
        // Nobody holds more than 4 / 3 = 1 but client 2.
        places.push(parked.admit(client(3)));
        assert_eq!(
            waiting(&parked),
            [
                (0, client(1)),
                (3, client(2)),
                (4, client(3)),
                (5, client(3))
            ]
        );
        drop(places);
        assert!(parked.is_empty());
        assert!(parked.state.borrow().queue.is_empty());
        assert!(parked.state.borrow().clients.is_empty());
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let parked = Parked::new(3);
        let places: Vec<Place> = (1..=4).map(|last| parked.admit(client(last))).collect();
        let tickets: Vec<u64> = waiting(&parked)
            .into_iter()
            .map(|(ticket, _)| ticket)
            .collect();
        assert_eq!(tickets, [1, 2, 3]);
        drop(places);
    }

    #[test]
    fn one_that_never_ends_does_not_let_the_queue_grow() {
        let parked = Parked::new(4);
        let _stuck = parked.admit(client(1));
        for _ in 0..100 {
            drop(parked.admit(client(2)));
        }
        assert!(parked.state.borrow().queue.len() <= 16);
    }

    #[tokio::test]
    async fn a_shed_query_loses_its_task() {
        let parked = Parked::new(1);
        let place = parked.admit(client(1));
        let task = tokio::spawn(std::future::pending::<()>());
        parked.attach(place.ticket(), task.abort_handle());
        let _other = parked.admit(client(2));
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
