//! Opens the sockets of a listening address, one pair for each worker.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{ListenAddress, mmsg};

/// What the kernel may keep for a worker that is busy, in octets; it may
/// grant less (`net.core.rmem_max`).
const RECEIVE_BUFFER: usize = 4 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The sockets of one worker for one address.
#[derive(Debug)]
pub(super) struct Sockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
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
pub(super) fn open(address: &ListenAddress, workers: usize) -> Result<Vec<Sockets>, ListenError> {
    let mut candidates = address.candidates();
    let shown = address.to_string();
    let mut all = Vec::with_capacity(workers);
    for _ in 0..workers {
        let tcp = first(&candidates, listen).map_err(|source| ListenError::Tcp {
            address: shown.clone(),
            source,
        })?;
        let failed = |source| ListenError::Udp {
            address: shown.clone(),
            source,
        };
        // Whatever the first one could bind, the others must bind too.
        candidates = vec![tcp.local_addr().map_err(failed)?];
        let udp = first(&candidates, packets).map_err(failed)?;
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

fn bound(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    socket.set_reuse_port(true)?;
    if protocol == Protocol::TCP {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn packets(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bound(address, Type::DGRAM, Protocol::UDP)?;
    // Refused only where the system's own limit is odd; then its default serves.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if address.ip().is_unspecified() {
        mmsg::enable_destination(socket.as_fd(), address.is_ipv6())?;
    }
    mmsg::enable_drop_counter(socket.as_fd())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address() {
        let address = ListenAddress::of([127, 0, 0, 1].into(), 0);
        let sockets = open(&address, 3).unwrap();
        let ports: Vec<u16> = sockets
            .iter()
            .flat_map(|sockets| {
                [
                    sockets.udp.local_addr().unwrap().port(),
                    sockets.tcp.local_addr().unwrap().port(),
                ]
            })
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn an_address_in_use_is_told_in_gos_words() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address = ListenAddress::of([127, 0, 0, 1].into(), port);
        assert_eq!(
            open(&address, 1).unwrap_err().to_string(),
            format!("Listen: listen tcp 127.0.0.1:{port}: bind: address already in use")
        );
        let elsewhere = ListenAddress::of([192, 0, 2, 1].into(), 1053);
        assert_eq!(
            open(&elsewhere, 1).unwrap_err().to_string(),
            "Listen: listen tcp 192.0.2.1:1053: bind: cannot assign requested address"
        );
    }
}
