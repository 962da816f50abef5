//! Asking both servers, as fast as is allowed, until their answers agree or
//! have been given their chances.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::compare::{Findings, Rules, Said, compare};
use super::query::{Query, Sieve, Skip};
use crate::ask::{self, Transport};

/// Between two rounds: long enough for a change to reach both servers.
const PAUSE: Duration = Duration::from_millis(250);
/// What may be caught up at once when the source has been slower than the rate.
const SLACK: Duration = Duration::from_millis(10);

/// Whom to ask, and how.
#[derive(Debug)]
pub(super) struct Replay {
    /// The two servers.
    pub(super) servers: [SocketAddr; 2],
    /// How long one answer is waited for.
    pub(super) bound: Duration,
    /// How often both are asked again where they differ.
    pub(super) retries: u32,
    /// Queries a second; 0: no limit.
    pub(super) rate: u32,
    /// Queries under way.
    pub(super) concurrency: usize,
    /// What counts.
    pub(super) rules: Rules,
}

/// What came of one query.
#[derive(Debug)]
pub(super) struct Compared {
    /// The query.
    pub(super) query: Query,
    /// In short.
    pub(super) outcome: Outcome,
    /// At length, of the answers that agreed, or else of the last ones.
    pub(super) findings: Findings,
    /// How long the first answer of each server took.
    pub(super) elapsed: [Option<Duration>; 2],
    /// How often each did not answer.
    pub(super) unanswered: [u64; 2],
}

/// What came of one query, in short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The same answer.
    Same,
    /// The same after other answers: one changed under way.
    Settled,
    /// Other answers, however often they were asked.
    Different,
    /// Neither answered.
    Silence,
}

impl Replay {
    /// Asks what comes of `queries` and passes on what comes of each, until
    /// there are no more, or `stop` is; those under way end.
    ///
    /// # Errors
    ///
    /// Those of `take`.
    pub(super) async fn run<E>(
        self: &Arc<Self>,
        mut queries: mpsc::Receiver<Result<Query, Skip>>,
        sieve: &mut Sieve,
        stop: impl Future<Output = ()>,
        mut take: impl FnMut(Compared) -> Result<(), E>,
    ) -> Result<(), E> {
        tokio::pin!(stop);
        let mut asking = JoinSet::new();
        let mut pace = Pace::new(self.rate);
        // The one whose time has not come.
        let mut held = None;
        let mut more = true;
        while more || held.is_some() || !asking.is_empty() {
            tokio::select! {
                Some(Ok(compared)) = asking.join_next() => take(compared)?,
                () = &mut stop, if more => (more, held) = (false, None),
                () = sleep_until(pace.next), if held.is_some() => {
                    pace.step();
                    if let Some(query) = held.take() {
                        let replay = Arc::clone(self);
                        asking.spawn(async move { replay.settle(query).await });
                    }
                }
                offered = queries.recv(), if more && held.is_none() && asking.len() < self.concurrency => {
                    more = offered.is_some();
                    held = offered.and_then(|offered| sieve.take(offered));
                    more &= !sieve.is_full();
                }
            }
        }
        Ok(())
    }

    async fn settle(&self, query: Query) -> Compared {
        let mut said: [Vec<Said>; 2] = Default::default();
        let mut compared = Compared {
            query,
            outcome: Outcome::Silence,
            findings: Findings::default(),
            elapsed: [None; 2],
            unanswered: [0; 2],
        };
        for round in 0..=self.retries {
            if round > 0 {
                sleep(PAUSE).await;
            }
            let [server, against] = self.servers;
            let (server, against) = tokio::join!(
                self.ask(server, &compared.query),
                self.ask(against, &compared.query)
            );
            for (side, (now, elapsed)) in [server, against].into_iter().enumerate() {
                compared.unanswered[side] += u64::from(!now.is_something());
                compared.elapsed[side] = compared.elapsed[side].or(elapsed);
                said[side].push(now);
            }
            let Some(findings) = self.best(&said) else {
                continue;
            };
            compared.outcome = match (findings.are_same(), round) {
                (true, 0) => Outcome::Same,
                (true, _) => Outcome::Settled,
                (false, _) => Outcome::Different,
            };
            compared.findings = findings;
            if compared.outcome != Outcome::Different {
                break;
            }
        }
        compared
    }

    async fn ask(&self, server: SocketAddr, query: &Query) -> (Said, Option<Duration>) {
        let transport = query.transport();
        match ask::ask(server, &query.message, transport, self.bound).await {
            Ok(answer) => {
                let said = Said::read(&answer, transport == Transport::Either);
                (said, Some(answer.elapsed))
            }
            Err(error) => (Said::Nothing(error.label()), None),
        }
    }

    /// The findings between what one and the other said, now or before: those
    /// of a pair that agrees, else of the last. `None`: neither ever answered.
    fn best(&self, [server, against]: &[Vec<Said>; 2]) -> Option<Findings> {
        let mut last = None;
        for one in server.iter().rev() {
            for other in against.iter().rev() {
                if !one.is_something() && !other.is_something() {
                    continue;
                }
                let findings = compare(one, other, &self.rules);
                if findings.are_same() {
                    return Some(findings);
                }
                last.get_or_insert(findings);
            }
        }
        last
    }
}

/// When the next query may go.
struct Pace {
    between: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: u32) -> Self {
        let second = Duration::from_secs(1);
        Self {
            between: second.checked_div(rate).unwrap_or_default(),
            next: Instant::now(),
        }
    }

    fn step(&mut self) {
        let earliest = Instant::now().checked_sub(SLACK);
        self.next = earliest.map_or(self.next, |earliest| self.next.max(earliest)) + self.between;
    }
}
