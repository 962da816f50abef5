//! The Service: its address and ports, the endpoints behind it, and the Pods
//! that they should be.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

use super::cluster::{Facts, cluster_ips};
use super::finding::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let service = match &facts.service {
        Ok(service) => service,
        Err(super::cluster::Unknown::Absent(what)) => {
            return vec![Finding::error(format!("{what} does not exist")).advise(
                "apply it, with the address that kubelets hand out (clusterDNS), or name another with --namespace and --service",
            )];
        }
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let mut found = service_itself(service);
    match &facts.slices {
        Ok(slices) => found.extend(endpoints(service, slices)),
        Err(why) => found.push(Finding::not_checked(format!("endpoints: {why}"))),
    }
    match &facts.pods {
        Ok(pods) => found.extend(selected(service, pods)),
        Err(why) => found.push(Finding::not_checked(format!("Pods: {why}"))),
    }
    match &facts.deployments {
        Ok(deployments) => found.extend(rollouts(deployments)),
        Err(why) => found.push(Finding::not_checked(format!("Deployments: {why}"))),
    }
    found
}

/// How a command about an object begins that can be pasted as it is.
fn kubectl(object: &impl ResourceExt) -> String {
    match object.namespace() {
        Some(namespace) => format!("kubectl -n {namespace}"),
        None => "kubectl".to_owned(),
    }
}

fn service_itself(service: &Service) -> Vec<Finding> {
    let name = format!(
        "Service {}/{}",
        service.namespace().unwrap_or_default(),
        service.name_any()
    );
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        let what = format!("{name} is an ExternalName: it has no address that Pods could ask");
        return vec![Finding::error(what).advise("make it a ClusterIP Service with a selector")];
    }
    let ips: Vec<String> = cluster_ips(service)
        .iter()
        .map(ToString::to_string)
        .collect();
    if ips.is_empty() {
        let what = format!("{name} is headless: it has no address that kubelets could hand out");
        return vec![Finding::error(what).advise("give it the clusterIP of kubelet's clusterDNS")];
    }
    let has = |protocol: &str| {
        let mut ports = spec.ports.iter().flatten();
        ports.any(|port| port.port == 53 && port.protocol.as_deref().unwrap_or("TCP") == protocol)
    };
    let mut found = Vec::new();
    if !has("UDP") {
        let what = format!("{name} has no port 53 over UDP: almost every query goes there");
        found.push(Finding::error(what).advise("add {name: dns, port: 53, protocol: UDP}"));
    }
    if !has("TCP") {
        let what =
            format!("{name} has no port 53 over TCP: truncated answers cannot be asked for again");
        found.push(Finding::error(what).advise("add {name: dns-tcp, port: 53, protocol: TCP}"));
    }
    if found.is_empty() {
        found.push(Finding::ok(format!(
            "{name}: {}, port 53 over UDP and TCP",
            ips.join(" ")
        )));
    }
    found
}

/// A missing condition counts as ready (API reference of EndpointConditions).
pub(super) fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions
        .and_then(|conditions| conditions.ready)
        .unwrap_or(true)
}

