//! What happens to an answer on its way back.

use std::borrow::Cow;

use super::cname::CnameRule;
use super::edns0::{remove_first, replace_first};
use super::matcher::expand;
use super::rule::{Rcodes, Ttls};
use crate::chain::{Exchange, Failure};
use crate::golang::regex::Regex;
use crate::presentation::{NameText, parse_name};
use crate::wire::{Edns, NameBuf, Rcode, Record, Request, Section, flags, rtype};

/// One change of an answer.
#[derive(Clone, Debug)]
pub(super) enum ResponseRule {
    /// Rename who owns records.
    Owner(Rename),
    /// Rename what records point to.
    Value(Rename),
    Ttl(Ttls),
    Rcode(Rcodes),
    /// Take out an option that a rule had added to the query.
    RemoveOption(u16),
    /// Show an option as the client had sent it.
    RestoreOption(u16, Vec<u8>),
}

/// How a name in an answer becomes another.
#[derive(Clone, Debug)]
pub(super) enum Rename {
    /// The name itself, and as the end of names below it.
    Remap { from: String, to: String },
    /// As the end of a name, wherever labels begin.
    Suffix { from: String, to: String },
    /// The whole text becomes the replacement.
    Regex { regex: Regex, to: String },
}

impl Rename {
    /// The new text; `None` where the name stays what it is.
    fn apply(&self, name: &str) -> Option<String> {
        let renamed = match self {
            Self::Remap { from, to } => {
                let before = name.strip_suffix(&**from)?;
                if !before.is_empty() && !before.ends_with('.') {
                    return None;
                }
                format!("{before}{to}")
            }
            Self::Suffix { from, to } => format!("{}{to}", name.strip_suffix(&**from)?),
            Self::Regex { regex, to } => expand(to, &regex.captures(name)?),
        };
        (renamed != name).then_some(renamed)
    }

    fn apply_to(&self, name: crate::wire::Name<'_>) -> Result<Option<NameBuf>, Failure> {
        let Some(renamed) = self.apply(NameText::new(name).as_str()) else {
            return Ok(None);
        };
        match parse_name(&renamed) {
            Some(name) => Ok(Some(name)),
            None => Err(invalid_name(&renamed)),
        }
    }
}

/// The failure that a rule's result is no name.
pub(super) fn invalid_name(text: &str) -> Failure {
    Failure::servfail(format!("invalid name after rewrite: {text}"))
}

/// One entry of the list that is applied to an answer, last one first.
#[derive(Debug)]
pub(super) enum Pending<'a> {
    Rule(Cow<'a, ResponseRule>),
    Cname(&'a CnameRule),
}

/// What must be undone when the answer is there.
pub(super) struct Reverter<'a> {
    pub(super) question: Question,
    pub(super) rules: Vec<Pending<'a>>,
}

/// A question as the client asked it.
pub(super) struct Question {
    name: NameBuf,
    qtype: u16,
    qclass: u16,
}

impl Question {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            name: request.qname().to_buf(),
            qtype: request.qtype(),
            qclass: request.qclass(),
        }
    }

    /// Makes it the request's question again.
    pub(super) fn restore(&self, request: &mut Request) {
        request.set_qname(self.name.name());
        request.set_qtype(self.qtype);
        request.set_qclass(self.qclass);
    }

    fn to_request(&self) -> Request {
        let mut request = Request::new();
        request.ask(0, self.name.name(), self.qtype);
        request.set_qclass(self.qclass);
        request
    }
}

