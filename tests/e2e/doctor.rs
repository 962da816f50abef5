//! `pando doctor` beside a real API server, with replicas on a network of
//! their own: healthy, and then broken in one way after another.

#[path = "doctor/clinic.rs"]
mod clinic;

use std::fs;

use pando_test::dns_rules;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use self::clinic::Clinic;
use crate::binary::{binary, run};

fn egress(ports: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } },
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "web", "namespace": "shop", "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "web", "image": "web" }] },
        },
        {
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": "only-dns", "namespace": "shop" },
            "spec": {
                "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Egress"],
                "egress": [{ "to": [{ "namespaceSelector": {} }], "ports": ports }],
            },
        },
    ]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found() {
    let Some(mut clinic) = Clinic::open().await else {
        return;
    };
    // Healthy, and nothing that it may look at is left out.
    let (code, findings) = clinic.findings().await;
    assert_eq!(code, Some(0), "{findings:#?}");
    for (check, severity, part) in [
        ("service", "ok", "10.96.0.10, port 53 over UDP and TCP"),
        ("service", "ok", "2 ready endpoints"),
        (
            "replicas",
            "ok",
            "coredns-a 10.244.0.5: kubernetes.default.svc.cluster.local. ",
        ),
        ("replicas", "ok", "coredns-b 10.244.0.6: "),
        ("replicas", "ok", "Service 10.96.0.10: "),
        ("agents", "info", "no node agent"),
        ("upstreams", "ok", "answers example.com. after"),
        ("resolv-conf", "ok", "nameserver 10.96.0.10: the Service"),
        ("resolv-conf", "info", "up to 8 queries"),
        (
            "conntrack",
            "not_checked",
            "this Pod has a table of its own",
        ),
        ("policies", "ok", "there are no NetworkPolicies"),
        (
            "rbac",
            "ok",
            "ServiceAccount coredns may list and watch services, endpointslices, namespaces, pods",
        ),
        ("corefile", "ok", "1 server block"),
    ] {
        let there = findings.iter().any(|finding| {
            finding["check"] == check
                && finding["severity"] == severity
                && finding["what"]
                    .as_str()
                    .is_some_and(|what| what.contains(part))
        });
        assert!(there, "{check}: {part} in {findings:#?}");
    }
    assert_eq!(findings.len(), 13, "{findings:#?}");
    let ran = clinic.doctor(&["--skip", "conntrack,agents"]).await;
    assert!(
        ran.stdout
            .ends_with("healthy: 0 errors, 0 warnings, 0 not checked\n"),
        "{ran:?}"
    );
    assert_eq!(ran.stderr, "");

    broken_objects(&clinic).await;
    agents(&clinic).await;
    others_than_the_administrator(&clinic).await;

    clinic.replicas[1].kill().await.unwrap();
    clinic.expect("replicas", "error", "coredns-b 10.244.0.6: kubernetes.default.svc.cluster.local. over UDP and TCP: connection refused").await;

    // Without an API server what is here is looked at all the same.
    clinic.plane.stop_api().await;
    let ran = clinic.doctor(&["--timeout", "2s"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.starts_with(
            "Service kube-system/kube-dns could not be looked at: the API server cannot be asked: "
        ),
        "{ran:?}"
    );
    assert!(
        ran.stdout
            .contains("nameserver 10.96.0.10: the Service's address is not known"),
        "{ran:?}"
    );
    // Nothing that was seen is wrong, and that is not to be well.
    assert!(ran.stdout.contains("\nnot known: 0 errors, "), "{ran:?}");
    assert!(
        ran.stderr.contains("\nasked was https://127.0.0.1:"),
        "{ran:?}"
    );
}

async fn broken_objects(clinic: &Clinic) {
    clinic.endpoints(&[]).await;
    clinic
        .expect(
            "service",
            "error",
            "kube-dns has no endpoints: no query is answered",
        )
        .await;
    clinic.endpoints(&["b"]).await;
    clinic
        .expect("service", "warning", "one ready endpoint only: coredns-b")
        .await;
    clinic.endpoints(&["a", "b"]).await;

    let dns = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    clinic
        .plane
        .apply(&egress(&json!([{ "port": 53 }])).to_string())
        .await
        .unwrap();
    clinic
        .expect("policies", "error", "NetworkPolicy only-dns: 1 Pod of namespace shop (web) cannot ask the cluster DNS over UDP")
        .await;
    clinic.plane.apply(&egress(&dns).to_string()).await.unwrap();
    // Ours lets everybody ask, and the cluster DNS upstreams at port 53 alone.
    let own = include_str!("../../deploy/kustomize/cluster-dns/base/network.yaml");
    clinic.plane.apply(own).await.unwrap();
    let (code, findings) = clinic.findings().await;
    let of_policies = findings
        .iter()
        .filter(|finding| finding["check"] == "policies");
    let whats: Vec<&Value> = of_policies.map(|finding| &finding["what"]).collect();
    let port = clinic.upstream.port();
    let held = format!(
        "NetworkPolicy coredns keeps the cluster DNS from upstreams at port {port} over UDP"
    );
    assert_eq!((code, whats), (Some(0), vec![&json!(held)]));

    let mut rules = dns_rules();
    rules[1]["verbs"] = json!(["list"]);
    clinic.plane.account("coredns", &rules).await.unwrap();
    clinic
        .expect(
            "rbac",
            "error",
            "ServiceAccount coredns may not watch endpointslices",
        )
        .await;
    clinic.plane.account("coredns", &dns_rules()).await.unwrap();

    for (extra, part) in [
        (
            "forward example.org 10.96.0.10",
            "forward to 10.96.0.10:53, the address of the Service itself: a loop",
        ),
        ("dnstap /tmp/x", "directive 'dnstap' is not supported yet"),
        ("resyncperiod 5m", "Unknown directive 'resyncperiod'"),
    ] {
        clinic.apply(&clinic.corefile(extra)).await;
        clinic.expect("corefile", "error", part).await;
        let (_, findings) = clinic.findings().await;
        assert!(
            findings
                .iter()
                .any(|finding| finding["where"] == "Corefile:14"),
            "{findings:#?}"
        );
    }
    clinic.apply(&clinic.corefile("")).await;
}

/// A DaemonSet whose address the first replica answers at, with a page of
/// metrics that says what an agent's says that gave up.
async fn agents(clinic: &Clinic) {
    let ((), page) = clinic
        .netns
        .inhabit(|| async {
            let listener = TcpListener::bind("10.244.0.5:9353").await?;
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut request = [0; 512];
                    let _ = stream.read(&mut request).await;
                    let body = "pando_node_fail_open 1\npando_node_worker_serving 0\n";
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    let _ = stream.write_all((head + body).as_bytes()).await;
                }
            });
            Ok(())
        })
        .unwrap();
    let labels = json!({ "k8s-app": "node-local-dns" });
    let template = json!({
        "metadata": { "labels": labels },
        "spec": { "containers": [{ "name": "node-cache", "image": "pando-node", "args": ["-localip=10.96.0.10"] }] },
    });
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "node-local-dns", "namespace": "kube-system" },
            "spec": { "selector": { "matchLabels": labels }, "template": template },
        },
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "agent", "namespace": "kube-system", "labels": labels },
            "spec": { "nodeName": "node-a", "containers": template["spec"]["containers"] },
        },
    ]});
    clinic.plane.apply(&objects.to_string()).await.unwrap();
    clinic
        .plane
        .pod_ready("kube-system", "agent", &["10.244.0.5"])
        .await
        .unwrap();
    let status = json!({ "status": {
        "numberReady": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0,
    }});
    let path = "/apis/apps/v1/namespaces/kube-system/daemonsets/node-local-dns/status";
    clinic.plane.request("PATCH", path, &status).await.unwrap();
    clinic
        .expect(
            "agents",
            "error",
            "no agent stays up on node-a: queries there go to the cluster DNS",
        )
        .await;
    drop(page);
    clinic
        .expect(
            "agents",
            "warning",
            "DaemonSet node-local-dns: 1 of 2 nodes have a ready agent",
        )
        .await;
    let (_, findings) = clinic.findings().await;
    for part in [
        "10.96.0.10 answers here after",
        "the metrics of 1 of 1 agents cannot be read from this Pod; on node-a: ",
    ] {
        let there = findings.iter().any(|finding| {
            finding["what"]
                .as_str()
                .is_some_and(|what| what.starts_with(part))
        });
        assert!(there, "{part} in {findings:#?}");
    }
}

