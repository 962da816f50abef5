//! What clients ask and are denied, by the namespace that they belong to.
//!
//! Each worker counts in a sheet of its own: a row for each namespace, one
//! line of the cache. A scrape adds the sheets up. Which row a client has is
//! remembered for `REMEMBERED`, so that most queries find it by the address
//! alone.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::amplification::{self, Sketch};
use super::export;
use crate::clock::{self, Tick};
use crate::denial::Denial;

/// Namespaces that have rows of their own; queries from others count as
/// [`OTHER`]. Series are 1 + 6 + 1 for each at most.
pub const NAMESPACES: usize = ROWS - FIRST as usize;
/// As many as an octet can tell, so that finding one takes no check.
const ROWS: usize = 256;
/// The label of what comes from namespaces beyond [`NAMESPACES`]. No
/// namespace can be called so while it has a row: a row of this name is the
/// same series.
pub const OTHER: &str = "other";
/// The row of clients of which the namespace is not known.
const UNKNOWN: u8 = 0;
const OTHERS: u8 = 1;
/// How long it is believed that a client belongs to a namespace.
const REMEMBERED: Duration = Duration::from_secs(10);
/// A row of which nobody has asked for so long may become another namespace's.
const IDLE: Duration = Duration::from_secs(3600);
/// Clients that a worker remembers; those beyond share places.
const PLACES: usize = 4096;

const QUERIES: usize = 0;
/// The first of the causes, in the order of [`Denial::ALL`].
const DENIED: usize = 1;
const HOST_SEARCHED: usize = DENIED + Denial::ALL.len();
const CELLS: usize = HOST_SEARCHED + 1;

type Sums = [u64; CELLS];

/// One namespace on one sheet; written by one worker alone.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Row([AtomicU64; CELLS]);

impl Row {
    /// Counts a query.
    #[inline]
    pub fn asked(&self) {
        self.add(QUERIES);
    }

    /// Counts a denial.
    #[inline]
    pub fn denied(&self, why: Denial) {
        self.add(DENIED + why as usize);
    }

    /// Counts a query of a domain that nodes search, which an upstream denied.
    pub fn host_searched(&self) {
        self.add(HOST_SEARCHED);
    }

    #[inline]
    fn add(&self, cell: usize) {
        if let Some(cell) = self.0.get(cell) {
            super::bump(cell, 1);
        }
    }
}

/// What one worker has counted.
pub(super) struct Sheet {
    rows: [Row; ROWS],
    /// Names that search lists were walked for.
    pub(super) names: Mutex<Sketch>,
}

/// All that were ever made: a worker's counts outlive it.
static SHEETS: Mutex<Vec<Arc<Sheet>>> = Mutex::new(Vec::new());
static BOOK: LazyLock<Mutex<Book>> = LazyLock::new(|| {
    // Refused only if it were there already, and this is done once.
    let _ = super::registry().register(Box::new(Exporter::new()));
    Mutex::default()
});

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What each row stands for.
#[derive(Default)]
struct Book {
    by_name: HashMap<Box<str>, u8>,
    slots: Vec<Slot>,
}

/// A row that is a namespace's.
struct Slot {
    name: Box<str>,
    used: Tick,
    /// What its cells had when it became this namespace's.
    base: Sums,
}

impl Book {
    /// The row of a namespace.
    fn row(&mut self, name: &str, now: Tick) -> u8 {
        if name == OTHER {
            return OTHERS;
        }
        if let Some(&row) = self.by_name.get(name) {
            if let Some(slot) = self.slots.get_mut(usize::from(row - FIRST)) {
                slot.used = now;
            }
            return row;
        }
        let base;
        let at = if self.slots.len() < NAMESPACES {
            base = Sums::default();
            self.slots.len()
        } else {
            let idle = |slot: &Slot| now.since(slot.used) >= IDLE;
            let Some(at) = self.slots.iter().position(idle) else {
                return OTHERS;
            };
            base = sums(at + usize::from(FIRST));
            at
        };
        // There are no more than NAMESPACES.
        let row = FIRST + at as u8;
        let slot = Slot {
            name: name.into(),
            used: now,
            base,
        };
        match self.slots.get_mut(at) {
            Some(old) => {
                let old = std::mem::replace(old, slot);
                self.by_name.remove(&old.name);
            }
            None => self.slots.push(slot),
        }
        self.by_name.insert(name.into(), row);
        row
    }

    /// Every row in use: the label, and what was counted.
    fn rows(&self) -> impl Iterator<Item = (&str, Sums)> {
        let fixed = [(UNKNOWN, ""), (OTHERS, OTHER)];
        let fixed = fixed.map(|(row, name)| (name, sums(usize::from(row))));
        let own = self
            .slots
            .iter()
            .zip(usize::from(FIRST)..)
            .map(|(slot, row)| {
                let mut counted = sums(row);
                for (sum, base) in counted.iter_mut().zip(slot.base) {
                    *sum = sum.saturating_sub(base);
                }
                (&*slot.name, counted)
            });
        fixed.into_iter().chain(own)
    }
}

