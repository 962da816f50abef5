//! Where queries come from: a file or standard input of any of the formats,
//! told apart by their first octets, or a socket that speaks dnstap.

use std::io;
use std::path::Path;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use super::query::{Query, Skip};
use super::{dnstap, pcap};

/// The octets of a line of a list: a name of 255 octets that are all escaped, and a type.
const MOST_LINE: u64 = 2048;

/// What was found, one by one.
pub(super) type Sender = mpsc::Sender<Result<Query, Skip>>;

/// Why queries cannot be read, or no more of them.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It cannot be opened.
    #[error("cannot be opened: {}", corefile::io_message(.0))]
    Open(io::Error),
    /// It cannot be listened on.
    #[error("cannot be listened on: {}", corefile::io_message(.0))]
    Listen(io::Error),
    /// Reading fails.
    #[error("read: {}", corefile::io_message(.0))]
    Read(io::Error),
    /// It ends too early.
    #[error("ends inside {0}")]
    Ends(&'static str),
    /// A length that cannot be meant.
    #[error("{0} of {1} octets: not a capture, or a broken one")]
    Length(&'static str, u64),
    /// The format, of a kind that is not read.
    #[error("{0}")]
    Format(&'static str),
    /// A file that was packed.
    #[error("is packed by {0}: unpack it on the way, as in `{0} -dc FILE | pando diff … -`")]
    Packed(&'static str),
    /// Nothing of what can be read.
    #[error("line {0} is no text: neither a list of names nor a file of pcap, pcapng or dnstap")]
    Binary(u64),
    /// A line of a list.
    #[error("line {0}: {1}")]
    Line(u64, String),
    /// Nobody wants more.
    #[error("stopped")]
    Stopped,
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Reads all of a file, or of standard input where it is `-`. `port` is the
/// one that captured queries went to.
///
/// # Errors
///
/// Why there is no more; what came before was passed on.
pub(super) async fn file(path: &Path, port: u16, out: &Sender) -> Result<(), SourceError> {
    if path == Path::new("-") {
        return read(tokio::io::stdin(), port, out).await;
    }
    let opened = File::open(path).await;
    read(opened.map_err(SourceError::Open)?, port, out).await
}

pub(super) async fn read(
    input: impl AsyncRead + Send + Unpin,
    port: u16,
    out: &Sender,
) -> Result<(), SourceError> {
    let mut input = BufReader::new(input);
    let mut magic = Vec::new();
    (&mut input).take(4).read_to_end(&mut magic).await?;
    let mut whole = io::Cursor::new(magic.clone()).chain(input);
    let Some(magic) = magic.first_chunk().copied() else {
        return list(BufReader::new(whole), out).await;
    };
    match (magic, pcap::Order::of_magic(magic)) {
        (dnstap::MAGIC, _) => dnstap::read(&mut whole, out).await,
        (pcap::MAGIC_NG, _) => pcap::read_ng(&mut whole, port, out).await,
        (_, Some(order)) => pcap::read(&mut whole, order, port, out).await,
        ([0x1F, 0x8B, ..], _) => Err(SourceError::Packed("gzip")),
        ([0x28, 0xB5, 0x2F, 0xFD], _) => Err(SourceError::Packed("zstd")),
        ([0xFD, b'7', b'z', b'X'], _) => Err(SourceError::Packed("xz")),
        _ => list(BufReader::new(whole), out).await,
    }
}

/// `NAME [TYPE]` a line, as dnsperf reads it; what begins with `#` or `;` is a comment.
async fn list(
    mut input: BufReader<impl AsyncRead + Unpin>,
    out: &Sender,
) -> Result<(), SourceError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut limited = (&mut input).take(MOST_LINE);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            break;
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return Err(SourceError::Binary(number));
        };
        if text.contains('\0') {
            return Err(SourceError::Binary(number));
        }
        if line.len() as u64 == MOST_LINE && !text.ends_with('\n') {
            let long = format!("longer than {MOST_LINE} octets");
            return Err(SourceError::Line(number, long));
        }
        // Some editors begin a file with a mark of its encoding.
        let text = text.trim_start_matches('\u{FEFF}').trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let query = Query::of_line(text).map_err(|error| SourceError::Line(number, error))?;
        send(out, Ok(query)).await?;
    }
    Ok(())
}

/// Passes one on.
pub(super) async fn send(out: &Sender, found: Result<Query, Skip>) -> Result<(), SourceError> {
    out.send(found).await.map_err(|_| SourceError::Stopped)
}

/// The next `N` octets; `None` where the input ends before the first of them.
pub(super) async fn next<const N: usize>(
    input: &mut (impl AsyncRead + Unpin),
    what: &'static str,
) -> Result<Option<[u8; N]>, SourceError> {
    let mut octets = [0; N];
    let mut have = 0;
    while have < N {
        let free = octets.get_mut(have..).unwrap_or_default();
        match input.read(free).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(SourceError::Ends(what)),
            more => have += more,
        }
    }
    Ok(Some(octets))
}

