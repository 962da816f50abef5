//! What a Corefile says that its author hardly meant. Needs no cluster.

mod forwards;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use corefile::key::Overlap;
use corefile::{Error, Host};

use super::finding::{Finding, Severity};
use super::reading::{Reading, Stanza, stanzas};
use crate::configuration::{Draft, Text};
use crate::plugin::{Block, ORDER};
use crate::wire::NameBuf;
use crate::zones;

/// What is known of the servers that read the Corefile.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) server: Server,
    /// The addresses of the Service whose queries come here.
    pub(super) service: Vec<IpAddr>,
    /// Whether the replicas' own /etc/resolv.conf names the cluster DNS.
    pub(super) asks_itself: bool,
}

/// Which program the replicas run, as their images are called.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Server {
    #[default]
    Pando,
    CoreDns,
}

/// Names that CoreDNS no longer has, with what stands in their place.
const REMOVED: [(&str, &str); 7] = [
    (
        "upstream",
        "remove the line: targets of CNAMEs are looked up without it",
    ),
    (
        "resyncperiod",
        "remove the line: changes are watched, nothing is synced again",
    ),
    (
        "transfer",
        "remove the line and write `transfer { to … }` beside `kubernetes`",
    ),
    ("proxy", "write `forward` in its place"),
    (
        "federation",
        "remove it: Kubernetes has no federation any more",
    ),
    ("reverse", "write `template` in its place"),
    ("startup", "write `on startup` in its place"),
];

/// Everything there is to say about a Corefile.
pub(super) fn lint(text: &Text, host: &dyn Host, context: &Context) -> Vec<Finding> {
    let reading = match Reading::new(text, host) {
        Ok(reading) => reading,
        Err(error) => return vec![refused(&error, context)],
    };
    if reading.blocks.is_empty() {
        // CoreDNS and Pando serve `whoami` then.
        let what = "no server block: every query is answered with the address of who asks";
        return vec![
            Finding::error(what).advise("look whether the ConfigMap's key Corefile is mounted"),
        ];
    }
    let mut found = mistakes(&reading, context);
    if found.is_empty() {
        found.extend(whole(text, host, &reading).map(|error| refused(&error, context)));
    }
    for (block, directive) in reading.directives("kubernetes") {
        for stanza in stanzas(directive) {
            found.extend(kubernetes(block, &stanza, &reading));
        }
    }
    found.extend(forwards::lint(&reading, context));
    found.extend(hosts(&reading));
    found.extend(autopath(&reading));
    found.extend(caches(&reading, context));
    found.extend(missing(&reading));
    found.extend(root(&reading));
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if found
        .iter()
        .all(|finding| finding.severity < Severity::Warning)
    {
        let count = reading.blocks.len();
        let blocks = if count == 1 { "block" } else { "blocks" };
        found.insert(
            0,
            Finding::ok(format!("{count} server {blocks}, all of it understood")),
        );
    }
    found
}

/// Every directive that is not taken, not only the first.
fn mistakes(reading: &Reading, context: &Context) -> Vec<Finding> {
    let mut found = Vec::new();
    for (block, source) in reading.blocks.iter().zip(&reading.corefile.blocks) {
        for directive in &source.directives {
            let known = ORDER.iter().find(|(name, _)| *name == directive.name);
            match known.and_then(|(_, definition)| *definition) {
                Some(definition) => {
                    if let Err(error) = (definition.parse)(directive, block) {
                        found.push(refused(&error.in_plugin(definition.name), context));
                    }
                }
                None => found.extend(stanzas(directive).first().map(|stanza| {
                    let what = format!("directive '{}' is not supported yet", directive.name);
                    unsupported(what, context).at(stanza.word)
                })),
            }
        }
    }
    found
}

/// What only shows when all of it is read together: keys of a kind that is
/// not served, and zones that are served twice. `bind` is left out of account:
/// the interfaces that it names are those of another machine.
fn whole(text: &Text, host: &dyn Host, reading: &Reading) -> Option<Error> {
    if let Err(error) = Draft::parse(text, "53", host) {
        return Some(error);
    }
    let mut overlap = Overlap::default();
    let blocks = reading.blocks.iter().zip(&reading.corefile.blocks);
    let mut unbound = blocks.filter(|(_, source)| source.directive("bind").is_none());
    unbound.find_map(|(block, _)| {
        let mut keys = block.keys.iter();
        keys.find_map(|key| overlap.register(key, "", false).err())
    })
}

