use std::borrow::Cow;

use super::{Error, Reader, rtype};

/// What an OPT record says (RFC 6891 section 6.1), its options still in wire form.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edns {
    /// The largest UDP payload that the sender can take, in octets.
    pub udp_size: u16,
    /// The upper eight bits of the response code.
    pub ext_rcode: u8,
    /// The EDNS version; only 0 is defined.
    pub version: u8,
    /// The flag bits; see [`Edns::DO`].
    pub flags: u16,
    options: Vec<u8>,
}

impl Edns {
    /// DNSSEC OK (RFC 3225).
    pub const DO: u16 = 1 << 15;
    /// Long-lived queries (RFC 8764).
    pub const LLQ: u16 = 1;
    /// Lease of a dynamic update (RFC 9664).
    pub const UPDATE_LEASE: u16 = 2;
    /// Name Server Identifier (RFC 5001).
    pub const NSID: u16 = 3;
    /// Client Subnet (RFC 7871).
    pub const SUBNET: u16 = 8;
    /// Zone expiry (RFC 7314).
    pub const EXPIRE: u16 = 9;
    /// Cookie (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// TCP keepalive (RFC 7828).
    pub const TCP_KEEPALIVE: u16 = 11;
    /// Padding (RFC 7830).
    pub const PADDING: u16 = 12;
    /// Extended DNS Error (RFC 8914).
    pub const EDE: u16 = 15;

    /// Forgets everything, keeps the buffer.
    pub fn clear(&mut self) {
        let mut options = std::mem::take(&mut self.options);
        options.clear();
        *self = Self {
            options,
            ..Self::default()
        };
    }

    /// Takes over the fixed fields and options of an OPT record.
    pub fn read(&mut self, class: u16, ttl: u32, rdata: &[u8]) -> Result<(), Error> {
        let [ext_rcode, version, high, low] = ttl.to_be_bytes();
        let mut reader = Reader::new(rdata);
        while reader.any_left() {
            reader.u16("EDNS option")?;
            let len = reader.u16("EDNS option")?;
            reader.take(usize::from(len), "EDNS option")?;
        }
        self.udp_size = class;
        self.ext_rcode = ext_rcode;
        self.version = version;
        self.flags = u16::from_be_bytes([high, low]);
        self.options.clear();
        self.options.extend_from_slice(rdata);
        Ok(())
    }

    /// Whether the options have the form that their standards give them, as
    /// far as CoreDNS insists on it.
    pub fn check(&self) -> Result<(), Error> {
        let fits = |(code, data): (u16, &[u8])| match code {
            Self::LLQ => data.len() >= 18,
            Self::UPDATE_LEASE => matches!(data.len(), 4 | 8),
            Self::SUBNET => match data {
                [0, 0, mask, _, ..] => *mask == 0,
                [0, 1, mask, scope, ..] => *mask <= 32 && *scope <= 32,
                [0, 2, mask, scope, ..] => *mask <= 128 && *scope <= 128,
                _ => false,
            },
            Self::EXPIRE => !matches!(data.len(), 1..=3),
            Self::TCP_KEEPALIVE => matches!(data.len(), 0 | 2),
            Self::EDE => data.len() >= 2,
            _ => true,
        };
        match self.options().all(fits) {
            true => Ok(()),
            false => Err(Error::BadData("EDNS option")),
        }
    }

    /// Whether DNSSEC records are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.flags & Self::DO != 0
    }

    /// The options in order: code and data.
    pub fn options(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut reader = Reader::new(&self.options);
        std::iter::from_fn(move || {
            let code = reader.u16("").ok()?;
            let len = reader.u16("").ok()?;
            Some((code, reader.take(usize::from(len), "").ok()?))
        })
    }

    /// The data of the first option with this code.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        self.options()
            .find_map(|(at, data)| (at == code).then_some(data))
    }

    /// Appends an option; data beyond 65,535 octets is cut.
    pub fn push_option(&mut self, code: u16, data: &[u8]) {
        let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
        self.options.extend_from_slice(&code.to_be_bytes());
        self.options.extend_from_slice(&len.to_be_bytes());
        self.options.extend(data.iter().take(usize::from(len)));
    }

    /// Keeps the options whose code and data please `keep`.
    pub fn retain_options(&mut self, mut keep: impl FnMut(u16, &[u8]) -> bool) {
        if self.options.is_empty() {
            return;
        }
        let mut kept = Self::default();
        for (code, data) in self.options() {
            if keep(code, data) {
                kept.push_option(code, data);
            }
        }
        self.options.clear();
        self.options.append(&mut kept.options);
    }

    /// Takes over another's fields and options, without allocating where the buffer suffices.
    pub fn copy_from(&mut self, other: &Self) {
        let Self {
            udp_size,
            ext_rcode,
            version,
            flags,
            ref options,
        } = *other;
        self.udp_size = udp_size;
        self.ext_rcode = ext_rcode;
        self.version = version;
        self.flags = flags;
        self.options.clone_from(options);
    }

    /// Octets of the OPT record on the wire.
    pub fn wire_len(&self) -> usize {
        11 + self.options.len()
    }

    /// Appends the OPT record.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let len = u16::try_from(self.options.len()).unwrap_or(u16::MAX);
        let [type_a, type_b] = rtype::OPT.to_be_bytes();
        let [size_a, size_b] = self.udp_size.to_be_bytes();
        let [flags_a, flags_b] = self.flags.to_be_bytes();
        let [len_a, len_b] = len.to_be_bytes();
        out.extend_from_slice(&[
            0,
            type_a,
            type_b,
            size_a,
            size_b,
            self.ext_rcode,
            self.version,
            flags_a,
            flags_b,
            len_a,
            len_b,
        ]);
        out.extend_from_slice(self.options.get(..usize::from(len)).unwrap_or_default());
    }
}

