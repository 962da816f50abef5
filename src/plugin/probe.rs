//! `probe`: asks for known names on a schedule, as a client does, and counts
//! what comes of it.
//!
//! ```text
//! probe [NAME [TYPE [EXPECTED]]] {
//!     name NAME [TYPE [EXPECTED]]
//!     to TARGET...
//!     interval DURATION
//!     timeout DURATION
//! }
//! ```
//!
//! An extension of Pando. NAME defaults to `kubernetes.default.svc.ZONE`,
//! where ZONE is the first zone of the block's `kubernetes` that is no
//! reverse zone, else the block's own first such zone, else
//! `cluster.local`; TYPE to A. EXPECTED is
//!
//! - `answer`, the default: a record of that type;
//! - `nodata` or `nxdomain`: the name has none of that type, or does not exist;
//! - an address: among the records.
//!
//! `name` and `to` may come again; there may be 16 names and 8 targets. Each
//! TARGET is asked for each name:
//!
//! - `self`, the default: this server, at the first address that the block
//!   listens on (127.0.0.1 where it listens on all of them);
//! - `IP[:PORT]`: another server, 10.96.0.10 for instance, the address of the
//!   Service; the port defaults to 53;
//! - `service`: the same address as `kube-dns.kube-system.svc.ZONE` has it
//!   when this server is asked; while that finds nothing, the last one.
//!
//! `interval` defaults to 10s and is 1s at least; each time between two
//! queries is up to a tenth shorter or longer. `timeout` defaults to 2s and
//! is no longer than `interval`. The query goes over UDP, and over TCP where
//! the answer is truncated, with EDNS. The first is asked once the plugins of
//! the block are ready, or after a minute.
//!
//! `pando_probe_total{target,name,type,result}` counts queries, and
//! `pando_probe_duration_seconds{target,name,type}` the time of those that
//! were answered, whatever the answer. A change from well to failing and back
//! is logged. RESULT is
//!
//! - `success`: as expected;
//! - `timeout`, `unreachable` (nobody listens there), `closed` (the connection,
//!   before the answer), `io` (the system's own error): no answer;
//! - `unresolved`: the address of `service` is not known yet;
//! - `servfail`, `refused`, `nxdomain`, or `rcode` for any other response code
//!   that is not expected;
//! - `nodata`: the name has no record of the type; `mismatch`: it has others
//!   than expected, or is there and should not be; `malformed`: the answer
//!   cannot be read.
//!
//! The queries to `self` are queries as any other in the metrics of requests.

mod check;
mod series;
mod spec;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Assembled, Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::Plugin;
use crate::wire::NameBuf;
use crate::zones::is_reverse;
use check::{Check, Target};
use series::Series;
use spec::{ProbeSpec, To};

pub(super) static DEFINITION: Definition = Definition {
    name: "probe",
    parse,
};

const TARGET: &str = "plugin/probe";
/// How long the plugins of the block may take to be ready.
const START: Duration = Duration::from_secs(60);
/// How often they are asked.
const LOOK: Duration = Duration::from_millis(100);
/// The zone where nothing says another.
const ZONE: &str = "cluster.local.";

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    Ok(Box::new(spec::parse(directive)?))
}

impl Spec for ProbeSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let me = own_address(builder)?;
        let surroundings = Arc::new(OnceLock::new());
        builder.when_assembled({
            let surroundings = Arc::clone(&surroundings);
            move |block| {
                let _ = surroundings.set(Surroundings::of(block));
            }
        });
        let running = Arc::new(Mutex::new(JoinSet::new()));
        builder.on_started({
            let running = Arc::clone(&running);
            move || {
                Box::pin(async move {
                    if let Some(surroundings) = surroundings.get() {
                        let checks = self.checks(me, surroundings);
                        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                        for check in checks {
                            let chain = surroundings.chain.clone();
                            running.spawn(watch(check, self.interval, chain));
                        }
                    }
                    Ok(())
                })
            }
        });
        builder.on_shutdown(move || {
            running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .abort_all();
            Box::pin(std::future::ready(Ok(())))
        });
        Ok(())
    }
}

/// Where this block can be asked.
fn own_address(builder: &Builder<'_>) -> Result<SocketAddr, BuildError> {
    let port = builder.block.keys.first().and_then(|key| key.port);
    let port = port.unwrap_or(53);
    if port == 0 {
        return Err(BuildError::new(
            "plugin/probe: a server on port 0 cannot be asked: name its port",
        ));
    }
    let host = builder.settings.hosts.first();
    let ip = host.and_then(|host| host.parse().ok());
    let ip = match ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, port))
}

/// What is known of the block once it is complete.
struct Surroundings {
    zone: NameBuf,
    chain: Arc<[Arc<dyn Plugin>]>,
}

