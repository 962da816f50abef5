//! What the API server is asked, all of it at once. What cannot be had is
//! kept as the reason, and only the checks that need it go without.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, PodSpec, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config, ResourceExt};
use serde::de::DeserializeOwned;

use super::Options;
use super::reading::{Reading, Replica};
use crate::configuration::Text;
use crate::interfaces;
use crate::plugin::kubernetes::causes;

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// More of a kind are not looked at, so that a large cluster costs a bounded
/// amount of memory.
pub(super) const MOST: usize = 20_000;

/// Why something is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unknown {
    /// RBAC: `forbidden: cannot list networkpolicies`, in the API server's words.
    #[error("{0}")]
    Forbidden(String),
    /// It is not there.
    #[error("{0} does not exist")]
    Absent(String),
    /// The API server does not answer.
    #[error("the API server cannot be asked: {0}")]
    Away(String),
    /// Anything else that it says.
    #[error("{0}")]
    Other(String),
}

/// What is known of something.
pub(super) type Known<T> = Result<T, Unknown>;

/// A connection to the API server.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    /// Where the API server is.
    pub(super) url: String,
    /// How long one request may take.
    bound: Duration,
}

impl Cluster {
    /// By the flags, else the environment variable KUBECONFIG, `~/.kube/config`
    /// or the service account of the Pod that this runs in.
    ///
    /// # Errors
    ///
    /// Where there is no configuration, or one that makes no sense.
    pub(super) async fn connect(options: &Options) -> anyhow::Result<Self> {
        let choice = KubeConfigOptions {
            context: options.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &options.kubeconfig {
            Some(path) => {
                let file = kube::config::Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &choice).await?
            }
            None if options.context.is_some() => Config::from_kubeconfig(&choice).await?,
            None => Config::infer().await?,
        };
        config.connect_timeout = Some(options.timeout);
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        Ok(Self {
            url,
            client: Client::try_from(config)?,
            bound: options.timeout,
        })
    }

    /// An answer within the bound.
    pub(super) async fn ask<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Known<T> {
        match tokio::time::timeout(self.bound, request).await {
            Err(_) => Err(Unknown::Away(format!("no answer within {:?}", self.bound))),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(value)) => Ok(value),
        }
    }

    /// All objects of a kind, page by page, [`MOST`] at most.
    pub(super) async fn list<K>(&self, api: &Api<K>, params: ListParams) -> Known<Vec<K>>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut params = params.limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = self.ask(api.list(&params)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if all.len() < MOST => params = params.continue_token(&token),
                _ => return Ok(all),
            }
        }
    }
}

impl From<kube::Error> for Unknown {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                403 => Self::Forbidden(status.message.clone()),
                404 => Self::Absent(match &status.details {
                    Some(details) => format!("{} {:?}", details.kind, details.name),
                    None => "it".to_owned(),
                }),
                401 => Self::Away(format!("credentials are refused: {}", status.message)),
                _ => Self::Other(format!("{} {}", status.code, status.message)),
            },
            kube::Error::SerdeError(error) => Self::Other(error.to_string()),
            other => Self::Away(causes(&other)),
        }
    }
}

/// Where this runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Vantage {
    /// In a Pod: kubelet sets KUBERNETES_SERVICE_HOST in each container.
    pub(super) pod: bool,
    /// With the network of a node: one of its addresses is this host's.
    pub(super) node: bool,
}

impl Vantage {
    /// Whether Pods can be reached from here.
    pub(super) fn inside(self) -> bool {
        self.pod || self.node
    }

    /// Where questions come from, for people: `asked from …`.
    pub(super) fn place(self) -> &'static str {
        match self {
            Self { node: true, .. } => "this node",
            Self { pod: true, .. } => "this Pod",
            _ => "outside the cluster",
        }
    }
}

