//! The zone's own servers (CoreDNS `plugin/kubernetes/ns.go` and `local.go`).

use std::net::IpAddr;

use super::lookup::Rules;
use super::model::ServiceKind;
use super::records::{Asking, Outcome, push_labels, rdata_of, service_name};
use super::snapshot::Snapshot;
use crate::wire::{Name, NameBuf, Owner, RData, Reply, Section};

/// The labels of the name that a server has where no Service leads to it.
pub(super) const SERVER: &[u8] = b"\x02ns\x03dns";

/// The NS records of the apex, and the servers' addresses.
pub(super) fn name_servers(asking: &Asking<'_>, reply: &mut Reply) -> Outcome {
    let found = addresses(
        asking.rules,
        asking.snapshot,
        asking.local,
        asking.zone_as_asked(),
    );
    if found.is_empty() {
        return Outcome::NoData;
    }
    for (at, (name, _)) in found.iter().enumerate() {
        if !found.iter().take(at).any(|(earlier, _)| earlier == name) {
            reply.push(
                Section::Answer,
                Owner::Question,
                asking.ttl,
                &RData::Ns(name.name()),
            );
        }
    }
    for (name, ip) in &found {
        reply.push(
            Section::Additional,
            Owner::Name(name.name()),
            asking.ttl,
            &rdata_of(*ip),
        );
    }
    Outcome::Answered
}

/// The names and addresses by which clients reach this server: of the
/// Services that have one of its own addresses as an endpoint, else those
/// addresses under `ns.dns`. A pair may stand there twice, as in CoreDNS.
pub(super) fn addresses(
    rules: &Rules,
    snapshot: &Snapshot,
    local: &[IpAddr],
    zone: Name<'_>,
) -> Vec<(NameBuf, IpAddr)> {
    let mut found = Vec::new();
    let mut is_endpoint = false;
    for ip in local {
        let mut last = None;
        for (entry, slice, _) in snapshot.endpoints_by_ip(*ip) {
            // An address may stand in a slice twice.
            if last.replace(std::ptr::from_ref(slice)) == Some(std::ptr::from_ref(slice)) {
                continue;
            }
            is_endpoint = true;
            let Some((service, name)) = entry.service().zip(service_name(entry, zone)) else {
                continue;
            };
            if service.kind == ServiceKind::Headless {
                found.extend(slice.endpoints().filter_map(|endpoint| {
                    let mut host = NameBuf::new();
                    push_labels(&mut host, rules.label(&endpoint).as_bytes())?;
                    host.push_name(name.name()).ok()?;
                    Some((host, endpoint.ip))
                }));
            } else {
                found.extend(service.cluster_ips().map(|ip| (name.clone(), ip)));
            }
        }
    }
    if !is_endpoint {
        let mut name = NameBuf::new();
        let made = ["ns", "dns"]
            .iter()
            .try_for_each(|label| name.push_label(label.as_bytes()));
        if made.and_then(|()| name.push_name(zone)).is_ok() {
            found.extend(local.iter().map(|ip| (name.clone(), *ip)));
        }
    }
    found
}
