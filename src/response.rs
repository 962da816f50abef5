//! What kind of reply a reply is: `cache` and `log` tell them apart (plugin/pkg/response).

use std::time::{SystemTime, UNIX_EPOCH};

use crate::denial::Denial;
use crate::wire::{Edns, Rcode, RecordView, Reply, Section, opcode, rtype};

/// The kinds of reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Records, or an empty NOERROR without a SOA.
    NoError,
    /// NXDOMAIN without records in the answer.
    NameError,
    /// SERVFAIL or NOTIMP.
    ServerError,
    /// The name exists, the type does not.
    NoData,
    /// A referral: NOERROR with NS records in the authority section alone.
    Delegation,
    /// A notification or a zone transfer.
    Meta,
    /// A dynamic update.
    Update,
    /// Everything else; not for a cache.
    OtherError,
}

/// The classes that `log` can be limited to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Everything.
    All,
    /// An answer or a referral.
    Success,
    /// The name or the type does not exist.
    Denial,
    /// Neither of the two, no reply at all included.
    Error,
}

/// Where an answer comes from, as the label `source` of metrics has it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum Source {
    /// What the Corefile or its files say: `hosts`, `template`, `secondary` …
    #[default]
    Local,
    /// The cluster's state.
    Snapshot,
    /// `cache`, within its time.
    Cache,
    /// `cache`, beyond its time; or the cluster's state as a file had it.
    Stale,
    /// An upstream, just now.
    Upstream,
}

/// Where an answer comes from, and why it is a denial if it is one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// Where it comes from.
    pub source: Source,
    /// Why it is NXDOMAIN, where more is known than the source says.
    pub denial: Option<Denial>,
}

impl Source {
    /// The cause of a denial of which nothing but its source is known.
    pub fn denial(self) -> Denial {
        match self {
            Self::Local | Self::Snapshot => Denial::NoSuchHost,
            Self::Cache | Self::Stale | Self::Upstream => Denial::Upstream,
        }
    }
}

impl Kind {
    /// The kind of a reply to a query for `qtype`.
    pub fn of(reply: &Reply, opcode: u16, qtype: u16) -> Self {
        match opcode {
            opcode::UPDATE => return Self::Update,
            opcode::NOTIFY => return Self::Meta,
            _ if matches!(qtype, rtype::AXFR | rtype::IXFR) => return Self::Meta,
            _ => {}
        }
        if reply.edns().is_some_and(Edns::dnssec_ok) && has_expired_signature(reply) {
            return Self::OtherError;
        }
        let rcode = reply.rcode();
        if reply.count(Section::Answer) > 0 {
            match rcode {
                Rcode::NOERROR => return Self::NoError,
                Rcode::NXDOMAIN => return Self::OtherError,
                _ => {}
            }
        }
        let in_authority = |kind| {
            reply
                .section(Section::Authority)
                .any(|view| view.rtype == kind)
        };
        match rcode {
            Rcode::NOERROR if in_authority(rtype::SOA) => Self::NoData,
            Rcode::NOERROR if in_authority(rtype::NS) => Self::Delegation,
            Rcode::NOERROR => Self::NoError,
            Rcode::NXDOMAIN => Self::NameError,
            Rcode::SERVFAIL | Rcode::NOTIMP => Self::ServerError,
            _ => Self::OtherError,
        }
    }

    /// The class it belongs to.
    pub fn class(self) -> Class {
        match self {
            Self::NoError | Self::Delegation => Class::Success,
            Self::NameError | Self::NoData => Class::Denial,
            _ => Class::Error,
        }
    }
}

impl Class {
    /// The class of a word in the Corefile.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "all" => Self::All,
            "success" => Self::Success,
            "denial" => Self::Denial,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

fn has_expired_signature(reply: &Reply) -> bool {
    let mut signatures = reply
        .records()
        .filter(|view| view.rtype == rtype::RRSIG)
        .peekable();
    if signatures.peek().is_none() {
        return false;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // The clock of RRSIG wraps (RFC 4034 section 3.1.5).
    let now = now.as_secs() as u32;
    signatures.any(|view| !is_valid_at(&view, now))
}

/// Whether `now` lies between inception and expiration, in serial arithmetic (RFC 1982).
fn is_valid_at(view: &RecordView<'_>, now: u32) -> bool {
    let field = |at: usize| {
        let octets = view.rdata().get(at..at + 4)?;
        Some(u32::from_be_bytes(octets.try_into().ok()?))
    };
    let (Some(expiration), Some(inception)) = (field(8), field(12)) else {
        return false;
    };
    now.wrapping_sub(inception) as i32 >= 0 && expiration.wrapping_sub(now) as i32 >= 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, Owner, RData, Request};

    #[test]
    fn replies_are_told_apart() {
        let soa = RData::Soa {
            mname: Name::ROOT,
            rname: Name::ROOT,
            serial: 1,
            timers: [1; 4],
        };
        let ns = RData::Ns(Name::ROOT);
        let a = RData::A([192, 0, 2, 1].into());
        let expired = [0u8; 19];
        let rrsig = RData::Other(rtype::RRSIG, &expired);
        let (answer, authority) = (Section::Answer, Section::Authority);
        type Records<'a> = &'a [(Section, RData<'a>)];
        for (rcode, records, dnssec_ok, kind, class) in [
            (
                Rcode::NOERROR,
                &[][..] as Records<'_>,
                false,
                Kind::NoError,
                Class::Success,
            ),
            (
                Rcode::NOERROR,
                &[(answer, a)],
                false,
                Kind::NoError,
                Class::Success,
            ),
            (
                Rcode::NOERROR,
                &[(answer, rrsig)],
                true,
                Kind::OtherError,
                Class::Error,
            ),
            (
                Rcode::NOERROR,
                &[(answer, rrsig)],
                false,
                Kind::NoError,
                Class::Success,
            ),
            (
                Rcode::NOERROR,
                &[(authority, soa)],
                false,
                Kind::NoData,
                Class::Denial,
            ),
            (
                Rcode::NOERROR,
                &[(authority, ns), (authority, soa)],
                false,
                Kind::NoData,
                Class::Denial,
            ),
            (
                Rcode::NOERROR,
                &[(authority, ns)],
                false,
                Kind::Delegation,
                Class::Success,
            ),
            (Rcode::NXDOMAIN, &[], false, Kind::NameError, Class::Denial),
            (
                Rcode::NXDOMAIN,
                &[(answer, a)],
                false,
                Kind::OtherError,
                Class::Error,
            ),
            (Rcode::SERVFAIL, &[], false, Kind::ServerError, Class::Error),
            (Rcode::NOTIMP, &[], false, Kind::ServerError, Class::Error),
            (Rcode::REFUSED, &[], false, Kind::OtherError, Class::Error),
        ] {
            let mut request = Request::new();
            request.ask(1, Name::ROOT, rtype::A);
            let mut reply = Reply::new();
            reply.start(&request);
            reply.set_rcode(rcode);
            for (section, rdata) in records {
                reply.push(*section, Owner::Question, 5, rdata);
            }
            if dnssec_ok {
                reply.edns_or_insert(4096).flags = Edns::DO;
            }
            let found = Kind::of(&reply, opcode::QUERY, rtype::A);
            assert_eq!(
                (found, found.class()),
                (kind, class),
                "{rcode:?} {records:?}"
            );
            assert_eq!(Kind::of(&reply, opcode::NOTIFY, rtype::A), Kind::Meta);
            assert_eq!(Kind::of(&reply, opcode::QUERY, rtype::AXFR), Kind::Meta);
        }
    }
}
