use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::model::{External, Port, Protocol, Texts};
use std::net::IpAddr;

use super::*;

fn service(namespace: &str, name: &str, kind: ServiceKind, ips: &[[u8; 4]]) -> Service {
    Service {
        namespace: namespace.into(),
        name: name.into(),
        kind,
        selected: true,
        cluster_v4: ips.iter().copied().map(Ipv4Addr::from).collect(),
        cluster_v6: [].into_iter().collect(),
        ports: [Port {
            name: "http".into(),
            protocol: Protocol::Tcp,
            number: Some(80),
        }]
        .into(),
        external_name: "".into(),
        external: [].into(),
    }
}

fn slice(namespace: &str, name: &str, service: &str, ips: &[[u8; 4]]) -> Slice {
    Slice {
        namespace: namespace.into(),
        name: name.into(),
        service: service.into(),
        cluster: None,
        v4: ips.iter().copied().map(Ipv4Addr::from).collect(),
        v6: [].into(),
        ports: [Port::none()].into(),
        hostnames: None,
        pods: None,
        zones: None,
    }
}

fn pod(name: &str, ip: Option<[u8; 4]>) -> Object {
    let ip = ip.map(IpAddr::from);
    Object::Pod(Pod {
        namespace: "ns".into(),
        name: name.into(),
        ip,
        labels: None,
        search: SearchList::DEFAULT,
    })
}

