//! What a Corefile comes to, without a server: `pando explain -conf FILE`.

use std::collections::BTreeSet;
use std::path::Path;

use pando_test::{ControlPlane, Reply, Rule, Upstream};
use serde_json::Value;
use tempfile::TempDir;

use super::{SHOP, shop};
use crate::binary::{Ran, run};

/// A folder with a Corefile and the demo's cluster.
fn folder(corefile: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    write("Corefile", corefile);
    let shop = std::fs::read_to_string(SHOP).expect("the demo's cluster");
    write("cluster.yaml", &format!("{shop}\n---\n{PODS}"));
    folder
}

const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: kube-system }
---
apiVersion: v1
kind: List
items:
- kind: Service
  apiVersion: v1
  metadata: { name: kube-dns, namespace: kube-system }
  spec: { clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{ port: 53 }] }
- kind: Pod
  apiVersion: v1
  metadata: { name: cart-0, namespace: shop }
  spec: { dnsPolicy: ClusterFirst }
  status: { podIP: 10.1.0.31, phase: Running }
- kind: Pod
  apiVersion: v1
  metadata: { name: cart-1, namespace: shop }
  spec: { dnsPolicy: ClusterFirst, dnsConfig: { options: [{ name: ndots, value: "1" }] } }
  status: { podIP: 10.1.0.32, phase: Running }
- kind: Pod
  apiVersion: v1
  metadata: { name: host, namespace: shop }
  spec: { dnsPolicy: ClusterFirst, hostNetwork: true }
  status: { podIP: 192.0.2.7, phase: Running }
"#;

/// Only who decides says why.
#[tokio::test]
async fn who_passes_a_query_on_is_not_said_to_have_decided() {
    let corefile = ".:53 {
    acl {
        block net 192.0.2.0/24
    }
    cache 30
    hosts {
        192.0.2.9 a.test
        fallthrough
    }
    kubernetes cluster.local {
        manifests cluster.yaml
    }
}
";
    let folder = folder(corefile);
    let arguments = ["explain", "web", "--from", "shop", "-conf", "Corefile"];
    let ran = run(folder.path(), &[&arguments[..], &["-o", "json"]].concat()).await;
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let visits = &found["steps"][0]["queries"][0]["evaluated"]["visits"];
    let visits = visits.as_array().expect("visits").iter();
    let whys: Vec<_> = visits
        .map(|visit| (visit["plugin"].as_str(), visit["why"].as_str()))
        .collect();
    let by = "Service `web` in namespace `shop`";
    let want = [
        ("acl", None),
        ("cache", None),
        ("hosts", None),
        ("kubernetes", Some(by)),
    ];
    assert_eq!(whys, want.map(|(plugin, why)| (Some(plugin), why)));
}

/// What kubeadm writes, without an upstream.
const KUBEADM: &str = ".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . 192.0.2.53
    cache 30
    loop
    reload
    loadbalance
}
";

