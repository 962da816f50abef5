//! What a Corefile may say.

use std::net::SocketAddr;
use std::time::Duration;

use corefile::{Dispenser, Error, duration, key};

use super::{SecondarySpec, Source};
use crate::plugin::Block;
use crate::plugin::transfer::address;
use crate::wire::NameBuf;
use crate::zones::Zones;

const PROPERTIES: &[&str] = &["transfer", "catalog", "refresh", "fallthrough"];
/// Where DNS is asked.
const PORT: u16 = 53;

pub(super) fn parse(
    directive: &corefile::Directive,
    block: &Block,
) -> Result<SecondarySpec, Error> {
    let mut words = directive.dispenser();
    let mut spec = SecondarySpec::default();
    while words.next() {
        let zones: Zones = block.origins(&words.remaining_args()).into_iter().collect();
        let mut primaries = Vec::new();
        let mut refresh = None;
        let mut catalog = None;
        let mut has_transfer = false;
        while words.next_block() {
            match words.val() {
                "transfer" => {
                    primaries.extend(read_primaries(&mut words)?);
                    has_transfer = true;
                }
                "refresh" => refresh = Some(read_refresh(&mut words)?),
                "catalog" => catalog = merge(catalog, Some(read_members(&mut words)?)),
                "fallthrough" => spec.fall = Zones::fallthrough(&words.remaining_args()),
                _ => return Err(words.unknown_property_err(PROPERTIES)),
            }
        }
        if !has_transfer {
            return Err(words.err("secondary zones require a transfer from property"));
        }
        for zone in zones.iter() {
            // Of several directives for a zone the last one counts, but once a
            // catalog it is one.
            let mut others = spec.zones.iter();
            let other = others.position(|other| other.zone == *zone);
            let other = other.and_then(|at| spec.zones.remove(at).catalog);
            spec.zones.push(Source {
                zone: NameBuf::clone(zone),
                primaries: primaries.clone(),
                refresh,
                catalog: merge(other, catalog.clone()),
            });
        }
    }
    Ok(spec)
}

/// `transfer from ADDRESS...`
fn read_primaries(words: &mut Dispenser<'_>) -> Result<Vec<SocketAddr>, Error> {
    if !words.next_arg() {
        return Err(words.arg_err());
    }
    if words.val() != "from" {
        return Err(words.err(format!("unknown property {}", words.val())));
    }
    let hosts = words.remaining_tokens();
    if hosts.is_empty() {
        return Err(words.arg_err());
    }
    let read = |host: &&corefile::Token| {
        let refuse = |why: String| Error::plain(why).at(host);
        if &*host.text == "*" {
            return Err(refuse("can't use '*' in transfer from".to_owned()));
        }
        let (ip, port) = address(&host.text).map_err(refuse)?;
        let port = match port {
            None => PORT,
            Some(port) => port.parse().map_err(|_| {
                refuse(format!("invalid port {}", corefile::quote(port))).expecting("0 to 65535")
            })?,
        };
        Ok(SocketAddr::from((ip, port)))
    };
    hosts.iter().map(read).collect()
}

/// `catalog [MEMBER-ZONES...]`
fn read_members(words: &mut Dispenser<'_>) -> Result<Zones, Error> {
    let mut zones = Vec::new();
    for token in words.remaining_tokens() {
        let hosts = key::normalize_exact(&token.text);
        let read = hosts.iter().map(|host| host.parse::<NameBuf>());
        match read.collect::<Result<Vec<_>, _>>() {
            Ok(read) if !read.is_empty() => zones.extend(read),
            // Left out it would let more in than is written.
            _ => {
                let zone = corefile::quote(&token.text);
                let message = format!("invalid catalog member zone {zone}");
                return Err(Error::plain(message).at(token));
            }
        }
    }
    Ok(zones.into_iter().collect())
}

/// The members that one of the two lets in; none named means all.
fn merge(one: Option<Zones>, other: Option<Zones>) -> Option<Zones> {
    let (Some(one), Some(other)) = (&one, &other) else {
        return one.or(other);
    };
    if one.is_empty() || other.is_empty() {
        return Some(Zones::default());
    }
    Some(one.iter().chain(other.iter()).cloned().collect())
}

fn read_refresh(words: &mut Dispenser<'_>) -> Result<Duration, Error> {
    let [text] = words.remaining_args()[..] else {
        return Err(words.arg_err());
    };
    let time = duration::parse(text).ok().and_then(|time| time.to_std());
    time.filter(|time| *time >= Duration::from_secs(1))
        .ok_or_else(|| {
            words
                .err(format!("invalid refresh '{text}'"))
                .expecting("a duration of 1s or more")
        })
}
