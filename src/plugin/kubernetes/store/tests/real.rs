//! The store against a real API server over a real etcd.

use pando_test::{ControlPlane, dns_rules};

use super::*;

async fn create(plane: &ControlPlane, kind: &str, object: &Value) {
    let path = match kind {
        "namespaces" => "/api/v1/namespaces".to_owned(),
        "services" => "/api/v1/namespaces/shop/services".to_owned(),
        _ => "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices".to_owned(),
    };
    plane.request("POST", &path, object).await.expect("created");
}

/// A Service whose cluster IP the API server chooses.
fn any_ip(name: &str) -> Value {
    let mut service = service(name, "");
    service["spec"] = json!({"ports": [{"port": 80}]});
    service
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_is_followed_through_its_troubles() {
    let Some(plane) = ControlPlane::start().await.expect("starts") else {
        return;
    };
    create(&plane, "namespaces", &namespace("shop")).await;
    create(&plane, "services", &any_ip("web")).await;
    create(
        &plane,
        "endpointslices",
        &slice("web-1", "web", &["10.1.0.1"]),
    )
    .await;
    let account = plane
        .account("dns", &dns_rules())
        .await
        .expect("an account");
    let store = start(&config(Access::Kubeconfig {
        path: account.kubeconfig.clone(),
        context: None,
    }));
    synced(&store).await;
    let first = store.snapshots().load_full();
    assert!(has(&first, "web") && first.namespace(b"shop"));
    assert_eq!(first.endpoints_by_ip([10, 1, 0, 1].into()).count(), 1);

    let begun = Instant::now();
    create(&plane, "services", &any_ip("db")).await;
    seen(&store, "a new service", BOUND, |s| has(s, "db")).await;
    println!("a new service, request included: {:?}", begun.elapsed());

    plane.stop_api().await;
    assert!(has(&store.snapshots().load(), "db"));
    plane.start_api().await.expect("starts");
    create(&plane, "services", &any_ip("after-restart")).await;
    seen(&store, "a service after a restart", FOLLOWED_AGAIN, |s| {
        has(s, "after-restart")
    })
    .await;

    plane.compact().await.expect("compacts");
    create(&plane, "services", &any_ip("after-compaction")).await;
    seen(
        &store,
        "a service after a compaction",
        FOLLOWED_AGAIN,
        |s| has(s, "after-compaction") && has(s, "web"),
    )
    .await;

    plane.rebuild().await.expect("rebuilds");
    create(&plane, "namespaces", &namespace("shop")).await;
    create(&plane, "services", &any_ip("after-rebuild")).await;
    // The account is gone with the rest: a new one, a new token on disk.
    plane
        .account("dns", &dns_rules())
        .await
        .expect("an account");
    let begun = Instant::now();
    seen(&store, "the new cluster", Duration::from_secs(10), |s| {
        has(s, "after-rebuild")
            && !has(s, "web")
            && s.endpoints_by_ip([10, 1, 0, 1].into()).count() == 0
    })
    .await;
    println!(
        "a rebuilt cluster, once the account is back: {:?}",
        begun.elapsed()
    );
    store.shutdown().await;
}
