//! Pando and CoreDNS side by side on one API server: every name, type and kind
//! of query that the fixture suggests, asked of both, answers compared.
//!
//! Needs the control plane and `COREDNS_BIN`; says so and passes where one of
//! them is missing. With `PANDO_BIN` that server is asked in Pando's place: with
//! CoreDNS in both roles the comparison must find nothing.

mod compare;
mod queries;

use std::sync::Arc;
use std::time::Duration;

use compare::{Closeness, differences};
use pando_test::{
    Account, BOUND, ControlPlane, Reply, Rule, ServerBuilder, Upstream, dns_rules, until,
};
use queries::Queries;

const FIXTURE: &str = include_str!("../fixtures/every-service.yaml");
const IMPORTS: &str = include_str!("../fixtures/multicluster.yaml");

/// A Corefile for both, and how closely they are compared under it.
struct Setting {
    name: &'static str,
    /// `$KUBE` is the connection to the API server, `$UPSTREAM` the upstream.
    corefile: &'static str,
    closeness: Closeness,
    /// Ask everything, or a selection.
    whole: bool,
}

const SETTINGS: [Setting; 15] = [
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
    Setting {
        name: "a set of clusters",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local clusterset.local in-addr.arpa {
        $KUBE
        multicluster clusterset.local
        pods insecure
    }
    transfer {
        to *
    }
    forward . $UPSTREAM
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "a custom domain rewritten to the cluster's",
        corefile: r"
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    rewrite stop {
        name regex (.*)\.example\.net {1}.svc.cluster.local
        answer name (.*)\.svc\.cluster\.local {1}.example.net
    }
    rewrite name suffix .other.example. .cluster.local. answer auto
    rewrite continue ttl regex .* 7-90
    rewrite type HTTPS A
    rewrite class CH IN
    rewrite edns0 local set 0xffee 0x61
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        pods insecure
        ttl 120
    }
    forward . $UPSTREAM
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "templates and hosts before the cluster",
        corefile: r#"
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    template ANY ANY internal.cloudapp.net {
        match "^(?:[^.]+\.){4,}internal\.cloudapp\.net\.$"
        rcode NXDOMAIN
        fallthrough
    }
    template IN A www.example.net missing.example.net {
        match ^(?P<host>[a-z]+)\.example\.net[.]$
        answer "{{ .Name }} 60 IN A 192.0.2.1"
        additional "{{ .Group.host }}.extra. 60 IN TXT \"{{ .Type }} {{ .Class }}\""
        fallthrough
    }
    template IN AAAA example.net {
        rcode NOERROR
        authority "example.net. 60 IN SOA ns.example.net. host.example.net. 1 2 3 4 5"
        ederror 17 "by the template"
    }
    hosts {
        192.0.2.7 www.example.net broken.example.net
        2001:db8::7 www.example.net
        10.1.1.1 from.hosts
        ttl 77
        fallthrough
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        fallthrough
    }
    forward . $UPSTREAM
}"#,
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "rules about who may ask, small replies",
        corefile: "
.:$PORT {
    errors
    log
    ready 127.0.0.1:$READY_PORT
    bufsize 512
    minimal
    acl cluster.local {
        block type SRV net 127.0.0.0/8
        filter type TXT
        drop type HTTPS net 192.0.2.0/24
        allow
    }
    acl {
        filter type PTR net *
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        pods insecure
    }
    forward . $UPSTREAM {
        except www.example.net
    }
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "several blocks on one port",
        corefile: "
cluster.local:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    kubernetes cluster.local {
        $KUBE
        pods insecure
    }
}
shop.svc.cluster.local:$PORT example.net:$PORT {
    errors
    whoami
}
10.96.0.0/12:$PORT fd00::/8:$PORT {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
    }
}
.:$PORT {
    errors
    chaos CoreDNS-test someone@example.net
    forward . $UPSTREAM
}",
        closeness: Closeness::Exact,
        whole: false,
    },
    Setting {
        name: "everything but a few names cached, stale and early",
        corefile: "
.:$PORT {
    errors
    ready 127.0.0.1:$READY_PORT
    cache 60 example.net in-addr.arpa {
        success 1000 40 5
        denial 1000 20 5
        servfail 3s
        serve_stale 1h
        keepttl
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        $KUBE
        fallthrough
    }
    forward . $UPSTREAM
}",
        closeness: Closeness::Cached,
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
    let (definition, imports) = IMPORTS.split_once("\n---").expect("two parts");
    plane.apply(definition).await.expect("a definition");
    let established = until("ServiceImports are known", BOUND, || async {
        plane.apply(imports).await.ok()
    });
    established.await.expect("the imports fit");
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
    let bound = Duration::from_secs(3);
    let (ours, theirs) = (ours.client().bound(bound), theirs.client().bound(bound));
    let mut found = Vec::new();
    if corefile.contains("transfer") {
        for zone in ["cluster.local.", "clusterset.local."] {
            found.extend(compare::zones(&ours, &theirs, zone).await);
        }
    }
    found.extend(differences(ours, theirs, asks, setting.closeness).await);
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
