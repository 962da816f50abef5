//! Copies of the zone that follow its differences.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::super::index::Index;
use super::super::model::Kind;
use super::super::versions::Versions;
use super::fixture::{KINDS, SERIAL, apply};
use super::*;
use crate::chain::Transferer;
use crate::wire::Record;

const ZONE: &str = "cluster.local.";

/// A cluster that changes, and the plugin that hands it out.
struct Primary {
    index: Index,
    cell: Arc<ArcSwap<Snapshot>>,
    versions: Arc<Versions>,
    plugin: Kubernetes,
}

impl Primary {
    fn new() -> Self {
        let mut index = Index::new(KINDS);
        for kind in KINDS {
            index.finish(*kind, SERIAL);
        }
        let cell = Arc::new(ArcSwap::from_pointee(index.snapshot()));
        let mut plugin = plugin(
            "kubernetes cluster.local {\nnamespaces a b\n}",
            Snapshot::empty(),
            &["10.0.0.53"],
        );
        let versions: Arc<Versions> = Arc::default();
        plugin.view = View::new(Arc::clone(&cell)).with_versions(Arc::clone(&versions));
        Self {
            index,
            cell,
            versions,
            plugin,
        }
    }

    fn publish(&mut self) {
        self.cell.store(Arc::new(self.index.snapshot()));
        // The clock is far ahead of what has happened.
        self.versions
            .cut(self.cell.load_full(), SERIAL + 1_000_000)
            .unwrap();
    }

    fn transfer(&self, serial: Option<u32>, client: u8) -> Vec<Record> {
        let zone: NameBuf = ZONE.parse().unwrap();
        let client = [192, 0, 2, client].into();
        self.plugin
            .transfer(zone.name(), serial, client)
            .unwrap()
            .collect()
    }

    fn service(&mut self, namespace: &str, name: &str, spec: serde_json::Value) {
        let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        apply(&mut self.index, Kind::Services, &object);
    }

    fn slice(&mut self, namespace: &str, service: &str, endpoints: &[u8]) {
        let labels = json!({"kubernetes.io/service-name": service});
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|at| json!({"addresses": [format!("10.0.0.{at}")]}))
            .collect();
        let object = json!({
            "metadata": {"namespace": namespace, "name": format!("{service}-1"), "labels": labels},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
        });
        apply(&mut self.index, Kind::EndpointSlices, &object);
    }

    /// One of many changes.
    fn change(&mut self, what: u8, at: u8, value: u8) {
        let (namespace, service) = (["a", "b", "c"][usize::from(at % 3)], format!("s{}", at / 3));
        let ports = json!([{"name": "http", "protocol": "TCP", "port": 80 + u16::from(value)}]);
        let ip = format!("10.96.{at}.{value}");
        match what {
            0 => self.service(
                namespace,
                &service,
                json!({"clusterIP": ip, "ports": ports}),
            ),
            1 => self.service(
                namespace,
                &service,
                json!({"clusterIP": "None", "ports": ports}),
            ),
            2 => self.service(
                namespace,
                &service,
                json!({"type": "ExternalName", "externalName": format!("x{value}.test")}),
            ),
            3 => drop(
                self.index
                    .delete(Kind::Services, namespace, &service, SERIAL),
            ),
            4 | 5 => {
                let endpoints: Vec<u8> = (0..=value)
                    .chain([53; 1])
                    .skip(usize::from(at % 2))
                    .collect();
                self.slice(namespace, &service, &endpoints);
            }
            6 => {
                let name = format!("{service}-1");
                self.index
                    .delete(Kind::EndpointSlices, namespace, &name, SERIAL);
            }
            7 | 8 => {
                let object = json!({"metadata": {"name": namespace}});
                apply(&mut self.index, Kind::Namespaces, &object);
            }
            _ => drop(self.index.delete(Kind::Namespaces, "", namespace, SERIAL)),
        }
    }
}

type Records = BTreeMap<(Vec<u8>, u16, Vec<u8>), u32>;

/// A copy of the zone.
#[derive(Default)]
struct Copy {
    serial: Option<u32>,
    records: Records,
}

fn entry(record: &Record) -> ((Vec<u8>, u16, Vec<u8>), u32) {
    let key = (
        record.owner.wire().to_vec(),
        record.rtype,
        record.rdata.clone(),
    );
    (key, record.ttl)
}

fn serial_of(soa: &Record) -> u32 {
    let end = soa.rdata.len() - 16;
    u32::from_be_bytes(soa.rdata[end - 4..end].try_into().unwrap())
}

