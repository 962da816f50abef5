//! `cache { cut }`: what leaves a node whose clients walk their search lists.

use std::time::Instant;

use futures_util::future::join;
use pando_test::{ApiDouble, BOUND, Client, Reply, Rule, Server, ServerBuilder, Upstream, until};
use serde_json::json;

use crate::pando;

const LIST: [&str; 4] = [
    "shop.svc.cluster.local.",
    "svc.cluster.local.",
    "cluster.local.",
    "",
];
const SOA: &str =
    "cluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 2 3 4 30";

/// The Corefile of a node, as its DaemonSet has it, without interfaces.
fn corefile(cluster: &str, world: &Upstream, cut: &str) -> String {
    let world = world.address();
    format!(
        "cluster.local:$PORT {{
    errors
    cache {{
        success 9984 30
        denial 9984 5
        {cut}
    }}
    reload
    loop
    forward . {cluster} {{
        force_tcp
    }}
    prometheus 127.0.0.1:$METRICS_PORT
}}
.:$PORT {{
    errors
    cache 30
    loop
    forward . {world} {{
        force_tcp
    }}
    prometheus 127.0.0.1:$METRICS_PORT
}}
"
    )
}

/// A cluster DNS that has a namespace `shop` with a Service `web`.
async fn cluster() -> Upstream {
    let cluster = Upstream::start().await.unwrap();
    cluster.rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&[SOA])));
    for name in ["svc", "shop.svc", "other.svc"] {
        let nothing = Reply::rcode("NOERROR").authority(&[SOA]);
        cluster.rule(Rule::new(nothing).name(&format!("{name}.cluster.local")));
    }
    let web = "web.shop.svc.cluster.local.";
    cluster.answer(web, "A", &[&format!("{web} 5 IN A 10.96.0.1")]);
    cluster
}

/// The rest of the world: every name is there.
async fn world() -> Upstream {
    let world = Upstream::start().await.unwrap();
    let soa = ". 60 IN SOA ns.test. admin.test. 1 2 3 4 60";
    world.rule(Rule::new(Reply::rcode("NOERROR").authority(&[soa])));
    world
}

/// Walks the search list for a name as resolvers do: A and AAAA side by side.
async fn walk(client: &Client, name: &str) {
    for domain in LIST {
        let name = format!("{name}.{domain}");
        let (a, aaaa) = join(client.ask(&name, "A"), client.ask(&name, "AAAA")).await;
        let codes = [a.unwrap().rcode(), aaaa.unwrap().rcode()];
        assert_eq!(codes[0], codes[1], "{name}");
        if codes[0] == "NOERROR" {
            assert_eq!(domain, "", "{name}");
            return;
        }
    }
    panic!("{name} is nowhere");
}

/// Looks up a thousand names that nobody asked for before, four at a time.
async fn look_up(client: &Client) {
    let lookups = (0..4).map(|lane| async move {
        for n in 0..250 {
            let top = ["com", "net", "org", "io", "dev"][n % 5];
            walk(client, &format!("api-{lane}.new-{n}.{top}")).await;
        }
    });
    futures_util::future::join_all(lookups).await;
}

/// Queries of clients, the probes of `loop` and `forward` left out.
fn asked(upstream: &Upstream) -> usize {
    let seen = upstream.seen();
    let plain = seen
        .iter()
        .filter(|seen| ["A", "AAAA"].contains(&&*seen.kind));
    plain.count()
}

#[tokio::test]
async fn the_walk_ends_on_the_node() {
    let (cluster, world) = (cluster().await, world().await);
    let corefile = corefile(&cluster.address().to_string(), &world, "cut");
    let mut server = pando(&corefile).start().await.unwrap();
    let begun = Instant::now();
    look_up(&server.client()).await;
    assert_eq!(asked(&world), 2000);
    // Three places for each of five domains, anew every 5 s, some at the same time.
    let rounds = 1 + begun.elapsed().as_secs() as usize / 5;
    let left = asked(&cluster);
    assert!(left <= 5 * 3 * 12 * rounds, "{left} in {rounds} rounds");
    let port = server.address().port();
    let labels = format!("{{server=\"dns://:{port}\",view=\"\",zones=\"cluster.local.\"}}");
    let cuts = server
        .metric(&format!("pando_cache_cut_total{labels}"))
        .await
        .unwrap();
    // 6000 queries for names that nobody asked for before: what was not cut was
    // asked for, or waited for the same with the other type.
    assert!(cuts.unwrap() >= (6000 - 2 * left) as f64, "{cuts:?} {left}");

    // What is there is found.
    let client = server.client();
    let web = client
        .ask("web.shop.svc.cluster.local.", "A")
        .await
        .unwrap();
    assert_eq!(web.data(), ["10.96.0.1"]);
    let denied = client
        .ask("x.com.shop.svc.cluster.local.", "A")
        .await
        .unwrap();
    assert_eq!(denied.rcode(), "NXDOMAIN");
    let soa = denied.authority();
    assert!(
        soa[0].starts_with("cluster.local. ") && soa.len() == 1,
        "{denied}"
    );
}

