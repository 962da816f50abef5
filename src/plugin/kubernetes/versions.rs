//! Versions of the zone, each under a serial of its own, and who has which.
//!
//! CoreDNS's serial is the Unix time of the last change: several changes in a
//! second share it, and some do not move it. Where a zone is handed out, a
//! serial must stand for one state. So once `transfer` stands in the block, a
//! version is cut when services have changed, at most every 100 ms, and its
//! serial is CoreDNS's or one more than the last. That runs ahead of the
//! clock by 30 s at most; then there is one version a second until the clock
//! has caught up. Else a server that starts anew would be behind its copies.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::fast::RandomState;
use tokio::sync::watch;
use tokio::time::sleep;

use super::snapshot::Snapshot;
use crate::wire::{Name, NameBuf};

/// Between two versions.
const GAP: Duration = Duration::from_millis(100);
/// How far a serial may be ahead of the clock, in seconds.
const AHEAD: u32 = 30;
/// A copy that is so many changes behind is replaced whole. What it shares
/// with the cluster of now is kept once; a change keeps about 4 KiB.
const MAX_CHANGES: u64 = 4096;
/// A client may ask again for what it could not use.
const PER_CLIENT: usize = 4;
/// Of how many clients is known what they have.
const MAX_CLIENTS: usize = 16_384;

/// A state of the cluster that may be handed out.
pub(super) struct Version {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) old: Arc<Old>,
}

/// What is kept of a version for who has a copy of it.
pub(super) struct Old {
    pub(super) serial: u32,
    changes: u64,
    /// Without addresses.
    pub(super) snapshot: Snapshot,
}

impl Version {
    pub(super) fn serial(&self) -> u32 {
        self.old.serial
    }
}

/// The newest version, if there is any.
#[derive(Default)]
pub(super) struct Versions {
    current: ArcSwapOption<Version>,
    /// Its serial, and above that a bit that says that there is one.
    serial: AtomicU64,
    announced: watch::Sender<Option<u32>>,
}

const ANY: u64 = 1 << 32;

impl Versions {
    /// The newest version.
    pub(super) fn current(&self) -> Option<Arc<Version>> {
        self.current.load_full()
    }

    /// The serial of the newest version.
    pub(super) fn serial(&self) -> Option<u32> {
        let serial = self.serial.load(Ordering::Relaxed);
        (serial & ANY != 0).then_some(serial as u32)
    }

    /// Is told of each version.
    pub(super) fn announced(&self) -> watch::Receiver<Option<u32>> {
        self.announced.subscribe()
    }

    /// Cuts versions as the cluster changes, for ever.
    pub(super) async fn follow(
        self: Arc<Self>,
        cell: Arc<ArcSwap<Snapshot>>,
        mut changes: watch::Receiver<u64>,
    ) {
        loop {
            changes.borrow_and_update();
            match self.cut(cell.load_full(), now()) {
                Ok(true) => sleep(GAP).await,
                Ok(false) => {}
                Err(wait) => {
                    sleep(wait).await;
                    continue;
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes `snapshot` the newest version, unless it says nothing new.
    /// `Err`: it is too early by so much.
    pub(super) fn cut(&self, snapshot: Arc<Snapshot>, now: u32) -> Result<bool, Duration> {
        if !snapshot.synced() && !snapshot.stale() {
            return Ok(false);
        }
        let counted = snapshot.serial().max(snapshot.multicluster_serial());
        let serial = match self.current() {
            None if counted == 0 => now,
            None => counted,
            Some(last) if last.snapshot.shares_services(&snapshot) => return Ok(false),
            Some(last) => match counted.wrapping_sub(last.serial()) {
                1..=0x7FFF_FFFF => counted,
                _ => last.serial().wrapping_add(1),
            },
        };
        let ahead = serial.wrapping_sub(now);
        if self.serial().is_some() && (AHEAD + 1..=u32::MAX >> 1).contains(&ahead) {
            return Err(Duration::from_secs((ahead - AHEAD).into()).min(Duration::from_secs(60)));
        }
        let old = Arc::new(Old {
            serial,
            changes: snapshot.state.changes,
            snapshot: snapshot.without_addresses(),
        });
        self.current
            .store(Some(Arc::new(Version { snapshot, old })));
        self.serial
            .store(ANY | u64::from(serial), Ordering::Relaxed);
        self.announced.send_replace(Some(serial));
        Ok(true)
    }
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions")
            .field("serial", &self.serial())
            .finish_non_exhaustive()
    }
}

/// Which versions clients have been given, by address and zone.
///
/// By client, because two servers of a cluster may have the same serial for
/// states that differ: only who got its copy here gets differences here.
#[derive(Default)]
pub(super) struct Copies(Mutex<Given>);

#[derive(Default)]
struct Given {
    by_client: HashMap<(IpAddr, Box<[u8]>), VecDeque<Held>, RandomState>,
    /// Stands for the servers of a zone.
    hasher: RandomState,
    /// The version in force when this was last looked through.
    tidied: u32,
}

struct Held {
    old: Arc<Old>,
    servers: u64,
}

impl Copies {
    /// Notes that the client is given `version`, with these name servers, in
    /// the place of `serial`. Returns what it has, if the differences from
    /// that say all.
    pub(super) fn hand_out(
        &self,
        zone: Name<'_>,
        client: IpAddr,
        serial: Option<u32>,
        version: &Version,
        servers: &[(NameBuf, IpAddr)],
    ) -> Option<Arc<Old>> {
        if serial == Some(version.serial()) {
            return None;
        }
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = given.hasher.hash_one(servers);
        given.tidy(version);
        let key = (client, zone.to_lower().wire().into());
        let full = given.by_client.len() >= MAX_CLIENTS;
        if full && !given.by_client.contains_key(&key) {
            return None;
        }
        let copies = given.by_client.entry(key).or_default();
        let known = copies.iter().find(|copy| Some(copy.old.serial) == serial);
        let found = known
            .filter(|copy| copy.servers == servers)
            .map(|copy| Arc::clone(&copy.old));
        copies.retain(|copy| copy.old.serial != version.serial());
        copies.truncate(PER_CLIENT - 1);
        copies.push_front(Held {
            old: Arc::clone(&version.old),
            servers,
        });
        found
    }
}

impl Given {
    /// Lets go of what is too far behind.
    fn tidy(&mut self, version: &Version) {
        if self.tidied == version.serial() {
            return;
        }
        self.tidied = version.serial();
        let newest = version.old.changes;
        self.by_client.retain(|_, copies| {
            copies.retain(|copy| newest.saturating_sub(copy.old.changes) <= MAX_CHANGES);
            !copies.is_empty()
        });
    }
}

/// Unix time, modulo 2³² as serials are.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs() as u32
}
