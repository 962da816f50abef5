//! What a Corefile says of `probe`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use corefile::{Directive, Dispenser, Error, duration, quote};

use crate::presentation::{parse_name, record::type_by_name};
use crate::wire::{NameBuf, rtype};

/// Each has series of its own.
const MOST_NAMES: usize = 16;
const MOST_TARGETS: usize = 8;
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// What the user wrote.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct ProbeSpec {
    pub(super) names: Vec<Name>,
    pub(super) to: Vec<To>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// What is asked for.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Name {
    /// `None`: the API server's own Service.
    pub(super) name: Option<NameBuf>,
    pub(super) qtype: u16,
    pub(super) expected: Expected,
}

/// What the answer must be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Expected {
    /// A record of the type.
    #[default]
    Answer,
    /// The name, without one.
    NoData,
    /// No such name.
    NxDomain,
    /// This address, among others.
    Address(IpAddr),
}

/// Who is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum To {
    /// This server.
    This,
    /// The Service of the cluster's DNS.
    Service,
    /// Any server.
    Address(SocketAddr),
}

pub(super) fn parse(directive: &Directive) -> Result<ProbeSpec, Error> {
    let mut words = directive.dispenser();
    let mut spec = ProbeSpec {
        names: Vec::new(),
        to: Vec::new(),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
    };
    let mut seen = false;
    while words.next() {
        if std::mem::replace(&mut seen, true) {
            return Err(words.once_err());
        }
        let args = words.remaining_args();
        if !args.is_empty() {
            spec.names.push(name(&words, &args)?);
        }
        while words.next_block() {
            match words.val() {
                "name" => {
                    let args = words.remaining_args();
                    spec.names.push(name(&words, &args)?);
                }
                "to" => {
                    let args = words.remaining_args();
                    if args.is_empty() {
                        return Err(words.arg_err());
                    }
                    for arg in args {
                        let to = target(&words, arg)?;
                        if !spec.to.contains(&to) {
                            spec.to.push(to);
                        }
                    }
                }
                "interval" => spec.interval = time(&mut words)?,
                "timeout" => spec.timeout = time(&mut words)?,
                _ => {
                    let known = ["name", "to", "interval", "timeout"];
                    return Err(words.unknown_property_err(&known));
                }
            }
        }
        check(&words, &spec)?;
    }
    if spec.names.is_empty() {
        spec.names.push(Name {
            qtype: rtype::A,
            ..Name::default()
        });
    }
    if spec.to.is_empty() {
        spec.to.push(To::This);
    }
    Ok(spec)
}

fn check(words: &Dispenser<'_>, spec: &ProbeSpec) -> Result<(), Error> {
    if spec.names.len() > MOST_NAMES {
        return Err(words.err(format!("more than {MOST_NAMES} names to ask for")));
    }
    if spec.to.len() > MOST_TARGETS {
        return Err(words.err(format!("more than {MOST_TARGETS} servers to ask")));
    }
    if spec.interval < MIN_INTERVAL {
        return Err(words.err("interval must be at least 1s"));
    }
    if spec.timeout.is_zero() || spec.timeout > spec.interval {
        return Err(words.err("timeout must be more than 0 and at most the interval"));
    }
    Ok(())
}

fn name(words: &Dispenser<'_>, args: &[&str]) -> Result<Name, Error> {
    let (name, rest) = args.split_first().ok_or_else(|| words.arg_err())?;
    let (qtype, expected) = match rest {
        [] => (rtype::A, Expected::Answer),
        [kind] => (qtype(words, kind)?, Expected::Answer),
        [kind, value] => {
            let qtype = qtype(words, kind)?;
            (qtype, expected(words, qtype, value)?)
        }
        _ => return Err(words.arg_err()),
    };
    let parsed = parse_name(name);
    let parsed = parsed.ok_or_else(|| words.err(format!("no domain name: {}", quote(name))))?;
    Ok(Name {
        name: Some(parsed.name().to_lower()),
        qtype,
        expected,
    })
}

fn qtype(words: &Dispenser<'_>, text: &str) -> Result<u16, Error> {
    let upper = text.to_ascii_uppercase();
    let number = || upper.strip_prefix("TYPE")?.parse().ok();
    let found = type_by_name(&upper).or_else(number);
    let found = found.ok_or_else(|| words.err(format!("no record type: {}", quote(text))))?;
    match found {
        // Of messages, not of names, or with many messages.
        0 | rtype::OPT | rtype::TKEY..=rtype::ANY => {
            Err(words.err(format!("cannot be probed: {}", quote(text))))
        }
        found => Ok(found),
    }
}

fn expected(words: &Dispenser<'_>, qtype: u16, text: &str) -> Result<Expected, Error> {
    Ok(match text {
        "answer" => Expected::Answer,
        "nodata" => Expected::NoData,
        "nxdomain" => Expected::NxDomain,
        text => {
            let address = text.parse::<IpAddr>().map_err(|_| {
                let error = "expected is none of answer, nodata, nxdomain or an address";
                let known = ["answer", "nodata", "nxdomain"];
                words
                    .err(format!("{error}: {}", quote(text)))
                    .suggest(&known)
            })?;
            match (qtype, address) {
                (rtype::A, IpAddr::V4(_)) | (rtype::AAAA, IpAddr::V6(_)) => {}
                _ => {
                    let kind = rtype::display(qtype);
                    return Err(words.err(format!("{kind} has no address {address}")));
                }
            }
            Expected::Address(address)
        }
    })
}

