//! The supervisor's looks at a worker that is there: whether it lives, and
//! whether it serves.

use std::sync::atomic::Ordering::Relaxed;

use tracing::{error, warn};

use super::{Phase, Supervisor};
use crate::control::Order;
use crate::node::Job;
use crate::watchdog::Finding;

/// Looks at which no worker served before clients are left to the cluster DNS,
/// half a minute: a start that waits for the API server is done by then.
const UNSERVED: u32 = 15;

impl Supervisor {
    /// From time to time.
    pub(super) fn look(&mut self) {
        self.look_for_life();
        self.look_for_service();
    }

    fn look_for_life(&mut self) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        match worker.watchdog.look(worker.pid) {
            Finding::Ask => {
                let sign = worker.ask(|id| Order::Beat { id }, &[]);
                worker.watchdog.asked(sign);
            }
            Finding::Nothing => {}
            Finding::Traced => warn!(
                "Worker {} gives no sign of life and is being debugged: leaving it alone",
                worker.pid
            ),
            Finding::Hangs => {
                let silence = worker.watchdog.silence();
                error!(
                    "Worker {} gives no sign of life for {silence:?}: killing it",
                    worker.pid
                );
                worker.serves = false;
                worker.kill();
                self.status.serving.store(false, Relaxed);
                self.status.hangs.fetch_add(1, Relaxed);
            }
        }
    }

    /// A worker that is there and does not come to serve, or does not even end
    /// when it is killed, is as bad as none.
    fn look_for_service(&mut self) {
        let serves = self.worker.as_ref().is_some_and(|worker| worker.serves);
        if serves || !self.claims || self.phase != Phase::Serving {
            self.unserved = 0;
            return;
        }
        self.unserved += 1;
        if self.unserved == UNSERVED {
            error!("No worker comes to serve");
            self.fail_open();
        }
    }

    /// Leaves clients to the cluster DNS.
    pub(super) fn fail_open(&mut self) {
        if !self.status.fail_open.swap(true, Relaxed) {
            error!("Clients are left to the cluster DNS until a worker serves");
        }
        if self.claims {
            self.claims = false;
            self.unclaims = true;
            self.job(Job::Remove);
        }
    }
}
