//! `ready`: `/ready` says whether all plugins can answer.
//!
//! ```text
//! ready [ADDRESS] {
//!     monitor until-ready|continuously
//! }
//! ```
//!
//! ADDRESS defaults to `:8181`. A plugin that was ready once is not asked
//! again (`until-ready`, the default) or asked each time (`continuously`).
//! While some are not ready the answer is 503 with their names; at the end
//! of the process it is 503 `Shutting down` at once, and the listener closes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::Plugin;
use crate::http::{self, Site};

pub(super) static DEFINITION: Definition = Definition {
    name: "ready",
    parse,
};

#[derive(Debug)]
struct ReadySpec {
    address: String,
    continuously: bool,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut spec = ReadySpec {
        address: ":8181".to_owned(),
        continuously: false,
    };
    let mut seen = false;
    while words.next() {
        if std::mem::replace(&mut seen, true) {
            return Err(words.once_err());
        }
        if let Some(given) = http::address(&mut words)? {
            spec.address = given;
        }
        while words.next_block() {
            match words.val() {
                "monitor" => {
                    let [value] = words.remaining_args()[..] else {
                        return Err(words.arg_err());
                    };
                    spec.continuously = match value {
                        "until-ready" => false,
                        "continuously" => true,
                        other => {
                            let known = ["until-ready", "continuously"];
                            let error = format!("monitor type '{other}' not supported");
                            return Err(words.err(error).suggest(&known));
                        }
                    };
                }
                _ => return Err(words.unknown_property_err(&["monitor"])),
            }
        }
    }
    Ok(Box::new(spec))
}

impl Spec for ReadySpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let site = Site::shared(builder.kept, builder.control, &self.address);
        // CoreDNS starts all the same; but a typo should not go unseen.
        let site = match site {
            Ok(site) => site,
            Err(error) => {
                tracing::error!(target: "plugin/ready", "Failed to start ready handler: {error}");
                return Ok(());
            }
        };
        let list = builder.kept.share("ready list", Readiness::default);
        if self.continuously {
            list.continuously.store(true, Ordering::Relaxed);
        }
        builder.when_assembled({
            let list = list.clone();
            move |block| list.watch(block.chain)
        });
        // At the first start it says what is waited for; at a reload the old
        // configuration speaks until the new one is in force.
        let handler: http::Handler = Arc::new({
            let list = list.clone();
            move |_| list.answer()
        });
        let route = Arc::new(site.route("/ready", handler));
        builder.on_startup({
            let route = route.clone();
            move || {
                if !route.is_served() {
                    route.serve();
                }
                Box::pin(std::future::ready(Ok(())))
            }
        });
        builder.on_started({
            let route = route.clone();
            move || {
                route.serve();
                Box::pin(std::future::ready(Ok(())))
            }
        });
        builder.on_ending(move || list.ending.store(true, Ordering::Relaxed));
        // Dropped with the hook where another configuration takes over.
        builder.on_final_shutdown(move || {
            drop(route);
            site.close_unused();
            Box::pin(std::future::ready(Ok(())))
        });
        Ok(())
    }
}

/// The plugins of all blocks with `ready`, and which of them were ready.
#[derive(Default)]
struct Readiness {
    plugins: Mutex<Vec<(Arc<dyn Plugin>, bool)>>,
    continuously: AtomicBool,
    ending: AtomicBool,
}

impl Readiness {
    fn watch(&self, chain: &[Arc<dyn Plugin>]) {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = chain.iter().filter(|plugin| plugin.ready().is_some());
        plugins.extend(asked.map(|plugin| (plugin.clone(), false)));
    }

    fn answer(&self) -> hyper::Response<http::Body> {
        if self.ending.load(Ordering::Relaxed) {
            return http::text(StatusCode::SERVICE_UNAVAILABLE, "Shutting down");
        }
        let continuously = self.continuously.load(Ordering::Relaxed);
        let mut waiting = BTreeSet::new();
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        for (plugin, was_ready) in plugins.iter_mut() {
            if *was_ready && !continuously && plugin.stays_ready() {
                continue;
            }
            *was_ready = plugin.ready() != Some(false);
            if !*was_ready {
                waiting.insert(plugin.name());
            }
        }
        drop(plugins);
        if waiting.is_empty() {
            return http::text(StatusCode::OK, "OK");
        }
        let names = Vec::from_iter(waiting).join(",");
        tracing::info!(target: "plugin/ready", "Plugins not ready: {names:?}");
        http::text(StatusCode::SERVICE_UNAVAILABLE, names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::refusal;

    #[test]
    fn setups_are_accepted_and_refused_as_coredns_does() {
        for (text, error) in [
            ("ready", ""),
            ("ready localhost:1234", ""),
            ("ready localhost:1234 {\nmonitor until-ready\n}", ""),
            ("ready {\nmonitor continuously\n}", ""),
            ("ready bla", "address bla: missing port in address"),
            (
                "ready\nready",
                "this plugin can only be used once per Server Block",
            ),
            (
                "ready a:1 b:2",
                "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'b:2'",
            ),
            (
                "ready {\nmonitor\n}",
                "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'monitor'",
            ),
            (
                "ready {\nmonitor foo\n}",
                "Corefile:2 - Error during parsing: monitor type 'foo' not supported",
            ),
            (
                "ready {\nfoo\n}",
                "Corefile:2 - Error during parsing: unknown property 'foo'",
            ),
        ] {
            assert_eq!(refusal(&DEFINITION, text), error, "{text}");
        }
    }
}
