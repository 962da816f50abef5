//! Host names of upstreams, resolved once at start: by the system, or by the servers that
//! `resolver` names. Blocks; it runs while a configuration is built, never on a worker.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::to;
use crate::wire::{Name, NameBuf, Reply, Request, flags, rtype};

/// How long one server is waited for, for each of A and AAAA.
const PATIENCE: Duration = Duration::from_secs(2);

/// The addresses of `host`.
///
/// # Errors
///
/// Why there are none.
pub(super) fn lookup(host: &str, resolvers: &[String]) -> Result<Vec<IpAddr>, String> {
    if resolvers.is_empty() {
        return by_system(host);
    }
    let nothing = format!("no addresses found for {}", corefile::quote(host));
    let Ok(name) = corefile::key::fqdn(host).parse::<NameBuf>() else {
        return Err(nothing);
    };
    let mut last = None;
    for resolver in resolvers {
        let found = server_address(resolver)
            .ok_or_else(|| "not an address".to_owned())
            .and_then(|server| by_server(name.name(), server).map_err(|error| error.to_string()));
        match found {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => format!("{nothing}: {error}"),
        None => nothing,
    })
}

fn by_system(host: &str) -> Result<Vec<IpAddr>, String> {
    let none = || format!("lookup {host}: no such host");
    // A path that names no file; nothing is asked about it.
    if host.contains('/') {
        return Err(none());
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs().map_err(|_| none())? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() {
        return Err(none());
    }
    Ok(addresses)
}

fn server_address(resolver: &str) -> Option<SocketAddr> {
    let (host, port) = to::split_host_port(resolver).unwrap_or((resolver, "53"));
    Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
}

/// A, then AAAA. What A found stands even if AAAA fails.
fn by_server(name: Name<'_>, server: SocketAddr) -> std::io::Result<Vec<IpAddr>> {
    let mut addresses = ask(name, rtype::A, server)?;
    match ask(name, rtype::AAAA, server) {
        Ok(more) => addresses.extend(more),
        Err(error) if addresses.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(addresses)
}

#[allow(clippy::disallowed_methods, reason = "not on a worker")]
fn ask(name: Name<'_>, qtype: u16, server: SocketAddr) -> std::io::Result<Vec<IpAddr>> {
    let unspecified: IpAddr = if server.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((unspecified, 0))?;
    socket.connect(server)?;
    let id = rand::random();
    let mut request = Request::new();
    request.ask(id, name, qtype);
    request.set_flag(flags::RD, true);
    let mut query = Vec::new();
    request.write(id, &mut query);
    socket.send(&query)?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    let mut reply = Reply::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let len = match socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let message = buffer.get(..len).unwrap_or_default();
        if message.starts_with(&id.to_be_bytes()) && reply.adopt(message, &request).is_ok() {
            break;
        }
    }
    let address = |view: crate::wire::RecordView<'_>| match (view.rtype, view.rdata()) {
        (rtype::A, rdata) => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
        (rtype::AAAA, rdata) => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
        _ => None,
    };
    Ok(reply
        .section(crate::wire::Section::Answer)
        .filter(|view| view.rtype == qtype)
        .filter_map(address)
        .collect())
}
