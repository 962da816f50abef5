//! `kubernetes`: the cluster's Services, endpoints and pods as DNS
//! (Kubernetes DNS specification 1.1.0).
//!
//! ```text
//! kubernetes [ZONES...] {
//!     endpoint URL
//!     tls CERT KEY CACERT
//!     kubeconfig KUBECONFIG [CONTEXT]
//!     namespaces NAMESPACE...
//!     namespace_labels EXPRESSION
//!     labels EXPRESSION
//!     pods disabled|insecure|verified
//!     endpoint_pod_names
//!     ttl TTL
//!     noendpoints
//!     zonal
//!     fallthrough [ZONES...]
//!     ignore empty_service
//!     multicluster ZONES...
//!     startup_timeout DURATION
//!     apiserver_qps QPS
//!     apiserver_burst BURST
//!     apiserver_max_inflight MAX
//!     manifests PATH...
//!     node NAME
//!     snapshot PATH
//! }
//! ```
//!
//! It may stand once in a server block. ZONES defaults to the block's zones;
//! one of them must not be a reverse zone, and the first such is where PTR
//! records point to.
//!
//! * Without `endpoint` and `kubeconfig` the API server is that of the pod
//!   which this process runs in. Of several URLs the first one counts; `tls`
//!   belongs to `endpoint`.
//! * `namespaces` (default: all) and `namespace_labels` (default: all) limit
//!   what is shown and exclude each other; `labels` limits Services,
//!   EndpointSlices and Pods.
//! * `pods` (default: `disabled`) says what `1-2-3-4.NAMESPACE.pod.ZONE` is.
//! * `endpoint_pod_names` names endpoints without a hostname after their pod.
//! * `ttl` is in seconds, 0 to 3600 (default: 5).
//! * `noendpoints` watches no EndpointSlices: headless services have no records.
//! * `zonal` adds `ZONE.pin._zone.SERVICE…` and `ZONE.prefer._zone.SERVICE…`
//!   for headless services by topology zone.
//! * `fallthrough` passes names that do not exist on, all of them or those in ZONES.
//! * `ignore empty_service` denies services without ready endpoints.
//! * `multicluster` answers those of ZONES from ServiceImports.
//! * `startup_timeout` (default: 5s) is how long the start waits for the API server.
//! * The three `apiserver_` options are read and have no effect, as in CoreDNS.
//! * `manifests` takes the cluster's objects from YAML or JSON files in the
//!   place of an API server.
//! * `node` follows the pods of one node, so that `autopath @kubernetes` knows
//!   the clients there without `pods verified` and a watch of all pods. What
//!   is answered does not depend on it. With `pods verified` all are followed.
//! * `snapshot` keeps the last state in a file, for a start while the API
//!   server is away. Answers from it say so (RFC 8914: Stale Answer).

use std::net::IpAddr;
use std::sync::Arc;

use self::external_name::Chain;
use self::lookup::Rules;
use self::records::{Asking, Outcome};
use self::spec::Options;
use self::versions::Copies;
use self::view::View;
use self::xfr::Transfer;
use super::{Block, Definition, Parsed, Settings, Spec};
use crate::chain::{
    self, AutoPather, Directory, Exchange, Next, Plugin, Served, Serving, Transferer,
};
use crate::denial::Why;
use crate::response::Source;
use crate::status::Status;
use crate::wire::{Ede, Name, NameBuf, Rcode, Record, Request, Section, flags};

mod apex;
pub mod client;
mod clients;
mod currency;
mod differences;
mod examples;
mod external_name;
mod frames;
mod host;
pub mod index;
mod lookup;
mod manifests;
mod metadata;
mod metrics;
pub mod model;
mod names;
mod objects;
mod records;
mod reflect;
mod reverse;
mod selector;
pub mod slim;
pub mod snapshot;
mod soa;
mod spec;
mod srv;
mod start;
mod state_file;
mod status;
pub mod store;
mod table;
mod versions;
mod view;
mod watch;
mod why;
mod writer;
mod xfr;

pub(crate) use client::chain as causes;

/// Where log lines say they come from.
const TARGET: &str = "plugin/kubernetes";

pub(super) static DEFINITION: Definition = Definition {
    name: "kubernetes",
    parse,
};

fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    spec::parse(directive, block).map(|options| Box::new(options) as Box<dyn Spec>)
}

/// The collections that a server with this directive lists and watches with
/// the account of its pod; `None` where it has other credentials or asks no
/// API server.
///
/// # Errors
///
/// Where the directive makes no sense.
pub fn watched(
    directive: &corefile::Directive,
    block: &Block,
) -> Result<Option<Vec<model::Kind>>, corefile::Error> {
    let options = spec::parse(directive, block)?;
    Ok((options.source == spec::Source::default()).then(|| start::kinds(&options)))
}

pub(crate) use manifests::objects;

