//! What the process says about itself.

use std::fmt::Write as _;

use crate::plugin::ORDER;
use crate::server::Plan;

/// The CoreDNS whose behaviour is the contract.
const COREDNS: &str = "CoreDNS-1.14.7";

/// Two lines, in the shape of CoreDNS's.
pub fn version() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "Pando-{} (compatible with {COREDNS})\n{}/{arch}, rust, {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        option_env!("PANDO_COMMIT").unwrap_or("unknown"),
    )
}

/// The directives that are built in, sorted, one a line.
pub fn plugins() -> String {
    let mut names: Vec<&str> = ORDER
        .iter()
        .filter(|(_, definition)| definition.is_some())
        .map(|(name, _)| *name)
        .collect();
    names.sort_unstable();
    names.join("\n") + "\n"
}

/// A line for each zone of each listener, with a warning before a zone that
/// many clients will not take for a name.
pub(super) fn zones(plan: &Plan) -> String {
    let mut text = String::new();
    for listener in plan.listeners() {
        let address = listener.address();
        let host = address.host();
        for zone in listener.zones() {
            if !is_preferred(&zone) {
                let zone = corefile::quote(&zone);
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "Warning: Domain {zone} does not follow RFC1035 preferred syntax"
                );
            }
            let _ = write!(text, "{zone}:{}", address.port);
            let _ = match host.is_empty() {
                true => writeln!(text),
                false => writeln!(text, " on {host}"),
            };
        }
    }
    text
}

/// RFC 1035 section 2.3.1: labels of letters, digits and hyphens that begin
/// with a letter. The root and reverse zones are fine as they are.
fn is_preferred(zone: &str) -> bool {
    if zone == "." || zone.ends_with(".in-addr.arpa.") || zone.ends_with(".ip6.arpa.") {
        return true;
    }
    zone.strip_suffix('.').is_some_and(|zone| {
        zone.split('.').all(|label| {
            label.starts_with(|first: char| first.is_ascii_alphabetic())
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Block, ListenAddress};

    #[test]
    fn zones_are_listed_as_coredns_lists_them() {
        let block = |zones: &[&str]| Block {
            zones: zones.iter().map(|zone| zone.parse().unwrap()).collect(),
            chain: Vec::new().into(),
            view: None,
            debug: false,
            stacktrace: false,
        };
        let plan = Plan::new([
            (
                ListenAddress::any(53),
                vec![block(&["example.org.", "."]), block(&["x_y."])],
            ),
            (
                ListenAddress::of([127, 0, 0, 1].into(), 1053),
                vec![block(&["10.in-addr.arpa."])],
            ),
        ]);
        assert_eq!(
            zones(&plan),
            ".:53\n\
             example.org.:53\n\
             Warning: Domain \"x_y.\" does not follow RFC1035 preferred syntax\n\
             x_y.:53\n\
             10.in-addr.arpa.:1053 on 127.0.0.1\n"
        );
    }

    #[test]
    fn preferred_names_begin_with_letters() {
        for (zone, preferred) in [
            ("example.org.", true),
            ("a-1.b.", true),
            ("1a.org.", false),
            ("_x.org.", false),
            ("a-.org.", false),
            ("8.b.d.ip6.arpa.", true),
        ] {
            assert_eq!(is_preferred(zone), preferred, "{zone}");
        }
    }
}
