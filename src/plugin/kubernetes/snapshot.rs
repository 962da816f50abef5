//! The cluster as the answers see it: immutable, shared by all workers,
//! replaced as a whole.
//!
//! Names are given as wire labels in lower case, without their length byte.
//! No look-up allocates. A worker that sleeps should not hold on to a
//! snapshot for long: what it holds stays in memory.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::model::{Endpoint, Pod, Service, ServiceKind, Slice};
use super::table::{IpTable, Table};

/// A state of the cluster.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) seed: FixedState,
    pub(super) namespaces: Table<Arc<str>>,
    pub(super) services: Table<Arc<Entry>>,
    pub(super) imports: Table<Arc<Entry>>,
    pub(super) cluster_ips: IpTable<Tag>,
    pub(super) external_ips: IpTable<Tag>,
    pub(super) endpoint_ips: IpTable<Tag>,
    pub(super) pods: IpTable<Arc<Pod>>,
    pub(super) state: State,
}

/// The upper half of a service's hash: from an address back to its bucket.
pub(super) type Tag = u32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) generation: u64,
    /// How many objects came, changed or went.
    pub(super) changes: u64,
    pub(super) synced: bool,
    pub(super) stale: bool,
    pub(super) serial: u32,
    pub(super) external_serial: u32,
    pub(super) multicluster_serial: u32,
}

impl Snapshot {
    /// A cluster of which nothing is known yet.
    pub fn empty() -> Self {
        Self {
            // Names come from users of the cluster, who must not be able to
            // aim them at one bucket.
            seed: FixedState::with_seed(fastrand::u64(..)),
            namespaces: Table::default(),
            services: Table::default(),
            imports: Table::default(),
            cluster_ips: IpTable::default(),
            external_ips: IpTable::default(),
            endpoint_ips: IpTable::default(),
            pods: IpTable::default(),
            state: State::default(),
        }
    }

    /// Counts published snapshots; two with the same number are the same.
    pub fn generation(&self) -> u64 {
        self.state.generation
    }

    /// Whether every watched collection has been read once.
    pub fn synced(&self) -> bool {
        self.state.synced
    }

    /// Whether this is, at least in part, what a file from an earlier run
    /// said: the API server has not been read yet.
    pub fn stale(&self) -> bool {
        self.state.stale
    }

    /// The SOA serial of cluster zones: Unix time of the last change that
    /// CoreDNS counts, 0 before the first.
    pub fn serial(&self) -> u32 {
        self.state.serial
    }

    /// The SOA serial of `k8s_external` zones.
    pub fn external_serial(&self) -> u32 {
        self.state.external_serial
    }

    /// The SOA serial of multicluster zones.
    pub fn multicluster_serial(&self) -> u32 {
        self.state.multicluster_serial
    }

    /// The SOA serial of a cluster or a multicluster zone.
    pub(super) fn zone_serial(&self, multicluster: bool) -> u32 {
        match multicluster {
            false => self.serial(),
            true => self.multicluster_serial(),
        }
    }

    /// Whether a namespace exists and matches `namespace_labels`.
    pub fn namespace(&self, name: &[u8]) -> bool {
        let hash = self.hash(name, b"");
        self.namespaces
            .bucket(hash)
            .iter()
            .any(|ns| ns.as_bytes() == name)
    }

