//! The Corefiles that distributions ship, started as they are but for ports,
//! paths, the upstream and the way to the API server.

use pando_test::{ApiDouble, BOUND, Reply, Rule, Server, Upstream};
use serde_json::json;

use crate::pando;

const COREFILES: [(&str, &str); 7] = [
    ("aks", include_str!("../corefiles/aks.corefile")),
    ("eks", include_str!("../corefiles/eks.corefile")),
    ("k3s", include_str!("../corefiles/k3s.corefile")),
    ("kops", include_str!("../corefiles/kops.corefile")),
    ("kubeadm", include_str!("../corefiles/kubeadm.corefile")),
    ("openshift", include_str!("../corefiles/openshift.corefile")),
    ("rke2", include_str!("../corefiles/rke2.corefile")),
];

/// The text with free ports, this upstream and this line about the API server.
pub(crate) fn adapted(text: &str, api: &str, upstream: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let brace = if words.last() == Some(&"{") { " {" } else { "" };
        match words.first().copied().unwrap_or_default() {
            "health" => out += &format!("health 127.0.0.1:$HEALTH_PORT{brace}"),
            "ready" => out += "ready 127.0.0.1:$READY_PORT",
            "prometheus" => out += "prometheus 127.0.0.1:$METRICS_PORT",
            // Nobody waits for this test to be taken out of a Service.
            "lameduck" => out += "lameduck 1s",
            "kubernetes" => out += &format!("{line}\n{api}"),
            _ => out += line,
        }
        out.push('\n');
    }
    out.replace(":5353", ":$PORT")
        .replace(":53 ", ":$PORT ")
        .replace("/etc/resolv.conf", upstream)
        .replace("/etc/coredns/", "$DIR/")
}

async fn cluster() -> ApiDouble {
    let api = ApiDouble::start().await.unwrap();
    api.apply(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"],
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
        },
    }));
    api.apply(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1", "namespace": "default",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.244.0.5"], "conditions": { "ready": true } }],
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    }));
    api
}

async fn start(corefile: &str, api: &ApiDouble, upstream: &Upstream) -> Server {
    let endpoint = format!("endpoint {}", api.url());
    let corefile = adapted(corefile, &endpoint, &upstream.address().to_string());
    let builder = pando(&corefile)
        .file("NodeHosts", "192.0.2.7 node-1\n")
        .file("custom/extra.override", "log\n")
        .file("custom/extra.server", "extra.test:$PORT {\n whoami\n}\n");
    let mut server = builder.start().await.unwrap();
    server.ready().await.unwrap();
    server
}

#[tokio::test]
async fn each_corefile_starts_answers_and_ends() {
    let upstream = Upstream::start().await.unwrap();
    upstream.rule(Rule::new(Reply::rcode("NXDOMAIN")));
    upstream.answer("example.org.", "A", &["example.org. 60 IN A 192.0.2.1"]);
    let api = cluster().await;
    for (name, corefile) in COREFILES {
        let mut server = start(corefile, &api, &upstream).await;
        let client = server.client();
        for (asked, kind, rcode, data) in [
            (
                "web.default.svc.cluster.local",
                "A",
                "NOERROR",
                &["10.96.1.1"][..],
            ),
            ("example.org", "A", "NOERROR", &["192.0.2.1"]),
            (
                "example.org.default.svc.cluster.local",
                "A",
                "NXDOMAIN",
                &[],
            ),
            ("example.org.cluster.local", "AAAA", "NXDOMAIN", &[]),
            (
                "1.1.96.10.in-addr.arpa",
                "PTR",
                "NOERROR",
                &["web.default.svc.cluster.local."],
            ),
        ] {
            let answer = client.ask(asked, kind).await.unwrap();
            let found = (answer.rcode(), answer.data());
            let expected = data.iter().map(|data| (*data).to_owned()).collect();
            assert_eq!(found, (rcode.to_owned(), expected), "{name}: {asked}");
        }
        let walked = upstream.count("example.org.cluster.local", "AAAA");
        assert_eq!(walked, 0, "{name}: a search-path name left the node");
        server.signal("TERM").await.unwrap();
        let status = server.wait_exit(BOUND).await.unwrap();
        assert_eq!(status.code(), Some(0), "{name}: {}", server.shown());
        assert_eq!(server.stderr(), "", "{name}");
    }
}

#[tokio::test]
async fn what_a_distribution_adds_is_there() {
    let upstream = Upstream::start().await.unwrap();
    upstream.rule(Rule::new(Reply::answer(&["a.b. 60 IN A 192.0.2.1"])));
    let api = cluster().await;
    for (name, asked, rcode, data) in [
        // AKS: templates for what would leave the virtual network, and imports.
        ("aks", "a.b.c.d.internal.cloudapp.net", "NXDOMAIN", &[][..]),
        ("aks", "x.reddog.microsoft.com", "NXDOMAIN", &[]),
        ("aks", "extra.test", "NOERROR", &[]),
        // k3s: the nodes' names, and imports.
        ("k3s", "node-1", "NOERROR", &["192.0.2.7"]),
        ("k3s", "extra.test", "NOERROR", &[]),
    ] {
        let (_, corefile) = COREFILES
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap();
        let server = start(corefile, &api, &upstream).await;
        let answer = server.client().ask(asked, "A").await.unwrap();
        assert_eq!(
            (answer.rcode().as_str(), answer.data().len()),
            (rcode, data.len()),
            "{name}: {answer}"
        );
        assert_eq!(answer.data(), data, "{name}");
        // `custom/extra.override` holds `log`.
        let line = format!(" IN {asked}. udp");
        if asked != "extra.test" {
            server.wait_for_line(&line, BOUND).await.unwrap();
        }
    }
}