async fn explain(folder: &TempDir, arguments: &[&str]) -> Ran {
    let own = [
        "explain",
        "-conf",
        "Corefile",
        "--manifests",
        "cluster.yaml",
    ];
    run(folder.path(), &[&own, arguments].concat()).await
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[tokio::test]
async fn a_search_list_is_walked_through_the_plugins() {
    let folder = folder(KUBEADM);
    let ran = explain(&folder, &["web.shop", "--from", "shop/cart-0"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    insta::assert_snapshot!(ran.stdout, @r#"
    web.shop  (glibc, Pod shop/cart-0 with dnsPolicy ClusterFirst)
      search shop.svc.cluster.local. svc.cluster.local. cluster.local., ndots:5
      Corefile Corefile, listener :53, client 10.1.0.31

    1. web.shop.shop.svc.cluster.local.  (search shop.svc.cluster.local.)
       block .:53 (Corefile:1)
       A     NXDOMAIN  kubernetes: Service `shop` does not exist in namespace `shop`
       AAAA  NXDOMAIN  kubernetes

    2. web.shop.svc.cluster.local.  (search svc.cluster.local.)
       A     10.96.0.80 (TTL 30)  kubernetes: Service `web` in namespace `shop`
       AAAA  fd00:10:96::80 (TTL 30)  kubernetes

    Resolves to 10.96.0.80, fd00:10:96::80 with 4 queries, 2 of them in vain.
    Advice: write `web.shop.svc.cluster.local.`, with the dot at its end: 2 queries instead of 4.
    Note: the kubelet appends the search domains of the node's own resolv.conf, which are not known here; --resolv-conf takes a Pod's whole file.
    "#);
    let ran = explain(&folder, &["wob", "--from", "shop/cart-0", "--offline"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""), "{ran:?}");
    insta::assert_snapshot!(ran.stdout, @r#"
    wob  (glibc, Pod shop/cart-0 with dnsPolicy ClusterFirst)
      search shop.svc.cluster.local. svc.cluster.local. cluster.local., ndots:5
      Corefile Corefile, listener :53, client 10.1.0.31

    1. wob.shop.svc.cluster.local.  (search shop.svc.cluster.local.)
       block .:53 (Corefile:1)
       A     NXDOMAIN  kubernetes: Service `wob` does not exist in namespace `shop`
       AAAA  NXDOMAIN  kubernetes

    2. wob.svc.cluster.local.  (search svc.cluster.local.)
       A     NXDOMAIN  kubernetes: namespace `wob` does not exist
       AAAA  NXDOMAIN  kubernetes

    3. wob.cluster.local.  (search cluster.local.)
       A     NXDOMAIN  kubernetes: `wob` stands where a name of cluster.local. has `svc` or `pod`
       AAAA  NXDOMAIN  kubernetes

    4. wob.  (as written)
       A     unknown  forward: other servers are not asked
       AAAA  unknown  forward

    Not known: upstreams were not asked. 8 queries.
    Advice: did you mean `web.shop.svc.cluster.local.`?
    Note: the kubelet appends the search domains of the node's own resolv.conf, which are not known here; --resolv-conf takes a Pod's whole file.
    "#);
    let whole = "nobody.shop.svc.cluster.local.";
    let ran = explain(&folder, &[whole, "--from", "shop/cart-0"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test]
async fn a_pods_own_ndots_decides() {
    let folder = folder(KUBEADM);
    let ran = explain(
        &folder,
        &[
            "www.test",
            "--from",
            "shop/cart-1",
            "--offline",
            "-o",
            "json",
        ],
    )
    .await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""), "{ran:?}");
    let found = json(&ran);
    assert_eq!(found["resolver"]["ndots"], 1);
    assert_eq!(found["resolver"]["nameservers"][0], "10.96.0.10");
    assert_eq!(found["corefile"]["client"], "10.1.0.32");
    assert_eq!(found["steps"].as_array().map(Vec::len), Some(1));
    let query = &found["steps"][0]["queries"][0]["evaluated"];
    assert_eq!(query["plugin"], "forward");
    assert_eq!(query["not_asked"], true);
    assert!(found.get("resolves").is_none(), "{found}");
}

#[tokio::test]
async fn upstreams_are_asked_unless_they_are_to_be_left_alone() {
    let world = Upstream::start().await.expect("an upstream");
    let soa = ["test. 60 IN SOA ns.test. admin.test. 1 2 3 4 60"];
    world.rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&soa)));
    world.rule(Rule::new(Reply::answer(&[]).authority(&soa)).name("www.api.test."));
    world.answer("www.api.test.", "A", &["www.api.test. 60 IN A 192.0.2.1"]);
    let upstream = world.address().to_string();
    let folder = folder(&KUBEADM.replace("192.0.2.53", &upstream));
    let asked = ["www.api.test", "--from", "shop"];
    let ran = explain(&folder, &asked).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    insta::assert_snapshot!(ran.stdout.replace(&upstream, "UPSTREAM"), @r#"
    www.api.test  (glibc, a Pod of namespace shop with dnsPolicy ClusterFirst)
      search shop.svc.cluster.local. svc.cluster.local. cluster.local., ndots:5
      Corefile Corefile, listener :53, client 127.0.0.1

    1. www.api.test.shop.svc.cluster.local.  (search shop.svc.cluster.local.)
       block .:53 (Corefile:1)
       A     NXDOMAIN  kubernetes: Service `test` does not exist in namespace `shop`
       AAAA  NXDOMAIN  kubernetes

    2. www.api.test.svc.cluster.local.  (search svc.cluster.local.)
       A     NXDOMAIN  kubernetes: namespace `test` does not exist
       AAAA  NXDOMAIN  kubernetes

    3. www.api.test.cluster.local.  (search cluster.local.)
       A     NXDOMAIN  kubernetes: `test` stands where a name of cluster.local. has `svc` or `pod`
       AAAA  NXDOMAIN  kubernetes

    4. www.api.test.  (as written)
       A     192.0.2.1 (TTL 30)  forward: upstream UPSTREAM says so
       AAAA  no such record  forward

    Resolves to 192.0.2.1 with 8 queries, 6 of them in vain.
    Advice: write `www.api.test.`, with the dot at its end: 2 queries instead of 8.
    Advice: or set `ndots:2` in the Pod's dnsConfig: 2 queries instead of 8, and names like `service.namespace` are still found.
    Note: the kubelet appends the search domains of the node's own resolv.conf, which are not known here; --resolv-conf takes a Pod's whole file.
    "#);
    assert_eq!(world.count("www.api.test.", "A"), 1);
    world.forget();
    let ran = explain(&folder, &[&asked[..], &["--offline"]].concat()).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""), "{ran:?}");
    assert_eq!(world.seen().len(), 0, "{:?}", world.seen());
    world.down().await;
    let ran = explain(&folder, &["www.api.test."]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("SERVFAIL"), "{ran:?}");
}

#[tokio::test]
async fn the_client_counts() {
    let folder = folder(
        ".:53 {
    acl {
        block net 10.1.0.31/32
    }
    autopath @kubernetes
    rewrite name alias.test web.shop.svc.cluster.local
    kubernetes cluster.local {
        pods verified
    }
}
",
    );
    let ran = explain(&folder, &["web", "--from", "shop/cart-0", "-o", "json"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let query = &json(&ran)["steps"][0]["queries"][0]["evaluated"];
    assert_eq!(
        (&query["plugin"], &query["answer"]["rcode"]),
        (&"acl".into(), &"REFUSED".into())
    );
    assert_eq!(query["why"], "a rule for 10.1.0.31");
    // autopath walks for the Pod that it knows.
    let ran = explain(
        &folder,
        &["web.shop", "--from", "shop/cart-1", "-o", "json"],
    )
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // A rewrite shows in what the plugins behind it see.
    let ran = explain(
        &folder,
        &["alias.test.", "--client", "10.1.0.99", "-o", "json"],
    )
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let found = json(&ran);
    let visits = found["steps"][0]["queries"][0]["evaluated"]["visits"].clone();
    let path: Vec<(&str, &str)> = visits
        .as_array()
        .into_iter()
        .flatten()
        .map(|visit| {
            let text = |key: &str| visit[key].as_str().unwrap_or_default();
            (text("plugin"), text("name"))
        })
        .collect();
    assert!(path.contains(&("rewrite", "alias.test.")), "{path:?}");
    assert_eq!(
        path.last(),
        Some(&("kubernetes", "web.shop.svc.cluster.local."))
    );
}

/// The Corefile of a running server, its listeners taken: nothing of this
/// process listens beside it. What the two say is held against each other.
#[tokio::test]
async fn a_server_and_its_corefile_are_compared() {
    let (server, _world) = shop().await;
    let address = server.address().to_string();
    let folder = server.folder();
    let asked = |conf: &'static str| {
        let address = address.clone();
        async move {
            let arguments = ["explain", "web", "--from", "shop", "-conf", conf];
            let server = ["--server", &address, "-o", "json"];
            run(folder, &[&arguments[..], &server].concat()).await
        }
    };
    let ran = asked("Corefile").await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(json(&ran)["differs"], false);
    let other = "apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.81, clusterIPs: [10.96.0.81], ports: [{ port: 80 }] }
";
    std::fs::write(folder.join("other.yaml"), other).expect("a file");
    let corefile =
        ".:53 {\n    kubernetes cluster.local {\n        manifests other.yaml\n    }\n}\n";
    std::fs::write(folder.join("Other"), corefile).expect("a file");
    let ran = asked("Other").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let found = json(&ran);
    assert_eq!(found["differs"], true);
    assert_eq!(found["answers"][0], "10.96.0.80");
}

#[tokio::test]
async fn a_cluster_is_asked_by_its_api_server() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let objects = "
apiVersion: v1
kind: Namespace
metadata: { name: explained }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: explained }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: explained }
spec:
  containers: [{ name: web, image: web }]
  dnsConfig: { searches: [a.test] }
