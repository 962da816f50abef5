//! What a node still knows when nobody answers behind it.

use pando_test::{BOUND, Site, until};

use crate::corefiles;
use crate::rooms::{Behind, House, only_for_the_agent};

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_on_the_node_answers_when_the_clusters_dns_is_gone() {
    if only_for_the_agent() {
        return;
    }
    let Some(mut house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let _agent = house.serving(&corefiles::zone_on_the_node(), &[]).await;
    house.dns.kill().await.expect("killed");
    let pod = &house.site.pods[0];
    for (name, data) in [
        ("web.shop.svc.cluster.local", vec!["10.96.1.1"]),
        ("web-7.shop.svc.cluster.local", vec!["10.96.2.7"]),
        (
            "db.shop.svc.cluster.local",
            vec!["10.244.9.1", "10.244.9.2"],
        ),
    ] {
        let answer = pod.ask(Site::LOCAL, name, "A").await.expect(name);
        assert_eq!(answer.data(), data, "{answer}");
    }
    let answer = pod.ask(Site::LOCAL, "no.shop.svc.cluster.local", "A").await;
    assert_eq!(answer.expect("an answer").rcode(), "NXDOMAIN");
}

#[tokio::test(flavor = "multi_thread")]
async fn external_names_are_answered_stale_when_the_world_is_gone() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let corefile = corefiles::with_stale("serve_stale 1h immediate\nsuccess 9984 1 1");
    let _agent = house.serving(&corefile, &[]).await;
    let pod = &house.site.pods[0];
    let fresh = pod
        .ask(Site::LOCAL, "www.example.com", "A")
        .await
        .expect("an answer");
    house.site.external().gone(true);
    let stale = until("a stale answer", BOUND, || async {
        let answer = pod.ask(Site::LOCAL, "www.example.com", "A").await.ok()?;
        (answer.message.answers.first()?.ttl == 0).then_some(answer)
    });
    let stale = stale.await.expect("a stale answer");
    assert_eq!(stale.data(), fresh.data());
}
