//! A Corefile, built in this process as the server builds it, and asked.
//!
//! Nothing listens, nothing is written, and nobody is told of anything; what
//! `forward` asks, it really asks, unless it is to leave others alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corefile::SystemHost;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::report::{Corefile, Evaluated, Visit};
use super::trace::{Seen, Trace, Watched};
use crate::app::{self, StartError};
use crate::ask::{self, UDP_SIZE};
use crate::chain::{Plugin, Proto};
use crate::cli;
use crate::configuration::{Configuration, ConfigurationError, Draft};
use crate::plugin::kubernetes::store::Source;
use crate::plugin::{self, Block, BuildError, Kept, Rehearsal, Settings, UNASKED};
use crate::server::{Direct, ListenAddress, Listener, Plan};
use crate::wire::{NameBuf, Request, flags};

/// Why a Corefile cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The server would not start with it either.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The Corefile needs a cluster, and there is no way to it.
    #[error("plugin/kubernetes: {0}; --manifests or --kubeconfig take its place")]
    Cluster(String),
    /// The API server was not read in time.
    #[error("plugin/kubernetes: the cluster could not be read within `startup_timeout`{0}")]
    NotReady(&'static str),
    /// It is not clear which listener the client asks.
    #[error("the Corefile has several listeners: choose one with --listener: {0}")]
    Listeners(String),
    /// There is no such listener.
    #[error("the Corefile has no listener {0}: it has {1}")]
    NoListener(String, String),
}

impl From<ConfigurationError> for EvaluateError {
    fn from(error: ConfigurationError) -> Self {
        StartError::from(error).into()
    }
}

impl From<BuildError> for EvaluateError {
    fn from(error: BuildError) -> Self {
        StartError::from(error).into()
    }
}

/// What a Corefile says, before anything is built.
pub(super) struct Text {
    draft: Draft,
    file: String,
}

impl Text {
    /// Reads and parses the Corefile.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or does not parse.
    pub(super) fn load(conf: &str) -> Result<Self, EvaluateError> {
        let options = cli::Options {
            conf: Some(conf.to_owned()),
            ..cli::Options::default()
        };
        let text = app::load(&options)?;
        let host = SystemHost::new(|message| tracing::warn!("{message}"));
        let draft = Draft::parse(&text, &options.port, &host).map_err(StartError::from)?;
        Ok(Self {
            draft: draft.only_answers(),
            file: text.name,
        })
    }

    /// Where its first `kubernetes` has the cluster from; `None` where it has none.
    ///
    /// # Errors
    ///
    /// Where there is no way to the cluster.
    pub(super) fn cluster(&self) -> Option<Result<Source, EvaluateError>> {
        let (directive, block) = self.draft.kubernetes()?;
        let cluster = plugin::kubernetes::cluster(directive, block);
        Some(cluster.map_err(EvaluateError::Cluster))
    }

    /// The zone of its first `kubernetes`.
    pub(super) fn zone(&self) -> Option<NameBuf> {
        let (directive, block) = self.draft.kubernetes()?;
        plugin::kubernetes::zone(directive, block)
    }
}

/// How it is to be asked.
pub(super) struct How<'a> {
    pub(super) rehearsal: Rehearsal,
    /// Who asks.
    pub(super) client: IpAddr,
    /// The listener, as the Corefile's banner shows it; `None` chooses one.
    pub(super) listener: Option<&'a str>,
    /// The address that the client would ask.
    pub(super) nameserver: Option<IpAddr>,
    /// How long one answer may take.
    pub(super) bound: Duration,
}

/// A Corefile that can be asked. Needs a [`tokio::task::LocalSet`].
pub(super) struct Evaluator {
    datagrams: Direct,
    streams: Direct,
    trace: Arc<Trace>,
    client: SocketAddr,
    bound: Duration,
    /// What it is, for the report.
    pub(super) corefile: Corefile,
    /// Kept, since watches and tables live as long as it does.
    _configuration: Configuration,
}

/// From a client's ports.
const PORT: u16 = 49_152;

impl Evaluator {
    /// Builds the configuration and waits until it would serve.
    ///
    /// # Errors
    ///
    /// What keeps the server from starting with it.
    pub(super) async fn new(text: Text, how: How<'_>) -> Result<Self, EvaluateError> {
        let hint = match (&how.rehearsal.cluster, text.cluster()) {
            (None, Some(Err(error))) => return Err(error),
            (None, _) => ": --manifests or --kubeconfig take the API server's place",
            (Some(_), _) => "",
        };
        let trace = Arc::<Trace>::default();
        let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
        let watch = |block: &Block, plugin: Arc<dyn Plugin>| {
            plugins.push(plugin.clone());
            Arc::new(Watched {
                plugin,
                block: label(block).into(),
                trace: trace.clone(),
            }) as Arc<dyn Plugin>
        };
        let settings = Settings {
            rehearsal: Some(how.rehearsal),
            ..Settings::default()
        };
        let draft = text.draft.begin_with(settings);
        let mut configuration = draft.build_with(&Handle::current(), Kept::default(), watch)?;
        for hook in std::mem::take(&mut configuration.hooks.startup) {
            hook().await?;
        }
        let waits = |plugin: &Arc<dyn Plugin>| {
            plugin.name() == "kubernetes" && plugin.ready() == Some(false)
        };
        if plugins.iter().any(waits) {
            return Err(EvaluateError::NotReady(hint));
        }
        let address = choose(&configuration.plan, how.listener, how.nameserver)?;
        let direct = || {
            let none = || EvaluateError::NoListener(address.to_string(), String::new());
            Direct::new(&configuration.plan, &address).ok_or_else(none)
        };
        Ok(Self {
            datagrams: direct()?,
            streams: direct()?.over(Proto::Tcp),
            trace,
            client: (how.client, PORT).into(),
            bound: how.bound,
            corefile: Corefile {
                file: text.file,
                listener: address.to_string(),
                client: how.client.to_string(),
            },
            _configuration: configuration,
        })
    }