";
    plane.apply(objects).await.expect("applied");
    let state = "    kubernetes cluster.local {\n       snapshot state\n";
    let corefile = KUBEADM.replace(
        "    kubernetes cluster.local in-addr.arpa ip6.arpa {\n",
        state,
    );
    let folder = folder(&corefile.replace("       fallthrough in-addr.arpa ip6.arpa\n", ""));
    let kubeconfig = plane.kubeconfig().display().to_string();
    let own = ["explain", "-conf", "Corefile", "--kubeconfig", &kubeconfig];
    let asked = ["web", "--from", "explained/client", "-o", "json"];
    let ran = run(folder.path(), &[&own[..], &asked].concat()).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let found = json(&ran);
    assert_eq!(
        found["steps"][0]["name"],
        "web.explained.svc.cluster.local."
    );
    assert_eq!(found["resolver"]["search"][3], "a.test.");
    assert_eq!(found["queries"], 2);
    // The state on disk is the server's alone.
    assert!(!folder.path().join("state").exists());
    let gone = ["web", "--from", "explained/nobody"];
    let ran = run(folder.path(), &[&own[..], &gone].concat()).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert!(
        ran.stderr.contains("there is no Pod explained/nobody"),
        "{ran:?}"
    );
}

/// Fields are only ever added: what reads them goes on reading.
#[tokio::test]
async fn json_has_the_fields_that_are_documented() {
    let folder = folder(KUBEADM);
    let ran = explain(
        &folder,
        &["wob.shop", "--from", "shop", "--offline", "-o", "json"],
    )
    .await;
    let found = json(&ran);
    let keys = |value: &Value| -> BTreeSet<String> {
        let object = value.as_object().into_iter().flatten();
        object.map(|(key, _)| key.clone()).collect()
    };
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tools.md");
    let page = std::fs::read_to_string(Path::new(page)).expect("the page");
    let step = &found["steps"][1];
    let query = &step["queries"][0];
    let evaluated = &query["evaluated"];
    for object in [
        &found,
        step,
        query,
        evaluated,
        &evaluated["answer"],
        &evaluated["visits"][0],
    ] {
        let keys = keys(object);
        assert!(!keys.is_empty(), "{found}");
        for key in keys {
            assert!(
                page.contains(&format!("`{key}`")),
                "{key} is not in docs/tools.md"
            );
        }
    }
    assert_eq!(evaluated["cause"], "no_such_service");
    assert_eq!(evaluated["near"][0], "web.shop.svc.cluster.local.");
}

