//! `transfer`: hands zones out whole (RFC 5936) or by their differences (RFC
//! 1995), and tells of changes (RFC 1996).
//!
//! ```text
//! transfer [ZONES...] {
//!     to ADDRESS...|*
//!     source ADDRESS
//! }
//! ```
//!
//! ZONES defaults to the block's zones; of several directives the one with
//! the longest zone decides. `to` is required: who may ask, by IP address (a
//! port, default 53, is where notifications go), `*` for all. `source` is
//! the address that notifications come from.
//!
//! A zone of `kubernetes` goes out by its differences to a client that has
//! had it from here at most a few thousand changes ago, and its serial then
//! moves with every version that goes out. Who stands in `to` by address is
//! told at the start and of each change, at most every 100 ms, in three tries.
//!
//! The records come from the first plugin behind this one that has the zone.
//! Over UDP, and to others than those in `to`, the answer is REFUSED.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Failure, Next, Plugin, Proto, Served, Serving};
use crate::wire::{Name, NameBuf, Rcode, Reader, Record, Request, Section, flags, rtype};

mod notify;

pub(super) static DEFINITION: Definition = Definition {
    name: "transfer",
    parse,
};

const TARGET: &str = "plugin/transfer";
const PROPERTIES: &[&str] = &["to", "source"];
/// Where notifications go by default.
const PORT: u16 = 53;
/// A message that would grow beyond this many octets is sent first.
const MESSAGE: usize = 63_000;

#[derive(Debug)]
struct TransferSpec {
    rules: Vec<Rule>,
}

/// One directive.
#[derive(Debug)]
struct Rule {
    zones: Vec<NameBuf>,
    /// Who may ask; empty means nobody, which the parser does not let through
    /// unless `anyone`.
    to: Vec<IpAddr>,
    anyone: bool,
    /// Who is told of changes.
    told: Vec<SocketAddr>,
    source: Option<IpAddr>,
}

fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut rules = Vec::new();
    while words.next() {
        let mut rule = Rule {
            zones: block.origins(&words.remaining_args()),
            to: Vec::new(),
            anyone: false,
            told: Vec::new(),
            source: None,
        };
        while words.next_block() {
            match words.val() {
                "to" => {
                    let hosts = words.remaining_tokens();
                    if hosts.is_empty() {
                        return Err(words.arg_err());
                    }
                    for host in hosts {
                        match address(&host.text) {
                            _ if &*host.text == "*" => rule.anyone = true,
                            Ok((ip, port)) => {
                                rule.to.push(ip);
                                // CoreDNS takes any port, and then tells nobody.
                                let port = port.map_or(Ok(PORT), str::parse);
                                let told = port.ok().map(|port| SocketAddr::new(ip, port));
                                rule.told.extend(told);
                            }
                            Err(why) => return Err(corefile::Error::plain(why).at(host)),
                        }
                    }
                }
                // CoreDNS says its own name twice in the errors from here on.
                "source" => {
                    let [address] = *words.remaining_args() else {
                        return Err(words.arg_err());
                    };
                    if rule.source.is_some() {
                        return Err(words.err("source already specified").in_plugin("transfer"));
                    }
                    let Ok(ip) = address.parse::<IpAddr>() else {
                        let address = corefile::quote(address);
                        let message = format!("invalid source address {address}");
                        return Err(words.err(message).in_plugin("transfer"));
                    };
                    rule.source = Some(ip);
                }
                other => {
                    let message = format!("unknown property {}", corefile::quote(other));
                    return Err(words.err(message).suggest(PROPERTIES).in_plugin("transfer"));
                }
            }
        }
        if rule.to.is_empty() && !rule.anyone {
            return Err(words.err("'to' is required").in_plugin("transfer"));
        }
        rules.push(rule);
    }
    Ok(Box::new(TransferSpec { rules }))
}

/// The address in `IP`, `IP:PORT` or `[IP]:PORT`, and the port as it stands there.
pub(super) fn address(text: &str) -> Result<(IpAddr, Option<&str>), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (host, Some(port))
        }
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (text, None),
    };
    let plain = host.split_once('%').map_or(host, |(ip, _)| ip);
    let ip = plain
        .parse()
        .map_err(|_| format!("must specify an IP address: `{host}'"))?;
    Ok((ip, port.filter(|port| !port.is_empty())))
}

impl Spec for TransferSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let transfer = Arc::new(Transfer { rules: self.rules });
        notify::start(&transfer, builder);
        builder.push(transfer);
        Ok(())
    }
}

struct Transfer {
    rules: Vec<Rule>,
}

