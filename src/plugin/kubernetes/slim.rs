//! From the API's JSON to what the plugin keeps, in one pass and with
//! strings borrowed from the text. Fields that no answer needs (most of an
//! object, `managedFields` above all) are skipped, not stored.
//!
//! An object that makes no sense is refused by itself; an address or a port
//! that makes no sense is left out of its object. Either is reported, so
//! that it can be counted and named once in the log.

mod raw;

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::model::{
    External, Kind, Labels, Object, Pod, Port, Ports, Protocol, SearchList, Service, ServiceKind,
    Slice, Texts,
};

/// What is kept beyond the always needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Names of the pods behind endpoints (`endpoint_pod_names`).
    pub pod_names: bool,
    /// Topology zones of endpoints (`zonal`).
    pub zones: bool,
    /// Labels of pods (metadata of clients).
    pub pod_labels: bool,
}

/// Why an object, or a part of one, was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Not JSON, or a field of another type than the API says.
    Json,
    /// No name, or one that is not a DNS label where it must be one.
    Name,
    /// An address that is none.
    Address,
    /// A port outside of 1–65535, or a Service's port without a number.
    Port,
    /// A protocol other than TCP, UDP and SCTP.
    Protocol,
    /// A hostname longer than a label may be: the endpoint keeps its address
    /// and is named after it.
    Hostname,
    /// More endpoints than the API accepts in one slice (1,000). They are
    /// served all the same.
    TooManyEndpoints,
    /// A trigger time that is not RFC 3339.
    TriggerTime,
}

impl Reason {
    /// The value of a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Name => "name",
            Self::Address => "address",
            Self::Port => "port",
            Self::Protocol => "protocol",
            Self::Hostname => "hostname",
            Self::TooManyEndpoints => "too_many_endpoints",
            Self::TriggerTime => "trigger_time",
        }
    }
}

/// One thing that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Why.
    pub reason: Reason,
    /// What stood there.
    pub detail: String,
}

/// A decoded object.
#[derive(Debug)]
pub struct Decoded {
    /// The object; `None` for a slice that names no service.
    pub object: Option<Object>,
    /// Its namespace, empty for a namespace itself.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// When the change that a slice shows was made
    /// (`endpoints.kubernetes.io/last-change-trigger-time`).
    pub triggered: Option<SystemTime>,
    /// What was left out of it.
    pub flaws: Vec<Flaw>,
}

/// An object that cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("{namespace}/{name}: {}", flaw.detail)]
pub struct Refused {
    /// Its namespace, as far as it could be read.
    pub namespace: String,
    /// Its name, as far as it could be read.
    pub name: String,
    /// Why.
    pub flaw: Flaw,
}

/// Decodes objects. Namespaces and lists of ports that it has seen are
/// shared between the objects that it makes.
#[derive(Default)]
pub struct Decoder {
    keep: Keep,
    strings: Interner<str>,
    ports: Interner<[Port]>,
}

