//! Asking again for what is kept: before it expires, or after.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::item::{Item, Refreshing};
use super::keep::{is_complete, is_refresh, is_usable};
use super::{Asked, Cache};
use crate::chain::{Exchange, Next, Rest, Served};
use crate::clock::{self, Tick};
use crate::wire::{Rcode, flags};

/// What asking again for an expired item came to.
enum Verified {
    /// There is something newer; it is kept unless it may not be.
    Newer(Option<Arc<Item>>),
    /// The expired item is the best there is.
    Nothing,
}

impl Cache {
    /// Whether this hit on an item with `left` seconds shall cause a refresh.
    pub(super) fn wants_prefetch(&self, item: &Item, left: i64, now: Tick) -> bool {
        let prefetch = &self.spec.prefetch;
        if prefetch.amount == 0 {
            return false;
        }
        let hits = item.hit(now.since(self.born), prefetch.within);
        let due = (u64::from(item.ttl) * u64::from(prefetch.percentage)).div_ceil(100);
        hits >= prefetch.amount && u64::try_from(left).is_ok_and(|left| left <= due)
    }

    /// Asks again in the background, unless somebody does already.
    pub(super) fn refresh(
        self: &Arc<Self>,
        exchange: &Exchange,
        next: Next<'_>,
        asked: Asked,
        item: Arc<Item>,
        now: Tick,
        stale: bool,
    ) {
        let recheck = match stale {
            true => self.spec.stale.recheck,
            false => Duration::ZERO,
        };
        let life = now.since(self.born);
        let Some(refreshing) = item.begin_refresh(life, recheck) else {
            return;
        };
        let cache = self.clone();
        let mut own = exchange.detach();
        let rest = next.to_rest();
        // Nobody reads the reply, so AD need not be hidden from anybody.
        let asked = Asked {
            authentic: true,
            ..asked
        };
        tokio::task::spawn_local(async move {
            cache.series(&own).prefetches();
            own.request.set_flag(flags::AD, true);
            // A reply stands in the exchange, or it does not: the code says no more.
            let _ = rest.next().serve(&mut own).await;
            let refreshed = match stale {
                true => matches!(cache.verified(&mut own, &asked), Verified::Newer(_)),
                false => {
                    cache.keep(&mut own, &asked, true);
                    true
                }
            };
            cache.end(refreshing, refreshed, recheck);
            if refreshed && let Some(newer) = cache.newest(asked.key) {
                newer.take_hits(&item);
            }
        });
    }

    /// Asks again for an expired item and answers with what is newer, else
    /// with the item.
    pub(super) async fn verify(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        next: Next<'_>,
        asked: Asked,
        item: Arc<Item>,
        now: Tick,
    ) -> Served {
        let recheck = self.spec.stale.recheck;
        let track = !recheck.is_zero();
        let refreshing = match track {
            true => item.begin_refresh(now.since(self.born), recheck),
            false => None,
        };
        if !track || refreshing.is_some() {
            let timeout = self.spec.stale.verify.unwrap_or_default();
            let newer = match timeout.is_zero() {
                true => self.verify_now(exchange, next, &asked, refreshing).await,
                false => {
                    let receiver = self.verify_later(exchange, next, asked, refreshing);
                    let answer = tokio::time::timeout(timeout, receiver).await;
                    self.take_over(exchange, &asked, answer.ok().and_then(Result::ok))
                }
            };
            if let Some(served) = newer {
                return served;
            }
        }
        self.answer_stale(exchange, &asked, &item);
        Ok(Rcode::NOERROR)
    }

    async fn verify_now(
        &self,
        exchange: &mut Exchange,
        next: Next<'_>,
        asked: &Asked,
        refreshing: Option<Refreshing>,
    ) -> Option<Served> {
        exchange.request.set_flag(flags::AD, true);
        let served = next.serve(exchange).await;
        exchange.request.set_flag(flags::AD, asked.authentic);
        let newer = matches!(self.verified(exchange, asked), Verified::Newer(_));
        if let Some(refreshing) = refreshing {
            self.end(refreshing, newer, self.spec.stale.recheck);
        }
        newer.then_some(served)
    }

    /// Asks in the background, for longer than the client may have to wait.
    fn verify_later(
        self: &Arc<Self>,
        exchange: &Exchange,
        next: Next<'_>,
        asked: Asked,
        refreshing: Option<Refreshing>,
    ) -> oneshot::Receiver<(Exchange, Served, Verified)> {
        let (sender, receiver) = oneshot::channel();
        let cache = self.clone();
        let mut own = exchange.detach();
        own.proto = exchange.proto;
        let rest: Rest = next.to_rest();
        tokio::task::spawn_local(async move {
            own.request.set_flag(flags::AD, true);
            let served = rest.next().serve(&mut own).await;
            let verified = cache.verified(&mut own, &asked);
            if let Some(refreshing) = refreshing {
                let newer = matches!(verified, Verified::Newer(_));
                cache.end(refreshing, newer, cache.spec.stale.recheck);
            }
            // The client may have gone on with the stale answer.
            let _ = sender.send((own, served, verified));
        });
        receiver
    }

    /// Answers with what was asked for in the background.
    fn take_over(
        &self,
        exchange: &mut Exchange,
        asked: &Asked,
        answer: Option<(Exchange, Served, Verified)>,
    ) -> Option<Served> {
        match answer? {
            (_, _, Verified::Nothing) => None,
            (_, _, Verified::Newer(Some(item))) => {
                let left = match self.spec.keep_ttl {
                    true => i64::from(item.ttl),
                    false => item.ttl_left(clock::now()),
                };
                item.answer(exchange, asked, u32::try_from(left).unwrap_or(0));
                Some(Ok(Rcode::NOERROR))
            }
            (mut own, served, Verified::Newer(None)) => {
                exchange.swap_reply(&mut own);
                Some(served)
            }
        }
    }

    /// Keeps a reply if it is better than an expired item.
    fn verified(&self, exchange: &mut Exchange, asked: &Asked) -> Verified {
        let (request, reply) = exchange.parts_mut();
        let Some(reply) = reply.filter(|reply| is_complete(request, reply)) else {
            return Verified::Nothing;
        };
        let newer = match self.spec.prefer_positive {
            true => reply.is_live() || is_usable(request, reply),
            false => is_refresh(request, reply),
        };
        if newer {
            return Verified::Newer(self.keep(exchange, asked, true));
        }
        if self.spec.prefer_positive {
            self.keep(exchange, asked, true);
        }
        Verified::Nothing
    }

    fn end(&self, refreshing: Refreshing, refreshed: bool, recheck: Duration) {
        match refreshed {
            true => refreshing.succeed(),
            false => refreshing.fail(clock::now().since(self.born), recheck),
        }
    }

    fn newest(&self, key: u64) -> Option<Arc<Item>> {
        let denial = self.store.denial.get(key);
        denial.or_else(|| self.store.success.get(key))
    }
}
