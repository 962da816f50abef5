//! Counters that workers can bump without meeting each other.
//!
//! Every time series has one cell per worker, each on a cache line of its
//! own and written by that worker alone; a scrape adds them up. Cell 0
//! belongs to everybody who is not a worker. All series live in one registry
//! for the whole process and survive reloads, as in CoreDNS.

pub mod amplification;
mod by_server;
mod export;
mod lines;
pub mod namespaces;
pub mod server;

pub use by_server::ByServer;
pub(crate) use export::{desc, gauge};
pub(crate) use lines::{Line, Lines};

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::{Registry, TextEncoder, proto};

/// Latency buckets of CoreDNS, in seconds (plugin/plugin.go: `TimeBuckets`).
pub const TIME_BUCKETS: &[f64] = &[
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    2.048, 4.096, 8.192,
];
/// Coarse latency buckets, in seconds (`SlimTimeBuckets`).
pub const SLIM_TIME_BUCKETS: &[f64] = &[0.00025, 0.0025, 0.025, 0.25, 2.5];
/// Message sizes in octets (plugin/metrics/vars).
pub const SIZE_BUCKETS: &[f64] = &[
    0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16000.0, 32000.0,
    48000.0, 64000.0,
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);
/// Cells per series; see [`set_workers`].
static CELLS: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

/// The registry behind `/metrics`.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// Every series in the text format of Prometheus.
///
/// # Errors
///
/// A series that the format cannot express.
pub fn exposition() -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&REGISTRY.gather())
}

/// Says how many workers there will be. Called once, before the first series is made.
pub fn set_workers(workers: usize) {
    CELLS.store(workers + 1, Ordering::Relaxed);
}

/// Makes this thread the worker `index`, counted from 0; no other thread may be it.
pub fn enter_worker(index: usize) {
    WORKER.with(|worker| worker.set(index + 1));
}

