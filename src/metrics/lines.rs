//! Counters of one owner, side by side on a line of the cache.
//!
//! A [`Counter`](super::Counter) asks which worker it is called on. Who counts
//! with every query and belongs to one thread has a [`Line`] of its own, and
//! counts with three instructions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::export;

/// Counters on a line.
const CELLS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells([AtomicU64; CELLS]);

impl Cells {
    fn load(&self) -> [u64; CELLS] {
        self.0.each_ref().map(|cell| cell.load(Ordering::Relaxed))
    }
}

/// A family with two labels: whose line it is, and which counter on it.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Inner>);

struct Inner {
    desc: Desc,
    labels: [&'static str; 2],
    /// The values of the second label, in the order of the cells.
    words: &'static [&'static str],
    owners: Mutex<BTreeMap<String, Owner>>,
}

/// All lines of one value of the first label.
#[derive(Default)]
struct Owner {
    lines: Vec<Arc<Cells>>,
    /// What those had that are gone.
    past: [u64; CELLS],
}

impl Lines {
    /// Registers the family. The labels stand in the order of their names, and
    /// there are no more words than [`CELLS`].
    pub(crate) fn register(
        name: &str,
        help: &str,
        labels: [&'static str; 2],
        words: &'static [&'static str],
    ) -> Self {
        assert!(words.len() <= CELLS, "{} words", words.len());
        let lines = Self(Arc::new(Inner {
            desc: export::desc(name, help, &labels),
            labels,
            words,
            owners: Mutex::default(),
        }));
        let registered = super::registry().register(Box::new(lines.clone()));
        debug_assert!(registered.is_ok(), "{name}: {registered:?}");
        lines
    }

    /// A line of this owner, for the thread that calls this.
    pub(crate) fn line(&self, owner: &str) -> Line {
        let cells = Arc::<Cells>::default();
        let mut owners = self.lock();
        let of = owners.entry(owner.to_owned()).or_default();
        of.lines.push(cells.clone());
        Line {
            cells,
            family: self.clone(),
            owner: owner.to_owned(),
            one_thread: std::marker::PhantomData,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Owner>> {
        self.0.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line of counters, written by one thread.
pub(crate) struct Line {
    cells: Arc<Cells>,
    family: Lines,
    owner: String,
    /// Two threads that count would lose counts.
    one_thread: std::marker::PhantomData<*const ()>,
}

impl Line {
    /// Adds one to a counter.
    #[inline]
    pub(crate) fn inc(&self, at: usize) {
        // There are as many as three bits can tell.
        super::bump(&self.cells.0[at % CELLS], 1);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut owners = self.family.lock();
        let Some(owner) = owners.get_mut(&self.owner) else {
            return;
        };
        owner.lines.retain(|line| !Arc::ptr_eq(line, &self.cells));
        for (past, count) in owner.past.iter_mut().zip(self.cells.load()) {
            *past += count;
        }
    }
}

impl Collector for Lines {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let [owner_label, word_label] = self.0.labels;
        let mut metrics = Vec::new();
        for (name, owner) in self.lock().iter() {
            let mut sums = owner.past;
            for line in &owner.lines {
                for (sum, count) in sums.iter_mut().zip(line.load()) {
                    *sum += count;
                }
            }
            let counted = self.0.words.iter().zip(sums).filter(|(_, sum)| *sum > 0);
            metrics.extend(counted.map(|(word, sum)| {
                export::counter(&[(owner_label, name), (word_label, word)], sum)
            }));
        }
        export::family(&self.0.desc, metrics).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_owner_add_up_and_outlive_it() {
        let lines = Lines::register("test_lines_total", "Help.", ["a", "b"], &["x", "y"]);
        let shown = || {
            let families = lines.collect();
            let metrics = families.iter().flat_map(proto::MetricFamily::get_metric);
            let show = |metric: &proto::Metric| {
                let labels = metric.get_label().iter().map(proto::LabelPair::value);
                let labels: Vec<&str> = labels.collect();
                format!("{} {}", labels.join(" "), metric.get_counter().get_value())
            };
            metrics.map(show).collect::<Vec<_>>()
        };
        let (one, two, other) = (lines.line("p"), lines.line("p"), lines.line("q"));
        assert!(shown().is_empty());
        one.inc(0);
        two.inc(0);
        two.inc(1);
        other.inc(1);
        assert_eq!(shown(), ["p x 2", "p y 1", "q y 1"]);
        drop(two);
        one.inc(1);
        assert_eq!(shown(), ["p x 2", "p y 2", "q y 1"]);
    }
}
