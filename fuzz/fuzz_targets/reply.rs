//! An upstream's message: taken over or refused, and whatever plugins do to
//! it, what goes out is a message within the client's size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pando::wire::{NameBuf, Reply, Request, Section};

fuzz_target!(|data: &[u8]| {
    let Some((shape, records)) = data.split_first_chunk::<6>() else {
        return;
    };
    let name: NameBuf = "Www.Example.org".parse().expect("a name");
    let mut request = Request::new();
    request.ask(0x1234, name.name(), 1);
    if shape[0] & 1 != 0 {
        request.edns_or_insert(u16::from_be_bytes([shape[1], shape[2]]));
    }
    let mut message = Vec::new();
    request.write(1, &mut message);
    message.truncate(12 + request.question_len());
    // A response with a few records, their number and octets the fuzzer's.
    message[2] |= 0x80;
    message[6..12].copy_from_slice(&[0, shape[3] % 8, 0, shape[4] % 4, 0, shape[5] % 8]);
    message.extend_from_slice(records);

    let mut reply = Reply::new();
    if reply.adopt(&message, &request).is_err() {
        return;
    }
    let counted = reply.records().count();
    let sections = [Section::Answer, Section::Authority, Section::Additional];
    assert_eq!(counted, sections.iter().map(|section| reply.count(*section)).sum::<usize>());

    reply.map_ttls(|view| view.ttl / 2);
    if shape[0] & 2 != 0 {
        reply.keep_answer_only();
    }
    if shape[0] & 4 != 0 {
        let records = reply.to_records();
        reply.replace_records(&records);
        assert_eq!(reply.to_records(), records);
    }
    if shape[0] & 8 != 0 {
        let other: NameBuf = "a.longer.name.example.org".parse().expect("a name");
        request.set_qname(other.name());
        reply.set_question(&request);
    }
    for limit in [512, 1232, 65_535] {
        let mut copy = reply.clone();
        let sent = copy.finish(&request, limit, &[]).to_vec();
        // The question and the OPT always go out.
        assert!(sent.len() <= limit || copy.records().count() == 0, "{} > {limit}", sent.len());
        let mut again = Reply::new();
        again.adopt(&sent, &request).expect("what was sent can be read");
    }
});
