//! `bufsize`: bounds the UDP payload that clients may ask for.
//!
//! ```text
//! bufsize [SIZE]
//! ```
//!
//! SIZE, 512 to 4096 octets, defaults to 1232, which no path fragments. The
//! size that a client advertises is only ever lowered; upstreams see the
//! lower one too.

use std::sync::Arc;

use corefile::number;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Next, Plugin, Serving};

pub(super) static DEFINITION: Definition = Definition {
    name: "bufsize",
    parse,
};

/// What DNS flag day 2020 recommends.
const DEFAULT: u16 = 1232;

#[derive(Debug)]
struct Bufsize {
    size: u16,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    // Only the first of several counts, as in CoreDNS.
    words.next();
    let size = match words.remaining_args()[..] {
        [] => Some(DEFAULT),
        [size] => number::atoi(size)
            .ok()
            .and_then(|size| u16::try_from(size).ok())
            .filter(|size| (512..=4096).contains(size)),
        _ => None,
    };
    match size {
        Some(size) => Ok(Box::new(Bufsize { size })),
        // CoreDNS names the plugin twice.
        None => Err(words
            .arg_err()
            .in_plugin("bufsize")
            .expecting("a size from 512 to 4096")),
    }
}

impl Spec for Bufsize {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.push(Arc::new(*self));
        Ok(())
    }
}

impl Plugin for Bufsize {
    fn name(&self) -> &'static str {
        "bufsize"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let request = &mut exchange.request;
        // Looked at first: a change makes the query be written anew.
        if request.edns().is_some_and(|edns| edns.udp_size > self.size)
            && let Some(edns) = request.edns_mut()
        {
            edns.udp_size = self.size;
        }
        next.serve(exchange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::{self, Script, query, refusal};
    use crate::wire::{Rcode, rtype};

    #[test]
    fn sizes_are_bounded() {
        let wrong = |word: &str| {
            format!(
                "plugin/bufsize: Corefile:1 - Error during parsing: Wrong argument count or \
                 unexpected line ending after '{word}'"
            )
        };
        for (args, error) in [
            ("", String::new()),
            (" 512", String::new()),
            (" 4096", String::new()),
            ("\nbufsize 1", String::new()),
            (" 511", wrong("511")),
            (" 4097", wrong("4097")),
            (" -1", wrong("-1")),
            (" abc", wrong("abc")),
            (" 512 512", wrong("512")),
        ] {
            assert_eq!(
                refusal(&DEFINITION, &format!("bufsize{args}")),
                error,
                "{args}"
            );
        }
    }

    #[tokio::test]
    async fn sizes_are_only_lowered() {
        for (text, asked, seen) in [
            ("bufsize", Some(4096), Some(1232)),
            ("bufsize", Some(512), Some(512)),
            ("bufsize", Some(0), Some(0)),
            ("bufsize 700", Some(1232), Some(700)),
            ("bufsize", None, None),
        ] {
            let script = Script::new(Rcode::NOERROR, &[]);
            let chain = testing::chain(&DEFINITION, text, &script);
            let mut exchange = query("x.org.", rtype::A);
            if let Some(size) = asked {
                exchange.request.edns_or_insert(size);
            }
            let (exchange, _) = testing::serve(&chain, exchange).await;
            for request in [&script.last(), &exchange.request] {
                assert_eq!(
                    request.edns().map(|edns| edns.udp_size),
                    seen,
                    "{text} {asked:?}"
                );
            }
        }
    }
}