/// The cluster as it is.
pub(super) struct Facts {
    pub(super) vantage: Vantage,
    pub(super) service: Known<Service>,
    /// The EndpointSlices of the Service.
    pub(super) slices: Known<Vec<EndpointSlice>>,
    /// The Pods that the Service selects.
    pub(super) pods: Known<Vec<Pod>>,
    /// The Deployments whose Pods the Service selects.
    pub(super) deployments: Known<Vec<Deployment>>,
    /// DaemonSets that run a node agent.
    pub(super) agents: Known<Vec<DaemonSet>>,
    /// The Pods of the node agents.
    pub(super) agent_pods: Known<Vec<Pod>>,
    pub(super) policies: Known<Vec<NetworkPolicy>>,
    pub(super) namespaces: Known<Vec<Namespace>>,
    /// The addresses of `kubernetes.default`, which every replica must know.
    pub(super) api_service: Known<Vec<IpAddr>>,
    pub(super) corefile: Known<Text>,
    /// Whether the replicas mount the ConfigMap that it should be in.
    pub(super) corefile_is_mounted: bool,
    /// What a replica sees when it reads it.
    pub(super) replica: Replica,
}

impl Facts {
    pub(super) async fn gather(cluster: &Cluster, options: &Options) -> Self {
        let client = || cluster.client.clone();
        let namespace = &*options.namespace;
        let named = |kind: &str| format!("{kind} {namespace}/{}", options.service);
        let services = Api::<Service>::namespaced(client(), namespace);
        let slices = Api::<EndpointSlice>::namespaced(client(), namespace);
        let by_service = format!("kubernetes.io/service-name={}", options.service);
        let (policies, namespaces) = (Api::all(client()), Api::all(client()));
        let (deployments, daemon_sets) = (
            Api::<Deployment>::namespaced(client(), namespace),
            Api::<DaemonSet>::namespaced(client(), namespace),
        );
        let own = Api::<Service>::namespaced(client(), "default");
        let (service, slices, policies, namespaces, deployments, agents, api_service, node) = tokio::join!(
            cluster.ask(services.get(&options.service)),
            cluster.list(&slices, ListParams::default().labels(&by_service)),
            cluster.list(&policies, ListParams::default()),
            cluster.list(&namespaces, ListParams::default()),
            cluster.list(&deployments, ListParams::default()),
            cluster.list(&daemon_sets, ListParams::default()),
            cluster.ask(own.get("kubernetes")),
            own_node(cluster),
        );
        let service = service.map_err(|why| match why {
            Unknown::Absent(_) => Unknown::Absent(named("Service")),
            other => other,
        });
        let agents = agents.map(|mut sets: Vec<DaemonSet>| {
            sets.retain(is_agent);
            sets
        });
        let pods = Api::<Pod>::namespaced(client(), namespace);
        let (pods, agent_pods) = tokio::join!(
            selected(cluster, &pods, &service),
            agent_pods(cluster, &pods, &agents),
        );
        let deployments = deployments.map(|mut all: Vec<Deployment>| {
            all.retain(|deployment| serves(deployment, &service));
            all
        });
        let hosts = [&pods, &agent_pods].into_iter().flatten().flatten();
        let hosts = hosts.filter_map(|pod| pod.status.as_ref()?.host_ip.as_deref()?.parse().ok());
        let hosts: Vec<IpAddr> = hosts.chain(node).collect();
        let vantage = Vantage {
            pod: is_set("KUBERNETES_SERVICE_HOST"),
            node: interfaces::all().any(|(_, ip)| ip.is_some_and(|ip| hosts.contains(&ip))),
        };
        let template = template(&pods, &deployments);
        let (corefile, corefile_is_mounted, replica) = corefile(cluster, options, template).await;
        Self {
            vantage,
            service,
            slices,
            pods,
            deployments,
            agents,
            agent_pods,
            policies,
            namespaces,
            api_service: api_service.map(|service: Service| cluster_ips(&service)),
            corefile,
            corefile_is_mounted,
            replica,
        }
    }

    /// The Corefile, read.
    pub(super) fn reading(&self) -> Option<Reading> {
        Reading::new(self.corefile.as_ref().ok()?, &self.replica).ok()
    }

    /// The addresses of the Service.
    pub(super) fn service_ips(&self) -> Vec<IpAddr> {
        self.service.as_ref().map(cluster_ips).unwrap_or_default()
    }

