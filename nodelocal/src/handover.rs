//! How one instance replaces another: over a unix socket on a path that both know.
//!
//! ```text
//! successor                                 the instance that serves
//!   connect, Hello            ─▶
//!                             ◀─  Hello
//!                             ◀─  Sockets (as many as it takes), Rest
//!   … starts a worker on the same sockets: both serve …
//!   Settled                   ─▶  ends its worker, keeps its descriptors
//!   Goodbye | Resume | (gone) ─▶  waits for its end | serves again
//! ```
//!
//! Where the successor is gone without a word, its worker may be there and
//! serve on. It calls, too, and ends once the instance before serves again:
//!
//! ```text
//! the worker                                the instance before
//!   connect, Orphan           ─▶
//!                             ◀─  Hello
//!                             ◀─  Settled
//! ```
//!
//! Descriptors are shared, so a datagram is received by one of the two and
//! none is lost. Peers must have our user id, which the kernel vouches for.

mod word;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use crate::channel::{Channel, MAX_DESCRIPTORS, Parcel};
use crate::codec::Malformed;
use crate::holder::Key;

pub use word::{Refusal, Word};

/// What a peer may take for its next message, until everything is handed over.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a worker may take to write down its cache. A successor is patient
/// for longer.
pub(crate) const DUMP: Duration = Duration::from_secs(3);
/// How long a caller may take to say who it is: it has nothing else to do.
const GREETING: Duration = Duration::from_secs(1);
/// Callers that may be about to say so; more wait in the backlog.
const CALLERS: usize = 16;
/// Between two callers, after one was refused.
const PAUSE: Duration = Duration::from_millis(100);
/// Messages full of sockets that are taken; more than are ever kept.
const PARTS: usize = 64;
/// Successors that may wait to be accepted.
const BACKLOG: i32 = 8;

/// How long a worker waits for the instance before to answer its call. Another
/// successor that calls meanwhile is patient for longer.
const ANSWER: Duration = Duration::from_secs(2);

/// Who has called.
#[derive(Debug)]
pub enum Caller {
    /// An instance that wants to take over.
    Successor(Channel),
    /// The worker of one that did, and is gone.
    Orphan(Channel),
}

/// Why nothing is taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// There is something else.
    #[error("{} is no socket", .0.display())]
    NoSocket(PathBuf),
    /// Its owner is not trusted.
    #[error("the process behind {} has user id {found}, not {own}: a stranger", .path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Its user id.
        found: u32,
        /// Ours.
        own: u32,
    },
    /// It said something else.
    #[error("the process behind {} is no pando-node of this version: {why}", .path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// It would not.
    #[error("the instance behind {} does not hand over: {why}", .path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// Its reason.
        why: Refusal,
    },
    /// The system's reason.
    #[error("{}: {source}", .path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// What an instance leaves to its successor.
#[derive(Debug, Default)]
pub struct Estate {
    /// The sockets.
    pub sockets: Vec<(Key, OwnedFd)>,
    /// A dump of the cache.
    pub warm: Option<OwnedFd>,
    /// The listener of the hand-over itself.
    pub listener: Option<OwnedFd>,
}

/// Says one word, without waiting.
///
/// # Errors
///
/// Where the peer is gone, or does not listen.
pub fn say(channel: &Channel, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    channel.send_now(&word.encode(), descriptors)
}

/// The next word of the peer; `None` when it is gone.
///
/// # Errors
///
/// Where it makes no sense.
pub async fn hear(channel: &Channel) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    let Some(Parcel { bytes, descriptors }) = channel.receive().await? else {
        return Ok(None);
    };
    let word = Word::decode(&bytes).map_err(io::Error::other)?;
    if descriptors.len() != word.descriptors() {
        return Err(io::Error::other(Malformed));
    }
    Ok(Some((word, descriptors)))
}

/// Tells the peer which sockets are served from now on.
///
/// # Errors
///
/// As [`say`].
pub fn settle(channel: &Channel, keys: &[Key]) -> io::Result<()> {
    let mut parts = keys.chunks(MAX_DESCRIPTORS).peekable();
    loop {
        let word = Word::Settled {
            keys: parts.next().unwrap_or_default().to_vec(),
            last: parts.peek().is_none(),
        };
        say(channel, &word, &[])?;
        if parts.peek().is_none() {
            return Ok(());
        }
    }
}

/// Hands everything over to a peer that has said hello.
///
/// # Errors
///
/// Where it is gone, or takes too long.
pub async fn give(channel: &Channel, estate: &Estate) -> io::Result<()> {
    let give = async {
        for part in estate.sockets.chunks(MAX_DESCRIPTORS) {
            let keys = part.iter().map(|(key, _)| *key).collect();
            let sockets: Vec<_> = part.iter().map(|(_, socket)| socket.as_fd()).collect();
            let word = Word::Sockets(keys).encode();
            channel.send(&word, &sockets).await?;
        }
        let rest = Word::Rest {
            warm: estate.warm.is_some(),
            listener: estate.listener.is_some(),
        };
        let files = estate.warm.iter().chain(&estate.listener);
        let files: Vec<_> = files.map(AsFd::as_fd).collect();
        channel.send(&rest.encode(), &files).await
    };
    timeout(PATIENCE, give).await?
}

