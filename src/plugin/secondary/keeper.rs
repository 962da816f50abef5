//! Keeps a copy of a zone up to date.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::catalog::{Catalog, CatalogError};
use super::incoming::Transferred;
use super::members::Catalogs;
use super::primary::{FetchError, fetch};
use super::{Source, TARGET};
use crate::plugin::zone::{Soa, Zone};
use crate::status::{ZoneState, ZoneStatus};
use crate::wire::Name;

/// From the first failure at the start to the next try; doubles with each.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// As in CoreDNS.
const REFRESH_JITTER: Duration = Duration::from_secs(5);
const RETRY_JITTER: Duration = Duration::from_secs(2);
/// The same failure is not logged more often.
const SAME: Duration = Duration::from_secs(600);

/// A zone and the one task that replaces it.
pub(super) struct Keeper {
    source: Source,
    role: Role,
    zone: ArcSwapOption<Zone>,
    expired: AtomicBool,
    notified: Notify,
    /// Why no primary answers at the moment.
    trouble: ArcSwapOption<String>,
    /// The serial of the zone, once there is one.
    serial: watch::Sender<Option<u32>>,
}

/// What a zone is beside itself.
pub(super) enum Role {
    Plain,
    /// A list of zones, for these.
    Catalog(Arc<Catalogs>),
    /// One of such a list, whose zones take turns.
    Member(Arc<Semaphore>),
}

impl Keeper {
    pub(super) fn new(source: Source, role: Role) -> Self {
        Self {
            source,
            role,
            zone: ArcSwapOption::empty(),
            expired: AtomicBool::new(false),
            notified: Notify::new(),
            trouble: ArcSwapOption::empty(),
            serial: watch::Sender::new(None),
        }
    }

    /// Begins with the copy that another one has, as good as it is.
    pub(super) fn inherit(&mut self, other: &Self) {
        self.zone = ArcSwapOption::new(other.zone.load_full());
        self.expired = AtomicBool::new(other.expired());
        self.serial = watch::Sender::new(*other.serial.borrow());
    }

