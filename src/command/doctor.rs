//! `pando doctor`: what an on-call engineer would look at when names do not
//! resolve, all of it at once.
//!
//! Each check stands alone: what it may not see, or cannot see from here, it
//! says, and the others go on. What is asked of the API server is asked once,
//! by `cluster`; judging what came back does no I/O.

mod agents;
mod cluster;
mod conntrack;
mod finding;
mod lints;
mod policies;
mod probe;
mod rbac;
mod reading;
mod replicas;
mod resolv_conf;
mod service;
mod upstreams;

use std::future::Future;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use corefile::{SystemHost, decode};

use self::cluster::{Cluster, Facts, Unknown};
use self::finding::{Finding, Report, Section};
use self::lints::Server;
use self::probe::Question;
use crate::configuration::Text;
use crate::plugin::kubernetes::causes;
use crate::wire::{NameBuf, rtype};

/// The cluster's zone where no Corefile names one.
const ZONE: &str = "cluster.local.";

/// `pando doctor [FLAGS]`.
#[derive(Clone, Debug, Eq, PartialEq, clap::Args)]
#[command(
    after_help = "Exit code: 0 healthy (warnings allowed), 1 unhealthy, 2 the Service could not be looked at."
)]
pub struct Options {
    /// The kubeconfig; by default $KUBECONFIG, ~/.kube/config, or the Pod's service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; by default its current one
    #[arg(long)]
    pub context: Option<String>,
    /// Where the cluster DNS runs
    #[arg(short, long, default_value = "kube-system")]
    pub namespace: String,
    /// The Service of the cluster DNS
    #[arg(long, default_value = "kube-dns")]
    pub service: String,
    /// The ConfigMap with the Corefile; by default the one that the replicas mount, or coredns
    #[arg(long, value_name = "NAME")]
    pub configmap: Option<String>,
    /// A Corefile to look at in place of the ConfigMap's (`stdin`: standard input)
    #[arg(long, value_name = "FILE")]
    pub conf: Option<String>,
    /// Ask nobody: look at the Corefile of --conf (or ./Corefile) alone
    #[arg(long)]
    pub offline: bool,
    /// The cluster's zone; by default the one in the Corefile, or cluster.local
    #[arg(long, value_parser = zone)]
    pub zone: Option<NameBuf>,
    /// An external name that must resolve; '' asks for none
    #[arg(long, value_name = "NAME", default_value = "example.com", value_parser = external)]
    pub external: External,
    /// How long each request and each question may take (as in 500ms, 5s)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::patience)]
    pub timeout: Duration,
    /// Checks to leave out
    #[arg(long, value_name = "CHECK", value_enum, value_delimiter = ',')]
    pub skip: Vec<Check>,
    /// How to show what was found
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// A name to ask for, or none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct External(Option<NameBuf>);

/// How the findings are shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people.
    #[default]
    Text,
    /// A document for programs.
    Json,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Check {
    /// The Service, its endpoints and its Pods
    Service,
    /// The answers of each replica
    Replicas,
    /// Node agents
    Agents,
    /// The upstreams of `forward`
    Upstreams,
    /// The resolv.conf of this Pod
    ResolvConf,
    /// The connection table of this node
    Conntrack,
    /// NetworkPolicies that block DNS
    Policies,
    /// What the service account may do
    Rbac,
    /// The Corefile
    Corefile,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Replicas => "replicas",
            Self::Agents => "agents",
            Self::Upstreams => "upstreams",
            Self::ResolvConf => "resolv-conf",
            Self::Conntrack => "conntrack",
            Self::Policies => "policies",
            Self::Rbac => "rbac",
            Self::Corefile => "corefile",
        }
    }
}

impl Options {
    /// Looks, and prints what it found: the exit code.
    ///
    /// # Errors
    ///
    /// Where there is nothing to look at: no Corefile, no configuration of an
    /// API server, or no answer of it.
    pub async fn run(self) -> anyhow::Result<u8> {
        if self.offline {
            let conf = self.conf.as_deref().unwrap_or("Corefile");
            let text = read(conf)?;
            let findings = lints::lint(&text, &SystemHost::new(|_| {}), &lints::Context::default());
            let check = Check::Corefile.name();
            let report = Report {
                sections: vec![Section { check, findings }],
                problem: None,
            };
            self.print(&report)?;
            return Ok(u8::from(!report.healthy()));
        }
        let cluster = Cluster::connect(&self).await.map_err(|error| {
            let why = causes(&*error);
            anyhow::anyhow!("no API server to ask: {why}\n--kubeconfig names one; with --offline the Corefile alone is looked at")
        })?;
        let facts = Facts::gather(&cluster, &self).await;
        let report = Report {
            sections: self.look(&cluster, &facts).await,
            problem: self.problem(&cluster, &facts),
        };
        self.print(&report)?;
        match report.problem {
            Some(problem) => anyhow::bail!(problem),
            None => Ok(u8::from(!report.healthy())),
        }
    }

