//! From a captured frame to the queries in it.
//!
//! Ethernet with VLAN tags, Linux cooked captures of both versions, loopback
//! and bare IP; IPv4 and IPv6 with extension headers; UDP, and TCP as far as
//! queries lie whole in a segment. Tunnels are not opened.

use super::query::{Query, Skip};
use crate::wire::{Error, Reader};

/// Link types (the registry of draft-ietf-opsawg-pcaplinktype).
mod link {
    pub(super) const NULL: u16 = 0;
    pub(super) const ETHERNET: u16 = 1;
    pub(super) const RAW_BSD: [u16; 2] = [12, 14];
    pub(super) const RAW: u16 = 101;
    pub(super) const LOOP: u16 = 108;
    pub(super) const LINUX_SLL: u16 = 113;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const LINUX_SLL2: u16 = 276;
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The queries to `port` in a frame. What goes elsewhere is nothing at all.
pub(super) fn queries(link: u16, frame: &[u8], port: u16) -> Vec<Result<Query, Skip>> {
    let packet = match network(link, frame) {
        Ok(Some(packet)) => packet,
        // ARP and its like.
        Ok(None) => return Vec::new(),
        Err(skip) => return vec![Err(skip)],
    };
    match transport(packet) {
        Ok(Some(segment)) => segment.queries(port),
        Ok(None) => Vec::new(),
        Err(skip) => vec![Err(skip)],
    }
}

/// The packet of IP in a frame.
fn network(link: u16, frame: &[u8]) -> Result<Option<&[u8]>, Skip> {
    let from = |at: usize| frame.get(at..).ok_or(Skip::Cut);
    let ethertype = |at: usize| {
        let octets = from(at)?.first_chunk().ok_or(Skip::Cut)?;
        Ok(u16::from_be_bytes(*octets))
    };
    let (mut kind, mut at) = match link {
        link::ETHERNET => (ethertype(12)?, 14),
        link::LINUX_SLL => (ethertype(14)?, 16),
        link::LINUX_SLL2 => (ethertype(0)?, 20),
        link::NULL | link::LOOP => return from(4).map(Some),
        link::RAW | link::IPV4 | link::IPV6 => return Ok(Some(frame)),
        other if link::RAW_BSD.contains(&other) => return Ok(Some(frame)),
        _ => return Err(Skip::Link),
    };
    // VLAN tags.
    while matches!(kind, 0x8100 | 0x88A8 | 0x9100) {
        kind = ethertype(at + 2)?;
        at += 4;
    }
    match kind {
        0x0800 | 0x86DD => from(at).map(Some),
        _ => Ok(None),
    }
}

/// What lies in a packet of IP.
struct Segment<'a> {
    protocol: u8,
    octets: &'a [u8],
}

fn transport(packet: &[u8]) -> Result<Option<Segment<'_>>, Skip> {
    let mut reader = Reader::new(packet);
    let read = match packet.first().map(|octet| octet >> 4) {
        Some(4) => ipv4(&mut reader),
        Some(6) => ipv6(&mut reader),
        Some(_) => return Ok(None),
        None => return Err(Skip::Cut),
    };
    let Some((protocol, end)) = read.map_err(|_| Skip::Cut)? else {
        return Err(Skip::Fragment);
    };
    // Behind the packet a frame may be padded; before its end the capture may be cut.
    let octets = packet.get(reader.position()..).unwrap_or_default();
    let len = end.saturating_sub(reader.position());
    Ok(Some(Segment {
        protocol,
        octets: octets.get(..len).unwrap_or(octets),
    }))
}

/// The protocol, and where the packet ends; `None` for a fragment.
fn ipv4(reader: &mut Reader<'_>) -> Result<Option<(u8, usize)>, Error> {
    let head = usize::from(reader.u8("IP")? & 0xF) * 4;
    reader.u8("IP")?;
    let end = usize::from(reader.u16("IP")?);
    reader.u16("IP")?;
    let fragment = reader.u16("IP")?;
    reader.u8("IP")?;
    let protocol = reader.u8("IP")?;
    reader.take(head.checked_sub(10).ok_or(Error::BadData("IP"))?, "IP")?;
    // More fragments, or an offset. A length of 0 is left to the network card.
    let end = if end == 0 { usize::MAX } else { end };
    Ok((fragment & 0x3FFF == 0).then_some((protocol, end)))
}

