//! How one collection is followed, as a state machine without I/O: it says
//! which request to make, is told what came of it, and says what to do next.
//!
//! ```text
//! Probe ──▶ Stream ───────────────▶ (the same stream, followed)
//!   │         │ not supported           │ ended, broken
//!   │         ▼                         ▼
//!   │       Page, Page, … ──▶ Watch ◀── Probe
//!   └────────────────────────────────────┘ same cluster: go on from where we were
//! ```
//!
//! The probe asks for the namespace `kube-system`: its UID tells whether this
//! is still the cluster that it was, the list's version whether its history
//! goes as far as ours. A watch from a version that a rebuilt etcd has not
//! reached would hang in silence.

use std::time::Duration;

use super::frames::Status;

/// The request to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Which cluster is this, and at which version?
    Probe,
    /// All objects and then every change, in one stream.
    Stream,
    /// A page of all objects; the first has no token.
    Page {
        /// Where the page before ended.
        token: Option<String>,
        /// Whether to ask for pages at all.
        limited: bool,
    },
    /// Every change since a version.
    Watch {
        /// That version.
        version: String,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    /// The probe's answer.
    Probed { cluster: String, version: String },
    /// A stream has sent all that existed.
    InitialEnd { version: String },
    /// A page has been read whole.
    Page {
        version: String,
        token: Option<String>,
    },
    /// An event or a bookmark was read.
    Progress { version: String },
    /// The server ended the stream in good order.
    Ended { lasted: Duration },
    /// The connection could not be made, broke, or carried nonsense.
    Broken,
    /// Nothing arrived for longer than a live server is silent.
    Silent,
    /// The server said no.
    Failed(Status),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Read on.
    Follow,
    /// All objects have been listed: drop those that were not. Then read on,
    /// if a stream is being read, else make the next request.
    Listed,
    /// Wait, then make the next request.
    Next(Duration),
    /// Read the credentials again, wait, then make the next request.
    Refresh(Duration),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Probe,
    Stream,
    Page { token: Option<String> },
    Watch,
}

/// The way of one collection.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    /// Up to where every change is known; `None` before the first list.
    version: Option<String>,
    /// The UID of `kube-system`.
    cluster: Option<String>,
    streaming: bool,
    /// Failures since a watch last told something. A list that can be read and
    /// a watch that cannot must not chase each other.
    attempts: u32,
    /// Refusals since then. Counted apart: a server that starts refuses for a
    /// moment what it will allow, also to who has knocked for long.
    refused: u32,
    /// Times that the list expired before its last page.
    expired: u32,
}

