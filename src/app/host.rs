//! What the process runs in: who opens its sockets, who is told what it does,
//! and who may ask it for something.

use std::fs::File;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::server::Pulse;
use crate::server::socket::{Opener, System};

/// What a process is given by the one that started it; `default` is a process
/// on its own.
pub struct Host {
    /// Who opens the sockets.
    pub opener: Arc<dyn Opener>,
    /// Memory that outlives the process (a memfd), in which it keeps what it has
    /// received and not answered; see [`Server::start`].
    ///
    /// [`Server::start`]: crate::server::Server::start
    pub ledger: Option<OwnedFd>,
    /// What the caches of another process knew, to begin with: what it wrote for
    /// [`Request::Dump`].
    pub warm: Option<File>,
    /// Called as soon as the workers run, which serve nothing yet: by what it is
    /// given they can be asked whether they are alive.
    pub started: Box<dyn FnOnce(Pulse) + Send>,
    /// Called each time a configuration has come into force: its sockets are read.
    pub serving: Box<dyn Fn() + Send + Sync>,
    /// What it is asked for, beside signals.
    pub requests: Option<mpsc::Receiver<Request>>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            opener: Arc::new(System),
            ledger: None,
            warm: None,
            started: Box::new(|_| {}),
            serving: Box::new(|| {}),
            requests: None,
        }
    }
}

/// What a process may be asked for from outside, in its turn.
#[derive(Debug)]
pub enum Request {
    /// To read the Corefile anew, as at SIGUSR1.
    Reload,
    /// To receive no more, to answer what is in flight and to end, as at SIGTERM.
    Stop,
    /// For what the caches know, into this file from its beginning: how many entries.
    Dump(File, oneshot::Sender<io::Result<usize>>),
    /// For all metrics in the text format of Prometheus, as at `/metrics`.
    Metrics(oneshot::Sender<String>),
}

/// The next request; waits for ever once nobody can ask.
pub(super) async fn next(requests: &mut Option<mpsc::Receiver<Request>>) -> Request {
    if let Some(receiver) = requests {
        if let Some(request) = receiver.recv().await {
            return request;
        }
        *requests = None;
    }
    pending().await
}
