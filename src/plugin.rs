//! The plugins: one file or folder per Corefile directive, and the one ordered list of them all.
//!
//! A directive becomes a stage of the chain in two steps. `parse` is pure: it
//! turns tokens into a [`Spec`], what the user wrote, or an error worth
//! reading. [`Spec::build`] opens files and starts watches, and either
//! contributes to the block under construction or fails, and then nothing of
//! the new configuration comes into force.
//!
//! Adding a plugin touches its own file and one line of [`ORDER`].

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use corefile::key::ZoneKey;
use tokio_util::task::AbortOnDropHandle;

use crate::chain::Plugin;
use crate::configuration::History;
pub use crate::server::View;
use crate::server::socket::{Opener, System};
use crate::wire::NameBuf;
pub use cache::dump::{dump_caches, warm_caches};
pub use forward::{
    Destination, destination as forward_destination, upstreams as forward_upstreams,
};
pub use unasked::UNASKED;

mod acl;
mod autopath;
mod bind;
mod bufsize;
mod cache;
mod chaos;
mod console;
mod debug;
mod errors;
mod forward;
mod health;
mod hosts;
pub mod kubernetes;
mod loadbalance;
mod log;
mod r#loop;
mod minimal;
mod probe;
mod prometheus;
mod ready;
mod reload;
mod rewrite;
mod root;
mod secondary;
mod template;
#[cfg(test)]
mod testing;
mod transfer;
mod unasked;
mod whoami;
mod zone;

#[cfg(fuzzing)]
pub use secondary::fuzz_transfer;

/// A directive that Pando implements.
#[derive(Debug)]
pub struct Definition {
    /// The word in the Corefile.
    pub name: &'static str,
    /// Reads all occurrences of the directive in one server block. The error
    /// needs no `plugin/NAME: ` in front: the caller adds it.
    pub parse: fn(&corefile::Directive, &Block) -> Parsed,
}

/// What the user wrote, or why it cannot be meant.
pub type Parsed = Result<Box<dyn Spec>, corefile::Error>;

/// What a directive says, before anything was opened or looked up.
pub trait Spec: fmt::Debug + Send {
    /// Makes it real.
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError>;
}

