//! Every plugin of every chain, watched: which of them a query came to, and
//! what it came back with. So who answered is seen and not guessed.

use std::sync::{Arc, Mutex, PoisonError};

use super::answer::{printable, rcode};
use super::report::Visit;
use crate::chain::{AutoPather, Directory, Exchange, Next, Plugin, Served, Serving, Transferer};
use crate::denial::{Denial, Why};
use crate::plugin::UNASKED;
use crate::status::Status;
use crate::wire::{NameBuf, Rcode, Request, rtype};

/// What the plugins have seen of one query.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<Seen>);

/// The visits, in the order in which the query came to the plugins.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) visits: Vec<Visit>,
    /// Names that the plugins take for what was meant.
    pub(super) near: Vec<String>,
    /// Why the name is denied, as metrics count it.
    pub(super) cause: Option<Denial>,
}

impl Trace {
    /// Takes what was seen since it was last asked.
    pub(super) fn take(&self) -> Seen {
        self.with(std::mem::take)
    }

    fn with<R>(&self, act: impl FnOnce(&mut Seen) -> R) -> R {
        // Every change is whole when a panic can come.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A plugin that is watched. It does all that the plugin does.
pub(super) struct Watched {
    pub(super) plugin: Arc<dyn Plugin>,
    pub(super) block: Arc<str>,
    pub(super) trace: Arc<Trace>,
}

impl Watched {
    fn enter(&self, exchange: &Exchange) -> usize {
        let visit = Visit {
            plugin: self.plugin.name(),
            block: self.block.to_string(),
            name: exchange.request.qname().to_string(),
            rtype: rtype::display(exchange.request.qtype()).to_string(),
            depth: exchange.depth,
            rcode: None,
            why: None,
            failure: None,
        };
        self.trace.with(|seen| {
            seen.visits.push(visit);
            seen.visits.len() - 1
        })
    }

    fn leave(&self, visit: usize, exchange: &Exchange, served: &Served) {
        let code = match (exchange.reply(), served) {
            (Some(reply), _) => Some(reply.rcode()),
            (None, Err(failure)) => Some(failure.rcode),
            (None, Ok(code)) => Some(*code).filter(|code| is_answered(*code)),
        };
        let failure = served.as_ref().err();
        let failure = failure.map(|failure| printable(&failure.message));
        let why = self.plugin.why(exchange).unwrap_or_default();
        let why = match failure.as_deref() {
            Some(UNASKED) => said(UNASKED),
            Some(failure) => said(failure),
            None if why.text.is_empty() && !self.passed_on(visit, exchange) => {
                self.in_general(exchange)
            }
            None => why,
        };
        self.trace.with(|seen| {
            if exchange.depth == 0 {
                seen.cause = exchange.denial();
            }
            let Some(seen_visit) = seen.visits.get_mut(visit) else {
                return;
            };
            seen_visit.rcode = code.map(rcode);
            seen_visit.why = Some(why.text).filter(|text| !text.is_empty());
            seen_visit.failure = failure;
            for name in why.near {
                if !seen.near.contains(&name) {
                    seen.near.push(name);
                }
            }
        });
    }

    /// Whether the query went on behind this plugin, which then did not decide.
    fn passed_on(&self, visit: usize, exchange: &Exchange) -> bool {
        self.trace.with(|seen| {
            let mut behind = seen.visits.iter().skip(visit + 1);
            behind.any(|other| other.depth == exchange.depth)
        })
    }

    /// Why, as far as the plugin's name and the exchange tell.
    fn in_general(&self, exchange: &Exchange) -> Why {
        let upstream = exchange
            .metadata
            .iter()
            .find(|(label, _)| *label == "forward/upstream");
        match (self.plugin.name(), upstream) {
            ("forward", Some((_, upstream))) => said(&format!("upstream {upstream} says so")),
            ("acl", _) => said(&format!("a rule for {}", exchange.client.ip())),
            ("cache", _) => said("it is known from an earlier query"),
            ("hosts", _) => said("its table says so"),
            ("template", _) => said("a template says so"),
            _ => Why::default(),
        }
    }
}

fn said(text: &str) -> Why {
    Why {
        text: text.to_owned(),
        near: Vec::new(),
    }
}

/// Whether the server makes an answer of a code that comes without one.
fn is_answered(code: Rcode) -> bool {
    matches!(
        code,
        Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP
    )
}

impl Plugin for Watched {
    fn name(&self) -> &'static str {
        self.plugin.name()
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        Box::pin(async move {
            let visit = self.enter(exchange);
            let served = self.plugin.serve(exchange, next).await;
            self.leave(visit, exchange, &served);
            served
        })
    }

    fn reviews(&self) -> bool {
        self.plugin.reviews()
    }

    fn review(&self, exchange: &mut Exchange, served: &Served) {
        self.plugin.review(exchange, served);
    }

    fn ready(&self) -> Option<bool> {
        self.plugin.ready()
    }

    fn stays_ready(&self) -> bool {
        self.plugin.stays_ready()
    }

    fn transferer(&self) -> Option<&dyn Transferer> {
        self.plugin.transferer()
    }

    fn auto_pather(&self) -> Option<&dyn AutoPather> {
        self.plugin.auto_pather()
    }

    fn relative(&self, request: &Request) -> Option<usize> {
        self.plugin.relative(request)
    }

    fn directory(&self) -> Option<&dyn Directory> {
        self.plugin.directory()
    }

    fn live_zones(&self) -> &[NameBuf] {
        self.plugin.live_zones()
    }

    fn passed_zones(&self) -> &[NameBuf] {
        self.plugin.passed_zones()
    }

    fn why(&self, exchange: &Exchange) -> Option<Why> {
        self.plugin.why(exchange)
    }

    fn status(&self) -> Status {
        self.plugin.status()
    }

    fn metadata(&self, exchange: &Exchange, label: &str) -> Option<String> {
        self.plugin.metadata(exchange, label)
    }
}
