//! The parent: sees to it that a worker serves, that the node's addresses are
//! claimed while one does and not otherwise, and that of several instances
//! one has this task.
//!
//! All of it is one loop over events, in which nothing waits for anything else.

mod peers;
mod watch;
mod workers;

use std::fs;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::{error, info, warn};

use crate::channel::Channel;
use crate::child::{Child, Program};
use crate::control::Order;
use crate::errors::SetupErrors;
use crate::event::{self, Event};
use crate::files;
use crate::flags::Flags;
use crate::handover::{self, Word};
use crate::holder::{Holder, Key, Kind};
use crate::node::{self, Job};
use crate::restarts::Restarts;
use crate::setup::Setup;
use crate::status::{self, Status};
use crate::template::{POLL, Template};
use crate::watchdog::LOOK;

use peers::{Met, Predecessor, Successor};

/// How long another instance may take to serve in our place.
const YIELD: Duration = Duration::from_secs(10);
/// How long a worker may take to finish. Kubernetes gives a Pod 30 s.
const DRAIN: Duration = Duration::from_secs(20);
/// How long commands that change interface and rules may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Never to be killed for memory, of which the parent has very little. Anything
/// more and it would go with its worker: since Kubernetes 1.28 the kernel is told
/// to kill all processes of a container at once, and leaves out only these.
const OOM_SCORE: &str = "-1000";

/// What the parent is at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The node is ours.
    Serving,
    /// Another instance has taken over.
    Relieved,
    /// To end, once another instance has taken over.
    Yielding,
    /// To end: what comes in is led elsewhere.
    Releasing,
    /// To end: the worker finishes.
    Stopping,
    /// To end: interface and rules are removed.
    Removing,
}

struct Supervisor {
    flags: Flags,
    /// The worker's, and its arguments.
    program: Program,
    arguments: Vec<String>,
    phase: Phase,
    /// When the phase ends at the latest.
    deadline: Option<Instant>,
    holder: Holder,
    /// What was received and is not answered yet; the workers' alone.
    ledger: OwnedFd,
    /// A dump of the cache for the first worker.
    warm: Option<OwnedFd>,
    /// The OOM score of workers, where the parent has a lower one.
    oom_score: Option<String>,
    worker: Option<Child>,
    /// Workers that were told to stop.
    stopping: Vec<Child>,
    /// Workers so far.
    lives: u64,
    restarts: Restarts,
    /// When the next worker is to be started.
    restart: Option<Instant>,
    /// Looks at which no worker served, one after the other.
    unserved: u32,
    /// Whether interface and rules are there, or are on the way.
    claims: bool,
    /// Whether they are being removed.
    unclaims: bool,
    /// Whether they are to be removed at the end.
    removes: bool,
    template: Template,
    /// Where successors call.
    listener: Option<OwnedFd>,
    inode: Option<u64>,
    accepting: Option<AbortHandle>,
    /// Whether it is this instance that successors call.
    owner: bool,
    /// Successors so far.
    callers: u64,
    successor: Option<Successor>,
    predecessor: Option<Predecessor>,
    /// A successor that ends, and waits until we serve again.
    returning: Option<Arc<Channel>>,
    page: Option<AbortHandle>,
    status: Arc<Status>,
    errors: Arc<SetupErrors>,
    jobs: UnboundedSender<Job>,
    events: UnboundedSender<Event>,
    /// The exit code.
    code: u8,
}

/// Serves the node, with workers of this program, until a signal ends it: the
/// exit code. `arguments` are those that the flags were read from.
///
/// # Errors
///
/// What keeps the parent itself from running, which is little.
pub async fn run(flags: Flags, arguments: Vec<String>, program: Program) -> anyhow::Result<u8> {
    let (events, receiver) = unbounded_channel();
    event::signals(&events).context("cannot trap signals")?;
    raise_descriptor_limit();
    let oom_score = lower_oom_score();
    let errors = Arc::new(SetupErrors::default());
    let mut template = Template::new(&flags, errors.clone());
    template.poll();
    let setup = Setup::new(&flags, errors.clone());
    let Met {
        listener,
        inode,
        predecessor,
        estate,
    } = peers::meet(flags.handover.as_deref()).await;
    let mut holder = Holder::default();
    for (key, socket) in estate.sockets {
        holder.adopt(key, socket);
    }
    let (jobs, todo) = unbounded_channel();
    tokio::spawn(node::run(setup, todo, events.clone()));
    let mut supervisor = Supervisor {
        program,
        arguments,
        phase: Phase::Serving,
        deadline: None,
        holder,
        ledger: files::memory("ledger").context("cannot create memory for queries")?,
        warm: estate.warm,
        oom_score,
        worker: None,
        stopping: Vec::new(),
        lives: 0,
        restarts: Restarts::new(Instant::now()),
        restart: None,
        unserved: 0,
        claims: false,
        unclaims: false,
        removes: false,
        template,
        listener,
        inode,
        accepting: None,
        owner: false,
        callers: 0,
        successor: None,
        predecessor: None,
        returning: None,
        page: None,
        status: Arc::default(),
        errors,
        jobs,
        events,
        code: 0,
        flags,
    };
    match predecessor {
        Some(channel) => supervisor.succeed(channel),
        None => supervisor.accept(),
    }
    supervisor.open_page();
    supervisor.start_worker();
    Ok(supervisor.follow(receiver).await)
}

