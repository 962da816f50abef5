use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};

use super::TARGET;
use super::table::{Entries, Tables};
use crate::metrics::{Family, Gauge};
use crate::zones::Zones;

static ENTRIES: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    let help = "The combined number of entries in hosts and Corefile.";
    Family::gauges("coredns_hosts_entries", help, &["hostsfile"])
});
static RELOADED: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    let help = "The timestamp of the last reload of hosts file.";
    Family::gauges("coredns_hosts_reload_timestamp_seconds", help, &[])
});

/// A file and what was read of it.
pub(super) struct HostsFile {
    path: PathBuf,
    zones: Zones,
    reverse: bool,
    tables: ArcSwap<Tables>,
    /// Time and size of what was read.
    seen: Mutex<Option<(SystemTime, u64)>>,
}

impl HostsFile {
    /// The lines of the Corefile; the file comes with [`HostsFile::update`].
    pub(super) fn new(path: PathBuf, inline: &str, zones: Zones, reverse: bool) -> Self {
        let inline = Arc::new(Entries::parse(inline, &zones, reverse));
        Self {
            path,
            tables: ArcSwap::from_pointee(Tables::new(Entries::default(), inline)),
            zones,
            reverse,
            seen: Mutex::default(),
        }
    }

    pub(super) fn load(&self) -> Guard<Arc<Tables>> {
        self.tables.load()
    }

    /// Reads the file if its time or size has changed. One that cannot be
    /// read leaves what is there.
    pub(super) fn update(&self) {
        let Ok(metadata) = std::fs::metadata(&self.path) else {
            return;
        };
        let time = metadata.modified().unwrap_or(UNIX_EPOCH);
        let now = Some((time, metadata.len()));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        let Ok(octets) = std::fs::read(&self.path) else {
            return;
        };
        let text = String::from_utf8_lossy(&octets);
        let entries = Entries::parse(&text, &self.zones, self.reverse);
        tracing::debug!(target: TARGET, "Parsed hosts file into {} entries", entries.len());
        let tables = Tables::new(entries, self.tables.load().inline());
        let shown = self.path.display().to_string();
        ENTRIES.with(&[&shown]).set(tables.len() as f64);
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        RELOADED.with(&[]).set(since.as_secs_f64());
        self.tables.store(Arc::new(tables));
        *seen = now;
    }
}
