//! `pando explain NAME`: what a client's resolver does with a name, query by query.
//!
//! The search list is walked as the client's C library walks it. Each query is
//! asked of a running server, or of a Corefile that is built in this process
//! (`evaluate`) with every plugin watched (`trace`), or of both. What a
//! client is told is found by `resolver`, the order of names by `walk`, and
//! what came back is a `report`.

mod advice;
mod answer;
mod cluster;
mod evaluate;
mod report;
mod resolver;
mod text;
mod trace;
mod walk;

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use self::answer::Answer;
use self::cluster::ClusterError;
use self::evaluate::{EvaluateError, Evaluator, How, Text};
use self::report::{Asked, Query, Report, Step, is_silent};
use self::resolver::{Resolver, Whose};
use self::walk::{Candidate, Libc, Verdict, Written};
use crate::ask::{self, Transport, UDP_SIZE};
use crate::plugin::Rehearsal;
use crate::plugin::kubernetes::client::Access;
use crate::plugin::kubernetes::store::Source;
use crate::presentation::record;
use crate::wire::{NameBuf, Request, rtype};

/// What is to be explained, and to whom.
#[derive(Clone, Debug, Eq, PartialEq, clap::Args)]
pub struct Options {
    /// The name as an application would write it, or an address for its name
    name: String,
    /// The record type; without it A and AAAA, as getaddrinfo(3) asks
    #[arg(long = "type", short = 't', value_name = "TYPE", value_parser = qtype)]
    qtype: Option<u16>,
    /// Resolve as this Pod does, or as any Pod of this namespace with the usual dnsPolicy ClusterFirst
    #[arg(long, value_name = "NAMESPACE[/POD]", conflicts_with_all = ["resolv_conf", "client"])]
    from: Option<Whose>,
    /// The client's address, for what the Corefile makes depend on it: acl, autopath
    #[arg(long, value_name = "IP", requires = "conf")]
    client: Option<IpAddr>,
    /// Resolve by this file instead of /etc/resolv.conf
    #[arg(long, value_name = "FILE")]
    resolv_conf: Option<PathBuf>,
    /// The C library of the client: its rules for the search list
    #[arg(long, value_enum, default_value_t)]
    libc: Libc,
    /// The cluster's DNS domain, for the search list of --from; by default that of the Corefile, or cluster.local
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,
    /// Say what a server with this Corefile would answer, and which plugin
    #[arg(long, value_name = "FILE")]
    conf: Option<String>,
    /// The listener of the Corefile that the client asks, such as :53
    #[arg(long, value_name = "ADDRESS:PORT", requires = "conf")]
    listener: Option<String>,
    /// Take the cluster's objects from these files or folders instead of an API server; may be repeated
    #[arg(long, value_name = "PATH", conflicts_with = "kubeconfig")]
    manifests: Vec<PathBuf>,
    /// Take the cluster's objects from the API server of this kubeconfig
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, requires = "kubeconfig")]
    context: Option<String>,
    /// Ask no upstreams for what the Corefile forwards
    #[arg(long, requires = "conf")]
    offline: bool,
    /// Ask this server, too if there is a Corefile; by default the first nameserver of the resolv.conf. The port is 53 unless given
    #[arg(long, value_name = "ADDRESS", value_parser = server)]
    server: Option<SocketAddr>,
    /// How long to wait for an answer (as in 500ms, 5s)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::patience)]
    timeout: Duration,
    /// How to print what was found
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one object, its fields described in docs/tools.md.
    Json,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// It is none.
    #[error("`{name}` is no domain name: {why}")]
    Name {
        /// What was given.
        name: String,
        /// Why not.
        why: crate::wire::NameError,
    },
    /// A file that says how a client resolves cannot be read.
    #[error("{}: {}", path.display(), corefile::io_message(why))]
    ResolvConf {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A domain that is none.
    #[error("--cluster-domain `{0}` is no domain name")]
    Domain(String),
    /// Nobody to ask.
    #[error("{0} names no server: say which one with --server ADDRESS")]
    NoServer(String),
    /// Flags that nothing uses.
    #[error("--manifests and --kubeconfig are for -conf FILE or --from NAMESPACE/POD")]
    Unused,
    /// The Corefile cannot be asked.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The Pod cannot be looked up.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A Pod that has its resolv.conf from its node.
    #[error("{0}, which leaves its resolv.conf to the node: give that file with --resolv-conf")]
    NodesOwn(String),
    /// The finding has no form in JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

/// Explains, on standard output: 0 where the name resolves, 1 where it does
/// not or server and Corefile differ, 2 where that was not found out.
///
/// # Errors
///
/// What was given makes no sense, or cannot be read.
pub async fn run(options: &Options) -> Result<u8, ExplainError> {
    // What asks upstreams runs on a worker, which is a thread of its own.
    let local = tokio::task::LocalSet::new();
    local.run_until(explain(options)).await
}

async fn explain(options: &Options) -> Result<u8, ExplainError> {
    let whole = options.from.as_ref().is_some_and(Whose::is_one_pod);
    if options.source().is_some() && options.conf.is_none() && !whole {
        return Err(ExplainError::Unused);
    }
    let (written, types) = question(options)?;
    let text = options.conf.as_deref().map(Text::load).transpose()?;
    let resolver = Resolver::find(options, text.as_ref()).await?;
    let types = match types {
        Some(types) => types,
        None if resolver.conf.no_aaaa => vec![rtype::A],
        None => vec![rtype::A, rtype::AAAA],
    };
    let first = resolver.conf.nameservers.first();
    let bound = options.timeout;
    let evaluator = match text {
        Some(text) => {
            let how = How {
                rehearsal: Rehearsal {
                    cluster: options.source(),
                    offline: options.offline,
                },
                client: options.client.or(resolver.address).unwrap_or(HERE),
                listener: options.listener.as_deref(),
                nameserver: first.copied(),
                bound,
            };
            Some(Evaluator::new(text, how).await?)
        }
        None => None,
    };
    let server = match (options.server, &evaluator) {
        (Some(server), _) => Some(server),
        (None, Some(_)) => None,
        (None, None) => {
            let first = first.ok_or_else(|| ExplainError::NoServer(resolver.source.clone()))?;
            Some((*first, DNS_PORT).into())
        }
    };
    let asking = Asking {
        types: &types,
        evaluator: evaluator.as_ref(),
        server,
        bound,
    };
    let mut steps: Vec<Step> = Vec::new();
    for candidate in walk::candidates(&written, &resolver.conf, options.libc) {
        let step = asking.step(candidate).await;
        let on = step.verdict().goes_on(&step.candidate, options.libc);
        steps.push(step);
        if !on {
            break;
        }
    }
    let mut report = Report::new(options, &resolver, steps);
    report.server = server.map(|server| server.to_string());
    report.corefile = evaluator.map(|evaluator| evaluator.corefile);
    report.advice = advice::advice(&report, &written, &resolver.conf, options.libc);
    let text = match options.output {
        Output::Text => text::text(&report),
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    // Whoever has closed the pipe has read enough.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(match report.resolves {
        Some(true) if report.differs => 1,
        Some(true) => 0,
        Some(false) => 1,
        None => super::UNABLE,
    })
}

