//! A DNS client over raw sockets.

mod answer;
mod ask;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

pub use answer::Answer;
pub use ask::Ask;

/// Asks one server. Each query has a socket, so a source port, of its own.
#[derive(Clone, Debug)]
pub struct Client {
    server: SocketAddr,
    source: Option<IpAddr>,
    bound: Duration,
}

impl Client {
    /// A client of the server at `server`, with a bound of 10 s an answer.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        Self {
            server,
            source: None,
            bound: Duration::from_secs(10),
        }
    }

    /// Sends from this address, for rules that look at who asks. On Linux all
    /// of 127.0.0.0/8 is there to choose from.
    #[must_use]
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// How long to wait for an answer, and how long silence must last to be
    /// called silence.
    #[must_use]
    pub fn bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// One query over UDP with recursion desired and no EDNS.
    ///
    /// # Errors
    ///
    /// As [`Self::udp`].
    pub async fn ask(&self, name: &str, kind: &str) -> anyhow::Result<Answer> {
        self.udp(&Ask::new(name, kind)).await
    }

    /// One query over UDP.
    ///
    /// # Errors
    ///
    /// When nothing, or something that is no DNS message or has another id,
    /// comes back within the bound. Nothing is sent again.
    pub async fn udp(&self, ask: &Ask) -> anyhow::Result<Answer> {
        let answer = self.raw_udp(&ask.bytes()).await?;
        let bytes = answer.with_context(|| format!("{ask}: no answer from {}", self.server))?;
        ask.check(Answer::decode(bytes)?)
    }

    /// One query over TCP, on a connection of its own.
    ///
    /// # Errors
    ///
    /// As [`Self::udp`], and when the server closes first.
    pub async fn tcp(&self, ask: &Ask) -> anyhow::Result<Answer> {
        let mut stream = self.stream().await?;
        stream.send(ask).await?;
        let answer = stream.receive().await?;
        ask.check(answer.with_context(|| format!("{ask}: {} closed", self.server))?)
    }

    /// Sends a datagram as it is and yields the next one that comes back, or
    /// `None` when the bound passes in silence.
    ///
    /// # Errors
    ///
    /// When the port is closed, or no socket can be had.
    pub async fn raw_udp(&self, datagram: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let source = self.source.unwrap_or_else(|| match self.server {
            SocketAddr::V4(_) => IpAddr::from([0; 4]),
            SocketAddr::V6(_) => IpAddr::from([0; 16]),
        });
        let socket = UdpSocket::bind((source, 0)).await?;
        socket.connect(self.server).await?;
        socket.send(datagram).await?;
        let mut buffer = vec![0; 65_535];
        match timeout(self.bound, socket.recv(&mut buffer)).await {
            Ok(read) => {
                buffer.truncate(read.with_context(|| format!("ask {}", self.server))?);
                Ok(Some(buffer))
            }
            Err(_) => Ok(None),
        }
    }

    /// Opens a TCP connection for many queries.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn stream(&self) -> anyhow::Result<Stream> {
        let socket = match self.server {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.source {
            socket.bind((source, 0).into())?;
        }
        let connect = timeout(self.bound, socket.connect(self.server)).await;
        let stream = connect?.with_context(|| format!("connect to {}", self.server))?;
        stream.set_nodelay(true)?;
        Ok(Stream {
            stream,
            bound: self.bound,
        })
    }
}

/// A TCP connection: queries may be sent ahead of the answers.
#[derive(Debug)]
pub struct Stream {
    stream: TcpStream,
    bound: Duration,
}

impl Stream {
    /// Sends a query without waiting for its answer.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn send(&mut self, ask: &Ask) -> anyhow::Result<()> {
        let message = ask.bytes();
        let mut framed = u16::try_from(message.len())?.to_be_bytes().to_vec();
        framed.extend(message);
        self.send_raw(&framed).await
    }

    /// Writes bytes as they are: the length prefix is the caller's.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Says that nothing more will be sent; answers still arrive.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// The next message, in whatever order the server answers; `None` when it
    /// closed the connection between messages.
    ///
    /// # Errors
    ///
    /// When the bound passes, or the connection ends inside a message.
    pub async fn receive(&mut self) -> anyhow::Result<Option<Answer>> {
        let bytes = timeout(self.bound, self.read_message()).await;
        let bytes = bytes.with_context(|| format!("no message within {:?}", self.bound))??;
        bytes.map(Answer::decode).transpose()
    }

    /// Waits for the server to close.
    ///
    /// # Errors
    ///
    /// When a message comes instead, or the bound passes.
    pub async fn closed(&mut self) -> anyhow::Result<()> {
        match self.receive().await? {
            None => Ok(()),
            Some(answer) => bail!("an answer where the end was expected:\n{answer}"),
        }
    }

    async fn read_message(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut first = [0];
        match self.stream.read(&mut first).await {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            // Closed with something unread on the other side: the same to us.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let second = self.stream.read_u8().await?;
        let mut message = vec![0; usize::from(u16::from_be_bytes([first[0], second]))];
        self.stream.read_exact(&mut message).await?;
        Ok(Some(message))
    }
}
