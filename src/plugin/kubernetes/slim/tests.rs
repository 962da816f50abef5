use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn decode(kind: Kind, json: &str) -> Decoded {
    let keep = Keep {
        pod_names: true,
        zones: true,
        pod_labels: true,
    };
    Decoder::new(keep)
        .decode(kind, json.as_bytes())
        .expect("decodes")
}

fn service(json: &str) -> Service {
    match decode(Kind::Services, json).object {
        Some(Object::Service(service)) => service,
        other => panic!("{other:?}"),
    }
}

fn slice(json: &str) -> (Slice, Vec<Reason>) {
    let decoded = decode(Kind::EndpointSlices, json);
    let flaws = decoded.flaws.iter().map(|flaw| flaw.reason).collect();
    match decoded.object {
        Some(Object::Slice(slice)) => (slice, flaws),
        other => panic!("{other:?}"),
    }
}

#[test]
fn service_kinds_and_addresses() {
    let table = [
        (r#"{"clusterIP":"10.0.0.1"}"#, ServiceKind::ClusterIp, 1, 0),
        (
            r#"{"clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1","fd00::1"]}"#,
            ServiceKind::ClusterIp,
            1,
            1,
        ),
        (
            r#"{"clusterIP":"None","clusterIPs":["None"]}"#,
            ServiceKind::Headless,
            0,
            0,
        ),
        (
            r#"{"type":"ExternalName","externalName":"a.test"}"#,
            ServiceKind::ExternalName,
            0,
            0,
        ),
        (
            r#"{"type":"ExternalName","clusterIP":"None"}"#,
            ServiceKind::ExternalName,
            0,
            0,
        ),
        (r#"{"clusterIP":""}"#, ServiceKind::ClusterIp, 0, 0),
        (
            r#"{"clusterIPs":null,"ports":null}"#,
            ServiceKind::ClusterIp,
            0,
            0,
        ),
    ];
    for (spec, kind, v4, v6) in table {
        let json = format!(r#"{{"metadata":{{"name":"s","namespace":"ns"}},"spec":{spec}}}"#);
        let service = service(&json);
        let got = (
            service.kind,
            service.cluster_v4.len(),
            service.cluster_v6.len(),
        );
        assert_eq!(got, (kind, v4, v6), "{spec}");
        assert_eq!(&*service.ports, [Port::none()]);
    }
}

#[test]
fn external_addresses_come_from_the_spec_and_then_the_ingress() {
    let service = service(
        r#"{"metadata":{"name":"s"},"spec":{"externalIPs":["192.0.2.1"]},
            "status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.2","hostname":"no.test"},{"hostname":"lb.test"},{}]}}}"#,
    );
    let want = [
        External::Ip([192, 0, 2, 1].into()),
        External::Ip([192, 0, 2, 2].into()),
        External::Hostname("lb.test".into()),
    ];
    assert_eq!(&*service.external, want);
}

#[test]
fn a_slice_keeps_what_is_ready() {
    let (slice, flaws) = slice(
        r#"{"metadata":{"name":"s-1","namespace":"ns","labels":{"kubernetes.io/service-name":"s","x":"y"},
              "managedFields":[{"fieldsV1":{"f:a":{}}}]},
            "addressType":"IPv4","endpoints":[
              {"addresses":["10.0.0.1"],"conditions":{"ready":true,"serving":true},"hostname":"web-0","zone":"EU-1","targetRef":{"kind":"Pod","name":"web-0"}},
              {"addresses":["10.0.0.2"],"conditions":{"ready":false}},
              {"addresses":["10.0.0.3","fd00::3"],"conditions":{}},
              {"addresses":["10.0.0.4"],"conditions":{"ready":null},"targetRef":null}],
            "ports":[{"name":"http","port":80,"protocol":"TCP"},{"name":"","port":null,"protocol":"UDP"}]}"#,
    );
    let want: Vec<Ipv4Addr> = [1, 3, 4].map(|n| Ipv4Addr::new(10, 0, 0, n)).into();
    assert_eq!(slice.v4(), want);
    assert_eq!(
        slice.v6(),
        ["fd00::3".parse::<Ipv6Addr>().expect("literal")]
    );
    let first = slice.endpoint(0).expect("there");
    assert_eq!(
        (first.hostname, first.pod, first.zone),
        ("web-0", "web-0", "eu-1")
    );
    assert_eq!(
        slice.endpoint(2).map(|e| (e.hostname, e.zone)),
        Some(("", ""))
    );
    assert_eq!(
        slice.ports().iter().map(|p| p.number).collect::<Vec<_>>(),
        [Some(80), None]
    );
    assert_eq!(flaws, []);
}

