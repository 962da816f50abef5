//! The zone as a whole (CoreDNS `plugin/kubernetes/xfr.go`).
//!
//! In this order: SOA, NS and the servers' addresses (with a TTL of 0), the
//! services sorted by name, SOA. No PTR, pod, TXT or zonal record is among
//! them, and SRV targets of multicluster endpoints lack their cluster.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::Kubernetes;
use super::apex;
use super::lookup::Rules;
use super::model::{Port, Service, ServiceKind};
use super::records::{fqdn, push_labels, rdata_of, service_name};
use super::snapshot::{Entry, Snapshot};
use super::soa;
use super::srv::weight;
use crate::wire::{Name, NameBuf, RData, Record, Section};

/// The records of a zone, made service by service so that a zone of any size
/// takes little memory.
pub(super) struct Transfer<'k> {
    kubernetes: &'k Kubernetes,
    snapshot: Arc<Snapshot>,
    zone: NameBuf,
    multicluster: bool,
    serial: u32,
    /// What is to come: namespace and name.
    services: std::vec::IntoIter<(Arc<str>, Arc<str>)>,
    ready: VecDeque<Record>,
    last: Option<Record>,
}

impl<'k> Transfer<'k> {
    /// `zone` is one of the plugin's zones or, as in CoreDNS, any name below.
    pub(super) fn new(
        kubernetes: &'k Kubernetes,
        zone: Name<'_>,
        multicluster: bool,
        snapshot: Arc<Snapshot>,
        serial: u32,
    ) -> Self {
        Self {
            kubernetes,
            zone: zone.to_buf(),
            multicluster,
            services: Vec::new().into_iter(),
            ready: VecDeque::from([soa::record(zone, kubernetes.ttl, serial)]),
            last: None,
            snapshot,
            serial,
        }
    }

    /// All of it, or the SOA alone if that is what the client has.
    pub(super) fn since(self, serial: Option<u32>) -> Self {
        let mut transfer = self;
        if serial.is_some_and(|serial| serial != 0 && serial == transfer.serial) {
            return transfer;
        }
        let kubernetes = transfer.kubernetes;
        transfer.last = transfer.ready.front().cloned();
        transfer.push_servers();
        let rules = &kubernetes.rules;
        let snapshot = &transfer.snapshot;
        let mut services: Vec<_> = match transfer.multicluster {
            false => snapshot.services().map(|(_, service)| service).collect(),
            true => snapshot.imports().map(|(_, service)| service).collect(),
        };
        services.retain(|service| rules.exposed(snapshot, service.namespace.as_bytes()));
        services.sort_unstable_by_key(|service| (service.name.clone(), service.namespace.clone()));
        let keys = services
            .into_iter()
            .map(|s| (s.namespace.clone(), s.name.clone()));
        transfer.services = keys.collect::<Vec<_>>().into_iter();
        transfer
    }

    fn push_servers(&mut self) {
        let Kubernetes {
            rules, local, ttl, ..
        } = self.kubernetes;
        let zone = self.zone.name();
        let found = apex::addresses(rules, &self.snapshot, local, zone);
        for (at, (name, _)) in found.iter().enumerate() {
            if !found.iter().take(at).any(|(earlier, _)| earlier == name) {
                let ns = RData::Ns(name.name());
                self.ready
                    .push_back(Record::new(Section::Answer, zone, *ttl, &ns));
            }
        }
        self.ready.extend(found.iter().map(server_record));
    }

    fn push_service(&mut self, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.as_bytes(), name.as_bytes());
        let entry = match self.multicluster {
            false => self.snapshot.service(namespace, name),
            true => self.snapshot.import(namespace, name),
        };
        if let Some(entry) = entry {
            let records = &mut self.ready;
            push_entry(self.kubernetes, self.zone.name(), entry, records);
        }
    }
}

/// The address of a name server.
pub(super) fn server_record((name, ip): &(NameBuf, IpAddr)) -> Record {
    Record::new(Section::Answer, name.name(), 0, &rdata_of(*ip))
}

/// Appends the records of a service, if there is one.
pub(super) fn push_entry(
    kubernetes: &Kubernetes,
    zone: Name<'_>,
    entry: &Entry,
    records: &mut VecDeque<Record>,
) {
    let Some((service, name)) = entry.service().zip(service_name(entry, zone)) else {
        return;
    };
    let mut out = Out {
        ttl: kubernetes.ttl,
        name,
        records,
    };
    match service.kind {
        ServiceKind::ClusterIp => out.cluster(service),
        ServiceKind::Headless => out.headless(&kubernetes.rules, entry),
        ServiceKind::ExternalName => out.alias(&service.external_name),
    }
}

impl Iterator for Transfer<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            match self.services.next() {
                Some((namespace, name)) => self.push_service(&namespace, &name),
                None => return self.last.take(),
            }
        }
    }
}

/// The records of one service.
struct Out<'a> {
    ttl: u32,
    /// The service's name.
    name: NameBuf,
    records: &'a mut VecDeque<Record>,
}

impl Out<'_> {
    fn cluster(&mut self, service: &Service) {
        let name = self.name.clone();
        let mut any = false;
        for ip in service.cluster_ips() {
            self.address(name.name(), ip);
            any = true;
        }
        if !any {
            return;
        }
        for port in service.ports.iter() {
            let Some(number) = port.number else { continue };
            self.srv(name.name(), 100, number, name.name());
            if let Some(owner) = self.port_name(port) {
                self.srv(owner.name(), 100, number, name.name());
            }
        }
    }

    fn headless(&mut self, rules: &Rules, entry: &Entry) {
        let name = self.name.clone();
        for slice in entry.slices() {
            let weight = weight(slice.len());
            for endpoint in slice.endpoints() {
                self.address(name.name(), endpoint.ip);
                let mut host = NameBuf::new();
                let labels = push_labels(&mut host, rules.label(&endpoint).as_bytes());
                if labels.is_none() || host.push_name(name.name()).is_err() {
                    continue;
                }
                self.address(host.name(), endpoint.ip);
                for port in slice.ports() {
                    if let Some((owner, number)) = self.port_name(port).zip(port.number) {
                        self.srv(owner.name(), weight, number, host.name());
                    }
                }
            }
        }
    }

    fn alias(&mut self, target: &str) {
        if target.parse::<IpAddr>().is_ok() {
            return;
        }
        if let Some(target) = fqdn(target) {
            let name = self.name.clone();
            self.push(name.name(), &RData::Cname(target.name()));
        }
    }

    /// `_PORT._PROTOCOL.` in front of the service; a port without a name has none.
    fn port_name(&self, port: &Port) -> Option<NameBuf> {
        if port.name.is_empty() {
            return None;
        }
        let mut name = NameBuf::new();
        name.push_label(format!("_{}", port.name).to_lowercase().as_bytes())
            .ok()?;
        name.push_label(format!("_{}", port.protocol.label()).as_bytes())
            .ok()?;
        name.push_name(self.name.name()).ok()?;
        Some(name)
    }

    fn address(&mut self, owner: Name<'_>, ip: IpAddr) {
        self.push(owner, &rdata_of(ip));
    }

    fn srv(&mut self, owner: Name<'_>, weight: u16, port: u16, target: Name<'_>) {
        self.push(
            owner,
            &RData::Srv {
                priority: 0,
                weight,
                port,
                target,
            },
        );
    }

    fn push(&mut self, owner: Name<'_>, rdata: &RData<'_>) {
        self.records
            .push_back(Record::new(Section::Answer, owner, self.ttl, rdata));
    }
}
