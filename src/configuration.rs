//! From the text of a Corefile to a plan that can be served.
//!
//! A [`Draft`] is what the text says: parsed, every directive understood,
//! nothing opened. [`Draft::build`] makes it real, block by block, each
//! directive in the order of the chain.

mod history;
mod listen;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use corefile::key::{Overlap, Transport, ZoneKey};
use corefile::{Corefile, Directive, Error, Host, ServerBlock};
use sha2::{Digest, Sha512};
use tokio::runtime::Handle;

use crate::chain::{Chain, Plugin};
use crate::plugin::{
    self, Assembled, AssembledHook, Block, Builder, Definition, Hooks, Kept, ORDER, Settings, Spec,
};
use crate::server::{self, ListenAddress, Plan};

pub use history::{History, InForce, Outline, Reload};

/// The text of a Corefile and the name that its errors give it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Text {
    /// The value of `-conf`, verbatim.
    pub name: String,
    /// What the file holds.
    pub text: String,
}

impl Text {
    /// What is served where there is no Corefile, or an empty one.
    pub fn default_for(port: &str) -> Self {
        Self {
            name: "Corefile".to_owned(),
            text: format!(".:{port} {{\nwhoami\nlog\n}}\n"),
        }
    }

    /// The SHA-512 by which `reload` tells whether anything has changed, in
    /// hexadecimal; CoreDNS has the same for the same text.
    ///
    /// # Errors
    ///
    /// Where the text does not parse. Any name passes for a directive here.
    pub fn hash(&self, host: &dyn Host) -> Result<String, Error> {
        let corefile = corefile::parse(&self.name, &self.text, &[], host)?;
        let digest = Sha512::digest(corefile.canonical_json());
        Ok(digest.iter().fold(String::new(), |mut text, octet| {
            // Writing to a string does not fail.
            let _ = write!(text, "{octet:02x}");
            text
        }))
    }
}

/// Directives that have no part in what is answered to a query for records.
const BESIDE: [&str; 14] = [
    "reload",
    "ready",
    "health",
    "pprof",
    "prometheus",
    "errors",
    "log",
    "dnstap",
    "trace",
    "transfer",
    "loop",
    "sign",
    "console",
    "probe",
];

/// What a Corefile says.
#[derive(Debug)]
pub struct Draft {
    blocks: Vec<BlockDraft>,
    /// What every block begins with.
    settings: Settings,
}

#[derive(Debug)]
struct BlockDraft {
    block: Block,
    bind: Option<Directive>,
    kubernetes: Option<Directive>,
    /// By place in [`ORDER`].
    specs: Vec<Option<Box<dyn Spec>>>,
}

/// A configuration that is ready to be served.
pub struct Configuration {
    /// What is served.
    pub plan: Plan,
    /// What its plugins do when it begins and ends.
    pub hooks: Hooks,
    /// What the next configuration may take over.
    pub kept: Kept,
    /// How often the Corefile is looked at (`reload`).
    pub reload: Option<Duration>,
    /// Whether any block says `debug`.
    pub debug: bool,
    /// Its server blocks, for people.
    pub blocks: Vec<Outline>,
}

