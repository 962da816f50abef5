//! An API server in the test's own process: lists, watches, and everything
//! that can go wrong with them.

mod serve;
mod store;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ports::Port;
use crate::until;
use store::Store;

/// A request that the double received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The query, decoded, in the order sent.
    pub query: Vec<(String, String)>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The status it was answered with; 0 where it was not answered.
    pub status: u16,
}

impl Request {
    /// The value of a query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it asks for a watch.
    #[must_use]
    pub fn is_watch(&self) -> bool {
        matches!(self.parameter("watch"), Some("1" | "true"))
    }
}

/// How a request goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Refused with this status, as a `Status` object says it: 403, 429, 500.
    Status(u16),
    /// Taken and never answered.
    Hang,
    /// The connection closes without an answer.
    Close,
    /// Answered after this time.
    Slow(Duration),
    /// A watch that says 410 in its first event.
    Gone,
    /// The body ends inside an object after so many bytes.
    Cut(usize),
}

/// How running watches end, all at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Break {
    /// The stream ends as the API server ends it when its time is over.
    End,
    /// The connection closes inside a line.
    Cut,
    /// Nothing more is sent, and the connection stays open.
    Freeze,
    /// An `ERROR` event with code 410.
    Gone,
}

/// A double of the API server over plain HTTP, for Services,
/// EndpointSlices, Namespaces, Pods and ServiceImports.
///
/// What it has in common with the real one is checked against the real one.
#[derive(Debug)]
pub struct ApiDouble {
    address: SocketAddr,
    port: Port,
    shared: Arc<Shared>,
    running: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    settings: Mutex<Settings>,
    /// The newest resource version, for watches to wait on.
    version: watch::Sender<u64>,
    /// Counts up with each break that was ordered.
    breaks: watch::Sender<(u64, Option<Break>)>,
    /// Counts up with each bookmark that was ordered.
    bookmarks: watch::Sender<u64>,
    requests: watch::Sender<Vec<Request>>,
}

#[derive(Debug, Default)]
struct Settings {
    token: Option<String>,
    no_streaming_lists: bool,
    page: Option<usize>,
    faults: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    resource: Option<String>,
    watch: Option<bool>,
    fault: Fault,
    left: usize,
}

impl ApiDouble {
    /// Starts on 127.0.0.1 with the namespaces `default` and `kube-system`.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts on another address of this machine.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub async fn start_on(ip: IpAddr) -> anyhow::Result<Self> {
        let port = Port::claim();
        let double = Self {
            address: (ip, port.number()).into(),
            port,
            shared: Arc::new(Shared {
                store: Mutex::default(),
                settings: Mutex::default(),
                version: watch::Sender::default(),
                breaks: watch::Sender::default(),
                bookmarks: watch::Sender::default(),
                requests: watch::Sender::default(),
            }),
            running: Mutex::default(),
        };
        double.up().await?;
        Ok(double)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://IP:PORT`, for the Corefile's `endpoint`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates or replaces an object, given as the API has it, with
    /// `apiVersion` and `kind`. A `List` applies its items. Returns the
    /// resource version.
    ///
    /// # Panics
    ///
    /// When this is no object of a kind that the double serves.
    pub fn apply(&self, object: &Value) -> u64 {
        if let Some(items) = object["items"].as_array() {
            return items
                .iter()
                .map(|item| self.apply(item))
                .last()
                .unwrap_or(0);
        }
        let version = self.store().apply(object.clone());
        let version = version.unwrap_or_else(|error| panic!("{error}: {object}"));
        self.shared.version.send_replace(version);
        version
    }

