//! The supervisor's dealings with its workers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{DRAIN, Phase, Supervisor};
use crate::child::{Child, Start};
use crate::control::{Order, Report};
use crate::holder::Key;
use crate::node::Job;

impl Supervisor {
    /// Starts a worker, or sees to it that it is tried again.
    pub(super) fn start_worker(&mut self) {
        self.restart = None;
        self.lives += 1;
        self.holder.begin();
        let warm = self.warm.take();
        let start = Start {
            program: &self.program,
            arguments: &self.arguments,
            oom_score: self.oom_score.as_deref(),
            ledger: &self.ledger,
            warm: warm.as_ref(),
            listener: self.listener.as_ref(),
            backed: self.predecessor.is_some(),
        };
        match Child::start(self.lives, &start, &self.events) {
            Ok(child) => self.worker = Some(child),
            Err(error) => self.failed(&format!("no start: {error}"), Duration::ZERO),
        }
    }

    /// A worker said something.
    pub(super) fn heard(&mut self, life: u64, report: Report, files: Vec<OwnedFd>) {
        let Some(worker) = self.worker.as_mut().filter(|worker| worker.life == life) else {
            return self.heard_at_its_end(life, report);
        };
        match report {
            Report::Open { id, key } => self.open(id, key),
            Report::Close { address } => self.holder.close(address),
            Report::Done { id } => worker.answered(id, files),
            Report::Serving if worker.serves => {}
            Report::Serving => {
                worker.serves = true;
                let pid = worker.pid;
                self.serving(pid);
            }
        }
    }

    /// A worker that was told to stop said something.
    fn heard_at_its_end(&self, life: u64, report: Report) {
        let worker = self.stopping.iter().find(|worker| worker.life == life);
        // It may not even have begun to serve, and would wait for its sockets.
        // That it closes this and that is no news.
        if let (Some(worker), Report::Open { id, .. }) = (worker, report) {
            let errno = rustix::io::Errno::CANCELED.raw_os_error();
            worker.order(Order::Refused { id, errno }, &[]);
        }
    }

    fn open(&mut self, id: u32, key: Key) {
        let Some(worker) = &self.worker else { return };
        match self.holder.open(key) {
            Ok(socket) => worker.order(Order::Opened { id }, &[socket.as_fd()]),
            Err(error) => {
                let errno = error.raw_os_error();
                let errno = errno.unwrap_or(rustix::io::Errno::IO.raw_os_error());
                worker.order(Order::Refused { id, errno }, &[]);
            }
        }
    }

    /// The first configuration of a worker is in force. Whoever reads so in
    /// the log finds it on the pages and in the pidfile.
    fn serving(&mut self, worker: u32) {
        self.holder.settle();
        self.restarts.serving(Instant::now());
        self.status.serving.store(true, Relaxed);
        let failed_open = self.status.fail_open.swap(false, Relaxed);
        self.write_pid();
        info!("Worker {worker} serves");
        if failed_open {
            info!("A worker serves again: claiming interface and rules");
        }
        if self.phase == Phase::Serving {
            self.claim();
        }
    }

    /// Sees to it that the node's addresses come here.
    pub(super) fn claim(&mut self) {
        self.claims = true;
        self.unclaims = false;
        self.job(Job::Ensure);
    }

    /// A worker ended: the exit code where that is the end of all.
    pub(super) fn ended(&mut self, life: u64, code: Option<i32>, how: &str) -> Option<u8> {
        if let Some(at) = self.stopping.iter().position(|worker| worker.life == life) {
            self.stopping.swap_remove(at);
            self.code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            if code != Some(0) {
                warn!("A worker that was told to stop ended with {how}");
            }
            return match self.phase {
                Phase::Stopping => self.stopped(),
                _ => None,
            };
        }
        let worker = self.worker.take_if(|worker| worker.life == life)?;
        self.status.serving.store(false, Relaxed);
        match self.phase {
            Phase::Serving => {
                let silence = worker.watchdog.silence();
                let how = match silence.is_zero() {
                    true => how.to_owned(),
                    false => format!("{how} after no sign of life for {silence:?}"),
                };
                self.failed(&how, silence);
            }
            _ => error!("Worker {} ended with {how} while we end", worker.pid),
        }
        None
    }

    /// A worker ended that should not have, after so long a silence.
    fn failed(&mut self, how: &str, silence: Duration) {
        self.status.restarts.fetch_add(1, Relaxed);
        self.status.ended(how);
        let now = Instant::now();
        let decision = self.restarts.ended(now, silence);
        if decision.fail_open {
            if !self.status.fail_open.load(Relaxed) {
                error!("No worker stays up");
            }
            self.fail_open();
        }
        if decision.wait.is_zero() {
            warn!("A worker ended with {how}; starting another");
            self.start_worker();
        } else {
            warn!(
                "A worker ended with {how}; starting another in {:?}",
                decision.wait
            );
            self.restart = Some(now + decision.wait);
        }
    }

    /// Lets the worker finish.
    pub(super) fn stop_worker(&mut self) {
        self.restart = None;
        self.status.serving.store(false, Relaxed);
        if let Some(worker) = self.worker.take() {
            worker.order(Order::Stop, &[]);
            self.stopping.push(worker);
        }
        self.deadline = Some(Instant::now() + DRAIN);
    }
}
