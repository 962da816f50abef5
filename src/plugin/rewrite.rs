//! `rewrite`: asks something else than the client did, and hides it in the answer.
//!
//! ```text
//! rewrite [continue|stop] name [exact|prefix|suffix|substring|regex] FROM TO [ANSWER…]
//!     ANSWER: answer auto | answer name REGEX TO | answer value REGEX TO
//! rewrite [continue|stop] type FROM TO
//! rewrite [continue|stop] class FROM TO
//! rewrite [continue|stop] edns0 local append|replace|set CODE DATA [revert]
//! rewrite [continue|stop] edns0 nsid append|replace|set [revert]
//! rewrite [continue|stop] edns0 subnet append|replace|set V4BITS V6BITS [revert]
//! rewrite [continue|stop] edns0 local unset CODE
//! rewrite [continue|stop] edns0 nsid|subnet unset
//! rewrite [continue|stop] ttl [exact|prefix|suffix|substring|regex] NAME TTL|MIN-MAX|MIN-|-MAX
//! rewrite [continue|stop] rcode [exact|prefix|suffix|substring|regex] NAME FROM TO
//! rewrite [continue|stop] cname [exact|prefix|suffix|substring|regex] FROM TO
//! rewrite [continue|stop] {
//!     RULE…
//! }
//! ```
//!
//! Rules are tried in the order of the Corefile until one applies that does
//! not say `continue` (the default is `stop`); a later rule sees what earlier
//! ones made of the question. A block is one rule over several lines. Names
//! are matched in lower case and with their trailing dot, those of `prefix`
//! and `substring` too. `exact` is the default and always turns the names of
//! the answer back; the others do with `answer auto`. `{1}` and so on in the
//! new name stand for what the groups of a `regex` caught. `DATA` is text, hex
//! behind `0x`, or one of `{qname}`, `{qtype}`, `{client_ip}`,
//! `{client_port}`, `{protocol}`, `{server_ip}`, `{server_port}` or metadata
//! as `{plugin/label}`.

mod cname;
mod edns0;
mod matcher;
mod name;
mod response;
mod rule;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use self::response::{Pending, Question, ResponseRule, Reverter, invalid_name};
use self::rule::{Action, Rule};
use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Failure, Next, Plugin, Served, Serving};
use crate::presentation::{NameText, parse_name};
use crate::wire::Rcode;

pub(super) static DEFINITION: Definition = Definition {
    name: "rewrite",
    parse,
};

#[derive(Debug)]
struct RewriteSpec {
    rules: Vec<Rule>,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut rules = Vec::new();
    let mut tokens = directive.dispenser();
    while tokens.next() {
        let mut args = tokens.remaining_args();
        if args.len() < 2 {
            while tokens.next_block() {
                args.push(tokens.val());
            }
        }
        rules.push(rule::parse(&args).map_err(|message| tokens.plain_err(message))?);
    }
    Ok(Box::new(RewriteSpec { rules }))
}

impl Spec for RewriteSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.push(Arc::new(Rewrite::new(self.rules)));
        Ok(())
    }
}

struct Rewrite {
    rules: Vec<Rule>,
    /// Options that replies may echo because a rule deals with them.
    echoed: Vec<u16>,
}

impl Rewrite {
    fn new(rules: Vec<Rule>) -> Self {
        let mut echoed: Vec<u16> = rules
            .iter()
            .filter_map(|rule| match &rule.action {
                Action::Edns0(edns0) => edns0.local_code(),
                _ => None,
            })
            .collect();
        echoed.sort_unstable();
        echoed.dedup();
        Self { rules, echoed }
    }

    /// Applies the rules to the request. `None`: the answer may go out as it comes.
    fn rewrite(&self, exchange: &mut Exchange) -> Result<Option<Reverter<'_>>, Failure> {
        let mut changes = Changes {
            exchange,
            name: None,
            question: None,
            rules: Vec::new(),
        };
        for rule in &self.rules {
            if !changes.apply(&rule.action)? {
                continue;
            }
            if !rule.goes_on {
                return Ok(Some(changes.into_reverter()));
            }
        }
        // Without a rule for the answer CoreDNS leaves it alone here, and the
        // client sees the question that was asked instead of its own.
        match changes.rules.is_empty() {
            true => Ok(None),
            false => Ok(Some(changes.into_reverter())),
        }
    }
}

