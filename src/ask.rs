//! One question to one server, for tools and checks; never on the way of a query.
//!
//! [`ask`] opens a socket of its own for each question, so that the port is
//! the kernel's choice, and sends it under a random id. A datagram with
//! another id, another question or no answer at all is somebody else's and
//! waited past (RFC 5452 section 9): only time ends the wait.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::upstream::message;
use crate::wire::{MAX_MESSAGE, Name, Request};

/// The UDP size that questions of our own advertise: no fragments on any path
/// (DNS flag day 2020).
pub const UDP_SIZE: u16 = 1232;

/// How a question travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// A datagram; a truncated answer is the answer.
    Udp,
    /// A connection.
    Tcp,
    /// A datagram, and a connection where the answer was truncated.
    Either,
}

/// What a server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The whole message. That it repeats the question is all that is known of it.
    pub message: Vec<u8>,
    /// From before the socket was opened until the message was there.
    pub elapsed: Duration,
    /// Whether it came over a connection.
    pub tcp: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The message has not exactly one question with a plain name, or is larger than 65,535 octets.
    #[error("the query is none")]
    Query,
    /// Nothing that fits the question came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Nobody listens there: an ICMP message or a RST said so.
    #[error("connection refused")]
    Refused,
    /// The server closed the connection before its answer was whole.
    #[error("the server closed the connection")]
    Closed,
    /// The system cannot send it there, or not hear of it.
    #[error("{0}")]
    Io(io::Error),
}

impl AskError {
    /// One word, as for a label of metrics: `query`, `timeout`, `refused`, `closed`, `io`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Timeout(_) => "timeout",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Io(_) => "io",
        }
    }
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// A query of our own: recursion desired, class IN; EDNS where it is given the
/// UDP size to advertise. [`ask`] gives it its id.
pub fn query(name: Name<'_>, qtype: u16, udp_size: Option<u16>) -> Vec<u8> {
    let mut request = Request::new();
    request.ask(0, name, qtype);
    if let Some(size) = udp_size {
        request.edns_or_insert(size);
    }
    let mut message = Vec::new();
    request.write(0, &mut message);
    message
}

/// Asks `server`, with another id than that of `query`, and waits at most
/// `bound` in all. Needs a tokio runtime; what is dropped is given up.
///
/// # Errors
///
/// Why there is no answer. A server that refuses or fails has answered.
pub async fn ask(
    server: SocketAddr,
    query: &[u8],
    transport: Transport,
    bound: Duration,
) -> Result<Answer, AskError> {
    let question = message::question(query).and_then(|range| query.get(range));
    let question = question.ok_or(AskError::Query)?;
    let asked = Asked {
        server,
        query,
        question,
    };
    let start = Instant::now();
    let deadline = start + bound;
    let (tcp, message) = timeout_at(deadline, async {
        if transport != Transport::Tcp {
            let message = asked.by_udp().await?;
            if transport == Transport::Udp || !message::is_truncated(&message) {
                return Ok::<_, AskError>((false, message));
            }
        }
        Ok((true, asked.by_tcp().await?))
    })
    .await
    .map_err(|_| AskError::Timeout(bound))??;
    Ok(Answer {
        message,
        elapsed: start.elapsed(),
        tcp,
    })
}

struct Asked<'a> {
    server: SocketAddr,
    query: &'a [u8],
    question: &'a [u8],
}

