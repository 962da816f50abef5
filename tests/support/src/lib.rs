//! Peers for the tests of Pando: what stands around the server in a cluster.
//!
//! | peer | what it is |
//! |---|---|
//! | [`Client`] | asks over raw sockets and shows what came back |
//! | [`Upstream`] | a DNS server that answers by script: slow, lying, truncating, dead |
//! | [`ControlPlane`] | a real kube-apiserver over a real etcd |
//! | [`ApiDouble`] | an API server in the test's own process, with faults |
//! | [`Helm`] | the real helm |
//! | [`Server`] | the `pando` binary, or CoreDNS beside it, on free ports |
//! | [`Browser`] | a headless Chromium that looks at pages |
//! | [`Netns`] | a network namespace of the test's own |
//! | [`Dashboard`] | what a file of Grafana asks for |
//! | [`Prometheus`] | a real Prometheus over the server, with rules |
//! | [`Site`] | a node with Pods, the cluster's DNS and the world behind it |
//!
//! Every wait is bounded by [`BOUND`] unless the caller names a bound.
#![forbid(unsafe_code)]
// The peers are no part of the way of a query.
#![allow(clippy::disallowed_methods)]

mod api_double;
mod browser;
mod client;
mod control_plane;
mod dashboard;
mod helm;
mod netns;
mod ports;
mod process;
mod prometheus;
mod records;
mod server;
mod site;
mod upstream;
mod web;

use std::time::Duration;

pub use api_double::{ApiDouble, Break, Fault, Request};
pub use browser::{Browser, Screen, Tab};
pub use client::{Answer, Ask, Client, Stream};
pub use control_plane::{Account, ControlPlane, Deed, dns_rules};
pub use dashboard::{Dashboard, Panel};
pub use helm::Helm;
pub use netns::{Inhabitant, Netns, link};
pub use ports::Port;
pub use process::{Line, Process};
pub use prometheus::{Prometheus, Sample, promtool};
pub use records::record;
pub use server::{Server, ServerBuilder};
pub use site::{Agent, Arrival, Cluster, ClusterDns, External, Load, Pod, Site, Tally};
pub use upstream::{Reply, Rule, Seen, Transport, Upstream};
pub use web::{Events, Page, events, page};

/// How long a test waits for what must happen, seconds before it is called a
/// failure. Generous: it is only ever spent in full by a test that fails.
pub const BOUND: Duration = Duration::from_secs(20);

/// Polls `ready` every few milliseconds until it yields a value.
///
/// For state that sends no event (an answer that must change, a file that must
/// appear).
///
/// # Errors
///
/// Names `what` when `bound` has passed.
pub async fn until<T, F, Fut>(what: &str, bound: Duration, mut ready: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let poll = async {
        loop {
            if let Some(value) = ready().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(bound, poll)
        .await
        .map_err(|_| anyhow::anyhow!("{what}: not within {bound:?}"))
}
