//! Datagrams in batches: one system call for up to [`BATCH`] of them.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Datagrams that one call receives or sends at most; as many as Pando's.
pub(crate) const BATCH: usize = 32;
/// Octets of a buffer: what EDNS clients take (1,232), and an odd number of
/// cache lines, so that the heads of a batch do not share one set.
const ROOM: usize = 21 * 64;

/// Receives batches.
pub(crate) struct Receiver {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Box<[[u8; ROOM]; BATCH]>,
    /// Length and sender of what was received.
    received: Vec<(usize, Option<SockaddrIn>)>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: Box::new([[0; ROOM]; BATCH]),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Waits for a datagram and takes with it what else is there.
    pub(crate) fn wait(&mut self, socket: &UdpSocket) -> nix::Result<()> {
        self.receive(socket, MsgFlags::MSG_WAITFORONE)
    }

    /// Takes what is there, perhaps nothing.
    pub(crate) fn take(&mut self, socket: &UdpSocket) -> nix::Result<()> {
        match self.receive(socket, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => Ok(()),
            result => result,
        }
    }

    fn receive(&mut self, socket: &UdpSocket, flags: MsgFlags) -> nix::Result<()> {
        self.received.clear();
        let mut slices = self.buffers.each_mut().map(|room| [IoSliceMut::new(room)]);
        let socket = socket.as_raw_fd();
        let results = recvmmsg(socket, &mut self.headers, &mut slices, flags, None)?;
        let received = results.map(|message| (message.bytes, message.address));
        self.received.extend(received);
        Ok(())
    }

    /// What was received last, each with its sender.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (&[u8], Option<SocketAddrV4>)> {
        let messages = self.buffers.iter().zip(&self.received);
        messages.map(|(buffer, (len, sender))| {
            let bytes = buffer.get(..*len).unwrap_or_default();
            (bytes, sender.map(SocketAddrV4::from))
        })
    }
}

/// Sends batches.
pub(crate) struct Sender {
    headers: MultiHeaders<SockaddrIn>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Sends the first [`BATCH`] of these; `None` as address is that of a
    /// connected socket. What the kernel refuses behind the first one is not
    /// told: it shows as lost.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        messages: impl Iterator<Item = (&'a [u8], Option<SocketAddrV4>)>,
    ) -> nix::Result<()> {
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        let mut addresses = [None; BATCH];
        let mut count = 0;
        for ((slice, address), (bytes, to)) in slices.iter_mut().zip(&mut addresses).zip(messages) {
            *slice = [IoSlice::new(bytes)];
            *address = to.map(SockaddrIn::from);
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let socket = socket.as_raw_fd();
        let slices = slices.iter().take(count);
        let flags = MsgFlags::empty();
        sendmmsg(socket, &mut self.headers, slices, addresses, [], flags)?;
        Ok(())
    }
}