    /// Deletes an object by its resource's plural name (`endpointslices`);
    /// `namespace` is empty for a Namespace. Returns the resource version.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> u64 {
        let version = self.store().delete(resource, namespace, name);
        let version = version.unwrap_or_else(|| panic!("no {resource} {namespace}/{name}"));
        self.shared.version.send_replace(version);
        version
    }

    /// Empties the cluster and starts its resource versions over, as a rebuilt
    /// etcd does. Running watches break.
    pub fn rebuild(&self) {
        let version = {
            let mut store = self.store();
            store.rebuild();
            store.version()
        };
        self.shared.version.send_replace(version);
        self.break_watches(Break::Cut);
    }

    /// Makes every resource version before the newest too old to watch from,
    /// and every running paged list too old to continue. Running watches go on.
    pub fn compact(&self) {
        self.store().compact();
    }

    /// Ends all running watches in this way.
    pub fn break_watches(&self, how: Break) {
        self.shared.breaks.send_modify(|(count, last)| {
            *count += 1;
            *last = Some(how);
        });
    }

    /// Waits until so many watches run.
    ///
    /// # Errors
    ///
    /// After `bound`, with the number there is.
    pub async fn wait_watches(&self, count: usize, bound: Duration) -> anyhow::Result<()> {
        let running = || self.shared.breaks.receiver_count();
        let enough = until("the watches run", bound, || async {
            (running() >= count).then_some(())
        });
        enough.await.with_context(|| format!("{} run", running()))
    }

    /// Sends a bookmark on all running watches that allow them.
    pub fn bookmark(&self) {
        self.shared.bookmarks.send_modify(|count| *count += 1);
    }

    /// The next `times` requests for a resource (`None`: any) meet this fault.
    pub fn fault(&self, resource: Option<&str>, fault: Fault, times: usize) {
        self.plan(resource, None, fault, times);
    }

    /// The next `times` watches of a resource meet this fault; lists do not.
    pub fn fault_watch(&self, resource: Option<&str>, fault: Fault, times: usize) {
        self.plan(resource, Some(true), fault, times);
    }

    /// The next `times` lists of a resource meet this fault; watches do not.
    pub fn fault_list(&self, resource: Option<&str>, fault: Fault, times: usize) {
        self.plan(resource, Some(false), fault, times);
    }

    fn plan(&self, resource: Option<&str>, watch: Option<bool>, fault: Fault, left: usize) {
        self.settings().faults.push(Planned {
            resource: resource.map(str::to_owned),
            watch,
            fault,
            left,
        });
    }

    /// Forgets all faults that were planned.
    pub fn heal(&self) {
        self.settings().faults.clear();
    }

    /// Answers 401 to who does not send this bearer token; `None` lets all in.
    pub fn require_token(&self, token: Option<&str>) {
        self.settings().token = token.map(str::to_owned);
    }

    /// Refuses `sendInitialEvents` as servers without streaming lists do.
    pub fn no_streaming_lists(&self) {
        self.settings().no_streaming_lists = true;
    }

    /// Sends pages of at most this many items, also to who asks for more.
    pub fn page_size(&self, items: usize) {
        self.settings().page = Some(items);
    }

    /// Closes the port and every connection.
    pub async fn down(&self) {
        let running = self.running().take();
        if let Some(task) = running {
            task.abort();
            // Aborted or done, the sockets are closed once it is joined.
            let _ = task.await;
        }
        self.port.closed().await;
    }

    /// Opens the port again after [`Self::down`]. Objects stay.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub async fn up(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.with_context(|| self.url())?;
        let task = tokio::spawn(serve::run(listener, Arc::clone(&self.shared)));
        *self.running() = Some(task);
        Ok(())
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until a request that `fits` has been answered.
    ///
    /// # Errors
    ///
    /// After `bound`, with the requests there were.
    pub async fn wait_request(
        &self,
        bound: Duration,
        fits: impl Fn(&Request) -> bool,
    ) -> anyhow::Result<Request> {
        let mut changes = self.shared.requests.subscribe();
        let there = |requests: &Vec<Request>| requests.iter().any(&fits);
        if let Ok(Ok(requests)) = timeout(bound, changes.wait_for(there)).await {
            let found = requests.iter().find(|request| fits(request)).cloned();
            return found.context("was there");
        }
        bail!("no such request within {bound:?}: {:?}", self.requests())
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.requests.send_modify(Vec::clear);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.store()
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.shared.settings()
    }

    fn running(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ApiDouble {
    fn drop(&mut self) {
        if let Some(task) = self.running().take() {
            task.abort();
        }
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that a request meets, if one is planned for it.
    fn fault_for(&self, resource: &str, watch: bool) -> Option<Fault> {
        let mut settings = self.settings();
        let fits = |planned: &&mut Planned| {
            planned.left > 0
                && planned
                    .resource
                    .as_deref()
                    .is_none_or(|only| only == resource)
                && planned.watch.is_none_or(|only| only == watch)
        };
        let planned = settings.faults.iter_mut().find(fits)?;
        planned.left -= 1;
        Some(planned.fault.clone())
    }
}

#[cfg(test)]
mod tests;
