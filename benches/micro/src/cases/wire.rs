//! Messages and names as octets.

use std::hash::BuildHasher;
use std::hint::black_box;

use anyhow::ensure;
use foldhash::fast::FixedState;
use pando::wire::{Edns, Name, NameBuf, Reader, Reply, Request, flags, rtype};

use crate::Case;

/// A name as Pods ask for it.
const NAME: &str = "api-0375.team-15.svc.cluster.local.";

pub(super) fn cases() -> anyhow::Result<Vec<Case>> {
    let mut cases = vec![];
    cases.extend(parses()?);
    cases.extend(names()?);
    cases.extend(replies()?);
    Ok(cases)
}

/// The octets of a query with these EDNS options, or without EDNS.
fn datagram(options: Option<&[(u16, &[u8])]>) -> anyhow::Result<Vec<u8>> {
    let mut request = Request::new();
    request.ask(0x4711, NAME.parse::<NameBuf>()?.name(), rtype::A);
    if let Some(options) = options {
        let edns = request.edns_or_insert(1232);
        for (code, data) in options {
            edns.push_option(*code, data);
        }
    }
    let mut datagram = Vec::new();
    request.write(request.id(), &mut datagram);
    Ok(datagram)
}

fn parses() -> anyhow::Result<[Case; 3]> {
    let parse = |name, datagram: Vec<u8>| {
        let mut request = Request::new();
        Case::new(name, move || {
            let parsed = request.parse(black_box(&datagram));
            assert!(black_box(parsed).is_ok());
        })
    };
    let cookie: &[u8] = &[0x24, 0xA5, 0xAC, 0x1F, 0x7C, 0xE3, 0x02, 0x9D];
    Ok([
        parse("request, plain", datagram(None)?),
        parse("request, EDNS", datagram(Some(&[]))?),
        parse(
            "request, EDNS with COOKIE",
            datagram(Some(&[(Edns::COOKIE, cookie)]))?,
        ),
    ])
}

fn names() -> anyhow::Result<[Case; 5]> {
    let name: NameBuf = NAME.parse()?;
    let zone: NameBuf = "cluster.local".parse()?;
    ensure!(name.name().is_under(zone.name()), "{NAME} is elsewhere");
    let [read, lower, under, hashed] = [(); 4].map(|()| name.clone());
    // Any hasher will do, if it is the one that tables use and its seed stays.
    let hasher = FixedState::with_seed(4711);
    let mut out = NameBuf::new();
    Ok([
        Case::new("name, from text", || {
            black_box(black_box(NAME).parse::<NameBuf>()).ok();
        }),
        Case::new("name, from a message", move || {
            let mut reader = Reader::new(black_box(read.wire()));
            black_box(Name::read(&mut reader)).ok();
        }),
        Case::new("name, lower case", move || {
            out.set_lower(black_box(lower.name()))
        }),
        Case::new("name, under a zone", move || {
            black_box(black_box(under.name()).is_under(black_box(zone.name())));
        }),
        Case::new("name, hash", move || {
            black_box(hasher.hash_one(black_box(hashed.name())));
        }),
    ])
}

fn replies() -> anyhow::Result<[Case; 3]> {
    let mut request = Request::new();
    let parsed = request.parse(&datagram(Some(&[]))?);
    ensure!(parsed.is_ok(), "{parsed:?}");
    let case = |name, addresses: u8, cut: bool| -> anyhow::Result<Case> {
        let packed: Vec<u8> = (1..=addresses)
            .flat_map(|last| [10, 244, 7, last])
            .collect();
        let (request, mut reply) = (request.clone(), Reply::new());
        let mut finish = move || {
            reply.start(black_box(&request));
            reply.push_addresses(30, rtype::A, black_box(&packed));
            black_box(reply.finish(&request, 1232, &[])).get(2).copied()
        };
        // The upper octet of the flags.
        let is_cut = finish().is_some_and(|bits| u16::from(bits) << 8 & flags::TC != 0);
        ensure!(is_cut == cut, "{name}: TC is {is_cut}");
        Ok(Case::new(name, move || {
            black_box(finish());
        }))
    };
    Ok([
        case("reply, 1 address and OPT", 1, false)?,
        case("reply, 10 addresses and OPT", 10, false)?,
        case("reply, 100 addresses cut to 1232 octets", 100, true)?,
    ])
}