    /// What a replica is made from: its Pod's, or its Deployment's template.
    pub(super) fn template(&self) -> Option<&PodSpec> {
        template(&self.pods, &self.deployments)
    }

    /// The addresses that node agents answer at, as their flags say.
    pub(super) fn agent_ips(&self) -> Vec<IpAddr> {
        let sets = self.agents.iter().flatten();
        let specs = sets.filter_map(|set| set.spec.as_ref()?.template.spec.as_ref());
        let arguments = specs.flat_map(|spec| &spec.containers).flat_map(arguments);
        super::agents::local_ips(arguments)
    }
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The words of a container's command line.
pub(super) fn arguments(
    container: &k8s_openapi::api::core::v1::Container,
) -> impl Iterator<Item = &str> {
    let words = [&container.command, &container.args];
    words.into_iter().flatten().flatten().map(String::as_str)
}

/// The addresses of the node that is called as this host is.
async fn own_node(cluster: &Cluster) -> Vec<IpAddr> {
    let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") else {
        return Vec::new();
    };
    let name = name.trim().to_lowercase();
    let nodes = Api::<Node>::all(cluster.client.clone());
    let Ok(Some(node)) = cluster.ask(nodes.get_opt(&name)).await else {
        return Vec::new();
    };
    let addresses = node.status.and_then(|status| status.addresses);
    let addresses = addresses.into_iter().flatten();
    addresses
        .filter_map(|address| address.address.parse().ok())
        .collect()
}

async fn selected(cluster: &Cluster, pods: &Api<Pod>, service: &Known<Service>) -> Known<Vec<Pod>> {
    let service = service.as_ref().map_err(Clone::clone)?;
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    match selector {
        Some(labels) if !labels.is_empty() => {
            let params = ListParams::default().labels(&comma(labels));
            cluster.list(pods, params).await
        }
        // Without a selector the endpoints are made by hand.
        _ => Ok(Vec::new()),
    }
}

async fn agent_pods(
    cluster: &Cluster,
    pods: &Api<Pod>,
    agents: &Known<Vec<DaemonSet>>,
) -> Known<Vec<Pod>> {
    let mut all = Vec::new();
    for set in agents.as_ref().map_err(Clone::clone)? {
        let labels = set
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.match_labels.as_ref());
        let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
            continue;
        };
        all.extend(
            cluster
                .list(pods, ListParams::default().labels(&comma(labels)))
                .await?,
        );
    }
    Ok(all)
}

fn comma(labels: &BTreeMap<String, String>) -> String {
    let pairs = labels.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}

/// NodeLocal DNSCache by its label or name, or anything with such an image.
fn is_agent(set: &DaemonSet) -> bool {
    let label = set.labels().get("k8s-app").map(String::as_str);
    let spec = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let mut images = spec.iter().flat_map(|spec| &spec.containers);
    label == Some("node-local-dns")
        || set.name_any() == "node-local-dns"
        || images.any(|container| {
            let image = container.image.as_deref().unwrap_or_default();
            image.contains("node-cache") || image.contains("pando-node")
        })
}

fn serves(deployment: &Deployment, service: &Known<Service>) -> bool {
    let Ok(service) = service else { return false };
    let wanted = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    let spec = deployment.spec.as_ref();
    let labels = spec
        .and_then(|spec| spec.template.metadata.as_ref())
        .and_then(|metadata| metadata.labels.as_ref());
    match (wanted, labels) {
        (Some(wanted), Some(labels)) if !wanted.is_empty() => wanted
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value)),
        _ => false,
    }
}

fn template<'a>(
    pods: &'a Known<Vec<Pod>>,
    deployments: &'a Known<Vec<Deployment>>,
) -> Option<&'a PodSpec> {
    let of_pod = pods.iter().flatten().find_map(|pod| pod.spec.as_ref());
    let mut deployments = deployments.iter().flatten();
    of_pod.or_else(|| {
        deployments.find_map(|deployment| deployment.spec.as_ref()?.template.spec.as_ref())
    })
}

