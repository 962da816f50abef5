//! One name, asked of one server: a query, and what to think of its answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::series::Series;
use super::spec::Expected;
use crate::ask::{self, Answer, AskError, Transport};
use crate::wire::{NameBuf, Rcode, RecordView, Reply, Request, Section, rtype};

/// What came of a check where nothing failed; the head of the directive has the others.
const SUCCESS: &str = "success";

/// Who is asked.
#[derive(Debug)]
pub(super) enum Target {
    /// A server whose address is known.
    Fixed(SocketAddr),
    /// A Service.
    Named {
        /// For its addresses, IPv4 first.
        questions: Vec<Question>,
        /// Who knows its address.
        resolver: SocketAddr,
        /// What it was last.
        last: Option<IpAddr>,
    },
}

impl Target {
    /// The server behind `name`, of which `resolver` knows.
    pub(super) fn named(name: &NameBuf, resolver: SocketAddr) -> Self {
        let questions = [rtype::A, rtype::AAAA].map(|qtype| Question::new(name, qtype));
        Self::Named {
            questions: questions.into(),
            resolver,
            last: None,
        }
    }

    async fn address(&mut self, bound: Duration) -> Option<SocketAddr> {
        let (questions, resolver, last) = match self {
            Self::Fixed(address) => return Some(*address),
            Self::Named {
                questions,
                resolver,
                last,
            } => (questions, resolver, last),
        };
        for question in questions {
            let Ok(answer) = question.ask(*resolver, bound).await else {
                continue;
            };
            if let Some(found) = question.read(&answer).and_then(|reply| first(&reply)) {
                *last = Some(found);
                break;
            }
        }
        last.map(|ip| SocketAddr::new(ip, 53))
    }
}

/// The first address of an answer.
fn first(reply: &Reply) -> Option<IpAddr> {
    reply
        .section(Section::Answer)
        .find_map(|view| address(&view))
}

