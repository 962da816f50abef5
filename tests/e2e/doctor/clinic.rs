//! A cluster with a network of its own, and the doctor in one of its Pods.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use pando_test::{
    BOUND, ControlPlane, Inhabitant, Netns, Process, Reply, Rule, Upstream, dns_rules,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::binary::{Ran, binary};

/// The network of a node as a Pod sees it: what answers at the Service's
/// address, at those of two replicas, and at an upstream's.
const ADDRESSES: &str = "addr add 10.96.0.10/32 dev lo
addr add 10.244.0.5/32 dev lo
addr add 10.244.0.6/32 dev lo
addr add 192.0.2.53/32 dev lo
";
const UPSTREAM: &str = "192.0.2.53";

/// A cluster whose DNS is well.
pub(super) struct Clinic {
    pub(super) plane: ControlPlane,
    pub(super) netns: Netns,
    pub(super) upstream: SocketAddr,
    pub(super) replicas: Vec<Process>,
    pub(super) folder: TempDir,
    _inhabitants: Vec<Inhabitant>,
}

impl Clinic {
    /// `None`, after one line that says why, where it cannot be had.
    pub(super) async fn open() -> Option<Self> {
        if let Some(why) = Netns::missing() {
            println!("skipped: {why}");
            return None;
        }
        let plane = ControlPlane::start().await.unwrap()?;
        let netns = Netns::create("doctor").unwrap();
        netns.ip(ADDRESSES).unwrap();
        netns
            .resolv_conf(
                "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
            )
            .unwrap();
        let api = forward_api(&netns, plane.port());
        let (upstream, world) = netns
            .inhabit(|| async {
                let upstream = Upstream::start_on(UPSTREAM.parse()?).await?;
                upstream.rule(Rule::new(Reply::answer(&[
                    "example.com. 60 IN A 192.0.2.80",
                ])));
                let address = upstream.address();
                // It answers for as long as the namespace is inhabited.
                std::mem::forget(upstream);
                Ok(address)
            })
            .unwrap();
        let mut clinic = Self {
            plane,
            netns,
            upstream,
            replicas: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            _inhabitants: vec![api, world],
        };
        clinic.plane.account("coredns", &dns_rules()).await.unwrap();
        clinic.apply(&clinic.corefile("")).await;
        for bind in ["10.244.0.5 10.96.0.10", "10.244.0.6"] {
            clinic.start_replica(bind).await;
        }
        Some(clinic)
    }

