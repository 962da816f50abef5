//! Queries worth trying, for who starts with `manifests`: the demo.

use std::net::{IpAddr, Ipv4Addr};

use super::TARGET;
use super::model::ServiceKind;
use super::spec::Options;
use super::view::View;
use crate::plugin::Builder;
use crate::wire::NameBuf;

/// Where the server can be asked, and about what.
pub(super) struct Examples {
    server: IpAddr,
    port: u16,
    zone: NameBuf,
    view: View,
}

/// The port of a server block without one.
const DNS: u16 = 53;

impl Examples {
    pub(super) fn new(options: &Options, builder: &Builder<'_>, view: View) -> Self {
        let bound = builder.settings.hosts.first();
        let server = bound.and_then(|host| host.parse().ok());
        Self {
            server: server.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: builder
                .block
                .keys
                .first()
                .and_then(|key| key.port)
                .unwrap_or(DNS),
            zone: options.primary.clone(),
            view,
        }
    }

    /// Logs three `dig` lines, fewer where the cluster has less to show.
    pub(super) fn log(&self) {
        let Self { server, port, .. } = self;
        for question in self.questions() {
            tracing::info!(target: TARGET, "try: dig @{server} -p {port} {question}");
        }
    }

    /// A cluster IP, the ports of a headless service, and the name of an address.
    pub(super) fn questions(&self) -> Vec<String> {
        let snapshot = self.view.load();
        let services = snapshot.sorted_services();
        let zone = self.zone.to_string();
        let zone = zone.trim_end_matches('.');
        // What everybody has tells the least.
        let own = |namespace: &str| !matches!(namespace, "default" | "kube-system");
        let find = |kind: ServiceKind| {
            let mut of_kind: Vec<_> = services.iter().filter(|(_, s)| s.kind == kind).collect();
            of_kind.sort_by_key(|(entry, _)| (!own(entry.namespace()), !entry.has_endpoints()));
            of_kind.first().map(|(entry, service)| (*entry, *service))
        };
        let name = |service: &str, namespace: &str| format!("{service}.{namespace}.svc.{zone}");
        let mut questions = Vec::new();
        if let Some((entry, _)) = find(ServiceKind::ClusterIp) {
            questions.push(name(entry.name(), entry.namespace()));
        }
        if let Some((entry, service)) = find(ServiceKind::Headless) {
            let service_name = name(entry.name(), entry.namespace());
            let named = service.ports.iter().find(|port| !port.name.is_empty());
            questions.push(match named {
                Some(port) => {
                    format!(
                        "_{}._{}.{service_name} SRV",
                        port.name,
                        port.protocol.label()
                    )
                }
                None => service_name,
            });
        }
        let address = find(ServiceKind::ClusterIp).and_then(|(_, s)| s.cluster_ips().next());
        questions.extend(address.map(|ip| format!("-x {ip}")));
        questions
    }
}