fn endpoints(service: &Service, slices: &[EndpointSlice]) -> Vec<Finding> {
    let mut found = Vec::new();
    let all = || slices.iter().flat_map(|slice| &slice.endpoints);
    let name = |endpoint: &Endpoint| match &endpoint.target_ref {
        Some(target) => target.name.clone().unwrap_or_default(),
        None => endpoint.addresses.join(" "),
    };
    // One Pod has an endpoint in each family.
    let ready: BTreeSet<String> = all().filter(|e| is_ready(e)).map(name).collect();
    let waiting: BTreeSet<String> = all().filter(|e| !is_ready(e)).map(name).collect();
    let waiting: Vec<&str> = waiting.difference(&ready).map(String::as_str).collect();
    let service = service.name_any();
    if ready.is_empty() {
        let what = match waiting.is_empty() {
            true => format!("{service} has no endpoints: no query is answered"),
            false => format!(
                "{service} has no ready endpoint, only {}",
                waiting.join(", ")
            ),
        };
        found.push(Finding::error(what).advise(
            "look at the Pods below; without any, at the selector and at the controllers that make EndpointSlices",
        ));
        return found;
    }
    for protocol in ["UDP", "TCP"] {
        let mut ports = slices.iter().filter(|slice| !slice.endpoints.is_empty());
        let there = ports.any(|slice| {
            let mut ports = slice.ports.iter().flatten();
            ports.any(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol)
        });
        if !there {
            let what = format!("the endpoints of {service} have no port over {protocol}");
            found.push(Finding::error(what).advise(format!(
                "the Service's targetPort over {protocol} must be a port of the Pods"
            )));
        }
    }
    if !waiting.is_empty() {
        found.push(Finding::warning(format!(
            "not ready: {}",
            waiting.join(", ")
        )));
    }
    let nodes: BTreeSet<&str> = all()
        .filter(|e| is_ready(e))
        .filter_map(|e| e.node_name.as_deref())
        .collect();
    match (ready.len(), nodes.iter().collect::<Vec<_>>().as_slice()) {
        (1, _) => found.push(
            Finding::warning(format!("one ready endpoint only: {}", ready.iter().cloned().collect::<String>()))
                .advise("run two replicas at least, so that one may fail or be replaced"),
        ),
        (count, [node]) => found.push(
            Finding::warning(format!("all {count} ready endpoints are on node {node}"))
                .advise("spread them: topologySpreadConstraints or podAntiAffinity by kubernetes.io/hostname"),
        ),
        (count, _) => found.push(Finding::ok(format!("{count} ready endpoints"))),
    }
    found
}

fn selected(service: &Service, pods: &[Pod]) -> Vec<Finding> {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
        return vec![Finding::info("no selector: the endpoints are made by hand")];
    };
    if pods.is_empty() {
        let pairs: Vec<String> = selector
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let what = format!("the selector {} matches no Pod", pairs.join(","));
        return vec![Finding::error(what).advise("compare it with the labels of the Pod template")];
    }
    pods.iter().filter_map(pod).collect()
}

/// What is wrong with a Pod, in kubelet's words.
fn pod(pod: &Pod) -> Option<Finding> {
    let (name, kubectl) = (pod.name_any(), kubectl(pod));
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    for container in &containers {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        let Some(reason) = waiting.and_then(|waiting| waiting.reason.as_deref()) else {
            continue;
        };
        if reason == "ContainerCreating" || reason == "PodInitializing" {
            continue;
        }
        let ended = container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let ended = ended.map_or_else(String::new, |ended| {
            format!(
                ", last ended with {} {}",
                ended.exit_code,
                ended.reason.clone().unwrap_or_default()
            )
        });
        let what = format!(
            "Pod {name}: {} is in {reason} after {} restarts{}",
            container.name,
            container.restart_count,
            ended.trim_end()
        );
        return Some(Finding::error(what).advise(format!(
            "{kubectl} logs --previous {name}, {kubectl} describe pod {name}"
        )));
    }
    let phase = status.phase.unwrap_or_default();
    let is = |kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.any(|condition| condition.type_ == kind && condition.status == "True")
    };
    if phase == "Pending" && !is("PodScheduled") {
        let mut conditions = status.conditions.iter().flatten();
        let why = conditions.find(|condition| condition.type_ == "PodScheduled");
        let why = why
            .and_then(|condition| condition.message.as_ref())
            .map_or_else(String::new, |message| format!(": {message}"));
        return Some(Finding::warning(format!(
            "Pod {name} is not scheduled{why}"
        )));
    }
    if !is("Ready") {
        let what = format!("Pod {name} is {phase} and not ready");
        return Some(Finding::warning(what).advise(format!(
            "{kubectl} describe pod {name}; /ready at port 8181 names the plugin that waits"
        )));
    }
    None
}

