//! The local upstream: has an address for every name, at once.
//!
//! The generator's own thread serves it between two looks at the server, so
//! that it costs the server nothing and needs no thread that would have to
//! wait for the core.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{SocketAddrV4, TcpListener, UdpSocket};

use anyhow::Context;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use pando_test::Port;

use crate::mmsg::{Receiver, Sender};
use crate::stream::Messages;

/// Seconds that an answer may be kept.
const TTL: [u8; 4] = 3600_u32.to_be_bytes();
/// The one address of every name.
const A: [u8; 4] = [192, 0, 2, 1];
const AAAA: [u8; 16] = [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The listener among the connections.
const LISTENER: u64 = 0;
/// Connections that are served in one turn.
const READY: usize = 64;

/// It speaks UDP and TCP.
pub(crate) struct Upstream {
    port: Port,
    socket: UdpSocket,
    listener: TcpListener,
    /// Servers keep hundreds of connections, most of them idle.
    connections: HashMap<u64, Messages>,
    accepted: u64,
    epoll: Epoll,
    receiver: Receiver,
    sender: Sender,
    replies: Vec<(Vec<u8>, Option<SocketAddrV4>)>,
}

impl Upstream {
    /// Listens on a free port.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let port = Port::claim();
        let address = ("127.0.0.1", port.number());
        let socket = UdpSocket::bind(address).context("the upstream's port")?;
        let listener = TcpListener::bind(address).context("the upstream's port")?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            port,
            socket,
            listener,
            connections: HashMap::new(),
            accepted: LISTENER,
            epoll,
            receiver: Receiver::new(),
            sender: Sender::new(),
            replies: Vec::new(),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Answers what has come; waits for nothing.
    pub(crate) fn serve(&mut self) -> anyhow::Result<()> {
        self.serve_datagrams()?;
        let mut events = [EpollEvent::empty(); READY];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in events.iter().take(ready) {
            let Entry::Occupied(mut connection) = self.connections.entry(event.data()) else {
                self.accept()?;
                continue;
            };
            if serve_stream(connection.get_mut()).is_err() {
                connection.remove();
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        let (stream, _) = match self.listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted.context("the upstream accepts")?,
        };
        self.accepted += 1;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, self.accepted);
        self.epoll.add(&stream, event)?;
        self.connections
            .insert(self.accepted, Messages::new(stream)?);
        Ok(())
    }

    fn serve_datagrams(&mut self) -> anyhow::Result<()> {
        self.receiver.take(&self.socket)?;
        let mut count = 0;
        for (query, from) in self.receiver.messages() {
            if self.replies.len() == count {
                self.replies.push(Default::default());
            }
            if let Some((reply, to)) = self.replies.get_mut(count) {
                *to = from;
                count += usize::from(answer(query, reply).is_some());
            }
        }
        let replies = self.replies.iter().take(count);
        let replies = replies.map(|(reply, to)| (reply.as_slice(), *to));
        // A server that has closed its port is no reason to end.
        let _ = self.sender.send(&self.socket, replies);
        Ok(())
    }
}

/// Fails when the client has closed the connection. What its socket has no
/// room for goes with the next replies; there is always room for ours.
fn serve_stream(connection: &mut Messages) -> io::Result<()> {
    let mut replies = Vec::new();
    connection.receive(&mut |query| {
        let mut reply = Vec::new();
        if answer(query, &mut reply).is_some() {
            replies.push(reply);
        }
    })?;
    for reply in &replies {
        connection.push(reply);
    }
    connection.flush()
}

/// Writes the answer over `reply`. `None` for what is no query with a question.
fn answer(query: &[u8], reply: &mut Vec<u8>) -> Option<()> {
    let (header, body) = query.split_first_chunk::<12>()?;
    let name = body.iter().position(|octet| *octet == 0)?;
    let question = body.get(..name + 5)?;
    let data: &[u8] = match question.get(name + 1..name + 3)? {
        [0, 1] => &A,
        [0, 28] => &AAAA,
        _ => &[],
    };
    let edns = header[11] == 1;
    reply.clear();
    reply.extend_from_slice(&[header[0], header[1], 0x85, 0x80, 0, 1]);
    reply.extend_from_slice(&[0, u8::from(!data.is_empty()), 0, 0, 0, u8::from(edns)]);
    reply.extend_from_slice(question);
    if !data.is_empty() {
        reply.extend_from_slice(&[0xC0, 12]);
        reply.extend_from_slice(question.get(name + 1..)?);
        reply.extend_from_slice(&TTL);
        reply.extend_from_slice(&[0, data.len() as u8]);
        reply.extend_from_slice(data);
    }
    if edns {
        reply.extend_from_slice(&[0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Expected, Family, Query};

    #[test]
    fn every_name_has_one_address_of_the_type_asked_for() {
        for family in Family::BOTH {
            let expected = Expected::records(1);
            let (mut query, mut reply) = (Vec::new(), Vec::new());
            Query::new("a.example", family, expected).write(&mut query, 7, &mut 0);
            answer(&query, &mut reply).expect("a query");
            assert!(expected.fits(&reply));
            let record = reply.get(27..).unwrap();
            let end = match family {
                Family::A => [&[0, 1, 0, 1][..], &TTL, &[0, 4], &A].concat(),
                Family::Aaaa => [&[0, 28, 0, 1][..], &TTL, &[0, 16], &AAAA].concat(),
            };
            assert_eq!(record.get(..2), Some(&[0xC0, 12][..]));
            assert_eq!(record.get(2..2 + end.len()), Some(end.as_slice()));
        }
    }

    #[test]
    fn a_part_of_a_query_has_no_answer() {
        let mut query = Vec::new();
        Query::new("a.example", Family::A, Expected::records(1)).write(&mut query, 7, &mut 0);
        for len in 0..27 {
            let part = query.get(..len).unwrap();
            assert_eq!(answer(part, &mut Vec::new()), None, "{len} octets");
        }
    }
}
