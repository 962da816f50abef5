//! One server, one workload, one round.

use std::time::Duration;

use anyhow::bail;

use crate::cpu::Cpu;
use crate::generator::{Generator, Questions, Tally};
use crate::latency::{DEPTH, Latency, MOST};
use crate::message::Query;
use crate::peer::Peer;
use crate::program::Program;
use crate::upstream::Upstream;
use crate::workload::Workload;

/// Before a measurement begins: until the window is full.
const RAMP: Duration = Duration::from_millis(50);

/// What a round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// CPU time of a query, in microseconds, user and system.
    pub(crate) micros: f64,
    /// The part of it that was in user space, 0 to 1.
    pub(crate) user: f64,
    /// Queries a second, with the window full.
    pub(crate) rate: f64,
    /// The part of its core that the server used then, 0 to 1.
    pub(crate) busy: f64,
    /// Queries without a reply, in all of the round.
    pub(crate) lost: u64,
    /// At half of that rate, or at [`MOST`].
    pub(crate) latency: Latency,
}

/// Measures servers with the queries of one workload.
pub(crate) struct Round<'a> {
    pub(crate) workload: Workload,
    pub(crate) queries: &'a [Query],
    /// How long each of the two parts takes: full load, half load.
    pub(crate) time: Duration,
    pub(crate) upstream: &'a mut Upstream,
    /// Counts up with each name that must be new.
    pub(crate) serial: &'a mut u64,
}

impl Round<'_> {
    /// # Errors
    ///
    /// When the server gives a wrong reply.
    pub(crate) fn measure(&mut self, peer: &Peer) -> anyhow::Result<Cost> {
        let (transport, server) = (self.workload.transport(), peer.address());
        let echo = peer.program == Program::Floor;
        let questions = Questions::new(self.queries, echo, self.serial);
        let mut full = Generator::closed(transport, server, questions, self.upstream)?;
        let ramp = full.run(RAMP)?;
        let before = Cpu::of(peer.pid)?;
        let tally = full.run(self.time)?;
        let used = Cpu::of(peer.pid)?.since(before);
        let rest = full.drain()?;
        let rate = tally.answered as f64 / tally.elapsed.as_secs_f64();

        let questions = Questions::new(self.queries, echo, self.serial);
        let mut half = Generator::open(transport, server, questions, self.upstream, DEPTH)?;
        let (paced, latency) = half.paced((rate / 2.0).clamp(1.0, MOST), self.time)?;
        let rest_of_half = half.drain()?;

        let parts = [&ramp, &tally, &rest, &paced, &rest_of_half];
        complain(&parts, peer)?;
        let total = used.total.as_secs_f64();
        Ok(Cost {
            micros: total * 1e6 / tally.answered.max(1) as f64,
            user: used.user,
            rate,
            busy: total / tally.elapsed.as_secs_f64(),
            lost: parts.iter().map(|part| part.lost).sum(),
            latency,
        })
    }
}

/// Fails when a reply was wrong.
fn complain(parts: &[&Tally], peer: &Peer) -> anyhow::Result<()> {
    let wrong: u64 = parts.iter().map(|part| part.wrong).sum();
    let Some(example) = parts.iter().find_map(|part| part.example.as_ref()) else {
        return Ok(());
    };
    bail!("{wrong} wrong replies, as {example}\n{}", peer.output())
}
