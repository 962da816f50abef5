//! From what the Corefile says to a watched cluster: the store, the wait for
//! it, and its end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, interval_at, timeout};

use super::client::{Access, AccessError, Tls};
use super::examples::Examples;
use super::metrics::Metrics;
use super::model::Kind;
use super::slim::Keep;
use super::spec::{Options, PodMode, Source};
use super::store::{self, Store, StoreConfig};
use super::versions::Versions;
use super::view::View;
use super::{Kubernetes, TARGET};
use crate::interfaces;
use crate::plugin::{BuildError, Builder, Settings, Spec, autopath};

/// While the start waits, it says so this often.
const WAITING: Duration = Duration::from_millis(500);
/// How long the start waits for news where an old state can answer.
const STALE_WAIT: Duration = Duration::from_millis(500);

/// A store, and a token that every server block that uses it has a copy of.
struct Watched {
    store: Arc<Store>,
    token: Arc<()>,
    /// What zones are handed out from, where `transfer` does.
    versions: Arc<Versions>,
    follower: OnceLock<AbortHandle>,
}

impl Spec for Options {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        for warning in &self.warnings {
            tracing::warn!(target: TARGET, "{warning}");
        }
        let view = watch(&self, builder)?;
        let local = local_addresses(&builder.settings.hosts);
        let mut kubernetes = Kubernetes::new(&self, local, view.clone());
        let host = autopath::host_search();
        if self.pods == PodMode::Verified || self.node.is_some() {
            kubernetes.know_clients(&host);
        }
        kubernetes.know_nodes(host);
        builder.push(Arc::new(kubernetes));
        if !self.source.manifests.is_empty() {
            let examples = Examples::new(&self, builder, view);
            builder.on_started(move || {
                examples.log();
                Box::pin(std::future::ready(Ok(())))
            });
        }
        Ok(())
    }
}

/// Follows the cluster from now to the configuration's end, and has the start
/// wait for what is there.
pub(super) fn watch(options: &Options, builder: &mut Builder<'_>) -> Result<View, BuildError> {
    let config = store_config(options, builder.settings, |name| std::env::var(name).ok())
        .map_err(|error| BuildError::new(error.to_string()))?;
    // A reload that changes nothing here goes on with the same watch.
    let control = builder.control;
    let watched = builder.kept.take_or(&format!("kubernetes {config:?}"), || {
        let metrics = Metrics::new(matches!(config.source, store::Source::Api(_)));
        let store = Store::start(&config, Arc::new(metrics), control)?;
        Ok::<_, store::StartError>(Arc::new(Watched {
            store,
            token: Arc::new(()),
            versions: Arc::default(),
            follower: OnceLock::new(),
        }))
    });
    let watched = watched.map_err(|error| BuildError::new(error.to_string()))?;
    // Lost with the hook when the configuration never comes into force.
    let token = Arc::clone(&watched.token);

    let view = View::new(Arc::clone(watched.store.snapshots()));
    let view = view.with_versions(Arc::clone(&watched.versions));
    let (transferred, control) = (Arc::clone(&watched), builder.control.clone());
    builder.when_assembled(move |block| {
        if block.chain.iter().any(|plugin| plugin.name() == "transfer") {
            let Watched {
                store, versions, ..
            } = &*transferred;
            let follow = || {
                let (cell, changes) = (Arc::clone(store.snapshots()), store.changes());
                let follower = Arc::clone(versions).follow(cell, changes);
                control.spawn(follower).abort_handle()
            };
            transferred.follower.get_or_init(follow);
        }
    });
    let limit = match view.load().stale() {
        true => options.startup_timeout.min(STALE_WAIT),
        false => options.startup_timeout,
    };
    let store = Arc::clone(&watched.store);
    builder.on_startup(move || {
        Box::pin(async move {
            wait(&store, limit).await;
            Ok(())
        })
    });
    builder.on_shutdown(move || {
        Box::pin(async move {
            drop(token);
            if Arc::strong_count(&watched.token) == 1 {
                watched.store.shutdown().await;
                if let Some(follower) = watched.follower.get() {
                    follower.abort();
                }
            }
            Ok(())
        })
    });
    Ok(view)
}

