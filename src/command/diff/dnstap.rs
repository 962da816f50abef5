//! dnstap (dnstap.info): queries as a server saw them, in Frame Streams from a
//! file, or over a socket to which a server such as CoreDNS connects.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::query::{Query, Skip};
use super::source::{Sender, SourceError, exactly, next, send};
use crate::wire::{Error, Reader};

/// The first octets of a file: a control frame follows.
pub(super) const MAGIC: [u8; 4] = [0; 4];
/// The one kind of content.
const CONTENT: &[u8] = b"protobuf:dnstap.Dnstap";
/// Two messages of DNS and what is said of them.
const MOST_FRAME: u32 = 256 << 10;
/// The bound of the Frame Streams library.
const MOST_CONTROL: u32 = 512;
/// Servers at a time.
const MOST_CONNECTIONS: usize = 16;

/// What a control frame is.
mod control {
    pub(super) const ACCEPT: u32 = 1;
    pub(super) const START: u32 = 2;
    pub(super) const STOP: u32 = 3;
    pub(super) const READY: u32 = 4;
    pub(super) const FINISH: u32 = 5;
    /// The one field: a content type.
    pub(super) const CONTENT_TYPE: u32 = 1;
}

/// Where to wait for servers, spelt as in CoreDNS's `dnstap`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Listen {
    /// `tcp://ADDRESS:PORT`
    Tcp(String),
    /// `unix:///PATH` or `/PATH`
    Unix(PathBuf),
}