#[tokio::test]
async fn what_is_cut_lasts_as_long_as_the_denial_and_says_so() {
    let (cluster, world) = (cluster().await, world().await);
    let corefile = corefile(&cluster.address().to_string(), &world, "cut");
    let server = pando(&corefile).start().await.unwrap();
    let client = server.client();
    let ask = |name: &str| pando_test::Ask::new(&format!("{name}.cluster.local."), "A").edns(1232);
    client.udp(&ask("a.com.svc")).await.unwrap();
    // What is asked before the cut is known is denied by itself.
    let fresh = std::sync::atomic::AtomicUsize::new(0);
    let cut = until("the cut", BOUND, async || {
        let n = fresh.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answer = client.udp(&ask(&format!("b-{n}.com.svc"))).await.unwrap();
        (answer.extended_error() == Some(29)).then_some(answer)
    });
    let cut = cut.await.unwrap();
    assert_eq!(
        (cut.rcode(), cut.flags()),
        ("NXDOMAIN".into(), "qr aa rd ra".into())
    );
    // Something comes up beneath: it is seen behind the end of the denial, 5 s,
    // and nothing is cut there any more.
    let name = "new.com.svc.cluster.local.";
    cluster.answer(name, "A", &[&format!("{name} 5 IN A 192.0.2.1")]);
    // Long before the 30 s that the denial itself says.
    until("the answer beneath", BOUND, async || {
        let answer = client.udp(&ask("new.com.svc")).await.unwrap();
        (answer.data() == ["192.0.2.1"]).then_some(())
    })
    .await
    .unwrap();
    for name in ["c.com.svc", "d.com.svc", "e.com.svc"] {
        let answer = client.udp(&ask(name)).await.unwrap();
        assert_eq!(answer.extended_error(), None, "{name}");
        assert_eq!(cluster.count(&format!("{name}.cluster.local."), "A"), 1);
    }
}

#[tokio::test]
async fn without_the_word_nothing_is_cut() {
    for options in ["", "cut off"] {
        let (cluster, world) = (cluster().await, world().await);
        let corefile = corefile(&cluster.address().to_string(), &world, options);
        let server = pando(&corefile).start().await.unwrap();
        for n in 0..10 {
            walk(&server.client(), &format!("api.new-{n}.com")).await;
        }
        assert_eq!((asked(&cluster), asked(&world)), (60, 20), "{options}");
    }
}

/// The same walk through node-cache and through us, to a real CoreDNS, where
/// both are installed.
#[tokio::test]
async fn three_times_fewer_queries_than_node_cache() {
    let api = ApiDouble::start().await.unwrap();
    let metadata = json!({"name": "shop"});
    api.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    let kubernetes = format!(
        "cluster.local {{\n ready 127.0.0.1:$READY_PORT\n prometheus 127.0.0.1:$METRICS_PORT\n \
         kubernetes {{\n endpoint {}\n }}\n}}\n",
        api.url()
    );
    let node_cache = std::env::var_os("NODE_CACHE_BIN");
    let (Some(coredns), Some(node_cache)) = (ServerBuilder::coredns(&kubernetes), node_cache)
    else {
        println!("skipped: COREDNS_BIN and NODE_CACHE_BIN name no CoreDNS and no node-cache");
        return;
    };
    let mut coredns = coredns.start().await.unwrap();
    coredns.ready().await.unwrap();
    // The agent has the same flags, and cuts though nothing says so.
    let agent = std::env::var_os("PANDO_NODE_BIN");
    let mut left = Vec::new();
    for node in [Some(node_cache), None].into_iter().chain(agent.map(Some)) {
        let world = world().await;
        let cluster = coredns.address().to_string();
        let text = corefile(&cluster, &world, if node.is_some() { "" } else { "cut" });
        let server = match &node {
            Some(binary) => ServerBuilder::new(binary, &text)
                .file("base", &text)
                .argument("-localip=127.0.0.1")
                .argument("-basecorefile=base")
                .argument("-setupinterface=false")
                .argument("-setupiptables=false")
                .argument("-skipteardown")
                .argument("-metrics-listen-address=127.0.0.1:0"),
            None => pando(&text),
        };
        let server = server.start().await.unwrap();
        let before = served(&mut coredns).await;
        let begun = Instant::now();
        look_up(&server.client()).await;
        let taken = begun.elapsed();
        let (here, there) = (served(&mut coredns).await - before, asked(&world));
        let name = node
            .as_ref()
            .map_or_else(|| "pando".into(), |node| node.to_string_lossy());
        println!("{name}: {here} to the cluster DNS, {there} to the world, in {taken:.1?}");
        left.push(here + there as f64);
    }
    let (theirs, ours) = left.split_first().unwrap();
    assert!(ours.iter().all(|ours| *theirs >= 3.0 * ours), "{left:?}");
}

/// Queries that a CoreDNS has answered for its zone.
async fn served(server: &mut Server) -> f64 {
    let page = server.page("METRICS_PORT", "/metrics").await.unwrap().body;
    let lines = page
        .lines()
        .filter(|line| line.starts_with("coredns_dns_requests_total{"));
    let zone = lines.filter(|line| line.contains("zone=\"cluster.local.\""));
    let plain = zone.filter(|line| line.contains("type=\"A"));
    plain
        .filter_map(|line| line.split(' ').next_back()?.parse::<f64>().ok())
        .sum()
}
