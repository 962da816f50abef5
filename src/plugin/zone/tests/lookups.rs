//! What a zone answers; the tables were held against CoreDNS's `file`.

use super::*;

const ZONE: &str = "
    @ 3600 NS ns1
    @ 3600 NS ns2.elsewhere.net.
    @ 300 MX 10 mail
    @ 300 MX 20 mail
    @ 300 MX 30 mail.other.net.
    ns1 3600 A 192.0.2.1
    ns1 3600 AAAA 2001:db8::1
    mail 3600 A 192.0.2.25
    www 3600 A 192.0.2.80
    alias 3600 CNAME www
    twice 3600 CNAME Alias
    out 3600 CNAME target.other.net.
    missing 3600 CNAME nothere
    loop 3600 CNAME pool
    pool 3600 CNAME loop
    a.b.ent 3600 A 192.0.2.3
    *.wild 3600 A 192.0.2.66
    sub.wild 3600 A 192.0.2.67
    deep.ent.wild 3600 A 192.0.2.68
    *.cwild 3600 CNAME www
    x.*.starent 3600 A 192.0.2.70
    sub 3600 NS ns.sub
    sub 3600 NS ns.other.net.
    sub 3600 DS 1 8 2 AABB
    ns.sub 3600 A 192.0.2.53
    todel 3600 CNAME host.sub
    dn 3600 DNAME dnt
    dn 3600 TXT owner
    x.dnt 3600 A 192.0.2.99
    dnself 3600 DNAME z.dnself
    _sip._tcp 3600 SRV 0 5 5060 SipHost
    _sip._tcp 3600 SRV 0 6 5061 siphost
    siphost 3600 A 192.0.2.61
    UPPER 3600 A 192.0.2.200
";

/// The reply in one line, and what it leaves to do.
fn ask(zone: &Zone, name: &str, qtype: u16, dnssec: bool) -> String {
    let mut request = Request::new();
    request.ask(1, name.parse::<NameBuf>().unwrap().name(), qtype);
    if dnssec {
        request.edns_or_insert(1232).flags = Edns::DO;
    }
    let mut reply = Reply::new();
    reply.start(&request);
    reply.set_flag(flags::AA, true);
    let lookup = Lookup::new(zone, &request);
    let rest = match lookup.answer(&mut reply) {
        Outcome::Answered => String::new(),
        Outcome::NoName => " ?".to_owned(),
        Outcome::Follow(target) => format!(" > {target}"),
        Outcome::Failed => return "failed".to_owned(),
    };
    show(&reply).replace(".example.org.", "") + &rest
}

const NS: &str = " | !example.org. 3600 NS ns1 | !example.org. 3600 NS ns2.elsewhere.net.";
const SOA: &str = " | !example.org. 3600 SOA";

