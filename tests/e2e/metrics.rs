//! What `/metrics` holds: names, labels and buckets that dashboards rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use pando_test::{Ask, BOUND, Client, Server, Upstream, page, until};

use crate::pando;

/// A scrape, taken apart.
struct Scrape {
    /// Family names with their types.
    kinds: BTreeMap<String, String>,
    /// Series as printed, without values and without `_bucket` lines.
    series: BTreeMap<String, f64>,
    /// The bounds of each histogram.
    buckets: BTreeMap<String, Vec<String>>,
}

async fn scrape(server: &mut Server) -> Scrape {
    let metrics = server.at("METRICS_PORT");
    scrape_at(metrics, server.address().port()).await
}

async fn scrape_at(metrics: SocketAddr, port: u16) -> Scrape {
    let page = page(metrics, "/metrics", &[]).await.expect("metrics");
    let mut scrape = Scrape {
        kinds: BTreeMap::new(),
        series: BTreeMap::new(),
        buckets: BTreeMap::new(),
    };
    let text = page.body.replace(&format!(":{port}\""), ":$PORT\"");
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            scrape.kinds.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            if let Some((name, labels)) = series.split_once("_bucket{") {
                let bound = labels.rsplit_once("le=\"").expect("a bound").1;
                let bounds = scrape.buckets.entry(name.to_owned()).or_default();
                let bound = bound.trim_end_matches("\"}").to_owned();
                if !bounds.contains(&bound) {
                    bounds.push(bound);
                }
            } else {
                scrape
                    .series
                    .insert(series.to_owned(), value.parse().expect("a number"));
            }
        }
    }
    scrape
}

impl Scrape {
    /// The names of the series of CoreDNS, each with its label names.
    fn shapes(&self) -> BTreeSet<String> {
        let shape = |series: &String| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels
                .split("\",")
                .filter_map(|label| label.split_once('='));
            let labels: Vec<&str> = labels.map(|(name, _)| name).collect();
            format!("{name} {}", labels.join(",")).trim_end().to_owned()
        };
        let ours = |series: &&String| series.starts_with("coredns_");
        self.series.keys().filter(ours).map(shape).collect()
    }
}

const COREFILE: &str = ". {\n    errors\n    health 127.0.0.1:$HEALTH_PORT\n    prometheus 127.0.0.1:$METRICS_PORT\n    reload\n    forward . $UPSTREAM\n}\nexample.org {\n    prometheus 127.0.0.1:$METRICS_PORT\n    whoami\n}\n";