/// Why a Corefile cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It does not say anything that could be.
    #[error(transparent)]
    Corefile(#[from] Error),
    /// A plugin cannot do what it says.
    #[error("plugin/{0}: {1}")]
    Plugin(&'static str, plugin::BuildError),
    /// An address in a `bind` makes no sense.
    #[error(transparent)]
    Listen(#[from] listen::AddressError),
}

impl Draft {
    /// Reads a Corefile. `port` is that of plain DNS keys without one.
    ///
    /// # Errors
    ///
    /// The first mistake, in the order in which CoreDNS comes upon them:
    /// grammar, keys, then directive by directive in the order of the chain.
    pub fn parse(text: &Text, port: &str, host: &dyn Host) -> Result<Self, Error> {
        let names = ORDER.map(|(name, _)| name);
        let mut corefile = corefile::parse(&text.name, &text.text, &names, host)?;
        if corefile.blocks.is_empty() {
            let text = Text::default_for(port);
            corefile = corefile::parse(&text.name, &text.text, &names, host)?;
        }
        let keys = inspect(&corefile, port)?;
        let alone = keys.len() == 1;
        let blocks = keys.into_iter().map(|keys| BlockDraft {
            block: Block {
                alone,
                ..Block::new(keys)
            },
            bind: None,
            kubernetes: None,
            specs: Vec::with_capacity(ORDER.len()),
        });
        let mut draft = Self {
            blocks: blocks.collect(),
            settings: Settings::default(),
        };
        for (name, definition) in ORDER {
            for (source, block) in corefile.blocks.iter().zip(&mut draft.blocks) {
                block.read(source, name, definition)?;
            }
        }
        let keys = draft.blocks.iter().flat_map(|block| &block.block.keys);
        keys.into_iter().try_for_each(served)?;
        Ok(draft)
    }

    /// Has every block begin with these settings.
    #[must_use]
    pub fn begin_with(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Leaves out the directives that have no part in what is answered: they
    /// listen, log, or speak on their own.
    #[must_use]
    pub fn only_answers(mut self) -> Self {
        for block in &mut self.blocks {
            let words = ORDER.iter().zip(&mut block.specs);
            let beside = words.filter(|((name, _), _)| BESIDE.contains(name));
            beside.for_each(|(_, spec)| *spec = None);
        }
        self
    }

    /// The first `kubernetes`, and the block that it stands in.
    pub fn kubernetes(&self) -> Option<(&Directive, &Block)> {
        let mut blocks = self.blocks.iter();
        blocks.find_map(|draft| Some((draft.kubernetes.as_ref()?, &draft.block)))
    }

    /// Makes it real: files, watches, HTTP endpoints, but no socket of DNS.
    ///
    /// # Errors
    ///
    /// Whatever cannot be had, and zones that are served twice.
    pub fn build(self, control: &Handle, kept: Kept) -> Result<Configuration, ConfigurationError> {
        self.build_with(control, kept, |_, plugin| plugin)
    }

    /// The same, with each stage of each block's chain as `wrap` returns it.
    ///
    /// # Errors
    ///
    /// As [`Draft::build`].
    pub fn build_with(
        self,
        control: &Handle,
        kept: Kept,
        wrap: impl FnMut(&Block, Arc<dyn Plugin>) -> Arc<dyn Plugin>,
    ) -> Result<Configuration, ConfigurationError> {
        let mut work = Work::new(self, kept);
        for (index, (name, _)) in ORDER.iter().enumerate() {
            work.directive(index, name, control)?;
        }
        work.finish(wrap)
    }

    /// What each block would do, for people.
    ///
    /// # Errors
    ///
    /// Zones that are served twice, and addresses that make no sense.
    pub fn describe(&self) -> Result<String, ConfigurationError> {
        let mut overlap = Overlap::default();
        let mut text = String::new();
        for draft in &self.blocks {
            let hosts = match &draft.bind {
                Some(directive) => plugin::bind_hosts(directive)
                    .map_err(|error| ConfigurationError::Plugin("bind", error))?,
                None => Vec::new(),
            };
            let addresses = listen::addresses(&draft.block, &hosts, false, &mut overlap)?;
            let zones: Vec<&str> = draft.block.keys.iter().map(|key| &*key.zone).collect();
            let mut places: Vec<String> = addresses
                .iter()
                .map(|(address, _)| address.to_string())
                .collect();
            places.dedup();
            let words = draft.directives();
            let does = match words.is_empty() {
                true => "refuse every query".to_owned(),
                false => words.join(", "),
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} on {}: {does}", zones.join(" "), places.join(" "));
        }
        Ok(text)
    }
}

/// The zones of each block. A port from the command line that is none shows
/// as it does in CoreDNS: as part of the zone.
fn inspect(corefile: &Corefile, port: &str) -> Result<Vec<Vec<ZoneKey>>, Error> {
    let number = port.parse::<u16>().map_err(|_| {
        Error::plain(format!("address {port}: invalid port"))
            .help("-dns.port and -p take a number from 0 to 65535")
    })?;
    corefile::key::inspect(corefile, number)
}

fn served(key: &ZoneKey) -> Result<(), Error> {
    if key.transport == Transport::Dns {
        return Ok(());
    }
    let message = format!(
        "{}:{} - Error during parsing: {}:// is not supported yet",
        key.key.file(),
        key.key.line,
        key.transport
    );
    Err(Error::plain(message)
        .at(&key.key)
        .help("plain DNS over UDP and TCP is: leave the scheme out"))
}

impl BlockDraft {
    fn read(
        &mut self,
        source: &ServerBlock,
        name: &'static str,
        definition: Option<&Definition>,
    ) -> Result<(), Error> {
        let Some(directive) = source.directive(name) else {
            self.specs.push(None);
            return Ok(());
        };
        let Some(definition) = definition else {
            let mut words = directive.dispenser();
            words.next();
            return Err(words.err(format!("directive '{name}' is not supported yet")));
        };
        let spec = (definition.parse)(directive, &self.block);
        self.specs
            .push(Some(spec.map_err(|error| error.in_plugin(name))?));
        match name {
            "bind" => self.bind = Some(directive.clone()),
            "kubernetes" => self.kubernetes = Some(directive.clone()),
            _ => {}
        }
        Ok(())
    }

    /// What stands in it, in the order of the chain.
    fn directives(&self) -> Vec<&'static str> {
        let words = ORDER.iter().zip(&self.specs);
        let words = words.filter(|(_, spec)| spec.is_some());
        words.map(|((name, _), _)| *name).collect()
    }
}

/// A configuration under construction.
struct Work {
    drafts: Vec<BlockDraft>,
    parts: Vec<Part>,
    hooks: Hooks,
    kept: Kept,
}

/// What a block has become so far.
#[derive(Default)]
struct Part {
    directives: Vec<&'static str>,
    settings: Settings,
    chain: Vec<Arc<dyn Plugin>>,
    assembled: Vec<AssembledHook>,
}

impl Work {
    fn new(draft: Draft, kept: Kept) -> Self {
        Self {
            parts: (draft.blocks.iter())
                .map(|block| Part {
                    directives: block.directives(),
                    settings: draft.settings.clone(),
                    ..Part::default()
                })
                .collect(),
            drafts: draft.blocks,
            hooks: Hooks::default(),
            kept,
        }
    }

    /// Builds one directive in every block that has it.
    fn directive(
        &mut self,
        index: usize,
        name: &'static str,
        control: &Handle,
    ) -> Result<(), ConfigurationError> {
        for (draft, part) in self.drafts.iter_mut().zip(&mut self.parts) {
            let Some(spec) = draft.specs.get_mut(index).and_then(Option::take) else {
                continue;
            };
            let mut builder = Builder::new(
                &draft.block,
                &mut part.settings,
                control,
                &mut self.kept,
                &mut part.chain,
                &mut self.hooks,
            );
            spec.build(&mut builder)
                .map_err(|error| ConfigurationError::Plugin(name, error))?;
            part.assembled.append(&mut self.hooks.assembled);
        }
        Ok(())
    }

    fn finish(
        self,
        mut wrap: impl FnMut(&Block, Arc<dyn Plugin>) -> Arc<dyn Plugin>,
    ) -> Result<Configuration, ConfigurationError> {
        let mut overlap = Overlap::default();
        let mut order = Vec::new();
        let mut listeners: HashMap<ListenAddress, Vec<server::Block>> = HashMap::new();
        let mut reload = None;
        let mut blocks = Vec::new();
        let debug = self.parts.iter().any(|part| part.settings.debug);
        for (draft, part) in self.drafts.iter().zip(self.parts) {
            let settings = part.settings;
            reload = settings.reload.or(reload);
            let filtered = settings.view.is_some();
            let found = listen::addresses(&draft.block, &settings.hosts, filtered, &mut overlap)?;
            let servers: Vec<String> = found
                .iter()
                .map(|(address, _)| format!("dns://{address}"))
                .collect();
            let assembled = Assembled {
                block: &draft.block,
                chain: &part.chain,
                servers: &servers,
                view: settings.view.as_ref().map_or("", |view| &view.name),
            };
            part.assembled.into_iter().for_each(|hook| hook(&assembled));
            let view = assembled.view.to_owned();
            let chain = part.chain.into_iter();
            let chain: Chain = chain.map(|plugin| wrap(&draft.block, plugin)).collect();
            blocks.push(Outline {
                zones: draft
                    .block
                    .keys
                    .iter()
                    .map(|key| key.zone.clone())
                    .collect(),
                view,
                servers,
                directives: part.directives,
                chain: chain.clone(),
            });
            for (address, zones) in found {
                if !listeners.contains_key(&address) {
                    order.push(address.clone());
                }
                listeners.entry(address).or_default().push(server::Block {
                    zones,
                    chain: chain.clone(),
                    view: settings.view.clone(),
                    debug: settings.debug,
                    stacktrace: settings.stacktrace,
                });
            }
        }
        let listeners = order
            .into_iter()
            .filter_map(|address| listeners.remove_entry(&address));
        Ok(Configuration {
            plan: Plan::new(listeners),
            hooks: self.hooks,
            kept: self.kept,
            reload,
            debug,
            blocks,
        })
    }
}

#[cfg(test)]
mod tests;
