//! What all collections write to, one at a time: the index, and what is
//! worth telling about it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::index::{Applied, Index};
use super::model::{Kind, Programmed};
use super::slim::{Decoded, Decoder, Flaw, Reason};
use super::store::Observer;

/// How a collection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindStatus {
    /// The collection.
    pub kind: Kind,
    /// Whether it has been read once, whole.
    pub listed: bool,
    /// Whether it is being followed now.
    pub healthy: bool,
    /// Why it was not followed when that was last so.
    pub error: Option<String>,
    /// The last resource version that was read.
    pub version: String,
    /// How many objects are known.
    pub objects: usize,
    /// How many objects, or parts of objects, made no sense, by reason. The
    /// same object counts again when it comes again.
    pub refused: BTreeMap<Reason, u64>,
}

pub(super) struct Writer {
    pub(super) index: Index,
    decoder: Decoder,
    kinds: BTreeMap<Kind, State>,
    /// Objects whose flaws have been logged.
    named: HashSet<(Kind, String)>,
    /// Changes that are applied and not published: of which kind the service
    /// is, and when the change was made.
    triggered: Vec<(Programmed, SystemTime)>,
    observer: Arc<dyn Observer>,
}

struct State {
    status: KindStatus,
    /// When its trouble was last logged, and in which words.
    logged: Option<(Instant, String)>,
}

/// So that a cluster of broken objects does not fill the memory with names.
const NAMED: usize = 4096;

/// The same trouble is not logged more often.
const SAME: std::time::Duration = std::time::Duration::from_secs(600);
/// Nor is other trouble of the same collection.
const OTHER: std::time::Duration = std::time::Duration::from_secs(10);

impl Writer {
    pub(super) fn new(
        index: Index,
        decoder: Decoder,
        kinds: &[Kind],
        observer: Arc<dyn Observer>,
    ) -> Self {
        for kind in kinds {
            observer.followed(*kind, false);
        }
        let state = |kind: Kind| State {
            status: KindStatus {
                kind,
                listed: false,
                healthy: false,
                error: None,
                version: String::new(),
                objects: 0,
                refused: BTreeMap::new(),
            },
            logged: None,
        };
        Self {
            index,
            decoder,
            kinds: kinds.iter().map(|kind| (*kind, state(*kind))).collect(),
            named: HashSet::new(),
            triggered: Vec::new(),
            observer,
        }
    }

    /// A full list of a kind begins.
    pub(super) fn begin(&mut self, kind: Kind) {
        self.index.begin(kind);
    }

    /// A full list of a kind is complete.
    pub(super) fn finish(&mut self, kind: Kind) {
        self.index.finish(kind, now());
        if let Some(state) = self.kinds.get_mut(&kind) {
            state.status.listed = true;
        }
    }

    /// Adds or updates the object in `json`. Returns its version; empty when
    /// it could not be read.
    pub(super) fn upsert(&mut self, kind: Kind, json: &[u8]) -> String {
        match self.decoder.decode(kind, json) {
            Ok(decoded) => {
                for flaw in &decoded.flaws {
                    self.flaw(kind, &decoded.namespace, &decoded.name, flaw);
                }
                let Decoded {
                    object,
                    namespace,
                    name,
                    version,
                    triggered,
                    ..
                } = decoded;
                match object {
                    Some(object) => {
                        let applied = self.index.apply(object, now());
                        self.trigger(applied, triggered);
                    }
                    // A slice that names no service any more.
                    None => drop(self.index.delete(kind, &namespace, &name, now())),
                }
                version
            }
            Err(refused) => {
                // Better what it said before than nothing.
                self.index.keep(kind, &refused.namespace, &refused.name);
                self.flaw(kind, &refused.namespace, &refused.name, &refused.flaw);
                String::new()
            }
        }
    }

    /// Removes the object in `json`. Returns its last version.
    pub(super) fn delete(&mut self, kind: Kind, json: &[u8]) -> String {
        match self.decoder.identify(json) {
            Ok(gone) => {
                let applied = self.index.delete(kind, &gone.namespace, &gone.name, now());
                self.trigger(applied, gone.triggered);
                gone.version
            }
            Err(refused) => {
                self.flaw(kind, &refused.namespace, &refused.name, &refused.flaw);
                String::new()
            }
        }
    }

    /// The changes since this was last asked: of which kind the service is,
    /// and when the change was made.
    pub(super) fn take_triggered(&mut self) -> Vec<(Programmed, SystemTime)> {
        std::mem::take(&mut self.triggered)
    }

    pub(super) fn at_version(&mut self, kind: Kind, version: &str) {
        if let Some(state) = self.kinds.get_mut(&kind) {
            version.clone_into(&mut state.status.version);
        }
        if !version.is_empty() {
            self.observer.current(kind, version);
        }
    }

    /// The collection is followed.
    pub(super) fn healthy(&mut self, kind: Kind) {
        let Some(state) = self.kinds.get_mut(&kind) else {
            return;
        };
        if !state.status.healthy && state.logged.is_some() {
            tracing::info!(target: "plugin/kubernetes", "Watch of {} is up again", kind.resource());
            state.logged = None;
        }
        if !std::mem::replace(&mut state.status.healthy, true) {
            self.observer.followed(kind, true);
        }
    }

    /// The collection is not followed, for this reason.
    pub(super) fn unhealthy(&mut self, kind: Kind, why: &str) {
        let Some(state) = self.kinds.get_mut(&kind) else {
            return;
        };
        if std::mem::replace(&mut state.status.healthy, false) {
            self.observer.followed(kind, false);
        }
        state.status.error = Some(why.to_owned());
        let quiet = state
            .logged
            .as_ref()
            .is_some_and(|(at, text)| at.elapsed() < if text == why { SAME } else { OTHER });
        if !quiet {
            tracing::error!(target: "plugin/kubernetes", "Failed to watch {}: {why}", kind.resource());
            state.logged = Some((Instant::now(), why.to_owned()));
        }
    }

    pub(super) fn status(&self) -> Vec<KindStatus> {
        let with_count = |state: &State| KindStatus {
            objects: self.index.len(state.status.kind),
            ..state.status.clone()
        };
        self.kinds.values().map(with_count).collect()
    }

    fn trigger(&mut self, applied: Applied, triggered: Option<SystemTime>) {
        if let (Some(programmed), Some(at)) = (applied.programmed, triggered) {
            self.triggered.push((programmed, at));
        }
    }

    fn flaw(&mut self, kind: Kind, namespace: &str, name: &str, flaw: &Flaw) {
        self.observer.refused(kind, flaw.reason);
        if let Some(state) = self.kinds.get_mut(&kind) {
            *state.status.refused.entry(flaw.reason).or_default() += 1;
        }
        let object = format!("{namespace}/{name}");
        let new = self.named.len() < NAMED && self.named.insert((kind, object.clone()));
        if !new {
            return;
        }
        let Flaw { reason, detail } = flaw;
        if *reason == Reason::TriggerTime {
            tracing::warn!(
                target: "plugin/kubernetes",
                "DnsProgrammingLatency cannot be calculated for Endpoints '{object}'; invalid \"endpoints.kubernetes.io/last-change-trigger-time\" annotation RFC3339 value of {detail:?}"
            );
        } else {
            let (resource, reason) = (kind.resource(), reason.as_str());
            tracing::warn!(target: "plugin/kubernetes", "Ignored in {resource} {object}: {reason}: {detail}");
        }
    }
}

/// Unix time, as a serial takes it.
fn now() -> u32 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // A serial is a number modulo 2³² (RFC 1982).
    since.as_secs() as u32
}