pub(super) fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in all.filter_map(|ip| ip.parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

/// The Corefile that the replicas mount, whether they mount the ConfigMap where
/// it was looked for, and the files beside it.
async fn corefile(
    cluster: &Cluster,
    options: &Options,
    template: Option<&PodSpec>,
) -> (Known<Text>, bool, Replica) {
    let mut replica = Replica::default();
    let mut main = options.configmap.clone();
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &options.namespace);
    for volume in template
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
    {
        let Some(source) = &volume.config_map else {
            continue;
        };
        let Ok(map) = cluster.ask(maps.get(&source.name)).await else {
            continue;
        };
        let data = map.data.unwrap_or_default();
        if data.contains_key("Corefile") && main.is_none() {
            main = Some(source.name.clone());
        }
        let mounts = template.iter().flat_map(|spec| &spec.containers);
        let mounts = mounts.flat_map(|container| container.volume_mounts.iter().flatten());
        for mount in mounts.filter(|mount| mount.name == volume.name) {
            let items = source.items.as_deref().unwrap_or_default();
            for (key, text) in &data {
                let path = match items {
                    [] => Some(key),
                    items => items
                        .iter()
                        .find(|item| item.key == *key)
                        .map(|item| &item.path),
                };
                let folder = std::path::Path::new(&mount.mount_path);
                let file = path.map(|path| folder.join(path));
                replica.files.extend(file.map(|file| (file, text.clone())));
            }
        }
    }
    let containers = template.iter().flat_map(|spec| &spec.containers);
    for variable in containers.flat_map(|container| container.env.iter().flatten()) {
        let value = variable.value.clone().unwrap_or_default();
        replica.variables.insert(variable.name.clone(), value);
    }
    if let Some(conf) = &options.conf {
        let text = super::read(conf);
        return (
            text.map_err(|error| Unknown::Other(error.to_string())),
            false,
            replica,
        );
    }
    let name = main.unwrap_or_else(|| "coredns".to_owned());
    let mounted = template.is_some_and(|spec| reads_corefile_of(spec, &name));
    let map = cluster.ask(maps.get(&name)).await;
    let text = map.and_then(|map| {
        let data = map.data.unwrap_or_default();
        let text = data.get("Corefile").cloned();
        text.ok_or_else(|| {
            Unknown::Absent(format!(
                "key Corefile in ConfigMap {}/{name}",
                options.namespace
            ))
        })
    });
    let text = text.map_err(|why| match why {
        Unknown::Absent(what) if what.starts_with("configmaps") => {
            Unknown::Absent(format!("ConfigMap {}/{name}", options.namespace))
        }
        other => other,
    });
    let text = text.map(|text| Text {
        name: "Corefile".to_owned(),
        text,
    });
    (text, mounted, replica)
}

/// Whether Pods like this cannot start without a Corefile in that ConfigMap.
fn reads_corefile_of(spec: &PodSpec, map: &str) -> bool {
    let mut volumes = spec.volumes.iter().flatten();
    let mounts = volumes.any(|volume| {
        let source = volume.config_map.as_ref();
        source.is_some_and(|source| source.name == map && source.optional != Some(true))
    });
    let mut words = spec.containers.iter().flat_map(arguments);
    mounts && words.any(|word| word.ends_with("/Corefile"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn replicas_need_the_map_that_they_read_their_corefile_in() {
        let spec = |volume: Value, file: &str| -> PodSpec {
            let container = json!({ "name": "coredns", "args": ["-conf", file] });
            let spec = json!({
                "containers": [container],
                "volumes": [{ "name": "config-volume", "configMap": volume }],
            });
            serde_json::from_value(spec).unwrap()
        };
        let file = "/etc/coredns/Corefile";
        for (volume, file, want) in [
            (json!({ "name": "coredns" }), file, true),
            (json!({ "name": "coredns", "optional": true }), file, false),
            (json!({ "name": "other" }), file, false),
            (json!({ "name": "coredns" }), "/etc/coredns/dns.conf", false),
        ] {
            assert_eq!(reads_corefile_of(&spec(volume, file), "coredns"), want);
        }
    }
}