    /// What keeps it from being said whether the cluster DNS is well.
    fn problem(&self, cluster: &Cluster, facts: &Facts) -> Option<String> {
        let why = facts.service.as_ref().err()?;
        let asked = match why {
            Unknown::Absent(_) => return None,
            Unknown::Away(_) => format!("\nasked was {}", cluster.url),
            _ => String::new(),
        };
        let (namespace, service) = (&self.namespace, &self.service);
        Some(format!(
            "Service {namespace}/{service} could not be looked at: {why}{asked}"
        ))
    }

    /// All checks at once, each within its time.
    async fn look(&self, cluster: &Cluster, facts: &Facts) -> Vec<Section> {
        let zone = self
            .zone
            .clone()
            .or_else(|| facts.reading()?.cluster_zone());
        let zone = zone.or_else(|| ZONE.parse().ok()).unwrap_or_default();
        let zone = &zone;
        let all = <[_; 9]>::from(tokio::join!(
            self.check(Check::Service, async { service::check(facts) }),
            self.check(Check::Replicas, replicas::check(facts, zone, self)),
            self.check(Check::Agents, agents::check(facts, zone, self)),
            self.check(Check::Upstreams, upstreams::check(facts, self)),
            self.check(Check::ResolvConf, async { resolv_conf::check(facts, zone) }),
            self.check(
                Check::Conntrack,
                conntrack::check(facts.vantage, facts.service.is_ok())
            ),
            self.check(Check::Policies, policies::check(cluster, facts)),
            self.check(Check::Rbac, rbac::check(cluster, facts, self)),
            self.check(Check::Corefile, async { corefile(facts) }),
        ));
        all.into_iter().flatten().collect()
    }

    async fn check(
        &self,
        check: Check,
        look: impl Future<Output = Vec<Finding>>,
    ) -> Option<Section> {
        if self.skip.contains(&check) {
            return None;
        }
        // A check asks some things one after the other, pages of a list above all.
        let bound = self.timeout * 6;
        let looked = tokio::time::timeout(bound, look).await;
        let findings = looked
            .unwrap_or_else(|_| vec![Finding::not_checked(format!("not done within {bound:?}"))]);
        let check = check.name();
        Some(Section { check, findings })
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        let text = match self.output {
            Output::Json => report.json()?,
            Output::Text => {
                let colour = out.is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
                report.text(colour)
            }
        };
        out.write_all(text.as_bytes())
            .context("cannot write to standard output")
    }

    /// The external name to ask for.
    fn external_question(&self) -> Option<Question> {
        let name = self.external.0.clone()?;
        Some(Question {
            name,
            qtype: rtype::A,
        })
    }
}

/// The lints, with what the cluster tells of the servers that read the file.
fn corefile(facts: &Facts) -> Vec<Finding> {
    let text = match &facts.corefile {
        Ok(text) => text,
        Err(Unknown::Absent(what)) if facts.corefile_is_mounted => {
            let what = format!("{what} does not exist, and the replicas read their Corefile there");
            return vec![Finding::error(what).advise(
                "write it again, from a backup or a replica that runs: none starts without it",
            )];
        }
        Err(why) => return vec![Finding::not_checked(why)],
    };
    let template = facts.template();
    let mut images = template
        .iter()
        .flat_map(|spec| &spec.containers)
        .filter_map(|container| container.image.as_deref());
    let server = match images.any(|image| image.contains("coredns")) {
        true => Server::CoreDns,
        false => Server::Pando,
    };
    // With the host's network ClusterFirst means Default (API reference of PodSpec).
    let asks_itself = template.is_some_and(|spec| match spec.dns_policy.as_deref() {
        Some("Default" | "None") => false,
        Some("ClusterFirstWithHostNet") => true,
        _ => !spec.host_network.unwrap_or_default(),
    });
    let context = lints::Context {
        server,
        service: facts.service_ips(),
        asks_itself,
    };
    lints::lint(text, &facts.replica, &context)
}

/// A Corefile from a file, or from standard input.
fn read(conf: &str) -> anyhow::Result<Text> {
    let mut bytes = Vec::new();
    let read = match conf {
        "stdin" => std::io::stdin().lock().read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| anyhow::anyhow!("{conf}: {}", corefile::io_message(&error)))?;
    Ok(Text {
        name: conf.to_owned(),
        text: decode(&bytes),
    })
}

/// `PREFIX.ZONE`, where that is a name.
fn under(prefix: &str, zone: &NameBuf) -> Option<NameBuf> {
    let mut name: NameBuf = corefile::key::fqdn(prefix).parse().ok()?;
    name.push_name(zone.name()).ok()?;
    Some(name)
}

/// The first few of many names.
fn some(names: &[&str]) -> String {
    const FEW: usize = 5;
    let shown = names
        .iter()
        .take(FEW)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().checked_sub(FEW) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

fn zone(text: &str) -> Result<NameBuf, String> {
    match corefile::key::is_domain_name(text) {
        true => corefile::key::normalize(text)
            .parse()
            .map_err(|_| "not a zone".to_owned()),
        false => Err("not a zone".to_owned()),
    }
}

fn external(text: &str) -> Result<External, String> {
    match text {
        "" => Ok(External(None)),
        text => zone(text)
            .map(|name| External(Some(name)))
            .map_err(|_| "not a name".to_owned()),
    }
}
