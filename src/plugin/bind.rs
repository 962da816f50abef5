//! `bind`: listens on some addresses and not on all.
//!
//! ```text
//! bind ADDRESS|INTERFACE... {
//!     except ADDRESS|INTERFACE...
//! }
//! ```
//!
//! An interface stands for all its addresses at the time of the setup;
//! link-local ones keep its name. Several lines add up. Without the directive
//! a block listens on all addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corefile::{Directive, quote};

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::interfaces;

pub(super) static DEFINITION: Definition = Definition {
    name: "bind",
    parse,
};

#[derive(Debug)]
struct BindSpec {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    addresses: Vec<String>,
    except: Vec<String>,
}

fn parse(directive: &Directive, _: &Block) -> Parsed {
    Ok(Box::new(BindSpec {
        lines: lines(directive)?,
    }))
}

fn lines(directive: &Directive) -> Result<Vec<Line>, corefile::Error> {
    let mut words = directive.dispenser();
    let mut lines = Vec::new();
    let own = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
    while words.next() {
        let addresses = own(words.remaining_args());
        if addresses.is_empty() {
            return Err(words.plain_err("at least one address or interface name is expected"));
        }
        let mut except = Vec::new();
        while words.next_block() {
            if words.val() != "except" {
                let message = format!("invalid option {}", quote(words.val()));
                return Err(words.plain_err(message).suggest(&["except"]));
            }
            except = own(words.remaining_args());
            if except.is_empty() {
                return Err(words.plain_err(
                    "at least one address or interface must be given to except subdirective",
                ));
            }
        }
        lines.push(Line { addresses, except });
    }
    Ok(lines)
}

impl Spec for BindSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.settings.hosts = expand(&self.lines, &interfaces())?;
        Ok(())
    }
}

/// The addresses that a `bind` stands for here and now, for `pando check`.
///
/// # Errors
///
/// As the setup's own.
pub(super) fn hosts(directive: &Directive) -> Result<Vec<String>, BuildError> {
    let lines = lines(directive).map_err(|error| BuildError::new(error.first_line()))?;
    expand(&lines, &interfaces())
}

/// The addresses of each interface of this host.
type Interfaces = BTreeMap<String, Vec<IpAddr>>;

fn interfaces() -> Interfaces {
    let mut found = Interfaces::new();
    // Without the list, addresses still work and names are told to be unknown.
    for (name, address) in interfaces::all() {
        found.entry(name).or_default().extend(address);
    }
    found
}

fn expand(lines: &[Line], interfaces: &Interfaces) -> Result<Vec<String>, BuildError> {
    let mut all = Vec::new();
    for line in lines {
        let except = addresses(&line.except, interfaces)?;
        let addresses = addresses(&line.addresses, interfaces)?;
        all.extend(
            addresses
                .into_iter()
                .filter(|address| !except.contains(address)),
        );
    }
    Ok(all)
}

fn addresses(words: &[String], interfaces: &Interfaces) -> Result<Vec<String>, BuildError> {
    let mut all = Vec::new();
    for word in words {
        match interfaces.get(word) {
            Some(addresses) => all.extend(addresses.iter().map(|address| match address {
                IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("{v6}%{word}"),
                address => address.to_string(),
            })),
            None if word.parse::<IpAddr>().is_ok() => all.push(word.clone()),
            None => {
                return Err(BuildError::new(format!(
                    "not a valid IP address or interface name: {}",
                    quote(word)
                )));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Interfaces {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Interfaces::from([
            ("lo".to_owned(), addresses(&["127.0.0.1", "::1"])),
            ("eth0".to_owned(), addresses(&["192.0.2.7", "fe80::7"])),
        ])
    }

    #[test]
    fn interfaces_become_their_addresses() {
        for (text, hosts) in [
            ("bind 127.0.0.1", Ok("127.0.0.1")),
            ("bind ::1 192.0.2.1", Ok("::1 192.0.2.1")),
            ("bind lo", Ok("127.0.0.1 ::1")),
            ("bind eth0", Ok("192.0.2.7 fe80::7%eth0")),
            ("bind lo eth0 {\n except ::1 eth0\n}", Ok("127.0.0.1")),
            (
                "bind lo {\n except 127.0.0.1\n}\nbind 127.0.0.1",
                Ok("::1 127.0.0.1"),
            ),
            (
                "bind",
                Err("at least one address or interface name is expected"),
            ),
            (
                "bind lo {\n except\n}",
                Err("at least one address or interface must be given to except subdirective"),
            ),
            ("bind lo {\n excpt ::1\n}", Err("invalid option \"excpt\"")),
            (
                "bind eth9",
                Err("not a valid IP address or interface name: \"eth9\""),
            ),
            (
                "bind 1.2.3",
                Err("not a valid IP address or interface name: \"1.2.3\""),
            ),
        ] {
            let found = lines(&Directive::new("Testfile", text))
                .map_err(|error| error.first_line().to_owned())
                .and_then(|lines| expand(&lines, &host()).map_err(|error| error.to_string()))
                .map(|hosts| hosts.join(" "));
            assert_eq!(found.as_deref().map_err(String::as_str), hosts, "{text}");
        }
    }

    #[test]
    fn this_host_has_a_loopback_interface() {
        let found = interfaces()
            .into_values()
            .flatten()
            .any(|address| address.is_loopback());
        assert!(found);
    }
}