#[test]
fn what_makes_no_sense_is_left_out_and_reported() {
    let endpoints = vec![r#"{"addresses":["10.0.0.1"]}"#; 5000].join(",");
    let long = "x".repeat(64);
    let table = [
        (
            r#""endpoints":[{"addresses":["10.0.0.1"]},{"addresses":["10.0.0.300"]}]"#.to_owned(),
            Reason::Address,
            1,
        ),
        (
            r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":70000},{"port":80}]"#
                .to_owned(),
            Reason::Port,
            1,
        ),
        (
            r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":1,"protocol":"X"}]"#
                .to_owned(),
            Reason::Protocol,
            1,
        ),
        (
            format!(r#""endpoints":[{{"addresses":["10.0.0.1"],"hostname":"{long}"}}]"#),
            Reason::Hostname,
            1,
        ),
        (
            format!(r#""endpoints":[{endpoints}]"#),
            Reason::TooManyEndpoints,
            5000,
        ),
    ];
    for (fields, reason, left) in table {
        let json = format!(
            r#"{{"metadata":{{"name":"e","labels":{{"kubernetes.io/service-name":"s"}}}},{fields}}}"#
        );
        let (slice, flaws) = slice(&json);
        assert_eq!((slice.len(), flaws), (left, vec![reason]));
    }
}

#[test]
fn what_is_not_utf8_is_refused_by_name() {
    let json = b"{\"metadata\":{\"name\":\"s\",\"namespace\":\"ns\"},\"spec\":{\"x\":\"\xff\"}}";
    let refused = Decoder::default().decode(Kind::Services, json);
    let refused = refused.expect_err("no JSON");
    assert_eq!((refused.flaw.reason, &*refused.name), (Reason::Json, "s"));
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let table = [
        (
            r#"{"metadata":{"name":"s","namespace":"ns"},"spec":{"ports":[{"port":"eighty"}]}}"#,
            Reason::Json,
            "s",
        ),
        (
            r#"{"metadata":{"name":"s","namespace":"ns"},"spec":5}"#,
            Reason::Json,
            "s",
        ),
        (r#"{"metadata":{"namespace":"ns"}}"#, Reason::Name, ""),
        (
            r#"{"metadata":{"name":"a.b","namespace":"ns"}}"#,
            Reason::Name,
            "a.b",
        ),
        (r#"{"metadata":"#, Reason::Json, ""),
        ("[]", Reason::Json, ""),
    ];
    for (json, reason, name) in table {
        let refused = Decoder::default()
            .decode(Kind::Services, json.as_bytes())
            .expect_err(json);
        assert_eq!(
            (refused.flaw.reason, &*refused.name),
            (reason, name),
            "{json}"
        );
    }
}

#[test]
fn a_slice_without_a_service_is_nothing_to_us() {
    let decoded = decode(
        Kind::EndpointSlices,
        r#"{"metadata":{"name":"x","namespace":"ns","labels":null}}"#,
    );
    assert!(decoded.object.is_none() && decoded.flaws.is_empty());
}

#[test]
fn a_multicluster_slice_names_its_cluster() {
    let json = r#"{"metadata":{"name":"x","namespace":"ns","labels":{
        "multicluster.kubernetes.io/service-name":"s","multicluster.kubernetes.io/source-cluster":"east"}},
        "endpoints":null,"ports":null}"#;
    match decode(Kind::ImportSlices, json).object {
        Some(Object::ImportSlice(slice)) => {
            assert_eq!((&*slice.service, slice.cluster()), ("s", "east"))
        }
        other => panic!("{other:?}"),
    }
    assert!(decode(Kind::EndpointSlices, json).object.is_none());
}

#[test]
fn pods() {
    let pod = |fields: &str| {
        let json = format!(r#"{{"metadata":{{"name":"p","namespace":"ns"{fields}"#);
        decode(Kind::Pods, &json).object
    };
    let made = |ip: Option<IpAddr>, labels: Option<Box<Labels>>| {
        Some(Object::Pod(Pod {
            namespace: "ns".into(),
            name: "p".into(),
            ip,
            labels,
            search: SearchList::DEFAULT,
        }))
    };
    let label = || Some([("app".into(), "x".into())].into());
    assert_eq!(
        pod(r#"},"status":{"podIP":"10.0.0.9","podIPs":[]}}"#),
        made(Some([10, 0, 0, 9].into()), None)
    );
    assert_eq!(
        pod(r#","labels":{"app":"x"}},"status":{}}"#),
        made(None, label())
    );
    assert_eq!(
        pod(r#","deletionTimestamp":"2026-01-01T00:00:00Z"},"status":{"podIP":"10.0.0.9"}}"#),
        Some(Object::TerminatingPod {
            namespace: "ns".into(),
            name: "p".into()
        })
    );
}

#[test]
fn what_kubelet_writes_into_resolv_conf() {
    let own = |ndots| SearchList::Cluster { ndots };
    let unknown = SearchList::Unknown;
    for (spec, status, search) in [
        ("{}", r#"{"podIP":"10.0.0.9","hostIP":"192.0.2.1"}"#, own(5)),
        (
            r#"{"dnsPolicy":"ClusterFirst","dnsConfig":{}}"#,
            "{}",
            own(5),
        ),
        (r#"{"dnsPolicy":"ClusterFirstWithHostNet"}"#, "{}", own(5)),
        (
            r#"{"dnsConfig":{"nameservers":["192.0.2.53"]}}"#,
            "{}",
            own(5),
        ),
        (
            r#"{"dnsConfig":{"searches":[],"options":[{"name":"edns0"},{"name":"ndots","value":"2"}]}}"#,
            "{}",
            own(2),
        ),
        (
            r#"{"dnsConfig":{"options":[{"name":"ndots","value":"99"}]}}"#,
            "{}",
            own(15),
        ),
        // Another list, or one that nobody can tell.
        (
            r#"{"dnsConfig":{"options":[{"name":"ndots"}]}}"#,
            "{}",
            unknown,
        ),
        (r#"{"dnsConfig":{"searches":["a.test"]}}"#, "{}", unknown),
        (r#"{"dnsPolicy":"None"}"#, "{}", unknown),
        (r#"{"dnsPolicy":"Default"}"#, "{}", unknown),
        // The address is that of the node.
        (
            r#"{"hostNetwork":true,"dnsPolicy":"ClusterFirstWithHostNet"}"#,
            "{}",
            unknown,
        ),
        (
            "{}",
            r#"{"podIP":"192.0.2.1","hostIP":"192.0.2.1"}"#,
            unknown,
        ),
    ] {
        let json = format!(
            r#"{{"metadata":{{"name":"p","namespace":"ns"}},"spec":{spec},"status":{status}}}"#
        );
        let Some(Object::Pod(pod)) = decode(Kind::Pods, &json).object else {
            panic!("{json}");
        };
        assert_eq!(pod.search, search, "{json}");
    }
}

#[test]
fn the_trigger_time_is_read_and_a_bad_one_reported() {
    let json = |time: &str| {
        format!(
            r#"{{"metadata":{{"name":"x","labels":{{"kubernetes.io/service-name":"s"}},
               "annotations":{{"a":"b","endpoints.kubernetes.io/last-change-trigger-time":"{time}"}}}}}}"#
        )
    };
    let good = decode(Kind::EndpointSlices, &json("1970-01-01T00:00:01.5Z"));
    let want = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500);
    assert_eq!(good.triggered, Some(want));
    let bad = decode(Kind::EndpointSlices, &json("yesterday"));
    assert_eq!(
        (bad.triggered, bad.flaws[0].reason),
        (None, Reason::TriggerTime)
    );
    assert!(bad.object.is_some());
}

#[test]
fn equal_lists_of_ports_are_one() {
    let mut decoder = Decoder::default();
    let mut ports = |name: &str| {
        let json =
            format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"ports":[{{"port":80}}]}}}}"#);
        match decoder
            .decode(Kind::Services, json.as_bytes())
            .expect("decodes")
            .object
        {
            Some(Object::Service(service)) => service.ports,
            other => panic!("{other:?}"),
        }
    };
    assert!(Arc::ptr_eq(&ports("a"), &ports("b")));
}
