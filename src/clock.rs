//! Time on the way of a query: read once a batch, not once a query.
//!
//! A worker refreshes its clock before it serves a batch and before it polls
//! a query that had to wait.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A moment as the worker last read it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tick(Option<Instant>);

impl Tick {
    /// How long ago `earlier` was; zero if either moment was never read.
    pub fn since(self, earlier: Self) -> Duration {
        match (self.0, earlier.0) {
            // Within one batch the clock stands still.
            (now, then) if now == then => Duration::ZERO,
            (Some(now), Some(then)) => now.saturating_duration_since(then),
            _ => Duration::ZERO,
        }
    }

    /// So long ago; `None` if this moment was never read.
    pub fn before(self, ago: Duration) -> Option<Self> {
        Some(Self(Some(self.0?.checked_sub(ago)?)))
    }

    /// The moment itself.
    pub fn instant(self) -> Option<Instant> {
        self.0
    }
}

/// The time as this worker last read it; reads it where nobody has yet.
pub fn now() -> Tick {
    NOW.with(|now| match now.get() {
        Some(instant) => Tick(Some(instant)),
        None => refresh(),
    })
}

/// Reads the clock. Workers call this when they wake, not per query.
#[allow(clippy::disallowed_methods)]
pub fn refresh() -> Tick {
    let instant = Some(Instant::now());
    NOW.with(|now| now.set(instant));
    Tick(instant)
}

/// Moves this thread's clock ahead; it stands still until it is moved or read again.
#[cfg(test)]
#[allow(dead_code)]
pub(crate) fn advance(by: Duration) {
    let later = now().0.map(|instant| instant + by);
    NOW.with(|now| now.set(later));
}
