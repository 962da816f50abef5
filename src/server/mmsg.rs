//! Datagrams in batches: recvmmsg, sendmmsg, and the ancillary data that tells
//! which of our addresses was asked; and how to wait for them.
//!
//! With `shared` all of the unsafe code. It hands out and takes in plain slices
//! and addresses; no pointer of the system's structures leaves it.
#![allow(unsafe_code)]

mod batch;
mod messages;
mod received;

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::rc::Rc;

use libc::{c_int, socklen_t};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) use batch::{Batch, Outgoing};
pub(super) use received::{Datagram, ROOM, Received};

/// Datagrams that one call receives or sends at most.
pub(super) const BATCH: usize = 32;

/// Has the kernel tell, until this is dropped, that a socket can be read or
/// written. A descriptor can be waited for once at a time.
pub(super) fn watch(
    socket: Rc<UdpSocket>,
    interest: Interest,
) -> io::Result<AsyncFd<Rc<UdpSocket>>> {
    // SAFETY: what is returned owns a share of the socket, whose descriptor
    // is open, and stays the same, for as long as anybody does.
    let watched = unsafe { AsyncFd::register_with_interest(socket, interest) };
    watched.map_err(io::Error::from)
}

/// Asks the kernel to say, with each datagram, which address it was sent to.
pub(super) fn enable_destination(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        true => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        false => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
    }
}

/// How many datagrams the kernel has dropped since the socket was made, above
/// all because its receive buffer was full; it wraps.
pub(super) fn drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut numbers = [0u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut len = size_of_val(&numbers) as socklen_t;
    // SAFETY: the descriptor is open for the length of the borrow; the
    // pointers describe `numbers`, integers of which the kernel writes no more
    // than that, and its length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            ptr::from_mut(&mut numbers).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(numbers.last().copied().unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Says whether the kernel may send an IPv4 datagram in fragments where its
/// path takes none of that size. Both ways it sets Don't Fragment on all that
/// fit; only where it never fragments it need not number them (RFC 6864),
/// which is a fortieth of what a reply costs.
pub(super) fn allow_fragments(socket: BorrowedFd<'_>, allowed: bool) -> io::Result<()> {
    let discover = match allowed {
        true => libc::IP_PMTUDISC_WANT,
        false => libc::IP_PMTUDISC_DO,
    };
    set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discover)
}

/// Asks the kernel to say when each datagram arrived, or not to say it any
/// more. It begins with those that arrive a little later.
///
/// While any socket asks for it, the kernel looks at the clock for every
/// packet of the machine.
pub(super) fn enable_stamps(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    // No such flag has the highest bit.
    let flags = if on { flags as c_int } else { 0 };
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags)
}