impl Surroundings {
    fn of(block: &Assembled<'_>) -> Self {
        let live = block.chain.iter().flat_map(|plugin| plugin.live_zones());
        let mut zones = live.chain(&block.block.zones);
        let zone = zones.find(|zone| !zone.name().is_root() && !is_reverse(zone.name()));
        let default = || crate::presentation::parse_name(ZONE).unwrap_or_default();
        Self {
            zone: zone.cloned().unwrap_or_else(default),
            chain: block.chain.into(),
        }
    }
}

impl ProbeSpec {
    /// A check for each name and target.
    fn checks(&self, me: SocketAddr, surroundings: &Surroundings) -> Vec<Check> {
        let zone = &surroundings.zone;
        let mut checks = Vec::new();
        for to in &self.to {
            for name in &self.names {
                // Beneath a zone of some 230 octets there is no such name.
                let Some(qname) = name
                    .name
                    .clone()
                    .or_else(|| below("kubernetes.default", zone))
                else {
                    continue;
                };
                let target = match to {
                    To::This => Target::Fixed(me),
                    To::Address(address) => Target::Fixed(*address),
                    To::Service => match below("kube-dns.kube-system", zone) {
                        Some(name) => Target::named(&name, me),
                        None => continue,
                    },
                };
                let series = Series::new(to, &qname, name.qtype);
                checks.push(Check::new(
                    target,
                    qname,
                    name.qtype,
                    name.expected,
                    self.timeout,
                    series,
                ));
            }
        }
        checks
    }
}

/// `SERVICE.svc.ZONE`, if that is a name.
fn below(service: &str, zone: &NameBuf) -> Option<NameBuf> {
    let mut name: NameBuf = format!("{service}.svc.").parse().ok()?;
    name.push_name(zone.name()).ok()?;
    Some(name)
}

/// Asks for ever.
async fn watch(mut check: Check, interval: Duration, chain: Arc<[Arc<dyn Plugin>]>) {
    let patience = Instant::now() + START;
    while Instant::now() < patience && chain.iter().any(|plugin| plugin.ready() == Some(false)) {
        sleep(LOOK).await;
    }
    drop(chain);
    // Those of one block, and of all replicas that started together, apart.
    let mut next = Instant::now() + interval.mul_f64(0.1 * fastrand::f64());
    loop {
        sleep_until(next).await;
        next += interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        check.run().await;
        // After a suspension there is nothing to catch up on.
        next = next.max(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Kept;
    use crate::plugin::testing::block;
    use crate::plugin::{Hooks, Settings};

    #[test]
    fn the_name_is_of_the_clusters_zone() {
        struct Cluster(Vec<NameBuf>);
        impl Plugin for Cluster {
            fn name(&self) -> &'static str {
                "kubernetes"
            }
            fn live_zones(&self) -> &[NameBuf] {
                &self.0
            }
        }
        let names = |zones: &[&str]| -> Vec<NameBuf> {
            zones.iter().map(|zone| zone.parse().unwrap()).collect()
        };
        for (own, live, name) in [
            (
                &["."][..],
                &["10.in-addr.arpa.", "corp.", "x."][..],
                "kubernetes.default.svc.corp.",
            ),
            (&["k8s."], &[], "kubernetes.default.svc.k8s."),
            (&["ip6.arpa.", "k8s."], &[], "kubernetes.default.svc.k8s."),
            (&["."], &[], "kubernetes.default.svc.cluster.local."),
        ] {
            let block = Block {
                zones: names(own),
                ..Block::default()
            };
            let surroundings = Surroundings::of(&Assembled {
                block: &block,
                chain: &[Arc::new(Cluster(names(live)))],
                servers: &[],
                view: "",
            });
            let found = below("kubernetes.default", &surroundings.zone);
            assert_eq!(found.unwrap().name().to_string(), name, "{own:?} {live:?}");
        }
    }

    #[test]
    fn it_asks_where_the_block_listens() {
        let control = tokio::runtime::Runtime::new().unwrap();
        for (hosts, port, address) in [
            (&[][..], Some(1053), Ok("127.0.0.1:1053")),
            (
                &["169.254.20.10", "10.96.0.10"],
                None,
                Ok("169.254.20.10:53"),
            ),
            (&["::"], Some(53), Ok("[::1]:53")),
            (&["0.0.0.0"], Some(53), Ok("127.0.0.1:53")),
            (
                &[],
                Some(0),
                Err("plugin/probe: a server on port 0 cannot be asked: name its port"),
            ),
        ] {
            let mut block = block();
            block.keys[0].port = port;
            let mut settings = Settings {
                hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                ..Settings::default()
            };
            let (mut kept, mut chain, mut hooks) = (Kept::default(), Vec::new(), Hooks::default());
            let builder = Builder::new(
                &block,
                &mut settings,
                control.handle(),
                &mut kept,
                &mut chain,
                &mut hooks,
            );
            let found = own_address(&builder);
            let found = found.map_err(|error| error.to_string());
            let expected = address.map(|text| text.parse().unwrap());
            assert_eq!(found, expected.map_err(str::to_owned), "{hosts:?}");
        }
    }
}
