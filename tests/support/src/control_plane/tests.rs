use super::*;
use crate::BOUND;

#[tokio::test]
async fn a_cluster_starts_forgets_and_starts_over() {
    let Some(plane) = ControlPlane::start().await.unwrap() else {
        return;
    };
    let path = "/api/v1/namespaces/default/services/kubernetes";
    let service = plane.request("GET", path, &Value::Null).await.unwrap();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");

    // An account may do what its role says and no more.
    let account = plane.account("reader", &dns_rules()).await.unwrap();
    let kubeconfig = account.kubeconfig.to_str().unwrap();
    let list = async |kind: &str| {
        let arguments = ["--kubeconfig", kubeconfig, "get", kind, "-A"];
        plane.kubectl(&arguments, "").await
    };
    assert!(list("services").await.unwrap().contains("10.96.0.1"));
    let error = list("secrets").await.unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");

    // A watch from before a compaction is told that it is too late.
    let version = service["metadata"]["resourceVersion"].as_str().unwrap();
    plane.compact().await.unwrap();
    let watch = format!("/api/v1/services?watch=1&timeoutSeconds=2&resourceVersion={version}");
    let events = plane.request_text(&watch).await.unwrap();
    assert!(events.contains(r#""code":410"#), "{events}");

    // A rebuilt cluster knows neither the objects nor the tokens from before.
    let named = json!({ "metadata": { "name": "kept" } });
    let namespaces = "/api/v1/namespaces";
    plane.request("POST", namespaces, &named).await.unwrap();
    plane.rebuild().await.unwrap();
    let kept = format!("{namespaces}/kept");
    assert!(plane.request("GET", &kept, &Value::Null).await.is_err());
    assert!(list("services").await.is_err());
    plane.account("reader", &dns_rules()).await.unwrap();
    assert!(list("services").await.unwrap().contains("10.96.0.1"));
}

#[tokio::test]
async fn controllers_fill_slices() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let yaml = r#"
apiVersion: v1
kind: Namespace
metadata: { name: slices }
---
apiVersion: v1
kind: Node
metadata: { name: node-a, labels: { topology.kubernetes.io/zone: zone-a } }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: slices }
spec: { selector: { app: web }, ports: [{ name: http, port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web-0, namespace: slices, labels: { app: web } }
spec: { nodeName: node-a, containers: [{ name: web, image: web }] }
"#;
    plane.apply(yaml).await.unwrap();
    plane
        .pod_ready("slices", "web-0", &["10.1.0.7"])
        .await
        .unwrap();
    let path = "/apis/discovery.k8s.io/v1/namespaces/slices/endpointslices";
    let endpoint = until("the slice of web", BOUND, || async {
        let slices = plane.request("GET", path, &Value::Null).await.ok()?;
        let endpoint = &slices["items"][0]["endpoints"][0];
        endpoint.is_object().then(|| endpoint.clone())
    });
    let endpoint = endpoint.await.unwrap();
    assert_eq!(endpoint["addresses"], json!(["10.1.0.7"]));
    assert_eq!(endpoint["zone"], "zone-a");
}