fn target(words: &Dispenser<'_>, text: &str) -> Result<To, Error> {
    let ip = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    match text {
        "self" => Ok(To::This),
        "service" => Ok(To::Service),
        text => match text.parse().or_else(|_| ip()) {
            Ok(address) if address.port() != 0 => Ok(To::Address(address)),
            _ => Err(words
                .err(format!(
                    "neither self, service nor an address: {}",
                    quote(text)
                ))
                .suggest(&["self", "service"])),
        },
    }
}

fn time(words: &mut Dispenser<'_>) -> Result<Duration, Error> {
    let [text] = words.remaining_args()[..] else {
        return Err(words.arg_err());
    };
    let parsed = duration::parse(text).map_err(|error| words.err(error.to_string()))?;
    parsed
        .to_std()
        .ok_or_else(|| words.err(format!("{parsed} is less than nothing")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::refusal;

    fn read(text: &str) -> ProbeSpec {
        parse(&Directive::new("Corefile", text)).expect(text)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let spec = read("probe");
        assert_eq!(spec.names.len(), 1);
        assert_eq!(
            (spec.names[0].name.as_ref(), spec.names[0].qtype),
            (None, 1)
        );
        assert_eq!(spec.to, [To::This]);
        let times = (spec.interval.as_secs(), spec.timeout.as_secs());
        assert_eq!(times, (10, 2));
    }

    #[test]
    fn everything_may_be_said() {
        let spec = read("probe Web.shop aaaa {\nname x.example TXT nodata\n}");
        let names: Vec<_> = spec
            .names
            .iter()
            .map(|one| (one.qtype, one.expected))
            .collect();
        assert_eq!(names, [(28, Expected::Answer), (16, Expected::NoData)]);
        let name = spec.names[0].name.as_ref().unwrap().name().to_string();
        assert_eq!(name, "web.shop.");
        let spec = read(
            "probe {\nname a A 10.0.0.1\nname b type65 nxdomain\nto self 10.96.0.10 [fd00::a]:1053\nto service self\ninterval 30s\ntimeout 500ms\n}",
        );
        let address = Expected::Address([10, 0, 0, 1].into());
        assert_eq!(spec.names[0].expected, address);
        assert_eq!(
            (spec.names[1].qtype, spec.names[1].expected),
            (65, Expected::NxDomain)
        );
        let addresses = ["10.96.0.10:53", "[fd00::a]:1053"];
        let [a, b] = addresses.map(|address| To::Address(address.parse().unwrap()));
        assert_eq!(spec.to, [To::This, a, b, To::Service]);
        assert_eq!(spec.timeout.as_millis(), 500);
    }

    #[test]
    fn what_is_refused_and_how() {
        let many_names = format!("probe {{\n{}}}", "name a\n".repeat(17));
        let many = (1..10)
            .map(|nth| format!("10.0.0.{nth} "))
            .collect::<String>();
        let many_targets = format!("probe {{\nto {many}\n}}");
        let place = "Corefile:2 - Error during parsing:";
        for (text, error) in [
            ("probe\nprobe", "this plugin can only be used once per Server Block".to_owned()),
            ("probe a..b", "Corefile:1 - Error during parsing: no domain name: \"a..b\"".to_owned()),
            ("probe a A answer more", "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'more'".to_owned()),
            ("probe {\nname\n}", format!("{place} Wrong argument count or unexpected line ending after 'name'")),
            ("probe {\nname a bogus\n}", format!("{place} no record type: \"bogus\"")),
            ("probe {\nname a AXFR\n}", format!("{place} cannot be probed: \"AXFR\"")),
            ("probe {\nname a A nodta\n}", format!("{place} expected is none of answer, nodata, nxdomain or an address: \"nodta\"")),
            ("probe {\nname a A fd00::1\n}", format!("{place} A has no address fd00::1")),
            ("probe {\nto\n}", format!("{place} Wrong argument count or unexpected line ending after 'to'")),
            ("probe {\nto kube-dns\n}", format!("{place} neither self, service nor an address: \"kube-dns\"")),
            ("probe {\nto 10.0.0.1:0\n}", format!("{place} neither self, service nor an address: \"10.0.0.1:0\"")),
            ("probe {\ninterval\n}", format!("{place} Wrong argument count or unexpected line ending after 'interval'")),
            ("probe {\ninterval soon\n}", format!("{place} time: invalid duration \"soon\"")),
            ("probe {\ninterval -5s\n}", format!("{place} -5s is less than nothing")),
            ("probe {\nintervall 5s\n}", format!("{place} unknown property 'intervall'")),
            ("probe {\ninterval 500ms\n}", "Corefile:3 - Error during parsing: interval must be at least 1s".to_owned()),
            ("probe {\ntimeout 11s\n}", "Corefile:3 - Error during parsing: timeout must be more than 0 and at most the interval".to_owned()),
            (&many_names, "Corefile:19 - Error during parsing: more than 16 names to ask for".to_owned()),
            (&many_targets, "Corefile:3 - Error during parsing: more than 8 servers to ask".to_owned()),
        ] {
            assert_eq!(refusal(&super::super::DEFINITION, text), error, "{text}");
        }
    }
}