/// Waits until the cluster's state is known, in CoreDNS's words.
async fn wait(store: &Store, limit: Duration) {
    if store.synced() {
        return;
    }
    let mut ticks = interval_at(Instant::now() + WAITING, WAITING);
    let said = async {
        loop {
            ticks.tick().await;
            tracing::info!(target: TARGET, "waiting for Kubernetes API before starting server");
        }
    };
    let waited = timeout(limit, async {
        tokio::select! {
            () = store.wait_synced() => {}
            () = said => {}
        }
    });
    if waited.await.is_err() {
        tracing::warn!(target: TARGET, "starting server with unsynced Kubernetes API");
    }
}

/// The collections that a server in a pod needs for this.
pub(super) fn kinds(options: &Options) -> Vec<Kind> {
    // Which ones does not depend on where the API server is.
    let anywhere = |_: &str| Some("1".to_owned());
    let config = store_config(options, &Settings::default(), anywhere);
    config.map_or_else(|_| Vec::new(), |config| config.kinds())
}

fn store_config(
    options: &Options,
    settings: &Settings,
    var: impl Fn(&str) -> Option<String>,
) -> Result<StoreConfig, AccessError> {
    let rehearsal = settings.rehearsal.as_ref();
    let elsewhere = rehearsal.and_then(|rehearsal| rehearsal.cluster.clone());
    Ok(StoreConfig {
        source: match elsewhere {
            Some(source) => source,
            None => source(options, settings, var)?,
        },
        labels: options.labels.clone(),
        namespace_labels: options.namespace_labels.clone(),
        endpoints: options.endpoints,
        pods: options.pods == PodMode::Verified || options.node.is_some(),
        // Answers about pods need all of them.
        node: options
            .node
            .clone()
            .filter(|_| options.pods != PodMode::Verified),
        multicluster: !options.multicluster.is_empty(),
        keep: Keep {
            pod_names: options.endpoint_pod_names,
            zones: options.zonal,
            // Only the directive `metadata` would show them.
            pod_labels: false,
        },
        state_file: options
            .snapshot
            .as_ref()
            // A rehearsal keeps no files, and believes no old ones.
            .filter(|_| rehearsal.is_none())
            .map(|path| -> PathBuf { settings.resolve(path) }),
        user_agent: format!(
            "Pando/{} ({}/{})",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    })
}

/// Where the objects come from, as the Corefile says.
pub(super) fn source(
    options: &Options,
    settings: &Settings,
    var: impl Fn(&str) -> Option<String>,
) -> Result<store::Source, AccessError> {
    let Source {
        endpoint,
        tls,
        kubeconfig,
        manifests,
    } = &options.source;
    Ok(match (manifests.as_slice(), kubeconfig, endpoint) {
        ([_, ..], _, _) => {
            let paths = manifests.iter().map(|path| settings.resolve(path));
            store::Source::Manifests(paths.collect())
        }
        // With both, CoreDNS asks the kubeconfig.
        (_, Some((path, context)), _) => store::Source::Api(Access::Kubeconfig {
            path: path.into(),
            context: context.clone(),
        }),
        (_, None, Some(url)) => store::Source::Api(Access::Endpoint {
            url: url.clone(),
            tls: tls.as_ref().map(|[cert, key, ca]| Tls {
                cert: cert.into(),
                key: key.into(),
                ca: ca.into(),
            }),
        }),
        (_, None, None) => store::Source::Api(Access::in_cluster(var)?),
    })
}

/// The addresses of this host, loopback left out. With `bind` there are none:
/// CoreDNS expects a prefix length there, which an address does not have.
fn local_addresses(bind: &[String]) -> Vec<IpAddr> {
    if !bind.is_empty() {
        return Vec::new();
    }
    let addresses = interfaces::all().filter_map(|(_, address)| address);
    addresses.filter(|ip| !ip.is_loopback()).collect()
}
