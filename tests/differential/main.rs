//! Pando and CoreDNS side by side on one API server: every name, type and kind
//! of query that the fixture suggests, asked of both, answers compared.
//!
//! Needs the control plane and `COREDNS_BIN`; says so and passes where one of
//! them is missing. With `PANDO_BIN` that server is asked in Pando's place: with
//! CoreDNS in both roles the comparison must find nothing.

mod compare;
mod queries;

use std::sync::Arc;

use compare::{Closeness, differences};
use pando_test::{Account, ControlPlane, Reply, Rule, ServerBuilder, Upstream, dns_rules};
use queries::Queries;

const FIXTURE: &str = include_str!("../fixtures/every-service.yaml");

/// A Corefile for both, and how closely they are compared under it.
struct Setting {
    name: &'static str,
    /// `$KUBE` is the connection to the API server, `$UPSTREAM` the upstream.
    corefile: &'static str,
    closeness: Closeness,
    /// Ask everything, or a selection.
    whole: bool,
}

const SETTINGS: [Setting; 9] = [
    Setting {
        name: "one zone and its reverse zones",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . $UPSTREAM
}",
        closeness: Closeness::Exact,
        whole: true,
    },
    Setting {
        name: "kubeadm",
        corefile: "
.:$PORT {
    errors
    health 127.0.0.1:$HEALTH_PORT {
       lameduck 5s
    }
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       $KUBE
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus 127.0.0.1:$METRICS_PORT
    forward . $UPSTREAM {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}",
        closeness: Closeness::Cached,
        whole: true,
    },
    Setting {
        name: "kubeadm with cluster names cached",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       $KUBE
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    forward . $UPSTREAM
    cache 30
    loadbalance
}",
        closeness: Closeness::Cached,
        whole: false,
    },
    Setting {
        name: "verified pods, endpoints named by pods",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local 10.0.0.0/8 fd00::/8 {
        $KUBE
        pods verified
        endpoint_pod_names
    }
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "no pods, nothing for idle Services, other zones first",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes other.example cluster.local in-addr.arpa {
        $KUBE
        ignore empty_service
        ttl 0
        fallthrough
    }
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "one namespace",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        namespaces shop
        pods insecure
    }
    forward . $UPSTREAM
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "namespaces by label, zonal",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        namespace_labels team in (web, nobody)
        pods verified
        zonal
        fallthrough cluster.local
    }
    forward . $UPSTREAM
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "Services by label",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        labels dns=yes
        zonal
    }
    transfer {
        to *
    }
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "no endpoints",
        corefile: "
cluster.local:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    bufsize 600
    kubernetes {
        $KUBE
        noendpoints
        pods insecure
    }
}
10.in-addr.arpa:$PORT {
    errors
    kubernetes cluster.local in-addr.arpa {
        $KUBE
    }
    minimal
}",
        closeness: Closeness::Exact,
        whole: false,
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_equal_coredns() {
    if ServerBuilder::coredns("").is_none() {
        println!("skipped: COREDNS_BIN names no CoreDNS to compare with");
        return;
    }
    let Some(plane) = ControlPlane::start().await.expect("a control plane") else {
        return;
    };
    plane.apply(FIXTURE).await.expect("the fixture fits");
    let account = plane
        .account("dns", &dns_rules())
        .await
        .expect("an account");
    let upstream = upstream().await;
    let queries = Arc::new(Queries::of(&plane).await);
    let only = std::env::var("SETTING").unwrap_or_default();

    let mut found = Vec::new();
    for setting in SETTINGS
        .iter()
        .filter(|setting| setting.name.contains(&only))
    {
        let (asked, here) = compare(setting, &account, &upstream, &queries).await;
        println!(
            "{}: {asked} queries, {} differences",
            setting.name,
            here.len()
        );
        found.extend(
            here.into_iter()
                .map(|text| format!("[{}] {text}", setting.name)),
        );
    }
    let all = concat!(env!("CARGO_TARGET_TMPDIR"), "/differences.txt");
    std::fs::write(all, found.join("\n")).expect("a report");
    let shown: Vec<_> = found.iter().take(40).map(String::as_str).collect();
    assert!(
        found.is_empty(),
        "{} differences, all of them in {all}:\n{}",
        found.len(),
        shown.join("\n")
    );
}

async fn compare(
    setting: &Setting,
    account: &Account,
    upstream: &Upstream,
    queries: &Arc<Queries>,
) -> (usize, Vec<String>) {
    let kubeconfig = format!("kubeconfig {} test", account.kubeconfig.display());
    let corefile = (setting.corefile)
        .replace("$KUBE", &kubeconfig)
        .replace("$UPSTREAM", &upstream.address().to_string());
    let start = async |builder: ServerBuilder| {
        let mut server = builder.start().await?;
        server.ready().await?;
        anyhow::Ok(server)
    };
    let ours = start(ServerBuilder::pando(env!("CARGO_BIN_EXE_pando"), &corefile)).await;
    let ours = match ours {
        Ok(server) => server,
        Err(error) => return (0, vec![format!("does not start: {error}")]),
    };
    let theirs = start(ServerBuilder::coredns(&corefile).expect("was there")).await;
    let theirs = theirs.expect(setting.name);
    let mut asks = queries.for_setting(setting.whole);
    if setting.closeness == Closeness::Cached {
        // The plugin knows its apex in small letters only (a quirk that both
        // have), but CoreDNS's cache answers before it is asked.
        asks.retain(|sent| sent.ask.to_string() != "ClUsTeR.LoCaL. NS");
    }
    let count = asks.len();
    let found = differences(ours.client(), theirs.client(), asks, setting.closeness).await;
    (count, found)
}

/// What is outside of the cluster, for ExternalName Services and `forward`.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await.expect("an upstream");
    let soa = "example.net. 60 IN SOA ns.example.net. host.example.net. 1 7200 1800 86400 60";
    let nothing = |rcode| Reply::rcode(rcode).authority(&[soa]);
    upstream.rule(Rule::new(nothing("NXDOMAIN")));
    upstream.rule(Rule::new(nothing("NOERROR")).below("www.example.net"));
    upstream.rule(Rule::new(Reply::rcode("SERVFAIL")).name("broken.example.net"));
    upstream.answer(
        "www.example.net",
        "A",
        &["www.example.net. 300 IN A 198.51.100.7"],
    );
    upstream.answer(
        "www.example.net",
        "AAAA",
        &[
            "www.example.net. 300 IN CNAME other.example.net.",
            "other.example.net. 300 IN AAAA 2001:db8::7",
        ],
    );
    upstream
}
