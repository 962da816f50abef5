//! The cluster that everybody serves.
//!
//! 1,000 Services with three endpoints each and 100 headless ones with ten,
//! in ten namespaces. The API double has them as objects, unbound as local
//! data.

use serde_json::{Value, json};

/// Services with a cluster address.
pub(crate) const SERVICES: usize = 1000;
/// Headless Services.
pub(crate) const HEADLESS: usize = 100;
/// Endpoints of a headless Service.
pub(crate) const ENDPOINTS: usize = 10;
/// Endpoints of a Service with a cluster address. No answer shows them.
const BEHIND: usize = 3;
const NAMESPACES: usize = 10;

/// The namespace of the Pod that asks.
pub(crate) const POD_NAMESPACE: &str = "default";
/// The search path of its resolv.conf.
pub(crate) const SEARCH: [&str; 3] = [
    "default.svc.cluster.local",
    "svc.cluster.local",
    "cluster.local",
];

/// A Service of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) namespace: String,
    headless: bool,
    index: usize,
}

impl Service {
    /// The Services with a cluster address, a tenth of them where the Pod is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SERVICES).map(|index| Self::at(index, false))
    }

    /// The headless ones.
    pub(crate) fn all_headless() -> impl Iterator<Item = Self> {
        (0..HEADLESS).map(|index| Self::at(index, true))
    }

    fn at(index: usize, headless: bool) -> Self {
        let name = match headless {
            true => format!("db-{index}"),
            false => format!("svc-{index}"),
        };
        let namespace = match index % NAMESPACES {
            0 => POD_NAMESPACE.to_owned(),
            other => format!("team-{other}"),
        };
        Self {
            name,
            namespace,
            headless,
            index,
        }
    }

    /// Its full name, without the last dot.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    /// The addresses of its A records.
    pub(crate) fn addresses(&self) -> Vec<String> {
        match self.headless {
            true => self.endpoints(),
            false => vec![self.cluster_ip()],
        }
    }

    fn cluster_ip(&self) -> String {
        format!("10.96.{}.{}", self.index / 250, self.index % 250 + 1)
    }

    fn endpoints(&self) -> Vec<String> {
        let (net, count) = match self.headless {
            true => (245, ENDPOINTS),
            false => (244, BEHIND),
        };
        (0..count)
            .map(|endpoint| self.index * count + endpoint)
            .map(|number| format!("10.{net}.{}.{}", number / 250, number % 250 + 1))
            .collect()
    }

    fn object(&self) -> Value {
        let ip = match self.headless {
            true => "None".to_owned(),
            false => self.cluster_ip(),
        };
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": ip,
                "clusterIPs": [ip],
                "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
            },
        })
    }

    fn slice(&self) -> Value {
        let endpoints: Vec<Value> = self
            .endpoints()
            .iter()
            .map(|address| json!({ "addresses": [address], "conditions": { "ready": true } }))
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-x", self.name),
                "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": self.name },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": endpoints,
        })
    }
}

/// All objects, as the API server has them.
pub(crate) fn objects() -> Vec<Value> {
    let namespaces = (1..NAMESPACES).map(|index| {
        let metadata = json!({ "name": format!("team-{index}") });
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
    });
    let services = Service::all().chain(Service::all_headless());
    let services = services.flat_map(|service| [service.object(), service.slice()]);
    namespaces.chain(services).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_addresses_are_unique() {
        let services: Vec<Service> = Service::all().chain(Service::all_headless()).collect();
        let names: HashSet<String> = services.iter().map(Service::full_name).collect();
        assert_eq!(names.len(), SERVICES + HEADLESS);
        let addresses: HashSet<String> = services.iter().flat_map(Service::addresses).collect();
        assert_eq!(addresses.len(), SERVICES + HEADLESS * ENDPOINTS);
        let endpoints: HashSet<String> = services.iter().flat_map(Service::endpoints).collect();
        assert_eq!(endpoints.len(), SERVICES * BEHIND + HEADLESS * ENDPOINTS);
    }
}