impl Copy {
    /// Takes a transfer in as RFC 1995 says; whether it was differences.
    fn take(&mut self, stream: &[Record]) -> bool {
        let is_soa = |record: &Record| record.rtype == rtype::SOA;
        let had = self.serial.replace(serial_of(&stream[0]));
        let [_, second, ..] = stream else {
            return true;
        };
        let last = &stream[stream.len() - 1];
        assert!(is_soa(&stream[0]) && is_soa(last) && stream[0] == *last);
        if !is_soa(second) || stream.len() == 2 {
            self.records = stream.iter().filter(|r| !is_soa(r)).map(entry).collect();
            return false;
        }
        assert_eq!(Some(serial_of(second)), had);
        let parts: Vec<_> = stream[2..].split(is_soa).collect();
        let [gone, come, _] = parts[..] else {
            panic!("{} parts", parts.len())
        };
        for record in gone {
            let (key, ttl) = entry(record);
            assert_eq!(self.records.remove(&key), Some(ttl), "{record:?}");
        }
        self.records.extend(come.iter().map(entry));
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn differences_lead_to_the_zone_as_it_is(
        rounds in prop::collection::vec(
            (prop::collection::vec((0u8..10, 0u8..18, 0u8..4), 0..12), any::<bool>()),
            1..20,
        )
    ) {
        let mut primary = Primary::new();
        for namespace in ["a", "b"] {
            apply(&mut primary.index, Kind::Namespaces, &json!({"metadata": {"name": namespace}}));
        }
        primary.publish();
        let (mut eager, mut lazy) = (Copy::default(), Copy::default());
        for (changes, asks) in rounds {
            for (what, at, value) in changes {
                primary.change(what, at, value);
            }
            primary.publish();
            let mut fresh = Copy::default();
            fresh.take(&primary.transfer(None, 9));
            eager.take(&primary.transfer(eager.serial, 1));
            prop_assert_eq!(&eager.records, &fresh.records);
            prop_assert_eq!(eager.serial, fresh.serial);
            if asks {
                lazy.take(&primary.transfer(lazy.serial, 2));
                prop_assert_eq!(&lazy.records, &fresh.records);
            }
        }
    }
}

#[test]
fn a_change_costs_what_it_changes() {
    let mut primary = Primary::new();
    apply(
        &mut primary.index,
        Kind::Namespaces,
        &json!({"metadata": {"name": "a"}}),
    );
    for at in 0..100 {
        let spec = json!({"clusterIP": format!("10.96.1.{at}"), "ports": []});
        primary.service("a", &format!("s{at}"), spec);
    }
    primary.publish();
    let mut copy = Copy::default();
    assert!(!copy.take(&primary.transfer(None, 1)));
    primary.service("a", "s7", json!({"clusterIP": "10.96.2.7", "ports": []}));
    primary.publish();
    let stream = primary.transfer(copy.serial, 1);
    assert_eq!(stream.len(), 6, "{stream:?}");
    assert!(copy.take(&stream));
    // Up to date: the SOA alone.
    assert_eq!(primary.transfer(copy.serial, 1).len(), 1);
    // Another one may have this serial from elsewhere, for another state.
    assert!(primary.transfer(Some(SERIAL), 2).len() > 100);
}

#[test]
fn each_version_has_a_serial_of_its_own() {
    let mut primary = Primary::new();
    let mut serials = Vec::new();
    let mut early = None;
    for at in 0..100 {
        primary.change(7, 0, 0);
        primary.change(0, 0, at);
        let snapshot = Arc::new(primary.index.snapshot());
        match primary.versions.cut(snapshot.clone(), SERIAL) {
            Ok(true) => serials.push(primary.versions.serial().unwrap()),
            other => {
                early = Some(other);
                break;
            }
        }
        // What is the same is no version.
        assert_eq!(primary.versions.cut(snapshot, SERIAL), Ok(false));
    }
    // They run ahead of the clock by half a minute at most.
    let want: Vec<u32> = (SERIAL..=SERIAL + 30).collect();
    assert_eq!(serials, want);
    assert_eq!(early, Some(Err(std::time::Duration::from_secs(1))));
    let snapshot = Arc::new(primary.index.snapshot());
    assert_eq!(primary.versions.cut(snapshot, SERIAL + 1), Ok(true));
    // Answers say the same serial.
    let soa = primary.transfer(None, 1).remove(0);
    assert_eq!(serial_of(&soa), SERIAL + 31);
}
