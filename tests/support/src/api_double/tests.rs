//! The double by itself, and beside the real API server.

use kube::client::Client;
use serde_json::json;

use super::*;
use crate::{BOUND, ControlPlane};

const SERVICES: &str = "/api/v1/services";

async fn client(double: &ApiDouble) -> Client {
    let config = kube::Config::new(double.url().parse().unwrap());
    Client::try_from(config).unwrap()
}

/// Status and body of a GET; the body of a watch by its lines.
async fn get(client: &Client, path: &str) -> (u16, String) {
    use http_body_util::BodyExt;
    let request = hyper::Request::get(path).body(kube::client::Body::empty());
    let reply = client.send(request.unwrap()).await.unwrap();
    let code = reply.status().as_u16();
    let body = reply.into_body().collect();
    let body = timeout(BOUND, body).await.expect("the body ends");
    let bytes = body.map_or_else(|_| "cut".into(), |body| body.to_bytes());
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

fn service(namespace: &str, name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace, "labels": labels },
        "spec": { "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] },
    })
}

#[tokio::test]
async fn faults_are_as_ordered() {
    let double = ApiDouble::start().await.unwrap();
    double.apply(&service("a", "one", json!({})));
    let client = client(&double).await;

    double.fault_list(Some("services"), Fault::Status(403), 1);
    assert_eq!(get(&client, SERVICES).await.0, 403);
    assert_eq!(get(&client, SERVICES).await.0, 200);

    double.require_token(Some("good"));
    assert_eq!(get(&client, SERVICES).await.0, 401);
    double.require_token(None);

    double.fault(None, Fault::Cut(10), 1);
    assert_eq!(get(&client, SERVICES).await.1, "cut");

    double.fault(None, Fault::Close, 1);
    let request = hyper::Request::get(SERVICES).body(kube::client::Body::empty());
    assert!(client.send(request.unwrap()).await.is_err());

    double.no_streaming_lists();
    let streaming =
        "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1";
    let (code, body) = get(&client, &format!("{SERVICES}{streaming}")).await;
    assert_eq!(code, 422, "{body}");

    double.fault_watch(None, Fault::Gone, 1);
    let (_, body) = get(&client, &format!("{SERVICES}?watch=1")).await;
    assert!(body.contains("\"code\":410"), "{body}");
    let watched = |request: &Request| request.is_watch() && request.status == 200;
    double.wait_request(BOUND, watched).await.unwrap();

    double.down().await;
    let request = hyper::Request::get(SERVICES).body(kube::client::Body::empty());
    assert!(client.send(request.unwrap()).await.is_err());
    double.up().await.unwrap();
    assert_eq!(get(&client, SERVICES).await.0, 200);
}

#[tokio::test]
async fn watches_break_as_ordered() {
    let double = ApiDouble::start().await.unwrap();
    let client = client(&double).await;
    for (how, expected) in [
        (Break::End, ""),
        (Break::Gone, "\"code\":410"),
        (Break::Cut, "cut"),
    ] {
        double.forget();
        let watch = async {
            let path = format!("{SERVICES}?watch=1&resourceVersion={}", store::FIRST + 2);
            get(&client, &path).await.1
        };
        let order = async {
            double.wait_request(BOUND, Request::is_watch).await.unwrap();
            // The request is noted before the watch has begun.
            double.wait_watches(1, BOUND).await.unwrap();
            double.break_watches(how);
        };
        let (body, ()) = tokio::join!(watch, order);
        assert!(body.contains(expected), "{how:?}: {body}");
    }
}

/// What the API says, without what differs between two servers.
fn shape(body: &str, versions: &[(u64, &str)]) -> Vec<Value> {
    let known = |text: &str| {
        versions
            .iter()
            .find(|(version, _)| version.to_string() == text)
    };
    let objects = body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line));
    objects
        .map(|mut object| {
            let event = object.get("type").is_some();
            let inner = if event { &mut object["object"] } else { &mut object };
            if inner["kind"] == "Status" {
                // Words differ between versions of the real one as well.
                *inner = json!({ "status": inner["status"], "code": inner["code"], "reason": inner["reason"] });
            }
            if let Some(items) = inner["items"].as_array_mut() {
                items.iter_mut().for_each(|item| reduce(item, &known));
            }
            reduce(inner, &known);
            object
        })
        .collect()
}

fn reduce<'a>(object: &mut Value, known: &impl Fn(&str) -> Option<&'a (u64, &'a str)>) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.remove("spec");
    fields
        .remove("status")
        .filter(|status| status.is_string())
        .map(|status| fields.insert("status".into(), status));
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    for varies in ["uid", "creationTimestamp", "managedFields"] {
        metadata.remove(varies);
    }
    if let Some(version) = metadata.get("resourceVersion").and_then(Value::as_str) {
        let name = known(version).map_or("other", |(_, name)| *name);
        metadata.insert("resourceVersion".into(), json!(name));
    }
    if metadata.get("continue").is_some() {
        metadata.insert("continue".into(), json!("…"));
    }
}

