//! The store against a double of the API server, and once against a real
//! one.

mod real;

use tokio::time::Instant;

use pando_test::{ApiDouble, Break, Fault, until};
use serde_json::{Value, json};

use super::super::reflect::Patience;
use super::super::slim::Reason;
use super::super::watch::Request;
use super::*;

/// For what has no promise of its own.
const BOUND: Duration = Duration::from_secs(20);

/// The promise after an outage.
const FOLLOWED_AGAIN: Duration = Duration::from_secs(2);

fn service(name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "protocol": "TCP"}]},
    })
}

fn slice(name: &str, service: &str, ips: &[&str]) -> Value {
    let endpoints: Vec<Value> = ips.iter().map(|ip| json!({"addresses": [ip]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [],
    })
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn config(access: Access) -> StoreConfig {
    StoreConfig {
        source: Source::Api(access),
        labels: None,
        namespace_labels: None,
        endpoints: true,
        pods: false,
        node: None,
        multicluster: false,
        keep: Keep::default(),
        state_file: None,
        user_agent: "Pando/test".to_owned(),
    }
}

fn plain(url: String) -> StoreConfig {
    config(Access::Endpoint { url, tls: None })
}

fn start(config: &StoreConfig) -> Arc<Store> {
    Store::start(config, Arc::new(Unobserved), &Handle::current()).expect("starts")
}

async fn synced(store: &Store) {
    let synced = tokio::time::timeout(BOUND, store.wait_synced()).await;
    synced.unwrap_or_else(|_| panic!("not synced: {:?}", store.status()));
}

/// A body in memory is all there at once: its events and its end are read
/// without a pause between them.
#[tokio::test]
async fn events_that_come_with_the_end_of_a_stream_are_published() {
    let too_old = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
    for (end, text) in [
        ("in good order", String::new()),
        ("too old", too_old.to_string()),
        ("nonsense", "}".to_owned()),
    ] {
        let access = Access::Endpoint {
            url: "http://127.0.0.1:1".to_owned(),
            tls: None,
        };
        let api = Api::new(access, "Pando/test", Arc::new(Unobserved)).expect("a client");
        let kinds = [Kind::Services];
        let shared = Shared::new(&kinds, Keep::default(), Arc::new(Unobserved));
        let shared = Arc::new(shared);
        let mut reflector = Reflector::new(
            Kind::Services,
            (None, None),
            Arc::new(api),
            Arc::clone(&shared),
        );
        let event = json!({"type": "ADDED", "object": service("web", "10.96.0.1")});
        let body = format!("{event}\n{text}\n").into_bytes();
        let request = Request::Watch {
            version: "1".to_owned(),
        };
        let response = hyper::Response::new(kube::client::Body::from(body));
        reflector.stream(&request, response).await;
        let found = shared.published.load().service(b"shop", b"web").is_some();
        assert!(found, "{end}");
    }
}

/// Waits until the newest snapshot is as it should be.
async fn seen(store: &Store, what: &str, bound: Duration, is: impl Fn(&Snapshot) -> bool) {
    let check = || std::future::ready(is(&store.snapshots().load()).then_some(()));
    if let Err(error) = until(what, bound, check).await {
        panic!(
            "{error}: {:?} {:?}",
            store.snapshots().load(),
            store.status()
        );
    }
}

fn has(snapshot: &Snapshot, name: &str) -> bool {
    let entry = snapshot.service(b"shop", name.as_bytes());
    entry.is_some_and(|entry| entry.service().is_some())
}

/// A cluster with one service `web`.
async fn cluster() -> ApiDouble {
    let api = ApiDouble::start().await.expect("a port");
    for name in ["kube-system", "shop"] {
        api.apply(&namespace(name));
    }
    api.apply(&service("web", "10.0.0.1"));
    api.apply(&slice("web-1", "web", &["10.1.0.1", "10.1.0.2"]));
    api
}

#[tokio::test]
async fn the_cluster_is_read_and_followed() {
    let api = cluster().await;
    let store = start(&plain(api.url()));
    synced(&store).await;
    let first = store.snapshots().load_full();
    assert!(first.synced() && !first.stale());
    assert!(first.namespace(b"shop") && has(&first, "web"));
    assert_eq!(first.endpoints_by_ip([10, 1, 0, 2].into()).count(), 1);

    api.apply(&service("db", "10.0.0.2"));
    api.apply(&slice("web-1", "web", &["10.1.0.3"]));
    seen(&store, "a change", BOUND, |s| {
        has(s, "db") && s.endpoints_by_ip([10, 1, 0, 3].into()).count() == 1
    })
    .await;
    api.delete("services", "shop", "web");
    api.delete("namespaces", "", "shop");
    seen(&store, "a removal", BOUND, |s| {
        !has(s, "web") && !s.namespace(b"shop")
    })
    .await;

    for status in store.status() {
        assert!(
            status.listed && status.healthy && status.error.is_none(),
            "{status:?}"
        );
        assert_ne!(status.version, "", "{status:?}");
    }
    let requests = api.requests();
    assert!(
        requests
            .iter()
            .all(|r| r.user_agent.as_deref() == Some("Pando/test")),
        "{requests:?}"
    );
    store.shutdown().await;
}

#[tokio::test]
async fn a_server_without_streaming_lists_is_read_by_pages() {
    let api = cluster().await;
    api.no_streaming_lists();
    api.page_size(3);
    for n in 2..12 {
        api.apply(&service(&format!("s{n}"), &format!("10.0.0.{n}")));
    }
    let store = start(&plain(api.url()));
    synced(&store).await;
    let snapshot = store.snapshots().load_full();
    assert_eq!(snapshot.services().count(), 11);
    api.apply(&service("later", "10.0.0.20"));
    seen(&store, "a change", BOUND, |s| has(s, "later")).await;
    let continued = api
        .requests()
        .iter()
        .filter(|r| r.parameter("continue").is_some())
        .count();
    assert!(continued >= 3, "{continued}");
}

#[tokio::test]
async fn a_broken_watch_is_taken_up_again() {
    for how in [Break::End, Break::Cut, Break::Gone] {
        let api = cluster().await;
        let store = start(&plain(api.url()));
        synced(&store).await;
        api.break_watches(how);
        // While nobody watches.
        api.apply(&service("db", "10.0.0.2"));
        api.delete("endpointslices", "shop", "web-1");
        let there = |s: &Snapshot| has(s, "db") && s.endpoint_count() == 0 && has(s, "web");
        seen(
            &store,
            &format!("changes after {how:?}"),
            FOLLOWED_AGAIN,
            there,
        )
        .await;
    }
}

/// A reflector of the services that loses patience soon.
fn impatient(api: &ApiDouble) -> (Arc<Shared>, JoinHandle<()>) {
    let observer: Arc<dyn Observer> = Arc::new(Unobserved);
    let shared = Arc::new(Shared::new(
        &[Kind::Services],
        Keep::default(),
        Arc::clone(&observer),
    ));
    let access = Access::Endpoint {
        url: api.url(),
        tls: None,
    };
    let api = Arc::new(Api::new(access, "", observer).expect("a URL"));
    let mut reflector = Reflector::new(Kind::Services, (None, None), api, Arc::clone(&shared));
    let soon = Duration::from_millis(300);
    reflector.patience = Patience {
        answer: soon,
        list: soon,
        watch: soon,
    };
    (shared, tokio::spawn(reflector.run()))
}

#[tokio::test]
async fn a_peer_that_went_silent_is_given_up() {
    let api = cluster().await;
    api.fault(None, Fault::Hang, 2);
    let (shared, task) = impatient(&api);
    let there = |name: &'static str| {
        let shared = &shared;
        move || std::future::ready(has(&shared.published.load(), name).then_some(()))
    };
    until(
        "the services, after requests that hang",
        BOUND,
        there("web"),
    )
    .await
    .expect("read");
    api.break_watches(Break::Freeze);
    api.apply(&service("db", "10.0.0.2"));
    until("a change after a watch froze", BOUND, there("db"))
        .await
        .expect("followed");
    task.abort();
}

#[tokio::test]
async fn a_version_that_is_too_old_is_read_anew() {
    let api = cluster().await;
    let store = start(&plain(api.url()));
    synced(&store).await;
    api.down().await;
    api.apply(&service("db", "10.0.0.2"));
    api.delete("services", "shop", "web");
    api.compact();
    api.up().await.expect("the same port");
    seen(&store, "changes", FOLLOWED_AGAIN, |s| {
        has(s, "db") && !has(s, "web")
    })
    .await;
}

#[tokio::test]
async fn lists_that_fail_are_begun_again() {
    for fault in [
        Fault::Status(410),
        Fault::Status(500),
        Fault::Status(429),
        Fault::Close,
        Fault::Cut(200),
    ] {
        let api = cluster().await;
        api.fault(Some("services"), fault.clone(), 2);
        let store = start(&plain(api.url()));
        synced(&store).await;
        assert!(has(&store.snapshots().load(), "web"), "{fault:?}");

        let api = cluster().await;
        api.no_streaming_lists();
        api.fault_list(Some("services"), fault.clone(), 2);
        let store = start(&plain(api.url()));
        synced(&store).await;
        assert!(has(&store.snapshots().load(), "web"), "{fault:?}");
    }
}

#[tokio::test]
async fn an_outage_keeps_the_last_state_and_ends_within_two_seconds() {
    let api = cluster().await;
    let store = start(&plain(api.url()));
    synced(&store).await;
    api.down().await;
    let trouble = || {
        let status = store.status();
        std::future::ready(status.iter().all(|s| !s.healthy).then_some(status))
    };
    let status = until("the outage is known", BOUND, trouble)
        .await
        .expect("known");
    assert!(status.iter().all(|s| s.error.is_some()), "{status:?}");
    // Long enough for the longest pause between two attempts.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(has(&store.snapshots().load(), "web") && store.snapshots().load().synced());

    api.apply(&service("db", "10.0.0.2"));
    let back = Instant::now();
    api.up().await.expect("the same port");
    seen(&store, "what changed meanwhile", FOLLOWED_AGAIN, |s| {
        has(s, "db")
    })
    .await;
    assert!(back.elapsed() < FOLLOWED_AGAIN);
    let all = || std::future::ready(store.status().iter().all(|s| s.healthy).then_some(()));
    until("all is well", FOLLOWED_AGAIN, all)
        .await
        .expect("healthy");
}

#[tokio::test]
async fn a_rebuilt_etcd_is_read_anew() {
    let api = cluster().await;
    for n in 2..20 {
        api.apply(&service(&format!("s{n}"), "10.0.0.2"));
    }
    let store = start(&plain(api.url()));
    synced(&store).await;
    api.rebuild();
    api.apply(&namespace("kube-system"));
    api.apply(&service("new", "10.0.0.3"));
    let only_new = |s: &Snapshot| has(s, "new") && s.services().count() == 1;
    seen(&store, "the new cluster", FOLLOWED_AGAIN, only_new).await;
}

#[tokio::test]
async fn another_cluster_is_told_by_its_identity_alone() {
    let api = cluster().await;
    let store = start(&plain(api.url()));
    synced(&store).await;
    api.down().await;
    api.rebuild();
    // Its history overtakes ours before we are back.
    // What makes it another one: the double numbers its namespaces alike.
    api.apply(&namespace("kube-system"));
    api.delete("namespaces", "", "kube-system");
    api.apply(&namespace("kube-system"));
    for n in 0..50 {
        api.apply(&service("busy", &format!("10.0.0.{n}")));
    }
    api.up().await.expect("the same port");
    seen(&store, "the other cluster", FOLLOWED_AGAIN, |s| {
        has(s, "busy") && !has(s, "web")
    })
    .await;
}

#[tokio::test]
async fn a_rotated_token_is_read_at_once() {
    let api = cluster().await;
    let dir = Dir::new("token");
    let token = dir.0.join("token");
    std::fs::write(&token, "one").expect("writes");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": api.url()}}],
        "users": [{"name": "it", "user": {"tokenFile": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    let path = dir.0.join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).expect("writes");
    api.require_token(Some("one"));
    let store = start(&config(Access::Kubeconfig {
        path: path.clone(),
        context: None,
    }));
    synced(&store).await;

    std::fs::write(&token, "two").expect("writes");
    api.require_token(Some("two"));
    api.break_watches(Break::Cut);
    api.apply(&service("db", "10.0.0.2"));
    seen(&store, "a change after the rotation", FOLLOWED_AGAIN, |s| {
        has(s, "db")
    })
    .await;

    let context = Some("none".to_owned());
    let error = config(Access::Kubeconfig { path, context });
    let error =
        Store::start(&error, Arc::new(Unobserved), &Handle::current()).expect_err("no context");
    assert_eq!(error.to_string(), "context \"none\" does not exist");
}

#[tokio::test]
async fn a_forbidden_watch_is_named_and_the_rest_served() {
    let api = cluster().await;
    api.fault(Some("endpointslices"), Fault::Status(403), 1000);
    let store = start(&plain(api.url()));
    seen(&store, "the services", BOUND, |s| {
        has(s, "web") && s.namespace(b"shop")
    })
    .await;
    let refused = || {
        let status = store.status();
        let of_slices = status.into_iter().find(|s| s.kind == Kind::EndpointSlices);
        std::future::ready(of_slices.and_then(|s| s.error))
    };
    let error = until("the refusal", BOUND, refused).await.expect("refused");
    let want = r#"needs the RBAC verb "watch" on resource "endpointslices" in API group "discovery.k8s.io""#;
    assert!(error.starts_with(want), "{error}");
    assert!(!store.synced());
    api.heal();
    synced(&store).await;
    assert_eq!(store.snapshots().load().endpoint_count(), 2);
}

#[tokio::test]
async fn objects_that_make_no_sense_are_counted_and_the_rest_served() {
    let api = cluster().await;
    api.apply(&service("bad", "10.0.0.999"));
    let mut broken = service("broken", "10.0.0.5");
    broken["spec"]["ports"] = json!([{"port": "eighty"}]);
    api.apply(&broken);
    let many: Vec<String> = (0..5000)
        .map(|n| format!("10.2.{}.{}", n / 250, n % 250))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    api.apply(&slice("many", "web", &many));
    api.apply(&slice("odd", "web", &["10.3.0.1", "ten"]));
    let store = start(&plain(api.url()));
    synced(&store).await;
    let snapshot = store.snapshots().load_full();
    assert!(has(&snapshot, "web") && has(&snapshot, "bad") && !has(&snapshot, "broken"));
    assert_eq!(snapshot.endpoint_count(), 2 + 5000 + 1);
    let count = |kind, reason| {
        let status = store.status().into_iter().find(|s| s.kind == kind);
        status
            .and_then(|s| s.refused.get(&reason).copied())
            .unwrap_or(0)
    };
    for (kind, reason) in [
        (Kind::Services, Reason::Address),
        (Kind::Services, Reason::Json),
        (Kind::EndpointSlices, Reason::TooManyEndpoints),
        (Kind::EndpointSlices, Reason::Address),
    ] {
        assert_eq!(count(kind, reason), 1, "{kind:?} {reason:?}");
    }
}

#[tokio::test]
async fn selectors_and_pods_and_imports_are_asked_for() {
    let api = cluster().await;
    let mut labelled = service("picked", "10.0.0.7");
    labelled["metadata"]["labels"] = json!({"app": "x"});
    api.apply(&labelled);
    for (name, phase) in [("up", "Running"), ("done", "Succeeded")] {
        api.apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "x"}},
            "status": {"phase": phase, "podIP": "10.1.0.1"},
        }));
    }
    api.apply(&json!({
        "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport",
        "metadata": {"name": "far", "namespace": "shop"},
        "spec": {"type": "ClusterSetIP", "ips": ["10.9.0.1"], "ports": [{"port": 80}]},
    }));
    let mut far = slice("far-1", "far", &["10.9.1.1"]);
    far["metadata"]["labels"] = json!({
        "app": "x", "multicluster.kubernetes.io/service-name": "far",
        "multicluster.kubernetes.io/source-cluster": "east",
    });
    api.apply(&far);
    let store = start(&StoreConfig {
        labels: Some(Selector::parse("app=x").expect("parses")),
        pods: true,
        node: None,
        multicluster: true,
        ..plain(api.url())
    });
    synced(&store).await;
    let snapshot = store.snapshots().load_full();
    assert!(has(&snapshot, "picked") && !has(&snapshot, "web"));
    let pods: Vec<&str> = snapshot
        .pods_by_ip([10, 1, 0, 1].into())
        .map(|p| &*p.name)
        .collect();
    assert_eq!(pods, ["up"]);
    let import = snapshot.import(b"shop", b"far").expect("there");
    assert_eq!(import.v4().len(), 1);
    assert_eq!(
        import.slices().map(|s| s.cluster()).collect::<Vec<_>>(),
        ["east"]
    );
}

