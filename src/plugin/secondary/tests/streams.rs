//! Transfers as messages.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::incoming::{Incoming, TransferError, Transferred};
use super::*;
use crate::plugin::zone::Zone;
use crate::presentation;
use crate::wire::{Name, Reply, Request, Section};

pub(super) const ZONE: &str = "example.org.";
const ID: u16 = 77;

/// A record; `SOA n` is the zone's, with that serial.
pub(super) fn record(line: &str) -> Record {
    let line = match line.strip_prefix("SOA ") {
        Some(serial) => format!("@ 60 SOA ns host {serial} 7200 1800 86400 60"),
        None => line.to_owned(),
    };
    let parsed = presentation::record::parse(&format!("$ORIGIN {ZONE}\n{line}\n"));
    parsed
        .unwrap_or_else(|error| panic!("{line}: {error:?}"))
        .unwrap()
}

pub(super) fn name(text: &str) -> NameBuf {
    text.parse().unwrap()
}

/// A message of these records in reply to a question.
pub(super) fn message(id: u16, qtype: u16, lines: &[&str]) -> Vec<u8> {
    let mut request = Request::new();
    request.ask(id, name(ZONE).name(), qtype);
    let mut reply = Reply::new();
    reply.start(&request);
    for line in lines {
        reply.push_record(&record(line));
    }
    reply.wire().to_vec()
}

fn take(base: Option<&[&str]>, messages: &[&[&str]]) -> Result<Option<Transferred>, TransferError> {
    let base = base.map(whole);
    let qtype = if base.is_some() {
        rtype::IXFR
    } else {
        rtype::AXFR
    };
    let mut incoming = Incoming::new(name(ZONE).name(), base, ID);
    for (at, lines) in messages.iter().enumerate() {
        let taken = incoming.take(&message(ID, qtype, lines))?;
        if at + 1 == messages.len() || taken.is_some() {
            return Ok(taken);
        }
    }
    Ok(None)
}

pub(super) fn whole(lines: &[&str]) -> Arc<Zone> {
    match take(None, &[lines]) {
        Ok(Some(Transferred::Zone(zone))) => zone,
        other => panic!("{lines:?}: {other:?}"),
    }
}

/// The records, each as a line.
fn lines(zone: Arc<Zone>) -> BTreeSet<String> {
    let records = zone.transfer().skip(1);
    records
        .map(|record| {
            format!(
                "{} {} {} {:?}",
                record.owner, record.rtype, record.ttl, record.rdata
            )
        })
        .collect()
}

const OLD: &[&str] = &["SOA 1", "a 5 A 192.0.2.1", "b 5 A 192.0.2.2", "SOA 1"];

#[test]
fn transfers_come_in_all_forms() {
    let new: &[&str] = &[
        "SOA 3",
        "a 5 A 192.0.2.1",
        "c 5 A 192.0.2.3",
        "d 5 A 192.0.2.4",
        "SOA 3",
    ];
    let steps: &[&str] = &[
        "SOA 3",
        "SOA 1",
        "b 5 A 192.0.2.2",
        "SOA 2",
        "c 5 A 192.0.2.3",
        "SOA 2",
        "SOA 3",
        "d 5 A 192.0.2.4",
        "SOA 3",
    ];
    let want = lines(whole(new));
    for (base, messages) in [
        (None, &[new][..]),
        (None, &[&new[..1], &new[1..3], &new[3..]]),
        (Some(OLD), &[new]),
        (Some(OLD), &[&new[..1], &new[1..]]),
        (Some(OLD), &[steps]),
        (
            Some(OLD),
            &[&steps[..1], &steps[1..2], &steps[2..5], &steps[5..]],
        ),
        // At once, and one record away and back.
        (
            Some(OLD),
            &[&[
                "SOA 3",
                "SOA 1",
                "b 5 A 192.0.2.2",
                "SOA 3",
                "c 5 A 192.0.2.3",
                "d 5 A 192.0.2.4",
                "SOA 3",
            ]],
        ),
    ] {
        match take(base, messages) {
            Ok(Some(Transferred::Zone(zone))) => assert_eq!(lines(zone), want, "{messages:?}"),
            other => panic!("{messages:?}: {other:?}"),
        }
    }
    for current in ["SOA 1", "SOA 0"] {
        let taken = take(Some(OLD), &[&[current]]);
        assert!(matches!(taken, Ok(Some(Transferred::Current))), "{taken:?}");
    }
    let empty = take(None, &[&["SOA 1", "SOA 1"]]);
    assert!(matches!(empty, Ok(Some(Transferred::Zone(_)))), "{empty:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (base, messages, why) in [
        (
            None,
            &[&["a 5 A 192.0.2.1"][..]][..],
            "no SOA at the beginning",
        ),
        (None, &[&[]], "no record in a message"),
        (
            None,
            &[&["SOA 1", "a 5 A 192.0.2.1", "SOA 2"]],
            "the serial changed on the way",
        ),
        (
            None,
            &[&["SOA 1", "SOA 2"]],
            "the serial changed on the way",
        ),
        (
            None,
            &[&["SOA 1", "SOA 1", "a 5 A 192.0.2.1"]],
            "records behind the end",
        ),
        (
            None,
            &[&["SOA 1", "a.example.net. 5 A 192.0.2.1", "SOA 1"]],
            "a.example.net.: record of a name outside of the zone",
        ),
        (
            None,
            &[&["www 5 SOA . . 1 1 1 1 1"]],
            "www.example.org.: bad SOA",
        ),
        (
            None,
            &[&["SOA 1", "a 5 TYPE50 \\# 6 010000000000", "SOA 1"]],
            "a.example.org.: NSEC3 zones are not supported",
        ),
        (
            Some(OLD),
            &[&["SOA 3", "SOA 2", "a 5 A 192.0.2.1", "SOA 3", "SOA 3"]],
            "differences from serial 2, which is not ours",
        ),
        (
            Some(OLD),
            &[&["SOA 3", "SOA 1", "a 5 A 192.0.2.9", "SOA 3", "SOA 3"]],
            "a.example.org.: removal of a record that is not there",
        ),
        (
            Some(OLD),
            &[&["SOA 3", "SOA 1", "SOA 2", "SOA 1"]],
            "the serial changed on the way",
        ),
    ] {
        match take(base, messages) {
            Err(error) => assert_eq!(error.to_string(), why, "{messages:?}"),
            other => panic!("{messages:?}: {other:?}"),
        }
    }
    // What is not a reply to us.
    let good = message(ID, rtype::AXFR, OLD);
    for (at, octet, why) in [
        (0, 9, "not a reply to our question"),
        (2, 0, "not a reply to our question"),
        (2, 0x82, "the answer is truncated"),
        (3, 5, "bad xfr rcode: 5"),
        (13, b'X', "not a reply to our question"),
        (7, 200, "bad message: message ends inside record"),
    ] {
        let mut bad = good.clone();
        bad[at] = octet;
        let taken = Incoming::new(name(ZONE).name(), None, ID).take(&bad);
        assert_eq!(taken.unwrap_err().to_string(), why, "{at}");
    }
}