fn address(view: &RecordView<'_>) -> Option<IpAddr> {
    match view.rtype {
        rtype::A => <[u8; 4]>::try_from(view.rdata()).ok().map(IpAddr::from),
        rtype::AAAA => <[u8; 16]>::try_from(view.rdata()).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A query, and what reads its answer.
#[derive(Debug)]
pub(super) struct Question {
    query: Vec<u8>,
    request: Request,
}

impl Question {
    fn new(name: &NameBuf, qtype: u16) -> Self {
        let mut request = Request::new();
        request.ask(0, name.name(), qtype);
        Self {
            query: ask::query(name.name(), qtype, Some(ask::UDP_SIZE)),
            request,
        }
    }

    async fn ask(&self, server: SocketAddr, bound: Duration) -> Result<Answer, AskError> {
        ask::ask(server, &self.query, Transport::Either, bound).await
    }

    fn read(&self, answer: &Answer) -> Option<Reply> {
        let mut reply = Reply::new();
        reply.adopt(&answer.message, &self.request).ok()?;
        Some(reply)
    }
}

/// A name that is asked for again and again.
#[derive(Debug)]
pub(super) struct Check {
    target: Target,
    question: Question,
    expected: Expected,
    bound: Duration,
    series: Series,
    /// What came of it last.
    last: &'static str,
}

impl Check {
    pub(super) fn new(
        target: Target,
        name: NameBuf,
        qtype: u16,
        expected: Expected,
        bound: Duration,
        series: Series,
    ) -> Self {
        Self {
            target,
            question: Question::new(&name, qtype),
            expected,
            bound,
            series,
            last: SUCCESS,
        }
    }

    /// Asks once, counts what comes of it, and logs it where that is news.
    pub(super) async fn run(&mut self) {
        let (result, elapsed) = self.ask().await;
        self.series.count(result, elapsed);
        let before = std::mem::replace(&mut self.last, result);
        match (before == SUCCESS, result == SUCCESS) {
            (true, false) => tracing::warn!(target: super::TARGET, "{}: {result}", self.series),
            (false, true) => tracing::info!(target: super::TARGET, "{}: well again", self.series),
            _ => {}
        }
    }

    async fn ask(&mut self) -> (&'static str, Option<Duration>) {
        let Some(server) = self.target.address(self.bound).await else {
            return ("unresolved", None);
        };
        match self.question.ask(server, self.bound).await {
            Ok(answer) => {
                let reply = self.question.read(&answer);
                let result = reply.map_or("malformed", |reply| self.judge(&reply));
                (result, Some(answer.elapsed))
            }
            // The word of the response code is REFUSED's.
            Err(AskError::Refused) => ("unreachable", None),
            Err(error) => (error.label(), None),
        }
    }

    fn judge(&self, reply: &Reply) -> &'static str {
        let qtype = self.question.request.qtype();
        let mut records = reply
            .section(Section::Answer)
            .filter(|view| view.rtype == qtype)
            .peekable();
        let is_empty = records.peek().is_none();
        match (reply.rcode(), self.expected) {
            (Rcode::NOERROR, Expected::Answer) if !is_empty => SUCCESS,
            (Rcode::NOERROR, Expected::NoData) if is_empty => SUCCESS,
            (Rcode::NXDOMAIN, Expected::NxDomain) => SUCCESS,
            (Rcode::NOERROR, Expected::Address(wanted))
                if records.any(|view| address(&view) == Some(wanted)) =>
            {
                SUCCESS
            }
            (Rcode::NOERROR, Expected::Answer | Expected::Address(_)) if is_empty => "nodata",
            (Rcode::NOERROR, _) => "mismatch",
            (Rcode::NXDOMAIN, _) => "nxdomain",
            (Rcode::SERVFAIL, _) => "servfail",
            (Rcode::REFUSED, _) => "refused",
            _ => "rcode",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::To;
    use super::*;
    use crate::plugin::testing::record;

    fn check(qtype: u16, expected: Expected) -> Check {
        let name: NameBuf = "check.test.".parse().unwrap();
        let series = Series::new(&To::This, &name, qtype);
        let target = Target::Fixed(([127, 0, 0, 1], 53).into());
        Check::new(
            target,
            name,
            qtype,
            expected,
            Duration::from_secs(1),
            series,
        )
    }

    #[test]
    fn answers_are_judged_by_what_is_expected() {
        let a = "check.test. 5 A 10.0.0.1";
        let cname = "check.test. 5 CNAME other.test.";
        let one = Expected::Address([10, 0, 0, 1].into());
        let other = Expected::Address([10, 0, 0, 2].into());
        use Expected::{Answer, NoData, NxDomain};
        #[rustfmt::skip]
        let table: &[(Expected, Rcode, &[&str], &str)] = &[
            (Answer, Rcode::NOERROR, &[cname, a], SUCCESS),
            (Answer, Rcode::NOERROR, &[cname], "nodata"),
            (Answer, Rcode::NOERROR, &[], "nodata"),
            (Answer, Rcode::NXDOMAIN, &[], "nxdomain"),
            (Answer, Rcode::SERVFAIL, &[], "servfail"),
            (Answer, Rcode::REFUSED, &[], "refused"),
            (Answer, Rcode::NOTIMP, &[], "rcode"),
            (NoData, Rcode::NOERROR, &[], SUCCESS),
            (NoData, Rcode::NOERROR, &[a], "mismatch"),
            (NoData, Rcode::NXDOMAIN, &[], "nxdomain"),
            (NxDomain, Rcode::NXDOMAIN, &[], SUCCESS),
            (NxDomain, Rcode::NOERROR, &[a], "mismatch"),
            (NxDomain, Rcode::NOERROR, &[], "mismatch"),
            (one, Rcode::NOERROR, &[a], SUCCESS),
            (other, Rcode::NOERROR, &[a], "mismatch"),
            (other, Rcode::NOERROR, &[], "nodata"),
        ];
        for (expected, rcode, records, result) in table {
            let check = check(rtype::A, *expected);
            let mut reply = Reply::new();
            reply.start(&check.question.request);
            reply.set_rcode(*rcode);
            for text in *records {
                reply.push_record(&record(text));
            }
            assert_eq!(
                check.judge(&reply),
                *result,
                "{expected:?} {rcode:?} {records:?}"
            );
        }
    }
}
