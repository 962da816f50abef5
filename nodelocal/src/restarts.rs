//! When a worker that ended is started again, and when that is no use.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What is looked back at.
const WINDOW: Duration = Duration::from_secs(10);
/// Ends within the window before it counts as not staying up.
const ENDS: usize = 3;
/// How long a worker must have served for all before it to be forgotten.
const STEADY: Duration = Duration::from_secs(5);
/// The first wait of a worker that does not stay up; the next ones double.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long after a worker that hung another one that hangs is no accident.
const CALM: Duration = Duration::from_secs(60);
/// The longest wait.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// The lives of the workers so far, as far as they matter.
#[derive(Debug)]
pub struct Restarts {
    began: Instant,
    /// Since when the worker of now serves.
    serving: Option<Instant>,
    /// Those that ended within the window: when, and since when they served.
    lives: VecDeque<(Option<Instant>, Instant)>,
    /// When the last one was killed that hung.
    hung: Option<Instant>,
    /// The last wait, while workers do not stay up.
    wait: Option<Duration>,
}

/// What to do about a worker that ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    /// How long until the next one is started.
    pub wait: Duration,
    /// Whether clients must not come here meanwhile.
    pub fail_open: bool,
}

impl Restarts {
    /// Nothing was started before `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            serving: None,
            lives: VecDeque::new(),
            hung: None,
            wait: None,
        }
    }

    /// The worker serves since `now`.
    pub fn serving(&mut self, now: Instant) {
        self.serving.get_or_insert(now);
    }

    /// The worker ended, whatever the reason; it gave no sign of life for the
    /// time of `silence` before, which is zero unless it hung.
    ///
    /// It is started anew at once, unless there were three ends and more
    /// time without a worker than with one within the last 10 s, or two that
    /// hung within a minute. From then on each wait is twice as long, from 1 s
    /// to 30 s, until one served for 5 s.
    pub fn ended(&mut self, now: Instant, silence: Duration) -> Decision {
        let serving = self.serving.take();
        let served = serving.map_or(Duration::ZERO, |since| now - since);
        let served = served.saturating_sub(silence);
        let hangs = !silence.is_zero() && self.hangs_again(now);
        if served >= STEADY {
            self.wait = None;
        }
        let start = now
            .checked_sub(WINDOW)
            .map_or(self.began, |start| start.max(self.began));
        self.lives.push_back((serving, now));
        self.lives.retain(|(_, end)| *end >= start);
        if self.wait.is_none() && !hangs && !self.is_failing(start, now) {
            return Decision {
                wait: Duration::ZERO,
                fail_open: false,
            };
        }
        let wait = self
            .wait
            .map_or(FIRST_WAIT, |last| (last * 2).min(LAST_WAIT));
        self.wait = Some(wait);
        Decision {
            wait,
            fail_open: true,
        }
    }

    fn hangs_again(&mut self, now: Instant) -> bool {
        let last = self.hung.replace(now);
        last.is_some_and(|last| now - last < CALM)
    }

    fn is_failing(&self, start: Instant, now: Instant) -> bool {
        let served: Duration = self
            .lives
            .iter()
            .filter_map(|(since, end)| Some(*end - (*since)?.max(start)))
            .sum();
        self.lives.len() >= ENDS && served * 2 < now - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds that a worker took to serve, or `None` if it never did,
    /// and that it lived after; then the wait in milliseconds, 0 for none.
    type Life = (Option<u64>, u64, u64);

    fn waits(lives: &[Life]) {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(now);
        for (index, (start, life, expected)) in lives.iter().enumerate() {
            if let Some(start) = start {
                now += Duration::from_millis(*start);
                restarts.serving(now);
            }
            now += Duration::from_millis(*life);
            let decision = restarts.ended(now, Duration::ZERO);
            let wait = Duration::from_millis(*expected);
            let fail_open = !wait.is_zero();
            assert_eq!(decision, Decision { wait, fail_open }, "{index}: {lives:?}");
            now += wait;
        }
    }

    #[test]
    fn one_that_never_serves_is_given_up_at_the_third_end() {
        waits(&[
            (None, 20, 0),
            (None, 20, 0),
            (None, 20, 1_000),
            (None, 20, 2_000),
            (None, 20, 4_000),
            (None, 20, 8_000),
            (None, 20, 16_000),
            (None, 20, 30_000),
            (None, 20, 30_000),
        ]);
    }

    #[test]
    fn one_that_is_killed_again_and_again_but_serves_mostly_is_not() {
        waits(&[(Some(40), 100, 0); 300]);
    }

    #[test]
    fn one_that_serves_less_than_half_of_the_time_is() {
        waits(&[(Some(60), 40, 0), (Some(60), 40, 0), (Some(60), 40, 1_000)]);
    }

    #[test]
    fn one_that_hangs_twice_within_a_minute_is() {
        const SILENCE: Duration = Duration::from_secs(10);
        let mut now = Instant::now();
        let mut restarts = Restarts::new(now);
        // Seconds that a worker served, the last ten of them in silence, and
        // the wait that follows.
        for (life, wait) in [(3600, 0), (90, 0), (12, 1), (14, 2), (16, 1), (70, 0)] {
            restarts.serving(now);
            now += Duration::from_secs(life);
            let decision = restarts.ended(now, SILENCE);
            assert_eq!(decision.wait, Duration::from_secs(wait), "{life}");
            assert_eq!(decision.fail_open, wait > 0, "{life}");
            now += decision.wait;
        }
    }

    #[test]
    fn rare_ends_are_none_of_the_last_ten_seconds() {
        waits(&[
            (Some(4_000), 100, 0),
            (Some(4_000), 100, 0),
            (Some(20_000), 100, 0),
            (Some(4_000), 100, 0),
        ]);
    }

    #[test]
    fn what_went_well_before_does_not_count() {
        waits(&[
            (Some(10), 3_600_000, 0),
            (None, 3_000, 0),
            (None, 3_000, 1_000),
        ]);
    }

    #[test]
    fn five_seconds_of_service_end_the_failing() {
        waits(&[
            (None, 20, 0),
            (None, 20, 0),
            (None, 20, 1_000),
            (Some(20), 4_000, 2_000),
            (Some(20), 6_000, 0),
        ]);
    }
}
