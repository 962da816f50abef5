//! The zone as a whole.

use super::fixture::{SERIAL, cluster};
use super::*;
use crate::chain::Transferer;
use crate::wire::Record;

fn records(plugin: &Kubernetes, zone: &str, serial: Option<u32>) -> Option<Vec<Record>> {
    let zone: NameBuf = zone.parse().unwrap();
    Some(
        plugin
            .transfer(zone.name(), serial, [192, 0, 2, 1].into())?
            .collect(),
    )
}

fn lines(plugin: &Kubernetes, zone: &str) -> Vec<String> {
    let mut wire = Vec::new();
    let records = records(plugin, zone, None).unwrap();
    wire.extend([0, 0, 0x80, 0, 0, 0]);
    wire.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    wire.extend([0; 4]);
    for record in &records {
        record.write_plain(&mut wire);
    }
    let message = Message::from_vec(&wire).unwrap();
    let shown = message.answers.iter().map(|record| {
        let ttl = if record.ttl == 5 {
            String::new()
        } else {
            format!("ttl={} ", record.ttl)
        };
        format!(
            "{} {ttl}{} {}",
            record.name,
            record.record_type(),
            record.data
        )
    });
    shown.collect()
}

#[test]
fn a_zone_is_handed_out_in_order() {
    let plugin = plugin(
        "kubernetes cluster.local {\nnamespaces kube-system shop\n}",
        cluster(),
        &["10.0.0.53"],
    );
    let lines = lines(&plugin, "cluster.local.");
    let soa = format!(
        "cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. {SERIAL} 7200 1800 86400 5"
    );
    assert_eq!(
        lines[..3],
        [
            soa.clone(),
            "cluster.local. NS dns.kube-system.svc.cluster.local.".to_owned(),
            "dns.kube-system.svc.cluster.local. ttl=0 A 10.96.0.10".to_owned(),
        ]
    );
    assert_eq!(lines.last(), Some(&soa));
    assert_eq!(lines.iter().filter(|line| **line == soa).count(), 2);

    let of = |service: &str| -> Vec<&str> {
        let suffix = format!("{service}.shop.svc.cluster.local. ");
        let below = format!(".{suffix}");
        let own = |line: &&String| line.starts_with(&suffix) || line.contains(&below);
        lines.iter().filter(own).map(|line| line.as_str()).collect()
    };
    assert_eq!(
        of("many"),
        [
            "many.shop.svc.cluster.local. A 10.96.0.4",
            "many.shop.svc.cluster.local. SRV 0 100 53 many.shop.svc.cluster.local.",
            "_dns._udp.many.shop.svc.cluster.local. SRV 0 100 53 many.shop.svc.cluster.local.",
            "many.shop.svc.cluster.local. SRV 0 100 53 many.shop.svc.cluster.local.",
            "_dns-tcp._tcp.many.shop.svc.cluster.local. SRV 0 100 53 many.shop.svc.cluster.local.",
            "many.shop.svc.cluster.local. SRV 0 100 9 many.shop.svc.cluster.local.",
        ]
    );
    assert_eq!(
        of("dual")[..2],
        [
            "dual.shop.svc.cluster.local. A 10.96.0.3",
            "dual.shop.svc.cluster.local. AAAA fd00::3"
        ]
    );
    assert_eq!(
        of("db")[..6],
        [
            "db.shop.svc.cluster.local. A 10.0.0.2",
            "10-0-0-2.db.shop.svc.cluster.local. A 10.0.0.2",
            "_http._tcp.db.shop.svc.cluster.local. SRV 0 25 80 10-0-0-2.db.shop.svc.cluster.local.",
            "db.shop.svc.cluster.local. A 10.0.0.3",
            "10-0-0-3.db.shop.svc.cluster.local. A 10.0.0.3",
            "_http._tcp.db.shop.svc.cluster.local. SRV 0 25 80 10-0-0-3.db.shop.svc.cluster.local.",
        ]
    );
    assert!(of("db").contains(
        &"_admin._tcp.db.shop.svc.cluster.local. SRV 0 100 8080 10-0-0-2.db.shop.svc.cluster.local."
    ));
    assert_eq!(
        of("bare"),
        [
            "bare.shop.svc.cluster.local. A 10.0.0.20",
            "10-0-0-20.bare.shop.svc.cluster.local. A 10.0.0.20"
        ]
    );
    assert_eq!(
        of("out"),
        ["out.shop.svc.cluster.local. CNAME www.example.com."]
    );
    assert!(of("address").is_empty() && of("lonely").is_empty() && of("orphan").is_empty());

    // Sorted by name whatever the namespace, and none of what is not shown.
    assert!(
        !lines
            .iter()
            .any(|line| line.contains(".hidden.") || line.contains(".gone."))
    );
    let mut names: Vec<&str> = Vec::new();
    for line in &lines[3..lines.len() - 1] {
        let owner = line.split(' ').next().unwrap();
        let labels: Vec<&str> = owner
            .trim_end_matches(".svc.cluster.local.")
            .split('.')
            .collect();
        let service = labels[labels.len() - 2];
        if names.last() != Some(&service) {
            names.push(service);
        }
    }
    assert!(names.is_sorted(), "{names:?}");
}

#[test]
fn only_what_changed_is_worth_a_transfer() {
    let plugin = plugin(
        "kubernetes cluster.local clusterset.local {\nmulticluster clusterset.local\n}",
        cluster(),
        &[],
    );
    let count = |zone, serial| records(&plugin, zone, serial).map(|records| records.len());
    assert_eq!(count("cluster.local.", Some(SERIAL)), Some(1));
    let whole = count("cluster.local.", None);
    assert!(whole > Some(50));
    assert_eq!(count("cluster.local.", Some(SERIAL - 1)), whole);
    // 0 asks for the whole.
    assert_eq!(count("cluster.local.", Some(0)), whole);
    assert_eq!(count("example.org.", None), None);

    let imports = lines(&plugin, "clusterset.local.");
    assert!(
        imports.contains(&"web.shop.svc.clusterset.local. A 10.97.0.1".to_owned()),
        "{imports:?}"
    );
    assert!(imports.contains(
        &"_http._tcp.db.shop.svc.clusterset.local. SRV 0 100 80 10-2-0-2.db.shop.svc.clusterset.local.".to_owned()
    ));
    assert!(!imports.iter().any(|line| line.contains("10.96.")));
}