impl Reverter<'_> {
    /// Changes the answer that stands in the exchange. `has_opt` says that it
    /// will be sent with an OPT, even if there is none yet.
    pub(super) async fn apply(
        &self,
        exchange: &mut Exchange,
        has_opt: bool,
    ) -> Result<(), Failure> {
        let original = self.question.to_request();
        if self.rules.is_empty() {
            if let Some(reply) = exchange.reply_mut() {
                reply.set_question(&original);
            }
            return Ok(());
        }
        let Some(mut answer) = Answer::of(exchange) else {
            return Ok(());
        };
        let has_opt = has_opt || answer.edns.is_some();
        self.change(exchange, &mut answer, has_opt).await?;
        self.revert_request(exchange);
        if let Some(reply) = exchange.reply_mut() {
            reply.clear_records();
            reply.set_question(&original);
            reply.set_rcode(answer.rcode);
            if let Some(truncated) = answer.truncated {
                reply.set_flag(flags::TC, truncated);
            }
            if let (Some(from), Some(to)) = (answer.edns, reply.edns_mut()) {
                to.copy_from(&from);
            }
            let order = answer.sections.iter().flatten();
            let records: Vec<&Record> = order.filter_map(|at| answer.records.get(*at)).collect();
            reply.replace_records(records);
        }
        Ok(())
    }

    /// Applies all rules to each record in turn: authority, answer, additional,
    /// the OPT last, as CoreDNS has it. A message without any record at least
    /// gets its response code changed.
    async fn change(
        &self,
        exchange: &Exchange,
        answer: &mut Answer,
        has_opt: bool,
    ) -> Result<(), Failure> {
        const ORDER: [Section; 3] = [Section::Authority, Section::Answer, Section::Additional];
        let mut empty = true;
        for section in ORDER {
            // What a CNAME rule brings in is not looked at again.
            let before = answer.section(section).clone();
            empty &= before.is_empty();
            for at in before {
                for rule in self.rules.iter().rev() {
                    match rule {
                        Pending::Rule(rule) => answer.apply(rule, Some(at))?,
                        Pending::Cname(rule) => answer.retarget(rule, at, exchange).await,
                    }
                }
            }
        }
        if empty || has_opt {
            for rule in self.rules.iter().rev() {
                if let Pending::Rule(rule) = rule {
                    answer.apply(rule, None)?;
                }
            }
        }
        Ok(())
    }

    /// Undoes what rules did to the client's OPT: the reply's is made from it.
    fn revert_request(&self, exchange: &mut Exchange) {
        for rule in self.rules.iter().rev() {
            let Pending::Rule(rule) = rule else { continue };
            let Some(edns) = exchange.request.edns_mut() else {
                return;
            };
            match &**rule {
                ResponseRule::RemoveOption(code) => remove_first(edns, *code),
                ResponseRule::RestoreOption(code, data) => replace_first(edns, *code, data),
                _ => {}
            }
        }
    }
}

/// An answer taken apart.
struct Answer {
    records: Vec<Record>,
    /// The numbers of the records of each section, in order.
    sections: [Vec<usize>; 3],
    rcode: Rcode,
    edns: Option<Edns>,
    /// Whether the answer is cut, where a rule has decided that.
    truncated: Option<bool>,
}

impl Answer {
    fn of(exchange: &Exchange) -> Option<Self> {
        let reply = exchange.reply()?;
        let records = reply.to_records();
        let numbers = |section: Section| {
            let all = records.iter().enumerate();
            all.filter(|(_, record)| record.section == section)
                .map(|(at, _)| at)
                .collect()
        };
        let sections = [Section::Answer, Section::Authority, Section::Additional].map(numbers);
        Some(Self {
            records,
            sections,
            rcode: reply.rcode(),
            edns: reply.edns().cloned(),
            truncated: None,
        })
    }

    fn section(&self, section: Section) -> &Vec<usize> {
        let [answer, authority, additional] = &self.sections;
        match section {
            Section::Answer => answer,
            Section::Authority => authority,
            Section::Additional => additional,
        }
    }