const DNS_PORT: u16 = 53;
/// Who asks where nobody is named.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Options {
    /// Where the cluster's objects come from, whatever a Corefile says.
    fn source(&self) -> Option<Source> {
        if !self.manifests.is_empty() {
            return Some(Source::Manifests(self.manifests.clone()));
        }
        let path = self.kubeconfig.clone()?;
        let context = self.context.clone();
        Some(Source::Api(Access::Kubeconfig { path, context }))
    }
}

/// The name, and the types where they do not depend on the resolver.
fn question(options: &Options) -> Result<(Written, Option<Vec<u16>>), ExplainError> {
    let asked = options.qtype.map(|qtype| vec![qtype]);
    let address = options.name.parse::<IpAddr>().ok();
    let (name, types) = match (address, options.qtype) {
        (Some(address), None | Some(rtype::PTR)) => (reverse(address), Some(vec![rtype::PTR])),
        _ => (options.name.clone(), asked),
    };
    let written = Written::parse(&name).map_err(|why| ExplainError::Name {
        name: answer::printable(&name),
        why,
    })?;
    Ok((written, types))
}

/// The name of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let octets = ip.octets().into_iter().rev();
            let nibbles = octets.map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            nibbles.collect::<String>() + "ip6.arpa."
        }
    }
}

/// Who is asked, and for what.
struct Asking<'a> {
    types: &'a [u16],
    evaluator: Option<&'a Evaluator>,
    server: Option<SocketAddr>,
    bound: Duration,
}

