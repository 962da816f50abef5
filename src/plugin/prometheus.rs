//! `prometheus`: counts queries and replies, and serves all metrics.
//!
//! ```text
//! prometheus [ADDRESS] {
//!     runtime_metrics
//! }
//! ```
//!
//! ADDRESS defaults to `localhost:9153`; the path is `/metrics`. Blocks may
//! name the same address: it is opened once. An address that cannot be
//! opened is logged and does not keep the server from starting.
//! `runtime_metrics` is accepted and changes nothing: it selects series of
//! the Go runtime, which Pando does not have.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use prometheus::process_collector::ProcessCollector;

use super::{Assembled, Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Plugin, Served};
use crate::clock;
use crate::http::{self, Body, Site};
use crate::metrics::server::{BlockSeries, Report};
use crate::metrics::{self, Family, Gauge};
use crate::wire::Reply;

pub(super) static DEFINITION: Definition = Definition {
    name: "prometheus",
    parse,
};

static BUILD_INFO: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    Family::gauges(
        "coredns_build_info",
        "A metric with a constant '1' value labeled by version, revision, and goversion from which CoreDNS was built.",
        &["version", "revision", "goversion"],
    )
});
static PANDO_BUILD_INFO: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    Family::gauges(
        "pando_build_info",
        "A metric with a constant '1' value labeled by the version, revision and compiler from which Pando was built.",
        &["version", "revision", "rustc"],
    )
});
static PLUGIN_ENABLED: LazyLock<Family<Gauge>> = LazyLock::new(|| {
    Family::gauges(
        "coredns_plugin_enabled",
        "A metric that indicates whether a plugin is enabled on per server and zone basis.",
        &["server", "zone", "view", "name"],
    )
});
static PROCESS: LazyLock<()> = LazyLock::new(|| {
    // A second collector of the process would be refused: this one is made once.
    let _ = metrics::registry().register(Box::new(ProcessCollector::for_self()));
});

#[derive(Debug)]
struct PrometheusSpec {
    address: String,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut address = "localhost:9153".to_owned();
    let mut seen = false;
    while words.next() {
        if std::mem::replace(&mut seen, true) {
            return Err(words.once_err());
        }
        if let Some(given) = http::address(&mut words)? {
            address = given;
        }
        while words.next_block() {
            match words.val() {
                "runtime_metrics" => {
                    if !words.remaining_args().is_empty() {
                        return Err(words.arg_err());
                    }
                }
                "tls" => {
                    return Err(
                        words.err("tls is not supported yet: metrics are served over plain HTTP")
                    );
                }
                other => {
                    let known = ["runtime_metrics", "tls"];
                    return Err(words
                        .err(format!("unknown option: {other}"))
                        .suggest(&known));
                }
            }
        }
    }
    Ok(Box::new(PrometheusSpec { address }))
}

impl Spec for PrometheusSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        LazyLock::force(&PROCESS);
        let rustc = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));
        let revision = option_env!("PANDO_REVISION").unwrap_or_default();
        BUILD_INFO
            .with(&[env!("CARGO_PKG_VERSION"), revision, rustc])
            .set(1.0);
        PANDO_BUILD_INFO
            .with(&[env!("CARGO_PKG_VERSION"), revision, env!("PANDO_RUSTC")])
            .set(1.0);

        let key = format!("metrics {}", self.address);
        match Site::shared(builder.kept, builder.control, &self.address) {
            Ok(site) => {
                let open = || {
                    let route = site.route("/metrics", Arc::new(answer));
                    route.serve();
                    Ok::<_, BuildError>(Arc::new(route))
                };
                builder.kept.take_or(&key, open)?;
            }
            Err(error) => {
                // CoreDNS names no plugin here.
                tracing::error!(target: "metrics", "Failed to start metrics handler: {error}");
            }
        }
        let plugin = Arc::new(Prometheus::default());
        let assembled = plugin.clone();
        builder.when_assembled(move |block| {
            let mut behind = block
                .chain
                .iter()
                .skip_while(|plugin| plugin.name() != "prometheus");
            if let Some(neighbour) = behind.nth(1) {
                let _ = assembled.neighbour.set(neighbour.name());
            }
            let _ = assembled.enabled.set(Enabled::of(block));
        });
        builder.push(plugin);
        Ok(())
    }
}