    /// Applies a rule to a record; without one, to the message and its OPT.
    fn apply(&mut self, rule: &ResponseRule, at: Option<usize>) -> Result<(), Failure> {
        let record = at.and_then(|at| self.records.get_mut(at));
        match (rule, record) {
            (ResponseRule::Owner(rename), Some(record)) => {
                if let Some(owner) = rename.apply_to(record.owner.name())? {
                    record.owner = owner;
                }
            }
            (ResponseRule::Value(rename), Some(record)) if points_somewhere(record.rtype) => {
                let target = record.target().map(|target| rename.apply_to(target));
                set_target(record, target.transpose()?.flatten());
            }
            (ResponseRule::Ttl(ttls), Some(record)) => {
                record.ttl = record.ttl.clamp(ttls.min, ttls.max);
            }
            (ResponseRule::Rcode(codes), _) if self.rcode.0 == codes.from => {
                self.rcode = Rcode(codes.to);
            }
            (ResponseRule::RemoveOption(code), _) => {
                if let Some(edns) = &mut self.edns {
                    remove_first(edns, *code);
                }
            }
            (ResponseRule::RestoreOption(code, data), _) => {
                if let Some(edns) = &mut self.edns {
                    replace_first(edns, *code, data);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where record `at` is a CNAME that the rule is about, the answer ends
    /// with it, its target is the new one, and what the server itself answers
    /// for that follows.
    async fn retarget(&mut self, rule: &CnameRule, at: usize, exchange: &Exchange) {
        let record = self
            .records
            .get(at)
            .filter(|record| record.rtype == rtype::CNAME);
        let Some(old) = record.and_then(Record::target).map(|name| name.to_buf()) else {
            return;
        };
        let Some(new) = rule.retarget(NameText::new(old.name()).as_str()) else {
            return;
        };
        let Some(target) = parse_name(&new) else {
            tracing::error!("upstream lookup failed: invalid name after rewrite: {new}");
            return;
        };
        let found = exchange
            .lookup(target.name(), exchange.request.qtype())
            .await;
        let Some(found) = found else {
            tracing::error!("upstream lookup returned nil");
            return;
        };
        let [answer, ..] = &mut self.sections;
        let mut kept = Vec::with_capacity(answer.len());
        for number in answer.iter() {
            let Some(record) = self.records.get_mut(*number) else {
                continue;
            };
            if record.rtype != rtype::CNAME {
                continue;
            }
            kept.push(*number);
            if record.target() == Some(old.name()) {
                set_target(record, Some(target.clone()));
                break;
            }
        }
        for record in found.to_records() {
            if record.section == Section::Answer {
                kept.push(self.records.len());
                self.records.push(record);
            }
        }
        *answer = kept;
        self.truncated = Some(found.has(flags::TC));
    }
}

/// Whether records of this type point to a name that rules rename.
fn points_somewhere(rtype: u16) -> bool {
    matches!(
        rtype,
        rtype::SRV
            | rtype::MX
            | rtype::CNAME
            | rtype::NS
            | rtype::DNAME
            | rtype::NAPTR
            | rtype::SOA
            | rtype::PTR
    )
}

/// Replaces the first name in the RDATA; an SOA's mailbox is its second.
fn set_target(record: &mut Record, target: Option<NameBuf>) {
    let mut target = target;
    if target.is_some() {
        record.map_names(|_| target.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_turned_back() {
        let remap = |from: &str, to: &str| Rename::Remap {
            from: from.into(),
            to: to.into(),
        };
        let suffix = |from: &str, to: &str| Rename::Suffix {
            from: from.into(),
            to: to.into(),
        };
        let regex = |from: &str, to: &str| Rename::Regex {
            regex: Regex::new(from).unwrap(),
            to: to.into(),
        };
        for (rename, name, expected) in [
            (remap("b.test.", "a.test."), "b.test.", Some("a.test.")),
            (remap("b.test.", "a.test."), "x.b.test.", Some("x.a.test.")),
            (remap("b.test.", "a.test."), "xb.test.", None),
            (remap("b.test.", "a.test."), "B.test.", None),
            (remap("b.test.", "b.test."), "b.test.", None),
            (suffix("b.test.", "a.test."), "xb.test.", Some("xa.test.")),
            (suffix("b.test.", "a.test."), "b.test.x.", None),
            (
                regex(r"(.*)\.b\.test\.$", "{1}.a.test."),
                "x.b.test.",
                Some("x.a.test."),
            ),
            (regex("nowhere", "x."), "b.test.", None),
            (regex("b", "x."), "a.b.test.", Some("x.")),
        ] {
            assert_eq!(
                rename.apply(name).as_deref(),
                expected,
                "{rename:?} of {name}"
            );
        }
    }
}