fn ipv6(reader: &mut Reader<'_>) -> Result<Option<(u8, usize)>, Error> {
    reader.u32("IP")?;
    let end = 40 + usize::from(reader.u16("IP")?);
    let mut protocol = reader.u8("IP")?;
    reader.take(33, "IP")?;
    loop {
        match protocol {
            // Hop by hop, routing, destination (RFC 8200 section 4).
            0 | 43 | 60 => {
                protocol = reader.u8("IP")?;
                let len = usize::from(reader.u8("IP")?) * 8 + 6;
                reader.take(len, "IP")?;
            }
            44 => return Ok(None),
            _ => return Ok(Some((protocol, end))),
        }
    }
}

impl Segment<'_> {
    fn queries(&self, port: u16) -> Vec<Result<Query, Skip>> {
        let read = match self.protocol {
            UDP => self.udp(port),
            TCP => self.tcp(port),
            _ => Ok(Vec::new()),
        };
        read.unwrap_or_else(|_| vec![Err(Skip::Cut)])
    }

    fn udp(&self, port: u16) -> Result<Vec<Result<Query, Skip>>, Error> {
        let mut reader = Reader::new(self.octets);
        reader.u16("UDP")?;
        if reader.u16("UDP")? != port {
            return Ok(Vec::new());
        }
        let len = usize::from(reader.u16("UDP")?).checked_sub(8);
        reader.u16("UDP")?;
        let message = reader.take(len.ok_or(Error::BadData("UDP"))?, "UDP")?;
        Ok(vec![Query::captured(message, false)])
    }

    /// Queries with their two octets of length before each.
    fn tcp(&self, port: u16) -> Result<Vec<Result<Query, Skip>>, Error> {
        let mut reader = Reader::new(self.octets);
        reader.u16("TCP")?;
        if reader.u16("TCP")? != port {
            return Ok(Vec::new());
        }
        reader.take(8, "TCP")?;
        let head = usize::from(reader.u8("TCP")? >> 4) * 4;
        reader.take(head.checked_sub(13).ok_or(Error::BadData("TCP"))?, "TCP")?;
        let mut found = Vec::new();
        while reader.any_left() {
            let message = reader.u16("length").and_then(|len| {
                let len = usize::from(len);
                reader.take(len, "message")
            });
            match message {
                Ok(message) => found.push(Query::captured(message, true)),
                Err(_) => {
                    found.push(Err(Skip::Segments));
                    break;
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask;
    use crate::wire::{NameBuf, rtype};

    fn message() -> Vec<u8> {
        let name: NameBuf = "web.shop.svc.cluster.local.".parse().unwrap();
        ask::query(name.name(), rtype::A, None)
    }

    fn udp(to: u16, payload: &[u8]) -> Vec<u8> {
        let head = [40_000, to, payload.len() as u16 + 8, 0];
        [&head.map(u16::to_be_bytes).concat(), payload].concat()
    }

    fn tcp(to: u16, payload: &[u8]) -> Vec<u8> {
        let mut head = [40_000, to, 0, 0, 0, 0, 0x6018, 0, 0, 0, 0, 0]
            .map(u16::to_be_bytes)
            .concat();
        head.extend(payload);
        head
    }

    fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend((payload.len() as u16 + 20).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    /// With these extension headers, each named by the one before it.
    fn ipv6(extensions: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut kinds = extensions.to_vec();
        kinds.push(protocol);
        let mut packet = vec![0x60, 0, 0, 0];
        let len = payload.len() + extensions.len() * 8;
        packet.extend((len as u16).to_be_bytes());
        packet.extend([kinds[0], 64]);
        packet.extend([0; 32]);
        for next in &kinds[1..] {
            packet.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
        }
        packet.extend(payload);
        packet
    }

    fn framed(head: usize, kind_at: usize, kind: u16, rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; head];
        frame[kind_at..kind_at + 2].copy_from_slice(&kind.to_be_bytes());
        frame.extend(rest);
        frame
    }

    #[test]
    fn queries_are_found_beneath_every_link() {
        let message = message();
        let (v4, v6) = (
            ipv4(UDP, 0x4000, &udp(53, &message)),
            ipv6(&[0, 60], UDP, &udp(53, &message)),
        );
        let padded = [&v4[..], &[0; 9]].concat();
        let vlan = [&[0, 7, 0x08, 0x00], &v4[..]].concat();
        #[rustfmt::skip]
        let frames = [
            (link::ETHERNET, framed(14, 12, 0x0800, &padded)),
            (link::ETHERNET, framed(14, 12, 0x86DD, &v6)),
            (link::ETHERNET, framed(14, 12, 0x8100, &vlan)),
            (link::LINUX_SLL, framed(16, 14, 0x0800, &v4)),
            (link::LINUX_SLL2, framed(20, 0, 0x86DD, &v6)),
            (link::NULL, framed(4, 0, 0, &v4)),
            (link::RAW, v6),
            (link::IPV4, v4),
        ];
        for (link, frame) in frames {
            let want = [Query::captured(&message, false)];
            assert_eq!(queries(link, &frame, 53), want, "{link}");
            assert_eq!(queries(link, &frame, 54), [], "{link}");
        }
    }

    #[test]
    fn over_tcp_several_may_lie_in_one_segment() {
        let message = message();
        let mut stream = (message.len() as u16).to_be_bytes().to_vec();
        stream.extend(&message);
        let two = [&stream[..], &stream].concat();
        let query = || Query::captured(&message, true);
        let ask = |payload: &[u8]| queries(link::RAW, &ipv4(TCP, 0, &tcp(53, payload)), 53);
        assert_eq!(ask(&two), [query(), query()]);
        assert_eq!(ask(&[]), []);
        assert_eq!(ask(&two[..50]), [query(), Err(Skip::Segments)]);
        assert_eq!(ask(&stream[..2]), [Err(Skip::Segments)]);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_reason() {
        let message = message();
        let whole = ipv4(UDP, 0, &udp(53, &message));
        let mut answer = message.clone();
        answer[2] |= 0x80;
        let mut update = message.clone();
        update[2] = 5 << 3;
        let mut transfer = message.clone();
        let at = transfer.len() - 3;
        transfer[at] = 252;
        let mut signed = message.clone();
        signed[11] = 1;
        signed.extend([0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]);
        let carry = |message: &[u8]| ipv4(UDP, 0, &udp(53, message));
        #[rustfmt::skip]
        let table = [
            (link::RAW, ipv4(UDP, 0x2000, &udp(53, &message)), Skip::Fragment),
            (link::RAW, ipv6(&[44], UDP, &udp(53, &message)), Skip::Fragment),
            (link::RAW, whole[..40].to_vec(), Skip::Cut),
            (link::RAW, vec![], Skip::Cut),
            (link::ETHERNET, vec![0; 13], Skip::Cut),
            (147, whole.clone(), Skip::Link),
            (link::RAW, carry(&answer), Skip::NoQuery),
            (link::RAW, carry(&message[..20]), Skip::NoQuery),
            (link::RAW, carry(b"hello"), Skip::NoQuery),
            (link::RAW, carry(&update), Skip::Opcode),
            (link::RAW, carry(&transfer), Skip::Transfer),
            (link::RAW, carry(&signed), Skip::Signed),
        ];
        for (link, frame, skip) in table {
            assert_eq!(queries(link, &frame, 53), [Err(skip)], "{frame:?}");
        }
        assert_eq!(
            queries(link::ETHERNET, &framed(14, 12, 0x0806, &[0; 28]), 53),
            []
        );
        assert_eq!(queries(link::RAW, &ipv4(1, 0, &[0; 8]), 53), []);
    }

    proptest::proptest! {
        #[test]
        fn hostile_frames_are_read_or_refused(octets: Vec<u8>, protocol: u8) {
            for link in [0, 1, 101, 113, 276] {
                queries(link, &octets, 53);
            }
            queries(link::RAW, &ipv4(UDP, 0, &octets), 53);
            queries(link::RAW, &ipv4(TCP, 0, &octets), 53);
            queries(link::RAW, &ipv6(&[], protocol, &octets), 53);
        }
    }
}
