//! The supervisor's dealings with other instances.

use std::fs::{self, File, TryLockError};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::{Event, Phase, Supervisor};
use crate::channel::Channel;
use crate::control::Order;
use crate::files;
use crate::handover::{
    Caller, DUMP, Estate, Listener, Refusal, TakeError, Word, accept_failed, give, hear, say,
    settle, take,
};
use crate::holder::Key;
use crate::restarts::Restarts;

/// Between two attempts to take over from an instance that is busy.
const PAUSE: Duration = Duration::from_millis(200);
/// Attempts before that is given up: 35 s. One that ends has done so by then,
/// and takes nothing away any more that we have claimed.
const ATTEMPTS: usize = 175;

/// An instance that takes over, or has.
pub(super) struct Successor {
    id: u64,
    channel: Arc<Channel>,
    /// What it said that it serves with, so far.
    keys: Vec<Key>,
    /// Whether its end is no reason to serve again.
    goodbye: bool,
}

/// The instance whose place we take.
pub(super) struct Predecessor {
    pub channel: Arc<Channel>,
    /// Whether it knows that we serve.
    pub settled: bool,
}

/// What is found at the path of the hand-over.
#[derive(Default)]
pub(super) struct Met {
    /// Where successors call, unless there is no hand-over.
    pub listener: Option<OwnedFd>,
    /// By which the path is known for ours.
    pub inode: Option<u64>,
    /// The instance that serves.
    pub predecessor: Option<Arc<Channel>>,
    /// What it leaves us.
    pub estate: Estate,
}

/// Takes over from the instance that serves, if there is one.
pub(super) async fn meet(path: Option<&Path>) -> Met {
    let Some(path) = path else {
        return Met::default();
    };
    let _turn = turn(path).await;
    let mut met = Met::default();
    for attempt in 1.. {
        match take(path).await {
            Ok(None) => break,
            Ok(Some((channel, mut estate))) => {
                info!("Taking over from the instance behind {}", path.display());
                met.listener = estate.listener.take();
                met.predecessor = Some(Arc::new(channel));
                met.estate = estate;
                break;
            }
            Err(TakeError::Refused { why, .. }) if attempt < ATTEMPTS => {
                if attempt == 1 {
                    info!("The instance behind {}: {why}; waiting", path.display());
                }
                sleep(PAUSE).await;
            }
            Err(error) => {
                warn!("{error}; going on without hand-over");
                return Met::default();
            }
        }
    }
    if met.listener.is_none() {
        match Listener::bind(path) {
            Ok(listener) => met.listener = Some(listener),
            Err(error) => error!(
                "Cannot listen at {}: {error}; no instance can take over from this one",
                path.display()
            ),
        }
    }
    met.inode = fs::symlink_metadata(path).ok().map(|found| found.ino());
    met
}

/// Waits until no other instance is about to look what there is at the path, or
/// to listen there: two that start at once must not both think to be the first.
/// The turn lasts as long as what is returned, and none is waited for forever.
async fn turn(path: &Path) -> Option<File> {
    // The folder is there in any case; where it is not, nobody can listen.
    let folder = File::open(path.parent()?).ok()?;
    for _ in 0..ATTEMPTS {
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => sleep(PAUSE).await,
            // A file system without locks has no turns.
            _ => return Some(folder),
        }
    }
    warn!("Somebody holds a lock of the folder of {}", path.display());
    None
}

/// Turns what a peer says into events, until it is gone.
async fn relay(
    channel: &Channel,
    events: &UnboundedSender<Event>,
    event: impl Fn(Option<Word>) -> Event,
) {
    loop {
        let word = hear(channel).await.unwrap_or_else(|error| {
            warn!("Hand-over: {error}");
            None
        });
        let gone = word.is_none();
        let sent = events.send(event(word.map(|(word, _)| word)));
        if gone || sent.is_err() {
            return;
        }
    }
}

