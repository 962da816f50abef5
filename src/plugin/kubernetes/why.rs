//! Why a name has the answer that it has, in words: which part of it leads
//! somewhere and which does not.
//!
//! It goes the way of [`lookup`](super::lookup), for people and not for clients.

use super::host;
use super::lookup::{Found, find};
use super::model::ServiceKind;
use super::names::{Asked, Dialect, Labels, Subtree};
use super::snapshot::{Entry, Snapshot};
use super::spec::PodMode;
use super::{Kubernetes, Zone, reverse};
use crate::denial::Why;
use crate::wire::{Name, rtype};

/// More names than these help nobody.
const NEAR: usize = 3;

/// Why `name`, of which `cut` octets stand in front of `zone`, has the answer
/// that it has now.
pub(super) fn why(
    kubernetes: &Kubernetes,
    zone: &Zone,
    name: Name<'_>,
    cut: usize,
    qtype: u16,
) -> Why {
    let snapshot = kubernetes.view.load();
    if !snapshot.synced() && !snapshot.stale() {
        return said("the Kubernetes API has not been read yet");
    }
    let telling = Telling {
        kubernetes,
        snapshot: &snapshot,
        zone,
        qtype,
    };
    if let Some(ip) = reverse::address(name) {
        let primary = kubernetes.primary.name();
        let names = reverse::targets(&kubernetes.rules, &snapshot, primary, ip);
        return said(match &*names {
            [] => format!("no Service and no ready endpoint has the address {ip}"),
            [only] => format!("the address of {only}"),
            [first, ..] => format!("the address of {first} and {} more", names.len() - 1),
        });
    }
    telling.of(name.wire().get(..cut).unwrap_or_default())
}

struct Telling<'a> {
    kubernetes: &'a Kubernetes,
    snapshot: &'a Snapshot,
    zone: &'a Zone,
    qtype: u16,
}