/// The next `len` octets, which are at most `most`.
pub(super) async fn exactly(
    input: &mut (impl AsyncRead + Unpin),
    len: u32,
    most: u32,
    what: &'static str,
) -> Result<Vec<u8>, SourceError> {
    if len > most {
        return Err(SourceError::Length(what, len.into()));
    }
    let mut octets = vec![0; len as usize];
    match input.read_exact(&mut octets).await {
        Ok(_) => Ok(octets),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(SourceError::Ends(what)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read from these octets, and why no more.
    async fn read_all(octets: &[u8]) -> (usize, String) {
        let (out, mut found) = mpsc::channel(64);
        let read = async { read(octets, 53, &out).await };
        let read = read.await;
        drop(out);
        let mut count = 0;
        while found.recv().await.is_some() {
            count += 1;
        }
        (
            count,
            read.err()
                .map(|error| error.to_string())
                .unwrap_or_default(),
        )
    }

    fn pcap(packets: &[&[u8]]) -> Vec<u8> {
        let mut file = [0xA1B2_C3D4_u32, 0x0002_0004, 0, 0, 65_535, 101]
            .map(u32::to_be_bytes)
            .concat();
        for packet in packets {
            let len = packet.len() as u32;
            file.extend([0, 0, len, len].map(u32::to_be_bytes).concat());
            file.extend_from_slice(packet);
        }
        file
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    }

    fn section() -> Vec<u8> {
        block(
            0x0A0D_0D0A,
            &[
                0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
        )
    }

    #[tokio::test]
    async fn files_that_are_broken_say_where() {
        let packet: &[u8] = b"\x45 no packet at all, of no use";
        let whole = pcap(&[packet, packet]);
        let cut = &whole[..whole.len() - 1];
        let huge = [&pcap(&[])[..], &[0xFF; 16]].concat();
        let interface = block(1, &[101, 0, 0, 0, 0, 0, 0, 0]);
        let enhanced = block(
            6,
            &[[0; 12], [4, 0, 0, 0, 4, 0, 0, 0, 0x45, 0, 0, 0]].concat(),
        );
        let long_packet = block(
            6,
            &[[0; 12], [9, 0, 0, 0, 9, 0, 0, 0, 0x45, 0, 0, 0]].concat(),
        );
        let simple = block(3, &[4, 0, 0, 0, 0x45, 0, 0, 0]);
        let ng = |blocks: &[&[u8]]| [&section()[..], &blocks.concat()].concat();
        let control = |kind: u8, content: &[u8]| {
            let mut body = vec![0, 0, 0, kind];
            if !content.is_empty() {
                body.extend([0, 0, 0, 1, 0, 0, 0, content.len() as u8]);
                body.extend(content);
            }
            [&[0, 0, 0, 0, 0, 0, 0, body.len() as u8], &body[..]].concat()
        };
        let start = control(2, b"protobuf:dnstap.Dnstap");
        let stopped = [&start[..], &control(3, b"")].concat();
        let long = format!("a.b A\n{}\n", "x".repeat(4000));
        #[rustfmt::skip]
        let table: [(&[u8], usize, &str); 26] = [
            (b"", 0, ""),
            (b"a.b", 1, ""),
            (b"# nothing\n\n ; a.b\r\na.b AAAA\r\n\ta.b\ttype65\n", 2, ""),
            (b"\xEF\xBB\xBF# names\na.b A\n", 1, ""),
            (&[0x1F, 0x8B, 8, 0, 0], 0, "is packed by gzip: unpack it on the way, as in `gzip -dc FILE | pando diff … -`"),
            (b"a.b A\na..b A\n", 1, "line 2: no domain name: \"a..b\""),
            (b"a.b A\na.b A IN\n", 1, "line 2: more than a name and a type: \"IN\""),
            (b"a.b AXFR", 0, "line 1: cannot be asked: AXFR"),
            (b"a.b A\n\xFF\xFE", 1, "line 2 is no text: neither a list of names nor a file of pcap, pcapng or dnstap"),
            (long.as_bytes(), 1, "line 2: longer than 2048 octets"),
            (&whole, 2, ""),
            (cut, 1, "ends inside a packet"),
            (&whole[..30], 0, "ends inside the header of a packet"),
            (&whole[..10], 0, "ends inside the header"),
            (&huge, 0, "a packet of 4294967295 octets: not a capture, or a broken one"),
            (&ng(&[&interface, &enhanced, &simple]), 2, ""),
            (&ng(&[&interface, &long_packet]), 0, "ends inside a packet"),
            (&ng(&[&enhanced]), 0, "a packet of an interface that is none"),
            (&ng(&[&[9, 0, 0, 0, 9, 0, 0, 0]]), 0, "a block of 9 octets: not a capture, or a broken one"),
            (&ng(&[&interface[..10]]), 0, "ends inside a block"),
            (&[0x0A, 0x0D, 0x0D, 0x0A, 0, 0, 0, 28, 0, 0, 0, 0], 0, "a section of pcapng without its mark"),
            (&stopped, 0, ""),
            (&start, 0, "ends inside the stream: there is no STOP"),
            (&control(2, b"protobuf:other"), 0, "a stream of frames, but not of dnstap"),
            (&control(3, b""), 0, "a stream of frames that does not start"),
            (&[0, 0, 0, 0, 0xFF, 0, 0, 0], 0, "a control frame of 4278190080 octets: not a capture, or a broken one"),
        ];
        for (octets, count, error) in table {
            let found = read_all(octets).await;
            let shown = octets.escape_ascii().to_string();
            assert_eq!(found, (count, error.to_owned()), "{shown:.80}");
        }
    }

    #[tokio::test]
    async fn no_file_is_worse_than_refused() {
        let files = [pcap(&[b"\x45abc"]), section(), vec![0; 40]];
        for file in files {
            for at in 0..file.len() {
                for octet in [0, 1, 0x7F, 0xFF] {
                    let mut broken = file.clone();
                    broken[at] = octet;
                    read_all(&broken).await;
                    read_all(&broken[..at]).await;
                }
            }
        }
    }
}
