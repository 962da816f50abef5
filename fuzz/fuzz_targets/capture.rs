//! What `pando diff` is given: a list of names, pcap, pcapng or dnstap. It is
//! read to its end or refused, and what is found can be asked.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use pando::command::diff;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

/// How files of each kind begin, so that the fuzzer need not find that out.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    // pcap of bare IP.
    &[
        0xA1, 0xB2, 0xC3, 0xD4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 101,
    ],
    // pcapng with an interface of Ethernet.
    &[
        0x0A, 0x0D, 0x0D, 0x0A, 28, 0, 0, 0, 0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0, 255, 255, 255,
        255, 255, 255, 255, 255, 28, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20,
        0, 0, 0,
    ],
    b"\0\0\0\0\0\0\0\x22\0\0\0\x02\0\0\0\x01\0\0\0\x16protobuf:dnstap.Dnstap",
];

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let octets = [BEGINNINGS[usize::from(*kind) % BEGINNINGS.len()], rest].concat();
    RUNTIME.with(|runtime| {
        let new = || Builder::new_current_thread().build().expect("a runtime");
        runtime.get_or_init(new).block_on(diff::fuzz(&octets))
    });
});
