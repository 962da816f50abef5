//! What clients ask and are denied, by the namespace that they belong to.
//!
//! Each worker counts in a sheet of its own: a row for each namespace, one
//! line of the cache. A scrape adds the sheets up, and tells of the namespaces
//! that ask most (`book`). Which row a client has is remembered for
//! `REMEMBERED`, so that most queries find it by the address alone.

mod book;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use self::book::Book;
use super::amplification::{self, Sketch};
use super::export;
use crate::clock::{self, Tick};
use crate::denial::Denial;

/// Namespaces that have series of their own; queries from others count as
/// [`OTHER`]. Series are 1 + 6 + 1 for each at most.
pub const NAMESPACES: usize = 254;
/// Rows of a sheet: more than a cluster is meant to have namespaces (10,000),
/// so that who asks most is known of all of them.
const ROWS: usize = PAGES * PAGE;
/// Rows come in pages, and all but the first when they are used.
const PAGE: usize = 256;
const PAGES: usize = 64;
/// The label of what comes from namespaces without series. No namespace can
/// be called so while it has some: a row of this name is the same series.
pub const OTHER: &str = "other";
/// The row of clients of which the namespace is not known.
const UNKNOWN: u16 = 0;
const OTHERS: u16 = 1;
/// The first row that is a namespace's.
const FIRST: u16 = 2;
/// How long it is believed that a client belongs to a namespace.
const REMEMBERED: Duration = Duration::from_secs(10);
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
    rows: [Row; PAGE],
    /// Where there are more namespaces than that has rows.
    more: [OnceLock<Box<[Row; PAGE]>>; PAGES - 1],
    /// Names that search lists were walked for.
    pub(super) names: Mutex<Sketch>,
}

impl Sheet {
    fn new() -> Self {
        Self {
            rows: std::array::from_fn(|_| Row::default()),
            more: std::array::from_fn(|_| OnceLock::new()),
            names: Mutex::default(),
        }
    }

    #[inline]
    fn row(&self, row: u16) -> &Row {
        match self.rows.get(usize::from(row)) {
            Some(row) => row,
            None => self.beyond(row),
        }
    }

    #[inline(never)]
    fn beyond(&self, row: u16) -> &Row {
        let (page, at) = (usize::from(row) / PAGE - 1, usize::from(row) % PAGE);
        let new = || Box::new(std::array::from_fn(|_| Row::default()));
        let page = self.more.get(page).map(|page| page.get_or_init(new));
        let found = page.and_then(|page| page.get(at));
        found.unwrap_or_else(|| &self.rows[usize::from(OTHERS)])
    }

    /// A row, if it was ever used.
    fn used(&self, row: u16) -> Option<&Row> {
        let (page, at) = (usize::from(row) / PAGE, usize::from(row) % PAGE);
        match page.checked_sub(1) {
            None => self.rows.get(at),
            Some(page) => self.more.get(page)?.get()?.get(at),
        }
    }
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

/// What all sheets have in a row.
fn sums(sheets: &[Arc<Sheet>], row: u16) -> Sums {
    let mut sums = Sums::default();
    for Row(cells) in sheets.iter().filter_map(|sheet| sheet.used(row)) {
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

/// What the clients of namespaces with series have asked, and all others, unordered.
fn totals() -> Vec<Totals> {
    let sheets = sheets();
    let mut told = lock(&BOOK).told(clock::now(), |row| sums(&sheets, row));
    told.push((String::new(), sums(&sheets, UNKNOWN)));
    told.retain(|(_, sums)| sums[QUERIES] > 0);
    told.iter()
        .map(|(name, sums)| Totals::new(name, sums))
        .collect()
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
        let sheet = Arc::new(Sheet::new());
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
            (known, row) if known == key && row >> 16 == period => row as u16,
            _ => {
                let row = look_up(find(client.ip()));
                place.set((key, period << 16 | u64::from(row)));
                row
            }
        };
        self.sheet.row(row)
    }

    /// Where queries of clients count of which nothing is known.
    #[inline]
    pub fn unknown(&self) -> &Row {
        self.sheet.row(UNKNOWN)
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
fn look_up(namespace: Option<String>) -> u16 {
    match namespace {
        Some(namespace) => lock(&BOOK).row(&namespace, clock::now(), |row| sums(&sheets(), row)),
        None => UNKNOWN,
    }
}

/// The sheets of all workers.
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
    fn beyond_the_first_page_rows_are_made_when_they_are_used() {
        let sheet = Arc::new(Sheet::new());
        let far = (PAGE * 3 + 7) as u16;
        assert!(sheet.used(far).is_none());
        sheet.row(far).asked();
        sheet.row(UNKNOWN).asked();
        let sheets = [sheet];
        assert_eq!(sums(&sheets, far)[QUERIES], 1);
        assert_eq!(sums(&sheets, far + 1)[QUERIES], 0);
        assert_eq!(sums(&sheets, UNKNOWN)[QUERIES], 1);
        // No row is beyond the last one.
        sheets[0].row(u16::MAX).asked();
        assert_eq!(sums(&sheets, OTHERS)[QUERIES], 1);
    }
}