impl Decoder {
    /// A decoder that keeps this much.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    /// Decodes one object of `kind`.
    pub fn decode(&mut self, kind: Kind, json: &[u8]) -> Result<Decoded, Refused> {
        match kind {
            Kind::Services => self.read(json, Self::service),
            Kind::EndpointSlices => self.read(json, |d, raw, out| d.slice(raw, out, false)),
            Kind::ImportSlices => self.read(json, |d, raw, out| d.slice(raw, out, true)),
            Kind::Namespaces => self.read(json, |d, raw: raw::Namespace<'_>, out| {
                let name = raw.metadata.name();
                label(name, "name").map_err(|flaw| out.refuse(flaw))?;
                Ok(Some(Object::Namespace(d.strings.share(name))))
            }),
            Kind::Pods => self.read(json, Self::pod),
            Kind::ServiceImports => self.read(json, Self::import),
        }
    }

    /// Reads who an object is, for one that is gone.
    pub fn identify(&mut self, json: &[u8]) -> Result<Decoded, Refused> {
        self.read(json, |_, raw: raw::Namespace<'_>, out| {
            read_trigger(&raw.metadata, out);
            Ok(None)
        })
    }

    fn read<'a, T, F>(&mut self, json: &'a [u8], convert: F) -> Result<Decoded, Refused>
    where
        T: Deserialize<'a> + raw::HasMeta<'a>,
        F: FnOnce(&mut Self, T, &mut Decoded) -> Result<Option<Object>, Refused>,
    {
        // Checked once as a whole, strings need not be checked one by one.
        let text = std::str::from_utf8(json).map_err(serde::de::Error::custom);
        let raw: Result<T, serde_json::Error> = text.and_then(serde_json::from_str);
        let raw: T = raw.map_err(|error| {
            // The rest may be readable enough to say whose fault it is.
            let meta = serde_json::from_slice::<raw::Namespace<'_>>(json);
            let meta = meta.map(|object| object.metadata).unwrap_or_default();
            Refused {
                namespace: meta.namespace().to_owned(),
                name: meta.name().to_owned(),
                flaw: Flaw {
                    reason: Reason::Json,
                    detail: error.to_string(),
                },
            }
        })?;
        let meta = raw.meta();
        let mut out = Decoded {
            object: None,
            namespace: meta.namespace().to_owned(),
            name: meta.name().to_owned(),
            version: meta.version().to_owned(),
            triggered: None,
            flaws: Vec::new(),
        };
        if out.name.is_empty() {
            return Err(out.refuse(Flaw::new(Reason::Name, "no metadata.name")));
        }
        out.object = convert(self, raw, &mut out)?;
        Ok(out)
    }

    fn service(
        &mut self,
        raw: raw::Service<'_>,
        out: &mut Decoded,
    ) -> Result<Option<Object>, Refused> {
        let name = raw.metadata.name();
        label(name, "name").map_err(|flaw| out.refuse(flaw))?;
        let spec = raw.spec.unwrap_or_default();
        let mut texts = spec.cluster_ips.unwrap_or_default();
        if texts.is_empty() {
            texts.extend(spec.cluster_ip);
        }
        let headless = texts.first().is_some_and(|ip| ip.as_str() == "None");
        let external_name = spec
            .kind
            .is_some_and(|kind| kind.as_str() == "ExternalName");
        let kind = match (external_name, headless) {
            (true, _) => ServiceKind::ExternalName,
            (false, true) => ServiceKind::Headless,
            (false, false) => ServiceKind::ClusterIp,
        };
        let mut service = Service {
            namespace: self.strings.share(raw.metadata.namespace()),
            name: name.into(),
            kind,
            selected: spec.selector.is_some_and(|selector| selector.0),
            cluster_v4: Default::default(),
            cluster_v6: Default::default(),
            ports: self.service_ports(spec.ports.unwrap_or_default(), true, out),
            external_name: spec
                .external_name
                .as_ref()
                .map_or("", raw::Str::as_str)
                .into(),
            external: [].into(),
        };
        set_cluster_ips(&mut service, &texts, out);

        let mut external = Vec::new();
        for text in spec.external_ips.unwrap_or_default() {
            external.extend(address(text.as_str(), out).map(External::Ip));
        }
        let balancer = raw.status.and_then(|status| status.load_balancer);
        for ingress in balancer.and_then(|b| b.ingress).unwrap_or_default() {
            let ip = ingress.ip.as_ref().map_or("", raw::Str::as_str);
            let host = ingress.hostname.as_ref().map_or("", raw::Str::as_str);
            if !ip.is_empty() {
                external.extend(address(ip, out).map(External::Ip));
            } else if !host.is_empty() {
                external.push(External::Hostname(host.into()));
            }
        }
        service.external = external.into();
        Ok(Some(Object::Service(service)))
    }

    fn import(
        &mut self,
        raw: raw::Import<'_>,
        out: &mut Decoded,
    ) -> Result<Option<Object>, Refused> {
        let name = raw.metadata.name();
        label(name, "name").map_err(|flaw| out.refuse(flaw))?;
        let spec = raw.spec.unwrap_or_default();
        let headless = spec.kind.is_some_and(|kind| kind.as_str() == "Headless");
        let mut import = Service {
            namespace: self.strings.share(raw.metadata.namespace()),
            name: name.into(),
            kind: if headless {
                ServiceKind::Headless
            } else {
                ServiceKind::ClusterIp
            },
            selected: true,
            cluster_v4: Default::default(),
            cluster_v6: Default::default(),
            ports: self.service_ports(spec.ports.unwrap_or_default(), false, out),
            external_name: "".into(),
            external: [].into(),
        };
        set_cluster_ips(&mut import, &spec.ips.unwrap_or_default(), out);
        Ok(Some(Object::Import(import)))
    }

    fn service_ports(
        &mut self,
        raw: Vec<raw::Port<'_>>,
        stand_in: bool,
        out: &mut Decoded,
    ) -> Ports {
        let mut ports = Vec::with_capacity(raw.len().max(1));
        if raw.is_empty() && stand_in {
            ports.push(Port::none());
        }
        for port in raw {
            match port.port {
                Some(_) => ports.extend(read_port(port, out)),
                None => out.flaw(Reason::Port, "a port without a number"),
            }
        }
        self.ports.share(&ports)
    }

    fn slice(
        &mut self,
        raw: raw::Slice<'_>,
        out: &mut Decoded,
        import: bool,
    ) -> Result<Option<Object>, Refused> {
        let meta = &raw.metadata;
        read_trigger(meta, out);
        let service = match import {
            true => meta.label("multicluster.kubernetes.io/service-name"),
            false => meta.label("kubernetes.io/service-name"),
        };
        let Some(service) = service.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        label(service, "service name").map_err(|flaw| out.refuse(flaw))?;
        let cluster = meta
            .label("multicluster.kubernetes.io/source-cluster")
            .unwrap_or("");

        let raw_ports = raw.ports.unwrap_or_default();
        let mut ports = Vec::with_capacity(raw_ports.len().max(1));
        if raw_ports.is_empty() {
            ports.push(Port::none());
        }
        for port in raw_ports {
            ports.extend(read_port(port, out));
        }

        let raw_endpoints = raw.endpoints.unwrap_or_default();
        if raw_endpoints.len() > 1000 {
            out.flaw(Reason::TooManyEndpoints, &raw_endpoints.len().to_string());
        }
        let (mut v4, mut v6) = (Vec::with_capacity(raw_endpoints.len()), Vec::new());
        let (mut of_v4, mut of_v6) = (Vec::with_capacity(raw_endpoints.len()), Vec::new());
        for endpoint in raw_endpoints.iter().filter(|e| e.ready()) {
            if endpoint.hostname().len() > 63 {
                out.flaw(Reason::Hostname, endpoint.hostname());
            }
            for text in endpoint.addresses() {
                match address(text.as_str(), out) {
                    Some(IpAddr::V4(ip)) => {
                        v4.push(ip);
                        of_v4.push(endpoint);
                    }
                    Some(IpAddr::V6(ip)) => {
                        v6.push(ip);
                        of_v6.push(endpoint);
                    }
                    None => {}
                }
            }
        }
        of_v4.append(&mut of_v6);
        let hostnames = of_v4
            .iter()
            .map(|e| Some(e.hostname()).filter(|h| h.len() < 64).unwrap_or(""));
        let slice = Slice {
            namespace: self.strings.share(meta.namespace()),
            name: meta.name().into(),
            service: service.into(),
            cluster: (import && !cluster.is_empty()).then(|| self.strings.share(cluster)),
            v4: v4.into(),
            v6: v6.into(),
            ports: self.ports.share(&ports),
            hostnames: Texts::pack(hostnames),
            pods: self
                .keep
                .pod_names
                .then(|| Texts::pack(of_v4.iter().map(|e| e.pod())))
                .flatten(),
            zones: match self.keep.zones {
                true => {
                    let zones: Vec<String> =
                        of_v4.iter().map(|e| e.zone().to_lowercase()).collect();
                    Texts::pack(zones.iter().map(String::as_str))
                }
                false => None,
            },
        };
        Ok(Some(if import {
            Object::ImportSlice(slice)
        } else {
            Object::Slice(slice)
        }))
    }

    fn pod(&mut self, raw: raw::Pod<'_>, out: &mut Decoded) -> Result<Option<Object>, Refused> {
        let meta = &raw.metadata;
        let namespace = self.strings.share(meta.namespace());
        let name = meta.name().into();
        if meta.terminating() {
            return Ok(Some(Object::TerminatingPod { namespace, name }));
        }
        let status = raw.status.unwrap_or_default();
        let text = status.pod_ip.as_ref().map_or("", raw::Str::as_str);
        let shared = status.host_ip.as_ref().map(raw::Str::as_str) == Some(text);
        let search = match shared {
            true => SearchList::Unknown,
            false => search_list(&raw.spec.unwrap_or_default()),
        };
        let ip = if text.is_empty() {
            None
        } else {
            address(text, out)
        };
        let labels = self.keep.pod_labels.then(|| {
            let all = meta.labels().map(|(k, v)| (k.into(), v.into()));
            all.collect::<Box<Labels>>()
        });
        Ok(Some(Object::Pod(Pod {
            namespace,
            name,
            ip,
            labels: labels.filter(|l| !l.is_empty()),
            search,
        })))
    }
}

