//! What is served on an address: zones, their chains, and the rules of the
//! server itself around them.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use futures_util::FutureExt;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tracing::error;

use super::ListenAddress;
use super::tally::Tally;
use crate::chain::{BlockInfo, Chain, Exchange, Next, Plugin, Resolver};
use crate::clock;
use crate::metrics::server::{Report, ZoneSeries};
use crate::metrics::{Counter, Family};
use crate::wire::{Edns, Name, NameBuf, Rcode, class, rtype};

static PANICS: LazyLock<Counter> = LazyLock::new(|| {
    Family::counters(
        "coredns_panics_total",
        "A metrics that counts the number of panics.",
        &[],
    )
    .with(&[])
});

/// Makes the counters that a fresh server shows as zero.
pub(super) fn register_metrics() {
    LazyLock::force(&PANICS);
}

/// Plugins that make their whole listener take other classes than IN.
const ANY_CLASS: [&str; 3] = ["chaos", "forward", "proxy"];

/// A server block as one listener serves it.
pub struct Block {
    /// Its zones on this listener, lower case.
    pub zones: Vec<NameBuf>,
    /// Its plugins; none means REFUSED.
    pub chain: Chain,
    /// Which queries it takes; `None` takes all.
    pub view: Option<View>,
    /// Whether a panic ends the process (`debug`).
    pub debug: bool,
    /// Whether a recovered panic is logged with its stack (`errors`).
    pub stacktrace: bool,
}

/// Limits a block to some queries of its zones (the `view` plugin).
#[derive(Clone)]
pub struct View {
    /// Its name, for metrics.
    pub name: String,
    /// Whether the block takes a query. It must not block.
    pub filter: Arc<dyn Fn(&Exchange) -> bool + Send + Sync>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("View").field(&self.name).finish()
    }
}

/// All that is served on one address.
pub struct Listener {
    pub(super) address: ListenAddress,
    /// The address as metrics and logs name it: `dns://:53`.
    label: String,
    blocks: Vec<Block>,
    /// Blocks by zone, in the order of the Corefile.
    zones: HashMap<Box<[u8]>, SmallVec<[usize; 1]>, foldhash::fast::RandomState>,
    /// One bit for each length of a zone's name, so that most suffixes of a
    /// queried name need no look-up.
    lengths: [u64; 4],
    /// Octets of the shortest zone but the root: shorter suffixes are in none.
    shortest: usize,
    /// The blocks of the root, in the order of the Corefile.
    root: SmallVec<[usize; 1]>,
    any_class: bool,
    debug: bool,
    stacktrace: bool,
    /// Identifies the first block; the others follow. See [`BlockInfo::id`].
    first_id: u64,
    /// Ends with the last query that is served by this configuration.
    _alive: Arc<oneshot::Sender<()>>,
}

impl Listener {
    pub(super) fn new(
        address: ListenAddress,
        blocks: Vec<Block>,
        alive: Arc<oneshot::Sender<()>>,
    ) -> Self {
        if blocks.iter().any(|block| block.stacktrace) {
            crate::telemetry::want_stacks();
        }
        static IDS: AtomicU64 = AtomicU64::new(1);
        let mut zones: HashMap<Box<[u8]>, SmallVec<[usize; 1]>, _> = HashMap::default();
        let mut lengths = [0u64; 4];
        let mut shortest = usize::MAX;
        let mut root = SmallVec::new();
        for (index, block) in blocks.iter().enumerate() {
            for zone in &block.zones {
                if zone.name().is_root() {
                    root.push(index);
                    continue;
                }
                let wire = zone.wire();
                shortest = shortest.min(wire.len());
                zones.entry(wire.into()).or_default().push(index);
                if let Some(word) = lengths.get_mut(wire.len() / 64) {
                    *word |= 1 << (wire.len() % 64);
                }
            }
        }
        let any_class = {
            let mut plugins = blocks.iter().flat_map(|block| block.chain.plugins());
            plugins.any(|plugin| ANY_CLASS.contains(&plugin.name()))
        };
        Self {
            label: format!("dns://{address}"),
            any_class,
            debug: blocks.iter().any(|block| block.debug),
            // CoreDNS goes by the last block of a listener.
            stacktrace: blocks.last().is_some_and(|block| block.stacktrace),
            first_id: IDS.fetch_add(blocks.len() as u64, Ordering::Relaxed),
            _alive: alive,
            address,
            blocks,
            zones,
            lengths,
            shortest,
            root,
        }
    }

