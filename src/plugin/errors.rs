//! `errors`: logs what went wrong with a query.
//!
//! ```text
//! errors [stdout] {
//!     stacktrace
//!     consolidate DURATION REGEXP [warning|error|info|debug] [show_first]
//! }
//! ```
//!
//! - `stdout` is the only place there is, and the default.
//! - `stacktrace`: a recovered panic is logged with its stack.
//! - `consolidate`: errors that match REGEXP (at most 10,000 octets) are
//!   counted for DURATION and logged as one line, at level `error` unless
//!   another is named. With `show_first` the first of them is logged at once.
//!   The first rule that matches decides; counts in hand are logged at the end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use corefile::duration::{self, Duration};
use tokio::runtime::Handle;
use tracing::Level;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Failure, Plugin, Served};
use crate::golang::regex::Regex;
use crate::wire::rtype;

pub(super) static DEFINITION: Definition = Definition {
    name: "errors",
    parse,
};

const TARGET: &str = "plugin/errors";
/// Octets of a pattern (plugin/errors/setup.go: `maxRegexpLen`).
const MAX_PATTERN: usize = 10_000;

#[derive(Debug)]
struct ErrorsSpec {
    stacktrace: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    period: Duration,
    pattern: Regex,
    level: Level,
    show_first: bool,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut spec = ErrorsSpec {
        stacktrace: false,
        rules: Vec::new(),
    };
    let mut seen = false;
    while words.next() {
        if std::mem::replace(&mut seen, true) {
            return Err(words.once_err());
        }
        match words.remaining_args()[..] {
            [] | ["stdout"] => {}
            [other] => return Err(words.err(format!("invalid log file: {other}"))),
            _ => return Err(words.arg_err()),
        }
        while words.next_block() {
            match words.val() {
                "stacktrace" => spec.stacktrace = true,
                "consolidate" => spec.rules.push(parse_rule(&mut words)?),
                other => {
                    let known = ["stacktrace", "consolidate"];
                    return Err(words
                        .syntax_err(&format!("Unknown field {other}"))
                        .suggest(&known));
                }
            }
        }
    }
    Ok(Box::new(spec))
}

fn parse_rule(words: &mut corefile::Dispenser<'_>) -> Result<Rule, corefile::Error> {
    let args = words.remaining_args();
    let (period, pattern, options) = match &args[..] {
        [period, pattern, options @ ..] if options.len() <= 2 => (*period, *pattern, options),
        _ => return Err(words.arg_err()),
    };
    let period = duration::parse(period).map_err(|error| words.err(error.to_string()))?;
    if pattern.len() > MAX_PATTERN {
        let len = pattern.len();
        return Err(words.err(format!("regex pattern too long: {len} > {MAX_PATTERN}")));
    }
    let pattern = Regex::new(pattern).map_err(|error| words.err(error.to_string()))?;
    let mut level = None;
    let mut show_first = false;
    for option in options {
        let named = match *option {
            "warning" => Level::WARN,
            "error" => Level::ERROR,
            "info" => Level::INFO,
            "debug" => Level::DEBUG,
            "show_first" => {
                show_first = true;
                continue;
            }
            other => {
                return Err(words.err(format!("unknown option in consolidate: {other}")));
            }
        };
        if level.is_some() {
            return Err(words.err("multiple log levels specified in consolidate"));
        }
        if show_first {
            return Err(words.err("log level must come before show_first in consolidate"));
        }
        level = Some(named);
    }
    Ok(Rule {
        period,
        pattern,
        level: level.unwrap_or(Level::ERROR),
        show_first,
    })
}

impl Spec for ErrorsSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.settings.stacktrace |= self.stacktrace;
        let consolidators = self.rules.into_iter().map(|rule| {
            Arc::new(Consolidator {
                rule,
                count: AtomicU32::new(0),
                stopped: AtomicBool::new(false),
            })
        });
        let errors = Arc::new(Errors {
            consolidators: consolidators.collect(),
            control: builder.control.clone(),
        });
        let at_end = errors.clone();
        builder.on_shutdown(move || {
            at_end.stop();
            Box::pin(std::future::ready(Ok(())))
        });
        builder.push(errors);
        Ok(())
    }
}

struct Errors {
    consolidators: Vec<Arc<Consolidator>>,
    control: Handle,
}

/// Counts the errors that one rule matches.
struct Consolidator {
    rule: Rule,
    count: AtomicU32,
    stopped: AtomicBool,
}