/// The first row that is a namespace's.
const FIRST: u8 = 2;

fn sums(row: usize) -> Sums {
    let mut sums = Sums::default();
    for sheet in lock(&SHEETS).iter() {
        let Some(Row(cells)) = sheet.rows.get(row) else {
            continue;
        };
        for (sum, cell) in sums.iter_mut().zip(cells) {
            *sum += cell.load(Ordering::Relaxed);
        }
    }
    sums
}

/// What a namespace's clients have asked since the process began.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Totals {
    /// The namespace; empty where it is not known.
    namespace: String,
    /// Queries.
    queries: u64,
    /// Those among them that only a search list makes.
    search_path: u64,
    /// Denials, in the order of [`Denial::ALL`].
    denials: [u64; Denial::ALL.len()],
}

impl Totals {
    fn new(namespace: &str, sums: &Sums) -> Self {
        let mut denials = [0; Denial::ALL.len()];
        for (denial, sum) in denials.iter_mut().zip(sums.iter().skip(DENIED)) {
            *denial = *sum;
        }
        Self {
            namespace: namespace.to_owned(),
            queries: sums[QUERIES],
            search_path: sums[DENIED + Denial::SearchPath as usize] + sums[HOST_SEARCHED],
            denials,
        }
    }
}

/// What every namespace's clients have asked, unordered.
fn totals() -> Vec<Totals> {
    let book = lock(&BOOK);
    let asked = book.rows().filter(|(_, sums)| sums[QUERIES] > 0);
    asked.map(|(name, sums)| Totals::new(name, &sums)).collect()
}

/// Counts for one worker.
pub struct Census {
    sheet: Arc<Sheet>,
    /// Address, and row with the period in which that was so.
    places: Box<[Cell<(u64, u64)>; PLACES]>,
    period: Cell<u64>,
    began: Cell<Tick>,
    /// Queries since the last one that was looked at.
    passed: Cell<u32>,
}

impl Census {
    /// Counts from nothing.
    pub fn new() -> Self {
        LazyLock::force(&BOOK);
        let sheet = Arc::new(Sheet {
            rows: std::array::from_fn(|_| Row::default()),
            names: Mutex::default(),
        });
        lock(&SHEETS).push(sheet.clone());
        Self {
            sheet,
            places: Box::new(std::array::from_fn(|_| Cell::default())),
            // What was never written is of period 0.
            period: Cell::new(1),
            began: Cell::new(clock::now()),
            passed: Cell::new(0),
        }
    }

    /// Takes note of the time; called for each batch.
    #[inline]
    pub fn turn(&self) {
        let now = clock::now();
        if now.since(self.began.get()) >= REMEMBERED {
            self.began.set(now);
            self.period.set(self.period.get() + 1);
        }
    }

    /// Where queries of this client count; `find` says which namespace it
    /// belongs to.
    #[inline]
    pub fn row(&self, client: SocketAddr, find: impl FnOnce(IpAddr) -> Option<String>) -> &Row {
        let key = key(client);
        let place = &self.places[key.wrapping_mul(SPREAD) as usize >> SHIFT];
        let period = self.period.get();
        let row = match place.get() {
            (known, row) if known == key && row >> 16 == period => row as u8,
            _ => {
                let row = look_up(find(client.ip()));
                place.set((key, period << 16 | u64::from(row)));
                row
            }
        };
        &self.sheet.rows[usize::from(row)]
    }

    /// Where queries of clients count of which nothing is known.
    #[inline]
    pub fn unknown(&self) -> &Row {
        &self.sheet.rows[usize::from(UNKNOWN)]
    }

    /// Whether the name of this query, one that only a search list makes, is
    /// one of those that are looked at.
    #[inline]
    pub fn samples(&self) -> bool {
        let passed = self.passed.get() + 1;
        let due = passed >= amplification::SAMPLED;
        self.passed.set(if due { 0 } else { passed });
        due
    }

    /// Takes note of what a search list was appended to: labels in wire form.
    pub fn sample(&self, relative: &[u8]) {
        lock(&self.sheet.names).add(relative, clock::now());
    }
}

impl Default for Census {
    fn default() -> Self {
        Self::new()
    }
}

/// 2^64 by the golden ratio: it spreads addresses that differ in a few bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
const SHIFT: u32 = usize::BITS - PLACES.ilog2();

/// An address in 64 bits. IPv6 ones of different networks and hosts may
/// share one; then the later is taken for the earlier until the period ends.
fn key(client: SocketAddr) -> u64 {
    match client {
        SocketAddr::V4(v4) => 1 << 32 | u64::from(v4.ip().to_bits()),
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            (bits as u64).rotate_left(29) ^ ((bits >> 64) as u64).wrapping_mul(SPREAD) | 1 << 63
        }
    }
}