/// A number that only goes up, for one set of label values.
#[derive(Clone, Debug)]
pub struct Counter(Arc<[Padded]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

impl Counter {
    fn new() -> Self {
        Self(
            (0..CELLS.load(Ordering::Relaxed))
                .map(|_| Padded::default())
                .collect(),
        )
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        let worker = WORKER.with(Cell::get);
        match self.0.get(worker) {
            Some(Padded(cell)) if worker != 0 => bump(cell, n),
            _ => {
                if let Some(Padded(cell)) = self.0.first() {
                    cell.fetch_add(n, Ordering::Relaxed);
                }
            }
        }
    }

    /// The sum over all workers.
    pub fn value(&self) -> u64 {
        self.0
            .iter()
            .map(|Padded(cell)| cell.load(Ordering::Relaxed))
            .sum()
    }
}

/// Adds to a cell that this thread alone writes: no locked instruction.
fn bump(cell: &AtomicU64, n: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

/// What is in the cell. `OnceCell::get_or_init` readies its closure before it
/// looks, which costs as much as counting does.
pub(crate) fn kept<T>(cell: &OnceCell<T>, make: impl FnOnce() -> T) -> &T {
    #[cold]
    fn fill<T>(cell: &OnceCell<T>, make: impl FnOnce() -> T) -> &T {
        cell.get_or_init(make)
    }
    match cell.get() {
        Some(value) => value,
        None => fill(cell, make),
    }
}

/// A distribution, for one set of label values.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// A row of buckets and a sum per worker.
    rows: Arc<[Row]>,
}

/// Bounds that a histogram has at most.
const MOST_BOUNDS: usize = 20;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Row {
    /// The bits of an f64.
    sum: AtomicU64,
    /// The last one that is used has what is above all bounds.
    buckets: [AtomicU64; MOST_BOUNDS + 1],
}

impl Row {
    /// Adds to cells that this thread alone writes.
    fn add(&self, index: usize, value: f64, count: u64) {
        if let Some(bucket) = self.buckets.get(index) {
            bump(bucket, count);
            let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + value;
            self.sum.store(sum.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= MOST_BOUNDS, "{} bounds", bounds.len());
        Self {
            bounds,
            rows: (0..CELLS.load(Ordering::Relaxed))
                .map(|_| Row::default())
                .collect(),
        }
    }

    /// Counts one observation, in the unit of the buckets.
    pub fn observe(&self, value: f64) {
        // From the front: most observations are small.
        let above = self.bounds.iter().position(|bound| value <= *bound);
        self.add(above.unwrap_or(self.bounds.len()), value, 1);
    }

    /// Counts as many observations of one value.
    pub fn observe_many(&self, value: f64, count: u64) {
        let above = self.bounds.iter().position(|bound| value <= *bound);
        let index = above.unwrap_or(self.bounds.len());
        self.add(index, value * count as f64, count);
    }

    fn add(&self, index: usize, value: f64, count: u64) {
        let worker = WORKER.with(Cell::get);
        match self.rows.get(worker) {
            Some(row) if worker != 0 => row.add(index, value, count),
            _ => self.share(index, value, count),
        }
    }

    /// Counts an observation of somebody who is not a worker.
    #[cold]
    fn share(&self, index: usize, value: f64, count: u64) {
        let row = self.rows.first();
        let Some((row, bucket)) = row.and_then(|row| Some((row, row.buckets.get(index)?))) else {
            return;
        };
        bucket.fetch_add(count, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = row
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.rows
            .iter()
            .flat_map(|row| &row.buckets)
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .sum()
    }

    fn to_proto(&self) -> proto::Histogram {
        let mut histogram = proto::Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        let at = |index: usize| -> u64 {
            self.rows
                .iter()
                .filter_map(|row| row.buckets.get(index))
                .map(|bucket| bucket.load(Ordering::Relaxed))
                .sum()
        };
        for (index, bound) in self.bounds.iter().enumerate() {
            cumulative += at(index);
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(cumulative);
            bucket.set_upper_bound(*bound);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(cumulative + at(self.bounds.len()));
        let sums = self
            .rows
            .iter()
            .map(|row| f64::from_bits(row.sum.load(Ordering::Relaxed)));
        histogram.set_sample_sum(sums.sum());
        histogram
    }
}

/// A number that goes up and down; written off the hot way.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The value.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A kind of series that a [`Family`] can hold.
pub trait Series: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    const KIND: proto::MetricType;
    #[doc(hidden)]
    fn export(&self, metric: &mut proto::Metric);
}

impl Series for Counter {
    const KIND: proto::MetricType = proto::MetricType::COUNTER;

    fn export(&self, metric: &mut proto::Metric) {
        let mut counter = proto::Counter::default();
        counter.set_value(self.value() as f64);
        metric.set_counter(counter);
    }
}

impl Series for Gauge {
    const KIND: proto::MetricType = proto::MetricType::GAUGE;

    fn export(&self, metric: &mut proto::Metric) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(self.value());
        metric.set_gauge(gauge);
    }
}

impl Series for Histogram {
    const KIND: proto::MetricType = proto::MetricType::HISTOGRAM;

    fn export(&self, metric: &mut proto::Metric) {
        metric.set_histogram(self.to_proto());
    }
}

/// All series of one name. A series appears with its first use, so a fresh
/// server shows no row of zeros, as CoreDNS does.
#[derive(Clone)]
pub struct Family<S: Series>(Arc<Inner<S>>);

struct Inner<S> {
    desc: Desc,
    labels: &'static [&'static str],
    make: Box<dyn Fn() -> S + Send + Sync>,
    series: Mutex<BTreeMap<Vec<String>, S>>,
}

impl Family<Counter> {
    /// Registers counters. A second registration of one name is a defect and counts nowhere.
    pub fn counters(name: &str, help: &str, labels: &'static [&'static str]) -> Self {
        Self::register(name, help, labels, Counter::new)
    }
}

