//! DNS messages as bytes.
//!
//! Everything a query meets on its way is here: [`Request`] reads what a
//! client sent, [`Reply`] is the answer in the making, and both stay in wire
//! form from the socket to the socket. Nothing here allocates per query once
//! its buffers have grown, nothing panics on hostile input, and the few
//! places that must see records as values ([`Record`]) say so.
//!
//! Formats are those of RFC 1035 section 4 and RFC 6891.

mod edns;
mod name;
mod reader;
mod record;
mod reply;
mod request;

pub use edns::{Ede, Edns};
pub use name::{Name, NameBuf, NameError};
pub use reader::{Error, Reader};
pub(crate) use record::views as records;
pub use record::{RData, Record, RecordView, Section};
pub use reply::{Owner, Packed, Reply, Stored};
pub use request::{Reject, Request};

/// A response code (RFC 1035 section 4.1.1, RFC 6895), the extended ones included.
///
/// A newtype rather than an enum: an upstream may say any of 4096.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The query could not be understood.
    pub const FORMERR: Self = Self(1);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// The kind of query is not implemented.
    pub const NOTIMP: Self = Self(4);
    /// The server will not answer.
    pub const REFUSED: Self = Self(5);
    /// The server is not authoritative, or TSIG failed.
    pub const NOTAUTH: Self = Self(9);
    /// EDNS version not supported (RFC 6891 section 6.1.3).
    pub const BADVERS: Self = Self(16);

    /// The mnemonic, as logs and metrics print it; `None` where there is none.
    ///
    /// 16 means BADVERS in a header and BADSIG in TSIG; CoreDNS prints the latter.
    pub fn mnemonic(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            11 => "DSOTYPENI",
            16 => "BADSIG",
            17 => "BADKEY",
            18 => "BADTIME",
            19 => "BADMODE",
            20 => "BADNAME",
            21 => "BADALG",
            22 => "BADTRUNC",
            23 => "BADCOOKIE",
            _ => return None,
        })
    }
}

/// Record and query types by number (the IANA DNS parameters registry).
pub mod rtype {
    pub use types::*;

    macro_rules! types {
        ($($name:ident = $value:literal,)*) => {
            #[allow(missing_docs)]
            mod types { $(pub const $name: u16 = $value;)* }

            /// The mnemonic of a type, if it has one.
            pub fn mnemonic(value: u16) -> Option<&'static str> {
                Some(match value { $($value => stringify!($name),)* _ => return None })
            }

            /// The mnemonic, or `TYPE123` (RFC 3597 section 5).
            pub fn display(value: u16) -> impl std::fmt::Display {
                std::fmt::from_fn(move |f| match mnemonic(value) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "TYPE{value}"),
                })
            }

            /// The type of an upper-case mnemonic.
            pub fn from_mnemonic(text: &str) -> Option<u16> {
                Some(match text { $(stringify!($name) => $value,)* _ => return None })
            }
        };
    }

    types! {
        A = 1, NS = 2, MD = 3, MF = 4, CNAME = 5, SOA = 6, MB = 7, MG = 8, MR = 9, NULL = 10,
        PTR = 12, HINFO = 13, MINFO = 14, MX = 15, TXT = 16, RP = 17, AFSDB = 18, X25 = 19,
        ISDN = 20, RT = 21, SIG = 24, KEY = 25, PX = 26, GPOS = 27, AAAA = 28,
        LOC = 29, NXT = 30, EID = 31, NIMLOC = 32, SRV = 33, ATMA = 34, NAPTR = 35, KX = 36,
        CERT = 37, DNAME = 39, OPT = 41, APL = 42, DS = 43, SSHFP = 44, IPSECKEY = 45,
        RRSIG = 46, NSEC = 47, DNSKEY = 48, DHCID = 49, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52,
        SMIMEA = 53, HIP = 55, NINFO = 56, RKEY = 57, TALINK = 58, CDS = 59, CDNSKEY = 60,
        OPENPGPKEY = 61, CSYNC = 62, ZONEMD = 63, SVCB = 64, HTTPS = 65, SPF = 99,
        UINFO = 100, UID = 101, GID = 102, UNSPEC = 103, NID = 104, L32 = 105, L64 = 106,
        LP = 107, EUI48 = 108, EUI64 = 109, NXNAME = 128, TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252,
        MAILB = 253, MAILA = 254, ANY = 255, URI = 256, CAA = 257, AVC = 258, AMTRELAY = 260, RESINFO = 261,
        TA = 32768, DLV = 32769,
    }
}

/// Classes (RFC 1035 section 3.2.4, RFC 2136 section 2.4).
pub mod class {
    /// The Internet.
    pub const IN: u16 = 1;
    /// Chaos.
    pub const CH: u16 = 3;
    /// Hesiod.
    pub const HS: u16 = 4;
    /// None (RFC 2136).
    pub const NONE: u16 = 254;
    /// Any class.
    pub const ANY: u16 = 255;

    /// The mnemonic of a class, if it has one.
    pub fn mnemonic(value: u16) -> Option<&'static str> {
        Some(match value {
            1 => "IN",
            2 => "CS",
            3 => "CH",
            4 => "HS",
            254 => "NONE",
            255 => "ANY",
            _ => return None,
        })
    }

    /// The mnemonic, or `CLASS123` (RFC 3597 section 5).
    pub fn display(value: u16) -> impl std::fmt::Display {
        std::fmt::from_fn(move |f| match mnemonic(value) {
            Some(name) => f.write_str(name),
            None => write!(f, "CLASS{value}"),
        })
    }
}

/// Header flags, as bits of the second 16-bit word (RFC 1035 section 4.1.1, RFC 4035 section 3).
pub mod flags {
    /// A response.
    pub const QR: u16 = 1 << 15;
    /// The operation's four bits.
    pub const OPCODE: u16 = 0xF << 11;
    /// Authoritative answer.
    pub const AA: u16 = 1 << 10;
    /// Truncated.
    pub const TC: u16 = 1 << 9;
    /// Recursion desired.
    pub const RD: u16 = 1 << 8;
    /// Recursion available.
    pub const RA: u16 = 1 << 7;
    /// Reserved.
    pub const Z: u16 = 1 << 6;
    /// Authentic data.
    pub const AD: u16 = 1 << 5;
    /// Checking disabled.
    pub const CD: u16 = 1 << 4;
    /// The low four bits of the response code.
    pub const RCODE: u16 = 0xF;
}

/// Operations (RFC 1035 section 4.1.1).
pub mod opcode {
    /// A standard query.
    pub const QUERY: u16 = 0;
    /// A zone change notification (RFC 1996).
    pub const NOTIFY: u16 = 4;
    /// A dynamic update (RFC 2136).
    pub const UPDATE: u16 = 5;
}

/// Octets of a message header.
pub const HEADER_LEN: usize = 12;
/// The largest message: the length prefix of TCP has 16 bits.
pub const MAX_MESSAGE: usize = 65_535;
/// What a UDP client without EDNS can take (RFC 1035 section 4.2.1).
pub const MIN_UDP: usize = 512;