impl Transfer {
    /// The directive with the longest zone that the name lies in.
    fn rule(&self, name: Name<'_>) -> Option<&Rule> {
        let mut best: Option<(&Rule, usize)> = None;
        for rule in &self.rules {
            let zones = rule.zones.iter().filter(|zone| name.is_under(zone.name()));
            let longest = zones.map(|zone| zone.wire().len()).max();
            if longest > best.map(|(_, len)| len) {
                best = longest.map(|len| (rule, len));
            }
        }
        best.map(|(rule, _)| rule)
    }
}

impl Plugin for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let request = &exchange.request;
        if !matches!(request.qtype(), rtype::AXFR | rtype::IXFR) {
            return next.serve(exchange);
        }
        if exchange.proto != Proto::Tcp {
            return Box::pin(std::future::ready(Ok(Rcode::REFUSED)));
        }
        let Some(rule) = self.rule(request.name()) else {
            return next.serve(exchange);
        };
        let client = exchange.client.ip().to_canonical();
        if !rule.anyone && !rule.to.contains(&client) {
            // Written here, so that `log` sees it.
            exchange.answer().set_rcode(Rcode::REFUSED);
            return Box::pin(std::future::ready(Ok(Rcode::NOERROR)));
        }
        let serial = match request.qtype() {
            rtype::IXFR => match serial_of(request) {
                None => return Box::pin(std::future::ready(Ok(Rcode::SERVFAIL))),
                serial => serial,
            },
            _ => None,
        };
        let records = next
            .plugins()
            .filter_map(|plugin| plugin.transferer())
            .find_map(|source| source.transfer(request.name(), serial, client));
        match records {
            Some(records) => Box::pin(send(exchange, records)),
            None => next.serve(exchange),
        }
    }
}

/// The serial of the client's copy: that of the one SOA in the authority section.
fn serial_of(request: &Request) -> Option<u32> {
    let mut authority = request
        .records()
        .filter(|view| view.section == Section::Authority);
    let (Some(soa), None) = (authority.next(), authority.next()) else {
        return None;
    };
    if soa.rtype != rtype::SOA {
        return None;
    }
    serial_in(&soa.to_record().ok()?)
}

fn serial_in(soa: &Record) -> Option<u32> {
    let mut reader = Reader::new(&soa.rdata);
    reader.skip_name().ok()?;
    reader.skip_name().ok()?;
    reader.u32("serial").ok()
}

async fn send(exchange: &mut Exchange, records: impl Iterator<Item = Record>) -> Served {
    let zone = exchange.request.qname().to_buf();
    let client = exchange.client.ip();
    let mut serial = None;
    let mut count = 0usize;
    exchange.answer().set_flag(flags::AA, true);
    for record in records {
        if record.rtype == rtype::SOA && serial.is_none() {
            serial = serial_in(&record);
        }
        // The owner, ten octets and the RDATA: more than it takes compressed.
        let len = record.owner.wire().len() + 10 + record.rdata.len();
        let sent = exchange.reply().map_or(0, |reply| reply.wire_len());
        if sent + len > MESSAGE {
            flush(exchange).await?;
        }
        if let Some(reply) = exchange.reply_mut() {
            reply.push_record(&record);
            count += 1;
        }
    }
    let serial = serial.unwrap_or(0);
    if count == 1 {
        if let Some(reply) = exchange.reply_mut() {
            reply.set_flag(flags::AA, false);
        }
        tracing::info!(
            target: TARGET,
            "Outgoing noop, incremental transfer for up to date zone \"{zone}\" to {client} for {serial} SOA serial"
        );
    } else {
        tracing::info!(
            target: TARGET,
            "Outgoing transfer of {count} records of zone \"{zone}\" to {client} for {serial} SOA serial"
        );
    }
    Ok(Rcode::NOERROR)
}

/// Sends the message so far and begins the next one.
async fn flush(exchange: &mut Exchange) -> Result<(), Failure> {
    let Some(stream) = exchange.stream.clone() else {
        exchange.discard();
        return Err(Failure::servfail(
            "the transport takes no zone of more than one message",
        ));
    };
    let message = exchange.finish().map(<[u8]>::to_vec).unwrap_or_default();
    if stream.send(message).await.is_err() {
        exchange.discard();
        return Err(Failure::servfail(
            "the client went away during the transfer",
        ));
    }
    // A long zone must not keep the queries of others waiting.
    tokio::task::yield_now().await;
    exchange.answer().set_flag(flags::AA, true);
    Ok(())
}

#[cfg(test)]
mod tests;
