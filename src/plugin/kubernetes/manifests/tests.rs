use std::sync::Arc;

use super::super::client::Access;
use super::super::slim::Keep;
use super::super::snapshot::Snapshot;
use super::super::store::{Source, Store, Unobserved};
use super::*;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pando-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("writes");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(paths: Vec<PathBuf>) -> StoreConfig {
    StoreConfig {
        source: Source::Manifests(paths),
        labels: None,
        namespace_labels: None,
        endpoints: true,
        pods: true,
        node: None,
        multicluster: false,
        keep: Keep::default(),
        state_file: None,
        user_agent: String::new(),
    }
}

fn load(config: &StoreConfig) -> Snapshot {
    let Source::Manifests(paths) = config.source.clone() else {
        panic!("not manifests")
    };
    let shared = Shared::new(&config.kinds(), config.keep, Arc::new(Unobserved));
    Manifests::new(paths, config.clone())
        .load_first(&shared)
        .expect("readable");
    shared.write(|writer| writer.index.snapshot())
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    let all = snapshot.sorted_services();
    all.iter()
        .map(|(entry, _)| format!("{}/{}", entry.namespace(), entry.name()))
        .collect()
}

const LIST: &str = r#"apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop, labels: {app: web}}
  spec:
    clusterIP: 10.0.0.1
    clusterIPs: [10.0.0.1]
    ports: [{name: http, port: 80, protocol: TCP, targetPort: 8080}]
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata:
    name: web-1
    namespace: shop
    labels: {kubernetes.io/service-name: web, app: web}
  addressType: IPv4
  endpoints:
  - addresses: ["10.1.0.1"]
  ports: [{name: http, port: 8080}]
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web}
"#;

#[test]
fn what_kubectl_prints_is_served() {
    let dir = Dir::new("list");
    let json = r#"{"apiVersion":"v1","kind":"ServiceList","items":[{"metadata":{"name":"db"},"spec":{"clusterIP":"None"}}]}"#;
    let paths = vec![dir.write("a.yaml", LIST), dir.write("b.json", json)];
    let snapshot = load(&config(paths));
    assert_eq!(names(&snapshot), ["default/db", "shop/web"]);
    assert!(snapshot.synced() && !snapshot.stale());
    assert!(snapshot.namespace(b"shop") && snapshot.namespace(b"default"));
    let entry = snapshot.service(b"shop", b"web").expect("there");
    assert_eq!((entry.v4().len(), entry.has_endpoints()), (1, true));
}

#[test]
fn a_folder_stands_for_its_files() {
    let dir = Dir::new("folder");
    dir.write("a.yaml", LIST);
    dir.write("notes.txt", "kind: [");
    assert_eq!(names(&load(&config(vec![dir.0.clone()]))), ["shop/web"]);
}

#[test]
fn a_bad_document_does_not_take_the_others_with_it() {
    let service = |name: &str| format!("kind: Service\nmetadata: {{name: {name}}}\n");
    let text = [
        service("one"),
        "kind: Service\nmetadata: {name: [\n".to_owned(),
        "kind: Service\nspec: {}\n".to_owned(),
        "just words\n".to_owned(),
        String::new(),
        service("two"),
    ]
    .join("---\n");
    let dir = Dir::new("bad");
    let path = dir.write("a.yaml", &text);
    assert_eq!(
        names(&load(&config(vec![path]))),
        ["default/one", "default/two"]
    );
}

#[test]
fn selectors_choose_as_the_api_server_would() {
    let dir = Dir::new("select");
    let namespaces = "---\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n---\nkind: Namespace\nmetadata: {name: other}\n";
    let path = dir.write("a.yaml", &format!("{LIST}{namespaces}"));
    for (labels, namespace_labels, services, shop, other) in [
        (None, None, 1, true, true),
        (Some("app=web"), None, 1, true, true),
        (Some("app=db"), None, 0, true, true),
        (None, Some("a=b"), 1, true, false),
        (None, Some("!a"), 1, false, true),
    ] {
        let parse = |text: Option<&str>| text.map(|t| Selector::parse(t).expect("parses"));
        let config = StoreConfig {
            labels: parse(labels),
            namespace_labels: parse(namespace_labels),
            ..config(vec![path.clone()])
        };
        let snapshot = load(&config);
        let got = (
            names(&snapshot).len(),
            snapshot.namespace(b"shop"),
            snapshot.namespace(b"other"),
        );
        assert_eq!(
            got,
            (services, shop, other),
            "{labels:?} {namespace_labels:?}"
        );
    }
}

#[test]
fn pods_of_other_nodes_are_left_out_where_one_is_named() {
    let dir = Dir::new("node");
    let pod = |node: &str, last: u8| {
        format!(
            "---\nkind: Pod\nmetadata: {{name: {node}}}\nspec: {{nodeName: {node}}}\n\
             status: {{podIP: 10.0.0.{last}}}\n"
        )
    };
    let path = dir.write("a.yaml", &format!("{}{}", pod("n1", 1), pod("n2", 2)));
    for (node, known) in [(None, [1, 1]), (Some("n1"), [1, 0]), (Some("n3"), [0, 0])] {
        let config = StoreConfig {
            node: node.map(str::to_owned),
            ..config(vec![path.clone()])
        };
        let snapshot = load(&config);
        let found = [1, 2].map(|last| snapshot.pods_by_ip([10, 0, 0, last].into()).count());
        assert_eq!(found, known, "{node:?}");
    }
}

#[test]
fn documents_are_cut_at_their_markers() {
    let text = "a: 1\n--- # one\nb: |\n  ---\n--- \n\n---\nc: ---x\n---x: 1\n";
    let got = documents(text);
    assert_eq!(
        got,
        [
            (1, "a: 1\n"),
            (3, "b: |\n  ---\n"),
            (8, "c: ---x\n---x: 1\n")
        ]
    );
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_an_unreadable_one_refused() {
    let dir = Dir::new("change");
    let path = dir.write("a.yaml", LIST);
    let runtime = tokio::runtime::Handle::current();
    let store =
        Store::start(&config(vec![path.clone()]), Arc::new(Unobserved), &runtime).expect("starts");
    assert!(store.synced());
    store.wait_synced().await;
    dir.write("a.yaml", &LIST.replace("name: web,", "name: shop-front,"));
    let found = async {
        while store
            .snapshots()
            .load()
            .service(b"shop", b"shop-front")
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found)
        .await
        .expect("read again");
    store.shutdown().await;

    let gone = config(vec![dir.0.join("none.yaml")]);
    let error = Store::start(&gone, Arc::new(Unobserved), &runtime).expect_err("unreadable");
    assert!(
        error.to_string().starts_with("cannot read manifests /"),
        "{error}"
    );
    let not_there = Access::Kubeconfig {
        path: dir.0.join("none"),
        context: None,
    };
    let api = StoreConfig {
        source: Source::Api(not_there),
        ..gone
    };
    Store::start(&api, Arc::new(Unobserved), &runtime).expect_err("no kubeconfig");
}
