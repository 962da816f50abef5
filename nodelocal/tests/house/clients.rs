//! Every resolver gets the answers that it gets without an agent.

use std::collections::BTreeSet;

use pando_test::{External, Pod};

use crate::corefiles;
use crate::resolvers::{self, Found, Resolver};
use crate::rooms::{Behind, House, only_for_the_agent};

/// Names as programs write them, in the namespace `shop` and in `payments`.
/// The dot at the end keeps a resolver from walking.
const NAMES: [(&str, [&str; 2]); 8] = [
    ("web", ["10.96.1.1", "10.96.1.2"]),
    ("web.payments", ["10.96.1.2", "10.96.1.2"]),
    ("web.shop.svc", ["10.96.1.1", "10.96.1.1"]),
    ("db", ["10.244.9.1 10.244.9.2", ""]),
    ("web.shop.svc.cluster.local", ["10.96.1.1", "10.96.1.1"]),
    ("web.shop.svc.cluster.local.", ["10.96.1.1", "10.96.1.1"]),
    ("nothing", ["", ""]),
    ("www.example.org", ["", ""]),
];
/// External names, with fewer dots than `ndots` and with as many.
const EXTERNAL: [&str; 3] = ["www.example.com", "a.b.c.d.example.com", "www.example.com."];

fn check(resolver: &Resolver, pod: &Pod, column: usize) {
    let absolute = |name: &str| name.matches('.').count() >= 2 && !name.ends_with("svc");
    let cluster = NAMES.iter().map(|(name, _)| *name);
    let names = cluster
        .chain(EXTERNAL)
        .filter(|name| resolver.walks || absolute(name));
    let names: Vec<_> = names.map(str::to_owned).collect();
    let found = resolver.look_up(&pod.netns, &names).expect(resolver.name);
    let expected: Found = names
        .iter()
        .map(|name| (name.clone(), expected(name, column)))
        .collect();
    assert_eq!(found, expected, "{} in {}", resolver.name, pod.namespace);
}

fn expected(name: &str, column: usize) -> BTreeSet<String> {
    if let Some((_, addresses)) = NAMES.iter().find(|(known, _)| *known == name) {
        return addresses[column]
            .split_whitespace()
            .map(str::to_owned)
            .collect();
    }
    let [a, b, c, d] = External::address_of(name);
    let v6 = u32::from_be_bytes([a, b, c, d]);
    let v6 = std::net::Ipv6Addr::from((0x2001_0db8 << 96) + u128::from(v6));
    [format!("{a}.{b}.{c}.{d}"), v6.to_string()].into()
}

async fn check_all(house: &House, corefile: &str) {
    let _agent = house.serving(corefile, &[]).await;
    for resolver in resolvers::all() {
        for (column, pod) in house.site.pods.iter().enumerate() {
            check(resolver, pod, column);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resolvers_find_what_there_is_through_a_cache() {
    let Some(house) = House::build(Behind::CoreDns, &["shop", "payments"]).await else {
        return;
    };
    check_all(&house, &corefiles::cache_only()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resolvers_find_what_there_is_in_a_zone_on_the_node() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop", "payments"]).await else {
        return;
    };
    check_all(&house, &corefiles::zone_on_the_node()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resolvers_find_what_there_is_when_the_search_list_is_served() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop", "payments"]).await else {
        return;
    };
    check_all(
        &house,
        &corefiles::search_list_served(&house.site.api_url()),
    )
    .await;
}
