//! The chart of `deploy/chart/pando`: linted and rendered by the real helm,
//! taken by a real API server, its Corefile by the binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pando_test::{ControlPlane, Helm};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::run;
use crate::deploy::apply;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/chart/pando");

/// The files of values under `tests/charts`, and none.
fn values() -> Vec<Option<PathBuf>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/charts");
    let entries = fs::read_dir(folder).expect("the folder");
    let files = entries.map(|entry| Some(entry.expect("an entry").path()));
    let all: Vec<_> = files.chain([None]).collect();
    assert!(all.len() > 5, "{all:?}");
    all
}

fn helm() -> Option<Helm> {
    Helm::find().expect("a home")
}

fn arguments<'a>(words: &[&'a str], values: Option<&'a Path>) -> Vec<&'a str> {
    let mut all = words.to_vec();
    if let Some(path) = values {
        all.extend(["--values", path.to_str().expect("a path in UTF-8")]);
    }
    all
}

/// The manifests of a release.
async fn rendered(helm: &Helm, namespace: &str, release: &str, values: Option<&Path>) -> String {
    let words = ["template", release, CHART, "--namespace", namespace];
    let words = arguments(&words, values);
    helm.run(None, &words).await.expect("renders")
}

/// The objects of a stream by kind and name.
fn objects(manifests: &str) -> BTreeMap<String, Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifests).expect("YAML");
    let objects = documents.into_iter().filter(|object| !object.is_null());
    objects
        .map(|object| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            (format!("{kind}/{name}"), object)
        })
        .collect()
}

/// What `pando check` says of a ConfigMap's Corefile.
async fn checked(config: &Value) -> crate::binary::Ran {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in config["data"].as_object().expect("files") {
        let text = text.as_str().expect("text");
        fs::write(folder.path().join(name), text).expect("a file");
    }
    run(folder.path(), &["check", "-conf", "Corefile"]).await
}

#[tokio::test]
async fn it_is_as_helm_wants_a_chart() {
    let Some(helm) = helm() else { return };
    for values in values() {
        let lint = arguments(&["lint", "--strict", CHART], values.as_deref());
        let linted = helm.run(None, &lint).await;
        linted.unwrap_or_else(|error| panic!("{values:?}: {error:#}"));
    }
}

#[tokio::test]
async fn all_that_it_renders_is_taken_field_by_field() {
    let Some(helm) = helm() else { return };
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    plane.apply(SERVICE_MONITORS).await.expect("the kind");
    let kind = "crd/servicemonitors.monitoring.coreos.com";
    let wait = ["wait", "--for=condition=Established", kind];
    plane.kubectl(&wait, "").await.expect("is served");
    for values in values() {
        let manifests = rendered(&helm, "default", "dry", values.as_deref()).await;
        let taken = apply(plane, &manifests, &["--dry-run=server"]).await;
        taken.unwrap_or_else(|error| panic!("{values:?}: {error:#}"));
    }
}

#[tokio::test]
async fn its_corefile_passes_the_check() {
    let Some(helm) = helm() else { return };
    for values in values() {
        let manifests = rendered(&helm, "kube-system", "coredns", values.as_deref()).await;
        for (name, object) in objects(&manifests) {
            if object["data"]["Corefile"].is_string() {
                let ran = checked(&object).await;
                assert_eq!(ran.code, Some(0), "{values:?}, {name}: {}", ran.stderr);
            }
        }
    }
}

#[tokio::test]
async fn each_zone_of_a_block_has_its_port() {
    let Some(helm) = helm() else { return };
    let values = values().into_iter().flatten();
    let ports = values.into_iter().find(|path| path.ends_with("ports.yaml"));
    let objects = objects(&rendered(&helm, "kube-system", "coredns", ports.as_deref()).await);
    let ran = checked(&objects["ConfigMap/coredns"]).await;
    for zone in [
        ". on :1053:",
        "a.example. b.example. on :2053:",
        ". on :3053:",
    ] {
        assert!(ran.stdout.contains(zone), "{zone}: {}", ran.stdout);
    }
    let service = &objects["Service/coredns"]["spec"];
    assert_eq!(
        service["ports"],
        json!([
            { "name": "udp-1053", "protocol": "UDP", "port": 53, "targetPort": 1053, "nodePort": 30053 },
            { "name": "tcp-1053", "protocol": "TCP", "port": 53, "targetPort": 1053, "nodePort": 30053 },
            { "name": "udp-2053", "protocol": "UDP", "port": 2053, "targetPort": 2053 },
            { "name": "udp-3053", "protocol": "UDP", "port": 3053, "targetPort": 3053 },
        ])
    );
    // Probes and metrics are where the Corefile has them.
    let container = &objects["Deployment/coredns"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], 8099);
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], 8199);
    let metrics = &objects["Service/coredns-metrics"];
    assert_eq!(metrics["spec"]["ports"][0]["targetPort"], 9154);
    assert_eq!(
        metrics["metadata"]["annotations"]["prometheus.io/port"],
        "9154"
    );
    // Nothing here asks the API server.
    assert!(!objects.contains_key("ClusterRole/coredns"));
}

