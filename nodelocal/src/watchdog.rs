//! Whether a worker that is there gives signs of life, and what is to be done
//! about one that does not.
//!
//! The parent looks every [`LOOK`], and asks for a sign that every thread which
//! serves must give in its turn. A worker that owes five is killed: 10 to 12 s
//! after it began to hang. A resolver has tried twice then (5 s are the default
//! of resolv.conf), and what takes longer than that for everything is of no use
//! to anybody; a kubelet with the usual liveness probe takes three times as
//! long. One that is merely slow gives its signs late, and is left alone.
//!
//! Looks are counted, not seconds. A machine that stands still for a while
//! stops the parent, too, which sees one look more when it goes on; and where
//! the CPU is short both have little of it. Who debugs a worker stops it for as
//! long as they like.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;

/// Between two looks.
pub const LOOK: Duration = Duration::from_secs(2);
/// Signs that may be owed before it is given up.
const PATIENCE: u32 = 5;

/// The signs of life of one worker.
#[derive(Debug, Default)]
pub struct Watchdog {
    /// The signs that were asked for since it gave the last one.
    owed: Vec<Receiver<Option<OwnedFd>>>,
    /// Whether it was said that somebody debugs it.
    said: bool,
    /// Whether it was given up.
    hangs: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finding {
    /// To ask for a sign, and to say so by [`Watchdog::asked`].
    Ask,
    /// Nothing.
    Nothing,
    /// To leave it alone, and to say so: somebody debugs it.
    Traced,
    /// To kill it; found once.
    Hangs,
}

impl Watchdog {
    /// Looks at a worker; `pid` is its process.
    pub fn look(&mut self, pid: u32) -> Finding {
        self.judge(|| is_traced(pid))
    }

    /// A sign was asked for.
    pub fn asked(&mut self, sign: Receiver<Option<OwnedFd>>) {
        self.owed.push(sign);
    }

    /// For how long, at least, it had given no sign of life when it was given
    /// up; zero where it was not.
    #[must_use]
    pub fn silence(&self) -> Duration {
        match self.hangs {
            true => LOOK * PATIENCE,
            false => Duration::ZERO,
        }
    }

    fn judge(&mut self, is_traced: impl FnOnce() -> bool) -> Finding {
        if self.hangs {
            return Finding::Nothing;
        }
        let mut owed = self.owed.iter_mut();
        // Any of them will do: whoever takes three seconds for each is alive.
        if owed.any(|sign| sign.try_recv().is_ok()) {
            self.owed.clear();
        }
        if self.owed.len() < PATIENCE as usize {
            return Finding::Ask;
        }
        if !is_traced() {
            self.hangs = true;
            return Finding::Hangs;
        }
        self.owed.clear();
        match std::mem::replace(&mut self.said, true) {
            true => Finding::Nothing,
            false => Finding::Traced,
        }
    }
}

/// Whether a debugger holds the process (proc(5), `TracerPid`).
fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::{self, Sender};

    use super::*;

    /// Looks once, and asks where that is to be done.
    fn look(
        watchdog: &mut Watchdog,
        is_traced: bool,
        asked: &mut Vec<Sender<Option<OwnedFd>>>,
    ) -> Finding {
        let finding = watchdog.judge(|| is_traced);
        if finding == Finding::Ask {
            let (answer, sign) = oneshot::channel();
            watchdog.asked(sign);
            asked.push(answer);
        }
        finding
    }

    #[test]
    fn one_that_answers_late_is_let_live() {
        let (mut watchdog, mut asked) = (Watchdog::default(), Vec::new());
        for at in 0..100 {
            assert_eq!(look(&mut watchdog, false, &mut asked), Finding::Ask, "{at}");
            // Eight seconds later; nobody may wait for it any more.
            if let Some(late) = asked.len().checked_sub(5) {
                let _ = asked.remove(late).send(None);
            }
        }
        assert!(watchdog.silence().is_zero());
    }

    #[test]
    fn one_that_never_answers_is_given_up_once() {
        let (mut watchdog, mut asked) = (Watchdog::default(), Vec::new());
        let found: Vec<_> = (0..8)
            .map(|_| look(&mut watchdog, false, &mut asked))
            .collect();
        let mut expected = vec![Finding::Ask; 5];
        expected.extend([Finding::Hangs, Finding::Nothing, Finding::Nothing]);
        assert_eq!(found, expected);
        assert_eq!(watchdog.silence(), Duration::from_secs(10));
    }

    #[test]
    fn one_that_is_debugged_is_left_alone_and_that_is_said_once() {
        let (mut watchdog, mut asked) = (Watchdog::default(), Vec::new());
        let found: Vec<_> = (0..12)
            .map(|_| look(&mut watchdog, true, &mut asked))
            .collect();
        let mut expected = vec![Finding::Ask; 12];
        expected[5] = Finding::Traced;
        expected[11] = Finding::Nothing;
        assert_eq!(found, expected);
        assert_eq!(look(&mut watchdog, true, &mut asked), Finding::Ask);
        assert!(!is_traced(std::process::id()));
    }
}