fn refused(error: &Error, context: &Context) -> Finding {
    let mut what = error.first_line();
    let Some(token) = error.token() else {
        return Finding::error(what);
    };
    // `FILE:LINE - Error during parsing: ` stands in `where`.
    let place = format!("{}:{} - ", token.file(), token.line);
    if let Some((_, rest)) = what.split_once(&place) {
        what = rest.strip_prefix("Error during parsing: ").unwrap_or(rest);
    }
    if what.contains("not found") && what.contains("import") {
        return Finding::not_checked(format!("{what}: no mounted ConfigMap holds it")).at(token);
    }
    if what.ends_with("is not supported yet") || what.contains("not supported yet:") {
        return unsupported(what.to_owned(), context).at(token);
    }
    let finding = Finding::error(what).at(token);
    let removed = REMOVED.iter().find(|(name, _)| **name == *token.text);
    match removed {
        Some((_, advice)) => finding.advise(*advice),
        None => finding.advise("nothing starts with this Corefile, and a reload keeps the old one"),
    }
}

/// CoreDNS may well serve it.
fn unsupported(what: String, context: &Context) -> Finding {
    match context.server {
        Server::Pando => {
            Finding::error(what).advise("Pando refuses to start with it: leave it out")
        }
        Server::CoreDns => Finding::warning(what).advise(
            "CoreDNS serves it; Pando would refuse to start: leave it out before migrating",
        ),
    }
}

fn kubernetes(block: &Block, stanza: &Stanza<'_>, reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    let zones = block.origins(&stanza.texts());
    let fall = stanza.option("fallthrough");
    let forwards = || {
        let mut all = reading.directives("forward");
        all.any(|(other, _)| std::ptr::eq(other, block))
    };
    let through: Vec<NameBuf> = match fall.map(|line| line.texts()) {
        None => Vec::new(),
        Some(zones) if zones.is_empty() => vec![NameBuf::new()],
        Some(zones) => block.origins(&zones),
    };
    let falls = |zone: &NameBuf| through.iter().any(|up| zone.name().is_under(up.name()));
    let stuck: Vec<String> = (zones.iter())
        .filter(|zone| zones::is_reverse(zone.name()) && !falls(zone))
        .map(ToString::to_string)
        .collect();
    if !stuck.is_empty() && forwards() {
        let what = format!(
            "no fallthrough for {}: addresses outside the cluster have no names, and nobody else is asked",
            stuck.join(" ")
        );
        let advice = format!("add `fallthrough {}` to kubernetes", stuck.join(" "));
        found.push(Finding::warning(what).at(stanza.word).advise(advice));
    }
    let leaks = zones
        .iter()
        .find(|zone| !zones::is_reverse(zone.name()) && falls(zone));
    if let (Some(zone), Some(fall), true) = (leaks, fall, forwards()) {
        let what = format!(
            "fallthrough of {zone}: each name that does not exist, and with it every walk along the search path, is asked upstream"
        );
        let advice = "write `fallthrough in-addr.arpa ip6.arpa`, unless another plugin adds names to the zone";
        found.push(Finding::warning(what).at(fall.word).advise(advice));
    }
    for line in &stanza.options {
        match (&*line.word.text, &*line.texts()) {
            ("pods", ["insecure"]) => found.push(
                Finding::info(
                    "pods insecure: any address has a name in every namespace, whether a Pod has it or not",
                )
                .at(line.word)
                .advise("`pods verified` tells them apart, with a watch of all Pods; `pods disabled` has none"),
            ),
            ("endpoint", [first, _, ..]) => found.push(
                Finding::warning(format!("of several endpoints only the first is used: {first}"))
                    .at(line.word)
                    .advise("name one; a list has been deprecated since CoreDNS 1.2"),
            ),
            (name @ ("apiserver_qps" | "apiserver_burst" | "apiserver_max_inflight"), _) => found
                .push(Finding::info(format!("{name} has no effect")).at(line.word).advise("remove the line")),
            _ => {}
        }
    }
    found
}

/// `hosts` stands before `kubernetes` and `forward`, and without `fallthrough`
/// it fails what it does not know (CoreDNS `plugin/hosts`: it has no SOA).
fn hosts(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    for (source, block) in reading.corefile.blocks.iter().zip(&reading.blocks) {
        let Some(directive) = source.directive("hosts") else {
            continue;
        };
        let others: Vec<&str> = ["kubernetes", "forward"]
            .into_iter()
            .filter(|name| source.directive(name).is_some())
            .collect();
        for stanza in stanzas(directive) {
            let zones = stanza.texts();
            let all = block.origins(zones.get(1..).unwrap_or_default());
            if stanza.option("fallthrough").is_none()
                && !others.is_empty()
                && all.contains(&NameBuf::new())
            {
                let what = format!(
                    "hosts without fallthrough: every name that is not in it fails, and {} is never asked",
                    others.join(" or ")
                );
                found.push(
                    Finding::error(what)
                        .at(stanza.word)
                        .advise("add `fallthrough` to hosts"),
                );
            }
        }
    }
    found
}

