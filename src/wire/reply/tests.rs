use std::net::Ipv4Addr;

use super::*;
use crate::wire::NameBuf;

fn name(text: &str) -> NameBuf {
    text.parse().unwrap()
}

fn request(qname: &str, qtype: u16, edns: Option<u16>) -> Request {
    let mut asked = Request::new();
    asked.ask(0x1234, name(qname).name(), qtype);
    if let Some(size) = edns {
        asked.edns_or_insert(size);
    }
    let mut wire = Vec::new();
    asked.write(0x1234, &mut wire);
    let mut parsed = Request::new();
    parsed.parse(&wire).unwrap();
    parsed
}

fn decode(wire: &[u8]) -> hickory_proto::op::Message {
    hickory_proto::op::Message::from_vec(wire).unwrap()
}

const SRV: RData<'_> = RData::Srv {
    priority: 0,
    weight: 100,
    port: 53,
    target: Name::ROOT,
};

#[test]
fn a_reply_reads_back_as_it_was_written() {
    let request = request("Web.prod.svc.cluster.local", rtype::A, Some(1232));
    let soa_names = [
        name("ns.dns.cluster.local"),
        name("hostmaster.cluster.local"),
    ];
    let mut reply = Reply::new();
    reply.start(&request);
    reply.set_flag(flags::AA, true);
    reply.push_addresses(5, rtype::A, &[10, 0, 0, 1, 10, 0, 0, 2]);
    let soa = RData::Soa {
        mname: soa_names[0].name(),
        rname: soa_names[1].name(),
        serial: 7,
        timers: [7200, 1800, 86400, 5],
    };
    let zone = name("cluster.local");
    reply.push(Section::Authority, Owner::Name(zone.name()), 5, &soa);
    reply.push(Section::Additional, Owner::Question, 5, &SRV);
    let wire = reply.finish(&request, 1232, &[]).to_vec();
    let message = decode(&wire);
    assert_eq!(message.metadata.id, 0x1234);
    assert!(message.metadata.authoritative);
    assert_eq!(message.answers.len(), 2);
    assert_eq!(
        message.answers[1].to_string(),
        "Web.prod.svc.cluster.local. 5 IN A 10.0.0.2"
    );
    assert_eq!(
        message.authorities[0].to_string(),
        "cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"
    );
    assert_eq!(message.edns.as_ref().unwrap().max_payload(), 1232);
    // "cluster.local." stands once in full: in the question.
    let times = wire
        .windows(8)
        .filter(|window| window == b"\x07cluster")
        .count();
    assert_eq!(times, 1);
}

#[test]
fn adopting_a_message_keeps_its_records_and_the_clients_letters() {
    let upstream = request("example.org", rtype::A, None);
    let mut theirs = Reply::new();
    theirs.start(&upstream);
    theirs.set_flag(flags::RA, true);
    theirs.push_addresses(300, rtype::A, &[192, 0, 2, 1]);
    theirs.edns_or_insert(4096);
    let theirs = theirs.finish(&upstream, 4096, &[]).to_vec();

    let asked = request("eXample.Org", rtype::A, None);
    let mut reply = Reply::new();
    reply.adopt(&theirs, &asked).unwrap();
    assert_eq!(reply.edns().map(|edns| edns.udp_size), Some(4096));
    reply.clear_edns();
    let message = decode(reply.finish(&asked, 512, &[]));
    assert!(message.metadata.recursion_available);
    assert_eq!(
        message.answers[0].to_string(),
        "eXample.Org. 300 IN A 192.0.2.1"
    );
    assert!(message.edns.is_none());

    let other = request("example.net", rtype::A, None);
    assert!(reply.adopt(&theirs, &other).is_err());
    for cut in 0..theirs.len() {
        let _ = reply.adopt(&theirs[..cut], &asked);
    }
}

#[test]
fn an_opt_between_records_is_cut_out() {
    let asked = request("example.org", rtype::TXT, None);
    let mut theirs = Vec::new();
    asked.write(1, &mut theirs);
    theirs[2] |= 0x80;
    theirs[11] = 3;
    theirs.extend_from_slice(b"\0\0\x29\x10\0\0\0\0\0\0\0");
    // The owner of the last record points behind the OPT.
    let at = theirs.len();
    theirs.extend_from_slice(b"\x01a\0\0\x01\0\x01\0\0\0\x09\0\x04\x01\x02\x03\x04");
    theirs.extend_from_slice(&(0xC000 | at as u16).to_be_bytes());
    theirs.extend_from_slice(b"\0\x01\0\x01\0\0\0\x09\0\x04\x01\x02\x03\x05");
    let mut reply = Reply::new();
    reply.adopt(&theirs, &asked).unwrap();
    assert_eq!(reply.count(Section::Additional), 2);
    let message = decode(reply.finish(&asked, 512, &[]));
    assert_eq!(message.additionals[1].to_string(), "a. 9 IN A 1.2.3.5");
}