/// Takes everything over from the instance that serves `path`; `None` where
/// there is none. The connection stays open, for the words that follow.
///
/// # Errors
///
/// Whatever keeps us from it; then what is at `path` stays as it is.
pub async fn take(path: &Path) -> Result<Option<(Channel, Estate)>, TakeError> {
    let Some(channel) = reach(path)? else {
        return Ok(None);
    };
    let system = |source: io::Error| TakeError::System {
        path: path.to_owned(),
        source,
    };
    let protocol = |why: &str| TakeError::Protocol {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let next = async || match timeout(PATIENCE, hear(&channel)).await {
        Err(_) => Err(protocol("it does not answer")),
        Ok(Err(error)) => Err(protocol(&error.to_string())),
        Ok(Ok(None)) => Err(protocol("it closes the connection")),
        Ok(Ok(Some((Word::Refused(why), _)))) => Err(TakeError::Refused {
            path: path.to_owned(),
            why,
        }),
        Ok(Ok(Some(heard))) => Ok(heard),
    };
    say(&channel, &Word::Hello, &[]).map_err(system)?;
    if next().await?.0 != Word::Hello {
        return Err(protocol("it does not say hello"));
    }
    let mut estate = Estate::default();
    for _ in 0..PARTS {
        match next().await? {
            (Word::Sockets(keys), sockets) => estate.sockets.extend(keys.into_iter().zip(sockets)),
            (Word::Rest { warm, listener }, files) => {
                let mut files = files.into_iter();
                estate.warm = files.next_if(warm);
                estate.listener = files.next_if(listener);
                return Ok(Some((channel, estate)));
            }
            _ => break,
        }
    }
    Err(protocol("it hands over something else"))
}

/// A connection to whoever is behind `path`, if they are trusted; `None` where
/// there is nobody.
fn reach(path: &Path) -> Result<Option<Channel>, TakeError> {
    let system = |source: io::Error| TakeError::System {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(system(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(TakeError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let channel = match dial(path) {
        Ok(channel) => channel,
        // Its owner has ended without taking it away.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(system(error)),
    };
    let (own, found) = (own_uid(), channel.peer_uid().map_err(system)?);
    if found != own {
        let path = path.to_owned();
        return Err(TakeError::Stranger { path, found, own });
    }
    Ok(Some(channel))
}

/// Whether the instance before the one behind whose path we served serves
/// again; waits until it does. To be asked by an orphaned worker.
pub async fn is_relieved(path: &Path) -> bool {
    let Ok(Some(channel)) = reach(path) else {
        return false;
    };
    if say(&channel, &Word::Orphan, &[]).is_err() {
        return false;
    }
    let hello = timeout(ANSWER, hear(&channel)).await;
    if !matches!(hello, Ok(Ok(Some((Word::Hello, _))))) {
        return false;
    }
    loop {
        match hear(&channel).await {
            Ok(Some((Word::Settled { last: true, .. }, _))) => return true,
            Ok(Some((Word::Settled { .. }, _))) => {}
            _ => return false,
        }
    }
}

trait NextIf: Iterator {
    /// The next one where there is one to be expected.
    fn next_if(&mut self, there: bool) -> Option<Self::Item> {
        there.then(|| self.next()).flatten()
    }
}

impl<I: Iterator> NextIf for I {}

/// Where successors call.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// Callers that have not said who they are, lest one keeps the others out.
    greeting: JoinSet<io::Result<Caller>>,
}

impl Listener {
    /// Listens at `path`, in place of a socket there that nobody serves.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bind(path: &Path) -> io::Result<OwnedFd> {
        let socket = seqpacket()?;
        // Under another name first: whoever finds the path can connect.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let name = PathBuf::from(name);
        // Left by a process that had our id and ended at the wrong moment.
        let _ = fs::remove_file(&name);
        bind(&socket, &SocketAddrUnix::new(&*name)?)?;
        fs::set_permissions(&name, fs::Permissions::from_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        fs::rename(&name, path)?;
        Ok(socket)
    }

    /// Serves a listener that is there already. To be called on a runtime.
    ///
    /// # Errors
    ///
    /// Where the runtime cannot watch it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket: UnixListener::from_std(socket.into())?,
            greeting: JoinSet::new(),
        })
    }

    /// The next peer with our user id that says hello, and was answered.
    ///
    /// # Errors
    ///
    /// The system's, for lack of descriptors and such; or what was wrong with
    /// a peer, which is none then. Nothing is lost where it is cancelled.
    pub async fn accept(&mut self) -> io::Result<Caller> {
        loop {
            tokio::select! {
                accepted = self.socket.accept(), if self.greeting.len() < CALLERS => {
                    let channel = Channel::from(accepted?.0);
                    self.greeting.spawn(greet(channel));
                }
                Some(Ok(greeted)) = self.greeting.join_next() => return greeted,
            }
        }
    }
}

/// Hears who has called, and says hello.
async fn greet(channel: Channel) -> io::Result<Caller> {
    let (own, found) = (own_uid(), channel.peer_uid()?);
    if found != own {
        return Err(io::Error::other(format!(
            "a process with user id {found}, not {own}, is refused"
        )));
    }
    let caller = match timeout(GREETING, hear(&channel)).await {
        Ok(Ok(Some((Word::Hello, _)))) => Caller::Successor,
        Ok(Ok(Some((Word::Orphan, _)))) => Caller::Orphan,
        _ => {
            return Err(io::Error::other(
                "a process that is no pando-node of this version",
            ));
        }
    };
    say(&channel, &Word::Hello, &[])?;
    Ok(caller(channel))
}

/// Says what was wrong with a caller; lets some time pass, lest it be said too often.
pub(crate) async fn accept_failed(error: &io::Error) {
    warn!("Hand-over: {error}");
    tokio::time::sleep(PAUSE).await;
}

/// Takes the path away, if it is still the socket that `listener` serves.
pub fn unlink(path: &Path, inode: u64) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.ino() == inode) {
        // Somebody else may have been faster.
        let _ = fs::remove_file(path);
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn dial(path: &Path) -> io::Result<Channel> {
    let socket = seqpacket()?;
    // Does not block but where the backlog is full, and then it fails.
    rustix::io::ioctl_fionbio(&socket, true)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Channel::new(socket)
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests;
