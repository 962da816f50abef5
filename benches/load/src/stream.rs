//! Messages over TCP, each behind its length (RFC 7766 section 8).

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// Octets that one read takes at most.
const READ: usize = 65_536;

/// A connection that never blocks.
pub(crate) struct Messages {
    stream: TcpStream,
    room: Box<[u8]>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Messages {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            room: vec![0; READ].into(),
            incoming: Vec::new(),
            outgoing: Vec::new(),
        })
    }

    /// Leaves a message for [`Self::flush`]. Ours are all shorter than 64 KB.
    pub(crate) fn push(&mut self, message: &[u8]) {
        let len = message.len() as u16;
        self.outgoing.extend_from_slice(&len.to_be_bytes());
        self.outgoing.extend_from_slice(message);
    }

    /// Sends what has been pushed, with one write, as far as the peer takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.outgoing) {
            Ok(sent) => {
                self.outgoing.drain(..sent);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Hands out the messages that are there, and waits for none.
    ///
    /// # Errors
    ///
    /// When the peer has closed the connection.
    pub(crate) fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        match self.stream.read(&mut self.room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                let read = self.room.get(..len).unwrap_or_default();
                self.incoming.extend_from_slice(read);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut rest = self.incoming.as_slice();
        while let Some((message, behind)) = split(rest) {
            each(message);
            rest = behind;
        }
        let done = self.incoming.len() - rest.len();
        self.incoming.drain(..done);
        Ok(())
    }
}

/// The first message of a stream and what comes behind it, once it is whole.
fn split(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = stream.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_handed_out_once_it_is_whole() {
        let stream = [0, 2, 7, 8, 0, 0, 0, 1];
        assert_eq!(split(&stream), Some((&[7, 8][..], &[0, 0, 0, 1][..])));
        assert_eq!(split(&stream[4..]), Some((&[][..], &[0, 1][..])));
        assert_eq!(split(&stream[6..]), None);
        assert_eq!(split(&stream[..1]), None);
    }

    #[test]
    fn messages_come_over_in_order() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut client = Messages::new(client).unwrap();
        let mut server = Messages::new(listener.accept().unwrap().0).unwrap();
        let sent: Vec<Vec<u8>> = (0..100).map(|len| vec![len; len.into()]).collect();
        sent.iter().for_each(|message| client.push(message));
        client.flush().unwrap();
        let mut received = Vec::new();
        while received.len() < sent.len() {
            let each = &mut |message: &[u8]| received.push(message.to_vec());
            server.receive(each).unwrap();
        }
        assert_eq!(received, sent);
        drop(client);
        while server.receive(&mut |_| ()).is_ok() {}
    }
}
