//! `autopath`: walks the client's search list for it.
//!
//! ```text
//! autopath [ZONES...] RESOLV-CONF|@PLUGIN
//! ```
//!
//! A query at a name below the first domain of the client's search list is
//! the first step of a walk. Its other steps are made here: the name is tried
//! below each domain of the list and then as it is, and the first answer that
//! is no NXDOMAIN goes to the client behind a CNAME from what it asked for.
//! Where all say NXDOMAIN the client gets that of the first and walks on by
//! itself.
//!
//! RESOLV-CONF is a file that has the list in its line `search`; it is read
//! when the configuration comes into force. `@kubernetes` asks the plugin of
//! that name in the same server block for the list of each client. A client
//! whose list is not known for certain is left alone, and so is a name with
//! so many dots that the client's `ndots` has made it ask for the name as it
//! is before: what is left alone is answered as without this plugin. ZONES
//! defaults to the block's zones; queries outside of them pass.
//!
//! `coredns_autopath_success_total` counts walks that found something.

mod resolv_conf;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock, OnceLock};

use super::{Assembled, Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{AutoPather, Exchange, Next, Plugin, Search, Served, Serving};
use crate::metrics::{ByServer, Counter, Family};
use crate::wire::{Name, NameBuf, NameError, RData, Rcode, Record, Section};
use crate::zones::Zones;

pub(super) static DEFINITION: Definition = Definition {
    name: "autopath",
    parse,
};

static SUCCESSES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    let help = "Counter of requests that did autopath.";
    Family::counters("coredns_autopath_success_total", help, &["server"])
});

/// The search list of this host. Pods have it behind the cluster's domains,
/// provided that this process has the resolv.conf of its node, as the pods of
/// `dnsPolicy: Default` do.
pub(super) fn host_search() -> Vec<NameBuf> {
    let text = std::fs::read_to_string("/etc/resolv.conf");
    text.map_or_else(|_| Vec::new(), |text| resolv_conf::search(&text))
}

#[derive(Debug, Default)]
struct AutoPathSpec {
    zones: Zones,
    /// Of several directives in a block the last file and the last plugin
    /// are kept, and the plugin is asked.
    file: Option<String>,
    plugin: Option<String>,
}

fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut spec = AutoPathSpec::default();
    while words.next() {
        let args = words.remaining_args();
        let [zones @ .., list] = &args[..] else {
            return Err(words.plain_err("no resolv-conf specified"));
        };
        match list.strip_prefix('@') {
            Some(plugin) => spec.plugin = Some(plugin.to_owned()),
            None => spec.file = Some((*list).to_owned()),
        }
        spec.zones = Zones::from_args(zones, block);
    }
    Ok(Box::new(spec))
}

impl Spec for AutoPathSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let search = match &self.file {
            Some(path) => read(path)?,
            None => Vec::new(),
        };
        let lists = match self.plugin {
            None => Lists::Fixed(search),
            Some(name) => Lists::Of(name, OnceLock::new()),
        };
        let autopath = Arc::new(AutoPath {
            zones: self.zones,
            lists,
            successes: ByServer::new(),
        });
        builder.push(autopath.clone());
        let assembled = autopath.clone();
        builder.when_assembled(move |block| assembled.find_plugin(block));
        builder.on_startup(move || Box::pin(std::future::ready(autopath.check())));
        Ok(())
    }
}

fn read(path: &str) -> Result<Vec<NameBuf>, BuildError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let (quoted, reason) = (corefile::quote(path), corefile::io_message(&error));
        BuildError::new(format!("failed to parse {quoted}: open {path}: {reason}"))
    })?;
    Ok(resolv_conf::search(&text))
}

struct AutoPath {
    zones: Zones,
    lists: Lists,
    successes: ByServer<Counter>,
}

/// Where search lists come from.
enum Lists {
    /// The same for every client.
    Fixed(Vec<NameBuf>),
    /// The plugin of this name, once the chain is complete; `None` where the
    /// block has none, and then nothing is walked.
    Of(String, OnceLock<Option<Arc<dyn Plugin>>>),
}

/// A walk that begins with a query.
struct Walk<'a> {
    search: Search<'a>,
    /// How many labels the name has in front of the first domain.
    labels: usize,
}

impl AutoPath {
    fn find_plugin(&self, block: &Assembled<'_>) {
        if let Lists::Of(wanted, plugin) = &self.lists {
            let mut chain = block.chain.iter();
            let found = chain.find(|plugin| plugin.name() == wanted);
            let _ = plugin.set(found.cloned());
        }
    }

    fn check(&self) -> Result<(), BuildError> {
        match &self.lists {
            Lists::Of(name, plugin) if plugin.get().is_some_and(Option::is_some) => {
                match self.auto_pather() {
                    Some(_) => Ok(()),
                    None => Err(BuildError::new(format!(
                        "plugin/autopath: {name} does not implement the AutoPather interface"
                    ))),
                }
            }
            _ => Ok(()),
        }
    }

