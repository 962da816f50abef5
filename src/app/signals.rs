//! What the outside tells the process.

use std::io;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::telemetry;

/// A signal that the process acts on in its turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signal {
    /// SIGUSR1.
    Reload,
    /// SIGTERM.
    Terminate,
    /// SIGINT, the first one.
    Interrupt,
}

/// The signals of this process from now on.
pub(super) struct Signals {
    terminate: Stream,
    reload: Stream,
    interrupt: mpsc::UnboundedReceiver<()>,
}

impl Signals {
    /// Traps them; SIGHUP is ignored.
    pub(super) fn trap(pidfile: Option<PathBuf>) -> io::Result<Self> {
        let (interrupts, interrupt) = mpsc::unbounded_channel();
        let ctrl_c = signal(SignalKind::interrupt())?;
        let quit = signal(SignalKind::quit())?;
        let upgrade = signal(SignalKind::user_defined2())?;
        let hangup = signal(SignalKind::hangup())?;
        // These are heard even while a shutdown or a reload takes its time.
        tokio::spawn(interrupted(ctrl_c, interrupts));
        tokio::spawn(quitted(quit, pidfile));
        tokio::spawn(unsupported(upgrade));
        tokio::spawn(ignored(hangup));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            reload: signal(SignalKind::user_defined1())?,
            interrupt,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.reload.recv() => Signal::Reload,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            else => std::future::pending().await,
        }
    }
}

async fn interrupted(mut signals: Stream, first: mpsc::UnboundedSender<()>) {
    signals.recv().await;
    if first.send(()).is_err() {
        // Nobody listens any more: the process is ending already.
        return;
    }
    signals.recv().await;
    info!("SIGINT: Force quit");
    telemetry::flush();
    std::process::exit(2);
}

async fn quitted(mut signals: Stream, pidfile: Option<PathBuf>) {
    signals.recv().await;
    info!("SIGQUIT: Quitting process immediately");
    remove_pid(pidfile.as_deref());
    telemetry::flush();
    std::process::exit(0);
}

/// Takes the file of `-pidfile` away.
pub(super) fn remove_pid(pidfile: Option<&Path>) {
    if let Some(path) = pidfile {
        // It may never have been written.
        let _ = std::fs::remove_file(path);
    }
}

async fn unsupported(mut signals: Stream) {
    while signals.recv().await.is_some() {
        warn!(
            "SIGUSR2: in-place upgrade is not supported; start a second process on the same ports and end this one"
        );
    }
}

async fn ignored(mut signals: Stream) {
    while signals.recv().await.is_some() {}
}
