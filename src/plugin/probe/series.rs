//! What is counted of a check, for as long as a configuration has it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use super::spec::To;
use crate::metrics::{Counter, Family, Histogram};
use crate::wire::{NameBuf, rtype};

/// From an answer on this host to what resolvers wait for, in seconds.
const BUCKETS: &[f64] = &[
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0,
];

static DURATIONS: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "pando_probe_duration_seconds",
        "Histogram of the time (in seconds) that checks of probe waited for an answer.",
        &["target", "name", "type"],
        BUCKETS,
    )
});
static TOTAL: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "pando_probe_total",
        "Counter of the checks of probe, by what came of them.",
        &["target", "name", "type", "result"],
    )
});

type Labels = [String; 3];

/// How many checks have these labels: around a reload, two.
static HOLDERS: Mutex<BTreeMap<Labels, usize>> = Mutex::new(BTreeMap::new());

/// What a check with these labels counts. With the last of them its series go.
#[derive(Debug)]
pub(super) struct Series {
    labels: Labels,
    durations: Histogram,
}

impl Series {
    pub(super) fn new(to: &To, name: &NameBuf, qtype: u16) -> Self {
        let target = match to {
            To::This => "self".to_owned(),
            To::Service => "service".to_owned(),
            To::Address(address) => address.to_string(),
        };
        let name = crate::presentation::NameText::new(name.name());
        let kind = rtype::display(qtype).to_string();
        let labels = [target, name.as_str().to_owned(), kind];
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        *holders.entry(labels.clone()).or_default() += 1;
        let [target, name, kind] = labels.each_ref().map(String::as_str);
        // There from the beginning, so that a rate has something to rise from.
        TOTAL.with(&[target, name, kind, "success"]);
        let durations = DURATIONS.with(&[target, name, kind]);
        Self { labels, durations }
    }

    /// Counts a check, and how long its answer took.
    pub(super) fn count(&self, result: &str, elapsed: Option<Duration>) {
        let [target, name, kind] = self.labels.each_ref().map(String::as_str);
        TOTAL.with(&[target, name, kind, result]).inc();
        if let Some(elapsed) = elapsed {
            self.durations.observe(elapsed.as_secs_f64());
        }
    }
}

/// What log lines call the check.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [target, name, kind] = &self.labels;
        write!(f, "{name} {kind} from {target}")
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = holders.get_mut(&self.labels) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            holders.remove(&self.labels);
            let others = |labels: &[String]| !labels.starts_with(&self.labels);
            DURATIONS.retain(others);
            TOTAL.retain(others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> String {
        let text = crate::metrics::exposition().unwrap();
        let lines = text.lines();
        lines
            .filter(|line| line.contains("series.test."))
            .filter(|line| !line.contains("_bucket"))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn series_go_with_the_last_who_counts() {
        let name: NameBuf = "series.test.".parse().unwrap();
        let old = Series::new(&To::This, &name, rtype::A);
        old.count("timeout", None);
        let new = Series::new(&To::This, &name, rtype::A);
        drop(old);
        new.count("success", Some(Duration::from_millis(500)));
        let labels = r#"name="series.test.",target="self",type="A""#;
        let labelled = |result| labels.replace(",target", &format!(",result=\"{result}\",target"));
        assert_eq!(
            shown(),
            format!(
                "pando_probe_duration_seconds_sum{{{labels}}} 0.5\npando_probe_duration_seconds_count{{{labels}}} 1\npando_probe_total{{{}}} 1\npando_probe_total{{{}}} 1\n",
                labelled("success"),
                labelled("timeout")
            )
        );
        drop(new);
        assert_eq!(shown(), "");
    }
}