    /// What the server would answer.
    pub(super) async fn ask(&self, name: &NameBuf, qtype: u16) -> Evaluated {
        self.trace.take();
        let query = ask::query(name.name(), qtype, Some(UDP_SIZE));
        let mut reply = Vec::new();
        let start = Instant::now();
        let mut tcp = false;
        let asked = timeout(self.bound, async {
            self.datagrams.answer(self.client, &query, &mut reply).await;
            if is_truncated(&reply) {
                tcp = true;
                self.trace.take();
                self.streams.answer(self.client, &query, &mut reply).await;
            }
        });
        let late = asked.await.is_err();
        let mut evaluated = who(self.trace.take());
        if late {
            evaluated.why = Some(format!("no answer within {:?}", self.bound));
            return evaluated;
        }
        if reply.is_empty() {
            let dropped = || "the query is dropped".to_owned();
            evaluated.why.get_or_insert_with(dropped);
            return evaluated;
        }
        let mut request = Request::new();
        request.ask(0, name.name(), qtype);
        match Answer::read(&reply, &request, start.elapsed(), tcp) {
            Ok(answer) => evaluated.answer = Some(answer),
            Err(error) => evaluated.why = Some(format!("the answer is malformed: {error}")),
        }
        evaluated
    }
}

/// Who answered: of the plugins that the client's own query came to the last one.
fn who(seen: Seen) -> Evaluated {
    let last = seen.visits.iter().rfind(|visit| visit.depth == 0);
    let Some(last) = last else {
        return Evaluated {
            why: Some("no server block is for this name".to_owned()),
            ..Evaluated::default()
        };
    };
    let nobody = |failure: &String| failure.ends_with(NOBODY);
    let nobody = last.failure.as_ref().is_some_and(nobody);
    let unasked = |visit: &Visit| visit.failure.as_deref() == Some(UNASKED);
    let not_asked = seen.visits.iter().any(unasked);
    Evaluated {
        answer: None,
        block: Some(last.block.clone()),
        plugin: (!nobody).then_some(last.plugin),
        why: match nobody {
            true => Some("no plugin of the block is for this name".to_owned()),
            false => last.why.clone(),
        },
        cause: seen.cause.map(|cause| cause.as_str()),
        near: seen.near,
        not_asked,
        visits: seen.visits,
    }
}

/// How the failure of a chain ends in which nobody answers.
const NOBODY: &str = "no next plugin found";

fn is_truncated(reply: &[u8]) -> bool {
    let bits = reply.get(2..4).and_then(|bits| bits.first_chunk::<2>());
    bits.is_some_and(|bits| u16::from_be_bytes(*bits) & flags::TC != 0)
}

/// A block as its first key and where that stands: `.:53 (Corefile:1)`.
fn label(block: &Block) -> String {
    let Some(first) = block.keys.first() else {
        return String::new();
    };
    let more = match block.keys.len() {
        1 => "",
        _ => " …",
    };
    format!(
        "{}{more} ({}:{})",
        first.key.text,
        first.key.file(),
        first.key.line
    )
}

/// The listener that the client asks: the one that is named; else the one with
/// the address that it would ask; else the only one, or the one of all
/// addresses on port 53.
fn choose(
    plan: &Plan,
    named: Option<&str>,
    nameserver: Option<IpAddr>,
) -> Result<ListenAddress, EvaluateError> {
    let all: Vec<&ListenAddress> = plan.listeners().map(Listener::address).collect();
    let names = || {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let find = |fits: &dyn Fn(&ListenAddress) -> bool| {
        all.iter().find(|address| fits(address)).copied().cloned()
    };
    if let Some(named) = named {
        let found = find(&|address| address.to_string() == named);
        return found.ok_or_else(|| EvaluateError::NoListener(named.to_owned(), names()));
    }
    let own =
        find(&|address| address.port == 53 && address.ip.is_some_and(|ip| Some(ip) == nameserver));
    if let Some(own) = own {
        return Ok(own);
    }
    if let [only] = *all {
        return Ok(only.clone());
    }
    let usual = find(&|address| *address == ListenAddress::any(53));
    usual.ok_or_else(|| EvaluateError::Listeners(names()))
}
