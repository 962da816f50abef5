//! What has changed between two versions of the zone (RFC 1995 section 4).

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Kubernetes;
use super::snapshot::{Entry, Snapshot};
use super::soa;
use super::versions::{Old, Version};
use super::xfr::{push_entry, server_record};
use crate::wire::{Name, NameBuf, Record};

/// Owner, type and RDATA to the record: a set has no repeats.
type Records = HashMap<(Vec<u8>, u16, Vec<u8>), Record, RandomState>;

impl Kubernetes {
    /// The differences from `old` to `new`, which have the same name `servers`:
    /// only the services that differ are looked at.
    pub(super) fn differences(
        &self,
        zone: Name<'_>,
        multicluster: bool,
        old: &Old,
        new: &Version,
        servers: &[(NameBuf, IpAddr)],
    ) -> Vec<Record> {
        let (before, after) = touched(&old.snapshot, &new.snapshot, multicluster);
        let mut gone = self.records(zone, &old.snapshot, &before, servers);
        let mut come = self.records(zone, &new.snapshot, &after, servers);
        gone.retain(|key, was| match come.get(key) {
            Some(is) if is.ttl == was.ttl => {
                come.remove(key);
                false
            }
            _ => true,
        });
        let soa = |serial| soa::record(zone, self.ttl, serial);
        let (was, is) = (soa(old.serial), soa(new.serial()));
        let mut records = vec![is.clone(), was];
        records.extend(gone.into_values());
        records.push(is.clone());
        records.extend(come.into_values());
        records.push(is);
        records
    }

    fn records(
        &self,
        zone: Name<'_>,
        snapshot: &Snapshot,
        entries: &[&Entry],
        servers: &[(NameBuf, IpAddr)],
    ) -> Records {
        // A server's address may be a service's too, whose TTL then counts,
        // and stays when the service is hidden.
        let mut records: VecDeque<Record> = servers.iter().map(server_record).collect();
        for entry in entries {
            let namespace = entry.namespace().as_bytes();
            if self.rules.exposed(snapshot, namespace) {
                push_entry(self, zone, entry, &mut records);
            }
        }
        let keyed = records.into_iter().map(|record| {
            let owner = record.owner.wire().to_vec();
            ((owner, record.rtype, record.rdata.clone()), record)
        });
        keyed.collect()
    }
}

/// The services that may have other records in the one than in the other.
fn touched<'s>(
    old: &'s Snapshot,
    new: &'s Snapshot,
    multicluster: bool,
) -> (Vec<&'s Entry>, Vec<&'s Entry>) {
    let table = |snapshot: &'s Snapshot| match multicluster {
        false => &snapshot.services,
        true => &snapshot.imports,
    };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (was, is) in table(old).differing(table(new)) {
        before.extend(only(was, is));
        after.extend(only(is, was));
    }
    let namespaces = |snapshot: &'s Snapshot| snapshot.namespaces().collect::<HashSet<_>>();
    if !old.namespaces.is_same(&new.namespaces) {
        let (was, is) = (namespaces(old), namespaces(new));
        let moved: HashSet<&str> = was.symmetric_difference(&is).copied().collect();
        let within = |snapshot: &'s Snapshot| {
            let entries = table(snapshot).iter().map(|entry| &**entry);
            entries
                .filter(|entry| moved.contains(entry.namespace()))
                .collect::<Vec<_>>()
        };
        if !moved.is_empty() {
            before.extend(within(old));
            after.extend(within(new));
        }
    }
    (before, after)
}

/// What is in `own` and not in `other`.
fn only<'s>(own: &'s [Arc<Entry>], other: &'s [Arc<Entry>]) -> impl Iterator<Item = &'s Entry> {
    let known = |entry: &Arc<Entry>| other.iter().any(|other| Arc::ptr_eq(entry, other));
    own.iter()
        .filter(move |entry| !known(entry))
        .map(|entry| &**entry)
}
