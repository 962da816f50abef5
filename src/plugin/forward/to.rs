//! Where queries go: from words to addresses.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use corefile::key::{self, Transport};
use corefile::quote;

use super::resolve;
use crate::upstream::MAX_UPSTREAMS;

/// CoreDNS's limit on the number of TO, counted before files and names are looked into.
const MAX_TO: usize = 15;

const PORT: &str = "53";

/// An address, and the name that logs and metrics know it by: `192.0.2.1:53`.
pub(super) type Endpoint = (SocketAddr, String);

/// One TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    /// An address.
    Address(Endpoint),
    /// A file in the form of `/etc/resolv.conf` or, where there is none, a host name.
    Indirect {
        /// As written.
        text: String,
        /// The file's name.
        path: String,
    },
}

/// Tells what `text` is, without looking outside.
///
/// # Errors
///
/// In CoreDNS's words, where it refuses too.
pub(super) fn parse(text: &str) -> Result<To, String> {
    let (transport, host) = Transport::split(text);
    if host.is_empty() {
        return Err(format!("invalid address: {}", quote(text)));
    }
    match transport {
        Transport::Dns => {}
        Transport::Https if host.contains('/') => {
            return Err(format!(
                "paths are not allowed in HTTPS upstream addresses (the /dns-query path is used by default): {text}"
            ));
        }
        Transport::Tls | Transport::Https => {
            return Err(format!(
                "{transport} upstreams are not supported yet: {text}"
            ));
        }
        Transport::Quic | Transport::Grpc | Transport::Https3 | Transport::Unix => {
            return Err(refuse(transport, host, text));
        }
    }
    if let Some((address, port)) = split_host_port(host)
        && let Ok(ip) = without_zone(address).parse()
    {
        return Ok(To::Address(endpoint(ip, port)?));
    }
    let bare = match split_host_port(host) {
        Some(_) => host,
        None => host.trim_matches(['[', ']']),
    };
    if let Ok(ip) = without_zone(bare).parse() {
        return Ok(To::Address(endpoint(ip, PORT)?));
    }
    Ok(To::Indirect {
        text: text.to_owned(),
        path: bare.to_owned(),
    })
}

/// A scheme that no upstream can have. CoreDNS names the address with the port that it would
/// use, and has another message where there is no address at all.
fn refuse(transport: Transport, host: &str, text: &str) -> String {
    let split = split_host_port(host);
    let address = split.map_or_else(|| host.trim_matches(['[', ']']), |(address, _)| address);
    let ip = without_zone(address).parse::<IpAddr>();
    let shown = match (ip, split) {
        _ if transport == Transport::Unix => text.to_owned(),
        (Err(_), _) => {
            return format!("not an IP address, file, or valid domain: {}", quote(text));
        }
        (Ok(_), Some(_)) => text.to_owned(),
        (Ok(ip), None) => {
            let port = transport.default_port(53).unwrap_or_default();
            format!("{transport}://{}", SocketAddr::new(ip, port))
        }
    };
    format!("'{transport}' is not supported as a destination protocol in forward: {shown}")
}

/// All addresses, in order, each once.
///
/// Reads files and resolves names, and so blocks.
///
/// # Errors
///
/// In CoreDNS's words, where it refuses too.
pub(super) fn expand(all: &[To], resolvers: &[String]) -> Result<Vec<Endpoint>, String> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut count = 0;
    for to in all {
        let endpoints = match to {
            To::Address(endpoint) => vec![endpoint.clone()],
            To::Indirect { text, path } => match read_nameservers(path)? {
                Some(none) if none.is_empty() => continue,
                Some(endpoints) => endpoints,
                None => resolve_host(text, resolvers)?,
            },
        };
        count += 1;
        let new = endpoints
            .into_iter()
            .filter(|(_, name)| seen.insert(name.clone()));
        found.extend(new);
    }
    if found.is_empty() {
        return Err("no valid upstream addresses found".to_owned());
    }
    if count > MAX_TO {
        return Err(format!("more than {MAX_TO} TOs configured: {count}"));
    }
    if found.len() > MAX_UPSTREAMS {
        let count = found.len();
        return Err(format!(
            "more than {MAX_UPSTREAMS} upstream addresses: {count}"
        ));
    }
    Ok(found)
}

/// The servers that a file of resolv.conf's form names; `None` where there is no such file.
fn read_nameservers(path: &str) -> Result<Option<Vec<Endpoint>>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        // A folder: CoreDNS takes it for a file without servers.
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => Vec::new(),
        Err(_) => return Ok(None),
    };
    let text = String::from_utf8_lossy(&text);
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let Some(server) = words.next() else { continue };
        let ip = without_zone(server).parse().map_err(|_| {
            format!(
                "nameserver {} in {path} is not an IP address",
                quote(server)
            )
        })?;
        servers.push(endpoint_named(ip, PORT, without_zone(server))?);
    }
    Ok(Some(servers))
}

fn resolve_host(text: &str, resolvers: &[String]) -> Result<Vec<Endpoint>, String> {
    let (_, host) = Transport::split(text);
    let host = drop_zone(host);
    let (name, port) = match split_host_port(&host) {
        Some((name, port)) => (name, port),
        None => (host.as_str(), PORT),
    };
    let name = name.trim_matches(['[', ']']);
    if !key::is_domain_name(name) || name.parse::<IpAddr>().is_ok() {
        return Err(format!(
            "not an IP address, file, or valid domain: {}",
            quote(text)
        ));
    }
    let addresses = resolve::lookup(name, resolvers)
        .map_err(|why| format!("failed to resolve {}: {why}", quote(name)))?;
    addresses.into_iter().map(|ip| endpoint(ip, port)).collect()
}

fn endpoint(ip: IpAddr, port: &str) -> Result<Endpoint, String> {
    endpoint_named(ip, port, &ip.to_string())
}

/// With the address spelt as it was found.
fn endpoint_named(ip: IpAddr, port: &str, spelt: &str) -> Result<Endpoint, String> {
    let number = match port {
        // Go looks service names up.
        "domain" => 53,
        _ => port
            .parse::<u16>()
            .ok()
            .filter(|number| *number != 0)
            .ok_or_else(|| format!("invalid port {} of upstream {spelt}", quote(port)))?,
    };
    let name = match ip {
        IpAddr::V4(_) => format!("{spelt}:{port}"),
        IpAddr::V6(_) => format!("[{spelt}]:{port}"),
    };
    Ok((SocketAddr::new(ip.to_canonical(), number), name))
}

/// Go's `net.SplitHostPort`: `None` where there is no port, or too many colons or brackets.
pub(super) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let inner = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let brackets = |part: &str| part.contains(['[', ']']);
    (!brackets(inner) && !brackets(port)).then_some((inner, port))
}

/// The address before `%eth0` or `%server.name`.
fn without_zone(address: &str) -> &str {
    address
        .rfind('%')
        .and_then(|at| address.get(..at))
        .unwrap_or(address)
}

/// `host%name:port` without the name.
fn drop_zone(host: &str) -> String {
    let Some((before, zone)) = host.rsplit_once('%') else {
        return host.to_owned();
    };
    let bracket = if before.starts_with('[') { "]" } else { "" };
    let port = zone.rfind(':').map_or("", |at| &zone[at..]);
    format!("{before}{bracket}{port}")
}
