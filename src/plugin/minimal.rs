//! `minimal`: sends answers without what goes with them.
//!
//! ```text
//! minimal
//! ```
//!
//! Of a NOERROR reply with an answer only the answer section is kept, which
//! saves bytes on the wire. Referrals, denials and failures stay as they are:
//! their other sections are what they say.

use std::sync::Arc;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Plugin, Served};
use crate::response::Kind;

pub(super) static DEFINITION: Definition = Definition {
    name: "minimal",
    parse,
};

#[derive(Debug)]
struct MinimalSpec;

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    words.next();
    match words.next_arg() {
        true => Err(words.arg_err()),
        false => Ok(Box::new(MinimalSpec)),
    }
}

impl Spec for MinimalSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.push(Arc::new(Minimal));
        Ok(())
    }
}

struct Minimal;

impl Plugin for Minimal {
    fn name(&self) -> &'static str {
        "minimal"
    }

    fn reviews(&self) -> bool {
        true
    }

    fn review(&self, exchange: &mut Exchange, served: &Served) {
        if served.is_err() {
            // As in CoreDNS, the failure counts and not what was written before it.
            exchange.discard();
            return;
        }
        let (request, reply) = exchange.parts_mut();
        if let Some(reply) = reply
            && Kind::of(reply, request.opcode(), request.qtype()) == Kind::NoError
        {
            reply.keep_answer_only();
            reply.clear_edns();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::{self, Answer, Script, ask, query, refusal, shown};
    use crate::wire::{Rcode, rtype};

    #[test]
    fn it_takes_no_argument() {
        assert_eq!(refusal(&DEFINITION, "minimal"), "");
        assert_eq!(
            refusal(&DEFINITION, "minimal example.org"),
            "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending \
             after 'example.org'"
        );
    }

    #[tokio::test]
    async fn only_answers_are_stripped() {
        let (a, ns, soa) = ("x.org. 5 A 192.0.2.1", "!org. 5 NS ns.org.", "!org. 5 SOA");
        let more = "+ns.org. 5 A 192.0.2.2";
        for (rcode, records, seen) in [
            (
                Rcode::NOERROR,
                &[a, ns, more][..],
                "NOERROR | x.org. 5 A 192.0.2.1",
            ),
            (Rcode::NOERROR, &[more], "NOERROR"),
            (
                Rcode::NOERROR,
                &[ns, more],
                "NOERROR | !org. 5 NS ns.org. | +ns.org. 5 A 192.0.2.2",
            ),
            (
                Rcode::NOERROR,
                &[soa, more],
                "NOERROR | !org. 5 SOA | +ns.org. 5 A 192.0.2.2",
            ),
            (Rcode::NXDOMAIN, &[soa], "NXDOMAIN | !org. 5 SOA"),
            (
                Rcode::SERVFAIL,
                &[a, ns],
                "SERVFAIL | x.org. 5 A 192.0.2.1 | !org. 5 NS ns.org.",
            ),
        ] {
            let script = Script::new(rcode, records);
            let chain = testing::chain(&DEFINITION, "minimal", &script);
            assert_eq!(shown(&ask(&chain, "x.org.", rtype::A).await), seen);
        }
    }

    #[tokio::test]
    async fn what_did_not_answer_still_does_not() {
        let script = Script::new(Rcode::SERVFAIL, &[]);
        script.answers(Answer {
            silent: true,
            ..Answer::new(Rcode::SERVFAIL, &[])
        });
        let chain = testing::chain(&DEFINITION, "minimal", &script);
        let (exchange, served) = testing::serve(&chain, query("x.org.", rtype::A)).await;
        assert_eq!(shown(&exchange), "-");
        assert!(served.is_err());
    }
}