#[test]
fn the_question_says_what_we_have() {
    let base = whole(OLD);
    let question = Incoming::new(base.origin(), Some(base.clone()), ID).question();
    let mut request = Request::new();
    request.parse(&question).unwrap();
    assert_eq!(
        (request.qtype(), request.qname().to_buf()),
        (rtype::IXFR, name(ZONE))
    );
    let records: Vec<Record> = request
        .records()
        .map(|view| view.to_record().unwrap())
        .collect();
    let [soa] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((soa.section, soa.rtype), (Section::Authority, rtype::SOA));
}

/// Addresses of hosts.
type Hosts = BTreeSet<(u8, u8)>;

fn host((host, address): (u8, u8)) -> String {
    format!("h{host}.x 5 A 192.0.2.{address}")
}

proptest! {
    #[test]
    fn differences_lead_to_the_whole_zone(
        versions in prop::collection::vec(prop::collection::btree_set((0u8..20, 0u8..4), 0..40), 2..6),
        size in 1usize..50,
    ) {
        let all = |serial: usize, hosts: &Hosts| {
            let soa = format!("SOA {serial}");
            let hosts = hosts.iter().copied().map(host);
            [soa.clone()].into_iter().chain(hosts).chain([soa]).collect::<Vec<_>>()
        };
        let (first, last) = (&versions[0], &versions[versions.len() - 1]);
        let mut stream = vec![format!("SOA {}", versions.len() - 1)];
        for (at, pair) in versions.windows(2).enumerate() {
            stream.push(format!("SOA {at}"));
            stream.extend(pair[0].difference(&pair[1]).copied().map(host));
            stream.push(format!("SOA {}", at + 1));
            stream.extend(pair[1].difference(&pair[0]).copied().map(host));
        }
        stream.push(format!("SOA {}", versions.len() - 1));
        let base = all(0, first);
        let base: Vec<&str> = base.iter().map(String::as_str).collect();
        let stream: Vec<&str> = stream.iter().map(String::as_str).collect();
        let messages: Vec<&[&str]> = stream.chunks(size).collect();
        let taken = take(Some(&base), &messages).unwrap();
        let Some(Transferred::Zone(zone)) = taken else { panic!("{taken:?}") };
        let want = all(versions.len() - 1, last);
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        prop_assert_eq!(lines(zone), lines(whole(&want)));
    }

    #[test]
    fn no_stream_panics(octets in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
        let mut good = message(ID, rtype::AXFR, OLD);
        let _ = Incoming::new(name(ZONE).name(), None, ID).take(&octets);
        good.truncate(good.len().saturating_sub(cut));
        let at = octets.len() % good.len().max(1);
        for (slot, octet) in good.iter_mut().skip(at).zip(&octets) {
            *slot = *octet;
        }
        let _ = Incoming::new(Name::ROOT, None, ID).take(&good);
        let _ = Incoming::new(name(ZONE).name(), None, ID).take(&good);
    }
}