impl Supervisor {
    async fn follow(mut self, mut receiver: UnboundedReceiver<Event>) -> u8 {
        let now = Instant::now();
        let mut sync = interval_at(now + self.flags.interval, self.flags.interval);
        let mut poll = interval_at(now + POLL, POLL);
        let mut look = interval_at(now + LOOK, LOOK);
        // Time in which nobody could look is none in which nobody answered.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                Some(event) = receiver.recv() => self.handle(event),
                () = at(self.restart) => {
                    self.start_worker();
                    None
                }
                () = at(self.deadline) => self.late(),
                _ = sync.tick() => {
                    self.sync();
                    None
                }
                _ = poll.tick() => {
                    self.poll();
                    None
                }
                _ = look.tick() => {
                    self.look();
                    None
                }
            };
            if let Some(code) = end {
                return code;
            }
        }
    }

    /// The exit code where an event is the last.
    fn handle(&mut self, event: Event) -> Option<u8> {
        match event {
            Event::Report(life, report, files) => self.heard(life, report, files),
            Event::Ended(life, code, how) => return self.ended(life, code, &how),
            Event::Claimed => self.settle(),
            Event::Released if self.phase == Phase::Releasing => return self.stop(),
            Event::Removed if self.phase == Phase::Removing => return Some(self.finish()),
            Event::Removed => self.unclaims = false,
            Event::Released => {}
            Event::Scrape(reply) => self.scrape(reply),
            Event::Caller(channel) => self.called(channel),
            Event::Successor(id, word) => return self.successor_said(id, word),
            Event::Predecessor(word) => return self.predecessor_said(word),
            Event::Terminate(signal) => return self.terminate(signal),
            Event::Reload => self.reload(),
        }
        None
    }

    fn reload(&self) {
        if let Some(worker) = &self.worker {
            worker.order(Order::Reload, &[]);
        }
    }

    /// Looks whether interface and rules are still there.
    fn sync(&mut self) {
        if self.phase == Phase::Serving && self.claims {
            self.claim();
        }
    }

    /// Writes the Corefile anew where it must be.
    fn poll(&mut self) {
        if !self.template.poll() {
            return;
        }
        if self.restart.is_some() {
            // It may be what kept the last ones from serving.
            self.start_worker();
        } else if self.flags.reload {
            self.reload();
        }
    }

    fn scrape(&mut self, reply: oneshot::Sender<oneshot::Receiver<Option<OwnedFd>>>) {
        if let Some(worker) = self.worker.as_mut().filter(|worker| worker.serves) {
            // Whoever asked may have gone.
            let _ = reply.send(worker.ask(|id| Order::Metrics { id }, &[]));
        }
    }

    /// Serves metrics and health of the parent.
    fn open_page(&mut self) {
        let address = &self.flags.metrics_address;
        let opened = resolve(address).and_then(|addresses| {
            let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
            for address in addresses {
                let key = Key {
                    kind: Kind::Status,
                    worker: 0,
                    address,
                };
                result = self.holder.open(key);
                if result.is_ok() {
                    break;
                }
            }
            TcpListener::from_std(result?.into())
        });
        match opened {
            Ok(listener) => {
                let (status, errors) = (self.status.clone(), self.errors.clone());
                let page = status::serve(listener, status, errors, self.events.clone());
                self.page = Some(tokio::spawn(page).abort_handle());
            }
            Err(error) => error!("Failed to start metrics handler on {address}: {error}"),
        }
    }

    /// A signal asks for the end.
    fn terminate(&mut self, signal: &str) -> Option<u8> {
        info!("{signal}: ending");
        let now = Instant::now();
        match (self.phase, &self.predecessor) {
            (Phase::Relieved, _) => self.stop(),
            (Phase::Serving, _) if self.successor.is_some() => {
                self.phase = Phase::Yielding;
                self.deadline = Some(now + YIELD);
                None
            }
            (Phase::Serving, Some(predecessor)) if predecessor.settled => {
                // It may be gone already: then that will be heard of.
                let _ = handover::say(&predecessor.channel, &Word::Resume, &[]);
                self.phase = Phase::Yielding;
                self.deadline = Some(now + YIELD);
                None
            }
            // The other one still serves; what is claimed is its own.
            (Phase::Serving, Some(_)) => self.stop(),
            (Phase::Serving, None) => self.tear_down(),
            // Somebody is in a hurry.
            (Phase::Yielding, _) => self.tear_down(),
            (Phase::Releasing | Phase::Stopping, _) => self.late(),
            (Phase::Removing, _) => None,
        }
    }

    /// Ends, and gives the addresses back.
    ///
    /// What comes in is led elsewhere first. The rest stays until the worker
    /// has finished: without the rules its answers would be tracked, and
    /// leave with another port than was asked.
    fn tear_down(&mut self) -> Option<u8> {
        // Given up because no worker serves: the end must not cut that short.
        self.removes = self.unclaims;
        if self.flags.skip_teardown || !self.claims {
            return self.stop();
        }
        self.phase = Phase::Releasing;
        self.deadline = Some(Instant::now() + PATIENCE);
        self.removes = true;
        self.job(Job::Release);
        None
    }

    /// Ends once the worker has: the exit code if there is none.
    fn stop(&mut self) -> Option<u8> {
        self.phase = Phase::Stopping;
        self.stop_worker();
        self.stopped()
    }

    /// The exit code once no worker is left and nothing else is to be done.
    fn stopped(&mut self) -> Option<u8> {
        if !self.stopping.is_empty() {
            return None;
        }
        if !self.removes {
            return Some(self.finish());
        }
        self.phase = Phase::Removing;
        self.deadline = Some(Instant::now() + PATIENCE);
        self.job(Job::Remove);
        None
    }

    fn job(&self, job: Job) {
        // Fails at the very end only.
        let _ = self.jobs.send(job);
    }

    /// A phase takes too long.
    fn late(&mut self) -> Option<u8> {
        self.deadline = None;
        match self.phase {
            Phase::Serving => None,
            Phase::Yielding => {
                warn!("The other instance does not serve");
                self.tear_down()
            }
            Phase::Releasing => {
                warn!("The packet rules are not removed yet");
                self.stop()
            }
            Phase::Removing => {
                error!("Interface and packet rules are not removed");
                Some(self.finish())
            }
            Phase::Relieved | Phase::Stopping => {
                self.kill_stopping();
                None
            }
        }
    }

    fn kill_stopping(&mut self) {
        for worker in &mut self.stopping {
            warn!("Worker {} does not finish: killing it", worker.pid);
            worker.kill();
        }
    }

    /// Leaves nothing behind: the exit code.
    fn finish(&self) -> u8 {
        if let (true, Some(path), Some(inode)) = (self.owner, &self.flags.handover, self.inode) {
            handover::unlink(path, inode);
        }
        if let Some(path) = &self.flags.server.pidfile {
            // It may never have been written.
            let _ = fs::remove_file(path);
        }
        self.code
    }

    fn write_pid(&self) {
        if let Some(path) = &self.flags.server.pidfile
            && let Err(error) = fs::write(path, format!("{}\n", std::process::id()))
        {
            error!("Could not write pidfile: {}: {error}", path.display());
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => pending().await,
    }
}

/// The addresses of `host:port`, with an empty host for all.
fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    match address.strip_prefix(':') {
        Some(port) => (|| {
            let mut all: Vec<_> = format!("[::]:{port}").to_socket_addrs()?.collect();
            all.extend(format!("0.0.0.0:{port}").to_socket_addrs()?);
            Ok(all)
        })(),
        None => Ok(address.to_socket_addrs()?.collect()),
    }
}

/// As many descriptors as the system lets us have: each address takes two for
/// every core, and as many again while they are handed over.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // With fewer it goes as far as it goes, and says where it does not.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Lowers the chance to be killed for memory: what it was before, where that
/// could be done.
fn lower_oom_score() -> Option<String> {
    const PATH: &str = "/proc/self/oom_score_adj";
    let before = fs::read_to_string(PATH).ok()?;
    // Takes a privilege (CAP_SYS_RESOURCE); without it, things are as before.
    fs::write(PATH, OOM_SCORE).ok()?;
    Some(before)
}