/// Where a connection fails, the server may be back at any moment: ask often.
const SOON: Duration = Duration::from_secs(1);
/// Where the server says no, somebody has to change something first.
const LATER: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(50);

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            state: State::Probe,
            version: None,
            cluster: None,
            streaming: true,
            attempts: 0,
            refused: 0,
            expired: 0,
        }
    }

    /// The request to make now.
    pub(super) fn request(&self) -> Request {
        match (&self.state, &self.version) {
            (State::Probe, _) => Request::Probe,
            (State::Stream, _) => Request::Stream,
            (State::Page { token }, _) => Request::Page {
                token: token.clone(),
                limited: self.expired < 3,
            },
            (State::Watch, Some(version)) => Request::Watch {
                version: version.clone(),
            },
            // Nothing to watch from: ask which cluster this is, then list.
            (State::Watch, None) => Request::Probe,
        }
    }

    /// Whether a list is under way.
    pub(super) fn listing(&self) -> bool {
        matches!(self.state, State::Stream | State::Page { .. })
    }

    /// The last version that was read; empty before the first list.
    pub(super) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or("")
    }

    /// Takes in what came of the request.
    pub(super) fn step(&mut self, input: Input) -> Effect {
        match input {
            Input::Probed { cluster, version } => self.probed(cluster, &version),
            Input::InitialEnd { version } => {
                self.read(version);
                self.state = State::Watch;
                Effect::Listed
            }
            Input::Page {
                version,
                token: Some(token),
            } => {
                self.read(version);
                self.state = State::Page { token: Some(token) };
                Effect::Next(Duration::ZERO)
            }
            Input::Page {
                version,
                token: None,
            } => {
                self.read(version);
                self.expired = 0;
                self.state = State::Watch;
                Effect::Listed
            }
            Input::Progress { version } => {
                // While a list streams, versions are those of single objects
                // and in no order.
                if !self.listing() {
                    self.read(version);
                    self.attempts = 0;
                    self.refused = 0;
                }
                Effect::Follow
            }
            Input::Ended { lasted } => {
                self.resume();
                if lasted < Duration::from_secs(1) {
                    return Effect::Next(self.delay(SOON));
                }
                self.attempts = 0;
                Effect::Next(Duration::ZERO)
            }
            Input::Broken => {
                let again = self.attempts > 0;
                self.resume();
                let delay = self.delay(SOON);
                // A certificate that is no longer trusted looks like this.
                if again {
                    Effect::Refresh(delay)
                } else {
                    Effect::Next(delay)
                }
            }
            Input::Silent => {
                // Servers that do not know the parameters of a streaming list
                // may ignore them and never say that the list is complete.
                if self.state == State::Stream {
                    self.streaming = false;
                }
                self.resume();
                Effect::Next(self.delay(SOON))
            }
            Input::Failed(status) => self.failed(&status),
        }
    }

    fn probed(&mut self, cluster: String, version: &str) -> Effect {
        let other = self.cluster.as_ref().is_some_and(|known| *known != cluster);
        let rewound = self
            .version
            .as_deref()
            .is_some_and(|ours| older(version, ours));
        if !cluster.is_empty() {
            self.cluster = Some(cluster);
        }
        if self.version.is_none() || other || rewound {
            self.list();
        } else {
            self.state = State::Watch;
        }
        Effect::Next(Duration::ZERO)
    }

    fn failed(&mut self, status: &Status) -> Effect {
        let first = self.attempts == 0;
        let asked = status
            .details
            .as_ref()
            .and_then(|details| details.retry_after_seconds);
        match (status.code, &self.state) {
            (401, _) => {
                let delay = self.delay(SOON);
                Effect::Refresh(if first { Duration::ZERO } else { delay })
            }
            // The version is too old, or one that this history has not reached.
            (410, _) => {
                if matches!(self.state, State::Page { .. }) {
                    self.expired += 1;
                }
                self.list();
                let delay = self.delay(SOON);
                Effect::Next(if first { Duration::ZERO } else { delay })
            }
            (504, State::Watch) if status.message.contains("Too large resource version") => {
                self.list();
                Effect::Next(self.delay(SOON))
            }
            // Not allowed to see namespaces: then there is nothing to compare,
            // and reading everything anew is always right. A server that
            // starts is given a second to know its rules.
            (403 | 404, State::Probe) if self.version.is_some() && self.refused < 5 => {
                Effect::Next(self.refusal())
            }
            (403 | 404, State::Probe) => {
                self.list();
                Effect::Next(Duration::ZERO)
            }
            (400 | 422, State::Stream) => {
                self.streaming = false;
                self.list();
                Effect::Next(Duration::ZERO)
            }
            (400..=499, State::Watch) if status.code != 429 => {
                self.resume();
                Effect::Next(self.refusal())
            }
            (403 | 404, _) => Effect::Next(self.refusal()),
            _ => {
                let asked = Duration::from_secs(u64::from(asked.unwrap_or(0))).min(5 * SOON);
                self.resume();
                Effect::Next(self.delay(SOON).max(asked))
            }
        }
    }

    fn read(&mut self, version: String) {
        if !version.is_empty() {
            self.version = Some(version);
        }
    }

    fn list(&mut self) {
        self.version = None;
        self.state = if self.streaming {
            State::Stream
        } else {
            State::Page { token: None }
        };
    }

    /// After an interruption: find out where we are. A list that was not
    /// complete starts over.
    fn resume(&mut self) {
        if self.listing() {
            self.version = None;
        }
        self.state = State::Probe;
    }

    fn delay(&mut self, limit: Duration) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        pause(self.attempts, limit)
    }

    fn refusal(&mut self) -> Duration {
        self.refused = self.refused.saturating_add(1);
        pause(self.refused, LATER)
    }
}

