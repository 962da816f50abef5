//! A worker as its parent sees it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tokio::process::{Child as Process, Command};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::channel::{self, Channel, Parcel};
use crate::control::{Order, Report};
use crate::event::Event;
use crate::watchdog::Watchdog;

/// The file of the worker's program.
const WORKER: &str = "pando-node-worker";

/// The worker's program as it was when the parent began: an update on disk
/// must not pair two versions.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// The one in the folder of this program.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn beside_this() -> io::Result<Self> {
        let path = std::env::current_exe()?.with_file_name(WORKER);
        let file = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        file.map(Self).map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })
    }

    /// Where to find it, in this process and in one that it begins.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

/// What each worker begins with.
#[derive(Debug)]
pub struct Start<'a> {
    /// What to run.
    pub program: &'a Program,
    /// The arguments of the command line.
    pub arguments: &'a [String],
    /// The OOM score that it shall have, since it inherits its parent's.
    pub oom_score: Option<&'a str>,
    /// What was received and is not answered yet.
    pub ledger: &'a OwnedFd,
    /// A dump of the cache.
    pub warm: Option<&'a OwnedFd>,
    /// Where successors call.
    pub listener: Option<&'a OwnedFd>,
    /// Whether the instance before serves again should the parent be gone.
    pub backed: bool,
}

/// A worker.
#[derive(Debug)]
pub struct Child {
    /// Its number.
    pub life: u64,
    /// Its process.
    pub pid: u32,
    /// Whether it serves.
    pub serves: bool,
    /// Looks for its signs of life.
    pub watchdog: Watchdog,
    channel: Arc<Channel>,
    asked: HashMap<u32, oneshot::Sender<Option<OwnedFd>>>,
    ids: u32,
    kill: Option<oneshot::Sender<()>>,
}

impl Child {
    /// Starts worker number `life`, which is heard of by `events`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn start(
        life: u64,
        start: &Start<'_>,
        events: &mpsc::UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        let channel = Arc::new(Channel::new(ours)?);
        let files = [Some(start.ledger), start.warm, start.listener];
        let files: Vec<_> = files.into_iter().flatten().map(AsFd::as_fd).collect();
        let order = Order::Start {
            warm: start.warm.is_some(),
            handover: start.listener.is_some(),
            backed: start.backed,
        };
        channel.send_now(&order.encode(), &files)?;
        let process = Command::new(start.program.path())
            .arg0(WORKER)
            .args(start.arguments)
            .stdin(Stdio::from(theirs))
            // Signals of a terminal are for the parent, which passes on what they mean.
            .process_group(0)
            .spawn()?;
        let pid = process.id().unwrap_or_default();
        if let Some(score) = start.oom_score
            && let Err(error) = fs::write(format!("/proc/{pid}/oom_score_adj"), score)
        {
            warn!("Cannot set the OOM score of worker {pid}: {error}");
        }
        let (kill, killed) = oneshot::channel();
        tokio::spawn(listen(life, channel.clone(), events.clone()));
        tokio::spawn(wait(life, process, killed, events.clone()));
        Ok(Self {
            life,
            pid,
            serves: false,
            watchdog: Watchdog::default(),
            channel,
            asked: HashMap::new(),
            ids: 0,
            kill: Some(kill),
        })
    }

    /// Tells it what to do. One that does not listen gets into worse trouble
    /// soon enough.
    pub fn order(&self, order: Order, files: &[BorrowedFd<'_>]) {
        if let Err(error) = self.channel.send_now(&order.encode(), files) {
            warn!("Worker {} does not take {order:?}: {error}", self.pid);
        }
    }

    /// Asks it for something by a request with the number that is passed to
    /// `order`; the reply comes by [`Self::answered`], or never.
    pub fn ask(
        &mut self,
        order: impl FnOnce(u32) -> Order,
        files: &[BorrowedFd<'_>],
    ) -> oneshot::Receiver<Option<OwnedFd>> {
        self.ids = self.ids.wrapping_add(1);
        let (reply, answer) = oneshot::channel();
        // Those that nobody waits for any more.
        self.asked.retain(|_, reply| !reply.is_closed());
        self.asked.insert(self.ids, reply);
        self.order(order(self.ids), files);
        answer
    }

    /// It has done what it was asked for.
    pub fn answered(&mut self, id: u32, files: Vec<OwnedFd>) {
        if let Some(reply) = self.asked.remove(&id) {
            // Whoever asked may have given up.
            let _ = reply.send(files.into_iter().next());
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // Fails where it has ended already.
            let _ = kill.send(());
        }
    }
}

async fn listen(life: u64, channel: Arc<Channel>, events: mpsc::UnboundedSender<Event>) {
    loop {
        let Parcel { bytes, descriptors } = match channel.receive().await {
            Ok(Some(parcel)) => parcel,
            Ok(None) => return,
            Err(error) => return warn!("A worker cannot be understood: {error}"),
        };
        match Report::decode(&bytes) {
            Ok(report) => {
                // Fails where the parent ends.
                let _ = events.send(Event::Report(life, report, descriptors));
            }
            Err(error) => warn!("A worker says something wrong: {error}"),
        }
    }
}

async fn wait(
    life: u64,
    mut process: Process,
    killed: oneshot::Receiver<()>,
    events: mpsc::UnboundedSender<Event>,
) {
    let ended = tokio::select! {
        ended = process.wait() => ended,
        Ok(()) = killed => {
            // Fails where it has ended by itself.
            let _ = process.start_kill();
            process.wait().await
        }
    };
    let (code, how) = match ended {
        Ok(status) => (status.code(), status.to_string()),
        Err(error) => (None, error.to_string()),
    };
    let _ = events.send(Event::Ended(life, code, how));
}