/// Where a directive has its cluster from.
///
/// # Errors
///
/// What is wrong with the directive, or why there is no way to the cluster.
pub(crate) fn cluster(
    directive: &corefile::Directive,
    block: &Block,
) -> Result<store::Source, String> {
    let options = spec::parse(directive, block).map_err(|error| error.to_string())?;
    let source = start::source(&options, &Settings::default(), |name| {
        std::env::var(name).ok()
    });
    source.map_err(|error| error.to_string())
}

/// The zone that the names of a directive's cluster lie in.
pub(crate) fn zone(directive: &corefile::Directive, block: &Block) -> Option<NameBuf> {
    let options = spec::parse(directive, block).ok()?;
    Some(options.primary)
}

/// The plugin.
pub(super) struct Kubernetes {
    /// Longest first.
    zones: Vec<Zone>,
    primary: NameBuf,
    fall: Vec<NameBuf>,
    /// Those of `zones` that are closed.
    closed: Vec<NameBuf>,
    rules: Rules,
    ttl: u32,
    /// The domains that nodes, and so their pods, search behind those of the
    /// cluster.
    host_search: Vec<NameBuf>,
    /// The addresses by which this server may be an endpoint.
    local: Vec<IpAddr>,
    view: View,
    /// Which versions of the zones others have.
    copies: Copies,
}

struct Zone {
    name: NameBuf,
    multicluster: bool,
    /// The search list of a pod behind its first domain; empty where the
    /// zone is in no list, or clients are not known.
    search: Vec<NameBuf>,
    /// No name of it falls through.
    closed: bool,
}

/// What is left to do when the snapshot has said all it can.
enum Step {
    /// The reply is written.
    Done,
    /// The next plugin's turn.
    PassOn,
    /// The rest of the answer lies behind a CNAME.
    Follow(Box<Chain>),
    Refuse,
}

impl Kubernetes {
    fn new(options: &Options, local: Vec<IpAddr>, view: View) -> Self {
        let multicluster = |zone: &NameBuf| {
            options
                .multicluster
                .iter()
                .any(|multi| zone.name().is_under(multi.name()))
        };
        let closed = |zone: &NameBuf| {
            let overlap = |fall: &NameBuf| {
                fall.name().is_under(zone.name()) || zone.name().is_under(fall.name())
            };
            !options.fall.iter().any(overlap)
        };
        let mut zones: Vec<Zone> = options
            .zones
            .iter()
            .map(|name| Zone {
                name: name.clone(),
                multicluster: multicluster(name),
                search: Vec::new(),
                closed: closed(name),
            })
            .collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.name.wire().len()));
        let live = options.zones.iter().filter(|zone| closed(zone));
        Self {
            closed: live.cloned().collect(),
            zones,
            primary: options.primary.clone(),
            fall: options.fall.clone(),
            rules: Rules {
                namespaces: options
                    .namespaces
                    .iter()
                    .map(|ns| ns.clone().into_bytes())
                    .collect(),
                pods: options.pods,
                endpoint_pod_names: options.endpoint_pod_names,
                ignore_empty_service: options.ignore_empty_service,
                zonal: options.zonal,
            },
            ttl: options.ttl,
            host_search: Vec::new(),
            local,
            view,
            copies: Copies::default(),
        }
    }

    /// The longest zone that a name in lower case lies in, and how many
    /// octets of the name stand in front of it.
    #[inline]
    fn zone_of(&self, name: Name<'_>) -> Option<(&Zone, usize)> {
        self.zones
            .iter()
            .find_map(|zone| Some((zone, name.prefix_of(zone.name.name())?.len())))
    }

    fn answer(&self, exchange: &mut Exchange, zone: &Zone, cut: usize) -> Step {
        self.write(exchange, zone, cut, |asking, reply| asking.answer(reply))
    }

    /// Writes what `find` makes of the query, and the SOA where that is nothing.
    fn write(
        &self,
        exchange: &mut Exchange,
        zone: &Zone,
        cut: usize,
        find: impl FnOnce(&Asking<'_>, &mut crate::wire::Reply) -> Outcome,
    ) -> Step {
        let (request, reply) = exchange.request_and_answer();
        reply.set_flag(flags::AA, true);
        reply.set_live();
        reply.set_source(Source::Snapshot);
        self.view.read(|snapshot| {
            let asking = Asking {
                rules: &self.rules,
                snapshot,
                versions: self.view.versions(),
                local: &self.local,
                primary: self.primary.name(),
                zone: zone.name.name(),
                multicluster: zone.multicluster,
                ttl: self.ttl,
                request,
                prefix: request.name().wire().get(..cut).unwrap_or_default(),
            };
            let mut stale = STALE;
            match find(&asking, reply) {
                Outcome::Answered => {}
                Outcome::NoData => asking.push_soa(reply, Section::Authority),
                Outcome::NoName(_) if !zone.closed && self.falls(request.name()) => {
                    return Step::PassOn;
                }
                Outcome::NoName(why) => {
                    let known = snapshot.synced() || snapshot.stale();
                    reply.set_rcode(if known {
                        Rcode::NXDOMAIN
                    } else {
                        Rcode::SERVFAIL
                    });
                    reply.set_denial(why);
                    asking.push_soa(reply, Section::Authority);
                    if !known {
                        reply.set_ede(NOT_READY);
                    }
                    stale = STALE_NXDOMAIN;
                }
                Outcome::Follow(chain) => return Step::Follow(chain),
                Outcome::Refused => return Step::Refuse,
            }
            if snapshot.stale() {
                reply.set_source(Source::Stale);
                reply.set_ede(stale);
            }
            Step::Done
        })
    }

    fn falls(&self, name: Name<'_>) -> bool {
        self.fall.iter().any(|zone| name.is_under(zone.name()))
    }

    async fn follow(&self, exchange: &mut Exchange, chain: Box<Chain>) -> Served {
        if !chain.resolve(exchange).await
            && let Some((zone, cut)) = self.zone_of(exchange.request.name())
        {
            self.write(exchange, zone, cut, |_, _| Outcome::NoData);
        }
        Ok(Rcode::NOERROR)
    }
}

