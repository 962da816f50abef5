//! Captures as tcpdump, dumpcap and Wireshark write them: pcap
//! (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng).

use tokio::io::AsyncRead;

use super::packet;
use super::source::{Sender, SourceError, exactly, next, send};

/// The first octets of a pcapng file, the same in either order.
pub(super) const MAGIC_NG: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

/// What tcpdump takes of one packet at most.
const MOST_PACKET: u32 = 256 << 10;
/// A block of pcapng: a packet with its options, or what an interface is called.
const MOST_BLOCK: u32 = 1 << 20;
/// Interfaces of one section.
const MOST_INTERFACES: usize = 4096;

/// The order of octets of who wrote the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    /// The order of a pcap file, by its first four octets, with micro- or nanoseconds.
    pub(super) const fn of_magic(magic: [u8; 4]) -> Option<Self> {
        match magic {
            [0xA1, 0xB2, 0xC3, 0xD4] | [0xA1, 0xB2, 0x3C, 0x4D] => Some(Self::Big),
            [0xD4, 0xC3, 0xB2, 0xA1] | [0x4D, 0x3C, 0xB2, 0xA1] => Some(Self::Little),
            _ => None,
        }
    }

    fn u16(self, octets: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(octets),
            Self::Little => u16::from_le_bytes(octets),
        }
    }

    fn u32(self, octets: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(octets),
            Self::Little => u32::from_le_bytes(octets),
        }
    }

    /// The number `at` octets into a block.
    fn u32_at(self, block: &[u8], at: usize) -> Result<u32, SourceError> {
        let octets = block.get(at..).and_then(<[u8]>::first_chunk);
        octets
            .map(|octets| self.u32(*octets))
            .ok_or(SourceError::Ends("a block"))
    }

    fn u16_at(self, block: &[u8], at: usize) -> Result<u16, SourceError> {
        let octets = block.get(at..).and_then(<[u8]>::first_chunk);
        octets
            .map(|octets| self.u16(*octets))
            .ok_or(SourceError::Ends("a block"))
    }
}

/// Reads a pcap file from its first octet.
pub(super) async fn read(
    input: &mut (impl AsyncRead + Unpin),
    order: Order,
    port: u16,
    out: &Sender,
) -> Result<(), SourceError> {
    let header = exactly(input, 24, 24, "the header").await?;
    // Above the link type are bits about checksums behind the frame.
    let link = order.u32_at(&header, 20)? & 0xFFFF;
    while let Some(header) = next::<16>(input, "the header of a packet").await? {
        let len = order.u32_at(&header, 8)?;
        let frame = exactly(input, len, MOST_PACKET, "a packet").await?;
        pass(link as u16, &frame, port, out).await?;
    }
    Ok(())
}

/// Reads a pcapng file from its first octet.
pub(super) async fn read_ng(
    input: &mut (impl AsyncRead + Unpin),
    port: u16,
    out: &Sender,
) -> Result<(), SourceError> {
    let mut section = Section {
        order: Order::Little,
        links: Vec::new(),
    };
    while let Some(head) = next::<8>(input, "the header of a block").await? {
        let [a, b, c, d, length @ ..] = head;
        let kind = [a, b, c, d];
        // What says in which order the lengths are stands behind the first.
        let mut begun = Vec::new();
        if kind == MAGIC_NG {
            begun = exactly(input, 4, 4, "a section").await?;
            section.begin(&begun)?;
        }
        let length = section.order.u32(length);
        let rest = length.checked_sub(8 + begun.len() as u32);
        let rest = rest.filter(|rest| *rest >= 4 && length.is_multiple_of(4));
        let rest = rest.ok_or_else(|| SourceError::Length("a block", length.into()))?;
        let mut block = exactly(input, rest, MOST_BLOCK, "a block").await?;
        // The length once more.
        block.truncate(block.len() - 4);
        if let Some((link, frame)) = section.packet(section.order.u32(kind), &block)? {
            pass(link, frame, port, out).await?;
        }
    }
    Ok(())
}

/// What holds until the next section.
struct Section {
    order: Order,
    /// The link types of the interfaces.
    links: Vec<u16>,
}

impl Section {
    fn begin(&mut self, magic: &[u8]) -> Result<(), SourceError> {
        self.links.clear();
        self.order = match magic {
            [0x1A, 0x2B, 0x3C, 0x4D] => Order::Big,
            [0x4D, 0x3C, 0x2B, 0x1A] => Order::Little,
            _ => return Err(SourceError::Format("a section of pcapng without its mark")),
        };
        Ok(())
    }

    /// The packet that a block has, if it is of a kind that has one.
    fn packet<'a>(
        &mut self,
        kind: u32,
        block: &'a [u8],
    ) -> Result<Option<(u16, &'a [u8])>, SourceError> {
        let order = self.order;
        let (interface, from, len) = match kind {
            1 if self.links.len() < MOST_INTERFACES => {
                self.links.push(order.u16_at(block, 0)?);
                return Ok(None);
            }
            // Enhanced, simple, and what came before them.
            6 => (order.u32_at(block, 0)?, 20, order.u32_at(block, 12)?),
            2 => (order.u16_at(block, 0)?.into(), 20, order.u32_at(block, 12)?),
            // The length on the wire, of which the block has as much as was captured.
            3 => {
                let captured = block.len().saturating_sub(4) as u32;
                (0, 4, order.u32_at(block, 0)?.min(captured))
            }
            _ => return Ok(None),
        };
        let link = self.links.get(interface as usize);
        let link = *link.ok_or(SourceError::Format("a packet of an interface that is none"))?;
        let frame = block.get(from..).and_then(|rest| rest.get(..len as usize));
        Ok(Some((link, frame.ok_or(SourceError::Ends("a packet"))?)))
    }
}

async fn pass(link: u16, frame: &[u8], port: u16, out: &Sender) -> Result<(), SourceError> {
    for found in packet::queries(link, frame, port) {
        send(out, found).await?;
    }
    Ok(())
}
