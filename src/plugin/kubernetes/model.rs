//! What the plugin keeps of an API object: the fields that end up in an
//! answer, packed. Everything else is dropped while the object is decoded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use smallvec::SmallVec;

/// The API collections that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Service.
    Services,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlices,
    /// `v1` Namespace.
    Namespaces,
    /// `v1` Pod, for `pods verified` and `node`.
    Pods,
    /// `multicluster.x-k8s.io/v1alpha1` ServiceImport.
    ServiceImports,
    /// EndpointSlices that carry `multicluster.kubernetes.io/service-name`.
    ImportSlices,
}

impl Kind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::Services,
        Self::EndpointSlices,
        Self::Namespaces,
        Self::Pods,
        Self::ServiceImports,
        Self::ImportSlices,
    ];

    /// The resource as RBAC rules name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices | Self::ImportSlices => "endpointslices",
            Self::Namespaces => "namespaces",
            Self::Pods => "pods",
            Self::ServiceImports => "serviceimports",
        }
    }

    /// The API group as RBAC rules name it; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Services | Self::Namespaces | Self::Pods => "",
            Self::EndpointSlices | Self::ImportSlices => "discovery.k8s.io",
            Self::ServiceImports => "multicluster.x-k8s.io",
        }
    }

    /// The path of the collection over all namespaces.
    pub fn path(self) -> &'static str {
        match self {
            Self::Services => "/api/v1/services",
            Self::EndpointSlices | Self::ImportSlices => "/apis/discovery.k8s.io/v1/endpointslices",
            Self::Namespaces => "/api/v1/namespaces",
            Self::Pods => "/api/v1/pods",
            Self::ServiceImports => "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports",
        }
    }
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// No protocol: the stand-in port of an object without ports.
    Unset,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name as an SRV owner spells it without the underscore, in lower
    /// case; empty for [`Protocol::Unset`].
    pub fn label(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Reads the API's spelling, whose letter case does not matter here.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unset, Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|p| p.label().eq_ignore_ascii_case(text))
    }
}

/// One port of a Service or an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// The port's name; empty when it has none.
    pub name: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number; `None` where CoreDNS carries −1, which yields no SRV
    /// record but counts as a candidate (no ports at all, or a null port).
    pub number: Option<u16>,
}

impl Port {
    /// The stand-in that an object without ports gets, so that its addresses
    /// still combine with one port.
    pub fn none() -> Self {
        Self {
            name: "".into(),
            protocol: Protocol::Unset,
            number: None,
        }
    }
}

/// A list of ports. Lists are shared: most Services of a cluster have one of
/// a few.
pub type Ports = Arc<[Port]>;

/// What a Service answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// Cluster IPs: ClusterIP, NodePort, LoadBalancer, ClusterSetIP.
    ClusterIp,
    /// Its ready endpoints: `clusterIP: None`, or a headless import.
    Headless,
    /// A CNAME to [`Service::external_name`].
    ExternalName,
}

/// Whose endpoints changed, as `service_kind` of the programming latency tells
/// Services apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Programmed {
    /// Cluster IPs, which the endpoints do not change.
    ClusterIp,
    /// The records are the endpoints; a selector picks them.
    HeadlessWithSelector,
    /// The records are the endpoints; somebody writes them.
    HeadlessWithoutSelector,
}

impl Programmed {
    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster_ip",
            Self::HeadlessWithSelector => "headless_with_selector",
            Self::HeadlessWithoutSelector => "headless_without_selector",
        }
    }
}

/// Where a Service is reached from outside: `spec.externalIPs`, then each
/// load balancer ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// An address.
    Ip(IpAddr),
    /// An ingress that has a hostname and no address.
    Hostname(Box<str>),
}