/// Every directive of CoreDNS 1.14.7 in the order of its chain (plugin.cfg),
/// and `console` and `probe`, which have no place in the chain.
///
/// `None`: known, refused by name as not supported yet.
pub static ORDER: [(&str, Option<&Definition>); 62] = [
    ("root", Some(&root::DEFINITION)),
    ("metadata", None),
    ("geoip", None),
    ("cancel", None),
    ("proxyproto", None),
    ("quic", None),
    ("grpc_server", None),
    ("https", None),
    ("https3", None),
    ("timeouts", None),
    ("multisocket", None),
    ("reload", Some(&reload::DEFINITION)),
    ("nsid", None),
    ("bufsize", Some(&bufsize::DEFINITION)),
    ("bind", Some(&bind::DEFINITION)),
    ("debug", Some(&debug::DEFINITION)),
    ("trace", None),
    ("ready", Some(&ready::DEFINITION)),
    ("health", Some(&health::DEFINITION)),
    ("probe", Some(&probe::DEFINITION)),
    ("pprof", None),
    ("shed", None),
    ("prometheus", Some(&prometheus::DEFINITION)),
    ("console", Some(&console::DEFINITION)),
    ("errors", Some(&errors::DEFINITION)),
    ("log", Some(&log::DEFINITION)),
    ("dnstap", None),
    ("local", None),
    ("dns64", None),
    ("any", None),
    ("chaos", Some(&chaos::DEFINITION)),
    ("loadbalance", Some(&loadbalance::DEFINITION)),
    ("tsig", None),
    ("rewrite", Some(&rewrite::DEFINITION)),
    ("autopath", Some(&autopath::DEFINITION)),
    ("acl", Some(&acl::DEFINITION)),
    ("cache", Some(&cache::DEFINITION)),
    ("header", None),
    ("dnssec", None),
    ("tls", None),
    ("minimal", Some(&minimal::DEFINITION)),
    ("template", Some(&template::DEFINITION)),
    ("transfer", Some(&transfer::DEFINITION)),
    ("hosts", Some(&hosts::DEFINITION)),
    ("route53", None),
    ("azure", None),
    ("clouddns", None),
    ("k8s_external", None),
    ("kubernetes", Some(&kubernetes::DEFINITION)),
    ("file", None),
    ("auto", None),
    ("secondary", Some(&secondary::DEFINITION)),
    ("etcd", None),
    ("loop", Some(&r#loop::DEFINITION)),
    ("forward", Some(&forward::DEFINITION)),
    ("grpc", None),
    ("erratic", None),
    ("whoami", Some(&whoami::DEFINITION)),
    ("on", None),
    ("sign", None),
    ("view", None),
    ("nomad", None),
];

/// The addresses that a `bind` directive stands for here and now.
///
/// # Errors
///
/// A word that is neither an address nor an interface.
pub fn bind_hosts(directive: &corefile::Directive) -> Result<Vec<String>, BuildError> {
    bind::hosts(directive)
}

/// The server block that a directive stands in, as far as parsing may know it.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Its zones, lower case, in the order of the keys.
    pub zones: Vec<NameBuf>,
    /// Its keys; as text they are what CoreDNS's plugins see: `dns://example.org.:53`.
    pub keys: Vec<ZoneKey>,
    /// Whether it is the only block of the Corefile.
    pub alone: bool,
}

impl Block {
    /// A block with these keys, among others.
    pub fn new(keys: Vec<ZoneKey>) -> Self {
        let zones = parse_zones(keys.iter().map(|key| key.zone.as_str()));
        Self {
            zones,
            keys,
            alone: false,
        }
    }

    /// The zones of a plugin: its arguments, or without any the block's own.
    /// Arguments that are no zones are left out, as in CoreDNS.
    pub fn origins(&self, args: &[&str]) -> Vec<NameBuf> {
        let origins = corefile::key::origins(args, &self.keys);
        parse_zones(origins.iter().map(String::as_str))
    }
}

/// Zones in wire form. What the Corefile takes for a zone can have octets
/// beyond the 255 of a name once escapes are resolved; no query can be for it.
fn parse_zones<'a>(zones: impl Iterator<Item = &'a str>) -> Vec<NameBuf> {
    zones.filter_map(|zone| zone.parse().ok()).collect()
}

/// Settings of a server block that directives without a place in the chain make.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses to listen on (`bind`); empty means all.
    pub hosts: Vec<String>,
    /// Where relative file names begin (`root`); empty is the working directory.
    pub root: PathBuf,
    /// Whether panics go through and debug lines are logged (`debug`).
    pub debug: bool,
    /// Whether a recovered panic is logged with its stack (`errors`).
    pub stacktrace: bool,
    /// Which queries the block takes (`view`); `None` takes all.
    pub view: Option<View>,
    /// How often the Corefile is looked at (`reload`); `None` is never.
    pub reload: Option<Duration>,
    /// Whether `cache` cuts beneath what is denied where it does not say.
    pub cut: bool,
    /// What is different where the configuration is only asked what it would
    /// answer.
    pub rehearsal: Option<Rehearsal>,
}

/// A configuration that serves nobody: it keeps no files, and may have its
/// cluster from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Rehearsal {
    /// In the place of the API servers and manifests that the Corefile names.
    pub cluster: Option<kubernetes::store::Source>,
    /// Whether upstreams and primaries are left alone; see [`UNASKED`].
    pub offline: bool,
}

impl Settings {
    /// Whether other servers are left alone.
    pub fn is_offline(&self) -> bool {
        let rehearsal = self.rehearsal.as_ref();
        rehearsal.is_some_and(|rehearsal| rehearsal.offline)
    }

