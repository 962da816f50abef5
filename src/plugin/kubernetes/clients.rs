//! Which search list a client walks, for `autopath @kubernetes` (CoreDNS
//! `plugin/kubernetes/autopath.go`).
//!
//! CoreDNS takes the first pod that ever had the client's address. Here the
//! address must be that of one pod alone, whose list is the usual one; any
//! other client walks its list itself, query by query, and gets the same
//! answers.

use std::net::IpAddr;

use super::model::SearchList;
use super::snapshot::Snapshot;
use super::{Kubernetes, Zone};
use crate::chain::{AutoPather, Directory, Exchange, Search};
use crate::wire::NameBuf;
use crate::zones;

/// A longer list is cut by kubelet (`MaxDNSSearchPaths`).
const MAX_DOMAINS: usize = 32;
/// So is one with more characters (`MaxDNSSearchListChars`).
const MAX_CHARS: usize = 2048;

impl Kubernetes {
    /// Takes note of what nodes search, so that denials there are known for
    /// what they are.
    pub(super) fn know_nodes(&mut self, host: Vec<NameBuf>) {
        self.host_search = host;
    }

    /// Makes the search lists of pods, on nodes that search `host` themselves.
    pub(super) fn know_clients(&mut self, host: &[NameBuf]) {
        for zone in &mut self.zones {
            zone.search = behind_namespace(zone, host).unwrap_or_default();
        }
    }
}

/// The list behind its first domain; `None` where no kubelet has it, or cuts it.
fn behind_namespace(zone: &Zone, host: &[NameBuf]) -> Option<Vec<NameBuf>> {
    if zone.multicluster || zones::is_reverse(zone.name.name()) {
        return None;
    }
    let mut list = vec![below(b"svc", &zone.name)?, zone.name.clone()];
    for domain in host {
        if !list.contains(domain) {
            list.push(domain.clone());
        }
    }
    // A namespace has 63 octets at most and stands in front of the first one.
    let octets = list.iter().map(|domain| domain.wire().len());
    let chars = 64 + octets.clone().sum::<usize>() + octets.take(1).sum::<usize>();
    (list.len() < MAX_DOMAINS && chars <= MAX_CHARS).then_some(list)
}

impl Directory for Kubernetes {
    /// Of a pod, if pods are followed; else of the endpoint that has the
    /// address. One that objects of several namespaces have, such as that of
    /// a node, belongs to none of them.
    fn namespace_of(&self, client: IpAddr) -> Option<String> {
        self.view.read(|snapshot| {
            // What an earlier run knew of addresses need not be so any more.
            if !snapshot.synced() {
                return None;
            }
            let mut pods = snapshot
                .pods_by_ip(client)
                .map(|pod| &*pod.namespace)
                .peekable();
            let found = match pods.peek() {
                Some(_) => only(pods),
                None => only(
                    snapshot
                        .endpoints_by_ip(client)
                        .map(|(entry, ..)| entry.namespace()),
                ),
            };
            found.map(str::to_owned)
        })
    }

    fn host_search(&self) -> &[NameBuf] {
        &self.host_search
    }
}

/// What all of them are, if there is one and all are the same.
fn only<'s>(mut all: impl Iterator<Item = &'s str>) -> Option<&'s str> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

impl AutoPather for Kubernetes {
    fn search(&self, exchange: &Exchange) -> Option<Search<'_>> {
        let (zone, _) = self.zone_of(exchange.request.name())?;
        let services = zone.search.first()?;
        self.view.read(|snapshot| {
            let (namespace, ndots) = client(snapshot, exchange)?;
            Some(Search {
                first: below(namespace.as_bytes(), services)?,
                rest: &zone.search,
                ndots: Some(ndots),
            })
        })
    }
}

/// The namespace of the pod that asks and its `ndots`.
fn client<'s>(snapshot: &'s Snapshot, exchange: &Exchange) -> Option<(&'s str, u8)> {
    // What an earlier run knew of addresses need not be so any more.
    if !snapshot.synced() {
        return None;
    }
    let mut pods = snapshot.pods_by_ip(exchange.client.ip());
    match (pods.next(), pods.next()) {
        (Some(pod), None) => match pod.search {
            SearchList::Cluster { ndots } => Some((&pod.namespace, ndots)),
            SearchList::Unknown => None,
        },
        _ => None,
    }
}

fn below(label: &[u8], zone: &NameBuf) -> Option<NameBuf> {
    let mut name = NameBuf::new();
    name.push_label(label).ok()?;
    name.push_name(zone.name()).ok()?;
    Some(name)
}
