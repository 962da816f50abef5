//! Figures once a second, for as long as somebody watches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::figures::Figures;
use super::reading::Reading;
use crate::configuration::History;

/// Pages that are served at a time. Each costs one message a second.
pub(super) const MOST_WATCHERS: usize = 16;

const INTERVAL: Duration = Duration::from_secs(1);
/// A browser that takes longer for one message has gone, or may come again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Begins a stream: how long a browser waits before it comes again, in milliseconds.
const PREAMBLE: &str = "retry: 2000\n\n";

/// What all pages are sent.
pub(super) struct Live {
    history: Arc<History>,
    places: Arc<Semaphore>,
    /// The latest event; empty before the first.
    events: watch::Sender<Bytes>,
    /// Whether figures are being gathered.
    gathering: Mutex<bool>,
}

impl Live {
    pub(super) fn new(history: Arc<History>) -> Self {
        Self {
            history,
            places: Arc::new(Semaphore::new(MOST_WATCHERS)),
            events: watch::Sender::new(Bytes::new()),
            gathering: Mutex::new(false),
        }
    }

    /// A stream of events from now on, on the runtime of the caller; `None`
    /// where too many watch already.
    pub(super) fn watch(self: &Arc<Self>) -> Option<Channel<Bytes>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let events = {
            let mut gathering = self.gathering();
            let events = self.events.subscribe();
            if !std::mem::replace(&mut *gathering, true) {
                tokio::spawn(gather(Arc::downgrade(self)));
            }
            events
        };
        let (sender, body) = Channel::new(1);
        tokio::spawn(send(sender, events, place));
        Some(body)
    }

    /// Whether nobody watches any more; then gathering is over.
    fn is_alone(&self) -> bool {
        let mut gathering = self.gathering();
        let alone = self.events.receiver_count() == 0;
        if alone {
            *gathering = false;
            // Old by the time that somebody comes.
            self.events.send_replace(Bytes::new());
        }
        alone
    }

    fn gathering(&self) -> MutexGuard<'_, bool> {
        self.gathering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the last page, and with the configuration that has one.
async fn gather(live: Weak<Live>) {
    let mut before: Option<Reading> = None;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(live) = live.upgrade() else {
            return;
        };
        if live.is_alone() {
            return;
        }
        let reading = Reading::take();
        let figures = Figures::new(&live.history, before.as_ref(), &reading);
        before = Some(reading);
        live.events.send_replace(figures.event());
    }
}

/// Sends events until the page has gone.
async fn send(
    mut page: Sender<Bytes>,
    mut events: watch::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    let mut next = Bytes::from_static(PREAMBLE.as_bytes());
    // One that was gathered for somebody else.
    events.mark_changed();
    loop {
        if !next.is_empty() && !matches!(timeout(PATIENCE, page.send_data(next)).await, Ok(Ok(())))
        {
            return;
        }
        if events.changed().await.is_err() {
            return;
        }
        next = events.borrow_and_update().clone();
    }
}