#[cold]
fn look_up(namespace: Option<String>) -> u8 {
    match namespace {
        Some(namespace) => lock(&BOOK).row(&namespace, clock::now()),
        None => UNKNOWN,
    }
}

/// What was sampled of names that search lists are walked for, on all sheets.
pub(super) fn sheets() -> Vec<Arc<Sheet>> {
    lock(&SHEETS).clone()
}

/// The three families behind one registration.
struct Exporter {
    descs: [Desc; 3],
}

impl Exporter {
    fn new() -> Self {
        Self {
            descs: [
                export::desc(
                    "pando_queries_total",
                    "Counter of queries by the namespace of the client.",
                    &["namespace"],
                ),
                export::desc(
                    "pando_nxdomain_total",
                    "Counter of NXDOMAIN answers by cause and namespace of the client.",
                    &["cause", "namespace"],
                ),
                export::desc(
                    "pando_search_path_queries_total",
                    "Counter of queries that only a search list makes, by namespace of the client.",
                    &["namespace"],
                ),
            ],
        }
    }
}

impl Collector for Exporter {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut totals = totals();
        totals.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        let mut metrics: [Vec<proto::Metric>; 3] = Default::default();
        let [queries, denied, searched] = &mut metrics;
        for Totals {
            namespace,
            queries: asked,
            search_path,
            denials,
        } in &totals
        {
            let own = ("namespace", namespace.as_str());
            queries.push(export::counter(&[own], *asked));
            for (denial, count) in Denial::ALL.iter().zip(denials).filter(|(_, n)| **n > 0) {
                denied.push(export::counter(&[("cause", denial.as_str()), own], *count));
            }
            // From the first query on, so that the ratio of the two is defined.
            searched.push(export::counter(&[own], *search_path));
        }
        let families = self.descs.iter().zip(metrics);
        families
            .filter_map(|(desc, metrics)| export::family(desc, metrics))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(namespace: &str) -> Totals {
        let found = totals().into_iter().find(|t| t.namespace == namespace);
        found.unwrap_or_else(|| Totals::new(namespace, &Sums::default()))
    }

    #[test]
    fn a_client_is_looked_up_once_in_a_while() {
        let census = Census::new();
        let client: SocketAddr = "10.244.3.7:999".parse().unwrap();
        let looked = Cell::new(0);
        let find = |name: &'static str| {
            let looked = &looked;
            move |ip: IpAddr| {
                assert_eq!(ip, client.ip());
                looked.set(looked.get() + 1);
                Some(name.to_owned())
            }
        };
        for _ in 0..3 {
            census.turn();
            census.row(client, find("census-a")).asked();
        }
        assert_eq!((looked.get(), of("census-a").queries), (1, 3));
        // The address is another Pod's now.
        clock::advance(REMEMBERED);
        census.turn();
        for why in [None, Some(Denial::SearchPath), Some(Denial::Upstream)] {
            let row = census.row(client, find("census-b"));
            row.asked();
            if let Some(why) = why {
                row.denied(why);
            }
        }
        census.row(client, find("census-b")).host_searched();
        assert_eq!(looked.get(), 2);
        let b = of("census-b");
        assert_eq!((b.queries, b.search_path), (3, 2));
        assert_eq!(b.denials, [1, 0, 0, 0, 1, 0]);
        assert_eq!(of("census-a").queries, 3);
    }

    #[test]
    fn one_in_a_prime_is_sampled() {
        let census = Census::new();
        let samples = (0..amplification::SAMPLED * 5).filter(|_| census.samples());
        assert_eq!(samples.count(), 5);
    }

    #[test]
    fn addresses_do_not_share_a_key() {
        let mut keys: Vec<u64> = [
            "10.0.0.1",
            "0.0.0.0",
            "::",
            "::1",
            "fd00::1",
            "fd00:0:0:1::1",
        ]
        .iter()
        .map(|ip| key(SocketAddr::new(ip.parse().unwrap(), 53)))
        .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 6);
        // 0 is what an empty place has.
        assert!(!keys.contains(&0));
    }

    #[test]
    fn rows_are_bounded_and_given_on_when_idle() {
        let mut book = Book::default();
        let now = clock::now();
        for n in 0..NAMESPACES {
            assert_eq!(book.row(&format!("ns-{n}"), now), FIRST + n as u8);
        }
        assert_eq!(book.row("one-more", now), OTHERS);
        assert_eq!(book.row(OTHER, now), OTHERS);
        clock::advance(IDLE);
        let later = clock::now();
        assert_eq!(book.row("ns-0", later), FIRST);
        assert_eq!(book.row("one-more", later), FIRST + 1);
        assert_eq!(book.row("ns-0", later), FIRST);
        let names: Vec<&str> = book.rows().map(|(name, _)| name).collect();
        assert_eq!(names[..5], ["", "other", "ns-0", "one-more", "ns-2"]);
        assert_eq!(names.len(), 2 + NAMESPACES);
        assert!(!book.by_name.contains_key("ns-1"));
    }
}