    /// The Corefile of the ConfigMap, with `extra` in its block.
    pub(super) fn corefile(&self, extra: &str) -> String {
        format!(
            ".:53 {{
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods verified
        fallthrough in-addr.arpa ip6.arpa
    }}
    prometheus :9153
    forward . {}
    cache 30
    loop
    reload
    {extra}
}}
",
            self.upstream
        )
    }

    /// Everything that a cluster has for its DNS.
    pub(super) async fn apply(&self, corefile: &str) {
        let pod = |name: &str, node: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "namespace": "kube-system", "labels": { "k8s-app": "kube-dns" } },
                "spec": {
                    "nodeName": node, "dnsPolicy": "Default", "serviceAccountName": "coredns",
                    "containers": [{
                        "name": "coredns", "image": "ghcr.io/pando-dns/pando",
                        "volumeMounts": [{ "name": "config", "mountPath": "/etc/coredns" }],
                    }],
                    "volumes": [{ "name": "config", "configMap": { "name": "coredns" } }],
                },
            })
        };
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": "kube-dns", "namespace": "kube-system" },
                "spec": {
                    "clusterIP": "10.96.0.10", "selector": { "k8s-app": "kube-dns" },
                    "ports": [
                        { "name": "dns", "port": 53, "protocol": "UDP" },
                        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
                    ],
                },
            },
            pod("coredns-a", "node-a"), pod("coredns-b", "node-b"),
            {
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": "coredns", "namespace": "kube-system" },
                "data": { "Corefile": corefile },
            },
        ]});
        self.plane.apply(&list.to_string()).await.unwrap();
        for (pod, ip) in [("coredns-a", "10.244.0.5"), ("coredns-b", "10.244.0.6")] {
            self.plane
                .pod_ready("kube-system", pod, &[ip])
                .await
                .unwrap();
        }
        self.endpoints(&["a", "b"]).await;
    }

    /// Has the Service lead to these replicas.
    pub(super) async fn endpoints(&self, replicas: &[&str]) {
        let endpoint = |name: &&str| {
            let ip = if *name == "a" {
                "10.244.0.5"
            } else {
                "10.244.0.6"
            };
            json!({
                "addresses": [ip], "nodeName": format!("node-{name}"), "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "namespace": "kube-system", "name": format!("coredns-{name}") },
            })
        };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-1", "namespace": "kube-system",
                "labels": { "kubernetes.io/service-name": "kube-dns" },
            },
            "addressType": "IPv4",
            "endpoints": replicas.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": [
                { "name": "dns", "port": 53, "protocol": "UDP" },
                { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
            ],
        });
        self.plane.apply(&slice.to_string()).await.unwrap();
    }

    async fn start_replica(&mut self, bind: &str) {
        let path = self
            .folder
            .path()
            .join(format!("Corefile.{}", self.replicas.len()));
        let corefile = format!(
            ".:53 {{
    bind {bind}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        fallthrough in-addr.arpa
        startup_timeout 1m
    }}
    forward . {}
}}
",
            self.plane.kubeconfig().display(),
            self.upstream
        );
        fs::write(&path, corefile).unwrap();
        let mut command = self.netns.command(binary());
        command.arg("-conf").arg(&path);
        let replica = Process::spawn(command, None).unwrap();
        replica.wait_for_line("Pando-", BOUND).await.unwrap();
        self.replicas.push(replica);
    }

    /// Runs it in a Pod, as an administrator.
    pub(super) async fn doctor(&self, arguments: &[&str]) -> Ran {
        self.doctor_as(self.plane.kubeconfig(), arguments).await
    }

    pub(super) async fn doctor_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Ran {
        let mut command = self.netns.command(binary());
        command
            .arg("doctor")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
        let mut process = Process::spawn(command, None).unwrap();
        let status = process.wait_exit(BOUND).await.unwrap();
        Ran {
            code: status.code(),
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }

    /// Runs it and yields the exit code and the findings.
    pub(super) async fn findings(&self) -> (Option<i32>, Vec<Value>) {
        let ran = self.doctor(&["-o", "json", "--timeout", "3s"]).await;
        let document: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        assert_eq!(document["healthy"], json!(ran.code == Some(0)), "{ran:?}");
        (ran.code, document["findings"].as_array().unwrap().clone())
    }

    /// It is unhealthy, and says so in these words.
    pub(super) async fn expect(&self, check: &str, severity: &str, part: &str) {
        let (code, findings) = self.findings().await;
        let there = findings.iter().any(|finding| {
            finding["check"] == check
                && finding["severity"] == severity
                && finding["what"]
                    .as_str()
                    .is_some_and(|what| what.contains(part))
        });
        assert!(there, "{check}: {part} in {findings:#?}");
        assert_eq!(code, Some(i32::from(severity == "error")), "{findings:#?}");
    }
}

/// Has the API server answer in the namespace at the address that it has
/// outside, so that its certificate holds.
fn forward_api(netns: &Netns, port: u16) -> Inhabitant {
    let (listener, inhabitant) = netns
        .inhabit(move || async move {
            let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .unwrap();
    // The listener stays where it was bound; what it accepts is carried outside.
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut inner, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut outer) = TcpStream::connect(("127.0.0.1", port)).await {
                    let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
                }
            });
        }
    });
    inhabitant
}
