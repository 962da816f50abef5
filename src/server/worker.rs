//! A worker: one thread, one executor, its own sockets of every address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::connections::Connections;
use super::job::Desk;
use super::ledger::Share;
use super::listener::{Listener, Local};
use super::pulse::Beat;
use super::socket::Sockets;
use super::tcp::Connection;
use super::udp::{Buffers, Udp};
use super::{Limits, ListenAddress};
use crate::{clock, metrics};

/// Between two attempts to accept, after one has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);

/// What the control side tells a worker.
pub(super) enum Command {
    /// Serve these listeners from now on and no others; `sockets` are those
    /// of addresses that are new.
    Apply {
        listeners: Vec<Arc<Listener>>,
        sockets: Vec<(ListenAddress, Sockets)>,
        /// Told when every query that is received from then on is served so.
        done: oneshot::Sender<()>,
    },
    /// Give a sign of life: let go of this.
    Beat(Arc<Beat>),
    /// Receive no more, finish what is in flight, end.
    Stop {
        /// Told when nothing is in flight and the sockets are closed.
        done: oneshot::Sender<()>,
    },
}

/// An address on this worker.
pub(super) struct Seat {
    local: RefCell<Rc<Local>>,
    /// Cancelled when the address is served no longer.
    pub closing: CancellationToken,
    udp: SmallVec<[Rc<Udp>; 2]>,
    tasks: RefCell<Vec<AbortHandle>>,
}

impl Seat {
    /// The configuration for the next query.
    pub(super) fn local(&self) -> Rc<Local> {
        self.local.borrow().clone()
    }

    fn install(&self, local: Rc<Local>) {
        self.udp.iter().for_each(|udp| udp.install(local.clone()));
        self.local.replace(local);
    }

    /// Serves what has arrived and receives no more.
    fn close(&self) {
        self.udp.iter().for_each(|udp| udp.drain());
        self.closing.cancel();
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
    }
}

struct Worker {
    seats: HashMap<ListenAddress, Rc<Seat>>,
    desk: Rc<Desk>,
    buffers: Rc<Buffers>,
    connections: Rc<Connections>,
    /// UDP sockets of closed seats, which queries in flight still answer by.
    closed: Vec<Weak<Udp>>,
}

/// Runs worker `index` on this thread until it is stopped.
pub(super) fn run(
    index: usize,
    limits: Limits,
    share: Option<Share>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    metrics::enter_worker(index);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut worker = Worker {
        seats: HashMap::new(),
        desk: Desk::new(limits.in_flight),
        buffers: Buffers::new(share),
        connections: Connections::new(limits.connections),
        closed: Vec::new(),
    };
    // Its sockets are closed when it has ended, and not before.
    let stopped = LocalSet::new().block_on(&runtime, async move {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Apply {
                    listeners,
                    sockets,
                    done,
                } => {
                    worker.apply(listeners, sockets);
                    // Nobody waits any more where the process is ending.
                    let _ = done.send(());
                }
                Command::Beat(beat) => drop(beat),
                Command::Stop { done } => {
                    worker.stop().await;
                    return Some(done);
                }
            }
        }
        None
    });
    if let Some(done) = stopped {
        let _ = done.send(());
    }
    Ok(())
}

impl Worker {
    fn apply(&mut self, listeners: Vec<Arc<Listener>>, sockets: Vec<(ListenAddress, Sockets)>) {
        let mut sockets: HashMap<ListenAddress, Sockets> = sockets.into_iter().collect();
        let mut seats = HashMap::with_capacity(listeners.len());
        for listener in listeners {
            let address = listener.address().clone();
            let local = Local::new(listener);
            if let Some(seat) = self.seats.remove(&address) {
                seat.install(local);
                seats.insert(address, seat);
            } else if let Some(sockets) = sockets.remove(&address) {
                match self.open(local, sockets) {
                    Ok(seat) => drop(seats.insert(address, seat)),
                    Err(error) => warn!("cannot serve {address}: {error}"),
                }
            }
        }
        for seat in std::mem::replace(&mut self.seats, seats).into_values() {
            self.close(&seat);
        }
        self.closed.retain(|udp| udp.strong_count() > 0);
    }

    fn open(&self, local: Rc<Local>, sockets: Sockets) -> io::Result<Rc<Seat>> {
        let tcp = TcpListener::from_std(sockets.tcp)?;
        let udp = sockets.udp.into_iter().map(|socket| {
            let (desk, buffers) = (self.desk.clone(), self.buffers.clone());
            Udp::new(socket, local.clone(), desk, buffers)
        });
        let udp = udp.collect::<io::Result<SmallVec<[_; 2]>>>()?;
        let seat = Rc::new(Seat {
            local: RefCell::new(local),
            closing: CancellationToken::new(),
            udp: udp.clone(),
            tasks: RefCell::default(),
        });
        let accept = accept(
            tcp,
            seat.clone(),
            self.desk.clone(),
            self.connections.clone(),
        );
        let mut tasks = vec![spawn_local(accept).abort_handle()];
        for udp in udp {
            udp.resume();
            tasks.push(spawn_local(udp.receive()).abort_handle());
        }
        seat.tasks.replace(tasks);
        Ok(seat)
    }

    fn close(&mut self, seat: &Seat) {
        seat.close();
        self.closed.extend(seat.udp.iter().map(Rc::downgrade));
    }

    async fn stop(&mut self) {
        for seat in std::mem::take(&mut self.seats).into_values() {
            self.close(&seat);
        }
        self.connections.emptied().await;
        self.desk.parked.emptied().await;
        while self
            .closed
            .iter()
            .filter_map(Weak::upgrade)
            .any(|udp| !udp.is_idle())
        {
            // `deliver` sends them; it needs its turn.
            tokio::task::yield_now().await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    seat: Rc<Seat>,
    desk: Rc<Desk>,
    connections: Rc<Connections>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: one that is in use makes room.
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                    connections.shed_one();
                }
                // Whatever it is, trying again at once may spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        clock::refresh();
        let entry = connections.admit();
        let connection = Connection::new(stream, seat.clone(), desk.clone(), entry.clone());
        // Fails where the client has gone already.
        let Ok(connection) = connection else { continue };
        entry.attach(spawn_local(connection.run()).abort_handle());
    }
}
