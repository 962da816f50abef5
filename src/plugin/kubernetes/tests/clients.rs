//! Whose search list is known, and what it is.

use super::*;
use crate::plugin::kubernetes::index::Index;
use crate::plugin::kubernetes::model::Kind;
use crate::plugin::kubernetes::slim::{Decoder, Keep};

const CLIENT: &str = "10.1.1.1";

/// A cluster of pods: namespace and what else a pod says, as JSON.
fn cluster(pods: &[(&str, &str)]) -> Index {
    let mut index = Index::new(&[Kind::Pods]);
    index.begin(Kind::Pods);
    for (at, (namespace, rest)) in pods.iter().enumerate() {
        put(&mut index, &format!("p-{at}"), namespace, "", rest);
    }
    index.finish(Kind::Pods, 1);
    index
}

fn put(index: &mut Index, name: &str, namespace: &str, meta: &str, rest: &str) {
    let json = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"{meta}}},
            "status":{{"podIP":"{CLIENT}","hostIP":"192.0.2.1"}},"spec":{{{rest}}}}}"#
    );
    let decoded = Decoder::new(Keep::default()).decode(Kind::Pods, json.as_bytes());
    index.apply(decoded.unwrap().object.unwrap(), 1);
}

/// The search list for a query, and its `ndots`.
fn list(corefile: &str, snapshot: Snapshot, name: &str) -> Option<String> {
    let mut kubernetes = plugin(corefile, snapshot, &[]);
    kubernetes.know_clients(&[
        "corp.test".parse().unwrap(),
        "cluster.local".parse().unwrap(),
    ]);
    let exchange = exchange(name, "A");
    let search = kubernetes.auto_pather().unwrap().search(&exchange)?;
    let rest: Vec<String> = search.rest.iter().map(ToString::to_string).collect();
    Some(format!(
        "{} {} {:?}",
        search.first,
        rest.join(" "),
        search.ndots
    ))
}

const CORE: &str =
    "kubernetes cluster.local in-addr.arpa multi.local {\n multicluster multi.local\n}";

#[test]
fn a_pod_alone_at_its_address_walks_the_list_of_its_namespace() {
    let usual = "shop.svc.cluster.local. svc.cluster.local. cluster.local. corp.test.";
    let five = Some(format!("{usual} Some(5)"));
    let two = Some(format!("{usual} Some(2)"));
    let ndots = r#""dnsConfig":{"options":[{"name":"ndots","value":"2"}]}"#;
    for (pods, known) in [
        (&[("shop", "")][..], five),
        (&[("shop", ndots)], two),
        (&[], None),
        (&[("shop", r#""hostNetwork":true"#)], None),
        (&[("shop", r#""dnsPolicy":"None""#)], None),
        (&[("shop", r#""dnsConfig":{"searches":["a.test"]}"#)], None),
        // Two that have the same address.
        (&[("shop", ""), ("other", "")], None),
        (&[("shop", ""), ("other", r#""hostNetwork":true"#)], None),
    ] {
        let found = list(CORE, cluster(pods).snapshot(), "a.shop.svc.cluster.local");
        assert_eq!(found, known, "{pods:?}");
    }
    for name in [
        "1.1.1.10.in-addr.arpa",
        "a.shop.svc.multi.local",
        "example.org",
    ] {
        assert_eq!(list(CORE, cluster(&[("shop", "")]).snapshot(), name), None);
    }
}

#[test]
fn an_address_is_in_doubt_while_its_pod_goes() {
    let mut index = cluster(&[("shop", "")]);
    let name = "a.shop.svc.cluster.local";
    assert!(list(CORE, index.snapshot(), name).is_some());
    let ending = r#","deletionTimestamp":"2026-01-01T00:00:00Z""#;
    put(&mut index, "p-0", "shop", ending, "");
    let serial = index.snapshot().serial();
    assert_eq!(list(CORE, index.snapshot(), name), None);
    // Its own record stays until it is gone.
    assert_eq!(
        index.snapshot().pods_by_ip(CLIENT.parse().unwrap()).count(),
        1
    );
    assert_eq!(serial, 1);
    // The next one has the address before the last one is gone.
    put(&mut index, "p-1", "other", "", "");
    assert_eq!(list(CORE, index.snapshot(), name), None);
    index.delete(Kind::Pods, "shop", "p-0", 2);
    assert!(
        list(CORE, index.snapshot(), name)
            .unwrap()
            .starts_with("other.svc.")
    );
}

#[test]
fn what_an_earlier_run_knew_of_addresses_does_not_count() {
    let mut index = Index::new(&[Kind::Pods, Kind::Services]);
    put(&mut index, "p-0", "shop", "", "");
    index.mark_stale(1, 1, 1);
    assert_eq!(
        list(CORE, index.snapshot(), "a.shop.svc.cluster.local"),
        None
    );
}

#[test]
fn a_list_that_kubelet_would_cut_is_not_known() {
    let mut kubernetes = plugin(CORE, cluster(&[("shop", "")]).snapshot(), &[]);
    let exchange = exchange("a.shop.svc.cluster.local", "A");
    for (domains, octets, known) in [
        (29, 1, true),
        (30, 1, false),
        (20, 63, true),
        (29, 63, true),
    ] {
        let host: Vec<NameBuf> = (0..domains)
            .map(|at| {
                format!("{}.h{at}.test", "x".repeat(octets))
                    .parse()
                    .unwrap()
            })
            .collect();
        kubernetes.know_clients(&host);
        let search = kubernetes.auto_pather().unwrap().search(&exchange);
        let chars: usize = host.iter().map(|domain| domain.wire().len()).sum();
        assert_eq!(
            search.is_some(),
            known && chars < 1900,
            "{domains} {octets} {chars}"
        );
    }
}

#[test]
fn a_client_belongs_to_the_one_namespace_that_has_its_address() {
    let namespace = |snapshot: Snapshot, ip: &str| {
        let kubernetes = plugin("kubernetes cluster.local", snapshot, &[]);
        let directory = kubernetes.directory().unwrap();
        directory.namespace_of(ip.parse().unwrap())
    };
    let one = Some("shop".to_owned());
    // Pods, if they are followed.
    assert_eq!(namespace(cluster(&[("shop", "")]).snapshot(), CLIENT), one);
    let mut twice = cluster(&[("shop", ""), ("shop", "")]);
    assert_eq!(namespace(twice.snapshot(), CLIENT), one);
    let mut shared = cluster(&[("shop", ""), ("other", "")]);
    assert_eq!(namespace(shared.snapshot(), CLIENT), None);
    assert_eq!(namespace(cluster(&[]).snapshot(), CLIENT), None);
    // Endpoints, where no pod has the address.
    assert_eq!(namespace(fixture::cluster(), "10.0.0.4"), one);
    assert_eq!(namespace(fixture::cluster(), "fd01::1"), one);
    assert_eq!(namespace(fixture::cluster(), "192.0.2.200"), None);
    // What an earlier run knew may be another's by now.
    assert_eq!(namespace(fixture::half_read(), "10.0.0.4"), None);
}
