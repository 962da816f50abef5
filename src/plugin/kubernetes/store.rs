//! The cluster's state and everything that keeps it current.
//!
//! A [`Store`] is started once, runs on the control runtime and publishes
//! [`Snapshot`]s. It outlives a reload that does not change its
//! configuration.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::{Access, AccessError, Api};
use super::index::Index;
use super::manifests::{Manifests, ManifestsError};
use super::model::{Kind, Programmed};
use super::reflect::Reflector;
use super::selector::Selector;
use super::slim::{Decoder, Keep, Reason};
use super::snapshot::Snapshot;
use super::state_file;
use super::writer::Writer;

pub use super::writer::KindStatus;

/// Where the cluster's objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An API server.
    Api(Access),
    /// `manifests PATH…`: files and folders of YAML or JSON.
    Manifests(Vec<PathBuf>),
}

/// What is followed and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where objects come from.
    pub source: Source,
    /// `labels`: selects services, slices and pods.
    pub(super) labels: Option<Selector>,
    /// `namespace_labels`: selects namespaces, and imports (as CoreDNS does).
    pub(super) namespace_labels: Option<Selector>,
    /// Not `noendpoints`.
    pub endpoints: bool,
    /// `pods verified`, or `node`.
    pub pods: bool,
    /// `node`: the one whose pods are followed; `None` follows all.
    pub node: Option<String>,
    /// Any `multicluster` zone.
    pub multicluster: bool,
    /// What to keep beyond the always needed.
    pub keep: Keep,
    /// `snapshot PATH`: where the state is saved for a start without an API
    /// server.
    pub state_file: Option<PathBuf>,
    /// The User-Agent of requests.
    pub user_agent: String,
}

impl StoreConfig {
    /// The collections that this configuration needs.
    pub fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| match kind {
            Kind::Services | Kind::Namespaces => true,
            Kind::EndpointSlices => self.endpoints,
            Kind::Pods => self.pods,
            Kind::ServiceImports | Kind::ImportSlices => self.multicluster,
        };
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    /// The `fieldSelector` of a collection.
    pub(super) fn fields(&self, kind: Kind) -> Option<String> {
        if kind != Kind::Pods {
            return None;
        }
        // As CoreDNS has it: what is over has no address of its own any more.
        let alive = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown";
        Some(match &self.node {
            Some(node) => format!("{alive},spec.nodeName={node}"),
            None => alive.to_owned(),
        })
    }

    /// The `labelSelector` of a collection.
    pub(super) fn selector(&self, kind: Kind) -> Option<String> {
        let text = |selector: &Option<Selector>| {
            selector
                .as_ref()
                .map(ToString::to_string)
                .filter(|text| !text.is_empty())
        };
        match kind {
            Kind::Namespaces | Kind::ServiceImports => text(&self.namespace_labels),
            Kind::Services | Kind::EndpointSlices | Kind::Pods => text(&self.labels),
            Kind::ImportSlices => {
                let own = "multicluster.kubernetes.io/service-name".to_owned();
                Some(match text(&self.labels) {
                    Some(labels) => format!("{labels},{own}"),
                    None => own,
                })
            }
        }
    }
}

/// Is told of what metrics count. Called on the control runtime.
pub trait Observer: Send + Sync {
    /// A change of a slice became visible this long after it was made
    /// (`coredns_kubernetes_dns_programming_duration_seconds`).
    fn programmed(&self, service: Programmed, taken: Duration) {
        let _ = (service, taken);
    }

    /// The API server has just said what a collection is: up to this version,
    /// what is known is all there is.
    fn current(&self, kind: Kind, version: &str) {
        let _ = (kind, version);
    }

    /// What is known is from a file that was written then.
    fn restored(&self, written: SystemTime) {
        let _ = written;
    }

    /// A request to the API server was answered with this status code, or
    /// not at all (`coredns_kubernetes_rest_client_…`).
    fn requested(&self, method: &str, host: &str, code: Option<u16>, taken: Duration) {
        let _ = (method, host, code, taken);
    }

    /// An object, or a part of one, made no sense and was left out.
    fn refused(&self, kind: Kind, reason: Reason) {
        let _ = (kind, reason);
    }

    /// Whether a collection is being followed.
    fn followed(&self, kind: Kind, followed: bool) {
        let _ = (kind, followed);
    }
}

/// An observer that does not care.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// Why a store cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API server cannot be asked.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The manifests cannot be read.
    #[error(transparent)]
    Manifests(#[from] ManifestsError),
}

/// The cluster's state, kept current.
pub struct Store {
    shared: Arc<Shared>,
    runtime: Handle,
    state_file: Option<PathBuf>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Starts to follow the cluster on `runtime`. Returns before anything is
    /// known, but for what a state file or manifests say.
    ///
    /// # Errors
    ///
    /// What can be known wrong without asking the API server: no credentials,
    /// files that cannot be read. A server that cannot be reached is none.
    pub fn start(
        config: &StoreConfig,
        observer: Arc<dyn Observer>,
        runtime: &Handle,
    ) -> Result<Arc<Self>, StartError> {
        let kinds = config.kinds();
        let shared = Arc::new(Shared::new(&kinds, config.keep, Arc::clone(&observer)));
        let mut tasks = Vec::new();
        match &config.source {
            Source::Manifests(paths) => {
                let manifests = Manifests::new(paths.clone(), config.clone());
                let manifests = manifests.load_first(&shared)?;
                tasks.push(runtime.spawn(manifests.run(Arc::clone(&shared))));
            }
            Source::Api(access) => {
                let api = Arc::new(Api::new(access.clone(), &config.user_agent, observer)?);
                if let Some(path) = &config.state_file {
                    shared.load(path, &kinds);
                    let saver = save_now_and_then(Arc::clone(&shared), path.clone());
                    tasks.push(runtime.spawn(saver));
                }
                for kind in kinds {
                    let selectors = (config.selector(kind), config.fields(kind));
                    let (api, shared) = (Arc::clone(&api), Arc::clone(&shared));
                    tasks.push(runtime.spawn(Reflector::new(kind, selectors, api, shared).run()));
                }
            }
        }
        let state_file = match config.source {
            Source::Api(_) => config.state_file.clone(),
            Source::Manifests(_) => None,
        };
        let (runtime, tasks) = (runtime.clone(), Mutex::new(tasks));
        Ok(Arc::new(Self {
            shared,
            runtime,
            state_file,
            tasks,
        }))
    }

