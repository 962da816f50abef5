//! TCP on one worker: connections that carry many queries, answered as their
//! answers come (RFC 7766).

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::connections::Entry;
use super::job::{Desk, Job};
use super::tally::Departures;
use super::worker::Seat;
use crate::chain::Proto;
use crate::clock;
use crate::wire::rtype;

/// How long the first message may take to arrive whole.
const READ: Duration = Duration::from_secs(3);
/// How long a client may take to make room for [`HIGH_WATER`] octets, or for less.
const WRITE: Duration = Duration::from_secs(5);
/// How long a connection may be idle between messages.
const IDLE: Duration = Duration::from_secs(10);
/// Queries of one connection that may wait for their answers; then no more
/// are read.
const IN_FLIGHT: usize = 128;
/// Octets of replies that may wait to be sent before no more queries are served.
const HIGH_WATER: usize = 64 << 10;
/// Octets asked of the system at once.
const READ_SIZE: usize = 2048;
/// What the buffers of a connection shrink to between bursts, in octets: there may be thousands.
const KEPT: usize = 4096;
/// Messages of one connection that wait for the connection to send them.
const LATE: usize = 16;

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    asked: SocketAddr,
    seat: Rc<Seat>,
    desk: Rc<Desk>,
    entry: Rc<Entry>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Messages of queries that waited, and of zone transfers.
    late: mpsc::Receiver<Vec<u8>>,
    send_late: mpsc::Sender<Vec<u8>>,
    flight: Rc<Flight>,
    /// Of the answers in `output` that were made at once.
    departures: Departures,
}

/// The queries of a connection that wait.
#[derive(Default)]
struct Flight {
    count: Cell<usize>,
    landed: Notify,
}

/// Counts one query for as long as it waits.
struct Airborne(Rc<Flight>);

impl Airborne {
    fn new(flight: &Rc<Flight>) -> Self {
        flight.count.set(flight.count.get() + 1);
        Self(flight.clone())
    }
}

impl Drop for Airborne {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.landed.notify_one();
    }
}

