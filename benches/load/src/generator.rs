//! Asks a server as fast as it answers: a closed loop from 64 ports.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::flight::{Flight, Slot};
use crate::lane::{Buffers, Lane, UdpLane};
use crate::message::Query;
use crate::upstream::Upstream;

/// Source ports of ours.
const PORTS: usize = 64;
/// Queries under way at once. So many that a server never waits for one, and
/// few enough for the receive buffer of a socket that asks for no other:
/// 212,992 octets, of which Linux counts 768 for a query and may keep a quarter
/// for queries that have been read already. 256 were too many.
const WINDOW: usize = 192;
/// After that a query counts as lost.
const LOST: Duration = Duration::from_millis(500);
/// Between two looks for lost queries.
const LOOK: Duration = Duration::from_millis(50);

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
    pub(crate) queries: &'a [Query],
    /// Whether the server sends back what it gets: the floor.
    pub(crate) echo: bool,
    /// Counts up with each name that must be new.
    pub(crate) serial: &'a mut u64,
    pub(crate) next: usize,
}

impl Questions<'_> {
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
    lanes: Vec<(Box<dyn Lane>, Flight)>,
    buffers: Buffers,
    questions: Questions<'a>,
    upstream: &'a mut Upstream,
    departing: Vec<u8>,
    tally: Tally,
}

impl<'a> Generator<'a> {
    pub(crate) fn udp(
        server: SocketAddrV4,
        questions: Questions<'a>,
        upstream: &'a mut Upstream,
    ) -> anyhow::Result<Self> {
        let lanes = (0..PORTS).map(|_| {
            let lane: Box<dyn Lane> = Box::new(UdpLane::open(server)?);
            Ok((lane, Flight::new(WINDOW / PORTS)))
        });
        Ok(Self {
            lanes: lanes.collect::<anyhow::Result<_>>()?,
            buffers: Buffers::new(),
            questions,
            upstream,
            departing: Vec::new(),
            tally: Tally::default(),
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
                self.fill(lane, now)?;
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

    fn give_up(&mut self, now: Instant, bound: Duration) {
        for (_, flight) in &mut self.lanes {
            self.tally.lost += flight.give_up(now, bound) as u64;
        }
    }

    fn receive(&mut self, lane: usize) -> anyhow::Result<()> {
        let Some((lane, flight)) = self.lanes.get_mut(lane) else {
            return Ok(());
        };
        let received = lane.receive(&mut self.buffers, &mut |reply| {
            if let Some(slot) = flight.arrive(reply) {
                self.questions.judge(slot, reply, &mut self.tally);
            }
        });
        if received.is_err() {
            self.tally.lost += flight.give_up(Instant::now(), Duration::ZERO) as u64;
            lane.reopen()?;
        }
        Ok(())
    }

    /// Sends as much as there is room for.
    fn fill(&mut self, lane: usize, now: Instant) -> anyhow::Result<()> {
        let Some((lane, flight)) = self.lanes.get_mut(lane) else {
            return Ok(());
        };
        self.departing.clear();
        while let Some(slot) = flight.depart(|id, slot| self.questions.put(id, slot, now)) {
            self.departing.push(slot);
        }
        let queries: Vec<&[u8]> = self
            .departing
            .iter()
            .map(|slot| flight.bytes(*slot))
            .collect();
        if !queries.is_empty() {
            lane.send(&mut self.buffers, &queries)?;
        }
        Ok(())
    }
}