    /// The namespaces, unordered.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(|ns| &**ns)
    }

    /// What is known under a service's name. The entry may have slices and
    /// no Service, when the Service is gone or filtered out.
    #[inline]
    pub fn service(&self, namespace: &[u8], name: &[u8]) -> Option<&Entry> {
        find(&self.services, self.hash(namespace, name), namespace, name)
    }

    /// What is known under an imported service's name.
    pub fn import(&self, namespace: &[u8], name: &[u8]) -> Option<&Entry> {
        find(&self.imports, self.hash(namespace, name), namespace, name)
    }

    /// The Service that has this cluster IP; the first one, should several.
    pub fn service_by_cluster_ip(&self, ip: IpAddr) -> Option<(&Entry, &Service)> {
        let tags = self.cluster_ips.at(ip).copied();
        tags.flat_map(|tag| self.tagged(tag)).find_map(|entry| {
            let service = entry.service()?;
            service
                .cluster_ips()
                .any(|i| i == ip)
                .then_some((entry, service))
        })
    }

    /// The Services that have this external address.
    pub fn services_by_external_ip(&self, ip: IpAddr) -> impl Iterator<Item = (&Entry, &Service)> {
        let entries = distinct(self.external_ips.at(ip).copied()).flat_map(|tag| self.tagged(tag));
        entries.filter_map(move |entry| {
            let service = entry.service()?;
            service
                .external_ips()
                .any(|i| i == ip)
                .then_some((entry, service))
        })
    }

    /// The ready endpoints that have this address, each with the service
    /// that its slice names and with the slice. The service's object itself
    /// need not exist.
    pub fn endpoints_by_ip(
        &self,
        ip: IpAddr,
    ) -> impl Iterator<Item = (&Entry, &Slice, Endpoint<'_>)> {
        let entries = distinct(self.endpoint_ips.at(ip).copied()).flat_map(|tag| self.tagged(tag));
        let slices = entries.flat_map(|entry| entry.slices().map(move |slice| (entry, slice)));
        slices.flat_map(move |(entry, slice)| {
            slice
                .endpoints_at(ip)
                .map(move |endpoint| (entry, slice, endpoint))
        })
    }

    /// The pods that have this address.
    pub fn pods_by_ip(&self, ip: IpAddr) -> impl Iterator<Item = &Pod> {
        self.pods.at(ip).map(|pod| &**pod)
    }

    /// All Services, unordered.
    pub fn services(&self) -> impl Iterator<Item = (&Entry, &Service)> {
        self.services
            .iter()
            .filter_map(|entry| Some((&**entry, entry.service()?)))
    }

    /// All Services by name, then by namespace: the order of a zone
    /// transfer.
    pub fn sorted_services(&self) -> Vec<(&Entry, &Service)> {
        let mut all: Vec<_> = self.services().collect();
        all.sort_unstable_by(|(a, _), (b, _)| {
            (a.name(), a.namespace()).cmp(&(b.name(), b.namespace()))
        });
        all
    }

    /// All imported services, unordered.
    pub fn imports(&self) -> impl Iterator<Item = (&Entry, &Service)> {
        self.imports
            .iter()
            .filter_map(|entry| Some((&**entry, entry.service()?)))
    }

    /// How many endpoint addresses are known.
    pub fn endpoint_count(&self) -> usize {
        self.endpoint_ips.len()
    }

    /// How many pod addresses are known.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// Whether a zone of both has the same records for all that is known of
    /// its services.
    pub(super) fn shares_services(&self, other: &Self) -> bool {
        self.services.is_same(&other.services)
            && self.imports.is_same(&other.imports)
            && self.namespaces.is_same(&other.namespaces)
    }

    /// What can be told of services by name. It shares what has not changed
    /// since, and nothing else.
    pub(super) fn without_addresses(&self) -> Self {
        Self {
            cluster_ips: IpTable::default(),
            external_ips: IpTable::default(),
            endpoint_ips: IpTable::default(),
            pods: IpTable::default(),
            ..self.clone()
        }
    }

    pub(super) fn hash(&self, namespace: &[u8], name: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(namespace);
        hasher.write(name);
        hasher.finish()
    }

    fn tagged(&self, tag: Tag) -> impl Iterator<Item = &Entry> {
        let bucket = self.services.bucket(u64::from(tag) << 32);
        bucket
            .iter()
            .filter(move |entry| entry.tag() == tag)
            .map(|entry| &**entry)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("state", &self.state)
            .field("namespaces", &self.namespaces.len())
            .field("services", &self.services.len())
            .field("endpoints", &self.endpoint_count())
            .finish_non_exhaustive()
    }
}

fn find<'a>(
    table: &'a Table<Arc<Entry>>,
    hash: u64,
    namespace: &[u8],
    name: &[u8],
) -> Option<&'a Entry> {
    let bucket = table.bucket(hash).iter();
    bucket.map(|entry| &**entry).find(|entry| {
        entry.hash == hash && entry.is_named(name) && entry.namespace.as_bytes() == namespace
    })
}

/// Drops repeats. Several slices of one service may hold the same address;
/// the lists are as long as the services that share an address, so the
/// square does not matter.
fn distinct<I>(tags: I) -> impl Iterator<Item = Tag>
where
    I: Iterator<Item = Tag> + Clone,
{
    let all = tags.clone();
    tags.enumerate().filter_map(move |(at, tag)| {
        let seen = all.clone().take(at).any(|t| t == tag);
        (!seen).then_some(tag)
    })
}

/// All that is known under one service name: the Service and the slices that
/// name it.
///
/// A look-up by name waits for memory more than for anything else, so what
/// decides most answers lies on one line of the cache: the first 64 octets.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Entry {
    pub(super) hash: u64,
    /// The name once more: behind its pointer it would be on another line.
    label: Label,
    brief: Brief,
    namespace: Arc<str>,
    name: Arc<str>,
    service: Option<Arc<Service>>,
    slices: Box<[Arc<Slice>]>,
    /// The addresses of all slices without repeats, for a headless service
    /// where no single slice has just these.
    union: Option<Box<Union>>,
}

const _: () = assert!(std::mem::offset_of!(Entry, name) == 64);

/// A name of up to 31 octets, or the beginning of a longer one.
#[derive(Debug, Clone, Copy)]
struct Label {
    len: u8,
    octets: [u8; Self::ROOM],
}