/// A Service or a ServiceImport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What it answers with.
    pub kind: ServiceKind,
    /// Whether a selector says which pods its endpoints are.
    pub selected: bool,
    /// IPv4 cluster addresses.
    pub cluster_v4: SmallVec<[Ipv4Addr; 4]>,
    /// IPv6 cluster addresses.
    pub cluster_v6: SmallVec<[Ipv6Addr; 1]>,
    /// Its ports. A Service without any has [`Port::none`]; an import
    /// without any has an empty list.
    pub ports: Ports,
    /// The target of an ExternalName Service, else empty.
    pub external_name: Box<str>,
    /// External addresses.
    pub external: Box<[External]>,
}

impl Service {
    /// All cluster addresses, IPv4 first.
    pub fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.cluster_v4.iter().copied().map(IpAddr::V4);
        v4.chain(self.cluster_v6.iter().copied().map(IpAddr::V6))
    }

    /// External addresses, hostnames left out.
    pub fn external_ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.external.iter().filter_map(|e| match e {
            External::Ip(ip) => Some(*ip),
            External::Hostname(_) => None,
        })
    }
}

/// One string for each address of a slice, in one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    ends: Box<[u32]>,
    text: Box<str>,
}

impl Texts {
    /// Packs the strings; `None` when all of them are empty.
    pub fn pack<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Box<Self>> {
        let mut text = String::new();
        let mut ends = Vec::new();
        for t in texts {
            text.push_str(t);
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        (!text.is_empty()).then(|| {
            Box::new(Self {
                ends: ends.into(),
                text: text.into(),
            })
        })
    }

    /// The `index`th string; empty beyond the end.
    pub fn at(&self, index: usize) -> &str {
        let start = index
            .checked_sub(1)
            .map_or(Some(0), |i| self.ends.get(i).copied());
        let (Some(start), Some(end)) = (start, self.ends.get(index)) else {
            return "";
        };
        self.text.get(start as usize..*end as usize).unwrap_or("")
    }
}

/// One ready address of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The address.
    pub ip: IpAddr,
    /// The endpoint's `hostname`; empty when it has none.
    pub hostname: &'a str,
    /// The name of the pod behind it, when it is shorter than 64 bytes and
    /// pod names are kept; else empty.
    pub pod: &'a str,
    /// Its topology zone in lower case, when zones are kept; else empty.
    pub zone: &'a str,
}

/// The ready endpoints of one EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Slice {
    // The answer at the service's own name comes first, to lie on one line of
    // the cache.
    pub(super) v4: Box<[Ipv4Addr]>,
    pub(super) v6: Box<[Ipv6Addr]>,
    pub(super) ports: Ports,
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) service: Arc<str>,
    pub(super) cluster: Option<Arc<str>>,
    pub(super) hostnames: Option<Box<Texts>>,
    pub(super) pods: Option<Box<Texts>>,
    pub(super) zones: Option<Box<Texts>>,
}

impl Slice {
    /// Its ports; [`Port::none`] when the object has none.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// Ready IPv4 addresses in the object's order. The same address may
    /// stand in it twice, with two hostnames.
    pub fn v4(&self) -> &[Ipv4Addr] {
        &self.v4
    }

    /// Ready IPv6 addresses in the object's order.
    pub fn v6(&self) -> &[Ipv6Addr] {
        &self.v6
    }

    /// How many addresses are ready.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether no address is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cluster that a multicluster slice came from; empty for others.
    pub fn cluster(&self) -> &str {
        self.cluster.as_deref().unwrap_or("")
    }