impl Asking<'_> {
    async fn step(&self, candidate: Candidate) -> Step {
        let mut queries = Vec::new();
        for qtype in self.types {
            let evaluated = match self.evaluator {
                Some(evaluator) => Some(evaluator.ask(&candidate.name, *qtype).await),
                None => None,
            };
            let asked = match self.server {
                Some(server) => Some(self.ask(server, &candidate.name, *qtype).await),
                None => None,
            };
            queries.push(Query::new(*qtype, evaluated, asked));
        }
        Step {
            name: candidate.name.to_string(),
            domain: candidate.domain.as_ref().map(ToString::to_string),
            queries,
            candidate,
        }
    }

    async fn ask(&self, server: SocketAddr, name: &NameBuf, qtype: u16) -> Asked {
        let query = ask::query(name.name(), qtype, Some(UDP_SIZE));
        let answer = match ask::ask(server, &query, Transport::Either, self.bound).await {
            Ok(answer) => answer,
            Err(error) => return Asked::Error(error.to_string()),
        };
        let mut request = Request::new();
        request.ask(0, name.name(), qtype);
        match Answer::read(&answer.message, &request, answer.elapsed, answer.tcp) {
            Ok(answer) => Asked::Answer(answer),
            Err(error) => Asked::Error(format!("the answer is malformed: {error}")),
        }
    }
}

impl Report {
    fn new(options: &Options, resolver: &Resolver, steps: Vec<Step>) -> Self {
        let last = steps.last();
        let answers = last.map(Step::answers).unwrap_or_default();
        let resolves = match last.map_or(Verdict::Silence, Step::verdict) {
            Verdict::Unknown => None,
            // That is about the way to the server, and not about the name.
            _ if is_silent(&steps) => None,
            _ => Some(!answers.is_empty()),
        };
        let queries = steps.iter().map(Step::spent).sum();
        let found = last.filter(|_| resolves == Some(true));
        Self {
            name: options.name.clone(),
            libc: options.libc.name(),
            resolver: resolver.describe(),
            server: None,
            corefile: None,
            resolves,
            answers,
            queries,
            queries_in_vain: queries - found.map_or(0, Step::spent),
            differs: steps
                .iter()
                .any(|step| step.queries.iter().any(|query| query.differs)),
            steps,
            advice: Vec::new(),
            notes: resolver.notes.clone(),
        }
    }
}

/// A type by its mnemonic or as `TYPE123`.
fn qtype(text: &str) -> Result<u16, String> {
    let upper = text.to_ascii_uppercase();
    let number = || upper.strip_prefix("TYPE")?.parse().ok();
    match record::type_by_name(&upper).or_else(number) {
        Some(rtype::AXFR | rtype::IXFR) => Err("a zone transfer is no lookup".to_owned()),
        Some(rtype::OPT) | None => Err("no record type: A, AAAA, SRV, PTR, TXT, …".to_owned()),
        Some(qtype) => Ok(qtype),
    }
}

/// A server's address, with a port or without.
fn server(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|ip| (ip, DNS_PORT).into());
    address
        .or_else(|_| text.parse())
        .map_err(|_| "no address: IP or IP:PORT, [IP]:PORT for IPv6".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_name() {
        for (address, name) in [
            ("10.96.0.1", "1.0.96.10.in-addr.arpa."),
            (
                "2001:db8::12",
                "2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
            ),
        ] {
            assert_eq!(reverse(address.parse().unwrap()), name);
        }
    }

    #[test]
    fn servers_and_types_are_read_as_people_write_them() {
        for (text, want) in [
            ("10.0.0.1", Some("10.0.0.1:53")),
            ("10.0.0.1:1053", Some("10.0.0.1:1053")),
            ("::1", Some("[::1]:53")),
            ("[::1]", Some("[::1]:53")),
            ("[::1]:1053", Some("[::1]:1053")),
            ("localhost", None),
            ("10.0.0.1:x", None),
        ] {
            let read = server(text).ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), want, "{text}");
        }
        for (text, want) in [
            ("a", Some(1)),
            ("SRV", Some(33)),
            ("type65280", Some(65_280)),
            ("TYPE65536", None),
            ("AXFR", None),
            ("bogus", None),
            ("", None),
        ] {
            assert_eq!(qtype(text).ok(), want, "{text}");
        }
    }
}
