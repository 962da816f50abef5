//! A real API server over a real etcd.

mod access;
mod audit;
mod guarded;
mod pki;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Mutex, OnceCell};

pub use access::{Account, dns_rules};
pub use audit::Deed;
use guarded::Guarded;

use crate::{Port, Process, until};

/// How long the API server may take to be ready. A machine with two busy
/// cores needs ten seconds.
const START: Duration = Duration::from_secs(90);

/// The Service networks: 10.96.0.0/16 and fd00:10:96::/112.
const SERVICE_NETWORKS: &str = "10.96.0.0/16,fd00:10:96::/112";

/// What the `kubernetes` Service has as its endpoint.
const ADVERTISED: &str = "192.0.2.10";

/// An API server with its etcd and, on request, the controller manager.
///
/// RBAC is on; the kubeconfig is an administrator's. Pods need no service
/// account. The programs end with the test process, however it ends.
#[derive(Debug)]
pub struct ControlPlane {
    programs: PathBuf,
    etcd_url: String,
    kubeconfig: PathBuf,
    flags: Vec<String>,
    // In the order of dropping: the programs end before their folder goes.
    running: Mutex<Running>,
    folder: TempDir,
    etcd_ports: [Port; 2],
    api_port: Port,
}

#[derive(Debug, Default)]
struct Running {
    etcd: Option<Guarded>,
    api: Option<Guarded>,
    controllers: Option<Guarded>,
    /// Last, so that dropping stops the programs first.
    _sweeper: Option<Guarded>,
}

static SHARED: OnceCell<Option<ControlPlane>> = OnceCell::const_new();