#[test]
fn a_zone_answers() {
    let zone = zone(ZONE);
    for (name, qtype, want) in [
        ("www", rtype::A, format!("NOERROR aa | www 3600 A 192.0.2.80{NS}")),
        ("WwW", rtype::A, format!("NOERROR aa | www 3600 A 192.0.2.80{NS}")),
        ("upper", rtype::A, format!("NOERROR aa | upper 3600 A 192.0.2.200{NS}")),
        ("www", rtype::AAAA, format!("NOERROR aa{SOA}")),
        ("www", rtype::ANY, format!("NOERROR aa{SOA}")),
        ("nope", rtype::A, format!("NXDOMAIN aa{SOA} ?")),
        // Names between others.
        ("b.ent", rtype::A, format!("NOERROR aa{SOA} ?")),
        ("ent", rtype::A, format!("NOERROR aa{SOA} ?")),
        ("c.ent", rtype::A, format!("NXDOMAIN aa{SOA} ?")),
        // Wildcards (RFC 4592).
        ("x.wild", rtype::A, format!("NOERROR aa | x.wild 3600 A 192.0.2.66{NS}")),
        ("y.x.wild", rtype::A, format!("NOERROR aa | y.x.wild 3600 A 192.0.2.66{NS}")),
        ("X.Wild", rtype::A, format!("NOERROR aa | x.wild 3600 A 192.0.2.66{NS}")),
        ("x.wild", rtype::AAAA, format!("NOERROR aa{SOA}")),
        ("*.wild", rtype::A, format!("NOERROR aa | *.wild 3600 A 192.0.2.66{NS}")),
        ("sub.wild", rtype::A, format!("NOERROR aa | sub.wild 3600 A 192.0.2.67{NS}")),
        ("x.sub.wild", rtype::A, format!("NXDOMAIN aa{SOA} ?")),
        ("ent.wild", rtype::A, format!("NOERROR aa{SOA} ?")),
        ("x.ent.wild", rtype::A, format!("NXDOMAIN aa{SOA} ?")),
        ("y.starent", rtype::A, format!("NOERROR aa{SOA}")),
        (
            "x.cwild",
            rtype::A,
            format!("NOERROR aa | x.cwild 3600 CNAME www | www 3600 A 192.0.2.80{NS}"),
        ),
        // Aliases.
        (
            "twice",
            rtype::A,
            format!("NOERROR aa | twice 3600 CNAME alias | alias 3600 CNAME www | www 3600 A 192.0.2.80{NS}"),
        ),
        ("alias", rtype::AAAA, format!("NOERROR aa | alias 3600 CNAME www{NS}")),
        ("alias", rtype::CNAME, format!("NOERROR aa | alias 3600 CNAME www{NS}")),
        (
            "out",
            rtype::A,
            "NOERROR aa | out 3600 CNAME target.other.net. > target.other.net.".to_owned(),
        ),
        (
            "missing",
            rtype::A,
            "NOERROR aa | missing 3600 CNAME nothere > nothere.example.org.".to_owned(),
        ),
        // Delegations.
        (
            "x.sub",
            rtype::A,
            "NOERROR | !sub 3600 NS ns.sub | !sub 3600 NS ns.other.net. | +ns.sub 3600 A 192.0.2.53".to_owned(),
        ),
        (
            "ns.sub",
            rtype::A,
            "NOERROR | !sub 3600 NS ns.sub | !sub 3600 NS ns.other.net. | +ns.sub 3600 A 192.0.2.53".to_owned(),
        ),
        ("sub", rtype::DS, format!("NOERROR aa | sub 3600 DS{NS}")),
        (
            "todel",
            rtype::A,
            "NOERROR aa | todel 3600 CNAME host.sub | !sub 3600 NS ns.sub | !sub 3600 NS ns.other.net. | +ns.sub 3600 A 192.0.2.53".to_owned(),
        ),
        // DNAME.
        (
            "x.dn",
            rtype::A,
            format!("NOERROR aa | dn 3600 DNAME dnt | x.dn 3600 CNAME x.dnt | x.dnt 3600 A 192.0.2.99{NS}"),
        ),
        ("dn", rtype::DNAME, format!("NOERROR aa | dn 3600 DNAME dnt{NS}")),
        ("dn", rtype::A, format!("NOERROR aa{SOA}")),
        ("z.z.dnself", rtype::A, "NOERROR aa | dnself 3600 DNAME z.dnself | z.z.dnself 3600 CNAME z.z.z.dnself > z.z.z.dnself.example.org.".to_owned()),
        // Additional records, once for each host.
        (
            "@",
            rtype::MX,
            format!("NOERROR aa | example.org. 300 MX mail | example.org. 300 MX mail | example.org. 300 MX mail.other.net.{NS} | +mail 3600 A 192.0.2.25"),
        ),
        (
            "_sip._tcp",
            rtype::SRV,
            format!("NOERROR aa | _sip._tcp 3600 SRV SipHost | _sip._tcp 3600 SRV siphost{NS} | +siphost 3600 A 192.0.2.61"),
        ),
        // The apex.
        ("@", rtype::SOA, format!("NOERROR aa | example.org. 3600 SOA{NS}")),
        (
            "@",
            rtype::NS,
            "NOERROR aa | example.org. 3600 NS ns1 | example.org. 3600 NS ns2.elsewhere.net. | +ns1 3600 A 192.0.2.1 | +ns1 3600 AAAA 2001:db8::1".to_owned(),
        ),
        ("@", rtype::A, format!("NOERROR aa{SOA}")),
    ] {
        let name = match name {
            "@" => "example.org.".to_owned(),
            name => format!("{name}.example.org."),
        };
        assert_eq!(ask(&zone, &name, qtype, false), want, "{name} {qtype}");
    }
    // A chain that never ends is cut.
    let looped = ask(&zone, "loop.example.org.", rtype::A, false);
    assert_eq!(looped.matches("CNAME").count(), 10, "{looped}");
}

