//! From sockets to the chain and back.
//!
//! A [`Server`] is a number of workers. Each is a thread with an executor of
//! its own and, for every address, sockets of its own that share the address
//! (SO_REUSEPORT), so that workers share nothing on the way of a query. What
//! is served is a [`Plan`]: it is handed to every worker by message, and each
//! query is served whole by the plan under which it arrived.

mod address;
mod connections;
mod direct;
mod job;
mod ledger;
mod listener;
mod mmsg;
mod parked;
mod pulse;
mod shared;
pub mod socket;
mod tally;
mod tcp;
mod udp;
mod worker;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use address::ListenAddress;
pub use direct::Direct;
pub use listener::{Block, Listener, View};
pub use pulse::Pulse;
pub use socket::ListenError;

use ledger::Share;
use socket::{Opener, Sockets};
use worker::Command;

/// Queries that may wait at once, all workers together.
const IN_FLIGHT: usize = 8192;
/// TCP connections that may be open at once, all workers together.
const CONNECTIONS: usize = 4096;

/// What one worker may hold at once.
#[derive(Clone, Copy, Debug)]
struct Limits {
    in_flight: usize,
    connections: usize,
}

/// Everything that is served, by address.
pub struct Plan {
    listeners: Vec<Arc<Listener>>,
    ended: oneshot::Receiver<()>,
}

impl Plan {
    /// Listeners in the order in which they are opened.
    pub fn new(listeners: impl IntoIterator<Item = (ListenAddress, Vec<Block>)>) -> Self {
        let (alive, ended) = oneshot::channel();
        let alive = Arc::new(alive);
        let listeners = listeners.into_iter();
        Self {
            listeners: listeners
                .map(|(address, blocks)| Arc::new(Listener::new(address, blocks, alive.clone())))
                .collect(),
            ended,
        }
    }

    /// The listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().map(|listener| &**listener)
    }

    /// Waits until no query is served by this plan any more, which is some
    /// time after another was [applied](Server::apply); at most `bound`.
    pub async fn ended(self, bound: Duration) -> bool {
        drop(self.listeners);
        // The sender is never used but dropped with the last listener.
        timeout(bound, self.ended).await.is_ok()
    }
}

/// Sockets that were opened for a plan and serve nothing yet.
pub struct Opened(Vec<(ListenAddress, Vec<Sockets>)>);

impl Opened {
    /// Where each address was bound.
    fn bound(&self) -> impl Iterator<Item = (ListenAddress, SocketAddr)> {
        self.0.iter().filter_map(|(address, sockets)| {
            let bound = sockets.first()?.tcp.local_addr().ok()?;
            Some((address.clone(), bound))
        })
    }
}

/// The workers.
pub struct Server {
    workers: Vec<mpsc::UnboundedSender<Command>>,
    opener: Arc<dyn Opener>,
    /// What is served, and where that was bound.
    serving: HashMap<ListenAddress, SocketAddr>,
}

impl Server {
    /// Starts this many workers, which serve nothing yet and will have their
    /// sockets from `opener`. To be called before anything is counted.
    ///
    /// With a `ledger` (a file of any content that nobody else uses, best a
    /// memfd, always the same one) they first answer what an earlier process
    /// has received from the same sockets and not answered.
    ///
    /// # Errors
    ///
    /// Where a thread cannot be started.
    pub fn start(
        workers: usize,
        opener: Arc<dyn Opener>,
        ledger: Option<OwnedFd>,
    ) -> io::Result<Self> {
        crate::metrics::set_workers(workers);
        listener::register_metrics();
        let limits = Limits {
            in_flight: (IN_FLIGHT / workers.max(1)).max(64),
            connections: (CONNECTIONS / workers.max(1)).max(64),
        };
        let shares = ledger.map(|memory| ledger::open(memory, workers));
        let shares = shares.transpose().unwrap_or_else(|error| {
            tracing::error!("Queries will not outlive the process: {error}");
            None
        });
        let mut shares = shares.into_iter().flatten();
        let start = |index| {
            let (commands, receiver) = mpsc::unbounded_channel();
            let share = shares.next();
            let run = move || run_worker(index, limits, share, receiver);
            thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(run)?;
            Ok(commands)
        };
        Ok(Self {
            workers: (0..workers).map(start).collect::<io::Result<_>>()?,
            opener,
            serving: HashMap::new(),
        })
    }