    pub(super) fn origin(&self) -> Name<'_> {
        self.source.zone.name()
    }

    /// The zone as it is now; `None` until a primary has given it.
    pub(super) fn zone(&self) -> Guard<Option<Arc<Zone>>> {
        self.zone.load()
    }

    /// The same, to be kept, if it is the one of this very name.
    pub(super) fn zone_of(&self, name: Name<'_>) -> Option<Arc<Zone>> {
        let own = name.eq_ignore_case(self.origin()) && !self.expired();
        self.zone.load_full().filter(|_| own)
    }

    /// Whether no primary was there for as long as the zone is good.
    pub(super) fn expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }

    /// How good the copy is, for people.
    pub(super) fn status(&self) -> ZoneStatus {
        let (zone, trouble) = (self.zone.load(), self.trouble.load());
        let state = match (zone.is_some(), trouble.is_some()) {
            _ if self.expired() => ZoneState::Expired,
            (false, _) => ZoneState::Loading,
            (true, true) => ZoneState::Retrying,
            (true, false) => ZoneState::Current,
        };
        let records = zone.as_ref().map(|zone| format!("{} records", zone.len()));
        let detail = trouble.as_deref().cloned().or(records);
        ZoneStatus {
            state,
            zone: self.origin().to_string(),
            plugin: "secondary",
            serial: zone.as_ref().map(|zone| zone.soa().serial),
            detail: detail.unwrap_or_else(|| "no primary has given it yet".to_owned()),
        }
    }

    pub(super) fn is_primary(&self, ip: IpAddr) -> bool {
        let mut primaries = self.source.primaries.iter();
        primaries.any(|primary| primary.ip().to_canonical() == ip)
    }

    /// Has the primary asked at once.
    pub(super) fn notify(&self) {
        self.notified.notify_one();
    }

    /// Is told of each version.
    pub(super) fn serial(&self) -> watch::Receiver<Option<u32>> {
        self.serial.subscribe()
    }

    pub(super) async fn wait_loaded(&self) {
        let mut serial = self.serial.subscribe();
        // It fails when nobody is left to load.
        let _ = serial.wait_for(Option::is_some).await;
    }

    /// Follows the primaries for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let soa = self.load().await;
        self.expired.store(false, Ordering::Relaxed);
        let mut timers = Timers::new(&soa, &self.source);
        let mut failed: Option<(Instant, String)> = None;
        let (mut due, mut good) = (timers.refresh(), Instant::now());
        loop {
            let expiry = good + timers.expire;
            let mortal = failed.is_some() && !self.expired();
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.notified.notified() => {}
                () = sleep_until(expiry), if mortal => {
                    self.expire();
                    continue;
                }
            }
            match self.update(self.zone.load_full()).await {
                Ok(soa) => {
                    timers = Timers::new(&soa, &self.source);
                    (due, good, failed) = (timers.refresh(), Instant::now(), None);
                    self.expired.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    due = timers.retry();
                    let text = error.to_string();
                    let known = failed
                        .as_ref()
                        .is_some_and(|(at, known)| *known == text && at.elapsed() < SAME);
                    if !known {
                        let origin = self.origin();
                        tracing::warn!(target: TARGET, "Failed refresh check of {origin}: {text}");
                        failed = Some((Instant::now(), text));
                    }
                }
            }
        }
    }

    fn expire(&self) {
        tracing::error!(target: TARGET, "Zone {} is expired", self.origin());
        self.expired.store(true, Ordering::Relaxed);
    }

    /// Fetches the zone for the first time, whole: an inherited copy is from
    /// other primaries, and no difference need fit it.
    async fn load(&self) -> Soa {
        let inherited = self.zone.load_full();
        let good = inherited.map(|zone| Duration::from_secs(zone.soa().expire.into()));
        let expiry = good.map(|good| Instant::now() + good);
        let mut wait = FIRST_RETRY;
        loop {
            let error = match self.update(None).await {
                Ok(soa) => return soa,
                Err(error) => error,
            };
            if expiry.is_some_and(|expiry| expiry <= Instant::now()) && !self.expired() {
                self.expire();
            }
            tracing::warn!(
                target: TARGET,
                "All '{}' masters failed to transfer, retrying in {wait:?}: {error}",
                self.origin()
            );
            tokio::select! {
                () = sleep(wait) => {}
                () = self.notified.notified() => {}
            }
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    /// Asks the primaries for what is newer than `base`; that comes into force.
    async fn update(&self, base: Option<Arc<Zone>>) -> Result<Soa, FetchError> {
        let updated = self.ask(base).await;
        let trouble = updated.as_ref().err();
        let trouble = trouble.map(|error| Arc::new(error.to_string()));
        self.trouble.store(trouble);
        updated
    }

    /// Asks one primary after the other, until one answers.
    async fn ask(&self, base: Option<Arc<Zone>>) -> Result<Soa, FetchError> {
        let _turn = match &self.role {
            // It is never closed.
            Role::Member(turns) => turns.acquire().await.ok(),
            Role::Plain | Role::Catalog(_) => None,
        };
        let mut last = None;
        for primary in &self.source.primaries {
            let base = base.clone();
            let had = base.as_ref().map(|zone| zone.soa().clone());
            match (fetch(*primary, self.origin(), base).await, had) {
                (Ok(Transferred::Current), Some(soa)) => return Ok(soa),
                (Ok(Transferred::Zone(zone)), had) => {
                    let listing = match self.read_catalog(&zone) {
                        Ok(listing) => listing,
                        Err(error) => {
                            last = Some(FetchError::Catalog(*primary, error));
                            continue;
                        }
                    };
                    let soa = zone.soa().clone();
                    let (origin, serial) = (zone.origin(), soa.serial);
                    match had {
                        None => {
                            tracing::info!(target: TARGET, "Transferred: {origin} from {primary}");
                        }
                        // With NOTIFY these may come many times a second.
                        Some(_) => tracing::debug!(
                            target: TARGET,
                            "Transferred: {origin} from {primary}, serial {serial}, {} records",
                            zone.len()
                        ),
                    }
                    self.zone.store(Some(zone));
                    if let Some((catalogs, catalog)) = listing {
                        catalogs.apply(&self.source.zone, catalog);
                    }
                    self.serial.send_replace(Some(serial));
                    return Ok(soa);
                }
                // Only who has a copy can be up to date.
                (Ok(Transferred::Current), None) => {}
                (Err(error), _) => last = Some(error),
            }
        }
        // The parser lets no directive without a primary through.
        Err(last.unwrap_or(FetchError::NoPrimary))
    }

    /// What the zone lists, and for whom, if it is a catalog.
    fn read_catalog(&self, zone: &Arc<Zone>) -> Result<Option<(&Catalogs, Catalog)>, CatalogError> {
        match &self.role {
            Role::Catalog(catalogs) => Ok(Some((catalogs, Catalog::of(zone)?))),
            Role::Plain | Role::Member(_) => Ok(None),
        }
    }
}

/// When the primary is asked next.
struct Timers {
    refresh: Duration,
    retry: Duration,
    jitter: [Duration; 2],
    expire: Duration,
}

impl Timers {
    fn new(soa: &Soa, source: &Source) -> Self {
        let seconds = |value: u32| Duration::from_secs(value.max(1).into());
        let own = source.refresh;
        let retry = seconds(soa.retry);
        let jitter = |most: Duration| own.map_or(most, |own| most.min(own / 4));
        Self {
            refresh: own.unwrap_or_else(|| seconds(soa.refresh)),
            retry: own.map_or(retry, |own| retry.min(own)),
            jitter: [jitter(REFRESH_JITTER), jitter(RETRY_JITTER)],
            expire: seconds(soa.expire),
        }
    }

    fn refresh(&self) -> Instant {
        let [jitter, _] = self.jitter;
        Instant::now() + self.refresh + jitter.mul_f64(rand::random())
    }

    fn retry(&self) -> Instant {
        let [_, jitter] = self.jitter;
        Instant::now() + self.retry + jitter.mul_f64(rand::random())
    }
}