/// A Deployment's selector cannot change: what the coredns chart has there,
/// and its names, must be ours.
#[tokio::test]
async fn a_release_of_the_coredns_chart_can_be_upgraded_to_it() {
    let Some(helm) = helm() else { return };
    let objects = objects(&rendered(&helm, "kube-system", "coredns", None).await);
    let selector = json!({
        "app.kubernetes.io/instance": "coredns",
        "app.kubernetes.io/name": "coredns",
        "k8s-app": "coredns",
    });
    let deployment = &objects["Deployment/coredns"]["spec"];
    assert_eq!(deployment["selector"]["matchLabels"], selector);
    assert_eq!(objects["Service/coredns"]["spec"]["selector"], selector);
    let pod = &deployment["template"]["spec"];
    assert_eq!(pod["containers"][0]["name"], "coredns");
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["dnsPolicy"], "Default");
}

#[tokio::test]
async fn what_it_cannot_honour_is_refused_by_name() {
    let Some(helm) = helm() else { return };
    for (set, said) in [
        ("replicas=3", "additional properties 'replicas' not allowed"),
        ("autoscaler.mim=1", "at '/autoscaler'"),
        ("replicaCount=many", "at '/replicaCount'"),
        ("servers[0].port=70000", "at '/servers/0/port'"),
        ("customLabels.a=1", "at '/customLabels/a'"),
        (
            "image.repository=a.example/coredns/coredns",
            "image.repository: a.example/coredns/coredns is CoreDNS",
        ),
        (
            "image.tag=1.11.1",
            "image.tag: 1.11.1 is no version of Pando",
        ),
        ("rbac.pspEnable=true", "rbac.pspEnable: "),
        (
            "hpa.enabled=true,autoscaler.enabled=true",
            "hpa.enabled, autoscaler.enabled: ",
        ),
        (
            "hpa.enabled=true,hpa.maxReplicas=1",
            "hpa.minReplicas: 2 is more than hpa.maxReplicas, 1",
        ),
        (
            "autoscaler.enabled=true,autoscaler.max=1",
            "autoscaler.min: 2 is more",
        ),
        ("deployment.dnsPolicy=None", "deployment.dnsPolicy: "),
        (
            "deployment.enabled=false,hpa.enabled=true",
            "deployment.name: ",
        ),
        (
            "podLabels.k8s-app=kube-dns",
            "podLabels: the Deployment selects its Pods by k8s-app=coredns; change it with k8sAppLabelOverride",
        ),
        (
            "servers[0].zones[0].scheme=tls://,servers[0].plugins[0].name=whoami",
            "servers[0].zones[0].scheme: Pando does not serve tls://",
        ),
        (
            "servers[0].zones[0].zone=a.example:53,servers[0].plugins[0].name=whoami",
            "servers[0].zones[0].zone: ",
        ),
        (
            "servers[0].plugins[0].name=dnssec",
            "servers[0].plugins[0].name: Pando ",
        ),
        (
            "servers[0].plugins[0].name=whoami",
            "livenessProbe.enabled: ",
        ),
        (
            "servers[0].plugins[0].name=health",
            "readinessProbe.enabled: ",
        ),
        (
            "servers[0].plugins[0].name=ready,prometheus.monitor.enabled=true",
            "prometheus.monitor.enabled: ",
        ),
        ("servers=null", "servers: there is none"),
        (
            "zoneFiles[0].filename=Corefile,zoneFiles[0].contents=x",
            "zoneFiles[0].filename: ",
        ),
        (
            "servers[0].plugins[0].name=errors,servers[0].servicePort=1,servers[1].servicePort=2,servers[1].plugins[0].name=whoami",
            "servers[1].servicePort: 2, and another block of port 53 says 1",
        ),
    ] {
        let words = ["template", "dns", CHART, "--set", set];
        let refused = helm.run(None, &words).await.expect_err(set);
        assert!(format!("{refused:#}").contains(said), "{set}: {refused:#}");
    }
}

