//! The attempts for one query: who is asked when, and which reply is the answer.
//!
//! The order, the limits and what counts as a failure are CoreDNS's. One thing differs: when an
//! upstream is late, the next one is asked too, and the first to know wins. So a dead upstream
//! costs a client some milliseconds and not the two seconds after which most clients are gone.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::attempt::Attempt;
use super::buf::Buf;
use super::error::{Cause, Error, Failure};
use super::message::{self, Shape};
use super::order::Order;
use super::policy::Policy;
use super::pool::{Pool, Sent};
use super::{Answer, Group, Transport, udp};

/// No attempt starts later than this after the query came in.
const PATIENCE: Duration = Duration::from_secs(5);

/// An upstream is not late before this, however fast it usually is.
const LATE: Duration = Duration::from_millis(50);

/// With `policy sequential` the others are for emergencies, and may answer otherwise.
const LATE_SEQUENTIAL: Duration = Duration::from_millis(500);

/// First pause before all upstreams are tried once more, where the number of attempts is not
/// limited; it doubles each time.
const PAUSE: Duration = Duration::from_millis(10);

/// All attempts for one query.
pub(super) struct Race<'a> {
    group: &'a Group,
    pools: Rc<[Rc<Pool>]>,
    /// The query; each attempt writes its own ID into it.
    query: Buf,
    question: Range<usize>,
    transport: Transport,
    give_up: Instant,
    order: Order<'a>,
    /// Attempts that count towards the limit.
    spent: u32,
    failovers: usize,
    running: SmallVec<[Attempt; 2]>,
    /// When to ask another upstream, if nothing else happens.
    next_at: Option<Instant>,
    /// What to answer if nothing better comes.
    fallback: Option<Answer>,
    wrong: Option<SocketAddr>,
    failure: Option<Failure>,
}

/// Why another attempt starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is the first, or the last one failed.
    Needed,
    /// The pause after a round of failures is over.
    Again,
    /// The last one is late.
    Late,
    /// The last one answered with an RCODE of `failover`.
    Failover,
}

enum Event {
    Ended(usize, Result<Buf, Failure>),
    Time,
}