    /// The address.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The zones that it serves, sorted as text.
    pub fn zones(&self) -> Vec<String> {
        let names = self.blocks.iter().flat_map(|block| &block.zones);
        let mut names: Vec<String> = names.map(NameBuf::to_string).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The block that serves a query; `None` is refused.
    ///
    /// The longest zone wins whose view takes the query. A block without
    /// plugins ends the search. A DS query belongs to the parent side of a
    /// zone cut, so there the shortest zone wins, the root excepted.
    #[inline]
    pub fn select(&self, exchange: &Exchange) -> Option<usize> {
        let ds = exchange.request.qtype() == rtype::DS;
        let mut kept = None;
        let mut rest = Some(exchange.request.name());
        while let Some(zone) = rest.filter(|zone| zone.wire().len() >= self.shortest) {
            for &index in self.blocks_of(zone) {
                if self.is_empty(index) {
                    return None;
                }
                if self.takes(index, exchange) {
                    if !ds {
                        return Some(index);
                    }
                    kept = Some(index);
                }
            }
            rest = zone.parent();
        }
        let mut root = self.root.iter().copied();
        kept.or_else(|| root.find(|index| !self.is_empty(*index) && self.takes(*index, exchange)))
    }

    fn blocks_of(&self, zone: Name<'_>) -> &[usize] {
        let wire = zone.wire();
        let word = self.lengths.get(wire.len() / 64).copied().unwrap_or(0);
        if word & (1 << (wire.len() % 64)) == 0 {
            return &[];
        }
        self.zones.get(wire).map_or(&[], |blocks| blocks)
    }

    fn takes(&self, index: usize, exchange: &Exchange) -> bool {
        let view = self.blocks.get(index).and_then(|block| block.view.as_ref());
        view.is_none_or(|view| (view.filter)(exchange))
    }

    /// All plugins of its blocks.
    pub(super) fn plugins(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.blocks.iter().flat_map(|block| block.chain.plugins())
    }

    fn is_empty(&self, index: usize) -> bool {
        self.blocks
            .get(index)
            .is_none_or(|block| block.chain.is_empty())
    }
}

/// A listener as one worker sees it, with what it counts there.
pub(super) struct Local {
    listener: Arc<Listener>,
    infos: Vec<Rc<BlockInfo>>,
    /// Counts what never reaches a chain.
    dropped: ZoneSeries,
    tally: Tally,
}

impl Local {
    pub(super) fn new(listener: Arc<Listener>) -> Rc<Self> {
        let info = |(index, block): (usize, &Block)| {
            let mut zones = block.zones.clone();
            zones.sort_by_key(|zone| std::cmp::Reverse(zone.wire().len()));
            Rc::new(BlockInfo {
                id: listener.first_id + index as u64,
                server: listener.label.clone(),
                zones,
                view: block
                    .view
                    .as_ref()
                    .map(|view| view.name.clone())
                    .unwrap_or_default(),
                ..BlockInfo::default()
            })
        };
        Rc::new(Self {
            infos: listener.blocks.iter().enumerate().map(info).collect(),
            dropped: ZoneSeries::new(&listener.label, "dropped", "", ""),
            tally: Tally::new(&listener.label, &listener),
            listener,
        })
    }

    /// What its answers are counted by.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Serves a query; afterwards its reply stands in the exchange, unless
    /// the client is to get none.
    pub(super) async fn serve(&self, exchange: &mut Exchange) {
        if exchange.request.qclass() != class::IN && !self.listener.any_class {
            return self.refuse(exchange, Rcode::REFUSED);
        }
        if exchange
            .request
            .edns()
            .is_some_and(|edns| edns.version != 0)
        {
            return bad_version(exchange);
        }
        let index = self.listener.select(exchange);
        let parts = index
            .and_then(|index| Some((self.listener.blocks.get(index)?, self.infos.get(index)?)));
        let Some((block, info)) = parts else {
            return self.refuse(exchange, Rcode::REFUSED);
        };
        exchange.enter(info.clone());
        // A plugin may panic when it is called as well as when it is polled.
        let chain = async { Next::new(&block.chain).reviewed(exchange).await };
        let served = match AssertUnwindSafe(chain).catch_unwind().await {
            Ok(served) => served,
            Err(panic) => return self.recover(exchange, panic),
        };
        let rcode = match &served {
            Ok(rcode) => *rcode,
            Err(failure) => failure.rcode,
        };
        let unwritten = matches!(
            rcode,
            Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP
        );
        if unwritten && exchange.reply().is_none() {
            exchange.answer().set_rcode(rcode);
            if let Some(ede) = served.err().and_then(|failure| failure.into_reason().ede) {
                exchange.explain(ede);
            }
        }
    }

    fn recover(&self, exchange: &mut Exchange, panic: Box<dyn std::any::Any + Send>) {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(message), _) => message,
            (_, Some(message)) => message.as_str(),
            _ => "",
        };
        if self.listener.debug {
            // The panic hook has printed it; as under Go, that is the end.
            crate::telemetry::flush();
            std::process::exit(2);
        }
        let label = &self.listener.label;
        error!("Recovered from panic in server: {label:?} {message}");
        if let Some(stack) = self
            .listener
            .stacktrace
            .then(crate::telemetry::last_panic)
            .flatten()
        {
            crate::telemetry::print(stack);
        }
        PANICS.inc();
        self.refuse(exchange, Rcode::SERVFAIL);
    }

    /// Answers with a code alone, and counts the query as one that no chain saw.
    fn refuse(&self, exchange: &mut Exchange, rcode: Rcode) {
        let size = {
            let reply = exchange.answer();
            reply.set_rcode(rcode);
            reply.wire_len()
        };
        self.dropped.report(&Report {
            proto: exchange.proto,
            ipv6: exchange.client.is_ipv6(),
            qtype: exchange.request.qtype(),
            dnssec_ok: exchange.request.dnssec_ok(),
            request_size: exchange.request.wire_len(),
            response_size: size,
            rcode,
            seconds: clock::now().since(exchange.arrived).as_secs_f64(),
        });
    }
}

/// BADVERS with an OPT of our own that says version 0 (RFC 6891 section
/// 6.1.3) and, as CoreDNS's, a size of 0.
fn bad_version(exchange: &mut Exchange) {
    exchange.request.clear_edns();
    let reply = exchange.answer();
    reply.set_rcode(Rcode::BADVERS);
    *reply.edns_or_insert(0) = Edns::default();
}

impl Resolver for Local {
    fn resolve<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(self.serve(exchange))
    }
}

#[cfg(test)]
#[path = "listener/tests.rs"]
mod tests;
