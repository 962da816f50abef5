//! The floor: what the kernel alone costs.
//!
//! An echo in a process of its own. Over UDP it receives and sends in batches
//! of 32, as Pando does, waits in `recvmmsg`, and does nothing else: no look
//! at the octets, no event loop, no ancillary data. It sends back what it
//! got, so its replies are shorter than a server's; `benches/results/NOTES.md`
//! has what that matters. Over TCP it sends back a stream as it comes, what
//! is there with one write.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::mmsg::{Receiver, Sender};

/// Octets that one read of a stream takes at most.
const READ: usize = 65_536;

/// Echoes on this port of 127.0.0.1, over UDP and TCP, until it is killed.
pub(crate) fn run(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    std::thread::spawn(move || streams(&listener));
    datagrams(&socket)
}

fn datagrams(socket: &UdpSocket) -> anyhow::Result<()> {
    let mut receiver = Receiver::new();
    let mut sender = Sender::new();
    loop {
        receiver.wait(socket)?;
        // A client that is gone is no reason to end.
        let _ = sender.send(socket, receiver.messages());
    }
}

fn streams(listener: &TcpListener) -> anyhow::Result<()> {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut buffer = vec![0; READ];
    loop {
        let sockets = std::iter::once(listener.as_fd()).chain(streams.iter().map(AsFd::as_fd));
        let mut sockets: Vec<PollFd<'_>> = sockets
            .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        poll(&mut sockets, PollTimeout::NONE)?;
        let mut ready = sockets
            .iter()
            .map(|socket| socket.any().unwrap_or(true))
            .collect::<Vec<bool>>()
            .into_iter();
        let accept = ready.next().unwrap_or(false);
        streams.retain_mut(|stream| {
            !ready.next().unwrap_or(false) || echo(stream, &mut buffer).is_ok()
        });
        if accept {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
    }
}

/// Fails when the stream is over.
fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let len = stream.read(buffer)?;
    if len == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    stream.write_all(buffer.get(..len).unwrap_or_default())
}