impl<'a> Race<'a> {
    pub(super) fn new(
        group: &'a Arc<Group>,
        query: Buf,
        question: Range<usize>,
        client: Transport,
    ) -> Self {
        let options = &group.options;
        Self {
            group,
            pools: group.pools(),
            query,
            question,
            transport: match client {
                _ if options.force_tcp => Transport::Tcp,
                _ if options.prefer_udp => Transport::Udp,
                own => own,
            },
            give_up: Instant::now() + PATIENCE,
            order: Order::new(group),
            spent: 0,
            failovers: 0,
            running: SmallVec::new(),
            next_at: None,
            fallback: None,
            wrong: None,
            failure: None,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Answer, Error> {
        let mut now = self.give_up - PATIENCE;
        self.start(Why::Needed, now);
        let mut alarm = Alarm::new();
        while !self.running.is_empty() || self.next_at.is_some() {
            let wake_at = self.wake_at();
            let event = poll_fn(|cx| {
                for (nth, attempt) in self.running.iter_mut().enumerate() {
                    if let Poll::Ready(outcome) = Pin::new(&mut attempt.ticket).poll(cx) {
                        return Poll::Ready(Event::Ended(nth, outcome));
                    }
                    // A connection that has just been made counts its time from then on.
                    if attempt.deadline(self.group, self.give_up) < wake_at {
                        return Poll::Ready(Event::Time);
                    }
                }
                alarm.poll(wake_at, cx).map(|()| Event::Time)
            })
            .await;
            now = Instant::now();
            match event {
                Event::Ended(nth, Ok(reply)) => {
                    let attempt = self.running.remove(nth);
                    if let Some(answer) = self.judge(attempt, reply, now) {
                        self.leave_behind(now);
                        return Ok(answer);
                    }
                }
                Event::Ended(nth, Err(failure)) => {
                    let attempt = self.running.remove(nth);
                    if attempt.reused && failure.cause.is_hangup() {
                        self.send_again(&attempt, Transport::Tcp, now);
                    } else {
                        self.fail(attempt.index, failure, now);
                    }
                }
                Event::Time => self.on_time(now),
            }
        }
        self.leave_behind(now);
        match (self.fallback.take(), self.wrong, self.failure.take()) {
            (Some(answer), _, _) => Ok(answer),
            (_, Some(upstream), _) => Err(Error::WrongReply(upstream)),
            (_, _, Some(failure)) => Err(Error::Failed(failure)),
            (None, None, None) => Err(Error::NoHealthy),
        }
    }

    /// Asks the next upstream. Does nothing where the limits forbid it.
    fn start(&mut self, why: Why, now: Instant) {
        let limit = match self.group.options.max_connect_attempts {
            None => 2 * self.group.upstreams.len() as u32,
            Some(0) => u32::MAX,
            Some(limit) => limit,
        };
        let mut why = why;
        loop {
            self.next_at = None;
            let free = why == Why::Failover;
            if self.order.is_hopeless() || now >= self.give_up || (!free && self.spent >= limit) {
                return;
            }
            if why == Why::Needed && limit == u32::MAX && self.pause(now) {
                return;
            }
            let next = match why {
                Why::Late => self.order.untried(),
                _ => {
                    let running = &self.running;
                    let is_running = |index| running.iter().any(|one| one.index == index);
                    self.order.next(is_running)
                }
            };
            let Some(index) = next else { return };
            self.spent += u32::from(!free);
            self.order.mark_tried(index);
            let Err(failure) = self.send(index, self.transport, false, now, now) else {
                if why == Why::Late {
                    self.group.upstreams[index].metrics.count_hedge();
                }
                self.next_at = self.late_at(index, now);
                return;
            };
            self.note(index, failure);
            why = Why::Needed;
        }
    }

    /// When the reply of `index` is late enough to ask another upstream, if there is one.
    fn late_at(&self, index: usize, now: Instant) -> Option<Instant> {
        self.order.untried()?;
        let suspect = self.group.upstreams[index].health.is_suspect();
        let floor = match self.group.options.policy {
            Policy::Sequential if !suspect => LATE_SEQUENTIAL,
            _ => LATE,
        };
        let late = if suspect {
            floor
        } else {
            self.pools[index].rtt.late_after(floor)
        };
        Some(now + late)
    }

    /// Whether all upstreams have failed once more and it is time for a pause. Without a limit
    /// on attempts a closed port would else be tried as fast as the machine can.
    fn pause(&mut self, now: Instant) -> bool {
        let count = self.group.upstreams.len() as u32;
        if self.spent == 0 || !self.spent.is_multiple_of(count) {
            return false;
        }
        let doublings = (self.spent / count - 1).min(5);
        self.next_at = Some(now + PAUSE * (1 << doublings));
        true
    }

    fn send(
        &mut self,
        index: usize,
        transport: Transport,
        anew: bool,
        began: Instant,
        now: Instant,
    ) -> Result<(), Failure> {
        let pool = &self.pools[index];
        let Sent { ticket, reused } =
            pool.send(transport, &mut self.query, self.question.clone(), anew, now)?;
        self.running.push(Attempt {
            index,
            pool: Rc::clone(pool),
            transport,
            began,
            sent: now,
            reused,
            replies_before: ticket.link().replies.get(),
            ticket,
        });
        Ok(())
    }

    /// Asks the same upstream on another connection; that is no failure.
    fn send_again(&mut self, attempt: &Attempt, transport: Transport, now: Instant) {
        let anew = transport == attempt.transport;
        if let Err(failure) = self.send(attempt.index, transport, anew, attempt.began, now) {
            self.fail(attempt.index, failure, now);
        }
    }

    /// What a reply means: the answer, or nothing yet.
    fn judge(&mut self, attempt: Attempt, mut reply: Buf, now: Instant) -> Option<Answer> {
        let options = &self.group.options;
        let rcode = match message::shape(&reply) {
            Shape::Whole { rcode } => rcode,
            Shape::Cut if attempt.transport == Transport::Udp => {
                udp::truncate(&mut reply);
                u16::from(message::rcode(&reply))
            }
            broken => {
                let what = match broken {
                    Shape::Broken(what) => what,
                    _ => "overflow unpacking message",
                };
                let failure = attempt.failure(Cause::Malformed(what));
                self.fail(attempt.index, failure, now);
                return None;
            }
        };
        let upstream = Arc::clone(&self.group.upstreams[attempt.index]);
        attempt.pool.rtt.observe(now - attempt.sent);
        upstream.metrics.observe(rcode, now - attempt.began);
        let is_ours = message::question(&reply)
            .and_then(|range| reply.get(range))
            .zip(self.query.get(self.question.clone()))
            .is_some_and(|(theirs, ours)| message::same_question(ours, theirs));
        if !is_ours {
            upstream.metrics.count_failure("other_question");
            self.wrong = Some(upstream.addr);
            self.next_at = None;
            return None;
        }
        if !message::is_verdict(rcode) {
            upstream.metrics.count_failure(reason(rcode));
        }
        let over_udp = attempt.transport == Transport::Udp;
        if over_udp && options.prefer_udp && message::is_truncated(&reply) {
            self.send_again(&attempt, Transport::Tcp, now);
            return None;
        }
        let answer = Answer {
            message: reply,
            rcode,
            transport: attempt.transport,
            took: now - attempt.began,
            upstream,
        };
        if options.failover.contains(&rcode) {
            self.failovers += 1;
            if self.failovers < self.group.upstreams.len() {
                self.fallback = Some(answer);
                self.start(Why::Failover, now);
                return None;
            }
        } else if !message::is_verdict(rcode) && !self.running.is_empty() {
            self.fallback = Some(answer);
            self.next_at = None;
            return None;
        }
        Some(answer)
    }

    fn on_time(&mut self, now: Instant) {
        while let Some(nth) = self
            .running
            .iter()
            .position(|attempt| attempt.deadline(self.group, self.give_up) <= now)
        {
            let attempt = self.running.remove(nth);
            let failure = attempt.failure(Cause::Timeout);
            if attempt.is_silent() {
                attempt.pool.forget(attempt.ticket.link());
            } else {
                attempt.pool.rtt.observe_at_least(now - attempt.sent);
            }
            self.fail(attempt.index, failure, now);
        }
        if self.next_at.is_some_and(|at| at <= now) {
            let why = if self.running.is_empty() {
                Why::Again
            } else {
                Why::Late
            };
            self.start(why, now);
        }
    }

    fn fail(&mut self, index: usize, failure: Failure, now: Instant) {
        self.note(index, failure);
        self.start(Why::Needed, now);
    }

    fn note(&mut self, index: usize, failure: Failure) {
        self.group.check(index);
        let upstream = &self.group.upstreams[index];
        upstream.metrics.count_failure(failure.cause.word());
        self.failure = Some(failure);
    }

    /// The query is over; what still runs has been overtaken.
    fn leave_behind(&mut self, now: Instant) {
        for attempt in self.running.drain(..) {
            if attempt.is_silent() {
                // It would never fail else, and never be found dead.
                self.group.check(attempt.index);
            } else {
                attempt.pool.rtt.observe_at_least(now - attempt.sent);
            }
        }
    }

    fn wake_at(&self) -> Instant {
        self.running
            .iter()
            .map(|attempt| attempt.deadline(self.group, self.give_up))
            .chain(self.next_at)
            .min()
            .unwrap_or(self.give_up)
    }
}

/// The word for an RCODE that is no verdict, in metrics: one of a few, since
/// upstreams choose them.
fn reason(rcode: u16) -> &'static str {
    match rcode {
        1 => "formerr",
        2 => "servfail",
        4 => "notimp",
        5 => "refused",
        _ => "other_rcode",
    }
}
