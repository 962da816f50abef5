//! `forward` that leads back to where the query came from, or nowhere.

use std::net::{IpAddr, SocketAddr};

use super::Context;
use crate::command::doctor::finding::Finding;
use crate::command::doctor::reading::{Reading, Stanza, stanzas};
use crate::plugin::{self, Block, Destination};

const SYSTEM: &str = "/etc/resolv.conf";

pub(super) fn lint(reading: &Reading, context: &Context) -> Vec<Finding> {
    let mut found = Vec::new();
    for (block, directive) in reading.directives("forward") {
        let all = stanzas(directive);
        for (at, stanza) in all.iter().enumerate() {
            found.extend(unreachable(all.get(..at).unwrap_or_default(), stanza));
            for to in stanza.args.iter().skip(1) {
                let finding = match plugin::forward_destination(&to.text) {
                    Ok(Destination::Address(address)) => address_loops(address, block, reading, context),
                    Ok(Destination::Indirect(path)) if path == SYSTEM && context.asks_itself => {
                        Some(Finding::error(format!("{SYSTEM} of the replicas names the cluster DNS: forward asks itself"))
                            .advise("set `dnsPolicy: Default` in the Pod template, so that it is the node's file"))
                    }
                    _ => None,
                };
                found.extend(finding.map(|finding| finding.at(to)));
            }
        }
    }
    found
}

/// The first `forward` whose FROM holds takes the query.
fn unreachable(before: &[Stanza<'_>], stanza: &Stanza<'_>) -> Option<Finding> {
    let from = |stanza: &Stanza<'_>| {
        let text = stanza
            .args
            .first()
            .map(|arg| corefile::key::normalize(&arg.text));
        text.unwrap_or_default()
    };
    let passes = |stanza: &Stanza<'_>| {
        ["next", "next_on_nodata", "except"]
            .iter()
            .any(|name| stanza.option(name).is_some())
    };
    let zone = from(stanza);
    let first = before
        .iter()
        .find(|first| from(first) == zone && !passes(first))?;
    let line = first.word.line;
    let what = format!("forward {zone} is never asked: that of line {line} takes all its queries");
    Some(
        Finding::warning(what)
            .at(stanza.word)
            .advise("write all upstreams in one forward"),
    )
}

fn address_loops(
    to: SocketAddr,
    block: &Block,
    reading: &Reading,
    context: &Context,
) -> Option<Finding> {
    let ip = to.ip();
    if context.service.contains(&ip) && to.port() == 53 {
        let what = format!("forward to {to}, the address of the Service itself: a loop");
        return Some(Finding::error(what).advise("name resolvers outside the cluster"));
    }
    let serves = |block: &Block| block.keys.iter().any(|key| key.port == Some(to.port()));
    let own: Vec<IpAddr> = (reading.directives("bind"))
        .filter(|(other, _)| std::ptr::eq(*other, block))
        .flat_map(|(_, bind)| stanzas(bind))
        .flat_map(|stanza| {
            stanza
                .args
                .into_iter()
                .filter_map(|arg| arg.text.parse().ok())
        })
        .collect();
    let local = ip.is_loopback() || ip.is_unspecified();
    // A block that binds some addresses is not at the others.
    let here = match own.is_empty() {
        true => local,
        false => own.contains(&ip),
    };
    if here && serves(block) {
        let what = format!("forward to {to}, where this server block itself listens: a loop");
        return Some(Finding::error(what).advise("name resolvers outside the cluster"));
    }
    if local && !reading.blocks.iter().any(serves) {
        let what = format!(
            "forward to {to}: in a Pod that is the Pod itself, and no server block listens there"
        );
        return Some(Finding::warning(what).advise(
            "name the resolvers that the node's 127.0.0.53 would ask, as in /run/systemd/resolve/resolv.conf",
        ));
    }
    None
}