#[tokio::test]
async fn without_an_api_server_the_last_state_is_served_as_stale() {
    let api = cluster().await;
    let dir = Dir::new("stale");
    let config = StoreConfig {
        state_file: Some(dir.0.join("state")),
        ..plain(api.url())
    };
    let store = start(&config);
    synced(&store).await;
    store.shutdown().await;
    api.down().await;

    let store = start(&config);
    let snapshot = store.snapshots().load_full();
    assert!(snapshot.stale() && !snapshot.synced() && has(&snapshot, "web"));
    assert_eq!(snapshot.endpoint_count(), 2);

    api.apply(&service("db", "10.0.0.2"));
    api.delete("services", "shop", "web");
    api.up().await.expect("the same port");
    seen(&store, "the truth", FOLLOWED_AGAIN, |s| {
        s.synced() && !s.stale() && has(s, "db") && !has(s, "web")
    })
    .await;
}

#[derive(Default)]
struct Recorder {
    programmed: Mutex<Vec<(Programmed, Duration)>>,
    current: Mutex<Vec<(Kind, String)>>,
    requests: Mutex<Vec<Option<u16>>>,
    followed: Mutex<Vec<bool>>,
    refused: Mutex<Vec<Reason>>,
}

impl Observer for Recorder {
    fn programmed(&self, service: Programmed, taken: Duration) {
        lock(&self.programmed).push((service, taken));
    }

