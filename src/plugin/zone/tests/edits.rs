//! Edits keep a zone the set of records that they say.

use super::*;

/// Owner, type and RDATA to TTL.
type Model = BTreeMap<(Vec<u8>, u16, Vec<u8>), u32>;

fn model(zone: &Arc<Zone>) -> Model {
    let records: Vec<Record> = zone.clone().transfer().collect();
    let (first, last) = (&records[0], &records[records.len() - 1]);
    assert_eq!((first.rtype, last.rtype), (rtype::SOA, rtype::SOA));
    let inner = &records[1..records.len() - 1];
    let entries = inner.iter().map(entry);
    let model: Model = entries.collect();
    assert_eq!(model.len(), inner.len(), "no record comes twice");
    assert_eq!(zone.len(), inner.len());
    model
}

fn entry(record: &Record) -> ((Vec<u8>, u16, Vec<u8>), u32) {
    let owner = record.owner.name().to_lower().wire().to_vec();
    ((owner, record.rtype, record.rdata.clone()), record.ttl)
}

fn host(at: u16) -> NameBuf {
    let labels = [
        format!("h{}", at % 7),
        format!("svc-{}", at / 7 % 300),
        "ns".to_owned(),
    ];
    let mut name = NameBuf::new();
    for label in &labels[usize::from(at.is_multiple_of(3))..] {
        name.push_label(label.as_bytes()).unwrap();
    }
    let origin: NameBuf = "example.org".parse().unwrap();
    name.push_name(origin.name()).unwrap();
    name
}

fn address(at: u16, octet: u8, ttl: u32) -> Record {
    let rdata = RData::A([10, 0, 0, octet].into());
    Record::new(Section::Answer, host(at).name(), ttl, &rdata)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_zone_is_the_set_of_its_records(
        batches in prop::collection::vec(
            prop::collection::vec((any::<bool>(), 0u16..4000, 0u8..40, 1u32..4), 0..400),
            1..12,
        )
    ) {
        let mut zone = Arc::new(zone(""));
        let mut want = Model::new();
        for batch in batches {
            let mut changes = Vec::new();
            for (add, at, octet, ttl) in batch {
                let record = address(at, octet, ttl);
                let (key, ttl) = entry(&record);
                if add {
                    want.insert(key, ttl);
                    changes.push((Op::Add, record));
                } else if want.remove(&key).is_some() {
                    changes.push((Op::Remove, record));
                }
            }
            let before = model(&zone);
            let old = zone.clone();
            Arc::make_mut(&mut zone).apply(&changes).unwrap();
            // A reader of the old one sees nothing of it.
            prop_assert_eq!(model(&old), before);
            prop_assert_eq!(&model(&zone), &want);
            for (owner, rtype, _) in want.keys().take(50) {
                let mut reader = crate::wire::Reader::new(owner);
                let name = Name::read(&mut reader).unwrap();
                let key = key::Key::in_zone(name, zone.origin()).unwrap();
                prop_assert!(zone.tree.find(key.octets()).unwrap().set(*rtype).is_some());
            }
        }
        // Down to nothing.
        let all: Vec<_> = zone.clone().transfer().filter(|record| record.rtype != rtype::SOA)
            .map(|record| (Op::Remove, record)).collect();
        Arc::make_mut(&mut zone).apply(&all).unwrap();
        prop_assert_eq!(zone.len(), 0);
        prop_assert_eq!(zone.size(), 0);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for (op, line, why) in [
        (
            Op::Add,
            "www.example.net. 5 A 192.0.2.1",
            "www.example.net.: record of a name outside of the zone",
        ),
        (
            Op::Add,
            "www 5 CH A 192.0.2.1",
            "www.example.org.: record of another class than IN",
        ),
        (
            Op::Add,
            "www 5 SOA . . 1 1 1 1 1",
            "www.example.org.: bad SOA",
        ),
        (
            Op::Add,
            "www 5 TYPE51 \\# 5 0100000000",
            "www.example.org.: NSEC3 zones are not supported",
        ),
        (
            Op::Remove,
            "www 5 A 192.0.2.1",
            "www.example.org.: removal of a record that is not there",
        ),
        (
            Op::Remove,
            "a 5 A 192.0.2.9",
            "a.example.org.: removal of a record that is not there",
        ),
    ] {
        let mut zone = zone("a 5 A 192.0.2.1");
        let refused = zone.apply(&[(op, record(line))]).unwrap_err();
        assert_eq!(refused.to_string(), why, "{line}");
    }
}

#[test]
fn a_record_that_comes_twice_is_there_once_with_the_last_ttl() {
    let zone = zone("a 0 A 192.0.2.1\na 5 A 192.0.2.1\na 7 A 192.0.2.2");
    let records: Vec<_> = Arc::new(zone).transfer().map(|record| record.ttl).collect();
    assert_eq!(records, [3600, 5, 7, 3600]);
}

/// A cluster of 10,000 Services, one in ten of them headless with 15 endpoints.
#[test]
fn a_record_costs_little_memory() {
    let mut zone = zone("");
    let mut changes = Vec::new();
    for at in 0..10_000 {
        let name = format!("service-{at}.namespace-{}.svc", at % 100);
        if at % 10 > 0 {
            changes.push((Op::Add, record(&format!("{name} 5 A 10.0.0.1"))));
            changes.push((
                Op::Add,
                record(&format!("_http._tcp.{name} 5 SRV 0 100 80 {name}")),
            ));
            continue;
        }
        for endpoint in 0..15 {
            let host = format!("10-0-{}-{endpoint}.{name}", at % 256);
            changes.push((Op::Add, record(&format!("{name} 5 A 10.0.0.{endpoint}"))));
            changes.push((Op::Add, record(&format!("{host} 5 A 10.0.0.{endpoint}"))));
            changes.push((
                Op::Add,
                record(&format!("_http._tcp.{name} 5 SRV 0 6 80 {host}")),
            ));
        }
    }
    for batch in changes.chunks(1000) {
        zone.apply(batch).unwrap();
    }
    let each = zone.size() / zone.len();
    println!(
        "{} records, {} octets, {each} each",
        zone.len(),
        zone.size()
    );
    assert!(each <= 80, "{each} octets a record");
}

#[test]
fn serials_wrap() {
    for (new, old, newer) in [
        (2, 1, true),
        (1, 1, false),
        (1, 2, false),
        (0, u32::MAX, true),
        (1 << 31, 0, false),
    ] {
        assert_eq!(soa(new).is_newer_than(old), newer, "{new} {old}");
    }
}