impl Telling<'_> {
    fn of(&self, prefix: &[u8]) -> Why {
        let dialect = Dialect {
            multicluster: self.zone.multicluster,
            zonal: self.kubernetes.rules.zonal,
        };
        let Ok(asked) = Asked::parse(prefix, dialect) else {
            return said(match Labels(prefix).last() {
                Some(b"svc" | b"pod") => "no record has so many labels".to_owned(),
                last => format!(
                    "`{}` stands where a name of {} has `svc` or `pod`",
                    text(last.unwrap_or_default()),
                    self.zone.name
                ),
            });
        };
        let rules = &self.kubernetes.rules;
        match find(rules, self.snapshot, self.zone.multicluster, &asked) {
            Found::Missing(_) => self.missing(&asked),
            Found::Empty => said("it stands above other names and has no records of its own"),
            Found::Cluster { entry, .. } => said(format!("{}{}", of(entry), self.family(entry))),
            Found::Alias(target) => said(format!("an ExternalName: another name for {target}")),
            Found::Pod(..) if rules.pods == PodMode::Insecure => {
                said("any address is a Pod of any namespace (`pods insecure`)")
            }
            Found::Pod(ip, _) => said(format!("a Pod with the address {ip}")),
            found @ Found::Endpoints(_) => match found.whole() {
                Some(entry) => {
                    let count = entry.slices().map(|slice| slice.endpoints().count());
                    said(format!(
                        "headless {}: ready endpoints {}{}",
                        of(entry),
                        count.sum::<usize>(),
                        self.family(entry)
                    ))
                }
                None => said(format!(
                    "endpoints of Service `{}` in namespace `{}`",
                    text(asked.service),
                    text(asked.namespace)
                )),
            },
        }
    }

    /// What is amiss where a name exists and has no address of a family.
    fn family(&self, entry: &Entry) -> &'static str {
        match self.qtype {
            rtype::A if entry.v4().is_empty() => ", without an IPv4 address",
            rtype::AAAA if entry.v6().is_empty() => ", without an IPv6 address",
            _ => "",
        }
    }

    /// The first part of a name that leads nowhere, from the right.
    fn missing(&self, asked: &Asked<'_>) -> Why {
        let rules = &self.kubernetes.rules;
        let namespace = text(asked.namespace);
        if !rules.configured(asked.namespace) {
            return said(format!(
                "namespace `{namespace}` is not among the `namespaces` of the Corefile"
            ));
        }
        if !self.snapshot.namespace(asked.namespace) {
            return Why {
                text: format!("namespace `{namespace}` does not exist"),
                near: self.other_namespaces(asked),
            };
        }
        if asked.subtree == Some(Subtree::Pods) {
            return said(self.no_pod(asked, &namespace));
        }
        let service = text(asked.service);
        let entry = match self.zone.multicluster {
            false => self.snapshot.service(asked.namespace, asked.service),
            true => self.snapshot.import(asked.namespace, asked.service),
        };
        match entry.and_then(|entry| Some((entry, entry.kind()?))) {
            Some((entry, kind)) => said(self.no_part(asked, entry, kind)),
            None => {
                let left = match entry.is_some_and(Entry::has_endpoints) {
                    true => ", though EndpointSlices name it",
                    false => "",
                };
                let kind = match self.zone.multicluster {
                    true => "ServiceImport",
                    false => "Service",
                };
                Why {
                    text: format!(
                        "{kind} `{service}` does not exist in namespace `{namespace}`{left}"
                    ),
                    near: self.other_services(asked),
                }
            }
        }
    }

    fn no_pod(&self, asked: &Asked<'_>, namespace: &str) -> String {
        let label = text(asked.service);
        match (self.kubernetes.rules.pods, host::undashed(asked.service)) {
            (PodMode::Disabled, _) => "Pods have no names here (`pods disabled`)".to_owned(),
            (_, None) => format!("`{label}` is no address with dashes"),
            (_, Some(ip)) => format!("no Pod in namespace `{namespace}` has the address {ip}"),
        }
    }

    /// The Service is there; what stands in front of it is not.
    fn no_part(&self, asked: &Asked<'_>, entry: &Entry, kind: ServiceKind) -> String {
        let port = match (text(asked.port), text(asked.protocol)) {
            (port, _) if port.is_empty() => None,
            (port, protocol) => Some(format!("port `{port}` of protocol `{protocol}`")),
        };
        let of = of(entry);
        match kind {
            ServiceKind::ExternalName if !asked.is_bare() => {
                format!("{of} is an ExternalName: nothing can stand in front of it")
            }
            ServiceKind::ExternalName => {
                let target = entry.service().map_or("", |service| &service.external_name);
                format!("{of} has an externalName that is no name: `{target}`")
            }
            ServiceKind::ClusterIp
                if self.kubernetes.rules.ignore_empty_service && !entry.has_endpoints() =>
            {
                format!("{of} has no ready endpoint (`ignore empty_service`)")
            }
            _ if !asked.zone.is_empty() => format!("{of} is not headless: it is in no zone"),
            _ if !entry.has_endpoints() && kind == ServiceKind::Headless => {
                format!("headless {of} has no ready endpoint")
            }
            _ if !asked.endpoint.is_empty() => {
                let endpoint = text(asked.endpoint);
                format!("{of} has no ready endpoint called `{endpoint}`")
            }
            _ => match port {
                Some(port) => format!("{of} has no {port}"),
                None => format!("{of} has no port"),
            },
        }
    }

    /// The same name in namespaces that exist.
    fn other_namespaces(&self, asked: &Asked<'_>) -> Vec<String> {
        let known: Vec<&str> = self.snapshot.namespaces().collect();
        let nearest = corefile::nearest(&text(asked.namespace), &known);
        let has = |namespace: &&str| {
            let entry = self.snapshot.service(namespace.as_bytes(), asked.service);
            entry.is_some_and(|entry| entry.kind().is_some())
        };
        let nearest = nearest.filter(has).into_iter();
        nearest
            .map(|ns| self.name(&text(asked.service), ns))
            .collect()
    }

    /// The same Service elsewhere, or one here that is nearly called so.
    fn other_services(&self, asked: &Asked<'_>) -> Vec<String> {
        if self.zone.multicluster {
            return Vec::new();
        }
        let mut here = Vec::new();
        let mut elsewhere = Vec::new();
        for (entry, _) in self.snapshot.services() {
            let namespace = entry.namespace();
            if namespace.as_bytes() == asked.namespace {
                here.push(entry.name());
            } else if entry.name().as_bytes() == asked.service
                && self
                    .kubernetes
                    .rules
                    .exposed(self.snapshot, namespace.as_bytes())
            {
                elsewhere.push(namespace);
            }
        }
        here.sort_unstable();
        elsewhere.sort_unstable();
        let service = text(asked.service);
        let nearest = corefile::nearest(&service, &here);
        let nearest = nearest.map(|name| self.name(name, &text(asked.namespace)));
        let elsewhere = elsewhere.into_iter().take(NEAR);
        let elsewhere = elsewhere.map(|namespace| self.name(&service, namespace));
        nearest.into_iter().chain(elsewhere).collect()
    }

    fn name(&self, service: &str, namespace: &str) -> String {
        format!("{service}.{namespace}.svc.{}", self.zone.name)
    }
}

fn said(text: impl Into<String>) -> Why {
    Why {
        text: text.into(),
        near: Vec::new(),
    }
}

fn of(entry: &Entry) -> String {
    format!(
        "Service `{}` in namespace `{}`",
        entry.name(),
        entry.namespace()
    )
}

/// A label as text, without what would steer a terminal.
fn text(label: &[u8]) -> String {
    let text = String::from_utf8_lossy(label);
    text.chars().flat_map(|c| c.escape_default()).collect()
}
