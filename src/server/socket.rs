//! Opens the sockets of a listening address, one pair for each worker.
//!
//! Who does that is an [`Opener`]: the process itself, or somebody who keeps
//! the sockets when the process ends, and what has arrived on them with it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use smallvec::SmallVec;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{ListenAddress, mmsg};

/// What the kernel may keep for a worker that is busy, in octets; without
/// privileges it may grant less (`net.core.rmem_max`).
const RECEIVE_BUFFER: usize = 4 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Gives the process its sockets.
///
/// What is asked for twice is open already, in another process or in this
/// one: then a second descriptor of the same socket is as good as a second
/// socket. An error must have the system's number
/// ([`io::Error::from_raw_os_error`]): by it an address family that the system
/// lacks is told from an address that is taken, and the user gets its words.
pub trait Opener: Send + Sync {
    /// The UDP socket of a worker, counted from 0, as [`bind_udp`] makes it.
    /// Where clients of both families are served it is asked for two.
    fn udp(&self, address: SocketAddr, worker: usize) -> io::Result<UdpSocket>;
    /// The TCP listener of a worker, counted from 0, as [`bind_tcp`] makes it.
    fn tcp(&self, address: SocketAddr, worker: usize) -> io::Result<TcpListener>;
    /// A listener for HTTP, as [`bind_tcp`] makes it.
    fn http(&self, address: SocketAddr) -> io::Result<TcpListener>;
    /// Nothing is served on the address any more, by none of the three: what
    /// is kept of it may go.
    fn close(&self, _address: SocketAddr) {}
}

/// Opens them itself; they end with the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Opener for System {
    fn udp(&self, address: SocketAddr, _: usize) -> io::Result<UdpSocket> {
        bind_udp(address, false)
    }

    fn tcp(&self, address: SocketAddr, _: usize) -> io::Result<TcpListener> {
        bind_tcp(address, false)
    }

    fn http(&self, address: SocketAddr) -> io::Result<TcpListener> {
        bind_tcp(address, false)
    }
}

/// The sockets of one worker for one address.
#[derive(Debug)]
pub(super) struct Sockets {
    /// One for each family of the address.
    pub udp: SmallVec<[UdpSocket; 2]>,
    /// One for both.
    pub tcp: TcpListener,
}

/// What is open where a worker's TCP listener is bound: on `[::]` it takes
/// clients of both families, which have UDP sockets of their own. One socket
/// for both would cost each IPv4 query more in the kernel.
pub(super) fn addresses(bound: SocketAddr) -> SmallVec<[SocketAddr; 2]> {
    let mut all = SmallVec::from_iter([bound]);
    if bound.is_ipv6() && bound.ip().is_unspecified() {
        all.push((Ipv4Addr::UNSPECIFIED, bound.port()).into());
    }
    all
}

/// Why an address cannot be served; in CoreDNS's words.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// TCP.
    #[error("Listen: listen tcp {address}: {}", reason(.source))]
    Tcp {
        /// The address.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// UDP.
    #[error("ListenPacket: listen udp {address}: {}", reason(.source))]
    Udp {
        /// The address.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// The system's reason in Go's words, which scripts match.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "bind: address already in use".to_owned(),
        Some(libc::EACCES) => "bind: permission denied".to_owned(),
        Some(libc::EADDRNOTAVAIL) => "bind: cannot assign requested address".to_owned(),
        _ => error.to_string(),
    }
}

/// Opens an address for this many workers.
///
/// All sockets of an address share it (SO_REUSEPORT): the kernel deals
/// clients out to them by source address and port. With port 0 the first
/// socket gets a free one and the others join it.
pub(super) fn open(
    opener: &dyn Opener,
    address: &ListenAddress,
    workers: usize,
) -> Result<Vec<Sockets>, ListenError> {
    let mut candidates = address.candidates();
    let shown = address.to_string();
    let mut all = Vec::with_capacity(workers);
    for worker in 0..workers {
        let listen = |address| opener.tcp(address, worker);
        let tcp = first(&candidates, listen).map_err(|source| ListenError::Tcp {
            address: shown.clone(),
            source,
        })?;
        let failed = |source| ListenError::Udp {
            address: shown.clone(),
            source,
        };
        // Whatever the first one could bind, the others must bind too.
        let bound = tcp.local_addr().map_err(failed)?;
        candidates = vec![bound];
        let udp = addresses(bound).into_iter();
        let udp = udp.map(|address| opener.udp(address, worker));
        let udp = udp.collect::<io::Result<_>>().map_err(failed)?;
        all.push(Sockets { udp, tcp });
    }
    Ok(all)
}

