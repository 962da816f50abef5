use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::plugin::testing::show;
use crate::presentation;
use crate::wire::{
    Edns, Name, NameBuf, RData, Rcode, Record, Reply, Request, Section, flags, rtype,
};

mod edits;
mod lookups;

/// The record that a line says; names are below `example.org`.
fn record(line: &str) -> Record {
    let text = format!("$ORIGIN example.org.\n{line}\n");
    let record = presentation::record::parse(&text);
    record
        .unwrap_or_else(|error| panic!("{line}: {error:?}"))
        .unwrap()
}

fn soa(serial: u32) -> Soa {
    let line = format!("@ 3600 SOA ns1 Hostmaster {serial} 7200 1800 86400 60");
    let origin: NameBuf = "example.org".parse().unwrap();
    Soa::of(&record(&line), origin.name()).unwrap()
}

fn adds<'l>(lines: impl IntoIterator<Item = &'l str>) -> Vec<(Op, Record)> {
    let lines = lines.into_iter().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| (Op::Add, record(line))).collect()
}

fn zone(text: &str) -> Zone {
    let origin: NameBuf = "example.org".parse().unwrap();
    let mut zone = Zone::new(origin.name(), soa(1));
    zone.apply(&adds(text.lines())).unwrap();
    zone
}