const STALE: Ede = Ede::new(
    Ede::STALE_ANSWER,
    "the Kubernetes API has not been read since the start",
);
/// RFC 8914 has a code of its own for a denial.
const STALE_NXDOMAIN: Ede = Ede::new(19, "the Kubernetes API has not been read since the start");
const NOT_READY: Ede = Ede::new(Ede::NOT_READY, "the Kubernetes API has not been read yet");

impl Plugin for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let Some((zone, cut)) = self.zone_of(exchange.request.name()) else {
            return next.serve(exchange);
        };
        match self.answer(exchange, zone, cut) {
            Step::Done => chain::done(),
            Step::PassOn => {
                exchange.discard();
                next.serve(exchange)
            }
            Step::Follow(chain) => {
                exchange.discard();
                Box::pin(self.follow(exchange, chain))
            }
            Step::Refuse => {
                exchange.discard();
                Box::pin(std::future::ready(Ok(Rcode::REFUSED)))
            }
        }
    }

    fn ready(&self) -> Option<bool> {
        Some(self.view.load().synced())
    }

    fn transferer(&self) -> Option<&dyn Transferer> {
        Some(self)
    }

    fn auto_pather(&self) -> Option<&dyn AutoPather> {
        Some(self)
    }

    fn relative(&self, request: &Request) -> Option<usize> {
        let (_, cut) = self.zone_of(request.name())?;
        let prefix = request.name().wire().get(..cut)?;
        Some(
            self.view
                .read(|snapshot| names::relative(prefix, |label| snapshot.namespace(label))),
        )
    }

    fn directory(&self) -> Option<&dyn Directory> {
        Some(self)
    }

    fn live_zones(&self) -> &[NameBuf] {
        &self.closed
    }

    fn status(&self) -> Status {
        status::of(self)
    }

    fn why(&self, exchange: &Exchange) -> Option<Why> {
        let name = exchange.request.name();
        let (zone, cut) = self.zone_of(name)?;
        Some(why::why(self, zone, name, cut, exchange.request.qtype()))
    }

    fn metadata(&self, exchange: &Exchange, label: &str) -> Option<String> {
        metadata::value(self, exchange, label)
    }
}

impl Transferer for Kubernetes {
    fn transfer(
        &self,
        zone: Name<'_>,
        serial: Option<u32>,
        client: IpAddr,
    ) -> Option<Box<dyn Iterator<Item = Record> + Send + '_>> {
        let (own, _) = self.zone_of(zone)?;
        let multicluster = own.multicluster;
        let Some(version) = self.view.versions().current() else {
            let snapshot = self.view.load();
            let current = snapshot.zone_serial(multicluster);
            let transfer = Transfer::new(self, zone, multicluster, snapshot, current);
            return Some(Box::new(transfer.since(serial)));
        };
        let servers = apex::addresses(&self.rules, &version.snapshot, &self.local, zone);
        let copies = self
            .copies
            .hand_out(zone, client, serial, &version, &servers);
        if let Some(old) = copies {
            let made = self.differences(zone, multicluster, &old, &version, &servers);
            return Some(Box::new(made.into_iter()));
        }
        let snapshot = Arc::clone(&version.snapshot);
        let transfer = Transfer::new(self, zone, multicluster, snapshot, version.serial());
        Some(Box::new(transfer.since(serial)))
    }

    fn changing(&self) -> Vec<(NameBuf, tokio::sync::watch::Receiver<Option<u32>>)> {
        let zones = self.zones.iter();
        zones
            .map(|zone| (zone.name.clone(), self.view.versions().announced()))
            .collect()
    }
}

#[cfg(test)]
mod tests;