#[tokio::test]
async fn what_keeps_a_server_from_starting_is_told() {
    let cases = [
        ("bogus {", "-conf", "Corefile", "Corefile:1"),
        (
            ".:53 {\n    kubernetes cluster.local\n}",
            "-conf",
            "Corefile",
            "KUBERNETES_SERVICE_HOST",
        ),
        (
            ".:53 {\n    whoami\n}\n.:54 {\n    whoami\n}",
            "--listener",
            ":55",
            "has no listener :55",
        ),
    ];
    for (corefile, flag, value, message) in cases {
        let folder = folder(corefile);
        let mut arguments = vec!["explain", "web.", "-conf", "Corefile"];
        if flag != "-conf" {
            arguments.extend([flag, value]);
        }
        let ran = run(folder.path(), &arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(message), "{message}: {ran:?}");
    }
    let folder = folder(KUBEADM);
    for (arguments, message) in [
        (&["web", "--from", "shop/host"][..], "--resolv-conf"),
        (
            &["web", "--from", "shop/nobody"],
            "there is no Pod shop/nobody",
        ),
        (
            &["web", "--from", "shop", "--client", "10.0.0.1"],
            "cannot be used with",
        ),
    ] {
        let ran = explain(&folder, arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(message), "{message}: {ran:?}");
    }
    let ran = run(Path::new("/"), &["explain", "web", "--manifests", SHOP]).await;
    assert!(ran.stderr.contains("are for -conf FILE"), "{ran:?}");
}
