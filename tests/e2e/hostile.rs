//! Packets that no honest client sends, and the replies to them, octet by octet.
//!
//! The same table is held against CoreDNS where `COREDNS_BIN` names one.

use std::time::Duration;

use pando_test::{Server, ServerBuilder};

use crate::pando;

/// Serves another zone than the one asked for: a query is REFUSED.
const COREFILE: &str = "example.net:$PORT {\n whoami\n}\n";
const QUESTION: &[u8] = b"\x03WwW\x07example\x03org\0\0\x01\0\x01";
const OPT: &[u8] = b"\0\0\x29\x04\xD0\0\0\x80\0\0\0";
/// How long silence must last.
const SILENCE: Duration = Duration::from_millis(250);

const RD: u16 = 0x0100;
const FORMERR: u16 = 0x8001;
const SERVFAIL: u16 = 0x8002;
const NOTIMP: u16 = 0x8004;
const REFUSED: u16 = 0x8005;
const NOTIFY: u16 = 0x2000;

fn message(bits: u16, counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xAB, 0xCD];
    message.extend(bits.to_be_bytes());
    message.extend(counts.into_iter().flat_map(u16::to_be_bytes));
    message.extend_from_slice(body);
    message
}

struct Case {
    what: &'static str,
    packet: Vec<u8>,
    reply: Option<Vec<u8>>,
}

/// Something that is answered by nothing.
fn silent(what: &'static str, packet: Vec<u8>) -> Case {
    Case {
        what,
        packet,
        reply: None,
    }
}

/// Something that is answered by a header alone.
fn header(what: &'static str, packet: Vec<u8>, bits: u16) -> Case {
    Case {
        what,
        packet,
        reply: Some(message(bits, [0; 4], b"")),
    }
}

/// Something that is answered by the question.
fn question(what: &'static str, packet: Vec<u8>, bits: u16) -> Case {
    Case {
        what,
        packet,
        reply: Some(message(bits, [1, 0, 0, 0], QUESTION)),
    }
}

/// Something that is answered by the question and an OPT.
fn with_opt(what: &'static str, packet: Vec<u8>, bits: u16, opt: &[u8]) -> Case {
    Case {
        what,
        packet,
        reply: Some(message(bits, [1, 0, 0, 1], &[QUESTION, opt].concat())),
    }
}

