//! What `log`, `view` and `rewrite` can learn of a query (CoreDNS `plugin/kubernetes/metadata.go`).

use super::Kubernetes;
use super::names::{Asked, Dialect, Labels, Subtree};
use super::spec::PodMode;
use crate::chain::Exchange;

/// The value of a label such as `kubernetes/namespace`. A part that the name
/// does not have is the empty text; a name outside the zones has no labels.
///
/// CoreDNS reads the name before it knows the zone, so multicluster names are
/// read as others are and `kubernetes/cluster` never has a value.
pub(super) fn value(kubernetes: &Kubernetes, exchange: &Exchange, label: &str) -> Option<String> {
    let label = label.strip_prefix("kubernetes/")?;
    if let Some(client) = label.strip_prefix("client-") {
        return of_client(kubernetes, exchange, client);
    }
    let name = exchange.request.name();
    let (_, cut) = kubernetes.zone_of(name)?;
    let dialect = Dialect {
        multicluster: false,
        zonal: kubernetes.rules.zonal,
    };
    let asked = match Asked::parse(name.wire().get(..cut)?, dialect) {
        Ok(asked) => asked,
        Err(invalid) => return (label == "parse-error").then(|| invalid.to_string()),
    };
    let text = |part: &[u8]| Some(String::from_utf8_lossy(part).into_owned());
    match label {
        "port-name" => text(asked.port),
        "protocol" => text(asked.protocol),
        "endpoint" => text(asked.endpoint),
        "zone" if kubernetes.rules.zonal => {
            let labels: Vec<_> = Labels(asked.zone).map(String::from_utf8_lossy).collect();
            Some(labels.join("."))
        }
        "service" => text(asked.service),
        "namespace" => text(asked.namespace),
        "kind" => text(asked.subtree.map_or("", Subtree::label).as_bytes()),
        _ => None,
    }
}

/// Of the pod that asks; only known with `pods verified`.
fn of_client(kubernetes: &Kubernetes, exchange: &Exchange, label: &str) -> Option<String> {
    if kubernetes.rules.pods != PodMode::Verified {
        return None;
    }
    let client = exchange.client.ip().to_canonical();
    kubernetes.view.read(|snapshot| {
        let pod = snapshot.pods_by_ip(client).next()?;
        match label {
            "namespace" => Some(pod.namespace.to_string()),
            "pod-name" => Some(pod.name.to_string()),
            _ => {
                let key = label.strip_prefix("label/")?;
                let mut labels = pod.labels.as_deref()?.iter();
                labels
                    .find(|(name, _)| **name == *key)
                    .map(|(_, value)| value.to_string())
            }
        }
    })
}