impl Asked<'_> {
    async fn by_udp(&self) -> Result<Vec<u8>, AskError> {
        let any: IpAddr = match self.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        // Connected: the kernel drops what others send, and tells of ICMP errors.
        socket.connect(self.server).await?;
        let (id, query) = self.under_an_id();
        socket.send(&query).await?;
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let len = socket.recv(&mut buffer).await?;
            let message = buffer.get(..len).unwrap_or_default();
            if self.is_answered_by(id, message) {
                return Ok(message.to_vec());
            }
        }
    }

    async fn by_tcp(&self) -> Result<Vec<u8>, AskError> {
        let mut stream = TcpStream::connect(self.server).await?;
        let (id, query) = self.under_an_id();
        let len = u16::try_from(query.len()).map_err(|_| AskError::Query)?;
        // In one segment: some servers read the length and the rest at once (RFC 7766 section 8).
        let framed = [&len.to_be_bytes()[..], &query].concat();
        stream.write_all(&framed).await?;
        loop {
            let len = stream.read_u16().await?;
            let mut message = vec![0; usize::from(len)];
            stream.read_exact(&mut message).await?;
            if self.is_answered_by(id, &message) {
                return Ok(message);
            }
        }
    }

    fn under_an_id(&self) -> (u16, Vec<u8>) {
        let id: u16 = rand::random();
        let body = self.query.get(2..).unwrap_or_default();
        (id, [&id.to_be_bytes()[..], body].concat())
    }

    /// Whether this is the server's answer. One that could not read the query
    /// need not repeat the question; it has a code that says so.
    fn is_answered_by(&self, id: u16, message: &[u8]) -> bool {
        if message::id(message) != Some(id) || !message::is_reply(message) {
            return false;
        }
        match message::question(message).and_then(|range| message.get(range)) {
            Some(question) => message::same_question(self.question, question),
            None => message.len() == message::HEADER && message::rcode(message) != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{NameBuf, rtype};
    use tokio::net::TcpListener;

    const BOUND: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(100);

    fn a() -> Vec<u8> {
        let name: NameBuf = "web.shop.svc.cluster.local.".parse().unwrap();
        query(name.name(), rtype::A, Some(UDP_SIZE))
    }

    /// The query as a reply with these flags and this code.
    fn reply(query: &[u8], high: u8, low: u8) -> Vec<u8> {
        let mut reply = query.to_vec();
        reply[2] |= 0x80 | high;
        reply[3] = low;
        reply
    }

    /// A server that sends, for one datagram, what `say` makes of it.
    async fn server(say: fn(&[u8]) -> Vec<Vec<u8>>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((len, client)) = socket.recv_from(&mut query).await {
                for message in say(&query[..len]) {
                    socket.send_to(&message, client).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn only_the_answer_to_the_question_counts() {
        let address = server(|query| {
            let mut other_id = reply(query, 0, 0);
            other_id[0] ^= 1;
            let mut other_type = reply(query, 0, 0);
            other_type[12 + 28 + 1] = 28;
            let mut bare = reply(&query[..12], 0, 0);
            bare[4..].fill(0);
            vec![
                other_id,
                other_type,
                bare,
                query.to_vec(),
                vec![],
                reply(query, 0, 3),
            ]
        });
        let answer = ask(address.await, &a(), Transport::Either, BOUND).await;
        let answer = answer.unwrap();
        assert_eq!((message::rcode(&answer.message), answer.tcp), (3, false));
        assert!(answer.elapsed < BOUND);
    }

    #[tokio::test]
    async fn a_server_that_cannot_read_it_has_answered() {
        let address = server(|query| {
            let mut bare = reply(&query[..12], 0, 1);
            bare[4..].fill(0);
            vec![bare]
        });
        let answer = ask(address.await, &a(), Transport::Udp, BOUND).await;
        assert_eq!(message::rcode(&answer.unwrap().message), 1);
    }

    #[tokio::test]
    async fn what_is_truncated_is_asked_for_again_by_tcp() {
        let address = server(|query| vec![reply(query, 2, 0)]).await;
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut query).await.unwrap();
                let reply = reply(&query, 0, 0);
                let mut stray = reply.clone();
                stray[0] ^= 1;
                for message in [stray, reply] {
                    stream.write_u16(message.len() as u16).await.unwrap();
                    stream.write_all(&message).await.unwrap();
                }
            }
        });
        for (transport, tcp, truncated) in [
            (Transport::Udp, false, true),
            (Transport::Tcp, true, false),
            (Transport::Either, true, false),
        ] {
            let answer = ask(address, &a(), transport, BOUND).await.unwrap();
            let found = (answer.tcp, message::is_truncated(&answer.message));
            assert_eq!(found, (tcp, truncated), "{transport:?}");
        }
    }

    #[tokio::test]
    async fn why_there_is_no_answer() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closing = closed.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = closed.accept().await {
                let mut query = [0; 256];
                let _ = stream.read(&mut query).await;
                let _ = stream.write_all(&[0, 40, 1]).await;
            }
        });
        let silent = server(|_| vec![]).await;
        // Bound and let go: nobody listens there.
        let nobody = {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap()
        };
        for (server, transport, bound, label) in [
            (silent, Transport::Either, SHORT, "timeout"),
            (nobody, Transport::Either, BOUND, "refused"),
            (nobody, Transport::Tcp, BOUND, "refused"),
            (closing, Transport::Tcp, BOUND, "closed"),
        ] {
            let error = ask(server, &a(), transport, bound).await.unwrap_err();
            assert_eq!(error.label(), label, "{error}");
        }
        for no_query in [&b""[..], &[0; 12], &a()[..20]] {
            let error = ask(silent, no_query, Transport::Udp, SHORT).await;
            assert_eq!(error.unwrap_err().label(), "query");
        }
    }
}
