//! What follows from a walk: fewer queries for the same answer, or the name
//! that was perhaps meant.

use super::answer::printable;
use super::report::{Report, Step};
use super::walk::{Libc, Verdict, Written, candidates};
use crate::command::resolv_conf::ResolvConf;

/// How a walk ends that goes by another configuration.
#[derive(Debug, Eq, PartialEq)]
struct Replay {
    /// The place of the step that is found.
    found: usize,
    queries: usize,
}

/// Advice on a walk, the most worth having first.
pub(super) fn advice(
    report: &Report,
    written: &Written,
    conf: &ResolvConf,
    libc: Libc,
) -> Vec<String> {
    let mut advice = Vec::new();
    let last = report.steps.last();
    match last.filter(|_| report.resolves == Some(true)) {
        Some(found) => shorter(&mut advice, report, found),
        None => other_names(&mut advice, report),
    }
    if let Some(text) = fewer_dots(report, written, conf, libc) {
        advice.push(text);
    }
    if let (Some(last), Libc::Glibc) = (last, libc)
        && report.resolves == Some(false)
        && last.verdict() == Verdict::Refused
        && report.steps.len() < candidates(written, conf, libc).len()
    {
        advice.push(format!(
            "{} was refused, and that ends the walk: the domains behind it were not tried",
            last.name
        ));
    }
    if report.resolves == Some(false) {
        advice.extend(no_name(report));
    }
    if report.resolves == Some(false) && last.is_some_and(|last| last.verdict() == Verdict::Found) {
        advice.push(
            "there is an answer, but without a record of the type that was asked for: a CNAME that leads nowhere"
                .to_owned(),
        );
    }
    advice
}

/// The name that needs no walk.
fn shorter(advice: &mut Vec<String>, report: &Report, found: &Step) {
    if report.steps.len() > 1 {
        advice.push(format!(
            "write `{}`, with the dot at its end: {} instead of {}",
            found.name,
            count(found.spent(), "query"),
            report.queries
        ));
    }
}

fn other_names(advice: &mut Vec<String>, report: &Report) {
    let evaluated = report.steps.iter().flat_map(|step| &step.queries);
    let mut near: Vec<&String> = Vec::new();
    for name in evaluated.flat_map(|query| query.evaluated.iter().flat_map(|it| &it.near)) {
        if !near.contains(&name) {
            near.push(name);
        }
    }
    if !near.is_empty() {
        let names: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
        advice.push(format!("did you mean {}?", names.join(" or ")));
    }
}

/// What was given in the place of a name.
fn no_name(report: &Report) -> Option<String> {
    let given = printable(&report.name);
    let host = host(&report.name);
    if host != report.name {
        let host = printable(host);
        return Some(format!("`{given}` is more than a name: ask for `{host}`"));
    }
    let bare = report.name.trim_end_matches('.').to_ascii_lowercase();
    let asked = |rtype: &str| {
        report
            .steps
            .iter()
            .any(|step| step.queries.iter().any(|query| query.rtype == rtype))
    };
    if (bare.ends_with(".in-addr.arpa") || bare.ends_with(".ip6.arpa")) && !asked("PTR") {
        return Some(
            "the name of an address has PTR records: `--type PTR`, or give the address itself"
                .to_owned(),
        );
    }
    (!report.name.is_ascii()).then(|| {
        format!("`{given}` was asked for octet by octet: programs that know IDNA ask for its form of letters, digits and dashes, `xn--…`")
    })
}

/// The host of a URL, or of `HOST:PORT`; else all of it.
fn host(given: &str) -> &str {
    let rest = given.split_once("://").map_or(given, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    match rest.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => rest,
    }
}

/// What `ndots:2` would save, where it is sure to lead to the same answer.
fn fewer_dots(report: &Report, written: &Written, conf: &ResolvConf, libc: Libc) -> Option<String> {
    const NDOTS: u8 = 2;
    if conf.ndots <= NDOTS || report.resolves != Some(true) || report.steps.len() < 2 {
        return None;
    }
    let with = ResolvConf {
        ndots: NDOTS,
        ..conf.clone()
    };
    let replay = replay(report, written, &with, libc)?;
    let same = replay.found + 1 == report.steps.len();
    (same && replay.queries < report.queries).then(|| {
        format!(
            "or set `ndots:2` in the Pod's dnsConfig: {} instead of {}, and names like `service.namespace` are still found",
            count(replay.queries, "query"),
            report.queries
        )
    })
}

/// Walks by another configuration among the answers that are known already;
/// `None` where one is missing, or nothing is found.
fn replay(report: &Report, written: &Written, conf: &ResolvConf, libc: Libc) -> Option<Replay> {
    let mut queries = 0;
    for candidate in candidates(written, conf, libc) {
        let asked = |step: &&Step| step.candidate.name == candidate.name;
        let (place, step) = report
            .steps
            .iter()
            .enumerate()
            .find(|(_, step)| asked(step))?;
        queries += step.spent();
        match step.verdict() {
            Verdict::Found => {
                return Some(Replay {
                    found: place,
                    queries,
                });
            }
            verdict if verdict.goes_on(&candidate, libc) => {}
            _ => return None,
        }
    }
    None
}

/// `1 query`, `2 queries`.
pub(super) fn count(number: usize, what: &str) -> String {
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_what_people_paste() {
        for (given, want) in [
            ("web.shop", "web.shop"),
            ("web.shop:8080", "web.shop"),
            ("http://web.shop", "web.shop"),
            ("https://me:secret@web.shop:8443/a?b#c", "web.shop"),
            ("web.shop/health", "web.shop"),
            ("web:http", "web:http"),
            ("_http._tcp.web.shop", "_http._tcp.web.shop"),
        ] {
            assert_eq!(host(given), want, "{given}");
        }
    }
}