fn cases() -> Vec<Case> {
    let plain = |bits, counts| message(bits, counts, QUESTION);
    let one = [1, 0, 0, 0];
    let body = |bits, body: &[u8]| message(bits, one, body);
    let opt = |opt: &[u8]| message(RD, [1, 0, 0, 1], &[QUESTION, opt].concat());
    let option = |option: &[u8]| {
        let mut record = b"\0\0\x29\x04\xD0\0\0\0\0\0".to_vec();
        record.push(option.len() as u8);
        opt(&[&record, option].concat())
    };
    let address = |rdata: &[u8]| {
        let record = [
            b"\xC0\x0C\0\x01\0\x01\0\0\0\x05\0",
            &[rdata.len() as u8][..],
            rdata,
        ];
        opt(&record.concat())
    };
    let long = |last: u8| {
        let mut name = [&[63; 1][..], &[b'a'; 63]].concat().repeat(3);
        name.push(last);
        name.extend(vec![b'b'; usize::from(last)]);
        name.extend(b"\0\0\x01\0\x01");
        name
    };
    let early = |cut: usize| {
        let packet = body(RD, &QUESTION[..QUESTION.len() - cut]);
        let mut reply = message(RD | REFUSED, one, QUESTION);
        let len = reply.len();
        reply[len - cut..].fill(0);
        Case {
            what: "a question that ends early",
            packet,
            reply: Some(reply),
        }
    };
    let bare = b"\0\0\x29\x04\xD0\0\0\0\0\0\0";
    vec![
        silent("nothing", vec![]),
        silent("less than a header", vec![0; 11]),
        silent("a response", plain(0x8000, one)),
        silent("a response without a question", plain(0x8000, [0; 4])),
        header("an inverse query", plain(0x0800, one), 0x0800 | NOTIMP),
        header("a status query", plain(0x1000, one), 0x1000 | NOTIMP),
        header("an update", plain(0x2900, one), 0x2900 | NOTIMP),
        header(
            "opcode 15 with all bits",
            plain(0x7FFF, one),
            0x7BB0 | NOTIMP,
        ),
        header("no question", plain(RD, [0; 4]), RD | FORMERR),
        header(
            "a header and no more",
            plain(0, [0; 4])[..12].to_vec(),
            FORMERR,
        ),
        header("two questions", plain(RD, [2, 0, 0, 0]), RD | FORMERR),
        header("two answers", plain(0, [1, 2, 0, 0]), FORMERR),
        header("two authorities", plain(0, [1, 0, 2, 0]), FORMERR),
        header("three additionals", plain(0, [1, 0, 0, 3]), FORMERR),
        header("65535 of everything", plain(0, [65535; 4]), FORMERR),
        header("a promise of a question", body(RD, b""), RD | SERVFAIL),
        header(
            "the same, in a notification",
            body(NOTIFY | RD, b""),
            NOTIFY | SERVFAIL,
        ),
        header("a label that ends early", body(0, b"\x05a"), FORMERR),
        header("a name without its end", body(0, b"\x01a"), FORMERR),
        header(
            "half a type",
            body(0, &QUESTION[..QUESTION.len() - 3]),
            FORMERR,
        ),
        header(
            "half a class",
            body(0, &QUESTION[..QUESTION.len() - 1]),
            FORMERR,
        ),
        header(
            "a pointer to itself",
            body(0, b"\xC0\x0C\0\x01\0\x01"),
            FORMERR,
        ),
        header(
            "a label type of 1",
            body(0, b"\x40a\0\0\x01\0\x01"),
            FORMERR,
        ),
        header(
            "a label type of 2",
            body(0, b"\x80a\0\0\x01\0\x01"),
            FORMERR,
        ),
        header("a name of 256 octets", body(0, &long(62)), FORMERR),
        question("a query elsewhere", body(RD, QUESTION), RD | REFUSED),
        question(
            "a query with all flags",
            body(0x07FF, QUESTION),
            0x0110 | REFUSED,
        ),
        question(
            "a notification with all flags",
            body(0x27FF, QUESTION),
            NOTIFY | REFUSED,
        ),
        question(
            "octets behind the question",
            body(0, &[QUESTION, b"junk"].concat()),
            REFUSED,
        ),
        question(
            "fewer records than promised",
            plain(0, [1, 1, 1, 2]),
            REFUSED,
        ),
        early(2),
        early(4),
        with_opt("an OPT", opt(OPT), RD | REFUSED, OPT),
        question(
            "an OPT longer than the message",
            opt(b"\0\0\x29\x04\xD0\0\0\0\0\0\x05"),
            RD | FORMERR,
        ),
        question(
            "an option longer than its OPT",
            option(b"\0\x0A\0\x09\x01"),
            RD | FORMERR,
        ),
        question("half an option", option(b"\0\x0A\0"), RD | FORMERR),
        question(
            "a subnet of no family",
            option(b"\0\x08\0\x04\0\x07\0\0"),
            RD | FORMERR,
        ),
        question(
            "a subnet of a /33",
            option(b"\0\x08\0\x04\0\x01\x21\0"),
            RD | FORMERR,
        ),
        question(
            "an expiry of two octets",
            option(b"\0\x09\0\x02\0\x01"),
            RD | FORMERR,
        ),
        with_opt(
            "a subnet",
            option(b"\0\x08\0\x07\0\x01\x18\0\xC0\0\x02"),
            RD | REFUSED,
            bare,
        ),
        with_opt(
            "an unknown option",
            option(b"\xFF\xFE\0\x01x"),
            RD | REFUSED,
            bare,
        ),
        with_opt(
            "a cookie",
            option(b"\0\x0A\0\x0812345678"),
            RD | REFUSED,
            b"\0\0\x29\x04\xD0\0\0\0\0\0\x0C\0\x0A\0\x0812345678",
        ),
        question(
            "an OPT in the answer",
            message(RD, [1, 1, 0, 0], &[QUESTION, OPT].concat()),
            RD | REFUSED,
        ),
        question("an address of three octets", address(b"abc"), RD | FORMERR),
        question("an address of none", address(b""), RD | REFUSED),
        // BADVERS is 16: 1 in the OPT, 0 in the header.
        with_opt(
            "EDNS version 1",
            opt(b"\0\0\x29\x04\xD0\0\x01\x80\0\0\0"),
            0x8000 | RD,
            b"\0\0\x29\0\0\x01\0\0\0\0\0",
        ),
    ]
}

async fn hold(server: &Server) {
    let client = |reply: &Option<Vec<u8>>| match reply {
        Some(_) => server.client(),
        None => server.client().bound(SILENCE),
    };
    for Case {
        what,
        packet,
        reply,
    } in cases()
    {
        let found = client(&reply).raw_udp(&packet).await.unwrap();
        assert_eq!(found, reply, "UDP: {what}");
    }
    for Case {
        what,
        packet,
        reply,
    } in cases()
    {
        let mut stream = client(&reply).stream().await.unwrap();
        let framed = [&(packet.len() as u16).to_be_bytes(), &packet[..]].concat();
        stream.send_raw(&framed).await.unwrap();
        let found = stream
            .receive()
            .await
            .ok()
            .flatten()
            .map(|answer| answer.bytes);
        // What is ignored leaves the connection as it is; what is not even a
        // DNS message to the client library is told apart by UDP above.
        assert_eq!(found, reply, "TCP: {what}");
    }
}

#[tokio::test]
async fn what_is_no_query_is_answered_as_coredns_answers() {
    let server = pando(COREFILE).start().await.unwrap();
    hold(&server).await;
    assert!(!server.shown().contains("panic"), "{}", server.shown());
}

#[tokio::test]
async fn coredns_answers_like_that() {
    let Some(builder) = ServerBuilder::coredns(COREFILE) else {
        println!("skipped: COREDNS_BIN names no CoreDNS");
        return;
    };
    hold(&builder.start().await.unwrap()).await;
}