#[tokio::test]
async fn a_fresh_server_shows_what_is_running_and_zeroes() {
    let corefile = COREFILE.replace("$UPSTREAM", "127.0.0.1:9");
    let mut server = pando(&corefile).start().await.unwrap();
    server.wait_for_line("linux/", BOUND).await.unwrap();
    let fresh = scrape(&mut server).await;
    for (name, kind) in [
        ("coredns_build_info", "gauge"),
        ("coredns_forward_healthcheck_broken_total", "counter"),
        ("coredns_forward_max_concurrent_rejects_total", "counter"),
        ("coredns_health_request_duration_seconds", "histogram"),
        ("coredns_health_request_failures_total", "counter"),
        ("coredns_panics_total", "counter"),
        ("coredns_plugin_enabled", "gauge"),
        ("coredns_reload_failed_total", "counter"),
        ("process_cpu_seconds_total", "counter"),
        ("process_open_fds", "gauge"),
        ("process_max_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
    ] {
        assert_eq!(
            fresh.kinds.get(name).map(String::as_str),
            Some(kind),
            "{name}"
        );
    }
    for name in [
        "coredns_forward_healthcheck_broken_total",
        "coredns_forward_max_concurrent_rejects_total",
        "coredns_health_request_failures_total",
        "coredns_panics_total",
        "coredns_reload_failed_total",
    ] {
        assert_eq!(fresh.series.get(name), Some(&0.0), "{name}");
    }
    let enabled: Vec<&String> = fresh
        .series
        .keys()
        .filter(|series| series.starts_with("coredns_plugin_enabled{"))
        .collect();
    let on = |name: &str, zone: &str| {
        format!(
            "coredns_plugin_enabled{{name=\"{name}\",server=\"dns://:$PORT\",view=\"\",zone=\"{zone}\"}}"
        )
    };
    assert_eq!(
        enabled,
        [
            &on("errors", "."),
            &on("forward", "."),
            &on("prometheus", "."),
            &on("prometheus", "example.org."),
            &on("whoami", "example.org."),
        ]
    );
    let build = |series: &&String| series.starts_with("coredns_build_info{goversion=\"");
    assert!(fresh.series.keys().any(|series| build(&series)));
}

#[tokio::test]
async fn queries_are_counted_by_server_zone_type_and_answer() {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer("a.test.", "A", &["a.test. 60 IN A 192.0.2.1"]);
    let corefile = COREFILE.replace("$UPSTREAM", &upstream.address().to_string());
    let mut server = pando(&corefile).start().await.unwrap();
    let client = server.client();
    client
        .udp(&Ask::new("a.test", "A").dnssec_ok())
        .await
        .unwrap();
    client.udp(&Ask::new("b.test", "AAAA")).await.unwrap();
    client.tcp(&Ask::new("a.test", "A")).await.unwrap();
    client
        .udp(&Ask::new("a.example.org", "TYPE65280"))
        .await
        .unwrap();
    client.udp(&Ask::new("a.example.org", "SRV")).await.unwrap();
    let six = Client::to(
        format!("[::1]:{}", server.address().port())
            .parse()
            .unwrap(),
    );
    six.udp(&Ask::new("a.example.org", "A")).await.unwrap();
    // Counted a moment behind the reply.
    let last = "coredns_dns_requests_total{family=\"2\",proto=\"udp\",server=\"dns://:$PORT\",type=\"A\",view=\"\",zone=\"example.org.\"}";
    let (metrics, port) = (server.at("METRICS_PORT"), server.address().port());
    let used = until("the last query counted", BOUND, || async move {
        let used = scrape_at(metrics, port).await;
        used.series.contains_key(last).then_some(used)
    });
    let used = used.await.unwrap();

    let requests = |labels: &str| {
        let (family, rest) = labels.split_once(' ').unwrap();
        let [proto, kind, zone] = rest.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{labels}");
        };
        format!(
            "coredns_dns_requests_total{{family=\"{family}\",proto=\"{proto}\",server=\"dns://:$PORT\",type=\"{kind}\",view=\"\",zone=\"{zone}\"}}"
        )
    };
    for labels in [
        "1 udp A .",
        "1 udp AAAA .",
        "1 tcp A .",
        "1 udp other example.org.",
        "1 udp SRV example.org.",
        "2 udp A example.org.",
    ] {
        let name = requests(labels);
        assert_eq!(used.series.get(&name), Some(&1.0), "{name}");
    }
    let to = upstream.address();
    for (series, count) in [
        ("coredns_dns_do_requests_total{server=\"dns://:$PORT\",view=\"\",zone=\".\"}".to_owned(), 1.0),
        ("coredns_dns_responses_total{plugin=\"errors\",rcode=\"NOERROR\",server=\"dns://:$PORT\",view=\"\",zone=\".\"}".to_owned(), 2.0),
        ("coredns_dns_responses_total{plugin=\"errors\",rcode=\"REFUSED\",server=\"dns://:$PORT\",view=\"\",zone=\".\"}".to_owned(), 1.0),
        ("coredns_dns_responses_total{plugin=\"whoami\",rcode=\"NOERROR\",server=\"dns://:$PORT\",view=\"\",zone=\"example.org.\"}".to_owned(), 3.0),
        ("coredns_dns_request_duration_seconds_count{server=\"dns://:$PORT\",view=\"\",zone=\".\"}".to_owned(), 3.0),
        ("coredns_dns_request_size_bytes_count{proto=\"udp\",server=\"dns://:$PORT\",view=\"\",zone=\".\"}".to_owned(), 2.0),
        ("coredns_dns_response_size_bytes_count{proto=\"tcp\",server=\"dns://:$PORT\",view=\"\",zone=\".\"}".to_owned(), 1.0),
        (format!("coredns_proxy_request_duration_seconds_count{{proxy_name=\"forward\",rcode=\"NOERROR\",to=\"{to}\"}}"), 2.0),
        (format!("coredns_proxy_request_duration_seconds_count{{proxy_name=\"forward\",rcode=\"REFUSED\",to=\"{to}\"}}"), 1.0),
    ] {
        assert_eq!(used.series.get(&series), Some(&count), "{series}");
    }

    let times = "0.00025 0.0005 0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 +Inf";
    let sizes = "0 100 200 300 400 511 1023 2047 4095 8291 16000 32000 48000 64000 +Inf";
    for (name, bounds) in [
        ("coredns_dns_request_duration_seconds", times),
        ("coredns_dns_request_size_bytes", sizes),
        ("coredns_dns_response_size_bytes", sizes),
        ("coredns_proxy_request_duration_seconds", times),
        (
            "coredns_health_request_duration_seconds",
            "0.00025 0.0025 0.025 0.25 2.5 +Inf",
        ),
    ] {
        let found = used.buckets.get(name).map(|bounds| bounds.join(" "));
        assert_eq!(found.as_deref(), Some(bounds), "{name}");
    }

    let expected = [
        "coredns_build_info goversion,revision,version",
        "coredns_dns_do_requests_total server,view,zone",
        "coredns_dns_request_duration_seconds_count server,view,zone",
        "coredns_dns_request_duration_seconds_sum server,view,zone",
        "coredns_dns_request_size_bytes_count proto,server,view,zone",
        "coredns_dns_request_size_bytes_sum proto,server,view,zone",
        "coredns_dns_requests_total family,proto,server,type,view,zone",
        "coredns_dns_response_size_bytes_count proto,server,view,zone",
        "coredns_dns_response_size_bytes_sum proto,server,view,zone",
        "coredns_dns_responses_total plugin,rcode,server,view,zone",
        "coredns_forward_healthcheck_broken_total",
        "coredns_forward_max_concurrent_rejects_total",
        "coredns_health_request_duration_seconds_count",
        "coredns_health_request_duration_seconds_sum",
        "coredns_health_request_failures_total",
        "coredns_panics_total",
        "coredns_plugin_enabled name,server,view,zone",
        "coredns_proxy_conn_cache_misses_total proto,proxy_name,to",
        "coredns_proxy_request_duration_seconds_count proxy_name,rcode,to",
        "coredns_proxy_request_duration_seconds_sum proxy_name,rcode,to",
        "coredns_reload_failed_total",
    ];
    let mut found = used.shapes();
    // Shown by CoreDNS whatever is configured:
    for always in [
        "coredns_hosts_reload_timestamp_seconds",
        "coredns_local_localhost_requests_total",
        // With the first socket that is used again, which comes earlier there.
        "coredns_proxy_conn_cache_hits_total proto,proxy_name,to",
    ] {
        found.remove(always);
    }
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_query_for_no_zone_is_counted_as_dropped() {
    let corefile = "example.org {\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}\n";
    let mut server = pando(corefile).start().await.unwrap();
    assert_eq!(
        server.client().ask("a.test", "A").await.unwrap().rcode(),
        "REFUSED"
    );
    let (metrics, port) = (server.at("METRICS_PORT"), server.address().port());
    let used = until("the query counted", BOUND, || async move {
        let used = scrape_at(metrics, port).await;
        let dropped = |series: &String| series.contains("zone=\"dropped\"");
        used.series.keys().any(dropped).then_some(used)
    });
    let used = used.await.unwrap();
    let count = "coredns_dns_responses_total{plugin=\"\",rcode=\"REFUSED\",server=\"dns://:$PORT\",view=\"\",zone=\"dropped\"}";
    assert_eq!(
        used.series.get(count),
        Some(&1.0),
        "{:#?}",
        used.series.keys()
    );
}