#[tokio::test]
async fn it_is_for_this_version_and_its_directives() {
    let chart = include_str!("../../deploy/chart/pando/Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.contains(&format!("\nappVersion: {version}\n")));
    let folder = TempDir::new().expect("a folder");
    let ran = run(folder.path(), &["-plugins"]).await;
    let known = include_str!("../../deploy/chart/pando/directives");
    assert_eq!(known, ran.stdout, "deploy/chart/pando/directives");
}

#[tokio::test]
async fn a_release_is_installed_changed_rolled_back_and_removed() {
    let Some(helm) = helm() else { return };
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let install = |words: &[&'static str]| {
        let words = [words, &["chart", CHART, "--namespace", "kube-system"]].concat();
        let helm = &helm;
        async move { helm.run(Some(plane), &words).await }
    };
    let notes = install(&["install"]).await.expect("installed");
    assert!(notes.contains("service.clusterIP"), "{notes}");
    let deployment = "/apis/apps/v1/namespaces/kube-system/deployments/chart-coredns";
    let replicas = async || {
        let found = plane.request("GET", deployment, &Value::Null).await?;
        anyhow::Ok(found["spec"]["replicas"].clone())
    };
    assert_eq!(replicas().await.expect("is there"), 2);

    serves_as_installed(plane).await;

    let upgrade = ["upgrade", "--set", "replicaCount=3"];
    install(&upgrade).await.expect("upgraded");
    assert_eq!(replicas().await.expect("is there"), 3);
    let wrong = ["upgrade", "--set", "replicaCount=4,image.tag=1.11.1"];
    let refused = install(&wrong).await.expect_err("refused");
    assert!(format!("{refused:#}").contains("image.tag"), "{refused:#}");
    assert_eq!(replicas().await.expect("is there"), 3);

    let back = ["rollback", "chart", "1", "--namespace", "kube-system"];
    helm.run(Some(plane), &back).await.expect("rolled back");
    assert_eq!(replicas().await.expect("is there"), 2);
    let remove = ["uninstall", "chart", "--namespace", "kube-system"];
    helm.run(Some(plane), &remove).await.expect("removed");
    replicas().await.expect_err("is gone");
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/chart-coredns";
    let role = plane.request("GET", role, &Value::Null).await;
    role.expect_err("is gone");
}

/// Serves by the Corefile that was installed, with the rights of the account
/// that was: it gets ready and is refused nothing.
async fn serves_as_installed(plane: &ControlPlane) {
    let account = plane.account_of("chart-coredns").await;
    let account = account.expect("the account");
    let config = "/api/v1/namespaces/kube-system/configmaps/chart-coredns";
    let config = plane.request("GET", config, &Value::Null).await;
    let config = config.expect("the ConfigMap");
    let corefile = config["data"]["Corefile"].as_str().expect("a Corefile");
    let kubeconfig = format!("kubeconfig {} test\n", account.kubeconfig.display());
    let here = corefile
        .replace(".:53", ".:$PORT")
        .replace("health {", "health 127.0.0.1:$HEALTH_PORT {")
        .replace("ready\n", "ready 127.0.0.1:$READY_PORT\n")
        .replace(":9153", "127.0.0.1:$METRICS_PORT")
        .replace("lameduck 5s", "lameduck 0s")
        .replace("/etc/resolv.conf", "127.0.0.1:9")
        .replace("pods insecure", &format!("pods insecure\n{kubeconfig}"));
    let mut server = crate::pando(&here).start().await.expect("starts");
    server.ready().await.expect("gets ready");
    let name = "kubernetes.default.svc.cluster.local.";
    let answer = server.client().ask(name, "A").await.expect("an answer");
    assert_eq!(answer.data(), ["10.96.0.1"]);
    let shown = server.shown();
    assert!(!shown.contains("forbidden"), "{shown}");
}

/// The Prometheus operator's kind, as far as an API server must know it.
const SERVICE_MONITORS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: servicemonitors.monitoring.coreos.com
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, plural: servicemonitors, singular: servicemonitor}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
";
