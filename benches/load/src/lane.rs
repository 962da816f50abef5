//! Ways to a server: a UDP port of ours, or a connection.

use std::io;
use std::net::{SocketAddrV4, TcpStream, UdpSocket};

use crate::mmsg::{BATCH, Receiver, Sender};
use crate::stream::Messages;

/// A way to the server, with queries of its own under way on it.
pub(crate) trait Lane {
    /// Sends these queries.
    fn send(&mut self, buffers: &mut Buffers, queries: &[&[u8]]) -> io::Result<()>;

    /// Hands out the replies that are there, and waits for none.
    ///
    /// # Errors
    ///
    /// When the server has closed the connection.
    fn receive(&mut self, buffers: &mut Buffers, each: &mut dyn FnMut(&[u8])) -> io::Result<()>;

    /// Connects anew, after an error.
    fn reopen(&mut self) -> io::Result<()>;
}

/// What all lanes use in turn.
pub(crate) struct Buffers {
    receiver: Receiver,
    sender: Sender,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            receiver: Receiver::new(),
            sender: Sender::new(),
        }
    }
}

/// A UDP port.
pub(crate) struct UdpLane {
    socket: UdpSocket,
    server: SocketAddrV4,
}

impl UdpLane {
    pub(crate) fn open(server: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        Ok(Self { socket, server })
    }
}

impl Lane for UdpLane {
    fn send(&mut self, buffers: &mut Buffers, queries: &[&[u8]]) -> io::Result<()> {
        for batch in queries.chunks(BATCH) {
            let batch = batch.iter().map(|query| (*query, None));
            buffers.sender.send(&self.socket, batch)?;
        }
        Ok(())
    }

    fn receive(&mut self, buffers: &mut Buffers, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        buffers.receiver.take(&self.socket)?;
        for (reply, _) in buffers.receiver.messages() {
            each(reply);
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.server)?;
        Ok(())
    }
}

/// A TCP connection with several queries at a time (RFC 7766 section 6.2.1.1).
pub(crate) struct TcpLane {
    messages: Messages,
    server: SocketAddrV4,
}

impl TcpLane {
    pub(crate) fn open(server: SocketAddrV4) -> io::Result<Self> {
        let messages = Messages::new(TcpStream::connect(server)?)?;
        Ok(Self { messages, server })
    }
}

impl Lane for TcpLane {
    fn send(&mut self, _: &mut Buffers, queries: &[&[u8]]) -> io::Result<()> {
        for query in queries {
            self.messages.push(query);
        }
        self.messages.flush()
    }

    fn receive(&mut self, _: &mut Buffers, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.messages.flush()?;
        self.messages.receive(each)
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.server)?;
        Ok(())
    }
}
