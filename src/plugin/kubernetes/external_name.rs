//! ExternalName Services whose target lies outside the zone.

use smallvec::SmallVec;

use super::records::fqdn;
use crate::chain::Exchange;
use crate::wire::{Name, NameBuf, Owner, RData, Record, Reply, Section, flags};

/// The CNAMEs from the name asked to the name that is left to be looked up.
#[derive(Debug)]
pub(super) struct Chain {
    ttl: u32,
    targets: SmallVec<[NameBuf; 1]>,
    /// The name outside the zone, once the chain has left it.
    pub(super) target: NameBuf,
}

/// How many CNAMEs may stand before the one to be added.
const MAX_CHAIN: usize = 10;

impl Chain {
    pub(super) fn new(ttl: u32) -> Self {
        Self {
            ttl,
            targets: SmallVec::new(),
            target: NameBuf::new(),
        }
    }

    /// Adds a CNAME to `host`, the target of the last name so far. `None`:
    /// it leads below itself, back to where the chain has been, or too far.
    pub(super) fn extend(&mut self, qname: Name<'_>, host: &str) -> Option<NameBuf> {
        let target = fqdn(host)?;
        let last = self.targets.last().map_or(qname, NameBuf::name);
        let loops = target.name().is_under(last) || self.targets.contains(&target);
        if loops || self.targets.len() > MAX_CHAIN {
            return None;
        }
        self.targets.push(target.clone());
        Some(target)
    }

    /// Appends the CNAME records.
    pub(super) fn push(&self, reply: &mut Reply) {
        let mut owner = Owner::Question;
        for target in &self.targets {
            reply.push(
                Section::Answer,
                owner,
                self.ttl,
                &RData::Cname(target.name()),
            );
            owner = Owner::Name(target.name());
        }
    }

    /// Looks the target up through the whole server and writes the CNAMEs
    /// with what came back into the answer of `exchange`. False: nothing came
    /// back, and there is no answer.
    pub(super) async fn resolve(&self, exchange: &mut Exchange) -> bool {
        let qtype = exchange.request.qtype();
        let Some(found) = exchange.lookup(self.target.name(), qtype).await else {
            return false;
        };
        let records: Vec<Record> = found
            .section(Section::Answer)
            .filter_map(|view| view.to_record().ok())
            .collect();
        let reply = exchange.answer();
        reply.set_flag(flags::AA, true);
        reply.set_flag(flags::TC, found.has(flags::TC));
        self.push(reply);
        for record in &records {
            reply.push_record(record);
        }
        true
    }
}
