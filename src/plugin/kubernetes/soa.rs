//! The SOA record, without which no negative answer leaves.

use crate::wire::{HEADER_LEN, Name, NameBuf, RData, Record, Reply, Section, class, rtype};

/// The first labels of the SOA's names, in wire form.
const MNAME: &[u8] = b"\x02ns\x03dns";
const RNAME: &[u8] = b"\x0ahostmaster";
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
    let mut record = Octets {
        octets: [0; MAX_LEN],
        len: 0,
    };
    let at = [
        0xC0 | ((HEADER_LEN + cut) >> 8) as u8,
        (HEADER_LEN + cut) as u8,
    ];
    // The root is one octet; a pointer to it would be two.
    let zone: &[u8] = if zone.is_root() { &[0] } else { &at };
    let len = (MNAME.len() + RNAME.len() + 2 * zone.len() + 20) as u16;
    record.push(zone);
    record.push(&rtype::SOA.to_be_bytes());
    record.push(&class::IN.to_be_bytes());
    record.push(&ttl.min(MAX_TTL).to_be_bytes());
    record.push(&len.to_be_bytes());
    record.push(MNAME);
    record.push(zone);
    record.push(RNAME);
    record.push(zone);
    record.push(&serial.to_be_bytes());
    for timer in TIMERS {
        record.push(&timer.to_be_bytes());
    }
    record.push(&ttl.to_be_bytes());
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
    fn push(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        // All that is pushed fits: MAX_LEN is the sum of the parts.
        if let Some(slot) = self.octets.get_mut(self.len..end) {
            slot.copy_from_slice(octets);
            self.len = end;
        }
    }
}