fn v4(ips: &[[u8; 4]]) -> Vec<Ipv4Addr> {
    ips.iter().copied().map(Ipv4Addr::from).collect()
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const C: [u8; 4] = [10, 0, 0, 3];

#[test]
fn a_headless_service_answers_with_the_union_of_its_slices() {
    let mut index = Index::new(&[]);
    index.apply(
        Object::Service(service("ns", "db", ServiceKind::Headless, &[])),
        1,
    );
    index.apply(Object::Slice(slice("ns", "db-1", "db", &[A, B])), 1);
    let one = index.snapshot();
    index.apply(Object::Slice(slice("ns", "db-2", "db", &[B, C])), 2);
    let two = index.snapshot();

    let entry = one.service(b"ns", b"db").expect("there");
    assert_eq!(entry.v4(), v4(&[A, B]));
    let entry = two.service(b"ns", b"db").expect("there");
    assert_eq!(entry.v4(), v4(&[A, B, C]));
    assert_eq!(two.endpoints_by_ip(B.into()).count(), 2);
    assert!(two.service(b"ns", b"DB").is_none());
    assert!(two.generation() > one.generation());
}

#[test]
fn names_of_any_length_are_told_apart() {
    let names: Vec<String> = (1..=63).map(|len| "x".repeat(len)).collect();
    let mut index = Index::new(&[]);
    for name in names.iter().step_by(2) {
        index.apply(
            Object::Service(service("ns", name, ServiceKind::ClusterIp, &[A])),
            1,
        );
    }
    let snapshot = index.snapshot();
    for (at, name) in names.iter().enumerate() {
        let entry = snapshot.service(b"ns", name.as_bytes());
        assert_eq!(
            entry.map(|entry| entry.name()),
            (at % 2 == 0).then_some(&**name)
        );
    }
}

#[test]
fn an_address_that_is_listed_twice_is_answered_once() {
    let mut index = Index::new(&[]);
    index.apply(
        Object::Service(service("ns", "db", ServiceKind::Headless, &[])),
        1,
    );
    let mut twice = slice("ns", "db-1", "db", &[A, A]);
    twice.hostnames = Texts::pack(["x", "y"].into_iter());
    index.apply(Object::Slice(twice), 1);
    let snapshot = index.snapshot();
    let entry = snapshot.service(b"ns", b"db").expect("there");
    assert_eq!(entry.v4(), v4(&[A]));
    let names: Vec<&str> = snapshot
        .endpoints_by_ip(A.into())
        .map(|(_, _, e)| e.hostname)
        .collect();
    assert_eq!(names, ["x", "y"]);
}

#[test]
fn a_slice_that_changes_its_service_moves() {
    let mut index = Index::new(&[]);
    index.apply(Object::Slice(slice("ns", "s", "old", &[A])), 1);
    index.apply(Object::Slice(slice("ns", "s", "new", &[A, B])), 2);
    let snapshot = index.snapshot();
    assert!(snapshot.service(b"ns", b"old").is_none());
    let owners: Vec<&str> = snapshot
        .endpoints_by_ip(A.into())
        .map(|(e, _, _)| e.name())
        .collect();
    assert_eq!(owners, ["new"]);
}

#[test]
fn a_relist_removes_what_it_does_not_name_and_not_before_its_end() {
    let mut index = Index::new(&[]);
    for name in ["a", "b"] {
        index.apply(
            Object::Service(service("ns", name, ServiceKind::ClusterIp, &[A])),
            1,
        );
        index.apply(Object::Slice(slice("ns", name, name, &[B])), 1);
        index.apply(Object::Namespace(name.into()), 1);
        index.apply(pod(name, Some(C)), 1);
    }
    let kinds = [
        Kind::Services,
        Kind::EndpointSlices,
        Kind::Namespaces,
        Kind::Pods,
    ];
    for kind in kinds {
        index.begin(kind);
    }
    // Broken off and begun again: nothing is lost.
    for kind in kinds {
        index.begin(kind);
    }
    index.apply(
        Object::Service(service("ns", "a", ServiceKind::ClusterIp, &[A])),
        5,
    );
    index.apply(Object::Slice(slice("ns", "a", "a", &[B])), 5);
    index.apply(Object::Namespace("a".into()), 5);
    index.apply(
        Object::TerminatingPod {
            namespace: "ns".into(),
            name: "a".into(),
        },
        5,
    );
    let during = index.snapshot();
    assert!(
        during
            .service(b"ns", b"b")
            .is_some_and(|e| e.service().is_some())
    );
    assert!(during.namespace(b"b"));
    assert_eq!(during.pods_by_ip(C.into()).count(), 2);
    assert_eq!(during.serial(), 1, "what is equal is no change");

    for kind in kinds {
        assert_eq!(index.finish(kind, 9), 1, "{kind:?}");
    }
    let after = index.snapshot();
    assert!(after.service(b"ns", b"b").is_none());
    assert!(
        after
            .service(b"ns", b"a")
            .is_some_and(|e| e.has_endpoints())
    );
    assert!(!after.namespace(b"b") && after.namespace(b"a"));
    assert_eq!(
        after
            .pods_by_ip(C.into())
            .map(|p| &*p.name)
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(
        after.service_by_cluster_ip(A.into()).map(|(e, _)| e.name()),
        Some("a")
    );
    assert_eq!(after.serial(), 9);
}

#[test]
fn synced_when_every_wanted_kind_was_listed() {
    let mut index = Index::new(&[Kind::Services, Kind::Namespaces]);
    index.mark_stale(7, 0, 0);
    for (kind, synced) in [(Kind::Services, false), (Kind::Namespaces, true)] {
        index.begin(kind);
        index.finish(kind, 1);
        let snapshot = index.snapshot();
        assert_eq!(
            (snapshot.synced(), snapshot.stale()),
            (synced, !synced),
            "{kind:?}"
        );
    }
}

/// Which changes move which serial: what CoreDNS's controller compares.
#[test]
fn serials() {
    let base = service("ns", "s", ServiceKind::ClusterIp, &[A]);
    let other_ip = Service {
        cluster_v4: v4(&[B]).into_iter().collect(),
        ..base.clone()
    };
    let other_port = Service {
        ports: [Port::none()].into(),
        ..base.clone()
    };
    let other_external = Service {
        external: [External::Ip(A.into())].into(),
        ..base.clone()
    };
    let other_target = Service {
        external_name: "x.test".into(),
        ..base.clone()
    };
    let eps = slice("ns", "e", "s", &[A]);
    let other_pod = Slice {
        pods: Texts::pack(["p"].into_iter()),
        ..eps.clone()
    };
    let other_host = Slice {
        hostnames: Texts::pack(["h"].into_iter()),
        ..eps.clone()
    };
    let far = Slice {
        cluster: Some("far".into()),
        ..eps.clone()
    };

    // before, after, and whether (cluster, external, multicluster) move.
    let table = [
        (
            Object::Service(base.clone()),
            Object::Service(other_ip),
            [0, 0, 0],
        ),
        (
            Object::Service(base.clone()),
            Object::Service(other_port.clone()),
            [1, 1, 0],
        ),
        (
            Object::Service(base.clone()),
            Object::Service(other_external),
            [0, 1, 0],
        ),
        (
            Object::Service(base.clone()),
            Object::Service(other_target),
            [1, 0, 0],
        ),
        (
            Object::Service(base.clone()),
            Object::Slice(eps.clone()),
            [1, 0, 0],
        ),
        (
            Object::Service(base.clone()),
            Object::Namespace("ns".into()),
            [0, 0, 0],
        ),
        (
            Object::Service(base.clone()),
            Object::Import(base.clone()),
            [1, 0, 0],
        ),
        (Object::Import(base), Object::Import(other_port), [0, 0, 1]),
        (
            Object::Slice(eps.clone()),
            Object::Slice(other_pod),
            [0, 0, 0],
        ),
        (
            Object::Slice(eps.clone()),
            Object::Slice(other_host),
            [1, 0, 0],
        ),
        (
            Object::ImportSlice(eps),
            Object::ImportSlice(far),
            [0, 0, 1],
        ),
        (pod("p", None), pod("p", Some(A)), [1, 0, 0]),
        (pod("p", Some(A)), pod("p", Some(A)), [0, 0, 0]),
    ];
    for (before, after, want) in table {
        let what = format!("{before:?} then {after:?}");
        let mut index = Index::new(&[]);
        index.apply(before, 0);
        index.apply(after, 1);
        let s = index.snapshot();
        assert_eq!(
            [s.serial(), s.external_serial(), s.multicluster_serial()],
            want,
            "{what}"
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Service(u8, u8, bool),
    Slice(u8, u8, Vec<u8>),
    DeleteService(u8),
    DeleteSlice(u8),
    Relist(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..6, 0u8..4, any::<bool>()).prop_map(|(n, ip, h)| Step::Service(n, ip, h)),
        (0u8..8, 0u8..6, prop::collection::vec(0u8..12, 0..6))
            .prop_map(|(n, svc, ips)| Step::Slice(n, svc, ips)),
        (0u8..6).prop_map(Step::DeleteService),
        (0u8..8).prop_map(Step::DeleteSlice),
        prop::collection::vec(0u8..8, 0..4).prop_map(Step::Relist),
    ]
}

proptest! {
    #[test]
    fn a_snapshot_says_what_a_plain_map_says(steps in prop::collection::vec(step(), 0..60)) {
        let mut index = Index::new(&[]);
        let mut services: BTreeMap<u8, (u8, bool)> = BTreeMap::new();
        let mut slices: BTreeMap<u8, (u8, Vec<u8>)> = BTreeMap::new();
        let name = |n: u8| format!("n{n}");
        let make = |n: u8, svc: u8, ips: &[u8]| {
            let ips: Vec<[u8; 4]> = ips.iter().map(|i| [10, 1, 0, *i]).collect();
            Object::Slice(slice("ns", &format!("n{n}"), &format!("n{svc}"), &ips))
        };
        let mut kept = Vec::new();
        for step in steps {
            match step {
                Step::Service(n, ip, headless) => {
                    let kind = if headless { ServiceKind::Headless } else { ServiceKind::ClusterIp };
                    let ips = [[10, 0, 0, ip]];
                    let ips: &[_] = if headless { &[] } else { &ips };
                    index.apply(Object::Service(service("ns", &name(n), kind, ips)), 1);
                    services.insert(n, (ip, headless));
                }
                Step::Slice(n, svc, ips) => {
                    index.apply(make(n, svc, &ips), 1);
                    slices.insert(n, (svc, ips));
                }
                Step::DeleteService(n) => {
                    index.delete(Kind::Services, "ns", &name(n), 1);
                    services.remove(&n);
                }
                Step::DeleteSlice(n) => {
                    index.delete(Kind::EndpointSlices, "ns", &name(n), 1);
                    slices.remove(&n);
                }
                Step::Relist(keep) => {
                    index.begin(Kind::EndpointSlices);
                    slices.retain(|n, _| keep.contains(n));
                    for (n, (svc, ips)) in &slices {
                        index.apply(make(*n, *svc, ips), 1);
                    }
                    index.finish(Kind::EndpointSlices, 1);
                }
            }
            let snapshot = index.snapshot();
            check(&snapshot, &services, &slices)?;
            kept.push((snapshot, services.clone(), slices.clone()));
        }
        // What was published once never changes.
        for (snapshot, services, slices) in &kept {
            check(snapshot, services, slices)?;
        }
    }
}

fn check(
    snapshot: &Snapshot,
    services: &BTreeMap<u8, (u8, bool)>,
    slices: &BTreeMap<u8, (u8, Vec<u8>)>,
) -> Result<(), TestCaseError> {
    for n in 0..6u8 {
        let entry = snapshot.service(b"ns", format!("n{n}").as_bytes());
        let of_service: Vec<u8> = slices
            .values()
            .filter(|s| s.0 == n)
            .flat_map(|s| s.1.iter().copied())
            .collect();
        let want: BTreeSet<Ipv4Addr> = match services.get(&n) {
            None => BTreeSet::new(),
            Some((ip, false)) => [[10, 0, 0, *ip].into()].into(),
            Some((_, true)) => of_service.iter().map(|i| [10, 1, 0, *i].into()).collect(),
        };
        let got = entry.map_or(&[][..], |e| e.v4());
        prop_assert_eq!(got.iter().copied().collect::<BTreeSet<_>>(), want.clone());
        prop_assert_eq!(got.len(), want.len());
        prop_assert_eq!(
            entry.is_some_and(|e| e.service().is_some()),
            services.contains_key(&n)
        );
        let listed: usize = entry.map_or(0, |e| e.slices().map(Slice::len).sum());
        prop_assert_eq!(listed, of_service.len());
    }
    for ip in 0..12u8 {
        let at = IpAddr::from([10, 1, 0, ip]);
        let mut got: Vec<String> = snapshot
            .endpoints_by_ip(at)
            .map(|(e, _, _)| e.name().to_owned())
            .collect();
        got.sort();
        let mut want: Vec<String> = slices
            .values()
            .flat_map(|(svc, ips)| {
                ips.iter()
                    .filter(|i| **i == ip)
                    .map(move |_| format!("n{svc}"))
            })
            .collect();
        want.sort();
        prop_assert_eq!(got, want);
    }
    for ip in 0..4u8 {
        let found = snapshot.service_by_cluster_ip([10, 0, 0, ip].into());
        let owners: Vec<String> = services
            .iter()
            .filter(|(_, s)| **s == (ip, false))
            .map(|(n, _)| format!("n{n}"))
            .collect();
        prop_assert_eq!(found.is_some(), !owners.is_empty());
        if let Some((entry, _)) = found {
            prop_assert!(owners.contains(&entry.name().to_owned()));
        }
    }
    Ok(())
}
