//! The worker: Pando's server with sockets that its parent keeps.
//!
//! Its parent has the other end of its standard input. When the parent ends without a word, a worker that has the
//! listener of the hand-over serves on until another instance takes its
//! sockets over, or the one before serves again; any other ends too.

mod orphan;
mod parent;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use anyhow::Context;
use pando::app::{self, Host, Request};
use pando::telemetry;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use tokio::sync::mpsc;

use crate::channel::{self, Wait};
use crate::control::Order;
use crate::flags::Flags;
use parent::Parent;

/// Requests of the parent that may wait.
const REQUESTS: usize = 16;

/// What the parent gives a worker.
struct Inheritance {
    /// What was received and is not answered yet.
    ledger: OwnedFd,
    /// A dump of the cache to begin with.
    warm: Option<OwnedFd>,
    /// Where successors call.
    listener: Option<OwnedFd>,
    /// Whether the instance before serves again when the parent is gone.
    backed: bool,
}

/// Serves until the parent or a signal ends it; the exit code.
///
/// # Errors
///
/// Whatever keeps it from serving in the first place.
pub fn run(flags: Flags) -> anyhow::Result<u8> {
    let mut options = flags.server;
    // It is the parent's.
    options.pidfile = None;
    // It was started by a descriptor, whose number would be its name in lists.
    // For such alone, so that it does not matter where it fails.
    let _ = fs::write("/proc/self/comm", "pando-worker");
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if socket_type(&socket) != Ok(SocketType::SEQPACKET) {
        anyhow::bail!("this is started by pando-node; start that");
    }
    let Inheritance {
        ledger,
        warm,
        listener,
        backed,
    } = begin(&socket)?;
    telemetry::init(telemetry::LINES).context("cannot start a thread")?;
    let runtime = app::control().context("cannot start threads")?;
    let (requests, receiver) = mpsc::channel::<Request>(REQUESTS);
    let (parent, replies) = Parent::new(socket, backed);
    thread::Builder::new()
        .name("parent".to_owned())
        .spawn({
            let parent = parent.clone();
            let control = runtime.handle().clone();
            move || {
                parent.listen(&replies, &requests, &control);
                let place = listener.zip(flags.handover);
                orphan::run(&parent, place, requests, &control);
            }
        })
        .context("cannot start a thread")?;
    let host = Host {
        opener: parent.clone(),
        ledger: Some(ledger),
        warm: warm.map(File::from),
        started: Box::new({
            let parent = parent.clone();
            move |pulse| parent.started(pulse)
        }),
        serving: Box::new({
            let parent = parent.clone();
            move || parent.serving()
        }),
        requests: Some(receiver),
    };
    let served = runtime.block_on(app::run(options, host));
    runtime.shutdown_background();
    match served {
        // It gets no sockets any more, which is no failure.
        Err(_) if parent.is_stopping() => Ok(0),
        served => Ok(served?),
    }
}

fn begin(socket: &OwnedFd) -> anyhow::Result<Inheritance> {
    let parcel = channel::receive(socket, Wait::Forever)?.context("the parent is gone")?;
    let order = Order::decode(&parcel.bytes)?;
    let mut files = parcel.descriptors.into_iter();
    match order {
        Order::Start {
            warm,
            handover,
            backed,
        } if files.len() == order.descriptors() => Ok(Inheritance {
            ledger: files.next().context("no ledger")?,
            warm: warm.then(|| files.next()).flatten(),
            listener: handover.then(|| files.next()).flatten(),
            backed,
        }),
        _ => anyhow::bail!("the parent begins with another order"),
    }
}