    /// A file name of the Corefile as one to open.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        // An absolute path replaces the root, as in CoreDNS.
        self.root.join(path)
    }
}

/// A server block under construction, and what it may ask of the process.
pub struct Builder<'a> {
    /// The block's zones and keys.
    pub block: &'a Block,
    /// The block's settings so far: directives are built in the order of [`ORDER`].
    pub settings: &'a mut Settings,
    /// The runtime for watches, timers and HTTP; never a worker's.
    pub control: &'a tokio::runtime::Handle,
    /// What outlives a reload, by name: the old configuration's and the new one's.
    pub kept: &'a mut Kept,
    chain: &'a mut Vec<Arc<dyn Plugin>>,
    hooks: &'a mut Hooks,
}

impl<'a> Builder<'a> {
    /// Begins a block.
    pub fn new(
        block: &'a Block,
        settings: &'a mut Settings,
        control: &'a tokio::runtime::Handle,
        kept: &'a mut Kept,
        chain: &'a mut Vec<Arc<dyn Plugin>>,
        hooks: &'a mut Hooks,
    ) -> Self {
        Self {
            block,
            settings,
            control,
            kept,
            chain,
            hooks,
        }
    }

    /// Appends a stage to the block's chain.
    pub fn push(&mut self, plugin: Arc<dyn Plugin>) {
        self.chain.push(plugin);
    }

    /// Runs when the block's chain is complete, before any hook.
    pub fn when_assembled(&mut self, hook: impl FnOnce(&Assembled<'_>) + Send + 'static) {
        self.hooks.assembled.push(Box::new(hook));
    }

    /// Runs before any socket is opened; an error keeps the configuration from coming into force.
    pub fn on_startup(&mut self, hook: impl FnOnce() -> HookFuture + Send + 'static) {
        self.hooks.startup.push(Box::new(hook));
    }

    /// Runs once the configuration is in force and its sockets are open.
    pub fn on_started(&mut self, hook: impl FnOnce() -> HookFuture + Send + 'static) {
        self.hooks.started.push(Box::new(hook));
    }

    /// Runs as soon as the process is told to end, before anything stops.
    pub fn on_ending(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.ending.push(Box::new(hook));
    }

    /// Runs when this configuration ends: at a reload and at the end of the process.
    pub fn on_shutdown(&mut self, hook: impl FnOnce() -> HookFuture + Send + 'static) {
        self.hooks.shutdown.push(Box::new(hook));
    }

    /// Does work that may block once in every `period`, the first time after
    /// one, until this configuration ends or is given up before it came into
    /// force.
    pub fn repeat(&mut self, period: Duration, work: impl Fn() + Send + Sync + 'static) {
        let work = Arc::new(work);
        let task = self.control.spawn(async move {
            let mut ticks = tokio::time::interval(period);
            // The first tick comes at once.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let work = Arc::clone(&work);
                // A panic there must not end it all; it is logged.
                let _ = tokio::task::spawn_blocking(move || work()).await;
            }
        });
        // Ends with the hook, too, when that never runs.
        let task = AbortOnDropHandle::new(task);
        self.on_shutdown(move || {
            drop(task);
            Box::pin(std::future::ready(Ok(())))
        });
    }

    /// Runs at the end of the process only, behind the shutdown hooks, in the order of [`ORDER`].
    pub fn on_final_shutdown(&mut self, hook: impl FnOnce() -> HookFuture + Send + 'static) {
        self.hooks.final_shutdown.push(Box::new(hook));
    }
}

/// What a hook does, off the workers.
pub type HookFuture = Pin<Box<dyn Future<Output = Result<(), BuildError>> + Send>>;
type Hook = Box<dyn FnOnce() -> HookFuture + Send>;
/// What a plugin does with the block that it has become a part of.
pub type AssembledHook = Box<dyn FnOnce(&Assembled<'_>) + Send>;

/// A server block whose chain is complete.
pub struct Assembled<'a> {
    /// Its zones and keys.
    pub block: &'a Block,
    /// The plugins that answer its queries, first to last.
    pub chain: &'a [Arc<dyn Plugin>],
    /// The listeners that it is served on, as the `server` label of metrics.
    pub servers: &'a [String],
    /// The name of its view; empty where there is none.
    pub view: &'a str,
}