impl Decoded {
    fn flaw(&mut self, reason: Reason, detail: &str) {
        // Ten thousand bad addresses in one object are one thing to say.
        if self.flaws.iter().all(|flaw| flaw.reason != reason) {
            self.flaws.push(Flaw::new(reason, detail));
        }
    }

    fn refuse(&self, flaw: Flaw) -> Refused {
        Refused {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            flaw,
        }
    }
}

/// The search list that kubelet makes of a pod's DNS settings (kubelet,
/// `network/dns/dns.go`), where it is the usual one.
fn search_list(spec: &raw::PodSpec<'_>) -> SearchList {
    let policy = spec.dns_policy.as_ref().map_or("", raw::Str::as_str);
    // What the API server fills in where a manifest says nothing.
    let cluster = matches!(policy, "" | "ClusterFirst" | "ClusterFirstWithHostNet");
    // The address of such a pod is that of the node and of others.
    let shared = spec.host_network == Some(true);
    let config = spec.dns_config.as_ref();
    let searches = config.and_then(|config| config.searches.as_ref());
    if !cluster || shared || searches.is_some_and(|searches| !searches.is_empty()) {
        return SearchList::Unknown;
    }
    let options = config.and_then(|config| config.options.as_ref());
    let mut options = options.into_iter().flatten().rev();
    let ndots = options.find(|option| option.name.as_ref().map(raw::Str::as_str) == Some("ndots"));
    let Some(ndots) = ndots else {
        return SearchList::DEFAULT;
    };
    let ndots = ndots
        .value
        .as_ref()
        .and_then(|value| value.as_str().parse().ok());
    // glibc and musl take 15 for more than that.
    ndots.map_or(SearchList::Unknown, |ndots: u8| SearchList::Cluster {
        ndots: ndots.min(15),
    })
}