fn rollouts(deployments: &[Deployment]) -> Vec<Finding> {
    let others = |this: &Deployment| {
        let others = deployments.iter().map(Deployment::name_any);
        let others = others
            .zip(deployments)
            .filter(|(_, other)| wanted(other) > 0);
        let mut names = others.map(|(name, _)| name);
        names.find(|name| *name != this.name_any())
    };
    let found = deployments.iter();
    found
        .filter_map(
            |deployment| match (wanted(deployment), others(deployment)) {
                // As a migration leaves the one that it comes from.
                (0, Some(other)) => Some(Finding::info(format!(
                    "Deployment {} is scaled to 0, and {other} is in its place",
                    deployment.name_any()
                ))),
                _ => rollout(deployment),
            },
        )
        .collect()
}

fn wanted(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

fn rollout(deployment: &Deployment) -> Option<Finding> {
    let name = deployment.name_any();
    let wanted = wanted(deployment);
    let status = deployment.status.clone().unwrap_or_default();
    let (ready, made) = (
        status.ready_replicas.unwrap_or(0),
        status.replicas.unwrap_or(0),
    );
    if wanted == 0 {
        return Some(
            Finding::error(format!("Deployment {name} is scaled to 0")).advise(format!(
                "{} scale deployment {name} --replicas=2",
                kubectl(deployment)
            )),
        );
    }
    let mut conditions = status.conditions.iter().flatten();
    let failure = conditions
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    if let Some(message) = failure.and_then(|failure| failure.message.clone()) {
        return Some(Finding::error(format!("Deployment {name}: {message}")));
    }
    (ready < wanted).then(|| {
        Finding::warning(format!(
            "Deployment {name}: {ready} of {wanted} replicas ready, {made} made"
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn service(spec: Value) -> Service {
        of(json!({ "metadata": { "name": "kube-dns", "namespace": "kube-system" }, "spec": spec }))
    }

    fn shown(found: &[Finding]) -> Vec<String> {
        let line = |finding: &Finding| format!("{:?}: {}", finding.severity, finding.what);
        found.iter().map(line).collect()
    }

    #[test]
    fn a_service_needs_an_address_and_both_ports() {
        let udp = json!({ "port": 53, "protocol": "UDP" });
        let tcp = json!({ "port": 53, "protocol": "TCP" });
        for (spec, want) in [
            (
                json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::a"], "ports": [udp, tcp] }),
                "Ok: Service kube-system/kube-dns: 10.96.0.10 fd00::a, port 53 over UDP and TCP",
            ),
            (
                json!({ "clusterIP": "10.96.0.10", "ports": [udp] }),
                "Error: Service kube-system/kube-dns has no port 53 over TCP: truncated answers cannot be asked for again",
            ),
            (
                json!({ "clusterIP": "10.96.0.10", "ports": [{ "port": 53 }] }),
                "Error: Service kube-system/kube-dns has no port 53 over UDP: almost every query goes there",
            ),
            (
                json!({ "clusterIP": "None", "ports": [udp, tcp] }),
                "Error: Service kube-system/kube-dns is headless: it has no address that kubelets could hand out",
            ),
            (
                json!({ "type": "ExternalName", "externalName": "a.test" }),
                "Error: Service kube-system/kube-dns is an ExternalName: it has no address that Pods could ask",
            ),
        ] {
            assert_eq!(shown(&service_itself(&service(spec))), [want]);
        }
    }

    #[test]
    fn endpoints_are_counted_by_pod_and_node() {
        let ports = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
        let end = |name: &str, node: &str, ready: bool| {
            json!({
                "addresses": ["10.244.0.5"], "nodeName": node, "conditions": { "ready": ready },
                "targetRef": { "kind": "Pod", "name": name },
            })
        };
        for (endpoints_of, ports, want) in [
            (
                json!([]),
                ports.clone(),
                vec!["Error: kube-dns has no endpoints: no query is answered"],
            ),
            (
                json!([end("a", "n", false)]),
                ports.clone(),
                vec!["Error: kube-dns has no ready endpoint, only a"],
            ),
            (
                json!([end("a", "n", true), end("b", "m", false)]),
                ports.clone(),
                vec![
                    "Warning: not ready: b",
                    "Warning: one ready endpoint only: a",
                ],
            ),
            (
                json!([end("a", "n", true), end("b", "n", true)]),
                ports.clone(),
                vec!["Warning: all 2 ready endpoints are on node n"],
            ),
            (
                json!([end("a", "n", true), end("b", "m", true)]),
                ports,
                vec!["Ok: 2 ready endpoints"],
            ),
            (
                json!([end("a", "n", true), end("b", "m", true)]),
                json!([{ "port": 53 }]),
                vec![
                    "Error: the endpoints of kube-dns have no port over UDP",
                    "Ok: 2 ready endpoints",
                ],
            ),
        ] {
            let slice = json!({ "metadata": {}, "addressType": "IPv4", "endpoints": endpoints_of, "ports": ports });
            let found = endpoints(&service(json!({})), &[of(slice)]);
            assert_eq!(shown(&found), want);
        }
    }

    #[test]
    fn pods_are_told_in_kubelets_words() {
        let with = service(json!({ "selector": { "k8s-app": "kube-dns" } }));
        let found = selected(&with, &[]);
        assert_eq!(
            shown(&found),
            ["Error: the selector k8s-app=kube-dns matches no Pod"]
        );
        let found = selected(&service(json!({})), &[]);
        assert_eq!(
            shown(&found),
            ["Info: no selector: the endpoints are made by hand"]
        );
        let container = json!({
            "name": "coredns", "image": "", "imageID": "", "ready": false, "restartCount": 7,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } },
        });
        for (status, want) in [
            (
                json!({ "phase": "Running", "containerStatuses": [container] }),
                Some(
                    "Error: Pod a: coredns is in CrashLoopBackOff after 7 restarts, last ended with 1 Error",
                ),
            ),
            (
                json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available" }] }),
                Some("Warning: Pod a is not scheduled: 0/3 nodes are available"),
            ),
            (
                json!({ "phase": "Running" }),
                Some("Warning: Pod a is Running and not ready"),
            ),
            (
                json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
                None,
            ),
        ] {
            let pod = of(json!({ "metadata": { "name": "a" }, "status": status }));
            let found = selected(&with, &[pod]);
            assert_eq!(shown(&found), Vec::from_iter(want));
        }
    }

    #[test]
    fn a_deployment_has_its_replicas() {
        let deployment = |spec: Value, status: Value| -> Deployment {
            let mut whole = json!({ "selector": {}, "template": {} });
            whole
                .as_object_mut()
                .unwrap()
                .extend(spec.as_object().unwrap().clone());
            of(json!({ "metadata": { "name": "coredns" }, "spec": whole, "status": status }))
        };
        for (spec, status, want) in [
            (
                json!({ "replicas": 0 }),
                json!({}),
                Some("Error: Deployment coredns is scaled to 0"),
            ),
            (
                json!({ "replicas": 2 }),
                json!({ "readyReplicas": 2, "replicas": 2 }),
                None,
            ),
            (
                json!({ "replicas": 2 }),
                json!({ "readyReplicas": 1, "replicas": 2 }),
                Some("Warning: Deployment coredns: 1 of 2 replicas ready, 2 made"),
            ),
            (
                json!({ "replicas": 2 }),
                json!({ "conditions": [{ "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" }] }),
                Some("Error: Deployment coredns: exceeded quota"),
            ),
        ] {
            let found = rollouts(&[deployment(spec, status)]);
            assert_eq!(shown(&found), Vec::from_iter(want));
        }
    }

    /// What a migration leaves is healthy, and nobody is told to undo it.
    #[test]
    fn a_deployment_may_rest_while_another_serves() {
        let deployment = |name: &str, replicas: u8| -> Deployment {
            of(json!({
                "metadata": { "name": name, "namespace": "kube-system" },
                "spec": { "replicas": replicas, "selector": {}, "template": {} },
                "status": { "replicas": replicas, "readyReplicas": replicas },
            }))
        };
        let found = rollouts(&[deployment("coredns", 0), deployment("pando", 2)]);
        let rests = "Info: Deployment coredns is scaled to 0, and pando is in its place";
        assert_eq!(shown(&found), [rests]);
        let found = rollouts(&[deployment("coredns", 0), deployment("pando", 0)]);
        let scale = "kubectl -n kube-system scale deployment coredns --replicas=2";
        assert_eq!(found[0].advice.as_deref(), Some(scale));
        assert_eq!(found.len(), 2);
    }
}
