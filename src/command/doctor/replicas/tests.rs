//! What is said of answers, and of silence.

use serde_json::json;

use super::*;
use crate::command::doctor::finding::Severity::{self, Error, NotChecked, Ok, Warning};

const INSIDE: Vantage = Vantage {
    pod: true,
    node: false,
};

fn answer(rcode: Rcode, ip: Option<&str>, millis: u64) -> Outcome {
    Outcome::Answer {
        rcode,
        addresses: ip.into_iter().map(|ip| ip.parse().unwrap()).collect(),
        elapsed: Duration::from_millis(millis),
    }
}

fn asked(shared: bool, cluster: &Outcome, external: &Outcome) -> Asked {
    Asked {
        target: Target {
            name: "a".to_owned(),
            udp: None,
            tcp: None,
            shared,
        },
        cluster: vec![("UDP", cluster.clone()), ("TCP", cluster.clone())],
        external: vec![("UDP", external.clone()), ("TCP", external.clone())],
    }
}

fn questions() -> Questions {
    let question = |name: &str| Question {
        name: name.parse().unwrap(),
        qtype: rtype::A,
    };
    Questions {
        cluster: question("kubernetes.default.svc.cluster.local."),
        expected: vec!["10.96.0.1".parse().unwrap()],
        external: Some(question("example.com.")),
    }
}

#[test]
fn answers_are_judged() {
    let good = answer(Rcode::NOERROR, Some("10.96.0.1"), 1);
    let far = answer(Rcode::NOERROR, Some("192.0.2.1"), 20);
    let silent = Outcome::Nothing("no answer within 5s".to_owned());
    for (cluster, external, severity, part) in [
        (
            good.clone(),
            far.clone(),
            Ok,
            "kubernetes.default.svc.cluster.local. 1.0 ms UDP, 1.0 ms TCP; example.com. 20.0 ms UDP",
        ),
        (
            answer(Rcode::SERVFAIL, None, 1),
            far.clone(),
            Error,
            "over UDP and TCP: SERVFAIL",
        ),
        (
            answer(Rcode::NXDOMAIN, None, 1),
            far.clone(),
            Error,
            "over UDP and TCP: NXDOMAIN",
        ),
        (
            answer(Rcode::NOERROR, None, 1),
            far.clone(),
            Error,
            "over UDP and TCP: no address",
        ),
        (
            answer(Rcode::NOERROR, Some("10.96.0.9"), 1),
            far.clone(),
            Error,
            "is 10.96.0.9 there, and 10.96.0.1 in the cluster",
        ),
        (
            answer(Rcode::NOERROR, Some("10.96.0.1"), 300),
            far,
            Warning,
            "took 300.0 ms",
        ),
        (silent.clone(), silent, Error, "no answer within 5s"),
        (
            Outcome::Refused,
            Outcome::Refused,
            Error,
            "connection refused",
        ),
        (
            good.clone(),
            answer(Rcode::SERVFAIL, None, 1),
            Error,
            "example.com. over UDP and TCP: SERVFAIL",
        ),
        (
            good,
            answer(Rcode::NXDOMAIN, None, 1),
            Warning,
            "example.com. over UDP and TCP: NXDOMAIN",
        ),
    ] {
        let found = judge(&[asked(false, &cluster, &external)], &questions(), INSIDE);
        assert_eq!(found[0].severity, severity, "{found:?}");
        assert!(found[0].what.contains(part), "{found:?}");
    }
}

#[test]
fn what_cannot_be_reached_from_outside_is_not_called_dead() {
    let good = answer(Rcode::NOERROR, Some("10.96.0.1"), 1);
    let silent = Outcome::Nothing("no answer".to_owned());
    let somebody = answer(Rcode::NXDOMAIN, None, 1);
    let pod = |outcome: &Outcome| asked(false, outcome, outcome);
    let service = |outcome: &Outcome| asked(true, outcome, outcome);
    let outside = Vantage::default();
    for (all, vantage, want) in [
        (
            vec![pod(&silent), service(&silent)],
            outside,
            vec![NotChecked],
        ),
        (
            vec![pod(&somebody), service(&somebody)],
            outside,
            vec![NotChecked],
        ),
        (
            vec![pod(&good), service(&silent)],
            outside,
            vec![Ok, NotChecked],
        ),
        (vec![pod(&good), pod(&silent)], outside, vec![Ok, Error]),
        (vec![pod(&good), service(&silent)], INSIDE, vec![Ok, Error]),
    ] {
        let found = judge(&all, &questions(), vantage);
        let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, want, "{found:?}");
    }
}

#[test]
fn the_endpoints_have_the_ports_behind_53() {
    let service: Service = serde_json::from_value(json!({
        "metadata": {}, "spec": { "ports": [
            { "name": "metrics", "port": 9153, "protocol": "TCP" },
            { "name": "dns", "port": 53, "protocol": "UDP" },
            { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
        ] },
    }))
    .unwrap();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {}, "addressType": "IPv6",
        "endpoints": [
            { "addresses": ["fd00::5"], "targetRef": { "name": "coredns-a" } },
            { "addresses": ["fd00::6"], "conditions": { "ready": false } },
        ],
        "ports": [
            { "name": "metrics", "port": 9153, "protocol": "TCP" },
            { "name": "dns", "port": 5353, "protocol": "UDP" },
            { "name": "dns-tcp", "port": 5354, "protocol": "TCP" },
        ],
    }))
    .unwrap();
    let found = targets(&[slice], Some(&service));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, "coredns-a fd00::5");
    assert_eq!(found[0].udp, "[fd00::5]:5353".parse().ok());
    assert_eq!(found[0].tcp, "[fd00::5]:5354".parse().ok());
}
