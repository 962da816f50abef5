//! What the keys of server blocks, and the zone arguments of plugins, mean.
//!
//! A key is `[scheme://]zone[:port]`. A zone in CIDR notation is the reverse
//! zone of the network, or the several that cover it. As in CoreDNS's
//! `core/dnsserver/{register,address}.go` and `plugin/normalize.go`.

mod cidr;
mod name;
mod overlap;

use std::fmt;

use thiserror::Error as ThisError;

pub use self::{
    name::{fqdn, has_preferred_syntax, is_domain_name, is_fqdn, normalize},
    overlap::Overlap,
};
use crate::{
    error::Error,
    number::{atoi, quote},
    source::Token,
    tree::{Corefile, ServerBlock},
};

/// How queries for a zone come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// DNS over UDP and TCP, the default.
    Dns,
    /// DNS over TLS.
    Tls,
    /// DNS over QUIC.
    Quic,
    /// DNS over gRPC.
    Grpc,
    /// DNS over HTTPS.
    Https,
    /// DNS over HTTP/3.
    Https3,
    /// A scheme that is known and that no server exists for.
    Unix,
}

impl Transport {
    const ALL: [Self; 7] = [
        Self::Tls,
        Self::Dns,
        Self::Quic,
        Self::Grpc,
        Self::Https3,
        Self::Https,
        Self::Unix,
    ];

    /// The transport that `text` begins with, and what comes after it.
    pub fn split(text: &str) -> (Self, &str) {
        for transport in Self::ALL {
            let rest = text
                .strip_prefix(transport.scheme())
                .and_then(|rest| rest.strip_prefix("://"));
            if let Some(rest) = rest {
                return (transport, rest);
            }
        }
        (Self::Dns, text)
    }

    /// The scheme, without `://`.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Grpc => "grpc",
            Self::Https => "https",
            Self::Https3 => "https3",
            Self::Unix => "unix",
        }
    }

    /// The port of a key that has none. `dns` is the server's `-dns.port`, and
    /// only plain DNS follows it. `unix` has no port.
    pub const fn default_port(self, dns: u16) -> Option<u16> {
        match self {
            Self::Dns => Some(dns),
            Self::Tls | Self::Quic => Some(853),
            Self::Grpc | Self::Https | Self::Https3 => Some(443),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

/// One zone of a server block, with the port that it is served on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneKey {
    /// How queries come in.
    pub transport: Transport,
    /// The zone: lower case, with the final dot, escapes as written.
    pub zone: String,
    /// The port; `None` for `unix` alone.
    pub port: Option<u16>,
    /// The key that it comes from. A CIDR key yields several zones.
    pub key: Token,
}

/// As plugins see it: `dns://example.org.:53`.
impl fmt::Display for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:", self.transport, self.zone)?;
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => Ok(()),
        }
    }
}

/// Why a key, or a zone argument, is none.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum KeyError {
    /// It ends with a colon, or is empty.
    #[error("expecting data after last colon: {}", quote(.0))]
    NoPort(String),
    /// More than 255 bytes.
    #[error("specified zone is too long: {0} > 255")]
    TooLong(usize),
    /// Not a domain name in presentation format.
    #[error("zone is not a valid domain name: {0}")]
    NotADomainName(String),
    /// A network that CoreDNS does not take.
    #[error("invalid CIDR {0}")]
    InvalidCidr(String),
}

/// A key without scheme, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The zone as written, or the reverse zones that it stands for. Never
    /// empty.
    pub hosts: Vec<String>,
    /// The number after the last colon, if one is there. Nothing says that it
    /// is a port.
    pub port: Option<i64>,
}

/// The zones of all server blocks, in order, block by block.
///
/// `dns_port` is the port of plain DNS keys that have none.
///
/// # Errors
///
/// The first key that is none: `error inspecting server blocks: …`, or for a
/// number that is no port `address N: invalid port`.
pub fn inspect(corefile: &Corefile, dns_port: u16) -> Result<Vec<Vec<ZoneKey>>, Error> {
    let blocks = corefile.blocks.iter();
    blocks.map(|block| inspect_block(block, dns_port)).collect()
}

fn inspect_block(block: &ServerBlock, dns_port: u16) -> Result<Vec<ZoneKey>, Error> {
    let mut zones = Vec::new();
    for key in &block.keys {
        let (transport, text) = Transport::split(&key.text);
        let invalid = |error: KeyError| {
            Error::plain(error.to_string())
                .within("error inspecting server blocks")
                .at(key)
                .expecting("[scheme://]zone[:port]")
        };
        let HostPort { hosts, port } = split_host_port(text).map_err(invalid)?;
        for host in &hosts {
            split_host_port(&fqdn(host)).map_err(invalid)?;
        }
        let port = match port {
            None => transport.default_port(dns_port),
            Some(port) => Some(u16::try_from(port).map_err(|_| {
                Error::plain(format!("address {port}: invalid port"))
                    .at(key)
                    .expecting("a port from 0 to 65535 after the last colon")
            })?),
        };
        zones.extend(hosts.iter().map(|host| ZoneKey {
            transport,
            zone: normalize(host),
            port,
            key: key.clone(),
        }));
    }
    Ok(zones)
}

/// Takes a key without scheme apart. As CoreDNS's `plugin.SplitHostPort`.
///
/// # Errors
///
/// When it is not a domain name, with or without a port.
pub fn split_host_port(text: &str) -> Result<HostPort, KeyError> {
    let colon = text.rfind(':');
    if text.is_empty() || colon == Some(text.len() - 1) {
        return Err(KeyError::NoPort(text.to_owned()));
    }
    // Domain names have no colon and CIDR notation has a mask behind its last,
    // so a number behind the last colon is a port.
    let port = colon.and_then(|at| Some((at, atoi(&text[at + 1..]).ok()?)));
    let (host, port) = match port {
        Some((at, port)) => (&text[..at], Some(port)),
        None => (text, None),
    };
    if host.len() > 255 {
        return Err(KeyError::TooLong(host.len()));
    }
    if !is_domain_name(host) {
        return Err(KeyError::NotADomainName(host.to_owned()));
    }
    let Some(network) = cidr::parse(host) else {
        return Ok(HostPort {
            hosts: vec![host.to_owned()],
            port,
        });
    };
    if host.starts_with(':') || (host.starts_with('0') && host.contains(':')) {
        return Err(KeyError::InvalidCidr(host.to_owned()));
    }
    Ok(HostPort {
        hosts: network.reverse_zones(),
        port,
    })
}

/// The zones that one zone argument stands for, scheme and port taken off; none
/// when it is no zone. As CoreDNS's `Host.NormalizeExact`.
pub fn normalize_exact(arg: &str) -> Vec<String> {
    let (_, text) = Transport::split(arg);
    match split_host_port(text) {
        Ok(HostPort { hosts, .. }) => hosts.iter().map(|host| normalize(host)).collect(),
        Err(_) => Vec::new(),
    }
}

/// The zones of a plugin: its arguments, or without any the zones of its server
/// block. Arguments that are no zones are left out without a word, as CoreDNS's
/// `OriginsFromArgsOrServerBlock` does.
pub fn origins(args: &[&str], block: &[ZoneKey]) -> Vec<String> {
    if args.is_empty() {
        return block.iter().map(|key| key.zone.clone()).collect();
    }
    args.iter().flat_map(|arg| normalize_exact(arg)).collect()
}

#[cfg(test)]
mod tests;
