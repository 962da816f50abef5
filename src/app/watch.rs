//! Looking at the Corefile now and then, for the `reload` directive.

use std::future::pending;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{loader::Loader, system};
use crate::configuration::{History, Text};
use crate::metrics::{Counter, Family, Gauge};

static FAILED: LazyLock<Counter> = LazyLock::new(|| {
    Family::counters(
        "coredns_reload_failed_total",
        "Counter of the number of failed reload attempts.",
        &[],
    )
    .with(&[])
});
static VERSION: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    Family::gauges(
        "coredns_reload_version_info",
        "A metric with labels for the reload hash and value.",
        &["hash", "value"],
    )
});

/// When to look next, and what was seen last.
#[derive(Debug)]
pub(super) struct Watch {
    interval: Option<Duration>,
    next: Instant,
    hash: String,
}

impl Watch {
    /// Begins with the Corefile that has come into force.
    pub(super) fn begin(interval: Option<Duration>, text: &Text) -> Self {
        // Shown as zero by a server that has not reloaded yet.
        LazyLock::force(&FAILED);
        let hash = text.hash(&system()).unwrap_or_default();
        if interval.is_some() {
            info!(target: "plugin/reload", "Running configuration SHA512 = {hash}");
        }
        Self {
            interval,
            next: after(interval),
            hash,
        }
    }

    /// What tells the Corefile in force from others; see [`Text::hash`].
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Waits until it is time to look.
    pub(super) async fn tick(&self) {
        match self.interval {
            Some(_) => sleep_until(self.next).await,
            None => pending().await,
        }
    }

    /// The Corefile, if it is another than last time and can be read.
    pub(super) fn look(&mut self, loader: &Loader, history: &History) -> Option<Text> {
        self.next = after(self.interval);
        let text = loader.load().ok()?;
        match text.hash(&system()) {
            Ok(hash) if hash == self.hash => None,
            Ok(hash) => {
                // Not tried again before it changes again, even if it is wrong.
                self.hash = hash;
                Some(text)
            }
            Err(error) => {
                let error = error.first_line();
                warn!(target: "plugin/reload", "Corefile parse failed: {error}");
                history.failed(error);
                None
            }
        }
    }
}

/// The time of control work, not of a query.
fn after(interval: Option<Duration>) -> Instant {
    Instant::now() + interval.unwrap_or_default()
}

/// Counts a reload, and says which Corefile it was about.
pub(super) fn count(text: &Text, succeeded: bool) {
    VERSION.clear();
    VERSION
        .with(&["sha512", &text.hash(&system()).unwrap_or_default()])
        .set(1.0);
    if !succeeded {
        FAILED.inc();
    }
}