fn set(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the borrow; the
    // pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::fd::AsFd;

    use super::*;

    fn wait(socket: &UdpSocket) {
        // A blocking peek waits for the event; the bound is the socket's timeout.
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        socket.peek_from(&mut [0; 1]).unwrap();
    }

    #[test]
    fn datagrams_come_and_go_with_both_addresses() {
        for (listen, ask) in [
            ("0.0.0.0:0", "127.0.0.7"),
            ("[::]:0", "::1"),
            ("[::1]:0", "::1"),
        ] {
            let server = UdpSocket::bind(listen).unwrap();
            let ipv6 = server.local_addr().unwrap().is_ipv6();
            enable_destination(server.as_fd(), ipv6).unwrap();
            let asked = SocketAddr::new(ask.parse().unwrap(), server.local_addr().unwrap().port());
            let clients: Vec<UdpSocket> = (0..3)
                .map(|_| {
                    let any = if asked.is_ipv4() {
                        "127.0.0.1:0"
                    } else {
                        "[::1]:0"
                    };
                    let client = UdpSocket::bind(any).unwrap();
                    client.connect(asked).unwrap();
                    client
                })
                .collect();
            let big = vec![7; 60_000];
            clients[0].send(b"a").unwrap();
            clients[1].send(&big).unwrap();
            clients[2].send(b"").unwrap();
            wait(&server);

            let mut received = Received::new();
            assert_eq!(
                received.receive(server.as_fd()).unwrap(),
                3,
                "{listen} {ask}"
            );
            let datagrams: Vec<_> = received.datagrams().collect();
            let bytes: Vec<_> = datagrams.iter().map(|datagram| datagram.bytes).collect();
            assert_eq!(bytes, [&b"a"[..], &big, b""]);
            for datagram in &datagrams {
                assert_eq!(datagram.destination, Some(asked.ip()));
            }
            let replies: Vec<_> = datagrams
                .iter()
                .map(|datagram| Outgoing {
                    bytes: datagram.bytes,
                    to: datagram.sender,
                    from: datagram.destination,
                })
                .collect();
            let mut batch = Batch::new();
            for reply in &replies {
                assert!(batch.push(reply));
            }
            assert_eq!(batch.rest().nth(1).unwrap().bytes, big);
            batch.send(server.as_fd()).unwrap();
            assert!(batch.is_done() && batch.rest().next().is_none());
            // A connected client takes a reply from the asked address alone.
            for (client, bytes) in clients.iter().zip(bytes) {
                wait(client);
                let mut buffer = vec![0; 65_535];
                let len = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], bytes);
            }
            let error = received.receive(server.as_fd()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn stamps_come_when_asked_for() {
        let server = UdpSocket::bind("[::]:0").unwrap();
        enable_destination(server.as_fd(), true).unwrap();
        let client = UdpSocket::bind("[::1]:0").unwrap();
        let port = server.local_addr().unwrap().port();
        client.connect(("::1", port)).unwrap();
        let mut received = Received::new();
        let mut ask = || {
            client.send(b"a").unwrap();
            wait(&server);
            assert_eq!(received.receive(server.as_fd()).unwrap(), 1);
            let datagram = received.datagrams().next().unwrap();
            // There is room for all that is said.
            assert_eq!(datagram.destination, Some("::1".parse().unwrap()));
            datagram.stamp
        };
        assert_eq!(ask(), None);
        let begun = std::time::SystemTime::now();
        enable_stamps(server.as_fd(), true).unwrap();
        // The kernel begins when it finds the time.
        let stamp = (0..1_000_000).find_map(|_| ask()).unwrap();
        let stamp = std::time::UNIX_EPOCH + stamp;
        assert!(begun <= stamp && stamp <= std::time::SystemTime::now());
        enable_stamps(server.as_fd(), false).unwrap();
        assert_eq!(ask(), None);
    }

    #[test]
    fn the_kernel_says_what_it_dropped() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        assert_eq!(drops(server.as_fd()).unwrap(), 0);
        let full = (0..1_000_000).find_map(|_| {
            client.send(&[0; 1024]).unwrap();
            let count = drops(server.as_fd()).unwrap();
            (count > 0).then_some(count)
        });
        assert_eq!(full, Some(1));
        client.send(&[0; 1024]).unwrap();
        assert_eq!(drops(server.as_fd()).unwrap(), 2);
    }

    #[test]
    fn a_batch_is_bounded_and_used_again() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut received = Received::new();
        for round in 0..3u8 {
            for _ in 0..=BATCH {
                client.send(&[round]).unwrap();
            }
            wait(&server);
            assert_eq!(received.receive(server.as_fd()).unwrap(), BATCH);
            assert!(
                received
                    .datagrams()
                    .all(|datagram| datagram.bytes == [round])
            );
            assert_eq!(received.datagrams().count(), BATCH);
            assert_eq!(received.receive(server.as_fd()).unwrap(), 1);
            assert_eq!(received.datagrams().count(), 1);
            assert!(
                received
                    .datagrams()
                    .all(|datagram| datagram.destination.is_none())
            );
        }
    }
}
