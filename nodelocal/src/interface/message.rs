//! rtnetlink messages as bytes, those few that are needed here: rtnetlink(7),
//! netlink(7) and the kernel's `linux/rtnetlink.h`. All in the byte order of the
//! machine, everything padded to four octets.

/// Ends the answer to a request.
pub(super) const NLMSG_ERROR: u16 = 2;
/// Ends a list.
pub(super) const NLMSG_DONE: u16 = 3;
pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
pub(super) const RTM_GETADDR: u16 = 22;

pub(super) const NLM_F_REQUEST: u16 = 0x1;
pub(super) const NLM_F_ACK: u16 = 0x4;
/// In a list: something changed while it was made.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_CREATE: u16 = 0x400;

pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFF_UP: u32 = 1;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_PROTO: u16 = 11;
pub(super) const IFA_F_NODAD: u8 = 2;

pub(super) const AF_UNSPEC: u8 = 0;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// Attributes that have others within are flagged, among other things.
const TYPE: u16 = 0x3fff;

/// A request in the making.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Message {
    pub(super) fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        // Sequence number, and who asks: the kernel knows.
        bytes.extend([0; 8]);
        Self(bytes)
    }

    /// `struct ifinfomsg`, what is not said being zero. `up` sets that flag.
    pub(super) fn link(kind: u16, flags: u16, index: u32, up: bool) -> Self {
        let mut message = Self::new(kind, flags);
        let up = if up { IFF_UP } else { 0 };
        message.0.extend([AF_UNSPEC, 0, 0, 0]);
        message.0.extend(index.to_ne_bytes());
        message.0.extend(up.to_ne_bytes());
        // Which flags are meant.
        message.0.extend(up.to_ne_bytes());
        message
    }

    /// `struct ifaddrmsg`, of global scope.
    pub(super) fn address(kind: u16, flags: u16, of: [u8; 3], index: u32) -> Self {
        let mut message = Self::new(kind, flags);
        let [family, length, address_flags] = of;
        message.0.extend([family, length, address_flags, 0]);
        message.0.extend(index.to_ne_bytes());
        message
    }

    /// Adds an attribute of less than 64 KiB.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute that has one attribute within.
    pub(super) fn nested(self, kind: u16, inner: u16, value: &[u8]) -> Self {
        let inner = Self(Vec::new()).attribute(inner, value);
        self.attribute(kind, &inner.0)
    }

    /// The whole, with a number by which its answer is known.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// The messages of one datagram. What is cut off is left out.
pub(super) fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let part = Part {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    })
}

/// Attributes behind the fixed part of a payload. What is cut off is left out.
pub(super) fn attributes(payload: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut bytes = payload.get(fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE;
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Message::link(RTM_NEWLINK, NLM_F_ACK, 7, true)
            .attribute(IFLA_IFNAME, b"dns0\0")
            .nested(IFLA_LINKINFO, IFLA_INFO_KIND, b"dummy")
            .finish(9);
        let twice = [&bytes[..], &bytes].concat();
        let parts: Vec<_> = parts(&twice).collect();
        assert_eq!(parts.len(), 2);
        for part in parts {
            assert_eq!((part.kind, part.sequence), (RTM_NEWLINK, 9));
            assert_eq!(part.flags, NLM_F_ACK | NLM_F_REQUEST);
            assert_eq!(u32_at(part.payload, 4), Some(7));
            let attributes: Vec<_> = attributes(part.payload, 16).collect();
            let [(IFLA_IFNAME, name), (IFLA_LINKINFO, info)] = attributes[..] else {
                panic!("{attributes:?}");
            };
            assert_eq!(name, b"dns0\0");
            let inner: Vec<_> = super::attributes(info, 0).collect();
            assert_eq!(inner, [(IFLA_INFO_KIND, &b"dummy"[..])]);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_too_strange(bytes in proptest::collection::vec(0_u8..40, 0..200)) {
            for part in parts(&bytes) {
                prop_assert!(attributes(part.payload, 8).count() <= bytes.len());
            }
        }
    }
}
