//! The sockets of the worker, kept beyond its end.
//!
//! The parent opens them, or takes them over from another instance, and gives
//! out duplicates. What arrives while no worker lives waits in them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pando::server::socket::{bind_tcp, bind_udp};
use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};

/// Sockets that are kept at most; what is beyond is opened and not kept.
const LIMIT: usize = 1024;

/// What a socket is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// DNS over UDP.
    Udp,
    /// DNS over TCP.
    Tcp,
    /// An HTTP listener of the worker.
    Http,
    /// The HTTP listener of the parent.
    Status,
}

/// Which socket.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// What it is for.
    pub kind: Kind,
    /// Which thread of the worker reads it, from 0; 0 for HTTP.
    pub worker: u16,
    /// Where it is bound. A request may have port 0: any free one.
    pub address: SocketAddr,
}

/// The sockets that are kept.
#[derive(Debug, Default)]
pub struct Holder {
    sockets: BTreeMap<Key, Held>,
}

#[derive(Debug)]
struct Held {
    socket: OwnedFd,
    /// Whether the worker of now has asked for it.
    used: bool,
}

impl Holder {
    /// A descriptor of the socket, which is opened if it is not kept yet.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(&mut self, key: Key) -> io::Result<OwnedFd> {
        if let Some(held) = self.sockets.get_mut(&key) {
            held.used = true;
            return held.socket.try_clone();
        }
        let (socket, address) = bind(key)?;
        let copy = socket.try_clone()?;
        if self.sockets.len() < LIMIT {
            self.sockets
                .insert(Key { address, ..key }, Held { socket, used: true });
        }
        Ok(copy)
    }

    /// Keeps a socket of another instance, if it is what it is said to be.
    pub fn adopt(&mut self, key: Key, socket: OwnedFd) {
        if self.sockets.len() < LIMIT && is(&key, socket.as_fd()) {
            self.sockets.insert(
                key,
                Held {
                    socket,
                    used: false,
                },
            );
        }
    }

    /// A new worker has asked for nothing yet.
    pub fn begin(&mut self) {
        self.workers_own().for_each(|held| held.used = false);
    }

    /// Closes what the worker has not asked for since it began. It must not
    /// stay open: the kernel deals clients out to it too, and nobody reads it.
    pub fn settle(&mut self) {
        self.sockets
            .retain(|key, held| held.used || key.kind == Kind::Status);
    }

    /// Closes what is at this address.
    pub fn close(&mut self, address: SocketAddr) {
        self.sockets
            .retain(|key, _| key.address != address || key.kind == Kind::Status);
    }

    /// Closes everything but these.
    pub fn keep(&mut self, keys: &[Key]) {
        self.sockets.retain(|key, _| keys.contains(key));
    }

    /// Which are kept.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.sockets.keys().copied()
    }

    /// Copies of what is kept.
    ///
    /// # Errors
    ///
    /// The system's, for lack of descriptors.
    pub fn copies(&self) -> io::Result<Vec<(Key, OwnedFd)>> {
        let sockets = self.sockets.iter();
        sockets
            .map(|(key, held)| Ok((*key, held.socket.try_clone()?)))
            .collect()
    }

    fn workers_own(&mut self) -> impl Iterator<Item = &mut Held> {
        let sockets = self.sockets.iter_mut();
        sockets.filter_map(|(key, held)| (key.kind != Kind::Status).then_some(held))
    }
}

fn bind(key: Key) -> io::Result<(OwnedFd, SocketAddr)> {
    // The addresses of the node come onto an interface only once they are served.
    match key.kind {
        Kind::Udp => {
            let socket = bind_udp(key.address, true)?;
            let address = socket.local_addr()?;
            Ok((socket.into(), address))
        }
        Kind::Tcp | Kind::Http | Kind::Status => {
            let socket = bind_tcp(key.address, true)?;
            let address = socket.local_addr()?;
            Ok((socket.into(), address))
        }
    }
}

/// Where a socket is bound.
///
/// # Errors
///
/// What is no socket, or no internet one.
pub(crate) fn address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    Ok(rustix::net::getsockname(socket)?.try_into()?)
}

/// Whether a socket is bound where the key says and listens if it must.
fn is(key: &Key, socket: BorrowedFd<'_>) -> bool {
    let (kind, listening) = match key.kind {
        Kind::Udp => (SocketType::DGRAM, false),
        Kind::Tcp | Kind::Http | Kind::Status => (SocketType::STREAM, true),
    };
    address(socket).is_ok_and(|bound| bound == key.address)
        && socket_type(socket) == Ok(kind)
        && socket_acceptconn(socket) == Ok(listening)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn key(kind: Kind, worker: u16, address: &str) -> Key {
        Key {
            kind,
            worker,
            address: address.parse().unwrap(),
        }
    }

    fn keys(holder: &Holder) -> Vec<Key> {
        holder.keys().collect()
    }

    #[test]
    fn what_arrives_between_two_workers_waits() {
        let mut holder = Holder::default();
        let first = UdpSocket::from(holder.open(key(Kind::Udp, 0, "127.0.0.1:0")).unwrap());
        let address = first.local_addr().unwrap();
        drop(first);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"query", address).unwrap();
        let kept = keys(&holder)[0];
        let second = UdpSocket::from(holder.open(kept).unwrap());
        let mut buffer = [0; 16];
        assert_eq!(second.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn an_address_that_is_not_there_yet_can_be_bound() {
        let mut holder = Holder::default();
        for kind in [Kind::Udp, Kind::Tcp, Kind::Http] {
            holder.open(key(kind, 0, "169.254.20.10:0")).unwrap();
        }
    }

    #[test]
    fn what_a_worker_does_not_ask_for_is_closed_once_it_serves() {
        let mut holder = Holder::default();
        holder.open(key(Kind::Status, 0, "127.0.0.1:0")).unwrap();
        holder.open(key(Kind::Udp, 0, "127.0.0.1:0")).unwrap();
        let address = keys(&holder)[0].address;
        let other = Key {
            worker: 1,
            ..keys(&holder)[0]
        };
        holder.open(other).unwrap();
        let all = keys(&holder);
        holder.begin();
        holder.open(other).unwrap();
        holder.settle();
        assert_eq!(keys(&holder), [all[1], all[2]]);
        holder.close(address);
        assert_eq!(keys(&holder), [all[2]]);
    }

    #[test]
    fn a_socket_that_is_not_what_it_is_said_to_be_is_not_kept() {
        let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut holder = Holder::default();
        let socket = udp();
        let address = socket.local_addr().unwrap();
        let claimed = |kind| Key {
            kind,
            worker: 0,
            address,
        };
        holder.adopt(claimed(Kind::Tcp), socket.try_clone().unwrap().into());
        holder.adopt(claimed(Kind::Udp), udp().into());
        assert_eq!(keys(&holder), []);
        holder.adopt(claimed(Kind::Udp), socket.into());
        assert_eq!(keys(&holder), [claimed(Kind::Udp)]);
    }
}