    fn auto_pather(&self) -> Option<&dyn AutoPather> {
        match &self.lists {
            Lists::Fixed(_) => None,
            Lists::Of(_, plugin) => plugin.get()?.as_ref()?.auto_pather(),
        }
    }

    fn search(&self, exchange: &Exchange) -> Option<Search<'_>> {
        match &self.lists {
            Lists::Of(..) => self.auto_pather()?.search(exchange),
            Lists::Fixed(domains) => {
                let (first, rest) = domains.split_first()?;
                Some(Search {
                    first: first.clone(),
                    rest,
                    ndots: None,
                })
            }
        }
    }

    fn walk(&self, exchange: &Exchange) -> Option<Walk<'_>> {
        let name = exchange.request.name();
        if !self.zones.contain(name) {
            return None;
        }
        let search = self.search(exchange)?;
        if !name.is_under(search.first.name()) {
            return None;
        }
        let labels = name.labels().count() - search.first.name().labels().count();
        // The domain itself is no name below it.
        let dots = labels.checked_sub(1)?;
        let asked_before = search.ndots.is_some_and(|ndots| dots >= ndots.into());
        (!asked_before).then_some(Walk { search, labels })
    }

    async fn serve_walk(&self, exchange: &mut Exchange, next: Next<'_>, walk: Walk<'_>) -> Served {
        let known = exchange.metadata.len();
        let first = next.serve(exchange).await;
        if !goes_on(exchange, &first) {
            self.count(exchange, &first);
            return first;
        }
        let first_reply = exchange.take_reply();
        let asked = exchange.request.qname().to_buf();
        let rest = walk.search.rest.iter().map(NameBuf::name);
        for domain in rest.chain([Name::ROOT]) {
            // What is too long for a name does not exist.
            let Ok(name) = below(asked.name(), walk.labels, domain) else {
                continue;
            };
            exchange.discard();
            exchange.metadata.truncate(known);
            exchange.request.set_qname(name.name());
            let served = next.serve(exchange).await;
            if !goes_on(exchange, &served) {
                exchange.request.set_qname(asked.name());
                match &served {
                    Ok(_) => lead_to_answer(exchange),
                    Err(_) => exchange.discard(),
                }
                self.count(exchange, &served);
                return served;
            }
        }
        exchange.discard();
        exchange.metadata.truncate(known);
        exchange.request.set_qname(asked.name());
        if let Some(reply) = first_reply.filter(|_| !says_nothing(&first)) {
            exchange.put_reply(reply);
        }
        first
    }

    fn count(&self, exchange: &Exchange, served: &Served) {
        if served.is_ok() && exchange.reply().is_some() {
            let server = exchange.block.as_ref().map_or("", |block| &block.server);
            let series = |server: &str| SUCCESSES.with(&[server]);
            self.successes.of(server, series).inc();
        }
    }
}

impl Plugin for AutoPath {
    fn name(&self) -> &'static str {
        DEFINITION.name
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        match self.walk(exchange) {
            Some(walk) => Box::pin(self.serve_walk(exchange, next, walk)),
            None => next.serve(exchange),
        }
    }
}

/// Whether the walk goes on behind a step that came to this.
fn goes_on(exchange: &Exchange, served: &Served) -> bool {
    if says_nothing(served) {
        return true;
    }
    // No reply, and no code that would make one: the client shall get none.
    let reply = exchange.reply().filter(|_| served.is_ok());
    reply.is_some_and(|reply| reply.rcode() == Rcode::NXDOMAIN)
}

/// Whether it is a code that the server would have to make a reply of.
fn says_nothing(served: &Served) -> bool {
    matches!(
        served,
        Ok(Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP)
    )
}

/// The first `labels` labels of `asked` below `domain`.
fn below(asked: Name<'_>, labels: usize, domain: Name<'_>) -> Result<NameBuf, NameError> {
    let mut name = NameBuf::new();
    let mut own = asked.labels().take(labels);
    own.try_for_each(|label| name.push_label(label))?;
    name.push_name(domain)?;
    Ok(name)
}

/// Makes the answer to another name one to the name that was asked for.
fn lead_to_answer(exchange: &mut Exchange) {
    let (request, reply) = exchange.parts_mut();
    let Some(reply) = reply else { return };
    let records = reply.to_records();
    let foreign = records.iter().find(|record| {
        record.section == Section::Answer && !record.owner.name().eq_ignore_case(request.qname())
    });
    let alias = foreign.map(|record| {
        let target = RData::Cname(record.owner.name());
        Record::new(Section::Answer, request.qname(), record.ttl, &target)
    });
    reply.clear_records();
    reply.set_question(request);
    reply.replace_records(alias.iter().chain(&records));
}