#[test]
fn dnssec_records_go_to_who_wants_them() {
    // An RRSIG of so much RDATA, over a type.
    let sig = |owner: &str, covered: u16| {
        let rdata = format!("{covered:04x}080300000e10ffffffff000000000001{}", "00");
        format!("{owner} 3600 RRSIG \\# {} {rdata}", rdata.len() / 2)
    };
    let text = [
        "@ 3600 NS ns1".to_owned(),
        "@ 3600 NSEC b NS SOA".to_owned(),
        sig("@", rtype::SOA),
        sig("@", rtype::NSEC),
        "b 3600 A 192.0.2.1".to_owned(),
        "b 3600 NSEC x.d A".to_owned(),
        sig("b", rtype::A),
        "x.d 3600 A 192.0.2.2".to_owned(),
        "x.d 3600 NSEC @ A".to_owned(),
    ];
    let zone = zone(&text.join("\n"));
    let ask = |name: &str, qtype| ask(&zone, &format!("{name}.example.org."), qtype, true);
    let ns = " | !example.org. 3600 NS ns1";
    let soa = " | !example.org. 3600 SOA | !example.org. 3600 RRSIG";
    let apex = " | !example.org. 3600 NSEC b | !example.org. 3600 RRSIG";
    for (name, qtype, want) in [
        (
            "b",
            rtype::A,
            format!("NOERROR aa | b 3600 A 192.0.2.1 | b 3600 RRSIG{ns}"),
        ),
        (
            "b",
            rtype::AAAA,
            format!("NOERROR aa{soa} | !b 3600 NSEC x.d"),
        ),
        // The gap, and that no wildcard covers it.
        (
            "c",
            rtype::A,
            format!("NXDOMAIN aa{soa} | !b 3600 NSEC x.d{apex} ?"),
        ),
        ("a", rtype::A, format!("NXDOMAIN aa{soa}{apex} ?")),
        (
            "d",
            rtype::A,
            format!("NOERROR aa{soa} | !b 3600 NSEC x.d ?"),
        ),
    ] {
        assert_eq!(ask(name, qtype), want, "{name} {qtype}");
    }
}

#[test]
fn what_lies_elsewhere_completes_an_answer() {
    let zone = zone(ZONE);
    let mut request = Request::new();
    let name: NameBuf = "out.example.org".parse().unwrap();
    request.ask(1, name.name(), rtype::A);
    let complete = |found: Option<(Rcode, &[&str])>| {
        let (mut reply, mut other) = (Reply::new(), Reply::new());
        reply.start(&request);
        let lookup = Lookup::new(&zone, &request);
        assert!(matches!(lookup.answer(&mut reply), Outcome::Follow(_)));
        other.start(&request);
        let found = found.map(|(rcode, records)| {
            other.set_rcode(rcode);
            other.replace_records(&records.iter().map(|line| record(line)).collect::<Vec<_>>());
            &other
        });
        lookup.complete(&mut reply, found);
        show(&reply).replace(".example.org.", "")
    };
    let alias = "| out 3600 CNAME target.other.net.";
    let address = "target.other.net. 60 A 198.51.100.1";
    for (found, want) in [
        (
            Some((Rcode::NOERROR, &[address][..])),
            format!("NOERROR {alias} | {address}{NS}"),
        ),
        (Some((Rcode::NOERROR, &[])), format!("NOERROR {alias}{SOA}")),
        (
            Some((Rcode::NXDOMAIN, &[])),
            format!("NXDOMAIN {alias}{SOA}"),
        ),
        (
            Some((Rcode::SERVFAIL, &[])),
            format!("SERVFAIL {alias}{NS}"),
        ),
        (None, format!("SERVFAIL {alias}{NS}")),
    ] {
        assert_eq!(complete(found), want);
    }
}

#[test]
fn a_name_that_a_dname_makes_too_long_is_told_so() {
    let target = [&"a".repeat(60)[..]; 3].join(".");
    let zone = zone(&format!("dn 60 DNAME {target}.{}.", "b".repeat(50)));
    let name = format!("{}.dn.example.org.", "c".repeat(60));
    assert!(ask(&zone, &name, rtype::A, false).starts_with("YXDOMAIN"));
}
