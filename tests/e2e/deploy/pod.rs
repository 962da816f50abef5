//! Whether a process that is confined as the Deployment says can do its work.

use std::net::Ipv4Addr;

use pando_test::{BOUND, Client, ControlPlane, Netns, Process, until};
use serde_json::{Value, json};

use super::{apply, folder, object, render};

/// The Pod's user and capabilities, and its sysctls in a network of its own.
#[tokio::test]
async fn port_53_is_open_to_the_pods_user() {
    if let Some(why) = Netns::missing() {
        println!("skipped: {why}");
        return;
    }
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let manifest = render(plane, &folder("cluster-dns/base")).await;
    let objects = apply(plane, &manifest, &["--dry-run=server"]).await;
    let objects = objects.expect("taken");
    let pod = &object(&objects, "Deployment", "coredns")["spec"]["template"]["spec"];

    let netns = Netns::create("pod").expect("a namespace");
    let mut refused = start(&netns, pod);
    refused.wait_exit(BOUND).await.expect("ends");
    let said = refused.stderr();
    if said.contains("setpriv:") {
        println!("skipped: {said}");
        return;
    }
    // Without the sysctl.
    assert!(said.contains("bind: permission denied"), "{said}");

    for sysctl in pod["securityContext"]["sysctls"].as_array().expect("some") {
        let path = sysctl["name"].as_str().expect("a name").replace('.', "/");
        let value = sysctl["value"].as_str().expect("a value");
        netns.sysctl(&path, value).expect("set");
    }
    let process = start(&netns, pod);
    let said = process.wait_for_line(".:53", BOUND).await;
    said.unwrap_or_else(|error| panic!("{error:#}: {}", process.shown()));
    let (_, _inhabitant) = netns
        .inhabit(async || {
            let client = Client::to((Ipv4Addr::LOCALHOST, 53).into());
            let answered = until("an answer", BOUND, || async {
                let answer = client.ask("example.org", "A").await;
                answer.ok().map(|answer| answer.rcode())
            });
            answered.await.map(|rcode| assert_eq!(rcode, "NOERROR"))
        })
        .expect("asked");
}

/// What confines the Pods is what Kubernetes itself calls restricted: its admission
/// lets them into a namespace that takes nothing else.
#[tokio::test]
async fn pods_are_restricted() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let label = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "restricted", "labels": label },
    });
    plane.apply(&namespace.to_string()).await.expect("made");
    let pods = "/api/v1/namespaces/restricted/pods?dryRun=All";
    for overlay in ["autoscaler", "beside-autoscaler", "gke"] {
        let manifest = render(plane, &folder("cluster-dns/overlays").join(overlay)).await;
        let objects = apply(plane, &manifest, &["--dry-run=server"]).await;
        let objects = objects.expect("taken");
        let deployments = objects
            .iter()
            .filter(|object| object["kind"] == "Deployment");
        for deployment in deployments {
            let mut pod = deployment["spec"]["template"].clone();
            pod["metadata"]["name"] = "pod".into();
            let taken = plane.request("POST", pods, &pod).await;
            taken.unwrap_or_else(|error| panic!("{overlay}: {error:#}: {pod:#}"));
            pod["spec"]["containers"][0]["securityContext"]["capabilities"] = Value::Null;
            let refused = plane.request("POST", pods, &pod).await;
            let refused = format!("{:#}", refused.expect_err("the admission is on"));
            assert!(refused.contains("unrestricted capabilities"), "{refused}");
        }
    }
}

/// Serves `whoami` on port 53 as the container would, without the capability of
/// a file: what a copy of an image may have lost.
fn start(netns: &Netns, pod: &Value) -> Process {
    let id = |name: &str| pod["securityContext"][name].as_u64().expect("a number");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["capabilities"]["drop"][0], "ALL");
    assert_eq!(container["allowPrivilegeEscalation"], false);
    let added = container["capabilities"]["add"].as_array().expect("some");
    let added = added.iter().map(|name| name.as_str().expect("a name"));
    let kept: String = added
        .map(|name| format!(",+{}", name.to_lowercase()))
        .collect();
    let mut command = netns.command("setpriv");
    command
        .arg(format!("--reuid={}", id("runAsUser")))
        .arg(format!("--regid={}", id("runAsGroup")))
        .args(["--clear-groups", "--no-new-privs", "--inh-caps=-all"])
        .arg(format!("--bounding-set=-all{kept}"))
        .arg(env!("CARGO_BIN_EXE_pando"))
        .args(["-conf", "stdin"]);
    let corefile = ".:53 {\n whoami\n}\n".to_owned();
    Process::spawn(command, Some(corefile)).expect("setpriv runs")
}
