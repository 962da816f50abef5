//! All metrics of the process at one moment, and what has happened since another.

use std::collections::BTreeMap;

use prometheus::proto::{LabelPair, Metric, MetricFamily};
use tokio::time::Instant;

use crate::metrics;

/// The metrics at one moment.
pub(super) struct Reading {
    at: Instant,
    families: Vec<MetricFamily>,
}

/// How observations are spread.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Distribution {
    /// Upper bounds, ascending.
    pub(super) bounds: Vec<f64>,
    /// Observations up to each bound and beyond the one before; the last are
    /// those beyond all of them.
    pub(super) counts: Vec<f64>,
}

impl Reading {
    pub(super) fn take() -> Self {
        Self {
            at: Instant::now(),
            families: metrics::registry().gather(),
        }
    }

    /// Seconds from `before` to this one.
    pub(super) fn since(&self, before: &Self) -> f64 {
        self.at.duration_since(before.at).as_secs_f64()
    }

    /// The sum over all series; `None` where there is none.
    pub(super) fn total(&self, name: &str) -> Option<f64> {
        let series = self.series(name);
        (!series.is_empty()).then(|| series.iter().map(value).sum())
    }

    /// The sums over all series with the same values of these labels.
    pub(super) fn by<const N: usize>(
        &self,
        name: &str,
        labels: [&str; N],
    ) -> BTreeMap<[String; N], f64> {
        let mut sums = BTreeMap::new();
        for metric in self.series(name) {
            let key = labels.map(|name| label(metric, name).to_owned());
            *sums.entry(key).or_default() += value(metric);
        }
        sums
    }

    /// The sum over all series of a histogram.
    pub(super) fn distribution(&self, name: &str) -> Option<Distribution> {
        let mut series = self.series(name).iter().map(distribution);
        let first = series.next()?;
        Some(series.fold(first, |mut sum, more| {
            let counts = sum.counts.iter_mut().zip(more.counts);
            counts.for_each(|(sum, more)| *sum += more);
            sum
        }))
    }

    /// How many observations there were, and their sum, by these labels.
    pub(super) fn observed<const N: usize>(
        &self,
        name: &str,
        labels: [&str; N],
    ) -> BTreeMap<[String; N], (f64, f64)> {
        let mut sums: BTreeMap<_, (f64, f64)> = BTreeMap::new();
        for metric in self.series(name) {
            let key = labels.map(|name| label(metric, name).to_owned());
            let histogram = metric.get_histogram();
            let entry = sums.entry(key).or_default();
            entry.0 += histogram.get_sample_count() as f64;
            entry.1 += histogram.get_sample_sum();
        }
        sums
    }

    fn series(&self, name: &str) -> &[Metric] {
        let family = self.families.iter().find(|family| family.name() == name);
        family.map_or(&[], MetricFamily::get_metric)
    }
}

impl Distribution {
    /// What has come since `before`.
    pub(super) fn since(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before.filter(|before| before.bounds == self.bounds) {
            let counts = self.counts.iter_mut().zip(&before.counts);
            counts.for_each(|(now, before)| *now = (*now - before).max(0.0));
        }
        self
    }
}

/// What has come to each since `before`; those to which nothing has are left out.
pub(super) fn grown<K: Ord>(
    now: BTreeMap<K, f64>,
    before: Option<&BTreeMap<K, f64>>,
) -> BTreeMap<K, f64> {
    let grown = now.into_iter().map(|(key, now)| {
        let before = before.and_then(|before| before.get(&key));
        let more = now - before.copied().unwrap_or_default();
        (key, more)
    });
    grown.filter(|(_, more)| *more > 0.0).collect()
}

fn distribution(metric: &Metric) -> Distribution {
    let histogram = metric.get_histogram();
    let (mut bounds, mut counts) = (Vec::new(), Vec::new());
    let mut below = 0;
    for bucket in histogram.get_bucket() {
        let cumulative = bucket.cumulative_count();
        bounds.push(bucket.upper_bound());
        // Cells are read one after the other while workers write.
        counts.push(cumulative.saturating_sub(below) as f64);
        below = cumulative;
    }
    counts.push(histogram.get_sample_count().saturating_sub(below) as f64);
    Distribution { bounds, counts }
}

fn value(metric: &Metric) -> f64 {
    // One of the two is there; the other says 0.
    metric.get_counter().get_value() + metric.get_gauge().get_value()
}

fn label<'a>(metric: &'a Metric, name: &str) -> &'a str {
    let mut labels = metric.get_label().iter();
    let found = labels.find(|pair| pair.name() == name);
    found.map_or("", LabelPair::value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Family;

    #[test]
    fn series_add_up_by_their_labels() {
        let family = Family::counters("test_reading_total", "Help.", &["a", "b"]);
        family.with(&["x", "1"]).add(2);
        family.with(&["x", "2"]).add(3);
        let before = Reading::take();
        family.with(&["x", "2"]).add(4);
        family.with(&["y", "2"]).inc();
        let now = Reading::take();
        assert_eq!(before.total("test_reading_total"), Some(5.0));
        assert_eq!(now.total("test_absent_total"), None);
        let by = |reading: &Reading| reading.by("test_reading_total", ["a"]);
        let grown = grown(by(&now), Some(&by(&before)));
        let expected = [(["x".to_owned()], 4.0), (["y".to_owned()], 1.0)];
        assert_eq!(grown, BTreeMap::from(expected));
    }

    #[test]
    fn a_distribution_tells_what_has_come_since() {
        let name = "test_reading_seconds";
        let family = Family::histograms(name, "Help.", &["a"], &[1.0, 2.0]);
        family.with(&["x"]).observe(0.5);
        let before = Reading::take().distribution(name).unwrap();
        for (label, value) in [("x", 1.5), ("y", 1.5), ("y", 9.0)] {
            family.with(&[label]).observe(value);
        }
        let now = Reading::take();
        let since = now.distribution(name).unwrap().since(Some(&before));
        assert_eq!(since.bounds, [1.0, 2.0]);
        assert_eq!(since.counts, [0.0, 2.0, 1.0]);
        let observed = now.observed(name, ["a"]);
        assert_eq!(observed.get(&["y".to_owned()]), Some(&(2.0, 10.5)));
    }
}
