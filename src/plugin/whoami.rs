//! `whoami`: tells a client its own address, port and transport.
//!
//! ```text
//! whoami
//! ```
//!
//! The answer is NOERROR with an empty answer section; the client's address
//! stands as an A or AAAA record of the queried name in the additional
//! section, its port in an SRV record of `_udp.` or `_tcp.` in front of that
//! name. All TTLs are 0.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Next, Plugin, Proto, Served, Serving};
use crate::wire::{Name, NameBuf, Owner, RData, Rcode, Section, flags};

pub(super) static DEFINITION: Definition = Definition {
    name: "whoami",
    parse,
};

#[derive(Debug)]
struct WhoamiSpec;

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut tokens = directive.dispenser();
    tokens.next();
    if tokens.next_arg() {
        return Err(tokens.arg_err());
    }
    Ok(Box::new(WhoamiSpec))
}

impl Spec for WhoamiSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.push(Arc::new(Whoami));
        Ok(())
    }
}

struct Whoami;

impl Plugin for Whoami {
    fn name(&self) -> &'static str {
        "whoami"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        Box::pin(std::future::ready(answer(exchange)))
    }
}

fn answer(exchange: &mut Exchange) -> Served {
    let client = exchange.client;
    let transport: &[u8] = match exchange.proto {
        Proto::Udp => b"_udp",
        Proto::Tcp => b"_tcp",
    };
    let (request, reply) = exchange.request_and_answer();
    reply.set_flag(flags::AA, true);
    let address = match client.ip().to_canonical() {
        IpAddr::V4(address) => RData::A(address),
        IpAddr::V6(address) => RData::Aaaa(address),
    };
    let class = request.qclass();
    reply.push_class(Section::Additional, Owner::Question, class, 0, &address);

    let mut owner = NameBuf::new();
    let fits = owner
        .push_label(transport)
        .and_then(|()| owner.push_name(request.qname()));
    if fits.is_ok() {
        let port = RData::Srv {
            priority: 0,
            weight: 0,
            port: client.port(),
            target: Name::ROOT,
        };
        let owner = Owner::Name(owner.name());
        reply.push_class(Section::Additional, owner, class, 0, &port);
    }
    Ok(Rcode::NOERROR)
}
