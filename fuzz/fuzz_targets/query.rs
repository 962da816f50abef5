//! A client's message: what is accepted reads as hickory-proto reads it, and
//! goes on to an upstream as it came.
#![no_main]

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use pando::wire::Request;

fuzz_target!(|data: &[u8]| {
    let mut request = Request::new();
    if let Err(reject) = request.parse(data) {
        // The answer to what is no query is a header or nothing, never a panic.
        if let Some(header) = reject.answer(data) {
            assert_eq!(header[..2], data[..2]);
            assert_eq!(header[2] & 0x80, 0x80);
        }
        return;
    }
    if let Ok(theirs) = Message::from_vec(data) {
        let question = &theirs.queries[0];
        assert_eq!(theirs.metadata.id, request.id());
        assert_eq!(u16::from(question.query_type()), request.qtype());
        assert_eq!(u16::from(question.query_class()), request.qclass());
        let labels: Vec<&[u8]> = question.name().iter().collect();
        assert_eq!(labels, request.qname().labels().collect::<Vec<_>>());
        if let (Some(ours), Some(theirs)) = (request.edns(), &theirs.edns) {
            assert_eq!(ours.dnssec_ok(), theirs.flags().dnssec_ok);
        }
    }
    let mut forwarded = Vec::new();
    request.write(request.id(), &mut forwarded);
    // One that ends too early, which CoreDNS takes all the same, goes on whole.
    if forwarded != data {
        let mut whole = Request::new();
        whole.parse(&forwarded).expect("what was written can be read");
        assert_eq!((whole.qname(), whole.qtype()), (request.qname(), request.qtype()));
        assert_eq!(whole.edns(), request.edns());
    }

    // A changed query is written anew and means the same but for the change.
    request.set_qtype(request.qtype() ^ 1);
    let mut changed = Vec::new();
    request.write(7, &mut changed);
    let mut again = Request::new();
    again.parse(&changed).expect("what was written can be read");
    assert_eq!(again.name(), request.name());
    assert_eq!(again.qtype(), request.qtype());
    assert_eq!(again.edns(), request.edns());
});