impl ControlPlane {
    /// The control plane that all tests of this process share, with the
    /// controller manager; started by the first that asks. Tests keep apart by
    /// namespaces of their own. `None` as in [`Self::start`].
    ///
    /// # Panics
    ///
    /// When the programs are there but do not come up.
    pub async fn shared() -> Option<&'static Self> {
        let start = async || {
            let plane = Self::start()
                .await
                .unwrap_or_else(|error| panic!("{error:#}"))?;
            let controllers = plane.start_controllers().await;
            controllers.unwrap_or_else(|error| panic!("{error:#}"));
            Some(plane)
        };
        SHARED.get_or_init(start).await.as_ref()
    }

    /// Starts a control plane of the caller's own, without the controller
    /// manager. `None`, after one printed line that says why, where the
    /// programs are not installed.
    ///
    /// # Errors
    ///
    /// When a program does not come up; shows the end of its log.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        Self::start_with(&[]).await
    }

    /// As [`Self::start`], with more flags for the API server.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn start_with(flags: &[&str]) -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs() else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("pando-plane-").tempdir()?;
        pki::write_pki(folder.path())?;
        audit::write_policy(folder.path())?;
        let api_port = Port::claim();
        let etcd_ports = [Port::claim(), Port::claim()];
        let kubeconfig = folder.path().join("kubeconfig");
        let url = format!("https://127.0.0.1:{}", api_port.number());
        access::write_admin(&kubeconfig, &url, folder.path())?;
        let running = Running {
            _sweeper: Some(Guarded::sweep(folder.path())?),
            ..Running::default()
        };
        let plane = Self {
            programs,
            etcd_url: format!("http://127.0.0.1:{}", etcd_ports[0].number()),
            folder,
            etcd_ports,
            api_port,
            kubeconfig,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            running: Mutex::new(running),
        };
        plane.start_etcd().await?;
        plane.start_api().await?;
        Ok(Some(plane))
    }

    /// The API server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port())
    }

    /// The API server's port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.api_port.number()
    }

    /// The administrator's kubeconfig, with a client certificate.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The certificate and key of the administrator and the certificate of
    /// the authority, in the order of the Corefile's `tls CERT KEY CACERT`.
    #[must_use]
    pub fn tls(&self) -> [PathBuf; 3] {
        ["admin.crt", "admin.key", "ca.crt"].map(|name| self.path(name))
    }

    /// A path in the folder that goes when the control plane goes.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client of the API with the administrator's rights.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        let config = Kubeconfig::read_from(&self.kubeconfig)?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// One request to the API server, as an administrator: `method` and
    /// `path`, a JSON body unless it is null. `PATCH` is a merge patch.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn request(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        access::request(&self.client().await?, method, path, body)
            .await
            .with_context(|| format!("{method} {path}"))
    }

    /// Runs kubectl as an administrator and yields its stdout.
    ///
    /// # Errors
    ///
    /// When it fails; shows its stderr.
    pub async fn kubectl(&self, arguments: &[&str], stdin: &str) -> anyhow::Result<String> {
        let mut command = Command::new(self.programs.join("kubectl"));
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(self.path("kubectl-cache"))
            .args(arguments)
            .env("HOME", self.folder.path());
        let mut process = Process::spawn(command, Some(stdin.to_owned()))?;
        let status = process.wait_exit(START).await?;
        if !status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), process.stderr());
        }
        Ok(process.stdout())
    }

    /// Applies a YAML stream, as `kubectl apply --server-side -f -`, and then
    /// the `status` of those documents that have one.
    ///
    /// # Errors
    ///
    /// When the API server refuses an object.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl(&apply, yaml).await?;
        let with_status: Vec<_> = (yaml.split("\n---"))
            .filter(|document| document.contains("\nstatus:"))
            .collect();
        if !with_status.is_empty() {
            let apply = [&apply[..], &["--subresource=status"]].concat();
            self.kubectl(&apply, &with_status.join("\n---")).await?;
        }
        Ok(())
    }

    /// Does the kubelet's part: gives a pod its addresses and reports it
    /// running and ready.
    ///
    /// # Errors
    ///
    /// When there is no such pod.
    pub async fn pod_ready(&self, namespace: &str, name: &str, ips: &[&str]) -> anyhow::Result<()> {
        let all: Vec<_> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
        let status = json!({ "status": {
            "phase": "Running",
            "podIP": ips.first(),
            "podIPs": all,
            "conditions": [{ "type": "Ready", "status": "True" }],
        }});
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        self.request("PATCH", &path, &status).await.map(drop)
    }

    /// Stops the API server as a crash would: every watch breaks.
    pub async fn stop_api(&self) {
        self.running.lock().await.api = None;
    }

    /// Starts the API server, on the same port, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not come up; shows the end of its log.
    pub async fn start_api(&self) -> anyhow::Result<()> {
        let port = self.port().to_string();
        let mut arguments = vec![
            format!("--etcd-servers={}", self.etcd_url),
            format!("--secure-port={port}"),
            format!("--advertise-address={ADVERTISED}"),
            format!("--service-cluster-ip-range={SERVICE_NETWORKS}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            // Compaction is the test's to ask for.
            "--etcd-compaction-interval=0".to_owned(),
            "--shutdown-send-retry-after=false".to_owned(),
        ];
        for (flag, file) in [
            ("tls-cert-file", "server.crt"),
            ("tls-private-key-file", "server.key"),
            ("client-ca-file", "ca.crt"),
            ("service-account-key-file", "accounts.pub"),
            ("service-account-signing-key-file", "accounts.key"),
            ("cert-dir", "api-certs"),
            ("audit-policy-file", audit::POLICY),
            ("audit-log-path", audit::LOG),
        ] {
            arguments.push(format!("--{flag}={}", self.path(file).display()));
        }
        arguments.extend(self.flags.iter().cloned());
        let api = self.run("kube-apiserver", &arguments)?;
        let started = async {
            let ready = until("kube-apiserver is ready", START, || async {
                if api.ended() {
                    return Some(Err(anyhow::anyhow!("kube-apiserver ended")));
                }
                let ready = self.request_text("/readyz").await.ok()?;
                // Ready comes before the namespaces and the Service that every
                // cluster has.
                let own = "/api/v1/namespaces/default/services/kubernetes";
                let system = "/api/v1/namespaces/kube-system";
                self.request_text(own).await.ok()?;
                self.request_text(system).await.ok()?;
                (ready == "ok").then_some(Ok(()))
            });
            ready.await?
        };
        started.await.with_context(|| api.log_end())?;
        self.running.lock().await.api = Some(api);
        Ok(())
    }

    /// Starts the controllers that fill EndpointSlices, run StatefulSets and
    /// clear namespaces.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub async fn start_controllers(&self) -> anyhow::Result<()> {
        let controllers = [
            "deployment-controller",
            "endpointslice-controller",
            "endpointslice-mirroring-controller",
            "garbage-collector-controller",
            "namespace-controller",
            "replicaset-controller",
            "serviceaccount-controller",
            "statefulset-controller",
        ];
        let arguments = [
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--controllers={}", controllers.join(",")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--concurrent-namespace-syncs=2".to_owned(),
        ];
        let running = self.run("kube-controller-manager", &arguments)?;
        self.running.lock().await.controllers = Some(running);
        Ok(())
    }

    /// Stops the API server, deletes all of etcd's data, and starts both
    /// again: an empty cluster whose resource versions start over. Tokens of
    /// service accounts made before are refused from then on.
    ///
    /// # Errors
    ///
    /// When a program does not come up.
    pub async fn rebuild(&self) -> anyhow::Result<()> {
        self.stop_api().await;
        self.running.lock().await.etcd = None;
        let data = self.path("etcd");
        std::fs::remove_dir_all(&data).with_context(|| data.display().to_string())?;
        self.start_etcd().await?;
        self.start_api().await
    }

    /// Makes every resource version up to now too old: etcd drops its history
    /// and the API server, restarted, has none in memory. A watch or a
    /// continued list from before meets 410.
    ///
    /// # Errors
    ///
    /// When etcd refuses or the API server does not come up.
    pub async fn compact(&self) -> anyhow::Result<()> {
        self.stop_api().await;
        // A write of our own, so that the last revision seen by a watcher is
        // older than the one that survives.
        let key = "cGFuZG8vY29tcGFjdA==";
        let put = json!({ "key": key, "value": "" });
        let put = self.etcd("/v3/kv/put", &put).await?;
        let revision = put["header"]["revision"].clone();
        let compact = json!({ "revision": revision, "physical": true });
        self.etcd("/v3/kv/compaction", &compact).await?;
        self.start_api().await
    }

    async fn start_etcd(&self) -> anyhow::Result<()> {
        let [client, peer] = self.etcd_ports.each_ref();
        let peer = format!("http://127.0.0.1:{}", peer.number());
        let arguments = [
            "--name=test".to_owned(),
            format!("--data-dir={}", self.path("etcd").display()),
            format!("--listen-client-urls={}", self.etcd_url),
            format!("--advertise-client-urls={}", self.etcd_url),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=test={peer}"),
            // Nothing here outlives the test: no reason to wait for the disk.
            "--unsafe-no-fsync".to_owned(),
        ];
        let etcd = self.run("etcd", &arguments)?;
        let address = ([127, 0, 0, 1], client.number()).into();
        let ready = until("etcd is ready", START, || async move {
            let page = crate::page(address, "/health", &[]).await.ok()?;
            page.status.is_success().then_some(())
        });
        ready.await.with_context(|| etcd.log_end())?;
        self.running.lock().await.etcd = Some(etcd);
        Ok(())
    }

    fn run(&self, name: &str, arguments: &[String]) -> anyhow::Result<Guarded> {
        let log = self.path(&format!("{name}.log"));
        Guarded::start(&self.programs.join(name), arguments, &log)
    }

    /// One call of etcd's JSON gateway.
    async fn etcd(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let config = kube::Config::new(self.etcd_url.parse()?);
        let client = kube::Client::try_from(config)?;
        access::request(&client, "POST", path, body)
            .await
            .with_context(|| format!("etcd {path}"))
    }

    async fn request_text(&self, path: &str) -> anyhow::Result<String> {
        let request = access::http_request("GET", path, &Value::Null)?;
        Ok(self.client().await?.request_text(request).await?)
    }
}

/// The folder of the four programs: where `KUBEBUILDER_ASSETS` says, else
/// `target/control-plane` of the workspace.
fn programs() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let built = workspace.join("target/control-plane");
    let named = std::env::var_os("KUBEBUILDER_ASSETS");
    let named = named.filter(|named: &OsString| !named.is_empty());
    let folder = named.map_or(built, PathBuf::from);
    if [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kubectl",
    ]
    .iter()
    .all(|name| folder.join(name).is_file())
    {
        return Some(folder);
    }
    println!(
        "skipped: no control plane in {} (tests/control-plane/build.sh builds it)",
        folder.display()
    );
    None
}

#[cfg(test)]
mod tests;
