//! The parent as the worker sees it.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use pando::app::Request;
use pando::server::Pulse;
use pando::server::socket::Opener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::channel::{self, Parcel, Wait};
use crate::control::{Order, Report};
use crate::files;
use crate::holder::{Holder, Key, Kind};

/// How long the parent may take to open a socket. It does little else.
const PATIENCE: Duration = Duration::from_secs(10);

/// The other end of the control channel.
pub(super) struct Parent {
    socket: OwnedFd,
    /// Replies to requests for sockets; who holds it asks.
    replies: Mutex<Receiver<Reply>>,
    ids: AtomicU32,
    /// Every socket once more, for the day when the parent is gone.
    kept: Mutex<Holder>,
    /// Whether the instance before serves again should the parent be gone.
    backed: AtomicBool,
    /// Whether it was told to stop.
    stopping: AtomicBool,
    /// By which the threads that serve are asked for a sign of life.
    pulse: OnceLock<Pulse>,
}

/// What came of a request for a socket.
pub(super) struct Reply {
    id: u32,
    socket: io::Result<OwnedFd>,
}

impl Parent {
    pub(super) fn new(socket: OwnedFd, backed: bool) -> (Arc<Self>, Sender<Reply>) {
        let (sender, replies) = channel();
        let parent = Self {
            socket,
            replies: Mutex::new(replies),
            ids: AtomicU32::new(0),
            kept: Mutex::default(),
            backed: AtomicBool::new(backed),
            stopping: AtomicBool::new(false),
            pulse: OnceLock::new(),
        };
        (Arc::new(parent), sender)
    }

    /// The threads that serve run; they serve nothing yet.
    pub(super) fn started(&self, pulse: Pulse) {
        // It is called once.
        let _ = self.pulse.set(pulse);
    }

    /// Whether the instance before serves again when the parent is gone.
    pub(super) fn is_backed(&self) -> bool {
        self.backed.load(Ordering::Relaxed)
    }

    /// Whether the parent has told the worker to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Tells that a configuration is in force.
    pub(super) fn serving(&self) {
        self.report(Report::Serving, &[]);
    }

    /// Follows its orders until it is gone.
    pub(super) fn listen(
        self: &Arc<Self>,
        replies: &Sender<Reply>,
        requests: &mpsc::Sender<Request>,
        control: &Handle,
    ) {
        while let Ok(Some(Parcel { bytes, descriptors })) =
            channel::receive(&self.socket, Wait::Forever)
        {
            match Order::decode(&bytes) {
                Ok(order) if order.descriptors() == descriptors.len() => {
                    let file = descriptors.into_iter().next();
                    self.follow(order, file, replies, requests, control);
                }
                _ => error!("The parent gives an order that makes no sense"),
            }
        }
    }

    fn follow(
        self: &Arc<Self>,
        order: Order,
        file: Option<OwnedFd>,
        replies: &Sender<Reply>,
        requests: &mpsc::Sender<Request>,
        control: &Handle,
    ) {
        match (order, file) {
            (Order::Opened { id }, Some(socket)) => drop(replies.send(Reply {
                id,
                socket: Ok(socket),
            })),
            (Order::Refused { id, errno }, _) => drop(replies.send(Reply {
                id,
                socket: Err(io::Error::from_raw_os_error(errno)),
            })),
            // Where the server does not listen yet, or no longer, so many
            // requests may wait; more of these would say nothing new.
            (Order::Reload, _) => drop(requests.try_send(Request::Reload)),
            (Order::Stop, _) => {
                self.stopping.store(true, Ordering::Relaxed);
                drop(requests.blocking_send(Request::Stop));
            }
            (Order::Alone, _) => self.backed.store(false, Ordering::Relaxed),
            (Order::Beat { id }, _) => {
                if let Some(pulse) = self.pulse.get() {
                    let parent = self.clone();
                    pulse.ask(move || parent.beat(id));
                }
            }
            (Order::Metrics { id }, _) => {
                let (reply, text) = oneshot::channel();
                drop(requests.try_send(Request::Metrics(reply)));
                let parent = self.clone();
                control.spawn(async move {
                    let Ok(text) = text.await else { return };
                    match exposition(&text) {
                        Ok(file) => parent.report(Report::Done { id }, &[file.as_fd()]),
                        Err(error) => error!("Cannot hand over the metrics: {error}"),
                    }
                });
            }
            (Order::Dump { id }, Some(file)) => {
                let (reply, written) = oneshot::channel();
                drop(requests.try_send(Request::Dump(file.into(), reply)));
                let parent = self.clone();
                control.spawn(async move {
                    match written.await {
                        Ok(Ok(_)) => parent.report(Report::Done { id }, &[]),
                        Ok(Err(error)) => warn!("Cannot hand over the cache: {error}"),
                        Err(_) => {}
                    }
                });
            }
            _ => {}
        }
    }

    /// What is kept.
    pub(super) fn kept(&self) -> MutexGuard<'_, Holder> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, key: Key) -> io::Result<OwnedFd> {
        match self.ask(key) {
            // Gone, then: what it kept is kept here, and what is new is ours. But
            // where others serve again, clients would be dealt out to that, too.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !self.is_backed() => {
                self.kept().open(key)
            }
            Err(error) => Err(error),
            Ok(socket) => {
                let address = crate::holder::address(socket.as_fd())?;
                self.kept()
                    .adopt(Key { address, ..key }, socket.try_clone()?);
                Ok(socket)
            }
        }
    }

    fn ask(&self, key: Key) -> io::Result<OwnedFd> {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let report = Report::Open { id, key }.encode();
        channel::send(&self.socket, &report, &[], Wait::Forever)?;
        loop {
            let reply = replies.recv_timeout(PATIENCE);
            match reply.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))? {
                Reply { id: of, socket } if of == id => return socket,
                // Of a request that was given up.
                _ => {}
            }
        }
    }

    /// Gives the sign of life. Without waiting, on a thread that serves: what
    /// the parent does not take now it will ask for again.
    fn beat(&self, id: u32) {
        let report = Report::Done { id }.encode();
        let _ = channel::send(&self.socket, &report, &[], Wait::No);
    }

    fn report(&self, report: Report, files: &[BorrowedFd<'_>]) {
        let sent = channel::send(&self.socket, &report.encode(), files, Wait::Forever);
        // One that is gone needs no reports.
        if let Err(error) = sent
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            warn!("Cannot report to the parent: {error}");
        }
    }
}

impl Opener for Parent {
    fn udp(&self, address: SocketAddr, worker: usize) -> io::Result<UdpSocket> {
        self.open(key(Kind::Udp, worker, address)).map(Into::into)
    }

    fn tcp(&self, address: SocketAddr, worker: usize) -> io::Result<TcpListener> {
        self.open(key(Kind::Tcp, worker, address)).map(Into::into)
    }

    fn http(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.open(key(Kind::Http, 0, address)).map(Into::into)
    }

    fn close(&self, address: SocketAddr) {
        self.kept().close(address);
        self.report(Report::Close { address }, &[]);
    }
}

fn key(kind: Kind, worker: usize, address: SocketAddr) -> Key {
    Key {
        kind,
        // No machine has so many cores.
        worker: u16::try_from(worker).unwrap_or(u16::MAX),
        address,
    }
}

fn exposition(text: &str) -> io::Result<File> {
    let mut file = File::from(files::memory("metrics")?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}