/// The request under way through the rules.
struct Changes<'a, 'e> {
    exchange: &'e mut Exchange,
    /// The text of the name that is asked now, once a rule has wanted to know.
    name: Option<NameText>,
    /// The question before the first change.
    question: Option<Question>,
    rules: Vec<Pending<'a>>,
}

impl<'a> Changes<'a, '_> {
    fn name(&mut self) -> &str {
        let request = &self.exchange.request;
        self.name
            .get_or_insert_with(|| NameText::new(request.name()))
            .as_str()
    }

    /// Keeps the question of the client and hands out the request for a change.
    fn request(&mut self) -> &mut crate::wire::Request {
        let request = &mut self.exchange.request;
        self.question.get_or_insert_with(|| Question::of(request));
        request
    }

    fn into_reverter(self) -> Reverter<'a> {
        let request = &self.exchange.request;
        Reverter {
            question: self.question.unwrap_or_else(|| Question::of(request)),
            rules: self.rules,
        }
    }

    /// Whether the rule applies; if so it has been applied.
    fn apply(&mut self, action: &'a Action) -> Result<bool, Failure> {
        match action {
            Action::Name(rule) => {
                let Some(to) = rule.rename(self.name()) else {
                    return Ok(false);
                };
                let Some(name) = parse_name(&to) else {
                    if let Some(question) = &self.question {
                        question.restore(&mut self.exchange.request);
                    }
                    return Err(invalid_name(&to));
                };
                let mut rules: Vec<Cow<'a, ResponseRule>> = Vec::new();
                rule.response_rules(self.name(), &to, &mut rules);
                self.rules.extend(rules.into_iter().map(Pending::Rule));
                self.request().set_qname(name.name());
                self.name = None;
                Ok(true)
            }
            Action::Type(from, to) => {
                let applies = self.exchange.request.qtype() == *from && *from > 0 && *to > 0;
                if applies {
                    self.request().set_qtype(*to);
                }
                Ok(applies)
            }
            Action::Class(from, to) => {
                let applies = self.exchange.request.qclass() == *from && *from > 0 && *to > 0;
                if applies {
                    self.request().set_qclass(*to);
                }
                Ok(applies)
            }
            Action::Edns0(rule) => {
                let mut rules = Vec::new();
                let applies = rule.apply(self.exchange, &mut rules);
                self.rules.extend(rules.into_iter().map(Pending::Rule));
                Ok(applies)
            }
            Action::Ttl(matcher, ttls) => {
                let applies = matcher.matches(self.name());
                if applies {
                    let rule = Cow::Owned(ResponseRule::Ttl(*ttls));
                    self.rules.push(Pending::Rule(rule));
                }
                Ok(applies)
            }
            Action::Rcode(matcher, codes) => {
                let applies = matcher.matches(self.name());
                if applies {
                    let rule = Cow::Owned(ResponseRule::Rcode(*codes));
                    self.rules.push(Pending::Rule(rule));
                }
                Ok(applies)
            }
            Action::Cname(rule) => {
                if rule.applies() {
                    self.rules.push(Pending::Cname(rule));
                }
                Ok(rule.applies())
            }
        }
    }
}

impl Plugin for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        if !self.echoed.is_empty() {
            exchange.echoed_options.extend_from_slice(&self.echoed);
        }
        match self.rewrite(exchange) {
            Ok(None) => next.serve(exchange),
            Ok(Some(reverter)) => Box::pin(serve_and_revert(exchange, next, reverter)),
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        }
    }
}

async fn serve_and_revert<'a>(
    exchange: &'a mut Exchange,
    next: Next<'a>,
    reverter: Reverter<'a>,
) -> Served {
    let served = next.serve(exchange).await;
    let rcode = match &served {
        Ok(rcode) => *rcode,
        Err(failure) => failure.rcode,
    };
    let unwritten = matches!(
        rcode,
        Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP
    );
    let mut has_opt = false;
    if exchange.reply().is_none() {
        if !unwritten {
            return served;
        }
        // The server would answer, but past the rules; so it is done here.
        exchange.answer().set_rcode(rcode);
        has_opt = exchange.request.edns().is_some();
    }
    if let Err(failure) = reverter.apply(exchange, has_opt).await {
        // The server's own answer shall show the question of the client.
        reverter.question.restore(&mut exchange.request);
        exchange.discard();
        return Err(failure);
    }
    match served {
        served if !unwritten => served,
        // It is written now, and nobody shall write it again.
        Ok(_) => Ok(Rcode::NOERROR),
        Err(failure) => Err(Failure::new(Rcode::NOERROR, failure.into_reason().message)),
    }
}
