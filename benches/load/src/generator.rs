//! Asks a server as fast as it answers: a closed loop from 64 ports, or over
//! eight connections.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::flight::{Flight, Slot};
use crate::lane::{Buffers, Lane, TcpLane, UdpLane};
use crate::latency::Histogram;
use crate::message::Query;
use crate::upstream::Upstream;
use crate::workload::Transport;

/// Source ports of ours.
const PORTS: usize = 64;
/// Connections of ours, each with as many queries at a time as its part of the
/// window.
const CONNECTIONS: usize = 8;
/// Queries under way at once. So many that a server never waits for one, and
/// few enough for the receive buffer of a socket that asks for no other:
/// 212,992 octets, of which Linux counts 768 for a query and may keep a quarter
/// for queries that have been read already. 256 were too many.
const WINDOW: usize = 192;
/// After that a query counts as lost.
pub(crate) const LOST: Duration = Duration::from_millis(500);
/// Between two looks for lost queries.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// What came of the queries of a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Replies that said what they must.
    pub(crate) answered: u64,
    /// Replies that did not, of which `example` is one.
    pub(crate) wrong: u64,
    pub(crate) example: Option<String>,
    pub(crate) lost: u64,
    pub(crate) elapsed: Duration,
}

/// What the queries are, and what their replies must be.
pub(crate) struct Questions<'a> {
    queries: &'a [Query],
    echo: bool,
    serial: &'a mut u64,
    next: usize,
}

impl<'a> Questions<'a> {
    /// These in turn. `echo`: the server sends back what it gets, as the floor
    /// does. `serial` counts up with each name that must be new.
    pub(crate) fn new(queries: &'a [Query], echo: bool, serial: &'a mut u64) -> Self {
        Self {
            queries,
            echo,
            serial,
            next: 0,
        }
    }

    /// Puts the next query into a slot.
    fn put(&mut self, id: u16, slot: &mut Slot, since: Instant) {
        let next = self.next;
        if let Some(query) = self.queries.get(next) {
            query.write(&mut slot.bytes, id, self.serial);
        }
        slot.query = next;
        slot.since = since;
        self.next = (next + 1) % self.queries.len().max(1);
    }

    /// Counts a reply.
    fn judge(&self, slot: &Slot, reply: &[u8], tally: &mut Tally) {
        let right = match self.queries.get(slot.query) {
            _ if self.echo => reply.len() == slot.bytes.len(),
            Some(query) => query.expected.fits(reply),
            None => false,
        };
        if right {
            tally.answered += 1;
            return;
        }
        tally.wrong += 1;
        let show = || format!("{:02x?} for {:02x?}", reply, slot.bytes);
        tally.example.get_or_insert_with(show);
    }
}

/// A load on one server.
pub(crate) struct Generator<'a> {
    pub(crate) lanes: Vec<(Box<dyn Lane>, Flight)>,
    buffers: Buffers,
    questions: Questions<'a>,
    pub(crate) upstream: &'a mut Upstream,
    departing: Vec<u8>,
    pub(crate) tally: Tally,
    /// Where replies leave their time, if anywhere.
    pub(crate) histogram: Option<Histogram>,
}

impl<'a> Generator<'a> {
    /// For [`Self::run`].
    pub(crate) fn closed(
        transport: Transport,
        server: SocketAddrV4,
        questions: Questions<'a>,
        upstream: &'a mut Upstream,
    ) -> anyhow::Result<Self> {
        let depth = match transport {
            Transport::Udp => WINDOW / PORTS,
            Transport::Tcp => WINDOW / CONNECTIONS,
        };
        Self::open(transport, server, questions, upstream, depth)
    }

    /// With room for `depth` queries on each lane.
    pub(crate) fn open(
        transport: Transport,
        server: SocketAddrV4,
        questions: Questions<'a>,
        upstream: &'a mut Upstream,
        depth: usize,
    ) -> anyhow::Result<Self> {
        let lane = || -> anyhow::Result<(Box<dyn Lane>, Flight)> {
            let lane: Box<dyn Lane> = match transport {
                Transport::Udp => Box::new(UdpLane::open(server)?),
                Transport::Tcp => Box::new(TcpLane::open(server)?),
            };
            Ok((lane, Flight::new(depth)))
        };
        let lanes = match transport {
            Transport::Udp => PORTS,
            Transport::Tcp => CONNECTIONS,
        };
        Ok(Self {
            lanes: (0..lanes).map(|_| lane()).collect::<anyhow::Result<_>>()?,
            buffers: Buffers::new(),
            questions,
            upstream,
            departing: Vec::new(),
            tally: Tally::default(),
            histogram: None,
        })
    }

    /// Keeps the window full for a while.
    pub(crate) fn run(&mut self, time: Duration) -> anyhow::Result<Tally> {
        let begun = Instant::now();
        let mut looked = begun;
        self.tally = Tally::default();
        loop {
            let now = Instant::now();
            let elapsed = now - begun;
            if elapsed >= time {
                let mut tally = std::mem::take(&mut self.tally);
                tally.elapsed = elapsed;
                return Ok(tally);
            }
            if now - looked >= LOOK {
                looked = now;
                self.give_up(now, LOST);
            }
            for lane in 0..self.lanes.len() {
                self.receive(lane)?;
                self.send(lane, now, usize::MAX);
            }
            self.upstream.serve()?;
        }
    }

    /// Waits for what is under way.
    pub(crate) fn drain(&mut self) -> anyhow::Result<Tally> {
        let begun = Instant::now();
        self.tally = Tally::default();
        while self.lanes.iter().any(|(_, flight)| !flight.is_empty()) {
            for lane in 0..self.lanes.len() {
                self.receive(lane)?;
            }
            self.upstream.serve()?;
            self.give_up(Instant::now(), LOST);
        }
        self.tally.elapsed = begun.elapsed();
        Ok(std::mem::take(&mut self.tally))
    }

    pub(crate) fn give_up(&mut self, now: Instant, bound: Duration) {
        for (_, flight) in &mut self.lanes {
            self.tally.lost += flight.give_up(now, bound) as u64;
        }
    }

    pub(crate) fn receive(&mut self, lane: usize) -> anyhow::Result<()> {
        let Some((lane, flight)) = self.lanes.get_mut(lane) else {
            return Ok(());
        };
        let received = lane.receive(&mut self.buffers, &mut |reply| {
            if let Some(slot) = flight.arrive(reply) {
                self.questions.judge(slot, reply, &mut self.tally);
                if let Some(histogram) = &mut self.histogram {
                    histogram.add(slot.since.elapsed());
                }
            }
        });
        if received.is_err() {
            self.tally.lost += flight.give_up(Instant::now(), Duration::ZERO) as u64;
            lane.reopen()?;
        }
        Ok(())
    }

    /// Sends as much as there is room for, and `most` at most.
    pub(crate) fn send(&mut self, lane: usize, now: Instant, most: usize) {
        let Some((lane, flight)) = self.lanes.get_mut(lane) else {
            return;
        };
        self.departing.clear();
        while self.departing.len() < most
            && let Some(slot) = flight.depart(|id, slot| self.questions.put(id, slot, now))
        {
            self.departing.push(slot);
        }
        let departing = self.departing.iter();
        let queries: Vec<&[u8]> = departing.map(|slot| flight.bytes(*slot)).collect();
        // A connection that is closed shows with the next receive.
        if !queries.is_empty() {
            let _ = lane.send(&mut self.buffers, &queries);
        }
    }
}
