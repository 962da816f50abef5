//! `health`: `/health` says that the process lives.
//!
//! ```text
//! health [ADDRESS] {
//!     lameduck DURATION
//! }
//! ```
//!
//! ADDRESS defaults to `:8080`. With `lameduck` the end of the process is
//! held up for DURATION (default 0) while queries and `/health` are still
//! answered, so that load balancers can look elsewhere. The endpoint asks
//! itself once a second: a slow answer means an overloaded process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::http::{self, Route, Site};
use crate::metrics::{Counter, Family, Histogram, SLIM_TIME_BUCKETS};

pub(super) static DEFINITION: Definition = Definition {
    name: "health",
    parse,
};

const TARGET: &str = "plugin/health";
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// An answer that takes longer is worth a warning.
const PROBE_SLOW: Duration = Duration::from_secs(1);

static DURATIONS: LazyLock<Family<Histogram>> = LazyLock::new(|| {
    Family::histograms(
        "coredns_health_request_duration_seconds",
        "Histogram of the time (in seconds) each request took.",
        &[],
        SLIM_TIME_BUCKETS,
    )
});
static FAILURES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_health_request_failures_total",
        "The number of times the health check failed.",
        &[],
    )
});

#[derive(Debug)]
struct HealthSpec {
    address: String,
    lameduck: corefile::duration::Duration,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut spec = HealthSpec {
        address: ":8080".to_owned(),
        lameduck: Default::default(),
    };
    while words.next() {
        if let Some(given) = http::address(&mut words)? {
            spec.address = given;
        }
        while words.next_block() {
            match words.val() {
                "lameduck" => {
                    let [value] = words.remaining_args()[..] else {
                        return Err(words.arg_err());
                    };
                    spec.lameduck = corefile::duration::parse(value).map_err(|error| {
                        words.plain_err(format!(
                            "unable to parse lameduck duration value: '{value}' : {error}"
                        ))
                    })?;
                }
                _ => return Err(words.unknown_property_err(&["lameduck"])),
            }
        }
    }
    Ok(Box::new(spec))
}

impl Spec for HealthSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let (control, address) = (builder.control, &self.address);
        let site = Site::shared(builder.kept, control, address);
        let site = site.map_err(|error| BuildError::new(error.to_string()))?;
        let key = format!("health {address}");
        let open = || Ok::<_, BuildError>(Endpoint::open(control, &site, address));
        builder.kept.take_or(&key, open)?;
        let lameduck = self.lameduck;
        builder.on_final_shutdown(move || {
            Box::pin(async move {
                let Some(wait) = lameduck.to_std().filter(|wait| !wait.is_zero()) else {
                    return Ok(());
                };
                tracing::info!(target: TARGET, "Going into lameduck mode for {lameduck}");
                tokio::time::sleep(wait).await;
                Ok(())
            })
        });
        Ok(())
    }
}

/// The path and the task that asks it.
struct Endpoint {
    _route: Route,
    probe: AbortHandle,
}

impl Endpoint {
    fn open(control: &Handle, site: &Site, address: &str) -> Arc<Self> {
        let route = site.route("/health", Arc::new(|_| http::text(StatusCode::OK, "OK")));
        route.serve();
        let host = match address.strip_prefix(':') {
            Some(_) => format!("localhost{address}"),
            None => address.to_owned(),
        };
        let probe = control.spawn(probe(host, site.local_addr())).abort_handle();
        Arc::new(Self {
            _route: route,
            probe,
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

/// Where a listener that is bound to this address can be asked from here. By
/// address, for no name may be in the way: the image has no `/etc/hosts`, and
/// a resolver would ask this very server for `localhost`.
fn own(bound: SocketAddr) -> SocketAddr {
    match bound.ip().is_unspecified() {
        // All addresses are those of both families, and ::1 need not be there.
        true => (Ipv4Addr::LOCALHOST, bound.port()).into(),
        false => bound,
    }
}

/// Asks `/health` of our own once a second.
#[allow(clippy::disallowed_methods)] // Runs on the control runtime.
async fn probe(host: String, bound: SocketAddr) {
    let durations = DURATIONS.with(&[]);
    let failures = FAILURES.with(&[]);
    // Where the configuration says port 0, the one that was bound.
    let host = match host.rsplit_once(':') {
        Some((name, _)) => format!("{name}:{}", bound.port()),
        None => host,
    };
    let url = format!("http://{host}/health");
    let own = own(bound);
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let start = Instant::now();
        let asked = tokio::time::timeout(PROBE_TIMEOUT, ask(own, &host)).await;
        let elapsed = start.elapsed();
        durations.observe(elapsed.as_secs_f64());
        match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) if elapsed > PROBE_SLOW => {
                tracing::warn!(target: TARGET, "Local health request to {url:?} took more than 1s: {elapsed:?}");
            }
            Ok(()) => {}
            Err(error) => {
                failures.inc();
                tracing::warn!(target: TARGET, "Local health request to {url:?} failed: {error}");
            }
        }
    }
}

async fn ask(own: SocketAddr, host: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(own).await?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    match &answer {
        b"HTTP/1.1 200" => Ok(()),
        other => Err(io::Error::other(
            String::from_utf8_lossy(other).into_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::refusal;

    #[test]
    fn it_is_asked_where_it_listens() {
        for (bound, asked) in [
            ("[::]:8080", "127.0.0.1:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("169.254.20.10:8080", "169.254.20.10:8080"),
            ("[fd00::10]:8080", "[fd00::10]:8080"),
        ] {
            assert_eq!(own(bound.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn setups_are_accepted_and_refused_as_coredns_does() {
        for (text, error) in [
            ("health", ""),
            ("health localhost:1234", ""),
            ("health localhost:1234 {\nlameduck 4s\n}", ""),
            ("health bla:a", ""),
            ("health bla", "address bla: missing port in address"),
            (
                "health a:1 b:2",
                "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'b:2'",
            ),
            (
                "health {\nlamedudk 4s\n}",
                "Corefile:2 - Error during parsing: unknown property 'lamedudk'",
            ),
            (
                "health {\nlameduck\n}",
                "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'lameduck'",
            ),
            (
                "health {\nlameduck hi\n}",
                "unable to parse lameduck duration value: 'hi' : time: invalid duration \"hi\"",
            ),
        ] {
            assert_eq!(refusal(&DEFINITION, text), error, "{text}");
        }
    }
}