impl Family<Gauge> {
    /// Registers gauges.
    pub fn gauges(name: &str, help: &str, labels: &'static [&'static str]) -> Self {
        Self::register(name, help, labels, Gauge::default)
    }
}

impl Family<Histogram> {
    /// Registers histograms with these upper bounds, ascending.
    pub fn histograms(
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Self {
        Self::register(name, help, labels, move || Histogram::new(bounds))
    }
}

impl<S: Series> Family<S> {
    fn register(
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let variable = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(
            name.to_owned(),
            help.to_owned(),
            variable,
            Default::default(),
        )
        .expect("names and labels of our own are valid");
        let family = Self(Arc::new(Inner {
            desc,
            labels,
            make: Box::new(make),
            series: Mutex::default(),
        }));
        let registered = REGISTRY.register(Box::new(family.clone()));
        debug_assert!(registered.is_ok(), "{name}: {registered:?}");
        family
    }

    /// The series with these label values, in the order of the labels. It
    /// takes a lock: resolve it once, keep the handle.
    pub fn with(&self, values: &[&str]) -> S {
        debug_assert_eq!(values.len(), self.0.labels.len());
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let mut series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.entry(key).or_insert_with(|| (self.0.make)()).clone()
    }

    /// Drops the series to whose label values `keep` says no, for what is there no more.
    pub fn retain(&self, keep: impl Fn(&[String]) -> bool) {
        let mut series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.retain(|values, _| keep(values));
    }

    /// Drops all series, for what describes the configuration in force.
    pub fn clear(&self) {
        self.0
            .series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl<S: Series> Collector for Family<S> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.is_empty() {
            return Vec::new();
        }
        let metrics: Vec<proto::Metric> = series
            .iter()
            .map(|(values, series)| {
                let pairs = self.0.labels.iter().zip(values).map(|(name, value)| {
                    let mut pair = proto::LabelPair::default();
                    pair.set_name((*name).to_owned());
                    pair.set_value(value.clone());
                    pair
                });
                let mut metric = proto::Metric::default();
                // In the order of their names, as Go's client prints them.
                let mut pairs: Vec<_> = pairs.collect();
                pairs.sort_by(|a, b| a.name().cmp(b.name()));
                metric.set_label(pairs);
                series.export(&mut metric);
                metric
            })
            .collect();
        let mut family = proto::MetricFamily::default();
        family.set_name(self.0.desc.fq_name.clone());
        family.set_help(self.0.desc.help.clone());
        family.set_field_type(S::KIND);
        family.set_metric(metrics);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_appear_with_their_first_use_and_add_up() {
        let family = Family::counters("test_series_total", "Help.", &["a"]);
        assert!(family.collect().is_empty());
        let counter = family.with(&["x"]);
        counter.inc();
        std::thread::spawn(move || {
            enter_worker(0);
            counter.add(2);
        })
        .join()
        .unwrap();
        assert_eq!(family.with(&["x"]).value(), 3);
        let collected = family.collect();
        assert_eq!(collected[0].get_metric()[0].get_counter().get_value(), 3.0);
    }

    #[test]
    fn an_observation_on_a_bound_falls_below_it() {
        let family = Family::histograms("test_bounds", "Help.", &[], &[1.0, 2.0]);
        let histogram = family.with(&[]);
        for value in [0.5, 1.0, 2.0, 9.0] {
            histogram.observe(value);
        }
        let exported = histogram.to_proto();
        let counts: Vec<u64> = exported
            .get_bucket()
            .iter()
            .map(proto::Bucket::cumulative_count)
            .collect();
        assert_eq!(counts, [2, 3]);
        assert_eq!(exported.get_sample_count(), 4);
        assert_eq!(exported.get_sample_sum(), 12.5);
        histogram.observe_many(1.5, 3);
        let exported = histogram.to_proto();
        assert_eq!(exported.get_sample_count(), 7);
        assert_eq!(exported.get_sample_sum(), 17.0);
    }
}
