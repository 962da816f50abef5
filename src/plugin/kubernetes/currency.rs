//! How old the cluster's state is: `pando_snapshot_age_seconds` and
//! `pando_snapshot_stale`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use prometheus::core::{Collector, Desc};
use prometheus::proto;
use tokio::time::Instant;

use super::model::Kind;
use crate::metrics;

/// When one store was last told what its collections are.
pub(super) struct Currency {
    state: Mutex<State>,
}

struct State {
    begun: Instant,
    /// How old the state was when it was read from a file.
    inherited: Option<Duration>,
    kinds: BTreeMap<Kind, Followed>,
}

#[derive(Default)]
struct Followed {
    up: bool,
    seen: Option<Instant>,
}

/// All that are alive, for the scrape.
static ALL: LazyLock<Mutex<Vec<Weak<Currency>>>> = LazyLock::new(|| {
    let exporter = Exporter {
        age: metrics::desc(
            "pando_snapshot_age_seconds",
            "Seconds since the state of the cluster was last known to be current.",
            &[],
        ),
        stale: metrics::desc(
            "pando_snapshot_stale",
            "Whether answers are made from a state that the Kubernetes API has not confirmed, or its watches are down.",
            &[],
        ),
    };
    // Refused only if it were there already, and this is done once.
    let _ = metrics::registry().register(Box::new(exporter));
    Mutex::default()
});

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Currency {
    /// Of a store that begins now; it shows for as long as it is held.
    pub(super) fn new() -> Arc<Self> {
        let currency = Arc::new(Self {
            state: Mutex::new(State {
                begun: Instant::now(),
                inherited: None,
                kinds: BTreeMap::new(),
            }),
        });
        let mut all = lock(&ALL);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&currency));
        currency
    }

    /// The API server has just sent an event, a bookmark or a whole list.
    pub(super) fn seen(&self, kind: Kind, now: Instant) {
        lock(&self.state).kinds.entry(kind).or_default().seen = Some(now);
    }

    /// Whether a collection is followed.
    pub(super) fn followed(&self, kind: Kind, followed: bool) {
        lock(&self.state).kinds.entry(kind).or_default().up = followed;
    }

    /// The state was read from a file that was written then.
    pub(super) fn restored(&self, written: SystemTime) {
        // A clock that was set back makes it no younger than now.
        let age = written.elapsed().unwrap_or_default();
        lock(&self.state).inherited = Some(age);
    }

    /// How old the state is, and whether it may be wrong: that of the
    /// collection of which is known least.
    fn age(&self, now: Instant) -> (Duration, bool) {
        let state = lock(&self.state);
        let never = (now - state.begun) + state.inherited.unwrap_or_default();
        let age = |kind: &Followed| kind.seen.map_or(never, |seen| now - seen);
        let oldest = state.kinds.values().map(age).max();
        let down = state
            .kinds
            .values()
            .any(|kind| !kind.up || kind.seen.is_none());
        (oldest.unwrap_or(never), down)
    }
}

struct Exporter {
    age: Desc,
    stale: Desc,
}

impl Collector for Exporter {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.age, &self.stale]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let all: Vec<_> = lock(&ALL).iter().filter_map(Weak::upgrade).collect();
        // Of several clusters the one in the worst state counts.
        let now = Instant::now();
        let ages = all.iter().map(|currency| currency.age(now));
        let Some((age, stale)) = ages.reduce(|a, b| (a.0.max(b.0), a.1 || b.1)) else {
            return Vec::new();
        };
        vec![
            metrics::gauge(&self.age, age.as_secs_f64()),
            metrics::gauge(&self.stale, f64::from(u8::from(stale))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The age after so many seconds, and whether it may be wrong.
    fn age(currency: &Currency, begun: Instant, seconds: u64) -> (u64, bool) {
        let (age, stale) = currency.age(begun + Duration::from_secs(seconds));
        (age.as_secs(), stale)
    }

    #[test]
    fn the_state_is_as_old_as_its_oldest_part() {
        let currency = Currency::new();
        let begun = lock(&currency.state).begun;
        for kind in [Kind::Services, Kind::Namespaces] {
            currency.followed(kind, false);
        }
        assert_eq!(age(&currency, begun, 5), (5, true));
        let read = begun + Duration::from_secs(5);
        for kind in [Kind::Services, Kind::Namespaces] {
            currency.seen(kind, read);
            currency.followed(kind, true);
        }
        assert_eq!(age(&currency, begun, 5), (0, false));
        currency.seen(Kind::Services, read + Duration::from_secs(60));
        assert_eq!(age(&currency, begun, 65), (60, false));
        currency.followed(Kind::Namespaces, false);
        assert_eq!(age(&currency, begun, 65), (60, true));
    }

    #[test]
    fn what_is_read_from_a_file_has_its_age() {
        let currency = Currency::new();
        let begun = lock(&currency.state).begun;
        currency.followed(Kind::Services, false);
        currency.restored(SystemTime::now() - Duration::from_secs(3600));
        let (seconds, stale) = age(&currency, begun, 10);
        assert!(stale && (3610..3620).contains(&seconds), "{seconds}");
        currency.seen(Kind::Services, begun);
        currency.followed(Kind::Services, true);
        assert_eq!(age(&currency, begun, 0), (0, false));
    }
}
