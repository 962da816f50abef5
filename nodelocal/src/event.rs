//! What the supervisor hears of, from the rooms of the parent and from the system.

use std::io;
use std::os::fd::OwnedFd;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::control::Report;
use crate::handover::{Caller, Word};

/// Everything that the supervisor acts on, but time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker, by its number, said something.
    Report(u64, Report, Vec<OwnedFd>),
    /// A worker ended: its exit code, and how it is put.
    Ended(u64, Option<i32>, String),
    /// Interface and rules are there, as far as they can be.
    Claimed,
    /// Nothing new is led here any more.
    Released,
    /// They are gone.
    Removed,
    /// Somebody wants the worker's metrics: a file with them. Dropped where
    /// there are none.
    Scrape(oneshot::Sender<oneshot::Receiver<Option<OwnedFd>>>),
    /// Another instance has called, or what is left of one.
    Caller(Caller),
    /// The instance that takes over, by its number, said something or is gone.
    Successor(u64, Option<Word>),
    /// The instance that we take over from said something or is gone.
    Predecessor(Option<Word>),
    /// A signal: the end, by this name.
    Terminate(&'static str),
    /// A signal: read the configuration anew.
    Reload,
}

/// Traps the signals of this process.
pub(crate) fn signals(events: &UnboundedSender<Event>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut reload = signal(SignalKind::user_defined1())?;
    let ignored = [SignalKind::hangup(), SignalKind::user_defined2()];
    let ignored = ignored.map(signal);
    let events = events.clone();
    tokio::spawn(async move {
        let _ignored = ignored;
        loop {
            let event = tokio::select! {
                Some(()) = terminate.recv() => Event::Terminate("SIGTERM"),
                Some(()) = interrupt.recv() => Event::Terminate("SIGINT"),
                Some(()) = quit.recv() => Event::Terminate("SIGQUIT"),
                Some(()) = reload.recv() => Event::Reload,
                else => return,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    });
    Ok(())
}
