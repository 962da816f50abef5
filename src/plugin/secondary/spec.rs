//! What a Corefile may say.

use std::net::SocketAddr;
use std::time::Duration;

use corefile::{Dispenser, Error, duration};

use super::{SecondarySpec, Source};
use crate::plugin::Block;
use crate::plugin::transfer::address;
use crate::wire::NameBuf;
use crate::zones::Zones;

const PROPERTIES: &[&str] = &["transfer", "refresh", "fallthrough"];
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
        let mut has_transfer = false;
        while words.next_block() {
            match words.val() {
                "transfer" => {
                    primaries.extend(read_primaries(&mut words)?);
                    has_transfer = true;
                }
                "refresh" => refresh = Some(read_refresh(&mut words)?),
                "catalog" => {
                    let message = "catalog zones (RFC 9432) are not supported";
                    return Err(words.err(message).help("name the member zones one by one"));
                }
                "fallthrough" => spec.fall = Zones::fallthrough(&words.remaining_args()),
                _ => return Err(words.unknown_property_err(PROPERTIES)),
            }
        }
        if !has_transfer {
            return Err(words.err("secondary zones require a transfer from property"));
        }
        for zone in zones.iter() {
            // Of several directives for a zone the last one counts.
            spec.zones.retain(|other| other.zone != *zone);
            spec.zones.push(Source {
                zone: NameBuf::clone(zone),
                primaries: primaries.clone(),
                refresh,
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
