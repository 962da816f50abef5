//! The DNS of the cluster that a node asks.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::path::Path;

use anyhow::Context;

use super::{Arrival, CLUSTER_DNS, EXTERNAL, NODE, Site};
use crate::{BOUND, Process, until};

/// Who serves the cluster's zone.
#[derive(Clone, Copy, Debug)]
pub enum Cluster<'a> {
    /// The `pando` binary at this path, from manifests.
    Pando(&'a Path),
    /// The CoreDNS at this path, from an API double.
    CoreDns(&'a Path),
}

/// A running cluster DNS with kubeadm's Corefile, which logs every query.
#[derive(Debug)]
pub struct ClusterDns {
    process: Process,
}

impl ClusterDns {
    /// Starts it and waits until it knows the cluster. `extra` is added to its
    /// server block, as `transfer cluster.local { to * }`.
    pub(super) async fn start(site: &Site, who: Cluster<'_>, extra: &str) -> anyhow::Result<Self> {
        let (binary, source, name) = match who {
            Cluster::Pando(binary) => {
                let source = format!("manifests {}", site.manifests().display());
                (binary, source, "pando")
            }
            Cluster::CoreDns(binary) => (binary, format!("endpoint {}", site.api_url()), "coredns"),
        };
        let corefile = format!(
            ".:53 {{
    bind {CLUSTER_DNS}
    errors
    log
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        {source}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    forward . {EXTERNAL}
    cache 30
    {extra}
}}
"
        );
        let path = site.folder().join(format!("Corefile.{name}"));
        std::fs::write(&path, corefile)?;
        let mut command = site.cluster.command(binary);
        command.arg("-conf").arg(path);
        let process = Process::spawn(command, None)?;
        let dns = Self { process };
        let up = until("the cluster's DNS", BOUND, || async {
            let there = "web.shop.svc.cluster.local";
            let answer = super::ask(&site.cluster, CLUSTER_DNS, there, "A")
                .await
                .ok()?;
            (answer.data() == ["10.96.1.1"]).then_some(())
        });
        up.await.with_context(|| dns.shown())?;
        Ok(dns)
    }

    /// Every query that it was asked by the node so far, by its log.
    #[must_use]
    pub fn asked(&self) -> Vec<Arrival> {
        let lines = self.lines();
        lines
            .iter()
            .filter_map(|line| arrival(&line.text))
            .collect()
    }
}

/// `[INFO] 10.0.0.1:4242 - 1 "A IN web.shop. udp 50 false 1232" NOERROR …`
fn arrival(line: &str) -> Option<Arrival> {
    let (from, rest) = line.strip_prefix("[INFO] ")?.split_once(" - ")?;
    let (from, _) = from.rsplit_once(':')?;
    let mut words = rest.split('"').nth(1)?.split(' ');
    let (kind, _class, name) = (words.next()?, words.next()?, words.next()?);
    let from: IpAddr = from.parse::<Ipv4Addr>().ok()?.into();
    (from == NODE).then(|| Arrival {
        name: name.to_ascii_lowercase(),
        kind: kind.to_owned(),
        from,
    })
}

impl Deref for ClusterDns {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for ClusterDns {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
