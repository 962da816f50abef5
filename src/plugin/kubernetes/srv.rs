//! SRV records: of services, of endpoints and, after CoreDNS, of pods.

use std::collections::HashSet;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::lookup::{Endpoints, Found, Seen};
use super::model::{Endpoint, Slice};
use super::names::{Asked, Dialect, Subtree};
use super::records::{Asking, Outcome, any, push_labels, rdata_of, service_name};
use super::snapshot::Entry;
use crate::wire::{Name, NameBuf, Owner, RData, Reply, Section};

impl Asking<'_> {
    pub(super) fn services(&self, reply: &mut Reply) -> Outcome {
        if self.is_server() {
            return Outcome::NoData;
        }
        match self.find() {
            Found::Missing(why) => return Outcome::NoName(why),
            Found::Empty | Found::Alias(_) => {}
            Found::Cluster { entry, ports } => {
                let parts = entry.service().zip(self.service_name(entry));
                let Some((service, target)) = parts else {
                    return Outcome::NoData;
                };
                let ips: SmallVec<[IpAddr; 4]> = service.cluster_ips().collect();
                let ports = || service.ports.iter().filter(|port| ports.admits(port));
                let weight = weight(ports().count() * ips.len());
                let mut seen = Seen::new();
                for number in ports().filter_map(|port| port.number) {
                    if !ips.is_empty() && seen.insert(number) {
                        self.push_srv(reply, weight, number, target.name());
                    }
                }
                if reply.count(Section::Answer) > 0 {
                    for ip in ips {
                        self.push_extra(reply, target.name(), ip);
                    }
                }
            }
            Found::Endpoints(endpoints) => self.endpoint_services(reply, &endpoints),
            Found::Pod(ip, count) => {
                // A pod has a port as good as any: 0.
                let Some(target) = self.name_of_pod() else {
                    return Outcome::NoData;
                };
                self.push_srv(reply, weight(count), 0, target.name());
                self.push_extra(reply, target.name(), ip);
            }
        }
        any(reply)
    }

    fn endpoint_services(&self, reply: &mut Reply, endpoints: &Endpoints<'_, '_>) {
        let Some(service) = self.service_name(endpoints.entry()) else {
            return;
        };
        let weight = weight(endpoints.iter().count());
        let numbered = || {
            endpoints.iter().filter_map(|(slice, endpoint, port)| {
                let target = self.endpoint_name(slice, &endpoint, service.name())?;
                Some((target, endpoint.ip, port.number?))
            })
        };
        let mut seen = HashSet::<_, RandomState>::default();
        for (target, _, number) in numbered() {
            if seen.insert((target.clone(), number)) {
                self.push_srv(reply, weight, number, target.name());
            }
        }
        let mut seen = HashSet::<_, RandomState>::default();
        for (target, ip, _) in numbered() {
            if seen.insert((target.clone(), ip)) {
                self.push_extra(reply, target.name(), ip);
            }
        }
    }

    fn push_srv(&self, reply: &mut Reply, weight: u16, port: u16, target: Name<'_>) {
        let rdata = RData::Srv {
            priority: 0,
            weight,
            port,
            target,
        };
        reply.push(Section::Answer, Owner::Question, self.ttl, &rdata);
    }

    fn push_extra(&self, reply: &mut Reply, owner: Name<'_>, ip: IpAddr) {
        reply.push(
            Section::Additional,
            Owner::Name(owner),
            self.ttl,
            &rdata_of(ip),
        );
    }

    /// `SERVICE.NAMESPACE.svc.ZONE`.
    fn service_name(&self, entry: &Entry) -> Option<NameBuf> {
        service_name(entry, self.zone_as_asked())
    }

    fn endpoint_name(
        &self,
        slice: &Slice,
        endpoint: &Endpoint<'_>,
        service: Name<'_>,
    ) -> Option<NameBuf> {
        let mut name = NameBuf::new();
        push_labels(&mut name, self.rules.label(endpoint).as_bytes())?;
        if self.multicluster {
            push_labels(&mut name, slice.cluster().as_bytes())?;
        }
        name.push_name(service).ok()?;
        Some(name)
    }

    fn name_of_pod(&self) -> Option<NameBuf> {
        let asked = Asked::parse(self.prefix, Dialect::default()).ok()?;
        let mut name = NameBuf::new();
        for label in [
            asked.service,
            asked.namespace,
            Subtree::Pods.label().as_bytes(),
        ] {
            name.push_label(label).ok()?;
        }
        name.push_name(self.zone_as_asked()).ok()?;
        Some(name)
    }
}

/// The weight of an SRV record among `candidates` addresses and ports: a
/// share of 100 in whole numbers, at least 1.
pub(super) fn weight(candidates: usize) -> u16 {
    // CoreDNS computes in floats; so do we, to round as it does.
    let share = 100.0 / (candidates as f64 * 100.0) * 100.0;
    (share.floor() as u16).clamp(1, 100)
}