/// Whether the client may still send.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Reading {
    Open,
    /// It has closed its side, or we want no more.
    Ended,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        seat: Rc<Seat>,
        desk: Rc<Desk>,
        entry: Rc<Entry>,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (send_late, late) = mpsc::channel(LATE);
        Ok(Self {
            client: canonical(stream.peer_addr()?),
            asked: canonical(stream.local_addr()?),
            stream,
            seat,
            desk,
            entry,
            input: Vec::new(),
            output: Vec::new(),
            late,
            send_late,
            flight: Rc::default(),
            departures: Departures::default(),
        })
    }

    /// Serves it until either side is done with it.
    pub(super) async fn run(mut self) {
        // An error is the client's going away, or being too slow.
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> io::Result<()> {
        let mut reading = Reading::Open;
        let mut deadline = pin!(sleep(READ));
        let closing = self.seat.closing.clone();
        loop {
            if self.take_messages() {
                self.entry.touch();
                deadline.as_mut().reset(Instant::now() + IDLE);
            }
            if !self.output.is_empty() {
                self.flush().await?;
                // The flush may have made room for messages that are there already.
                if self.has_message() && self.has_room() {
                    continue;
                }
            }
            let in_flight = self.flight.count.get();
            if reading == Reading::Ended && in_flight == 0 && self.late.is_empty() {
                return Ok(());
            }
            let may_read = reading == Reading::Open && self.has_room();
            // Grows with what comes, not with what a length prefix promises.
            self.input.reserve(READ_SIZE);
            tokio::select! {
                biased;
                Some(message) = self.late.recv() => {
                    self.push(&message);
                    self.take_late();
                    deadline.as_mut().reset(Instant::now() + IDLE);
                }
                () = self.flight.landed.notified() => {}
                () = closing.cancelled(), if reading == Reading::Open => reading = Reading::Ended,
                read = self.stream.read_buf(&mut self.input), if may_read => {
                    clock::refresh();
                    self.desk.census.turn();
                    if read? == 0 {
                        reading = Reading::Ended;
                    }
                }
                () = &mut deadline => {
                    if in_flight == 0 {
                        return Ok(());
                    }
                    // An answer is still to come; it is bounded by whoever is asked.
                    deadline.as_mut().reset(Instant::now() + IDLE);
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.flight.count.get() < IN_FLIGHT && self.output.len() < HIGH_WATER
    }

    fn has_message(&self) -> bool {
        message_at(&self.input, 0).is_some()
    }

    /// Serves the messages that have arrived whole, as long as there is room
    /// for their answers: whether there was one.
    fn take_messages(&mut self) -> bool {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while self.has_room() {
            let Some(message) = message_at(&input, at) else {
                break;
            };
            at += 2 + message.len();
            self.answer(message);
        }
        self.input = input;
        self.input.drain(..at);
        if self.input.is_empty() {
            // A client that once sent a large message keeps no large buffer.
            self.input.shrink_to(KEPT);
        }
        at > 0
    }

    fn answer(&mut self, message: &[u8]) {
        let mut job = self.desk.job(&self.seat.local(), Proto::Tcp);
        if let Err(reject) = job.exchange.request.parse(message) {
            self.desk.recycle(job);
            if let Some(header) = reject.answer(message) {
                self.push(&header);
            }
            return;
        }
        job.address(self.client, self.asked);
        let transfer = matches!(job.exchange.request.qtype(), rtype::AXFR | rtype::IXFR);
        if transfer {
            job.exchange.stream = Some(self.send_late.clone());
        }
        let client = job.exchange.client.ip();
        let mut bench = match self.desk.begin(job) {
            Ok(job) => {
                // What a transfer has sent so far goes before its last message.
                if transfer {
                    self.take_late();
                }
                return self.finish(job);
            }
            Err(bench) => bench,
        };
        let place = self.desk.parked.admit(client);
        let ticket = place.ticket();
        let airborne = Airborne::new(&self.flight);
        let (desk, send_late) = (self.desk.clone(), self.send_late.clone());
        let task = tokio::task::spawn_local(async move {
            let mut job = bench.finish().await;
            desk.keep(bench);
            if job.conclude(&desk.census) {
                // Fails where the connection is gone, and its client with it.
                let _ = send_late.send(job.exchange.finished().to_vec()).await;
                job.sent();
            }
            desk.recycle(job);
            drop(place);
            drop(airborne);
        });
        self.desk.parked.attach(ticket, task.abort_handle());
    }

    fn finish(&mut self, mut job: Box<Job>) {
        if job.conclude(&self.desk.census) {
            push(&mut self.output, job.exchange.finished());
            self.departures.add(job.exchange.arrived);
        }
        self.desk.recycle(job);
    }

    fn take_late(&mut self) {
        while let Ok(message) = self.late.try_recv() {
            self.push(&message);
        }
    }

    fn push(&mut self, message: &[u8]) {
        push(&mut self.output, message);
    }

    async fn flush(&mut self) -> io::Result<()> {
        // A client that takes nothing for a while, or next to nothing, is gone or means harm.
        for part in self.output.chunks(HIGH_WATER) {
            timeout(WRITE, self.stream.write_all(part)).await??;
        }
        self.departures.sent(self.seat.local().tally());
        self.output.clear();
        self.output.shrink_to(KEPT);
        Ok(())
    }
}

/// The message that begins there with its length, if it is whole.
fn message_at(input: &[u8], at: usize) -> Option<&[u8]> {
    let (length, rest) = input.get(at..)?.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

fn push(output: &mut Vec<u8>, message: &[u8]) {
    // A reply is cut to what the prefix can say before it comes here.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    output.extend_from_slice(&length.to_be_bytes());
    output.extend(message.iter().take(usize::from(length)));
}

/// The address without what a socket of both families adds to an IPv4 one.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