#[test]
fn of_several_opts_the_last_one_counts() {
    let asked = request("example.org", rtype::A, Some(1232));
    let mut theirs = Vec::new();
    asked.write(1, &mut theirs);
    theirs[2] |= 0x80;
    theirs[11] = 3;
    theirs.extend_from_slice(b"\0\0\x29\x02\0\x01\0\0\0\0\0");
    theirs.extend_from_slice(b"\0\0\x29\x10\0\0\0\0\0\0\0");
    let mut reply = Reply::new();
    reply.adopt(&theirs, &asked).unwrap();
    assert_eq!(reply.edns().map(|edns| edns.udp_size), Some(4096));
    assert_eq!(reply.rcode(), Rcode::NOERROR);
    assert_eq!(reply.records().count(), 0);
    assert_eq!(reply.wire_len(), 12 + asked.question_len());
}

#[test]
fn records_that_do_not_fit_go_from_the_end() {
    let packed: Vec<u8> = (0..100u8).flat_map(|last| [10, 0, 0, last]).collect();
    for (edns, limit) in [(None, 512), (Some(800), 800)] {
        let asked = request("example.org", rtype::A, edns);
        let mut reply = Reply::new();
        reply.start(&asked);
        reply.push_addresses(5, rtype::A, &packed);
        let wire = reply.finish(&asked, limit, &[]);
        assert!(
            wire.len() <= limit && wire.len() > limit - 16,
            "{}",
            wire.len()
        );
        let message = decode(wire);
        assert!(message.metadata.truncation);
        assert_eq!(message.edns.is_some(), edns.is_some());
    }
}

#[test]
fn the_clients_opt_comes_back_without_what_may_not_be_echoed() {
    let mut asked = request("example.org", rtype::A, Some(1400));
    let edns = asked.edns_mut().unwrap();
    edns.flags = Edns::DO | 1;
    edns.push_option(Edns::SUBNET, b"x");
    edns.push_option(Edns::COOKIE, b"12345678");
    edns.push_option(0xFFEE, b"y");
    for (echoed, codes) in [
        (&[][..], &[Edns::COOKIE][..]),
        (&[0xFFEE], &[Edns::COOKIE, 0xFFEE]),
    ] {
        let mut reply = Reply::new();
        reply.start(&asked);
        reply.set_rcode(Rcode::BADVERS);
        reply.finish(&asked, 1400, echoed);
        let sent = reply.edns().unwrap();
        assert_eq!(
            sent.options().map(|(code, _)| code).collect::<Vec<_>>(),
            codes
        );
        assert_eq!(
            (sent.udp_size, sent.flags, sent.ext_rcode),
            (1400, Edns::DO, 1)
        );
    }
}

#[test]
fn edits_keep_the_message_whole() {
    let asked = request("example.org", rtype::A, None);
    let mut reply = Reply::new();
    reply.start(&asked);
    let alias = name("www.example.org");
    reply.push(
        Section::Answer,
        Owner::Question,
        60,
        &RData::Cname(alias.name()),
    );
    for last in [1, 2] {
        let address = RData::A(Ipv4Addr::new(192, 0, 2, last));
        reply.push(Section::Answer, Owner::Name(alias.name()), 30, &address);
    }
    reply.push(Section::Additional, Owner::Question, 9, &SRV);
    assert_eq!(reply.min_ttl(), Some(9));
    reply.map_ttls(|view| if view.rtype == rtype::SRV { 1 } else { 7 });
    reply.keep_answer_only();
    let mut longer = request("a.longer.example.org", rtype::A, None);
    longer.set_qtype(rtype::A);
    reply.set_question(&longer);
    let message = decode(reply.finish(&longer, 512, &[]));
    let shown: Vec<String> = message.answers.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "example.org. 7 IN CNAME www.example.org.",
            "www.example.org. 7 IN A 192.0.2.1",
            "www.example.org. 7 IN A 192.0.2.2",
        ]
    );
    assert!(message.additionals.is_empty());
}
