//! A cluster with a server, clients of it and a Prometheus that scrapes it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use pando_test::{
    ApiDouble, Ask, Client, Port, Prometheus, Reply, Rule, Server, ServerBuilder, Upstream,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::rule_files;

/// Clients that are endpoints of Services, each in a namespace of its own.
const SHOP: [u8; 4] = [127, 0, 2, 1];
const PAYMENTS: [u8; 4] = [127, 0, 2, 2];
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Server blocks for names that fail: an upstream that nobody is, one that
/// says SERVFAIL, and clients that an `acl` keeps away.
pub(crate) const FAILING: &str = "broken.test:$PORT {
    errors
    prometheus 127.0.0.1:$METRICS_PORT
    forward . $SILENT {
        health_check 100ms
        max_fails 1
    }
}
failing.test:$PORT {
    errors
    prometheus 127.0.0.1:$METRICS_PORT
    forward . $WORLD
}
blocked.test:$PORT {
    errors
    prometheus 127.0.0.1:$METRICS_PORT
    acl {
        block
    }
    whoami
}
";

/// Everything that a server has around it; gone when dropped.
pub(crate) struct Scene {
    pub(crate) api: Arc<ApiDouble>,
    pub(crate) world: Upstream,
    pub(crate) server: Server,
    clients: JoinHandle<()>,
    _silent: Port,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.clients.abort();
    }
}

impl Scene {
    /// What kubeadm configures, asked without end for names of all kinds, over
    /// UDP and TCP. `more` are further server blocks, as [`FAILING`] is, of a
    /// cluster in which not everything makes sense.
    pub(crate) async fn start(more: &str) -> Self {
        let api = Arc::new(cluster().await);
        let world = Upstream::start().await.unwrap();
        let soa = ". 60 IN SOA ns.test. admin.test. 1 2 3 4 60";
        world.rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&[soa])));
        world.rule(Rule::new(Reply::rcode("SERVFAIL")).below("failing.test."));
        let stripe = "api.stripe.com.";
        world.answer(stripe, "A", &[&format!("{stripe} 60 IN A 192.0.2.7")]);
        if !more.is_empty() {
            api.apply(&nonsense());
        }
        let silent = Port::claim();
        let corefile = format!(
            ".:$PORT {{
    errors
    health 127.0.0.1:$HEALTH_PORT
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        endpoint {}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:$METRICS_PORT
    forward . {}
    cache 30
    reload 2s 1s
    loadbalance
}}
{}",
            api.url(),
            world.address(),
            more.replace("$SILENT", &format!("127.0.0.1:{}", silent.number()))
                .replace("$WORLD", &world.address().to_string()),
        );
        let builder = ServerBuilder::pando(env!("CARGO_BIN_EXE_pando"), &corefile);
        let mut server = builder.start().await.unwrap();
        server.ready().await.unwrap();
        let clients = tokio::spawn(go_on(server.address(), Arc::clone(&api)));
        Self {
            api,
            world,
            server,
            clients,
            _silent: silent,
        }
    }

    /// Where its metrics are.
    pub(crate) fn metrics(&mut self) -> SocketAddr {
        self.server.at("METRICS_PORT")
    }

    /// A Prometheus that scrapes it under these names, with all rules.
    pub(crate) async fn scraped_as(&mut self, jobs: &[&str]) -> Prometheus {
        let metrics = self.metrics();
        let jobs: Vec<_> = jobs.iter().map(|job| (*job, metrics)).collect();
        Prometheus::start(&jobs, &rule_files()).await.unwrap()
    }
}

async fn cluster() -> ApiDouble {
    let api = ApiDouble::start().await.unwrap();
    for (namespace, name, ip, client) in [
        ("shop", "web", "10.96.0.1", SHOP),
        ("payments", "heads", "None", PAYMENTS),
    ] {
        api.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        );
        api.apply(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]},
        }));
        api.apply(&slice(namespace, name, client));
    }
    api
}

/// A slice with an address that is none.
fn nonsense() -> Value {
    let mut odd = slice("payments", "odd", PAYMENTS);
    odd["endpoints"][0]["addresses"] = json!(["10.1.0.999"]);
    odd
}

/// An EndpointSlice that the control plane has just touched.
fn slice(namespace: &str, service: &str, client: [u8; 4]) -> Value {
    let now = Timestamp::now().to_string();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": now},
        },
        "endpoints": [{"addresses": [IpAddr::from(client).to_string()]}],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    })
}

/// Asks round and round, while an endpoint changes with each. What an answer
/// says is of no interest here, nor whether there is one.
async fn go_on(server: SocketAddr, api: Arc<ApiDouble>) {
    let clients = [SHOP, PAYMENTS].map(|ip| {
        let client = Client::to(server).from(IpAddr::from(ip));
        client.bound(Duration::from_secs(1))
    });
    let names = [
        ("web.shop.svc.cluster.local", "A"),
        ("heads.payments.svc.cluster.local", "AAAA"),
        ("gone.shop.svc.cluster.local", "A"),
        ("api.stripe.com.shop.svc.cluster.local", "A"),
        ("api.stripe.com", "A"),
        ("nowhere.example", "A"),
    ];
    for round in 0u64.. {
        api.apply(&slice("payments", "heads", PAYMENTS));
        for client in &clients {
            for (name, kind) in names {
                let _ = client.udp(&Ask::new(name, kind)).await;
            }
            let fresh = format!("n{round}.example");
            let _ = client.udp(&Ask::new(&fresh, "A").dnssec_ok()).await;
            let _ = client.tcp(&Ask::new("api.stripe.com", "A")).await;
            for zone in ["broken.test", "failing.test", "blocked.test"] {
                let name = format!("n{round}.{zone}");
                let _ = client.udp(&Ask::new(&name, "A")).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
