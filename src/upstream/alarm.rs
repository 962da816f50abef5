//! When waiting ends: one timer of the runtime for all queries of a worker.
//!
//! The runtime makes a system call for every timer that is to go off before it meant to wake,
//! and that is nearly every query's. Here it knows the earliest moment alone; a query that is
//! answered in time leaves nothing behind but a visit to a map.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

thread_local! {
    static CLOCK: Rc<Clock> = Rc::default();
}

/// The alarms of a worker.
#[derive(Default)]
struct Clock {
    /// Who waits for which moment; the number tells those of one moment apart.
    waiting: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next: Cell<u64>,
    /// When the keeper wakes; `None`: there is no keeper.
    wakes_at: Cell<Option<Instant>>,
    /// Told when that is too late.
    earlier: Notify,
}

/// One waiting for a moment. Dropping it forgets it.
pub(super) struct Alarm {
    clock: Rc<Clock>,
    set: Option<(Instant, u64)>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            clock: CLOCK.with(Rc::clone),
            set: None,
        }
    }

    /// Ready when `due` has come; another moment than last time takes the place of that. Must
    /// run inside a `LocalSet`.
    pub(super) fn poll(&mut self, due: Instant, context: &Context<'_>) -> Poll<()> {
        match self.set {
            Some(set) if set.0 == due => match self.clock.waiting.borrow_mut().get_mut(&set) {
                Some(waker) => waker.clone_from(context.waker()),
                None => {
                    self.set = None;
                    return Poll::Ready(());
                }
            },
            _ => {
                self.forget();
                self.set = Some(self.clock.set(due, context.waker().clone()));
            }
        }
        Poll::Pending
    }

    fn forget(&mut self) {
        if let Some(set) = self.set.take() {
            // Named, so that it is dropped when the map can be asked again.
            let _waker = self.clock.waiting.borrow_mut().remove(&set);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Clock {
    fn set(self: &Rc<Self>, due: Instant, waker: Waker) -> (Instant, u64) {
        let key = (due, self.next.replace(self.next.get().wrapping_add(1)));
        self.waiting.borrow_mut().insert(key, waker);
        match self.wakes_at.get() {
            Some(at) if at <= due => {}
            Some(_) => self.earlier.notify_one(),
            None => {
                self.wakes_at.set(Some(due));
                tokio::task::spawn_local(Keeper(Rc::clone(self)).keep());
            }
        }
        key
    }

    fn first(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Wakes all whose moment has come.
    fn ring(&self, now: Instant) {
        let mut wakers: SmallVec<[Waker; 8]> = SmallVec::new();
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            wakers.push(first.remove());
        }
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The one task that sleeps for all. It ends when nobody waits.
struct Keeper(Rc<Clock>);

impl Keeper {
    async fn keep(self) {
        let clock = &self.0;
        // Most of those that wait are gone before their moment. It is left at that until it
        // comes, because setting the timer anew for each is what shall not be.
        while let Some(first) = clock.first() {
            clock.wakes_at.set(Some(first));
            tokio::select! {
                () = sleep_until(first) => clock.ring(Instant::now()),
                () = clock.earlier.notified() => {}
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.wakes_at.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn wait(due: Instant) -> Instant {
        let mut alarm = Alarm::new();
        poll_fn(|context| alarm.poll(due, context)).await;
        Instant::now()
    }

    async fn worker(test: impl Future<Output = ()>) {
        let bounded = tokio::time::timeout(1000 * MS, test);
        LocalSet::new().run_until(bounded).await.unwrap();
        CLOCK.with(|clock| assert!(clock.waiting.borrow().is_empty()));
    }

    #[tokio::test]
    async fn each_rings_in_its_turn_and_none_too_early() {
        worker(async {
            let start = Instant::now();
            // The first is set before those that come before it.
            let all = [60, 20, 40, 20, 0].map(|late| async move {
                let due = start + MS * late;
                let rang = wait(due).await;
                assert!((due..due + 500 * MS).contains(&rang));
                late
            });
            let mut rang = Vec::new();
            let mut all: futures_util::stream::FuturesUnordered<_> = all.into_iter().collect();
            while let Some(late) = futures_util::StreamExt::next(&mut all).await {
                rang.push(late);
            }
            assert_eq!(rang, [0, 20, 20, 40, 60]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_dropped_one_is_forgotten_and_a_moved_one_rings_once() {
        worker(async {
            let start = Instant::now();
            let mut moved = Alarm::new();
            let mut dropped = Alarm::new();
            let idle = Context::from_waker(Waker::noop());
            assert!(dropped.poll(start + 20 * MS, &idle).is_pending());
            assert!(moved.poll(start + 10 * MS, &idle).is_pending());
            drop(dropped);
            poll_fn(|context| moved.poll(start + 50 * MS, context)).await;
            assert!(Instant::now() >= start + 50 * MS);
        })
        .await;
    }

    #[tokio::test]
    async fn the_keeper_ends_and_another_begins() {
        worker(async {
            for _ in 0..3 {
                wait(Instant::now() + MS).await;
                tokio::task::yield_now().await;
                CLOCK.with(|clock| assert_eq!(clock.wakes_at.get(), None));
            }
        })
        .await;
    }
}