fn first<T>(
    candidates: &[SocketAddr],
    open: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for candidate in candidates {
        result = open(*candidate);
        match &result {
            Err(error) if without_ipv6(error) => continue,
            _ => break,
        }
    }
    result
}

fn without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// Opens a TCP listener as a worker wants it: shared (SO_REUSEPORT), of both
/// families on `[::]`, not blocking. `freebind`: the address need not be there yet.
///
/// # Errors
///
/// The system's.
pub fn bind_tcp(address: SocketAddr, freebind: bool) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM, Protocol::TCP, freebind)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens a UDP socket as a worker wants it: shared (SO_REUSEPORT), of its own
/// family only, not blocking, with a large receive buffer, and saying which
/// address was asked where that can be more than one. `freebind`: the address
/// need not be there yet.
///
/// # Errors
///
/// The system's.
pub fn bind_udp(address: SocketAddr, freebind: bool) -> io::Result<UdpSocket> {
    let socket = bound(address, Type::DGRAM, Protocol::UDP, freebind)?;
    // Beyond the system's limit it takes a privilege (CAP_NET_ADMIN); without
    // it, up to the limit will do.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        // Refused only where the limit is odd; then the system's default serves.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    if address.ip().is_unspecified() {
        mmsg::enable_destination(socket.as_fd(), address.is_ipv6())?;
    }
    if address.is_ipv4() {
        mmsg::allow_fragments(socket.as_fd(), false)?;
    }
    Ok(socket.into())
}

fn bound(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    freebind: bool,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(protocol == Protocol::UDP || !v6.ip().is_unspecified())?;
    }
    socket.set_reuse_port(true)?;
    if protocol == Protocol::TCP {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    match (freebind, address) {
        (true, SocketAddr::V4(_)) => socket.set_freebind_v4(true)?,
        (true, SocketAddr::V6(_)) => socket.set_freebind_v6(true)?,
        (false, _) => {}
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address() {
        let address = ListenAddress::of([127, 0, 0, 1].into(), 0);
        let sockets = open(&System, &address, 3).unwrap();
        let ports: Vec<u16> = sockets
            .iter()
            .flat_map(|sockets| {
                [
                    sockets.udp[0].local_addr().unwrap().port(),
                    sockets.tcp.local_addr().unwrap().port(),
                ]
            })
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn every_address_is_one_of_each_family() {
        let sockets = open(&System, &ListenAddress::any(0), 2).unwrap();
        for worker in &sockets {
            let tcp = worker.tcp.local_addr().unwrap();
            let udp = worker.udp.iter().map(|udp| udp.local_addr().unwrap());
            assert_eq!(udp.collect::<Vec<_>>(), addresses(tcp).to_vec());
            assert_eq!(worker.udp.len(), if tcp.is_ipv6() { 2 } else { 1 });
        }
    }

    #[test]
    fn an_address_in_use_is_told_in_gos_words() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address = ListenAddress::of([127, 0, 0, 1].into(), port);
        assert_eq!(
            open(&System, &address, 1).unwrap_err().to_string(),
            format!("Listen: listen tcp 127.0.0.1:{port}: bind: address already in use")
        );
        let elsewhere = ListenAddress::of([192, 0, 2, 1].into(), 1053);
        assert_eq!(
            open(&System, &elsewhere, 1).unwrap_err().to_string(),
            "Listen: listen tcp 192.0.2.1:1053: bind: cannot assign requested address"
        );
    }

    #[test]
    fn a_free_bind_waits_for_no_address() {
        for elsewhere in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            let elsewhere: SocketAddr = elsewhere.parse().unwrap();
            for kind in ["udp", "tcp"] {
                let bind = |freebind| match kind {
                    "udp" => bind_udp(elsewhere, freebind)?.local_addr(),
                    _ => bind_tcp(elsewhere, freebind)?.local_addr(),
                };
                match bind(false) {
                    // A system without IPv6.
                    Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
                    refused => assert_eq!(
                        refused.unwrap_err().raw_os_error(),
                        Some(libc::EADDRNOTAVAIL),
                        "{kind} {elsewhere}"
                    ),
                }
                assert_eq!(bind(true).unwrap().ip(), elsewhere.ip(), "{kind}");
            }
        }
    }
}
