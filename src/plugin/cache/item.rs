use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Asked;
use crate::chain::Exchange;
use crate::clock::Tick;
use crate::wire::{Rcode, Reply, Request, Stored, flags};

/// The two caches, as the `type` label of metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    Success,
    Denial,
}

/// A reply that is kept.
#[derive(Debug)]
pub(super) struct Item {
    stored: Stored,
    pub(super) class: Class,
    /// How long it is good for, in seconds.
    pub(super) ttl: u32,
    since: Tick,
    /// Whether it holds what was asked for, at the end of the CNAME chain.
    pub(super) answering: bool,
    /// The last item in this place that did, under `prefer_positive`.
    last_known_good: Option<Arc<Self>>,
    /// The wildcard that the answer was made from, as metadata has it.
    wildcard: Option<Box<str>>,
    /// No other item was kept under its key since.
    alone: AtomicBool,
    hits: Hits,
    refreshing: AtomicBool,
    /// Milliseconds of the cache's life before which no refresh is tried; 0 where none failed.
    retry_after: AtomicU64,
}

/// What is known when a reply is kept.
pub(super) struct Terms {
    pub(super) class: Class,
    pub(super) ttl: u32,
    pub(super) now: Tick,
    pub(super) answering: bool,
    pub(super) wildcard: Option<Box<str>>,
}

/// The name of the metadata that says which wildcard an answer was made from.
pub(super) const WILDCARD: &str = "zone/wildcard";

impl Item {
    pub(super) fn new(reply: &Reply, terms: Terms) -> Self {
        Self {
            stored: Stored::new(reply),
            class: terms.class,
            ttl: terms.ttl,
            since: terms.now,
            answering: terms.answering,
            last_known_good: None,
            wildcard: terms.wildcard,
            alone: AtomicBool::new(true),
            hits: Hits::default(),
            refreshing: AtomicBool::new(false),
            retry_after: AtomicU64::new(0),
        }
    }

    pub(super) fn remember(&mut self, good: Option<Arc<Self>>) {
        self.last_known_good = good;
    }

    /// Whether it is for the question of `request`: keys are hashes.
    pub(super) fn answers(&self, request: &Request) -> bool {
        self.stored.answers(request)
    }

    /// Itself, or the item before it, whichever holds what was asked for.
    pub(super) fn answering_item(self: &Arc<Self>, request: &Request) -> Option<Arc<Self>> {
        let good = |item: &&Arc<Self>| item.answering && item.answers(request);
        let candidates = [Some(self), self.last_known_good.as_ref()];
        candidates.into_iter().flatten().find(good).cloned()
    }

    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    pub(super) fn wildcard(&self) -> Option<&str> {
        self.wildcard.as_deref()
    }

    /// How long ago it was kept.
    pub(super) fn age(&self, now: Tick) -> Duration {
        now.since(self.since)
    }

    pub(super) fn rcode(&self) -> Rcode {
        self.stored.rcode()
    }

    /// Whole seconds until it expires; not above 0 once it has.
    pub(super) fn ttl_left(&self, now: Tick) -> i64 {
        let age = self.age(now).as_secs();
        i64::from(self.ttl) - i64::try_from(age).unwrap_or(i64::MAX)
    }

    /// Answers with its records. AA is always set: some resolvers of old
    /// discard answers without it.
    pub(super) fn answer(&self, exchange: &mut Exchange, asked: &Asked, ttl: u32) {
        let reply = exchange.restore(&self.stored, ttl);
        let mut kept = flags::RA;
        if asked.dnssec_ok || asked.authentic {
            kept |= flags::AD;
        }
        reply.set_flag(flags::AA | (self.stored.flags() & kept), true);
        if let Some(wildcard) = &self.wildcard {
            exchange.metadata.push((WILDCARD, wildcard.to_string()));
        }
    }

    /// Whether workers may keep it at hand: a look-up by its key finds it.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    /// Another item came under its key: only a look-up knows which one counts.
    pub(super) fn crowd(&self) {
        self.alone.store(false, Ordering::Relaxed);
    }

    /// Counts a hit and returns how many there were without a gap longer than `within`.
    pub(super) fn hit(&self, life: Duration, within: Duration) -> u64 {
        self.hits.count(life, within)
    }

    /// Takes over the hits of the item that it replaces.
    pub(super) fn take_hits(&self, other: &Self) {
        self.hits
            .0
            .store(other.hits.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Begins a refresh, unless one runs or the last one failed less than
    /// `recheck` ago. It ends when the guard is dropped.
    pub(super) fn begin_refresh(
        self: &Arc<Self>,
        life: Duration,
        recheck: Duration,
    ) -> Option<Refreshing> {
        let waits = self.retry_after.load(Ordering::Relaxed) > millis(life);
        if (!recheck.is_zero() && waits) || self.refreshing.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Refreshing {
            item: self.clone(),
            retry_after: match recheck.is_zero() {
                true => 0,
                false => millis(life + recheck),
            },
        })
    }
}

/// A refresh under way. Dropped, it has failed.
pub(super) struct Refreshing {
    item: Arc<Item>,
    retry_after: u64,
}

impl Refreshing {
    /// It has failed only now: the wait for the next begins here.
    pub(super) fn fail(mut self, life: Duration, recheck: Duration) {
        if !recheck.is_zero() {
            self.retry_after = millis(life + recheck);
        }
    }

    /// It has succeeded.
    pub(super) fn succeed(mut self) {
        self.retry_after = 0;
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.item
            .retry_after
            .store(self.retry_after, Ordering::Relaxed);
        self.item.refreshing.store(false, Ordering::Relaxed);
    }
}

fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX)
}

/// The last hit in milliseconds of the cache's life (40 bits) and the hits
/// (24 bits). Two workers that count at once may count one hit.
#[derive(Debug, Default)]
struct Hits(AtomicU64);

const HIT_BITS: u32 = 24;
const HIT_MASK: u64 = (1 << HIT_BITS) - 1;

impl Hits {
    fn count(&self, life: Duration, within: Duration) -> u64 {
        let now = millis(life);
        let before = self.0.load(Ordering::Relaxed);
        let (last, hits) = (before >> HIT_BITS, before & HIT_MASK);
        let hits = match now.saturating_sub(last) <= millis(within) && before != 0 {
            true => (hits + 1).min(HIT_MASK),
            false => 1,
        };
        self.0.store(now << HIT_BITS | hits, Ordering::Relaxed);
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_count_until_a_gap() {
        let hits = Hits::default();
        let minute = Duration::from_secs(60);
        for (seconds, count) in [(0, 1), (0, 2), (60, 3), (119, 4), (180, 1), (181, 2)] {
            assert_eq!(
                hits.count(Duration::from_secs(seconds), minute),
                count,
                "{seconds}"
            );
        }
    }
}