impl Supervisor {
    /// Begins to take over.
    pub(super) fn succeed(&mut self, channel: Arc<Channel>) {
        self.status.taken.fetch_add(1, Relaxed);
        self.predecessor = Some(Predecessor {
            channel: channel.clone(),
            settled: false,
        });
        let events = self.events.clone();
        tokio::spawn(async move { relay(&channel, &events, Event::Predecessor).await });
    }

    /// Lets successors call from now on.
    pub(super) fn accept(&mut self) {
        self.owner = true;
        let Some(listener) = &self.listener else {
            return;
        };
        let mut listener = match listener.try_clone().and_then(Listener::new) {
            Ok(listener) => listener,
            Err(error) => return error!("Cannot wait for successors: {error}"),
        };
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok(caller) => drop(events.send(Event::Caller(caller))),
                    Err(error) => accept_failed(&error).await,
                }
            }
        });
        self.accepting = Some(task.abort_handle());
    }

    /// Another instance called, or a worker that it has left.
    pub(super) fn called(&mut self, caller: Caller) {
        match caller {
            Caller::Successor(channel) => self.hand_over(channel),
            Caller::Orphan(channel) => {
                info!("A worker whose parent is gone serves until we do");
                self.returning = Some(Arc::new(channel));
                self.hand_back();
            }
        }
    }

    /// Hands everything over to another instance.
    fn hand_over(&mut self, channel: Channel) {
        let refusal = match self.phase {
            Phase::Serving if self.successor.is_none() => None,
            Phase::Serving => Some(Refusal::Busy),
            _ => Some(Refusal::Ending),
        };
        let channel = Arc::new(channel);
        if let Some(why) = refusal {
            // One that has gone meanwhile needs no answer.
            let _ = say(&channel, &Word::Refused(why), &[]);
            return;
        }
        let mut estate = match self.estate() {
            Ok(estate) => estate,
            Err(error) => return error!("Cannot hand over: {error}"),
        };
        info!("Handing over to another instance");
        self.callers += 1;
        let id = self.callers;
        self.successor = Some(Successor {
            id,
            channel: channel.clone(),
            keys: Vec::new(),
            goodbye: false,
        });
        let dump = self.dump();
        let events = self.events.clone();
        tokio::spawn(async move {
            if let Some((file, written)) = dump
                && let Ok(Ok(_)) = timeout(DUMP, written).await
            {
                estate.warm = Some(file);
            }
            if let Err(error) = give(&channel, &estate).await {
                warn!("Hand-over: {error}");
                drop(events.send(Event::Successor(id, None)));
                return;
            }
            drop(estate);
            relay(&channel, &events, |word| Event::Successor(id, word)).await;
        });
    }

    /// Lets the worker write down what its cache knows, if there is one.
    fn dump(&mut self) -> Option<(OwnedFd, oneshot::Receiver<Option<OwnedFd>>)> {
        let worker = self.worker.as_mut().filter(|worker| worker.serves)?;
        let file = files::memory("cache").ok()?;
        let written = worker.ask(|id| Order::Dump { id }, &[file.as_fd()]);
        Some((file, written))
    }

    fn estate(&self) -> std::io::Result<Estate> {
        Ok(Estate {
            sockets: self.holder.copies()?,
            warm: None,
            listener: self.listener.as_ref().map(OwnedFd::try_clone).transpose()?,
        })
    }

    /// The successor said something, or is gone: the exit code where that is
    /// the end of all.
    pub(super) fn successor_said(&mut self, id: u64, word: Option<Word>) -> Option<u8> {
        let successor = self
            .successor
            .as_mut()
            .filter(|successor| successor.id == id)?;
        match (self.phase, word) {
            (Phase::Serving | Phase::Yielding, Some(Word::Settled { keys, last })) => {
                successor.keys.extend(keys);
                return last.then(|| self.relieved()).flatten();
            }
            (Phase::Relieved, Some(Word::Goodbye)) => successor.goodbye = true,
            (Phase::Relieved, Some(Word::Resume)) => {
                info!("The other instance ends and hands back");
                self.returning = self.successor.take().map(|successor| successor.channel);
                self.resume();
            }
            (_, Some(word)) => warn!("The other instance says {word:?} at the wrong time"),
            (phase, None) => {
                let goodbye = successor.goodbye;
                self.successor = None;
                return self.successor_gone(phase, goodbye);
            }
        }
        None
    }

    fn successor_gone(&mut self, phase: Phase, goodbye: bool) -> Option<u8> {
        match phase {
            Phase::Serving => warn!("The other instance ended before it served; serving on"),
            Phase::Relieved if !goodbye => {
                warn!("The other instance is gone without a word; serving again");
                self.resume();
            }
            Phase::Yielding => return self.tear_down(),
            _ => {}
        }
        None
    }

    /// The successor serves.
    fn relieved(&mut self) -> Option<u8> {
        info!("Another instance has taken over");
        self.owner = false;
        self.claims = false;
        self.status.given.fetch_add(1, Relaxed);
        if let Some(successor) = &self.successor {
            self.holder.keep(&successor.keys);
        }
        // It must not serve again, should we end.
        if let Some(predecessor) = self.predecessor.take() {
            let _ = say(&predecessor.channel, &Word::Goodbye, &[]);
        }
        let tasks = [self.accepting.take(), self.page.take()];
        tasks.into_iter().flatten().for_each(|task| task.abort());
        self.stop_worker();
        // The one that ends has the old one.
        match files::memory("ledger") {
            Ok(ledger) => self.ledger = ledger,
            Err(error) => warn!("Cannot create memory for queries: {error}"),
        }
        if self.phase == Phase::Yielding {
            return self.stop();
        }
        self.phase = Phase::Relieved;
        None
    }

    /// Serves again after having been relieved.
    fn resume(&mut self) {
        self.phase = Phase::Serving;
        self.deadline = None;
        self.restarts = Restarts::new(Instant::now());
        self.accept();
        self.open_page();
        self.start_worker();
    }

    /// Interface and rules are there, too: tells those who wait for it.
    pub(super) fn settle(&mut self) {
        let serves = self.worker.as_ref().is_some_and(|worker| worker.serves);
        if self.phase != Phase::Serving || !serves {
            return;
        }
        self.hand_back();
        let Some(predecessor) = self.predecessor.as_mut().filter(|it| !it.settled) else {
            return;
        };
        predecessor.settled = true;
        info!("Took over from the other instance");
        let keys: Vec<Key> = self.holder.keys().collect();
        // Its end is heard of by its own event.
        let _ = settle(&predecessor.channel, &keys);
        self.accept();
    }

    /// Tells who has served in our place that it need not, if we serve.
    fn hand_back(&mut self) {
        let serves = self.worker.as_ref().is_some_and(|worker| worker.serves);
        if self.phase != Phase::Serving || !serves {
            return;
        }
        let keys: Vec<Key> = self.holder.keys().collect();
        if let Some(other) = self.returning.take()
            && let Err(error) = settle(&other, &keys)
        {
            warn!("The other instance is gone: {error}");
        }
    }

    /// The predecessor said something, or is gone: the exit code where that
    /// is the end of all.
    pub(super) fn predecessor_said(&mut self, word: Option<Word>) -> Option<u8> {
        match (self.phase, word) {
            (Phase::Yielding, Some(Word::Settled { last: true, .. })) => {
                info!("The other instance serves again");
                self.owner = false;
                self.claims = false;
                return self.stop();
            }
            (_, Some(Word::Settled { .. })) => {}
            (_, Some(word)) => warn!("The other instance says {word:?} at the wrong time"),
            (phase, None) => {
                let settled = self.predecessor.take().is_some_and(|it| it.settled);
                if let Some(worker) = &self.worker {
                    worker.order(Order::Alone, &[]);
                }
                if phase == Phase::Yielding {
                    return self.tear_down();
                }
                if phase == Phase::Serving && !settled {
                    warn!("The other instance ended before this one served");
                    self.accept();
                    if self.worker.as_ref().is_some_and(|worker| worker.serves) {
                        self.claim();
                    }
                }
            }
        }
        None
    }
}