/// Neither of the two.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("neither tcp://ADDRESS:PORT nor unix:///PATH")]
pub(super) struct ListenError;

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(address) = text.strip_prefix("tcp://") {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            return match port {
                Some(Ok(_)) => Ok(Self::Tcp(address.to_owned())),
                _ => Err(ListenError),
            };
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        match path.starts_with('/') {
            true => Ok(Self::Unix(path.into())),
            false => Err(ListenError),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Takes what servers tap, for as long as it is polled.
pub(super) async fn listen(at: &Listen, out: &Sender) -> Result<(), SourceError> {
    let door = Door::open(at).await;
    let door = door.map_err(SourceError::Listen)?;
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut taps = JoinSet::new();
    loop {
        while taps.try_join_next().is_some() {}
        let place = Arc::clone(&places).acquire_owned().await;
        let stream = door.accept().await?;
        let out = out.clone();
        taps.spawn(async move {
            tap(stream, &out).await;
            drop(place);
        });
    }
}

/// A listener of either kind.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Door {
    async fn open(at: &Listen) -> io::Result<Self> {
        match at {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                eprintln!("waiting for dnstap on tcp://{}", listener.local_addr()?);
                Ok(Self::Tcp(listener))
            }
            Listen::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                eprintln!("waiting for dnstap on {at}");
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Nobody can connect to it any more.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What a server comes in by.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One server, from its greeting to its end.
async fn tap(stream: impl Stream, out: &Sender) {
    let mut stream = BufReader::new(stream);
    let read = async {
        greet(&mut stream).await?;
        read(&mut stream, out).await?;
        say(&mut stream, control::FINISH, false).await
    };
    match read.await {
        Ok(()) | Err(SourceError::Stopped) => {}
        Err(error) => eprintln!("dnstap: {error}"),
    }
}

/// The two lines before the stream: who writes says what it has, who reads what it takes.
async fn greet(stream: &mut impl Stream) -> Result<(), SourceError> {
    match frame(stream).await? {
        Some(Frame::Control(control::READY, offers)) if is_ours(&offers) => {
            say(stream, control::ACCEPT, true).await
        }
        _ => Err(SourceError::Format("who connected does not tap: no READY")),
    }
}

async fn say(
    stream: &mut (impl AsyncWrite + Unpin),
    what: u32,
    content: bool,
) -> Result<(), SourceError> {
    let mut body = what.to_be_bytes().to_vec();
    if content {
        body.extend(control::CONTENT_TYPE.to_be_bytes());
        body.extend((CONTENT.len() as u32).to_be_bytes());
        body.extend(CONTENT);
    }
    let head = [0, body.len() as u32].map(u32::to_be_bytes).concat();
    stream.write_all(&[head, body].concat()).await?;
    Ok(stream.flush().await?)
}

/// Reads a stream from its START to its STOP.
pub(super) async fn read(
    input: &mut (impl AsyncRead + Unpin),
    out: &Sender,
) -> Result<(), SourceError> {
    match frame(input).await? {
        Some(Frame::Control(control::START, content)) if is_ours(&content) => {}
        Some(Frame::Control(control::START, _)) => {
            return Err(SourceError::Format("a stream of frames, but not of dnstap"));
        }
        _ => {
            return Err(SourceError::Format(
                "a stream of frames that does not start",
            ));
        }
    }
    loop {
        match frame(input).await? {
            Some(Frame::Data(data)) => {
                let found = query_of(&data).unwrap_or(Some(Err(Skip::NoQuery)));
                if let Some(found) = found {
                    send(out, found).await?;
                }
            }
            Some(Frame::Control(control::STOP, _)) => return Ok(()),
            Some(Frame::Control(..)) => {}
            None => return Err(SourceError::Ends("the stream: there is no STOP")),
        }
    }
}

enum Frame {
    /// What it is, and its fields.
    Control(u32, Vec<u8>),
    Data(Vec<u8>),
}

async fn frame(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, SourceError> {
    let number = async |input: &mut _| next::<4>(input, "a frame").await;
    let Some(len) = number(input).await?.map(u32::from_be_bytes) else {
        return Ok(None);
    };
    if len > 0 {
        let data = exactly(input, len, MOST_FRAME, "a frame").await?;
        return Ok(Some(Frame::Data(data)));
    }
    let len = number(input).await?.map_or(0, u32::from_be_bytes);
    let body = exactly(input, len, MOST_CONTROL, "a control frame").await?;
    let Some((what, fields)) = body.split_first_chunk() else {
        return Err(SourceError::Ends("a control frame"));
    };
    Ok(Some(Frame::Control(
        u32::from_be_bytes(*what),
        fields.to_vec(),
    )))
}

/// Whether dnstap is among the content types.
fn is_ours(fields: &[u8]) -> bool {
    let mut reader = Reader::new(fields);
    while let (Ok(field), Ok(len)) = (reader.u32("field"), reader.u32("field")) {
        match reader.take(len as usize, "field") {
            Ok(CONTENT) if field == control::CONTENT_TYPE => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// The numbers of the fields that count (dnstap.proto).
mod field {
    pub(super) const MESSAGE: u64 = 14;
    pub(super) const TYPE: u64 = 1;
    pub(super) const SOCKET_PROTOCOL: u64 = 3;
    pub(super) const QUERY_MESSAGE: u64 = 10;
}

/// What clients asked: `AUTH_QUERY` and `CLIENT_QUERY`.
const QUERIES: [u64; 2] = [1, 5];
const OVER_UDP: u64 = 1;

/// The query in a frame; `None` in one of answers, or of what the server asks itself.
fn query_of(frame: &[u8]) -> Result<Option<Result<Query, Skip>>, Error> {
    let (mut kind, mut protocol, mut query) = (0, OVER_UDP, None);
    for message in fields(frame) {
        let (field::MESSAGE, Value::Octets(message)) = message? else {
            continue;
        };
        for value in fields(message) {
            match value? {
                (field::TYPE, Value::Number(number)) => kind = number,
                (field::SOCKET_PROTOCOL, Value::Number(number)) => protocol = number,
                (field::QUERY_MESSAGE, Value::Octets(octets)) => query = Some(octets),
                _ => {}
            }
        }
    }
    if !QUERIES.contains(&kind) {
        return Ok(None);
    }
    let Some(query) = query else {
        return Ok(Some(Err(Skip::Cut)));
    };
    Ok(Some(Query::captured(query, protocol != OVER_UDP)))
}

enum Value<'a> {
    Number(u64),
    Octets(&'a [u8]),
}

/// The fields of a message of Protocol Buffers, up to the first that is none.
fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u64, Value<'_>), Error>> {
    let mut reader = Reader::new(message);
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || !reader.any_left() {
            return None;
        }
        let field = field(&mut reader);
        broken = field.is_err();
        Some(field)
    })
}

fn field<'a>(reader: &mut Reader<'a>) -> Result<(u64, Value<'a>), Error> {
    let tag = varint(reader)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(reader)?),
        1 => Value::Octets(reader.take(8, "field")?),
        2 => {
            let len = usize::try_from(varint(reader)?).unwrap_or(usize::MAX);
            Value::Octets(reader.take(len, "field")?)
        }
        5 => Value::Octets(reader.take(4, "field")?),
        _ => return Err(Error::BadData("field")),
    };
    Ok((tag >> 3, value))
}

fn varint(reader: &mut Reader<'_>) -> Result<u64, Error> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let octet = reader.u8("number")?;
        number |= u64::from(octet & 0x7F) << shift;
        if octet & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Error::BadData("number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask;
    use crate::wire::{NameBuf, rtype};

    fn octets(field: u8, octets: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        let mut len = octets.len();
        while len > 0x7F {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend(octets);
        out
    }

    /// A frame: its kind, its protocol, and the query.
    fn tapped(kind: u8, protocol: u8, query: Option<&[u8]>) -> Vec<u8> {
        let mut message = vec![1 << 3, kind, 3 << 3, protocol];
        message.extend(query.map(|query| octets(10, query)).unwrap_or_default());
        // A name before it, a fixed number behind.
        let identity = octets(1, b"node");
        [
            &identity[..],
            &octets(14, &message),
            &[9 << 3 | 5, 0, 0, 0, 0],
        ]
        .concat()
    }

    fn message() -> Vec<u8> {
        // Long, so that lengths take two octets.
        let name = format!("{}.{}.shop.", "a".repeat(60), "b".repeat(60));
        let name: NameBuf = name.parse().unwrap();
        ask::query(name.name(), rtype::A, None)
    }

    #[test]
    fn the_queries_of_clients_are_taken() {
        let message = message();
        for (frame, found) in [
            (
                tapped(5, 1, Some(&message)),
                Some(Query::captured(&message, false)),
            ),
            (
                tapped(1, 1, Some(&message)),
                Some(Query::captured(&message, false)),
            ),
            (
                tapped(5, 2, Some(&message)),
                Some(Query::captured(&message, true)),
            ),
            (tapped(5, 1, None), Some(Err(Skip::Cut))),
            (tapped(5, 1, Some(b"x")), Some(Err(Skip::NoQuery))),
            // An answer, and what was asked of an upstream.
            (tapped(6, 1, Some(&message)), None),
            (tapped(7, 1, Some(&message)), None),
            (vec![], None),
        ] {
            assert_eq!(query_of(&frame), Ok(found), "{frame:?}");
        }
        let whole = tapped(5, 1, Some(&message));
        assert!(query_of(&whole[..whole.len() - 1]).is_err());
        assert!(query_of(&[0xFF; 12]).is_err());
    }

    #[test]
    fn endpoints_are_spelt_as_in_a_corefile() {
        for (text, listen) in [
            (
                "tcp://127.0.0.1:6000",
                Some(Listen::Tcp("127.0.0.1:6000".to_owned())),
            ),
            (
                "tcp://[::1]:6000",
                Some(Listen::Tcp("[::1]:6000".to_owned())),
            ),
            ("unix:///run/tap", Some(Listen::Unix("/run/tap".into()))),
            ("/run/tap", Some(Listen::Unix("/run/tap".into()))),
            ("tcp://127.0.0.1", None),
            ("127.0.0.1:6000", None),
            ("unix://run/tap", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), listen, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_frames_are_read_or_refused(frame: Vec<u8>) {
            let _ = query_of(&frame);
            let _ = query_of(&octets(14, &frame));
            is_ours(&frame);
        }
    }
}