#[tokio::test]
async fn the_double_behaves_as_the_real_server() {
    let Some(plane) = ControlPlane::start().await.unwrap() else {
        return;
    };
    let namespace = "double";
    let named = json!({ "metadata": { "name": namespace } });
    plane
        .request("POST", "/api/v1/namespaces", &named)
        .await
        .unwrap();
    let real = plane.client().await.unwrap();
    let double = ApiDouble::start().await.unwrap();
    let fake = client(&double).await;
    let all = format!("/api/v1/namespaces/{namespace}/services");

    // The same edits to both, with the resource version after each.
    let mut real_versions = Vec::new();
    let mut fake_versions = Vec::new();
    let steps = [
        (
            "v1",
            "POST",
            service(namespace, "one", json!({ "app": "a" })),
        ),
        (
            "v2",
            "POST",
            service(namespace, "two", json!({ "app": "b" })),
        ),
        ("v3", "POST", service(namespace, "three", json!({}))),
        (
            "v4",
            "PATCH",
            service(namespace, "two", json!({ "app": "a" })),
        ),
        (
            "v5",
            "PATCH",
            service(namespace, "one", json!({ "app": "c" })),
        ),
    ];
    for (step, method, object) in &steps {
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = match *method {
            "POST" => all.clone(),
            _ => format!("{all}/{name}"),
        };
        let done = plane.request(method, &path, object).await.unwrap();
        let version = done["metadata"]["resourceVersion"].as_str().unwrap();
        real_versions.push((version.parse().unwrap(), *step));
        fake_versions.push((double.apply(object), *step));
    }
    let path = format!("{all}/three");
    plane.request("DELETE", &path, &Value::Null).await.unwrap();
    double.delete("services", namespace, "three");

    let version = |versions: &[(u64, &str)], name: &str| {
        let found = versions.iter().find(|(_, step)| *step == name);
        found
            .map(|(version, _)| version.to_string())
            .unwrap_or_default()
    };
    let mut differences = Vec::new();
    for template in [
        "",
        "?limit=1",
        "?labelSelector=app%3Da",
        "?labelSelector=app%20in%20(a,c)",
        "?labelSelector=app%20notin%20(a)&limit=1",
        "?labelSelector=!app",
        "?labelSelector=a%20b",
        "?fieldSelector=metadata.name%3Dtwo",
        "?fieldSelector=metadata.name!%3Dtwo",
        "?watch=1&timeoutSeconds=1",
        "?watch=1&timeoutSeconds=1&resourceVersion=$v1",
        "?watch=1&timeoutSeconds=1&resourceVersion=$v1&labelSelector=app%3Da",
        "?watch=1&timeoutSeconds=1&resourceVersion=$v5",
        "?watch=1&timeoutSeconds=1&sendInitialEvents=true",
        "?watch=1&timeoutSeconds=1&resourceVersionMatch=NotOlderThan&resourceVersion=$v5",
        "?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        "?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=app%3Da",
        "?resourceVersion=$v3&resourceVersionMatch=Exact",
        "COMPACT",
        "?watch=1&timeoutSeconds=1&resourceVersion=$v3",
        "?resourceVersion=$v3&resourceVersionMatch=Exact",
        "?resourceVersion=$v3&resourceVersionMatch=NotOlderThan",
        "?limit=1&continue=nonsense",
        "/two",
        "/missing",
    ] {
        if template == "COMPACT" {
            plane.compact().await.unwrap();
            double.compact();
            continue;
        }
        let ask = async |client: &Client, versions: &[(u64, &str)]| {
            let mut query = template.to_owned();
            for (_, step) in versions {
                query = query.replace(&format!("${step}"), &version(versions, step));
            }
            let (code, body) = get(client, &format!("{all}{query}")).await;
            (code, shape(&body, versions))
        };
        let real = ask(&real, &real_versions).await;
        let fake = ask(&fake, &fake_versions).await;
        differences.extend(difference(template, &fake, &real));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));

    // Page by page to the end.
    for (client, versions) in [(&real, &real_versions), (&fake, &fake_versions)] {
        let mut names = Vec::new();
        let mut query = "?limit=1".to_owned();
        loop {
            let (_, body) = get(client, &format!("{all}{query}")).await;
            let page: Value = serde_json::from_str(&body).unwrap();
            names.push(page["items"][0]["metadata"]["name"].clone());
            let Some(next) = page["metadata"]["continue"].as_str() else {
                break;
            };
            query = format!("?limit=1&continue={}", next.replace('=', "%3D"));
        }
        assert_eq!(names, ["one", "two"], "{versions:?}");
    }
}

fn difference(what: &str, double: &(u16, Vec<Value>), real: &(u16, Vec<Value>)) -> Option<String> {
    let show = |reply: &(u16, Vec<Value>)| {
        let lines: Vec<_> = reply.1.iter().map(Value::to_string).collect();
        format!("{}\n{}", reply.0, lines.join("\n"))
    };
    let (double, real) = (show(double), show(real));
    (double != real).then(|| format!("{what}\ndouble: {double}\nreal: {real}"))
}
