//! What a name stands for in a snapshot (CoreDNS `findServices`, `findPods`
//! and `findMultiClusterServices`).

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::host::{self, Wanted};
use super::model::{Endpoint, Port, Service, ServiceKind, Slice};
use super::names::{Asked, Subtree, labels_are};
use super::snapshot::{Entry, Snapshot};
use super::spec::PodMode;
use crate::denial::{self, Denial};

/// The options that decide what exists.
#[derive(Debug)]
pub(super) struct Rules {
    /// The only namespaces to show, as written; empty shows all.
    pub(super) namespaces: HashSet<Vec<u8>>,
    pub(super) pods: PodMode,
    pub(super) endpoint_pod_names: bool,
    pub(super) ignore_empty_service: bool,
    pub(super) zonal: bool,
}

impl Rules {
    /// Whether `namespaces` lets a namespace through.
    pub(super) fn configured(&self, namespace: &[u8]) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// Whether names in a namespace exist.
    #[inline]
    pub(super) fn exposed(&self, snapshot: &Snapshot, namespace: &[u8]) -> bool {
        self.configured(namespace) && snapshot.namespace(namespace)
    }

    /// An endpoint's label or labels.
    pub(super) fn label<'e>(&self, endpoint: &Endpoint<'e>) -> host::Label<'e> {
        host::label(endpoint, self.endpoint_pod_names)
    }
}

/// What a name stands for.
pub(super) enum Found<'s, 'q> {
    /// The name does not exist.
    Missing(Denial),
    /// It exists and has no records of any type.
    Empty,
    /// The cluster IPs of a service, by way of at least one port.
    Cluster {
        entry: &'s Entry,
        ports: PortFilter<'q>,
    },
    /// Ready endpoints: at least one, but for a name with a topology zone.
    Endpoints(Endpoints<'s, 'q>),
    /// Another name.
    Alias(&'s str),
    /// A pod; the count says how many pods have the address.
    Pod(IpAddr, usize),
}

impl<'s> Found<'s, '_> {
    /// The service whose addresses are all that the name stands for.
    pub(super) fn whole(&self) -> Option<&'s Entry> {
        match self {
            Self::Cluster { entry, .. } => Some(entry),
            Self::Endpoints(endpoints) if endpoints.is_whole() => Some(endpoints.entry),
            _ => None,
        }
    }
}

/// Finds what `asked` stands for. The name must not lie in a reverse zone.
pub(super) fn find<'s, 'q>(
    rules: &Rules,
    snapshot: &'s Snapshot,
    multicluster: bool,
    asked: &Asked<'q>,
) -> Found<'s, 'q> {
    let Some(subtree) = asked.subtree else {
        return Found::Empty;
    };
    if !rules.exposed(snapshot, asked.namespace) {
        return Found::Missing(without_namespace(asked));
    }
    match subtree {
        Subtree::Pods => pod(rules, snapshot, asked),
        Subtree::Services if asked.service.is_empty() => Found::Empty,
        Subtree::Services => service(rules, snapshot, multicluster, asked),
    }
}

fn pod<'s, 'q>(rules: &Rules, snapshot: &Snapshot, asked: &Asked<'q>) -> Found<'s, 'q> {
    match rules.pods {
        PodMode::Disabled => Found::Missing(Denial::NoSuchHost),
        _ if asked.service.is_empty() => Found::Empty,
        PodMode::Insecure => match host::undashed(asked.service) {
            Some(ip) => Found::Pod(ip, 1),
            None => Found::Missing(Denial::NoSuchHost),
        },
        PodMode::Verified => {
            let Some(ip) = host::undashed_exactly(asked.service) else {
                return Found::Missing(Denial::NoSuchHost);
            };
            let here = |namespace: &str| namespace.as_bytes().eq_ignore_ascii_case(asked.namespace);
            match snapshot
                .pods_by_ip(ip)
                .filter(|pod| here(&pod.namespace))
                .count()
            {
                0 => Found::Missing(Denial::NoSuchHost),
                count => Found::Pod(ip, count),
            }
        }
    }
}

fn service<'s, 'q>(
    rules: &Rules,
    snapshot: &'s Snapshot,
    multicluster: bool,
    asked: &Asked<'q>,
) -> Found<'s, 'q> {
    let entry = match multicluster {
        false => snapshot.service(asked.namespace, asked.service),
        true => snapshot.import(asked.namespace, asked.service),
    };
    let Some((entry, kind)) = entry.and_then(|entry| Some((entry, entry.kind()?))) else {
        return Found::Missing(without_service(snapshot, asked));
    };
    let missing = || Found::Missing(without_endpoint(asked));
    let ports = PortFilter {
        name: asked.port,
        protocol: asked.protocol,
    };
    match kind {
        ServiceKind::ExternalName => match entry.service() {
            Some(service) if asked.is_bare() && is_name(&service.external_name) => {
                Found::Alias(&service.external_name)
            }
            _ => missing(),
        },
        ServiceKind::ClusterIp if rules.ignore_empty_service && !entry.has_endpoints() => missing(),
        // A cluster IP lies in no topology zone.
        ServiceKind::ClusterIp if !asked.zone.is_empty() => missing(),
        ServiceKind::ClusterIp if asked.endpoint.is_empty() => match ports.admits_one_of(entry) {
            true => Found::Cluster { entry, ports },
            false => missing(),
        },
        ServiceKind::ClusterIp | ServiceKind::Headless => {
            let named = !asked.endpoint.is_empty();
            let mut endpoints = Endpoints {
                entry,
                wanted: named.then(|| Wanted::new(asked.endpoint, rules.endpoint_pod_names)),
                cluster: (multicluster && named).then_some(asked.cluster),
                zone: asked.zone,
                ports,
            };
            if endpoints.any() {
                return Found::Endpoints(endpoints);
            }
            match (asked.zone.is_empty(), asked.prefer) {
                (true, _) => return missing(),
                (false, true) => endpoints.zone = &[],
                (false, false) => {}
            }
            Found::Endpoints(endpoints)
        }
    }
}

