//! What the user wrote.

use std::net::IpAddr;
use std::time::Duration;

use corefile::duration::{self, Duration as Written};
use corefile::{Dispenser, Error, key, number, quote};

use super::to::{self, To};
use crate::upstream::{Options, Policy};
use crate::wire::NameBuf;

/// The options of a block, for the one that a misspelt word is nearest to.
const PROPERTIES: [&str; 21] = [
    "doh_method",
    "except",
    "expire",
    "failfast_all_unhealthy_upstreams",
    "failover",
    "force_tcp",
    "health_check",
    "max_age",
    "max_concurrent",
    "max_connect_attempts",
    "max_fails",
    "max_idle_conns",
    "next",
    "next_on_nodata",
    "policy",
    "prefer_udp",
    "read_timeout",
    "resolver",
    "source_address",
    "tls",
    "tls_servername",
];

/// RCODEs as CoreDNS spells them.
const RCODES: [(&str, u16); 21] = [
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("NOTIMPL", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
    ("DSOTYPENI", 11),
    ("BADSIG", 16),
    ("BADKEY", 17),
    ("BADTIME", 18),
    ("BADMODE", 19),
    ("BADNAME", 20),
    ("BADALG", 21),
    ("BADTRUNC", 22),
    ("BADCOOKIE", 23),
];

/// One `forward` as written.
#[derive(Debug)]
pub(super) struct Stanza {
    pub(super) from: NameBuf,
    /// What to say about FROM when it comes into force.
    pub(super) warning: Option<String>,
    pub(super) to: Vec<To>,
    pub(super) resolvers: Vec<String>,
    pub(super) except: Vec<NameBuf>,
    pub(super) next_rcodes: Vec<u16>,
    pub(super) next_on_nodata: bool,
    pub(super) options: Options,
    /// As written, for the messages that compare them.
    expire: Written,
    max_age: Written,
}

pub(super) fn parse(directive: &corefile::Directive) -> Result<Vec<Stanza>, Error> {
    let mut words = directive.dispenser();
    let mut stanzas = Vec::new();
    while words.next() {
        stanzas.push(parse_stanza(&mut words)?);
    }
    Ok(stanzas)
}

fn parse_stanza(words: &mut Dispenser<'_>) -> Result<Stanza, Error> {
    if !words.next_arg() {
        return Err(words.arg_err().expecting("the zone to forward: `.` is all"));
    }
    let unusable = || {
        words
            .plain_err(format!("unable to normalize '{}'", words.val()))
            .expecting("a zone")
    };
    let zones = key::normalize_exact(words.val());
    let (zone, more) = zones.split_first().ok_or_else(unusable)?;
    let warning = (!more.is_empty()).then(|| {
        let from = words.val();
        format!(
            "Unsupported CIDR notation: '{from}' expands to multiple zones. Using only '{zone}'."
        )
    });
    let mut stanza = Stanza {
        from: zone.parse().map_err(|_| unusable())?,
        warning,
        to: Vec::new(),
        resolvers: Vec::new(),
        except: Vec::new(),
        next_rcodes: Vec::new(),
        next_on_nodata: false,
        options: Options::default(),
        expire: Written::from_secs(10),
        max_age: Written::default(),
    };
    let targets = words.remaining_tokens();
    if targets.is_empty() {
        return Err(words
            .arg_err()
            .expecting("an upstream: IP[:PORT], a file like /etc/resolv.conf, or a host name"));
    }
    while words.next_block() {
        stanza.property(words)?;
    }
    if stanza.max_age.nanos() > 0 && stanza.max_age < stanza.expire {
        return Err(words.plain_err(format!(
            "max_age ({}) must not be less than expire ({})",
            stanza.max_age, stanza.expire
        )));
    }
    for target in targets {
        let to = to::parse(&target.text).map_err(|why| Error::plain(why).at(target))?;
        stanza.to.push(to);
    }
    Ok(stanza)
}

impl Stanza {
    fn property(&mut self, words: &mut Dispenser<'_>) -> Result<(), Error> {
        let options = &mut self.options;
        match words.val() {
            "except" => {
                let zones = some_args(words)?;
                let zones = zones.iter().flat_map(|zone| key::normalize_exact(zone));
                self.except
                    .extend(zones.filter_map(|zone| zone.parse().ok()));
            }
            "max_fails" => options.max_fails = unsigned(words)?,
            "max_connect_attempts" => options.max_connect_attempts = Some(unsigned(words)?),
            "health_check" => self.health_check(words)?,
            "force_tcp" => options.force_tcp = flag(words)?,
            "prefer_udp" => options.prefer_udp = flag(words)?,
            "tls" => {
                let args = words.remaining_args();
                if args.len() > 3 {
                    return Err(words.arg_err());
                }
                if !args.is_empty() {
                    return Err(words.plain_err("tls with files is not supported yet"));
                }
            }
            "tls_servername" => {
                arg(words)?;
            }
            "expire" => (self.expire, options.expire) = not_negative("expire", words)?,
            "max_age" => (self.max_age, options.max_age) = not_negative("max_age", words)?,
            "max_idle_conns" => {
                let count = count("max_idle_conns", words)?;
                options.max_idle_conns = usize::try_from(count).unwrap_or(usize::MAX);
            }
            "read_timeout" => {
                let (written, timeout) = span(words)?;
                options.read_timeout = timeout.filter(|some| !some.is_zero()).ok_or_else(|| {
                    words.plain_err(format!("read_timeout must be positive: {written}"))
                })?;
            }
            "doh_method" => {
                if !matches!(arg(words)?, "POST" | "GET") {
                    return Err(words.plain_err("doh_method must be either POST or GET"));
                }
            }
            "policy" => {
                let name = arg(words)?;
                options.policy = Policy::from_name(name).ok_or_else(|| {
                    words
                        .err(format!("unknown policy '{name}'"))
                        .expecting("random, round_robin or sequential")
                        .suggest(&Policy::NAMES)
                })?;
            }
            "max_concurrent" => options.max_concurrent = count("max_concurrent", words)?,
            "next" => self.next_rcodes.extend(rcodes(words)?),
            "next_on_nodata" => self.next_on_nodata = flag(words)?,
            "failfast_all_unhealthy_upstreams" => {
                if !words.remaining_args().is_empty() {
                    return Err(words.arg_err());
                }
                options.failfast_all_unhealthy = true;
            }
            "failover" => {
                let rcodes = rcodes(words)?;
                if rcodes.contains(&0) {
                    return Err(words.plain_err("NoError cannot be used in failover"));
                }
                options.failover.extend(rcodes);
            }
            "resolver" => {
                for address in some_args(words)? {
                    let host = to::split_host_port(address).map_or(address, |(host, _)| host);
                    if host.parse::<IpAddr>().is_err() {
                        return Err(words.plain_err(format!(
                            "resolver must be an IP address or IP:port: {}",
                            quote(address)
                        )));
                    }
                    self.resolvers.push(address.to_owned());
                }
            }
            "source_address" => {
                let text = arg(words)?;
                let address: IpAddr = text
                    .parse()
                    .map_err(|_| words.err(format!("invalid IP address: {text}")))?;
                options.source = Some(address.to_canonical());
            }
            _ => return Err(words.unknown_property_err(&PROPERTIES)),
        }
        Ok(())
    }

    fn health_check(&mut self, words: &mut Dispenser<'_>) -> Result<(), Error> {
        let check = &mut self.options.health_check;
        let (written, interval) = span(words)?;
        check.interval = interval.ok_or_else(|| {
            let nanos = written.nanos();
            words.plain_err(format!("health_check can't be negative: {nanos}"))
        })?;
        check.domain = vec![0];
        while words.next_arg() {
            match words.val() {
                "no_rec" => check.recursion = false,
                "domain" => {
                    let text = arg(words)?;
                    let invalid =
                        || words.plain_err(format!("health_check: invalid domain name {text}"));
                    if !key::is_domain_name(text) {
                        return Err(invalid());
                    }
                    let name: NameBuf = key::normalize(text).parse().map_err(|_| invalid())?;
                    check.domain = name.wire().to_vec();
                }
                other => {
                    return Err(words
                        .plain_err(format!("health_check: unknown option {other}"))
                        .suggest(&["no_rec", "domain"]));
                }
            }
        }
        Ok(())
    }
}

fn arg<'a>(words: &mut Dispenser<'a>) -> Result<&'a str, Error> {
    if words.next_arg() {
        Ok(words.val())
    } else {
        Err(words.arg_err())
    }
}

