//! How long an upstream takes, as one worker sees it.

use std::cell::Cell;
use std::time::Duration;

/// What is assumed of an upstream that has not answered yet.
const UNKNOWN: Duration = Duration::from_millis(200);

/// Smoothed round-trip time and its variation, as TCP keeps them (RFC 6298 section 2).
#[derive(Debug, Default)]
pub(super) struct Rtt {
    smoothed: Cell<Duration>,
    variation: Cell<Duration>,
}

impl Rtt {
    /// A reply took this long.
    pub(super) fn observe(&self, sample: Duration) {
        let smoothed = self.smoothed.get();
        if smoothed.is_zero() {
            self.smoothed.set(sample);
            self.variation.set(sample / 2);
            return;
        }
        self.variation
            .set(self.variation.get() * 3 / 4 + sample.abs_diff(smoothed) / 4);
        self.smoothed.set(smoothed * 7 / 8 + sample / 8);
    }

    /// No reply came within this time though others did, and the query is not waited for any
    /// more. Without this an upstream whose slow replies are always overtaken would keep a
    /// flattering record.
    pub(super) fn observe_at_least(&self, waited: Duration) {
        if waited > self.smoothed.get() {
            self.observe(waited);
        }
    }

    /// After which silence a reply is late, but not before `floor`.
    pub(super) fn late_after(&self, floor: Duration) -> Duration {
        let smoothed = self.smoothed.get();
        if smoothed.is_zero() {
            return UNKNOWN.max(floor);
        }
        (smoothed * 2)
            .max(smoothed + self.variation.get() * 4)
            .max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Duration = Duration::from_millis(50);

    #[test]
    fn late_follows_what_was_seen() {
        let rtt = Rtt::default();
        assert_eq!(rtt.late_after(FLOOR), UNKNOWN);
        for _ in 0..100 {
            rtt.observe(Duration::from_millis(1));
        }
        assert_eq!(rtt.late_after(FLOOR), FLOOR);
        for _ in 0..100 {
            rtt.observe(Duration::from_millis(100));
        }
        let late = rtt.late_after(FLOOR).as_millis();
        assert!((195..260).contains(&late), "{late}");
    }

    #[test]
    fn an_upstream_that_is_always_overtaken_becomes_slow() {
        let rtt = Rtt::default();
        rtt.observe(Duration::from_millis(1));
        for _ in 0..40 {
            rtt.observe_at_least(rtt.late_after(FLOOR).min(Duration::from_millis(400)));
        }
        assert!(rtt.late_after(FLOOR) >= Duration::from_millis(400));
    }
}