    /// The newest snapshot, to be read through an [`arc_swap::Cache`].
    pub fn snapshots(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.shared.published
    }

    /// Is told of each snapshot: its generation.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Resolves when every collection has been read once.
    pub fn wait_synced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut synced = self.shared.synced.subscribe();
        async move {
            // It fails when the store is gone: then nobody needs an answer.
            let _ = synced.wait_for(|synced| *synced).await;
        }
    }

    /// Whether every collection has been read once.
    pub fn synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// How each collection is doing.
    pub fn status(&self) -> Vec<KindStatus> {
        self.shared.write(|writer| writer.status())
    }

    /// Stops following. What is published stays; the state file, if there is
    /// one, is brought up to date.
    pub async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // Cancelled, or it panicked and that has been reported.
            let _ = task.await;
        }
        if let Some(path) = self.state_file.clone() {
            let snapshot = self.shared.published.load_full();
            let save = move || save(&snapshot, &path);
            let _ = self.runtime.spawn_blocking(save).await;
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for task in lock(&self.tasks).iter() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// What the tasks of a store share.
pub(super) struct Shared {
    published: Arc<ArcSwap<Snapshot>>,
    writer: Mutex<Writer>,
    synced: watch::Sender<bool>,
    changed: watch::Sender<u64>,
    observer: Arc<dyn Observer>,
}

impl Shared {
    pub(super) fn new(kinds: &[Kind], keep: Keep, observer: Arc<dyn Observer>) -> Self {
        let mut index = Index::new(kinds);
        let published = Arc::new(ArcSwap::from_pointee(index.snapshot()));
        let writer = Mutex::new(Writer::new(
            index,
            Decoder::new(keep),
            kinds,
            Arc::clone(&observer),
        ));
        Self {
            published,
            writer,
            synced: watch::Sender::new(false),
            changed: watch::Sender::new(0),
            observer,
        }
    }

    pub(super) fn write<R>(&self, f: impl FnOnce(&mut Writer) -> R) -> R {
        f(&mut lock(&self.writer))
    }

    /// Publishes what has been written, if that changed anything.
    pub(super) fn publish(&self) {
        let (synced, triggered) = {
            let mut writer = lock(&self.writer);
            if writer.index.dirty() {
                // Under the lock, so that an older state never replaces a
                // newer one.
                let snapshot = writer.index.snapshot();
                let generation = snapshot.generation();
                self.published.store(Arc::new(snapshot));
                self.changed.send_replace(generation);
            }
            (writer.index.synced(), writer.take_triggered())
        };
        self.synced
            .send_if_modified(|known| std::mem::replace(known, synced) != synced);
        if triggered.is_empty() {
            return;
        }
        let now = SystemTime::now();
        for (service, at) in triggered {
            // Clocks differ; a change cannot be visible before it is made.
            self.observer
                .programmed(service, now.duration_since(at).unwrap_or_default());
        }
    }

    fn load(&self, path: &std::path::Path, kinds: &[Kind]) {
        let begun = tokio::time::Instant::now();
        let written = std::fs::metadata(path).and_then(|file| file.modified());
        let loaded = self.write(|writer| state_file::load(path, kinds, writer));
        if let (Ok(written), Ok(_)) = (written, &loaded) {
            self.observer.restored(written);
        }
        match loaded {
            Ok(objects) => tracing::info!(
                target: "plugin/kubernetes",
                "Loaded {objects} objects from snapshot {} in {:.0?}; they are served until the Kubernetes API is read",
                path.display(),
                begun.elapsed()
            ),
            Err(error) if error.is_absent() => {}
            Err(error) => tracing::warn!(
                target: "plugin/kubernetes",
                "Snapshot {} is not used: {error}",
                path.display()
            ),
        }
        self.publish();
    }
}

/// A writer whose thread panicked left whole objects behind: every edit of
/// the index ends with the tables in order.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state on disk may be this old.
const SAVE: Duration = Duration::from_secs(60);
/// After the first sync, what changes at once with it is waited for.
const FIRST_SAVE: Duration = Duration::from_secs(2);

async fn save_now_and_then(shared: Arc<Shared>, path: PathBuf) {
    let mut synced = shared.synced.subscribe();
    if synced.wait_for(|synced| *synced).await.is_err() {
        return;
    }
    let mut saved = None;
    tokio::time::sleep(FIRST_SAVE).await;
    loop {
        let snapshot = shared.published.load_full();
        if saved != Some(snapshot.generation()) {
            saved = Some(snapshot.generation());
            let path = path.clone();
            let _ = tokio::task::spawn_blocking(move || save(&snapshot, &path)).await;
        }
        tokio::time::sleep(SAVE).await;
    }
}

/// Saves a state that is worth it: one that is whole.
fn save(snapshot: &Snapshot, path: &std::path::Path) {
    if !snapshot.synced() {
        return;
    }
    if let Err(error) = state_file::save(snapshot, path) {
        tracing::warn!(
            target: "plugin/kubernetes",
            "Snapshot {} cannot be written: {error}",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests;
