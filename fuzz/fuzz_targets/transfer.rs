//! A zone transfer from a primary that says anything: refused, or a zone that
//! can be handed on and taken in again as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pando::plugin::fuzz_transfer;
use pando::wire::{NameBuf, Record};

const ID: u16 = 7;
/// `example.org`, in wire form and as a pointer to the question.
const ORIGIN: &[u8] = b"\x07example\x03org\0";
const POINTER: [u8; 2] = [0xC0, 0x0C];

/// A reply with as many records as are said to be there.
fn message(records: &[u8], count: u16) -> Vec<u8> {
    let header = [ID, 0x8400, 1, count, 0, 0].map(u16::to_be_bytes).concat();
    [&header, ORIGIN, &[0, 252, 0, 1], records].concat()
}

fn soa(serial: u8) -> Vec<u8> {
    let mut data = [POINTER, POINTER].concat();
    data.extend(
        [u32::from(serial), 60, 60, 60, 60]
            .map(u32::to_be_bytes)
            .concat(),
    );
    record(&POINTER, 6, &data)
}

fn record(owner: &[u8], rtype: u16, data: &[u8]) -> Vec<u8> {
    let fixed = [rtype, 1, 0, 60, data.len() as u16]
        .map(u16::to_be_bytes)
        .concat();
    [owner, &fixed, data].concat()
}

/// Messages of what the octets choose: SOAs, hosts, octets as they are.
fn messages(data: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let (mut records, mut count) = (Vec::new(), 0);
    let mut rest = data;
    while let Some(([what, n], behind)) = rest.split_first_chunk() {
        rest = behind;
        match what % 5 {
            0 => records.extend(soa(*n)),
            1 => records.extend(record(
                &[1, b'a' + n % 16, 0xC0, 0x0C],
                1,
                &[192, 0, 2, n / 16],
            )),
            2 => records.extend(record(
                &[1, b'*', 1, b'a' + n % 16, 0xC0, 0x0C],
                2,
                &POINTER,
            )),
            3 => {
                let (raw, behind) = rest.split_at(usize::from(*n).min(rest.len()));
                records.extend(raw);
                rest = behind;
            }
            _ => {
                messages.push(message(&std::mem::take(&mut records), count));
                count = 0;
                continue;
            }
        }
        count += 1;
    }
    messages.push(message(&records, count));
    messages
}

fuzz_target!(|data: &[u8]| {
    let origin: NameBuf = "example.org".parse().expect("a name");
    let Some((with_base, data)) = data.split_first() else {
        return;
    };
    // Version 9, with a few hosts.
    let base = [0, 9, 1, 0, 1, 16, 1, 1, 2, 1, 0, 9];
    let base = if with_base & 1 == 0 {
        vec![]
    } else {
        messages(&base)
    };
    let Some(records) = fuzz_transfer(origin.name(), ID, &base, &messages(data)) else {
        return;
    };
    let soas = |record: &&Record| record.rtype == 6;
    assert_eq!(records.iter().filter(soas).count(), 2);
    assert_eq!(records.first(), records.last());
    let again: Vec<Vec<u8>> = records
        .iter()
        .map(|record| {
            let mut plain = Vec::new();
            record.write_plain(&mut plain);
            message(&plain, 1)
        })
        .collect();
    assert_eq!(fuzz_transfer(origin.name(), ID, &[], &again), Some(records));
});