    /// The `index`th endpoint, IPv4 addresses first.
    pub fn endpoint(&self, index: usize) -> Option<Endpoint<'_>> {
        let ip = match self.v4.get(index) {
            Some(ip) => IpAddr::V4(*ip),
            None => IpAddr::V6(*self.v6.get(index.checked_sub(self.v4.len())?)?),
        };
        Some(Endpoint {
            ip,
            hostname: at(&self.hostnames, index),
            pod: at(&self.pods, index),
            zone: at(&self.zones, index),
        })
    }

    /// All endpoints, IPv4 addresses first.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint<'_>> + '_ {
        (0..self.len()).map_while(|index| self.endpoint(index))
    }

    /// The endpoints that have this address.
    pub fn endpoints_at(&self, ip: IpAddr) -> impl Iterator<Item = Endpoint<'_>> + '_ {
        self.endpoints().filter(move |e| e.ip == ip)
    }

    pub(super) fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.v4.iter().copied().map(IpAddr::V4);
        v4.chain(self.v6.iter().copied().map(IpAddr::V6))
    }

    /// Whether a reader of the zone could tell the two apart: what CoreDNS
    /// compares to decide if the zone's serial moves. Pod names are not part
    /// of it.
    pub(super) fn equivalent(&self, other: &Self) -> bool {
        self.v4 == other.v4
            && self.v6 == other.v6
            && self.ports == other.ports
            && self.hostnames == other.hostnames
            && self.zones == other.zones
            && self.cluster == other.cluster
    }
}

fn at(texts: &Option<Box<Texts>>, index: usize) -> &str {
    texts.as_ref().map_or("", |t| t.at(index))
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// `status.podIP`; the second address of a dual-stack pod is not kept,
    /// as in CoreDNS.
    pub ip: Option<IpAddr>,
    /// Its labels, when the configuration asks for them.
    pub labels: Option<Box<Labels>>,
    /// What is known of its resolv.conf.
    pub search: SearchList,
}

/// The search list that kubelet writes into a pod's resolv.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchList {
    /// That of `dnsPolicy: ClusterFirst`: namespace, `svc`, zone, then what
    /// the node has.
    Cluster {
        /// Names with so many dots or more are tried as they are first.
        ndots: u8,
    },
    /// Another one, or the address is not this pod's alone.
    #[default]
    Unknown,
}

impl SearchList {
    /// Of a pod that says nothing else (kubelet, `defaultDNSOptions`).
    pub const DEFAULT: Self = Self::Cluster { ndots: 5 };
}

// A cluster may have 150,000 of them.
const _: () = assert!(size_of::<Pod>() == 72);

/// The labels of a pod in the API's order.
pub type Labels = [(Box<str>, Box<str>)];

/// One decoded object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    Slice(Slice),
    /// A Namespace, by name.
    Namespace(Arc<str>),
    /// A Pod.
    Pod(Pod),
    /// A Pod that is being deleted: it keeps the record that it has, if any,
    /// until it is gone.
    TerminatingPod {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Box<str>,
    },
    /// A ServiceImport.
    Import(Service),
    /// An EndpointSlice of another cluster.
    ImportSlice(Slice),
}

impl Object {
    /// The collection that it belongs to.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Services,
            Self::Slice(_) => Kind::EndpointSlices,
            Self::Namespace(_) => Kind::Namespaces,
            Self::Pod(_) | Self::TerminatingPod { .. } => Kind::Pods,
            Self::Import(_) => Kind::ServiceImports,
            Self::ImportSlice(_) => Kind::ImportSlices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_give_back_what_was_packed() {
        let packed = Texts::pack(["web-0", "", "web-2"].into_iter()).expect("not all empty");
        let got: Vec<&str> = (0..5).map(|i| packed.at(i)).collect();
        assert_eq!(got, ["web-0", "", "web-2", "", ""]);
        assert_eq!(Texts::pack(["", ""].into_iter()), None);
    }

    #[test]
    fn protocols_are_read_in_any_letter_case() {
        for (text, want) in [
            ("TCP", Some(Protocol::Tcp)),
            ("udp", Some(Protocol::Udp)),
            ("Sctp", Some(Protocol::Sctp)),
            ("", Some(Protocol::Unset)),
            ("QUIC", None),
        ] {
            assert_eq!(Protocol::parse(text), want, "{text}");
        }
    }
}