/// An Extended DNS Error (RFC 8914): why the answer is what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ede {
    /// The INFO-CODE, see the constants.
    pub code: u16,
    /// The EXTRA-TEXT; may be empty.
    pub text: Cow<'static, str>,
}

impl Ede {
    /// Other error.
    pub const OTHER: u16 = 0;
    /// The answer is older than it should be.
    pub const STALE_ANSWER: u16 = 3;
    /// The server cannot answer yet.
    pub const NOT_READY: u16 = 14;
    /// Policy of this server blocks the name.
    pub const BLOCKED: u16 = 15;
    /// The client asked for filtering.
    pub const FILTERED: u16 = 17;
    /// The client may not ask.
    pub const PROHIBITED: u16 = 18;
    /// No authority could be reached.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// Something went wrong on the network.
    pub const NETWORK_ERROR: u16 = 23;

    /// An error with a fixed text.
    pub const fn new(code: u16, text: &'static str) -> Self {
        Self {
            code,
            text: Cow::Borrowed(text),
        }
    }

    /// Appends itself to the options of a reply.
    pub fn write(&self, edns: &mut Edns) {
        let mut data = Vec::with_capacity(2 + self.text.len());
        data.extend_from_slice(&self.code.to_be_bytes());
        data.extend_from_slice(self.text.as_bytes());
        edns.push_option(Edns::EDE, &data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_a_round_trip() {
        let mut edns = Edns {
            udp_size: 1232,
            flags: Edns::DO,
            ..Edns::default()
        };
        edns.push_option(Edns::COOKIE, b"12345678");
        edns.push_option(Edns::SUBNET, b"");
        let mut wire = Vec::new();
        edns.write(&mut wire);
        assert_eq!(wire.len(), edns.wire_len());

        let mut read = Edns::default();
        read.read(1232, 0x0000_8000, &wire[11..]).unwrap();
        assert_eq!(read, edns);
        assert!(read.dnssec_ok());
        assert_eq!(read.option(Edns::COOKIE), Some(&b"12345678"[..]));

        read.retain_options(|code, _| code == Edns::SUBNET);
        assert_eq!(
            read.options().collect::<Vec<_>>(),
            [(Edns::SUBNET, &b""[..])]
        );
    }

    #[test]
    fn an_option_longer_than_its_record_is_refused() {
        assert!(Edns::default().read(512, 0, &[0, 10, 0, 9, 1]).is_err());
        assert!(Edns::default().read(512, 0, &[0, 10, 0]).is_err());
    }

    #[test]
    fn options_of_a_wrong_form_are_refused() {
        for (code, data, fits) in [
            (Edns::COOKIE, &b"1"[..], true),
            (Edns::SUBNET, b"\0\x01\x18\0\xC0\0\x02", true),
            (Edns::SUBNET, b"\0\x01\x21\0", false),
            (Edns::SUBNET, b"\0\x02\x80\0", true),
            (Edns::SUBNET, b"\0\0\0\0", true),
            (Edns::SUBNET, b"\0\x07\0\0", false),
            (Edns::SUBNET, b"\0", false),
            (Edns::EXPIRE, b"", true),
            (Edns::EXPIRE, b"12", false),
            (Edns::TCP_KEEPALIVE, b"12", true),
            (Edns::TCP_KEEPALIVE, b"1", false),
            (Edns::EDE, b"1", false),
            (Edns::LLQ, b"12345678", false),
        ] {
            let mut edns = Edns::default();
            edns.push_option(code, data);
            assert_eq!(edns.check().is_ok(), fits, "{code} {data:?}");
        }
    }
}
