//! How good the copy of the cluster's state is, for people.

use super::snapshot::Snapshot;
use super::{Kubernetes, Zone};
use crate::status::{Status, ZoneState, ZoneStatus};

pub(super) fn of(kubernetes: &Kubernetes) -> Status {
    let snapshot = kubernetes.view.load();
    let zones = kubernetes.zones.iter();
    Status {
        zones: zones.map(|zone| status(zone, &snapshot)).collect(),
        ..Status::default()
    }
}

fn status(zone: &Zone, snapshot: &Snapshot) -> ZoneStatus {
    let state = match (snapshot.stale(), snapshot.synced()) {
        (true, _) => ZoneState::Stale,
        (false, true) => ZoneState::Current,
        (false, false) => ZoneState::Loading,
    };
    let serial = snapshot.zone_serial(zone.multicluster);
    ZoneStatus {
        state,
        zone: zone.name.to_string(),
        plugin: "kubernetes",
        serial: (serial != 0).then_some(serial),
        detail: match zone.multicluster {
            true => count(snapshot.imports().count(), "imported Service"),
            false => {
                let services = count(snapshot.services().count(), "Service");
                let endpoints = count(snapshot.endpoint_count(), "endpoint");
                format!("{services}, {endpoints}")
            }
        },
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