fn some_args<'a>(words: &mut Dispenser<'a>) -> Result<Vec<&'a str>, Error> {
    let args = words.remaining_args();
    if args.is_empty() {
        return Err(words.arg_err());
    }
    Ok(args)
}

/// A word that stands alone.
fn flag(words: &mut Dispenser<'_>) -> Result<bool, Error> {
    if words.next_arg() {
        return Err(words.arg_err());
    }
    Ok(true)
}

fn unsigned(words: &mut Dispenser<'_>) -> Result<u32, Error> {
    let value = number::parse_uint(arg(words)?, 32);
    let value = value.map_err(|error| words.plain_err(error.to_string()))?;
    // Within 32 bits, as was asked for.
    Ok(u32::try_from(value).unwrap_or(u32::MAX))
}

fn count(option: &str, words: &mut Dispenser<'_>) -> Result<u64, Error> {
    let value = number::atoi(arg(words)?);
    let value = value.map_err(|error| words.plain_err(error.to_string()))?;
    u64::try_from(value)
        .map_err(|_| words.plain_err(format!("{option} can't be negative: {value}")))
}

/// A duration as written, and as it counts unless it is negative.
fn span(words: &mut Dispenser<'_>) -> Result<(Written, Option<Duration>), Error> {
    let written = duration::parse(arg(words)?);
    let written = written.map_err(|error| words.plain_err(error.to_string()))?;
    Ok((written, written.to_std()))
}

fn not_negative(option: &str, words: &mut Dispenser<'_>) -> Result<(Written, Duration), Error> {
    let (written, span) = span(words)?;
    let negative = || words.plain_err(format!("{option} can't be negative: {written}"));
    Ok((written, span.ok_or_else(negative)?))
}

fn rcodes(words: &mut Dispenser<'_>) -> Result<Vec<u16>, Error> {
    let names = some_args(words)?;
    let code = |name: &&str| {
        let known = RCODES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let unknown = || words.plain_err(format!("{name} is not a valid rcode"));
        known.map(|(_, code)| *code).ok_or_else(unknown)
    };
    names.iter().map(code).collect()
}