/// 50 ms, doubled with each failure up to `limit`, of which a random half is
/// taken off: a fleet that lost its API server does not come back in step.
fn pause(failures: u32, limit: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(limit).mul_f64(1.0 - fastrand::f64() / 2.0)
}

/// Whether version `a` is before `b`. Versions of one etcd are numbers that
/// grow; of others nothing is known.
fn older(a: &str, b: &str) -> bool {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a < b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Details;
    use super::*;

    fn probed(cluster: &str, version: &str) -> Input {
        Input::Probed {
            cluster: cluster.into(),
            version: version.into(),
        }
    }

    fn end(version: &str) -> Input {
        Input::InitialEnd {
            version: version.into(),
        }
    }

    fn progress(version: &str) -> Input {
        Input::Progress {
            version: version.into(),
        }
    }

    fn page(version: &str, token: Option<&str>) -> Input {
        Input::Page {
            version: version.into(),
            token: token.map(Into::into),
        }
    }

    fn failed(code: u16) -> Input {
        Input::Failed(Status {
            code,
            ..Status::default()
        })
    }

    fn watch(version: &str) -> Request {
        Request::Watch {
            version: version.into(),
        }
    }

    fn first_page() -> Request {
        Request::Page {
            token: None,
            limited: true,
        }
    }

    fn ended() -> Input {
        Input::Ended {
            lasted: Duration::from_secs(300),
        }
    }

    /// Each script: what happens, and the request that follows it.
    #[test]
    fn scripts() {
        use Request::{Probe, Stream};
        let scripts: Vec<(&str, Vec<(Input, Request)>)> = vec![
            (
                "a streaming list, bookmarks, a timeout of the server",
                vec![
                    (probed("c", "10"), Stream),
                    (progress("3"), Stream),
                    (end("12"), watch("12")),
                    (progress("15"), watch("15")),
                    (ended(), Probe),
                    (probed("c", "16"), watch("15")),
                ],
            ),
            (
                "a server without streaming lists",
                vec![
                    (probed("c", "10"), Stream),
                    (failed(422), first_page()),
                    (
                        page("10", Some("t")),
                        Request::Page {
                            token: Some("t".into()),
                            limited: true,
                        },
                    ),
                    (page("10", None), watch("10")),
                    (failed(410), first_page()),
                ],
            ),
            (
                "a server that ignores what it does not know",
                vec![
                    (probed("c", "1"), Stream),
                    (Input::Silent, Probe),
                    (probed("c", "1"), first_page()),
                ],
            ),
            (
                "410 while paging starts over, and in the end without pages",
                vec![
                    (failed(404), Stream),
                    (failed(400), first_page()),
                    (
                        page("5", Some("t")),
                        Request::Page {
                            token: Some("t".into()),
                            limited: true,
                        },
                    ),
                    (failed(410), first_page()),
                    (failed(410), first_page()),
                    (
                        failed(410),
                        Request::Page {
                            token: None,
                            limited: false,
                        },
                    ),
                    (page("9", None), watch("9")),
                    (failed(410), first_page()),
                ],
            ),
            (
                "410 while watching reads everything anew",
                vec![
                    (probed("c", "1"), Stream),
                    (end("1"), watch("1")),
                    (failed(410), Stream),
                ],
            ),
            (
                "a list that breaks off is not taken for complete",
                vec![
                    (probed("c", "1"), Stream),
                    (Input::Broken, Probe),
                    (probed("c", "1"), Stream),
                ],
            ),
            (
                "etcd was rebuilt: its history is shorter than ours",
                vec![
                    (probed("c", "900"), Stream),
                    (end("900"), watch("900")),
                    (Input::Broken, Probe),
                    (Input::Broken, Probe),
                    (probed("c", "40"), Stream),
                ],
            ),
            (
                "etcd was rebuilt and has overtaken us: another cluster",
                vec![
                    (probed("c", "900"), Stream),
                    (end("900"), watch("900")),
                    (ended(), Probe),
                    (probed("d", "5000"), Stream),
                ],
            ),
            (
                "versions that are no numbers are not compared",
                vec![
                    (probed("c", "x"), Stream),
                    (end("x9"), watch("x9")),
                    (ended(), Probe),
                    (probed("c", "x1"), watch("x9")),
                ],
            ),
            (
                "a version from the future",
                vec![
                    (probed("c", "9"), Stream),
                    (end("9"), watch("9")),
                    (
                        Input::Failed(Status {
                            code: 504,
                            message: "Too large resource version: 9, current: 3".into(),
                            ..Status::default()
                        }),
                        Stream,
                    ),
                ],
            ),
            (
                "not allowed to watch, then allowed",
                vec![
                    (probed("c", "9"), Stream),
                    (failed(403), Stream),
                    (failed(403), Stream),
                    (end("9"), watch("9")),
                    (failed(403), Probe),
                ],
            ),
        ];
        for (what, script) in scripts {
            let mut machine = Machine::new();
            assert_eq!(machine.request(), Probe, "{what}");
            for (at, (input, want)) in script.into_iter().enumerate() {
                machine.step(input.clone());
                assert_eq!(
                    machine.request(),
                    want,
                    "{what}: step {at}, after {input:?}"
                );
            }
        }
    }

    #[test]
    fn only_a_complete_list_counts_as_listed() {
        let mut machine = Machine::new();
        let effects = [
            probed("c", "1"),
            progress("1"),
            Input::Broken,
            probed("c", "1"),
            end("2"),
        ]
        .map(|input| machine.step(input) == Effect::Listed);
        assert_eq!(effects, [false, false, false, false, true]);
    }

    #[test]
    fn an_absent_server_is_asked_at_least_every_second() {
        let mut machine = Machine::new();
        for n in 0..40 {
            let (Effect::Next(delay) | Effect::Refresh(delay)) = machine.step(Input::Broken) else {
                panic!("not a pause");
            };
            assert!(delay <= SOON, "{n}: {delay:?}");
            assert!(n < 6 || delay >= SOON / 2, "{n}: {delay:?}");
        }
    }

    #[test]
    fn a_server_that_starts_may_refuse_for_a_moment() {
        let mut machine = Machine::new();
        machine.step(probed("c", "5"));
        machine.step(end("5"));
        for _ in 0..20 {
            machine.step(Input::Broken);
        }
        let mut waited = Duration::ZERO;
        for n in 0..5 {
            assert_eq!(machine.request(), Request::Probe, "{n}");
            let Effect::Next(delay) = machine.step(failed(403)) else {
                panic!("not a pause");
            };
            waited += delay;
        }
        assert!(waited < Duration::from_secs(2), "{waited:?}");
        assert_eq!(machine.step(probed("c", "6")), Effect::Next(Duration::ZERO));
        assert_eq!(machine.request(), watch("5"));
    }

    #[test]
    fn rejected_credentials_are_read_again_at_once() {
        let mut machine = Machine::new();
        assert_eq!(machine.step(failed(401)), Effect::Refresh(Duration::ZERO));
        assert!(matches!(machine.step(failed(401)), Effect::Refresh(d) if d > Duration::ZERO));
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let busy = |seconds| {
            let details = Some(Details {
                retry_after_seconds: Some(seconds),
            });
            Input::Failed(Status {
                code: 429,
                details,
                ..Status::default()
            })
        };
        assert_eq!(
            Machine::new().step(busy(2)),
            Effect::Next(Duration::from_secs(2))
        );
        assert_eq!(
            Machine::new().step(busy(3600)),
            Effect::Next(Duration::from_secs(5))
        );
    }
}