    fn current(&self, kind: Kind, version: &str) {
        lock(&self.current).push((kind, version.to_owned()));
    }

    fn requested(&self, method: &str, host: &str, code: Option<u16>, _: Duration) {
        assert!(
            method == "GET" && host.starts_with("127.0.0.1:"),
            "{method} {host}"
        );
        lock(&self.requests).push(code);
    }

    fn refused(&self, _: Kind, reason: Reason) {
        lock(&self.refused).push(reason);
    }

    fn followed(&self, kind: Kind, followed: bool) {
        if kind == Kind::Services {
            lock(&self.followed).push(followed);
        }
    }
}

#[tokio::test]
async fn the_time_that_a_change_took_is_told() {
    let api = cluster().await;
    let recorder = Arc::new(Recorder::default());
    let observer = Arc::clone(&recorder) as Arc<dyn Observer>;
    let store = Store::start(&plain(api.url()), observer, &Handle::current()).expect("starts");
    synced(&store).await;
    let mut changed = slice("web-1", "web", &["10.1.0.9"]);
    changed["metadata"]["annotations"] =
        json!({"endpoints.kubernetes.io/last-change-trigger-time": "2020-01-01T00:00:00Z"});
    api.apply(&changed);
    let told = || std::future::ready(lock(&recorder.programmed).first().copied());
    let (service, taken) = until("the latency", BOUND, told).await.expect("told");
    assert!(
        service == Programmed::ClusterIp && taken > Duration::from_secs(86_400),
        "{taken:?}"
    );
    assert!(
        store
            .snapshots()
            .load()
            .endpoints_by_ip([10, 1, 0, 9].into())
            .count()
            == 1
    );
    assert!(lock(&recorder.requests).contains(&Some(200)));
}

#[tokio::test]
async fn what_is_refused_and_what_is_followed_is_told() {
    let api = cluster().await;
    api.apply(&service("bad", "10.0.0.999"));
    let recorder = Arc::new(Recorder::default());
    let observer = Arc::clone(&recorder) as Arc<dyn Observer>;
    let store = Store::start(&plain(api.url()), observer, &Handle::current()).expect("starts");
    synced(&store).await;
    assert_eq!(*lock(&recorder.refused), [Reason::Address]);
    let told = |want: &'static [bool]| {
        let recorder = &recorder;
        move || std::future::ready((*lock(&recorder.followed) == *want).then_some(()))
    };
    until("followed", BOUND, told(&[false, true]))
        .await
        .expect("told");
    api.down().await;
    until("lost", BOUND, told(&[false, true, false]))
        .await
        .expect("told");
    api.up().await.expect("the same port");
    until("back", BOUND, told(&[false, true, false, true]))
        .await
        .expect("told");
}

/// A folder that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("pando-store-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