/// What happens when a configuration begins and ends; each list runs in order.
#[derive(Default)]
pub struct Hooks {
    /// When the block's chain is complete; the server takes these per block.
    pub assembled: Vec<AssembledHook>,
    /// When the process is told to end.
    pub ending: Vec<Box<dyn FnOnce() + Send>>,
    /// Before sockets are opened.
    pub startup: Vec<Hook>,
    /// After sockets were opened.
    pub started: Vec<Hook>,
    /// At a reload and at the end.
    pub shutdown: Vec<Hook>,
    /// At the end only.
    pub final_shutdown: Vec<Hook>,
}

/// Things that a new configuration takes over from the old one instead of
/// making them again: watches, HTTP listeners.
pub struct Kept {
    opener: Arc<dyn Opener>,
    history: Arc<History>,
    old: HashMap<String, Arc<dyn Any + Send + Sync>>,
    new: HashMap<String, Arc<dyn Any + Send + Sync>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self::new(Arc::new(System))
    }
}

impl Kept {
    /// Nothing yet, for the first configuration; listeners come from `opener`.
    pub fn new(opener: Arc<dyn Opener>) -> Self {
        Self {
            opener,
            history: Arc::default(),
            old: HashMap::new(),
            new: HashMap::new(),
        }
    }

    /// What the next configuration may take over from this one.
    /// This one still holds it, in case the next does not come into force.
    pub fn next(&self) -> Self {
        Self {
            opener: self.opener.clone(),
            history: self.history.clone(),
            old: self.new.clone(),
            new: HashMap::new(),
        }
    }

    /// Lets go of what this configuration has not taken over.
    pub fn settle(&mut self) {
        self.old.clear();
    }

    /// Who opens the listeners of this process.
    pub fn opener(&self) -> Arc<dyn Opener> {
        self.opener.clone()
    }

    /// What has become of the Corefiles of this process.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Gives the configuration under construction a thing as if one before it had had it.
    pub fn offer<T: Any + Send + Sync>(&mut self, key: &str, thing: Arc<T>) {
        self.old.insert(key.to_owned(), thing);
    }

    /// The thing called `key` that this configuration or the one before has.
    pub fn find<T: Any + Send + Sync>(&self, key: &str) -> Option<Arc<T>> {
        let found = self.new.get(key).or_else(|| self.old.get(key));
        found.cloned().and_then(|thing| thing.downcast().ok())
    }

    /// The thing called `key`: the one this configuration or the one before
    /// has, else a new one. `key` must hold all that tells two of them apart.
    pub fn take_or<T: Any + Send + Sync, E>(
        &mut self,
        key: &str,
        make: impl FnOnce() -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let thing = match self.find(key) {
            Some(thing) => thing,
            None => make()?,
        };
        self.new.insert(key.to_owned(), thing.clone());
        Ok(thing)
    }

    /// Keeps a thing for this configuration and the next.
    pub fn put<T: Any + Send + Sync>(&mut self, key: &str, thing: Arc<T>) {
        self.new.insert(key.to_owned(), thing);
    }

    /// The thing called `key` that the blocks of this configuration share; it
    /// is made anew for each configuration.
    pub fn share<T: Any + Send + Sync>(&mut self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let found = self.new.get(key).cloned();
        let thing = match found.and_then(|thing| thing.downcast::<T>().ok()) {
            Some(thing) => thing,
            None => Arc::new(make()),
        };
        self.new.insert(key.to_owned(), thing.clone());
        thing
    }
}

/// Why a directive that parses cannot come into force.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub String);

impl BuildError {
    /// An error with CoreDNS's words where CoreDNS has any.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
