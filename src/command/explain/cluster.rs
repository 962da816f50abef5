//! A Pod and the Service of cluster DNS, from an API server or from files: what
//! the kubelet makes a Pod's resolv.conf of.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::plugin::kubernetes::client::{Access, AccessError};
use crate::plugin::kubernetes::store::Source;
use crate::plugin::kubernetes::{self, causes};

/// How long the API server may take for an object.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a Pod is not known.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No way to an API server.
    #[error("{0}: --kubeconfig or --manifests says where the Pod is found")]
    Access(String),
    /// Files that cannot be read.
    #[error("{0}")]
    Manifests(String),
    /// The API server does not say.
    #[error("the API server does not tell of {what}: {why}")]
    Api {
        /// What was asked for.
        what: String,
        /// Why not.
        why: String,
    },
    /// There is no such Pod.
    #[error("there is no Pod {0}")]
    NoPod(String),
    /// It is not what a Pod looks like.
    #[error("{what} makes no sense: {why}")]
    Object {
        /// What was read.
        what: String,
        /// Why not.
        why: serde_json::Error,
    },
}

// Without a source of its own: what it says is said already.
impl From<AccessError> for ClusterError {
    fn from(error: AccessError) -> Self {
        Self::Access(error.to_string())
    }
}

/// The part of a Pod that its resolver depends on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pod {
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

/// Of its spec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) dns_policy: Option<String>,
    pub(super) dns_config: Option<DnsConfig>,
    pub(super) host_network: Option<bool>,
}

/// What it adds to its resolv.conf.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DnsConfig {
    pub(super) nameservers: Option<Vec<String>>,
    pub(super) searches: Option<Vec<String>>,
    pub(super) options: Option<Vec<DnsOption>>,
}

/// A word of `options`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DnsOption {
    pub(super) name: Option<String>,
    pub(super) value: Option<String>,
}

/// Of its status.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
}

/// The way to the objects.
pub(super) enum Cluster {
    Objects(Vec<Value>),
    Api(kube::Client),
}

impl Cluster {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// What can be found wrong before anything is asked for.
    pub(super) async fn open(source: &Source) -> Result<Self, ClusterError> {
        Ok(match source {
            Source::Manifests(paths) => {
                let objects = kubernetes::objects(paths);
                Self::Objects(objects.map_err(|error| ClusterError::Manifests(error.to_string()))?)
            }
            Source::Api(access) => Self::Api(access.client().await?),
        })
    }

    /// A Pod.
    ///
    /// # Errors
    ///
    /// Where there is none, or it cannot be read.
    pub(super) async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, ClusterError> {
        let found = match self {
            Self::Objects(objects) => find(objects, "Pod", namespace, name),
            Self::Api(client) => get::<v1::Pod>(client, "Pod", namespace, name).await?,
        };
        let what = format!("{namespace}/{name}");
        let found = found.ok_or_else(|| ClusterError::NoPod(what.clone()))?;
        serde_json::from_value(found).map_err(|why| ClusterError::Object {
            what: format!("Pod {what}"),
            why,
        })
    }

    /// The address of cluster DNS, that kubelets give to Pods where there is
    /// no node cache; `None` where its Service is not to be found.
    pub(super) async fn dns(&self) -> Option<IpAddr> {
        let (namespace, name) = ("kube-system", "kube-dns");
        let found = match self {
            Self::Objects(objects) => find(objects, "Service", namespace, name),
            Self::Api(client) => get::<v1::Service>(client, "Service", namespace, name)
                .await
                .ok()?,
        };
        let service: Service = serde_json::from_value(found?).ok()?;
        service.spec.cluster_ip?.parse().ok()
    }
}

fn find(objects: &[Value], kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let fits = |object: &&Value| {
        let of = object["metadata"]["namespace"].as_str();
        object["kind"] == kind
            && object["metadata"]["name"] == name
            && of.unwrap_or("default") == namespace
    };
    objects.iter().find(fits).cloned()
}

async fn get<K>(
    client: &kube::Client,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, ClusterError>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + serde::Serialize,
{
    let refused = |why: String| ClusterError::Api {
        what: format!("{kind} {namespace}/{name}"),
        why,
    };
    let api = kube::Api::<K>::namespaced(client.clone(), namespace);
    let got = timeout(PATIENCE, api.get_opt(name)).await;
    let got = got.map_err(|_| refused(format!("no answer within {PATIENCE:?}")))?;
    let got = got.map_err(|error| {
        refused(match error {
            kube::Error::Api(status) => status.message.clone(),
            error => causes(&error),
        })
    })?;
    let value = got.map(serde_json::to_value).transpose();
    value.map_err(|error| refused(error.to_string()))
}

/// The cluster that this process or its user belongs to: the Pod's own, or
/// that of `KUBECONFIG`, or of `~/.kube/config`.
pub(super) fn default_source() -> Result<Source, ClusterError> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let in_cluster = match Access::in_cluster(var) {
        Ok(access) => return Ok(Source::Api(access)),
        Err(error) => error,
    };
    let listed = var("KUBECONFIG").and_then(|list| std::env::split_paths(&list).next());
    let home = || Some(PathBuf::from(var("HOME")?).join(".kube/config")).filter(|it| it.exists());
    match listed.or_else(home) {
        Some(path) => Ok(Source::Api(Access::Kubeconfig {
            path,
            context: None,
        })),
        None => Err(in_cluster.into()),
    }
}
