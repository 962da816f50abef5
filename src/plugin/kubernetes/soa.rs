//! The SOA record, without which no negative answer leaves.

use crate::wire::{HEADER_LEN, Name, NameBuf, RData, Record, Reply, Section, class, rtype};

/// The first labels of the SOA's names, in wire form.
const MNAME: &[u8; 7] = b"\x02ns\x03dns";
const RNAME: &[u8; 11] = b"\x0ahostmaster";
/// The longest that an SOA's TTL gets, in seconds.
const MAX_TTL: u32 = 300;
/// Refresh, retry and expire, in seconds.
const TIMERS: [u32; 3] = [7200, 1800, 86400];

/// The owner and the two names, then ten octets in front of the RDATA and twenty of numbers.
const MAX_LEN: usize = 2 + 10 + MNAME.len() + 2 + RNAME.len() + 2 + 20;

/// Appends the SOA of the zone that the question's name lies in, `cut` octets
/// behind its beginning. All names in it end in a pointer there, so the zone
/// keeps the letter case of the query, as in CoreDNS.
pub(super) fn push(
    reply: &mut Reply,
    section: Section,
    cut: usize,
    zone: Name<'_>,
    ttl: u32,
    serial: u32,
) {
    // The root is one octet; a pointer to it would be two.
    let record = match zone.is_root() {
        true => Octets::of([0], ttl, serial),
        false => Octets::of(
            (0xC000 | (HEADER_LEN + cut) as u16).to_be_bytes(),
            ttl,
            serial,
        ),
    };
    reply.push_wire(section, record.octets.get(..record.len).unwrap_or_default());
}

/// The SOA on its own, for a transfer.
pub(super) fn record(zone: Name<'_>, ttl: u32, serial: u32) -> Record {
    let name = |labels: &[&str]| {
        let mut name = NameBuf::new();
        let pushed = labels
            .iter()
            .try_for_each(|label| name.push_label(label.as_bytes()));
        match pushed.and_then(|()| name.push_name(zone)) {
            Ok(()) => name,
            // A zone too long for a server's name has none.
            Err(_) => NameBuf::new(),
        }
    };
    let (mname, rname) = (name(&["ns", "dns"]), name(&["hostmaster"]));
    let [refresh, retry, expire] = TIMERS;
    let soa = RData::Soa {
        mname: mname.name(),
        rname: rname.name(),
        serial,
        timers: [refresh, retry, expire, ttl],
    };
    Record::new(Section::Answer, zone, ttl.min(MAX_TTL), &soa)
}

struct Octets {
    octets: [u8; MAX_LEN],
    len: usize,
}

impl Octets {
    /// The record, with the zone's name as it stands in it three times. The
    /// length of each part is known when this is compiled, so it takes few
    /// instructions.
    fn of<const LEN: usize>(zone: [u8; LEN], ttl: u32, serial: u32) -> Self {
        let mut record = Self {
            octets: [0; MAX_LEN],
            len: 0,
        };
        let len = (MNAME.len() + RNAME.len() + 2 * LEN + 20) as u16;
        record.push(zone);
        record.push(rtype::SOA.to_be_bytes());
        record.push(class::IN.to_be_bytes());
        record.push(ttl.min(MAX_TTL).to_be_bytes());
        record.push(len.to_be_bytes());
        record.push(*MNAME);
        record.push(zone);
        record.push(*RNAME);
        record.push(zone);
        let [refresh, retry, expire] = TIMERS;
        for number in [serial, refresh, retry, expire, ttl] {
            record.push(number.to_be_bytes());
        }
        record
    }

    #[inline]
    fn push<const LEN: usize>(&mut self, octets: [u8; LEN]) {
        // All that is pushed fits: MAX_LEN is the sum of the parts.
        let rest = self.octets.get_mut(self.len..);
        if let Some(slot) = rest.and_then(<[u8]>::first_chunk_mut) {
            *slot = octets;
            self.len += LEN;
        }
    }
}