async fn others_than_the_administrator(clinic: &Clinic) {
    // What the role of deploy/ allows is all that it needs.
    let role = include_str!("../../deploy/kustomize/doctor/rbac.yaml");
    clinic.plane.apply(role).await.unwrap();
    let account = clinic
        .plane
        .account("pando-doctor", &json!([]))
        .await
        .unwrap();
    let ran = clinic
        .doctor_as(&account.kubeconfig, &["--skip", "conntrack,agents"])
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(", 0 not checked\n"), "{ran:?}");

    // One who may read little is told what was not looked at, and the rest.
    let services = json!([{ "apiGroups": [""], "resources": ["services"], "verbs": ["get"] }]);
    let little = clinic.plane.account("little", &services).await.unwrap();
    let ran = clinic.doctor_as(&little.kubeconfig, &[]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in [
        "  ok          Service kube-system/kube-dns: 10.96.0.10",
        "not checked endpointslices.discovery.k8s.io is forbidden",
        "not checked networkpolicies.networking.k8s.io is forbidden",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    let nobody = clinic.plane.account("nobody", &json!([])).await.unwrap();
    let ran = clinic.doctor_as(&nobody.kubeconfig, &[]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("services \"kube-dns\" is forbidden"),
        "{ran:?}"
    );

    // From a machine that has no way to Pods nothing is called dead.
    let kubeconfig = clinic.plane.kubeconfig().display().to_string();
    let ran = run(
        clinic.folder.path(),
        &["doctor", "--kubeconfig", &kubeconfig, "--timeout", "3s"],
    )
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let why = "not checked no replica can be reached from outside the cluster";
    assert!(ran.stdout.contains(why), "{ran:?}");
}

#[tokio::test]
async fn a_corefile_is_looked_at_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Corefile");
    fs::write(
        &path,
        ". {\n kubernetes cluster.local in-addr.arpa\n forward . 127.0.0.1\n errors\n}\n",
    )
    .unwrap();
    let ran = run(folder.path(), &["doctor", "--offline", "-conf", "Corefile"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    for line in [
        "corefile\n  error       Corefile:3: forward to 127.0.0.1:53, where this server block itself listens: a loop\n",
        "\n  warning     Corefile:2: no fallthrough for in-addr.arpa.: ",
        "\n              add `fallthrough in-addr.arpa.` to kubernetes\n",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {ran:?}");
    }
    assert!(ran.stdout.contains("\nunhealthy: 1 error, "), "{ran:?}");
    let ran = run(folder.path(), &["doctor", "--offline", "--conf", "nowhere"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.stderr, "nowhere: no such file or directory\n");
}

#[tokio::test]
async fn wrong_use_and_no_cluster_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("kubeconfig").display().to_string();
    let binary = binary();
    for (arguments, part) in [
        (&["doctor", "--bogus"][..], "unexpected argument '--bogus'"),
        (
            &["doctor", "--timeout", "0s"],
            "more than nothing and at most 10m",
        ),
        (&["doctor", "--zone", "a..b"], "not a zone"),
        (
            &["doctor", "--kubeconfig", &nowhere],
            "no API server to ask",
        ),
    ] {
        let ran = run(folder.path(), arguments).await;
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(2), ""),
            "{binary:?} {arguments:?}"
        );
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    // A server that is there and is none.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = format!(
        "{{apiVersion: v1, kind: Config, current-context: t, contexts: [{{name: t, context: {{cluster: t, user: t}}}}], clusters: [{{name: t, cluster: {{server: 'http://127.0.0.1:{port}'}}}}], users: [{{name: t, user: {{}}}}]}}"
    );
    fs::write(&nowhere, config).unwrap();
    let ran = run(
        folder.path(),
        &[
            "doctor",
            "--kubeconfig",
            &nowhere,
            "--timeout",
            "300ms",
            "-o",
            "json",
        ],
    )
    .await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr
            .contains("the API server cannot be asked: no answer within 300ms"),
        "{ran:?}"
    );
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["findings"][0]["severity"], "not_checked");
    assert_eq!(document["healthy"], false);
    let problem = document["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("could not be looked at"), "{document}");
    drop(listener);
}
