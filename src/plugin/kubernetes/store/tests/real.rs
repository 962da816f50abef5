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

/// Not part of the suite: how long after the API server has accepted a change
/// it is in the newest snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn latency() {
    let Some(plane) = ControlPlane::start().await.expect("starts") else {
        return;
    };
    create(&plane, "namespaces", &namespace("shop")).await;
    create(
        &plane,
        "endpointslices",
        &slice("web-1", "web", &["10.1.0.1"]),
    )
    .await;
    let access = Access::Kubeconfig {
        path: plane.kubeconfig().to_owned(),
        context: None,
    };
    let store = start(&config(access));
    synced(&store).await;
    let client = plane.client().await.expect("a client");
    let path = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1";
    let mut taken = Vec::new();
    for n in 0..500u16 {
        let ip = std::net::Ipv4Addr::from(0x0A02_0000 + u32::from(n));
        let body = slice("web-1", "web", &[&ip.to_string()])
            .to_string()
            .into_bytes();
        let request = hyper::Request::put(path)
            .header("content-type", "application/json")
            .body(body);
        let request = request.expect("a request");
        client.request_text(request).await.expect("accepted");
        let accepted = Instant::now();
        while store
            .snapshots()
            .load()
            .endpoints_by_ip(ip.into())
            .next()
            .is_none()
        {
            assert!(accepted.elapsed() < BOUND);
            std::hint::spin_loop();
        }
        taken.push(accepted.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    taken.sort();
    println!(
        "p50 {:?}, p99 {:?}, max {:?}",
        taken[250], taken[495], taken[499]
    );
}