fn autopath(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    for (source, _) in reading.corefile.blocks.iter().zip(&reading.blocks) {
        let Some(autopath) = source.directive("autopath") else {
            continue;
        };
        let knows = source.directive("kubernetes").is_some_and(|directive| {
            stanzas(directive).iter().any(|stanza| {
                let pods = stanza.option("pods");
                pods.is_some_and(|line| line.texts() == ["verified"])
                    || stanza.option("node").is_some()
            })
        });
        for stanza in stanzas(autopath) {
            let of_cluster = stanza
                .args
                .last()
                .is_some_and(|last| &*last.text == "@kubernetes");
            if of_cluster && !knows {
                let what = "autopath @kubernetes without `pods verified`: it cannot know whose search path to walk";
                let advice = "write `pods verified` in kubernetes (on a node: `node {$NODE_NAME}`), or remove autopath";
                found.push(Finding::warning(what).at(stanza.word).advise(advice));
            }
        }
    }
    found
}

/// Pando answers the cluster's names as they are now; CoreDNS may keep them.
fn caches(reading: &Reading, context: &Context) -> Vec<Finding> {
    let Some(zone) = reading.cluster_zone() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for source in &reading.corefile.blocks {
        let directive = |name| source.directive(name);
        if directive("cache").is_none() {
            if let Some(stanza) =
                directive("forward").and_then(|forward| stanzas(forward).into_iter().next())
            {
                let what = "forward without cache: each query for an external name goes upstream";
                found.push(
                    Finding::warning(what)
                        .at(stanza.word)
                        .advise("add `cache 30`"),
                );
            }
            continue;
        }
        let keeps = directive("cache")
            .filter(|_| context.server == Server::CoreDns && directive("kubernetes").is_some());
        for stanza in keeps.map(stanzas).unwrap_or_default() {
            let disabled = |what: &str| {
                stanza.options.iter().any(|line| {
                    let args = line.texts();
                    let zones: Vec<NameBuf> = (args.iter().skip(1))
                        .filter_map(|zone| corefile::key::normalize(zone).parse().ok())
                        .collect();
                    &*line.word.text == "disable"
                        && args.first() == Some(&what)
                        && (zones.is_empty()
                            || zones.iter().any(|up| zone.name().is_under(up.name())))
                })
            };
            if !(disabled("success") && disabled("denial")) {
                let what = format!(
                    "cache hides changes below {zone} for as long as it keeps them, up to 30s by default"
                );
                let advice = format!(
                    "add `disable success {zone}` and `disable denial {zone}` to cache; under Pando nothing needs to change, it never keeps the cluster's names"
                );
                found.push(Finding::info(what).at(stanza.word).advise(advice));
            }
        }
    }
    found
}

/// What a cluster DNS should have somewhere.
fn missing(reading: &Reading) -> Vec<Finding> {
    if reading.directives("kubernetes").next().is_none() {
        return Vec::new();
    }
    let absent = |name: &str| reading.directives(name).next().is_none();
    let mut found = Vec::new();
    for (name, what, advice) in [
        (
            "ready",
            "a replica that does not know the cluster yet gets queries all the same",
            "add `ready`, and a readinessProbe on /ready at port 8181",
        ),
        (
            "health",
            "a replica that hangs is not restarted, and one that ends does not wait for its last queries",
            "add `health { lameduck 5s }`, and a livenessProbe on /health at port 8080",
        ),
        ("loop", "a forwarding loop is not noticed", "add `loop`"),
        (
            "errors",
            "failed queries leave no line in the log",
            "add `errors`",
        ),
    ] {
        if absent(name) {
            found.push(Finding::warning(format!("no {name}: {what}")).advise(advice));
        }
    }
    for (name, what) in [
        ("reload", "a changed ConfigMap needs a restart"),
        ("prometheus", "there are no metrics"),
    ] {
        if absent(name) {
            found.push(Finding::info(format!("no {name}: {what}")).advise(format!("add `{name}`")));
        }
    }
    found
}

fn root(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    let root = NameBuf::new();
    let served = reading
        .blocks
        .iter()
        .any(|block| block.zones.contains(&root));
    if !served && reading.directives("kubernetes").next().is_some() {
        let what = "no server block for `.`: external names are refused";
        found.push(
            Finding::warning(what).advise("add a block `.:53 { forward . /etc/resolv.conf … }`"),
        );
    }
    found
}
