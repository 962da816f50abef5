//! The finding as text.

use std::fmt::{self, Write};

use super::advice::count;
use super::answer::{Answer, printable};
use super::report::{Asked, Evaluated, Query, Report, Step, is_silent};

/// More records than these are counted and not shown.
const SHOWN: usize = 8;

/// The finding, line by line.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let resolver = &report.resolver;
    let search = match resolver.search.is_empty() {
        true => "none".to_owned(),
        false => resolver.search.join(" "),
    };
    let name = printable(&report.name);
    writeln!(out, "{name}  ({}, {})", report.libc, resolver.source)?;
    writeln!(out, "  search {search}, ndots:{}", resolver.ndots)?;
    if let Some(corefile) = &report.corefile {
        writeln!(
            out,
            "  Corefile {}, listener {}, client {}",
            corefile.file, corefile.listener, corefile.client
        )?;
    }
    if let Some(server) = &report.server {
        writeln!(out, "  server {server}")?;
    }
    let mut block = None;
    for (number, step) in (1..).zip(&report.steps) {
        writeln!(out)?;
        write_step(out, number, step, report, &mut block)?;
    }
    writeln!(out)?;
    write_end(out, report)?;
    write_list(out, "Advice", &report.advice)?;
    write_list(out, "Note", &report.notes)
}

fn write_step<'r>(
    out: &mut String,
    number: usize,
    step: &'r Step,
    report: &Report,
    block: &mut Option<&'r str>,
) -> fmt::Result {
    let made = match &step.domain {
        Some(domain) => format!("search {domain}"),
        None => "as written".to_owned(),
    };
    writeln!(out, "{number}. {}  ({made})", step.name)?;
    let both = report.server.is_some() && report.corefile.is_some();
    let mut before: Option<&Query> = None;
    for query in &step.queries {
        if let Some(evaluated) = &query.evaluated {
            // Named once for all that follows.
            let this = evaluated.block.as_deref();
            if let Some(this) = this.filter(|_| this != *block) {
                writeln!(out, "   block {this}")?;
            }
            *block = this;
            write!(out, "   {:<5} {}", query.rtype, outcome(evaluated))?;
            let known = before.and_then(|query| query.evaluated.as_ref());
            write_why(out, evaluated, known)?;
        }
        if let Some(asked) = &query.asked {
            let rtype = if both { "" } else { &*query.rtype };
            let who = if both { "server: " } else { "" };
            let differs = if query.differs { "   <- differs" } else { "" };
            writeln!(out, "   {rtype:<5} {who}{}{differs}", heard(asked))?;
        }
        before = Some(query);
    }
    Ok(())
}

fn outcome(evaluated: &Evaluated) -> String {
    match &evaluated.answer {
        _ if evaluated.not_asked => "unknown".to_owned(),
        Some(answer) => summary(answer),
        None => "no answer".to_owned(),
    }
}

/// Who answered and why. What stands on the line above is not said again.
fn write_why(out: &mut String, this: &Evaluated, above: Option<&Evaluated>) -> fmt::Result {
    let same = |above: &Evaluated| above.why == this.why && above.plugin == this.plugin;
    let why = match &this.why {
        Some(_) if above.is_some_and(same) => None,
        why => why.as_deref(),
    };
    match (this.plugin, why) {
        (Some(plugin), Some(why)) => writeln!(out, "  {plugin}: {why}"),
        (Some(plugin), None) => writeln!(out, "  {plugin}"),
        (None, Some(why)) => writeln!(out, "  {why}"),
        (None, None) => writeln!(out),
    }?;
    // Of the plugins that a lookup of the server's own comes to, the last one answers.
    for (place, visit) in this.visits.iter().enumerate() {
        let behind = this.visits.get(place + 1);
        let last = behind.is_none_or(|behind| behind.depth != visit.depth);
        if visit.depth > 0 && last {
            let why = visit.why.as_ref().map(|why| format!(": {why}"));
            writeln!(
                out,
                "         asks itself for {} {}  {}{}",
                visit.name,
                visit.rtype,
                visit.plugin,
                why.unwrap_or_default()
            )?;
        }
    }
    Ok(())
}

fn heard(asked: &Asked) -> String {
    let answer = match asked {
        Asked::Answer(answer) => answer,
        Asked::Error(error) => return format!("no answer: {error}"),
    };
    let mut text = summary(answer);
    if let Some(zone) = answer.soa.as_ref().filter(|_| answer.records.is_empty()) {
        let _ = write!(text, ", says the zone {zone}");
    }
    if answer.authoritative {
        text.push_str(", authoritative");
    }
    let _ = write!(text, ", {} ms", answer.milliseconds);
    text
}

/// Code and records in a line.
fn summary(answer: &Answer) -> String {
    let mut text = match (&*answer.rcode, &*answer.records) {
        ("NOERROR", []) => "no such record".to_owned(),
        (rcode, []) => rcode.to_owned(),
        (rcode, records) => {
            let shown = records.iter().take(SHOWN);
            let shown: Vec<String> = shown
                .map(|rr| match &*rr.rtype {
                    "A" | "AAAA" => rr.data.clone(),
                    rtype => format!("{rtype} {}", rr.data),
                })
                .collect();
            let mut text = shown.join(", ");
            if let Some(more) = records.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                let _ = write!(text, " and {more} more");
            }
            if rcode != "NOERROR" {
                text = format!("{rcode} with {text}");
            }
            let ttl = records.iter().map(|rr| rr.ttl).min().unwrap_or(0);
            let _ = write!(text, " (TTL {ttl})");
            text
        }
    };
    if answer.tcp {
        text.push_str(", over TCP: too large for a datagram");
    }
    for ede in &answer.ede {
        let _ = match ede.text.is_empty() {
            true => write!(text, ", EDE {}", ede.code),
            false => write!(text, ", EDE {}: {}", ede.code, ede.text),
        };
    }
    text
}

fn write_end(out: &mut String, report: &Report) -> fmt::Result {
    let spent = count(report.queries, "query");
    let vain = match report.queries_in_vain {
        0 => String::new(),
        vain => format!(", {vain} of them in vain"),
    };
    match report.resolves {
        Some(true) => writeln!(
            out,
            "Resolves to {} with {spent}{vain}.",
            some(&report.answers)
        ),
        Some(false) => writeln!(out, "Does not resolve: {spent}."),
        None if is_silent(&report.steps) => {
            writeln!(out, "Not known: the server did not answer. {spent}.")
        }
        None => writeln!(out, "Not known: upstreams were not asked. {spent}."),
    }?;
    if report.differs {
        writeln!(out, "The server does not answer as the Corefile says.")?;
    }
    Ok(())
}

fn some(answers: &[String]) -> String {
    match answers.split_at_checked(SHOWN) {
        Some((shown, more @ [_, ..])) => format!("{} and {} more", shown.join(", "), more.len()),
        _ => answers.join(", "),
    }
}

fn write_list(out: &mut String, title: &str, lines: &[String]) -> fmt::Result {
    for line in lines {
        let end = if line.ends_with('?') { "" } else { "." };
        writeln!(out, "{title}: {line}{end}")?;
    }
    Ok(())
}