impl Flaw {
    fn new(reason: Reason, detail: &str) -> Self {
        Self {
            reason,
            detail: detail.chars().take(200).collect(),
        }
    }
}

fn set_cluster_ips(service: &mut Service, texts: &[raw::Str<'_>], out: &mut Decoded) {
    for text in texts.iter().map(raw::Str::as_str) {
        // No address yet, or none by choice.
        if text.is_empty() || text == "None" {
            continue;
        }
        match address(text, out) {
            Some(IpAddr::V4(ip)) => service.cluster_v4.push(ip),
            Some(IpAddr::V6(ip)) => service.cluster_v6.push(ip),
            None => {}
        }
    }
}

fn read_trigger(meta: &raw::Meta<'_>, out: &mut Decoded) {
    if let Some(text) = meta.annotation("endpoints.kubernetes.io/last-change-trigger-time") {
        match text.parse::<Timestamp>() {
            Ok(time) => out.triggered = Some(time.into()),
            Err(_) => out.flaw(Reason::TriggerTime, text),
        }
    }
}

fn address(text: &str, out: &mut Decoded) -> Option<IpAddr> {
    let ip = text.parse().ok();
    if ip.is_none() {
        out.flaw(Reason::Address, text);
    }
    ip
}

fn read_port(raw: raw::Port<'_>, out: &mut Decoded) -> Option<Port> {
    let number = match raw.port {
        None => None,
        Some(number) => match u16::try_from(number) {
            Ok(number) if number > 0 => Some(number),
            _ => {
                out.flaw(Reason::Port, &number.to_string());
                return None;
            }
        },
    };
    // The API's default; only hand-written manifests leave it out.
    let text = raw.protocol.as_ref().map_or("", raw::Str::as_str);
    let protocol = match text {
        "" => Protocol::Tcp,
        text => match Protocol::parse(text) {
            Some(protocol) => protocol,
            None => {
                out.flaw(Reason::Protocol, text);
                return None;
            }
        },
    };
    Some(Port {
        name: raw.name.as_ref().map_or("", raw::Str::as_str).into(),
        protocol,
        number,
    })
}

fn label(text: &str, what: &str) -> Result<(), Flaw> {
    match text.len() {
        1..=63 if !text.contains('.') => Ok(()),
        _ => Err(Flaw::new(
            Reason::Name,
            &format!("{what} {text:?} is not a DNS label"),
        )),
    }
}

/// Shares equal values. What nobody else holds any more is dropped when the
/// set has doubled.
struct Interner<T: ?Sized> {
    known: HashSet<Arc<T>, foldhash::fast::RandomState>,
    limit: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self {
            known: HashSet::default(),
            limit: 1024,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Interner<T> {
    fn share<'a>(&mut self, value: &'a T) -> Arc<T>
    where
        Arc<T>: From<&'a T>,
    {
        if let Some(known) = self.known.get(value) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.limit {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.limit = (2 * self.known.len()).max(1024);
        }
        let shared = Arc::from(value);
        self.known.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests;