/// The series of `coredns_plugin_enabled` of one block, there for as long as
/// its configuration is: of two that overlap in a reload, the one that ends
/// leaves those that both have.
struct Enabled(Vec<[String; 4]>);

/// How many blocks have a series.
static HOLDERS: Mutex<BTreeMap<[String; 4], usize>> = Mutex::new(BTreeMap::new());

impl Enabled {
    fn of(block: &Assembled<'_>) -> Self {
        let mut all = Vec::new();
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        for server in block.servers {
            for zone in &block.block.zones {
                for plugin in block.chain {
                    let view = block.view.to_owned();
                    let name = plugin.name().to_owned();
                    let labels = [server.clone(), zone.to_string(), view, name];
                    PLUGIN_ENABLED
                        .with(&labels.each_ref().map(String::as_str))
                        .set(1.0);
                    *holders.entry(labels.clone()).or_default() += 1;
                    all.push(labels);
                }
            }
        }
        Self(all)
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        for labels in &self.0 {
            if let Some(count) = holders.get_mut(labels) {
                *count -= 1;
            }
        }
        holders.retain(|_, count| *count > 0);
        PLUGIN_ENABLED.retain(|labels| {
            <&[String; 4]>::try_from(labels).is_ok_and(|labels| holders.contains_key(labels))
        });
    }
}

fn answer(_: &Request<Incoming>) -> Response<Body> {
    let mut response = match metrics::exposition() {
        Ok(body) => http::text(StatusCode::OK, body),
        Err(error) => {
            return http::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        }
    };
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

#[derive(Default)]
struct Prometheus {
    /// The plugin behind it, known once the chain is complete.
    neighbour: OnceLock<&'static str>,
    enabled: OnceLock<Enabled>,
}

impl Plugin for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn reviews(&self) -> bool {
        true
    }

    fn review(&self, exchange: &mut Exchange, served: &Served) {
        let Some(block) = &exchange.block else {
            return;
        };
        let written = exchange.reply();
        let rcode = match (written, served) {
            (Some(reply), _) => reply.rcode(),
            (None, Ok(rcode)) => *rcode,
            (None, Err(failure)) => failure.rcode,
        };
        let series = block
            .series
            .get_or_init(|| BlockSeries::new(block, self.neighbour.get().copied().unwrap_or("")));
        series.of(exchange.asked.zone).report(&Report {
            proto: exchange.proto,
            ipv6: exchange.client.is_ipv6(),
            qtype: exchange.asked.qtype,
            dnssec_ok: exchange.asked.dnssec_ok,
            request_size: exchange.request.wire_len(),
            response_size: written.map_or(0, Reply::wire_len),
            rcode,
            seconds: clock::now().since(exchange.arrived).as_secs_f64(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::refusal;

    #[test]
    fn setups_are_accepted_and_refused_as_coredns_does() {
        for (text, error) in [
            ("prometheus", ""),
            ("prometheus localhost:53", ""),
            ("prometheus :9153 {\nruntime_metrics\n}", ""),
            ("prometheus {}", "address {}: missing port in address"),
            ("prometheus /foo", "address /foo: missing port in address"),
            (
                "prometheus a b c",
                "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'c'",
            ),
            (
                "prometheus {\nfoo\n}",
                "Corefile:2 - Error during parsing: unknown option: foo",
            ),
            (
                "prometheus\nprometheus",
                "this plugin can only be used once per Server Block",
            ),
        ] {
            assert_eq!(refusal(&DEFINITION, text), error, "{text}");
        }
    }
}