/// Why a name in a namespace that does not exist is denied.
fn without_namespace(asked: &Asked<'_>) -> Denial {
    let in_front = 1 + usize::from(!asked.endpoint.is_empty());
    let searched = asked.service.is_empty()
        || asked.namespace == Subtree::Services.label().as_bytes()
        || denial::is_top_level(asked.namespace, in_front)
        || !is_protocol(asked.protocol);
    match searched {
        true => Denial::SearchPath,
        false => Denial::NoSuchNamespace,
    }
}

/// Why a name is denied whose namespace exists and whose Service does not.
fn without_service(snapshot: &Snapshot, asked: &Asked<'_>) -> Denial {
    let searched = match asked.endpoint.is_empty() {
        true => !is_protocol(asked.protocol),
        false => {
            asked.service == Subtree::Services.label().as_bytes()
                || denial::is_top_level(asked.service, 1)
                || snapshot.namespace(asked.service)
        }
    };
    match searched {
        true => Denial::SearchPath,
        false => Denial::NoSuchService,
    }
}

/// Why a name is denied whose Service exists.
fn without_endpoint(asked: &Asked<'_>) -> Denial {
    match is_protocol(asked.protocol) {
        true => Denial::NoSuchHost,
        false => Denial::SearchPath,
    }
}

/// Whether a Service's port may have this protocol; so it may where none is named.
fn is_protocol(label: &[u8]) -> bool {
    matches!(label, b"" | b"tcp" | b"udp" | b"sctp")
}

/// Whether the target of an ExternalName is one: an address is not.
fn is_name(target: &str) -> bool {
    target.parse::<IpAddr>().is_err()
}

/// Which ports a name speaks of; what is empty admits all.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortFilter<'q> {
    name: &'q [u8],
    protocol: &'q [u8],
}

impl PortFilter<'_> {
    /// Whether it speaks of this one.
    pub(super) fn admits(&self, port: &Port) -> bool {
        let is =
            |asked: &[u8], is: &str| asked.is_empty() || is.as_bytes().eq_ignore_ascii_case(asked);
        is(self.name, &port.name) && is(self.protocol, port.protocol.label())
    }

    /// Whether it speaks of a port of this Service.
    fn admits_one_of(&self, entry: &Entry) -> bool {
        let admitted = |service: &Service| service.ports.iter().any(|port| self.admits(port));
        match self.is_open() {
            true => entry.has_ports(),
            false => entry.service().is_some_and(admitted),
        }
    }

    fn is_open(&self) -> bool {
        self.name.is_empty() && self.protocol.is_empty()
    }
}

/// Ready endpoints of a service, those that a name speaks of.
pub(super) struct Endpoints<'s, 'q> {
    entry: &'s Entry,
    wanted: Option<Wanted<'q>>,
    cluster: Option<&'q [u8]>,
    zone: &'q [u8],
    ports: PortFilter<'q>,
}

impl<'s> Endpoints<'s, '_> {
    /// The service that they belong to.
    pub(super) fn entry(&self) -> &'s Entry {
        self.entry
    }

    /// Whether these are all endpoints of the service.
    pub(super) fn is_whole(&self) -> bool {
        self.wanted.is_none()
            && self.cluster.is_none()
            && self.zone.is_empty()
            && self.ports.is_open()
    }

    /// The slices, endpoints and ports that match, each combination once.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'s Slice, Endpoint<'s>, &'s Port)> {
        let slices = self.entry.slices().filter(|slice| self.admits_slice(slice));
        let endpoints =
            slices.flat_map(|slice| slice.endpoints().map(move |endpoint| (slice, endpoint)));
        let matching = endpoints.filter(|(_, endpoint)| self.admits(endpoint));
        matching.flat_map(|(slice, endpoint)| {
            let ports = slice.ports().iter().filter(|port| self.ports.admits(port));
            ports.map(move |port| (slice, endpoint, port))
        })
    }

    fn any(&self) -> bool {
        match self.is_whole() {
            true => self.entry.has_endpoints(),
            false => self.iter().next().is_some(),
        }
    }

    fn admits_slice(&self, slice: &Slice) -> bool {
        let same = |cluster: &[u8]| slice.cluster().as_bytes().eq_ignore_ascii_case(cluster);
        self.cluster.is_none_or(same) && slice.ports().iter().any(|port| self.ports.admits(port))
    }

    fn admits(&self, endpoint: &Endpoint<'_>) -> bool {
        (self.zone.is_empty() || labels_are(self.zone, endpoint.zone))
            && self
                .wanted
                .as_ref()
                .is_none_or(|wanted| wanted.is(endpoint))
    }
}

/// Tells what was seen before. A few values stay on the stack.
pub(super) struct Seen<T> {
    few: SmallVec<[T; 8]>,
    many: HashSet<T, foldhash::fast::RandomState>,
}

impl<T: Copy + Eq + Hash> Seen<T> {
    pub(super) fn new() -> Self {
        Self {
            few: SmallVec::new(),
            many: HashSet::default(),
        }
    }

    /// Notes a value; false if it is known.
    pub(super) fn insert(&mut self, value: T) -> bool {
        if self.few.contains(&value) {
            return false;
        }
        if self.few.len() < self.few.inline_size() {
            self.few.push(value);
            return true;
        }
        self.many.insert(value)
    }
}