impl Plugin for Errors {
    fn name(&self) -> &'static str {
        "errors"
    }

    fn reviews(&self) -> bool {
        true
    }

    fn review(&self, exchange: &mut Exchange, served: &Served) {
        if let Err(failure) = served {
            self.log(exchange, failure);
        }
    }
}

impl Errors {
    fn log(&self, exchange: &Exchange, failure: &Failure) {
        let found = self
            .consolidators
            .iter()
            .find(|consolidator| consolidator.rule.pattern.is_match(&failure.message));
        let level = match found {
            Some(consolidator) if consolidator.count(&self.control) => return,
            Some(consolidator) => consolidator.rule.level,
            None => Level::ERROR,
        };
        let request = &exchange.request;
        let rcode = failure.rcode.0;
        let name = request.name();
        let qtype = rtype::display(request.qtype());
        log(level, format_args!("{rcode} {name} {qtype}: {failure}"));
    }

    fn stop(&self) {
        for consolidator in &self.consolidators {
            consolidator.stopped.store(true, Ordering::Relaxed);
            consolidator.flush();
        }
    }
}

impl Consolidator {
    /// Counts an error; `false` if it is to be logged by itself as well.
    fn count(self: &Arc<Self>, control: &Handle) -> bool {
        if self.stopped.load(Ordering::Relaxed) {
            return false;
        }
        if self.count.fetch_add(1, Ordering::Relaxed) > 0 {
            return true;
        }
        let this = self.clone();
        let period = self.rule.period.to_std().unwrap_or_default();
        control.spawn(async move {
            tokio::time::sleep(period).await;
            this.flush();
        });
        !self.rule.show_first
    }

    fn flush(&self) {
        let count = self.count.swap(0, Ordering::Relaxed);
        if count == 0 || (count == 1 && self.rule.show_first) {
            return;
        }
        let Rule {
            pattern,
            period,
            level,
            ..
        } = &self.rule;
        let pattern = pattern.as_str();
        log(
            *level,
            format_args!("{count} errors like '{pattern}' occurred in last {period}"),
        );
    }
}

/// One line at a level that the Corefile chose.
fn log(level: Level, message: fmt::Arguments<'_>) {
    match level {
        Level::ERROR => tracing::error!(target: TARGET, "{message}"),
        Level::WARN => tracing::warn!(target: TARGET, "{message}"),
        Level::INFO => tracing::info!(target: TARGET, "{message}"),
        _ => tracing::debug!(target: TARGET, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::refusal;

    #[test]
    fn setups_are_accepted_and_refused_as_coredns_does() {
        let once = "this plugin can only be used once per Server Block";
        let long = format!("errors {{\nconsolidate 1m {}\n}}", "a".repeat(10_001));
        for (text, error) in [
            ("errors", ""),
            ("errors stdout", ""),
            ("errors {\nstacktrace\n}", ""),
            ("errors {\nconsolidate 1m error\n}", ""),
            ("errors {\nconsolidate 1m error warning show_first\n}", ""),
            (
                "errors {\nconsolidate 1m a show_first\nconsolidate 1s b debug\n}",
                "",
            ),
            ("errors\nerrors", once),
            (
                "errors file",
                "Corefile:1 - Error during parsing: invalid log file: file",
            ),
            (
                "errors stdout x",
                "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'x'",
            ),
            (
                "errors {\nfoo\n}",
                "Corefile:2 - Syntax error: Unexpected token 'foo', expecting 'Unknown field foo'",
            ),
            (
                "errors {\nconsolidate\n}",
                "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'consolidate'",
            ),
            (
                "errors {\nconsolidate 1m\n}",
                "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after '1m'",
            ),
            (
                "errors {\nconsolidate 1 a\n}",
                "Corefile:2 - Error during parsing: time: missing unit in duration \"1\"",
            ),
            (
                "errors {\nconsolidate 1m a b\n}",
                "Corefile:2 - Error during parsing: unknown option in consolidate: b",
            ),
            (
                "errors {\nconsolidate 1m a info warning\n}",
                "Corefile:2 - Error during parsing: multiple log levels specified in consolidate",
            ),
            (
                "errors {\nconsolidate 1m a show_first info\n}",
                "Corefile:2 - Error during parsing: log level must come before show_first in consolidate",
            ),
            (
                &long,
                "Corefile:2 - Error during parsing: regex pattern too long: 10001 > 10000",
            ),
        ] {
            assert_eq!(refusal(&DEFINITION, text), error, "{text}");
        }
    }
}
