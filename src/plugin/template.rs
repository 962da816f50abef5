//! `template`: answers with records made from the query's own name.
//!
//! ```text
//! template CLASS TYPE [ZONE…] {
//!     match REGEX…
//!     answer RR…
//!     additional RR…
//!     authority RR…
//!     rcode CODE
//!     ederror CODE [TEXT]
//!     fallthrough [ZONE…]
//!     upstream
//! }
//! ```
//!
//! A query of the class and type (`ANY`: all), in one of the zones (those of
//! the server block without any) and whose name, in lower case and with its
//! trailing dot, one of the patterns occurs in (`.*`) is answered with AA,
//! `CODE` (NOERROR) and the records that the templates of Go's
//! `text/template` write. They see `.Zone`, `.Name`, `.Class`, `.Type`,
//! `.Regex`, `.Match`, `.Group`, `.Message`, `.Question`, `.Remote` and `.Meta
//! "LABEL"`, and have `parseInt` besides Go's functions. For an A or AAAA
//! query the target of a CNAME is looked up and its records follow it.
//!
//! All templates of a server block are tried in the order of the Corefile. A
//! name that no pattern of one is about is SERVFAIL, and later templates are
//! not tried, unless `fallthrough` says otherwise. `rcode SERVFAIL` answers
//! without records. `upstream` is accepted and has no meaning.

mod data;
mod message;
mod setup;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use self::data::Data;
use super::{BuildError, Builder, Definition, Spec};
use crate::chain::{Exchange, Failure, Next, Plugin, Served, Serving};
use crate::denial::Denial;
use crate::golang::regex::Regex;
use crate::golang::template::Template as GoTemplate;
use crate::golang::value::Value;
use crate::metrics::{Counter, Family};
use crate::presentation::NameText;
use crate::presentation::record::{self, type_name};
use crate::wire::{Ede, Edns, Rcode, Record, Section, class, flags, rtype};
use crate::zones::Zones;

pub(super) static DEFINITION: Definition = Definition {
    name: "template",
    parse: setup::parse,
};

static MATCHES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_template_matches_total",
        "Counter of template regex matches.",
        &["server", "zone", "view", "class", "type"],
    )
});
static TEMPLATE_FAILURES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_template_template_failures_total",
        "Counter of go template failures.",
        &[
            "server", "zone", "view", "class", "type", "section", "template",
        ],
    )
});
static RR_FAILURES: LazyLock<Family<Counter>> = LazyLock::new(|| {
    Family::counters(
        "coredns_template_rr_failures_total",
        "Counter of mis-templated RRs.",
        &[
            "server", "zone", "view", "class", "type", "section", "template",
        ],
    )
});

/// One block.
#[derive(Debug)]
struct Template {
    class: u16,
    rtype: u16,
    zones: Zones,
    /// Tried in order; without any every name matches.
    patterns: Vec<Regex>,
    answer: Vec<GoTemplate>,
    additional: Vec<GoTemplate>,
    authority: Vec<GoTemplate>,
    rcode: Rcode,
    ederror: Option<Ede>,
    fall: Zones,
}

#[derive(Debug)]
struct TemplateSpec {
    templates: Vec<Template>,
}

impl Spec for TemplateSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.push(Arc::new(Templates::new(self.templates)));
        Ok(())
    }
}

struct Templates {
    /// Tells this list from all others of the process.
    id: u64,
    templates: Vec<Template>,
}

/// A template that a query is for.
struct Match<'a> {
    at: usize,
    template: &'a Template,
    zone: String,
    pattern: Option<&'a Regex>,
    class: &'static str,
    rtype: &'static str,
}

