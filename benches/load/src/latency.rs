//! How long a reply takes: an open loop at a given rate.

use std::time::{Duration, Instant};

use crate::generator::{Generator, LOOK, LOST, Tally};

/// Queries that are sent at a time: A and AAAA, as resolvers do.
const PAIR: usize = 2;
/// Queries a second that are asked for at most. Not far above it the generator
/// itself becomes the queue.
pub(crate) const MOST: f64 = 200_000.0;
/// Room for queries on a lane: more than are ever under way at half load.
pub(crate) const DEPTH: usize = 256;

/// A generator that is later than that had no core.
const STALL: Duration = Duration::from_micros(100);

/// Percentiles of the times of replies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
}

impl Generator<'_> {
    /// Sends pairs of queries at random times (a Poisson process) with `rate`
    /// queries a second on average, whether replies come or not: a server that
    /// stalls hides nothing. A generator that stalls leaves out what it missed,
    /// because nobody's clients send in one burst what they had no core for.
    pub(crate) fn paced(&mut self, rate: f64, time: Duration) -> anyhow::Result<(Tally, Latency)> {
        let begun = Instant::now();
        self.tally = Tally::default();
        self.histogram = Some(Histogram::default());
        // The same moments for every server.
        let mut random = fastrand::Rng::with_seed(5);
        let between = PAIR as f64 / rate;
        let (mut due, mut looked) = (begun, begun);
        let mut lanes = (0..self.lanes.len()).cycle();
        loop {
            let now = Instant::now();
            if now - begun >= time {
                break;
            }
            if now - looked >= LOOK {
                looked = now;
                self.give_up(now, LOST);
            }
            if now.saturating_duration_since(due) > STALL {
                due = now;
            }
            while due <= now {
                let lane = lanes.next().unwrap_or_default();
                // Where no reply has come for long there is no room, and
                // nothing is sent: what waits shows how long it takes.
                self.send(lane, Instant::now(), PAIR);
                due += Duration::from_secs_f64(-between * (1.0 - random.f64()).ln());
            }
            for lane in 0..self.lanes.len() {
                if self
                    .lanes
                    .get(lane)
                    .is_some_and(|(_, flight)| !flight.is_empty())
                {
                    self.receive(lane)?;
                }
            }
            self.upstream.serve()?;
        }
        let mut tally = std::mem::take(&mut self.tally);
        tally.elapsed = begun.elapsed();
        let histogram = self.histogram.take().unwrap_or_default();
        Ok((tally, histogram.latency()))
    }
}

/// Buckets for each power of two: a time is kept to 1.6 %.
const STEPS: usize = 64;

/// Counts of times, in buckets that grow with the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// Nanoseconds below 64 one by one, then 64 buckets for each power of two.
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let index = Self::bucket(nanos);
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
    }

    fn bucket(nanos: u64) -> usize {
        let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEPS.ilog2() + 1);
        shift as usize * STEPS + (nanos >> shift) as usize
    }

    /// The smallest time of a bucket.
    fn start(bucket: usize) -> Duration {
        let shift = (bucket / STEPS).saturating_sub(1);
        Duration::from_nanos(((bucket - shift * STEPS) as u64) << shift)
    }

    fn latency(&self) -> Latency {
        Latency {
            p50: self.percentile(0.5),
            p99: self.percentile(0.99),
            p999: self.percentile(0.999),
        }
    }

    /// A time that `part` of all do not exceed; zero when there is none.
    fn percentile(&self, part: f64) -> Duration {
        let rank = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map(Self::start).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut histogram = Histogram::default();
        for micros in (1..=1000).rev() {
            histogram.add(Duration::from_micros(micros));
        }
        for (part, micros) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = histogram.percentile(part).as_secs_f64() * 1e6;
            let off = (found - micros) / micros;
            assert!((-0.016..=0.0).contains(&off), "{part}: {found}");
        }
    }

    #[test]
    fn one_slow_reply_of_a_hundred_is_the_last_percentile() {
        let mut histogram = Histogram::default();
        for _ in 0..99 {
            histogram.add(Duration::from_nanos(50));
        }
        histogram.add(Duration::from_secs(1));
        assert_eq!(histogram.percentile(0.5), Duration::from_nanos(50));
        assert_eq!(histogram.percentile(0.99), Duration::from_nanos(50));
        assert!(histogram.percentile(0.999) > Duration::from_millis(984));
        assert_eq!(Histogram::default().percentile(0.5), Duration::ZERO);
    }

    #[test]
    fn every_time_is_in_the_bucket_that_starts_at_or_below_it() {
        let mut last = 0;
        for nanos in (0..100_000).chain([1 << 40, u64::MAX]) {
            let bucket = Histogram::bucket(nanos);
            assert!(bucket >= last, "{nanos}");
            last = bucket;
            let start = Histogram::start(bucket).as_nanos() as u64;
            assert!(start <= nanos && nanos - start <= nanos / 64, "{nanos}");
        }
    }
}