impl Label {
    const ROOM: usize = 31;

    fn of(name: &str) -> Self {
        let mut octets = [0; Self::ROOM];
        for (slot, octet) in octets.iter_mut().zip(name.bytes()) {
            *slot = octet;
        }
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        Self { len, octets }
    }

    /// The name, if all of it is here.
    fn whole(&self) -> Option<&[u8]> {
        self.octets.get(..self.len.into())
    }
}

/// What most queries want to know of a Service.
#[derive(Debug, Clone, Copy)]
struct Brief {
    /// `None`: there is no Service.
    kind: Option<ServiceKind>,
    has_ports: bool,
    /// Its only cluster address.
    only: Option<Ipv4Addr>,
}

impl Brief {
    fn of(service: &Service) -> Self {
        let only = match (&service.cluster_v4[..], &service.cluster_v6[..]) {
            ([only], []) => Some(*only),
            _ => None,
        };
        Self {
            kind: Some(service.kind),
            has_ports: !service.ports.is_empty(),
            only,
        }
    }
}

#[derive(Debug, Clone)]
struct Union {
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
}

impl Entry {
    pub(super) fn new(
        hash: u64,
        namespace: Arc<str>,
        name: Arc<str>,
        service: Option<Arc<Service>>,
        slices: Box<[Arc<Slice>]>,
    ) -> Self {
        let absent = Brief {
            kind: None,
            has_ports: false,
            only: None,
        };
        let brief = service.as_deref().map_or(absent, Brief::of);
        let union = match brief.kind {
            Some(ServiceKind::Headless) => Union::of(&slices),
            _ => None,
        };
        Self {
            hash,
            label: Label::of(&name),
            brief,
            namespace,
            name,
            service,
            slices,
            union,
        }
    }

    fn is_named(&self, name: &[u8]) -> bool {
        match self.label.whole() {
            Some(label) => label == name,
            None => self.name.as_bytes() == name,
        }
    }

    /// The service's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Service, if there is one.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_deref()
    }

    /// The slices that name this service, sorted by their own names.
    pub fn slices(&self) -> impl ExactSizeIterator<Item = &Slice> {
        self.slices.iter().map(|slice| &**slice)
    }

    /// What the Service answers with, if there is one.
    pub fn kind(&self) -> Option<ServiceKind> {
        self.brief.kind
    }

    /// Whether there is a Service that has a port.
    pub fn has_ports(&self) -> bool {
        self.brief.has_ports
    }

    /// The A RRset at the service's own name: cluster IPs, or the ready
    /// endpoints of a headless service, without repeats.
    pub fn v4(&self) -> &[Ipv4Addr] {
        match (self.brief.kind, &self.brief.only) {
            (Some(ServiceKind::Headless), _) => match (&self.union, &*self.slices) {
                (Some(union), _) => &union.v4,
                (None, [only, ..]) => &only.v4,
                (None, []) => &[],
            },
            (_, Some(only)) => std::slice::from_ref(only),
            _ => self.service().map_or(&[], |service| &service.cluster_v4),
        }
    }

    /// The AAAA RRset at the service's own name.
    pub fn v6(&self) -> &[Ipv6Addr] {
        match (self.brief.kind, &self.brief.only) {
            (Some(ServiceKind::Headless), _) => match (&self.union, &*self.slices) {
                (Some(union), _) => &union.v6,
                (None, [only, ..]) => &only.v6,
                (None, []) => &[],
            },
            (_, Some(_)) => &[],
            _ => self.service().map_or(&[], |service| &service.cluster_v6),
        }
    }

    /// Whether any endpoint is ready.
    pub fn has_endpoints(&self) -> bool {
        self.slices().any(|slice| !slice.is_empty())
    }

    pub(super) fn tag(&self) -> Tag {
        (self.hash >> 32) as Tag
    }

    pub(super) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn shared_service(&self) -> Option<&Arc<Service>> {
        self.service.as_ref()
    }

    pub(super) fn shared_slices(&self) -> &[Arc<Slice>] {
        &self.slices
    }
}

impl Union {
    /// `None` when the first slice alone has the same addresses.
    fn of(slices: &[Arc<Slice>]) -> Option<Box<Self>> {
        let v4 = without_repeats(slices.iter().flat_map(|s| s.v4.iter().copied()));
        let v6 = without_repeats(slices.iter().flat_map(|s| s.v6.iter().copied()));
        let first = slices.first()?;
        let same = *v4 == *first.v4 && *v6 == *first.v6;
        (!same).then(|| {
            Box::new(Self {
                v4: v4.into(),
                v6: v6.into(),
            })
        })
    }
}

fn without_repeats<T: Copy + Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::with_hasher(foldhash::fast::RandomState::default());
    items.filter(|item| seen.insert(*item)).collect()
}