impl Templates {
    fn new(templates: Vec<Template>) -> Self {
        static LISTS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LISTS.fetch_add(1, Ordering::Relaxed),
            templates,
        }
    }

    /// The template that answers; `Ok(None)` where the next plugin shall, an
    /// error where none may.
    fn find(&self, exchange: &Exchange) -> Result<Option<Match<'_>>, Rcode> {
        let request = &exchange.request;
        let mut text = None;
        for (at, template) in self.templates.iter().enumerate() {
            let Some(zone) = template.zones.matching(request.name()) else {
                continue;
            };
            let fits = |own: u16, any: u16, asked: u16| own == any || asked == any || own == asked;
            if !fits(template.class, class::ANY, request.qclass())
                || !fits(template.rtype, rtype::ANY, request.qtype())
            {
                continue;
            }
            let mut pattern = None;
            if !template.patterns.is_empty() {
                let name = text.get_or_insert_with(|| NameText::new(request.name()));
                let mut patterns = template.patterns.iter();
                pattern = patterns.find(|pattern| pattern.is_match(name.as_str()));
                if pattern.is_none() {
                    if template.fall.contain(request.name()) {
                        continue;
                    }
                    return Err(Rcode::SERVFAIL);
                }
            }
            let asked_class = match request.qclass() {
                class::ANY => template.class,
                asked => asked,
            };
            let asked_type = match request.qtype() {
                rtype::ANY => template.rtype,
                asked => asked,
            };
            return Ok(Some(Match {
                at,
                template,
                zone: zone.to_string(),
                pattern,
                class: class::mnemonic(asked_class).unwrap_or_default(),
                rtype: type_name(asked_type).unwrap_or_default(),
            }));
        }
        Ok(None)
    }

    /// Counts a match. The series of a worker are at hand without a lock.
    fn count(&self, exchange: &Exchange, found: &Match<'_>) {
        type Key = (u64, u64, usize, &'static str, &'static str);
        /// More than any sane number of blocks and types; reloads leave old ones behind.
        const MOST: usize = 4096;
        thread_local! {
            static SERIES: RefCell<HashMap<Key, Counter>> = RefCell::default();
        }
        let block = exchange.block.as_ref().map_or(0, |block| block.id);
        let key = (block, self.id, found.at, found.class, found.rtype);
        SERIES.with_borrow_mut(|series| {
            if series.len() > MOST {
                series.clear();
            }
            let counter = series.entry(key).or_insert_with(|| {
                let [server, view] = server_and_view(exchange);
                MATCHES.with(&[server, &found.zone, view, found.class, found.rtype])
            });
            counter.inc();
        });
    }
}

fn server_and_view(exchange: &Exchange) -> [&str; 2] {
    let block = exchange.block.as_deref();
    block.map_or(["", ""], |block| [&block.server, &block.view])
}

impl Plugin for Templates {
    fn name(&self) -> &'static str {
        "template"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        match self.find(exchange) {
            Ok(None) => next.serve(exchange),
            Err(rcode) => Box::pin(std::future::ready(Ok(rcode))),
            Ok(Some(found)) => {
                self.count(exchange, &found);
                Box::pin(found.answer(exchange))
            }
        }
    }
}

impl Match<'_> {
    async fn answer(self, exchange: &mut Exchange) -> Served {
        let template = self.template;
        if template.rcode == Rcode::SERVFAIL {
            return Ok(Rcode::SERVFAIL);
        }
        let mut records = Vec::new();
        let mut truncated = false;
        if template.has_records() {
            let data = Data::new(
                exchange,
                self.zone.clone(),
                self.pattern,
                (self.class, self.rtype),
            );
            let data = Value::Object(Rc::new(data));
            let follows = matches!(exchange.request.qtype(), rtype::A | rtype::AAAA);
            for answer in &template.answer {
                let record = self.record(exchange, "answer", answer, &data)?;
                let alias = record.rtype == rtype::CNAME && follows;
                let target = record.target().filter(|_| alias).map(|name| name.to_buf());
                records.push(record);
                let Some(target) = target else { continue };
                let qtype = exchange.request.qtype();
                if let Some(found) = exchange.lookup(target.name(), qtype).await {
                    truncated = found.has(flags::TC);
                    let found = found.to_records().into_iter();
                    records.extend(found.filter(|record| record.section == Section::Answer));
                }
            }
            for (section, name, templates) in [
                (Section::Additional, "additional", &template.additional),
                (Section::Authority, "authority", &template.authority),
            ] {
                for template in templates {
                    let mut record = self.record(exchange, name, template, &data)?;
                    record.section = section;
                    records.push(record);
                }
            }
        }
        let reply = exchange.answer();
        reply.set_flag(flags::AA, true);
        reply.set_flag(flags::TC, truncated);
        reply.set_rcode(template.rcode);
        reply.set_denial(Denial::Blocked);
        reply.replace_records(&records);
        if let Some(ederror) = &template.ederror {
            let edns = reply.edns_or_insert(4096);
            edns.flags |= Edns::DO;
            ederror.write(edns);
        }
        Ok(template.rcode)
    }

    /// Runs one template and reads the record that it writes.
    fn record(
        &self,
        exchange: &Exchange,
        section: &'static str,
        template: &GoTemplate,
        data: &Value,
    ) -> Result<Record, Failure> {
        let failed = |family: &Family<Counter>, message: String| {
            let [server, view] = server_and_view(exchange);
            let source = template.source();
            let labels = [
                server, &self.zone, view, self.class, self.rtype, section, &source,
            ];
            family.with(&labels).inc();
            Failure::servfail(message)
        };
        let text = template
            .execute(data.clone())
            .map_err(|error| failed(&TEMPLATE_FAILURES, error.to_string()))?;
        match record::parse(&text) {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err(failed(
                &RR_FAILURES,
                format!("template: {section} is no resource record"),
            )),
            Err(error) => Err(failed(&RR_FAILURES, error.to_string())),
        }
    }
}

impl Template {
    fn has_records(&self) -> bool {
        !(self.answer.is_empty() && self.additional.is_empty() && self.authority.is_empty())
    }
}