    /// By which the workers are asked for a sign of life.
    pub fn pulse(&self) -> Pulse {
        Pulse::of(&self.workers)
    }

    /// Opens the addresses of a plan that are not served yet.
    ///
    /// # Errors
    ///
    /// The first that cannot be opened; what is served stays as it is.
    pub fn open(&self, plan: &Plan) -> Result<Opened, ListenError> {
        let new = plan.listeners().map(Listener::address);
        let new = new.filter(|address| !self.serving.contains_key(address));
        let mut opened = Opened(Vec::new());
        for address in new {
            match socket::open(&*self.opener, address, self.workers.len()) {
                Ok(sockets) => opened.0.push((address.clone(), sockets)),
                Err(error) => {
                    let tried = address.candidates().into_iter();
                    let bound = opened.bound().map(|(_, bound)| bound);
                    bound.chain(tried).for_each(|it| self.close(it));
                    return Err(error);
                }
            }
        }
        Ok(opened)
    }

    /// Serves this plan from now on. When it returns, every worker does;
    /// queries that wait are still finished by the plan before.
    pub async fn apply(&mut self, plan: &Plan, opened: Opened) {
        self.serving.extend(opened.bound());
        let mut shares: Vec<Vec<(ListenAddress, Sockets)>> = Vec::new();
        shares.resize_with(self.workers.len(), Vec::new);
        for (address, sockets) in opened.0 {
            for (share, sockets) in shares.iter_mut().zip(sockets) {
                share.push((address.clone(), sockets));
            }
        }
        let mut waiting = Vec::with_capacity(self.workers.len());
        for (worker, sockets) in self.workers.iter().zip(shares) {
            let (done, applied) = oneshot::channel();
            let listeners = plan.listeners.clone();
            // A worker ends before it is told to only with the process.
            let _ = worker.send(Command::Apply {
                listeners,
                sockets,
                done,
            });
            waiting.push(applied);
        }
        for applied in waiting {
            let _ = applied.await;
        }
        let mut gone = std::mem::take(&mut self.serving);
        for address in plan.listeners().map(Listener::address) {
            self.serving.extend(gone.remove_entry(address));
        }
        gone.into_values().for_each(|it| self.close(it));
    }

    fn close(&self, bound: SocketAddr) {
        socket::addresses(bound)
            .into_iter()
            .for_each(|it| self.opener.close(it));
    }

    /// Receives no more and finishes what is in flight: whether that was
    /// done within `grace`.
    pub async fn stop(self, grace: Duration) -> bool {
        let stop = |worker: mpsc::UnboundedSender<Command>| {
            let (done, stopped) = oneshot::channel();
            let _ = worker.send(Command::Stop { done });
            stopped
        };
        let waiting: Vec<_> = self.workers.into_iter().map(stop).collect();
        let all = async {
            for stopped in waiting {
                let _ = stopped.await;
            }
        };
        timeout(grace, all).await.is_ok()
    }
}

/// A worker that is gone takes its share of the clients with it, so the
/// process ends with it and is started anew by whoever watches over it.
fn run_worker(
    index: usize,
    limits: Limits,
    share: Option<Share>,
    commands: mpsc::UnboundedReceiver<Command>,
) {
    let run = std::panic::AssertUnwindSafe(|| worker::run(index, limits, share, commands));
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => tracing::error!("worker {index}: {error}"),
        Err(_) => tracing::error!("worker {index} panicked"),
    }
    crate::telemetry::flush();
    std::process::exit(2);
}
