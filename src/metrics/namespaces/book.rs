//! Which row is whose, and which namespaces have series of their own: those
//! that ask most. Nothing here is on the way of a query.

use std::collections::HashMap;
use std::time::Duration;

use super::{CELLS, FIRST, NAMESPACES, OTHER, OTHERS, QUERIES, ROWS, Sums};
use crate::clock::Tick;

/// A row of which nobody has asked for so long may become another namespace's.
const IDLE: Duration = Duration::from_secs(3600);
/// How often it is looked at who asks most, if anybody reads that often.
const ELECTION: Duration = Duration::from_secs(60);
/// Slots that are looked at for one that is idle.
const SEARCHED: usize = 64;

/// What each row stands for.
#[derive(Default)]
pub(super) struct Book {
    by_name: HashMap<Box<str>, u16>,
    slots: Vec<Slot>,
    /// What was asked by namespaces while they had no series.
    other: Sums,
    elected: Option<Tick>,
    /// Where the search for an idle slot goes on.
    hand: usize,
}

/// A row that is a namespace's.
struct Slot {
    name: Box<str>,
    used: Tick,
    /// Whether it has series of its own.
    shown: bool,
    /// What its cells had when its series began, or, where it has none, when
    /// they were last added to those of the others.
    base: Sums,
    /// Queries of late: those of the minute before last count half, and so on.
    weight: u64,
    /// What its cells had when that was reckoned.
    weighed: u64,
}

impl Book {
    /// The row of a namespace; `counted` is what the cells of a row have.
    pub(super) fn row(&mut self, name: &str, now: Tick, counted: impl Fn(u16) -> Sums) -> u16 {
        if name == OTHER {
            return OTHERS;
        }
        if let Some(&row) = self.by_name.get(name) {
            if let Some(slot) = self.slots.get_mut(usize::from(row - FIRST)) {
                slot.used = now;
            }
            return row;
        }
        let mut slot = Slot {
            name: name.into(),
            used: now,
            shown: self.slots.len() < NAMESPACES,
            base: [0; CELLS],
            weight: 0,
            weighed: 0,
        };
        let at = self.slots.len();
        // There are no more than ROWS.
        let mut row = FIRST + at as u16;
        if usize::from(row) < ROWS {
            self.slots.push(slot);
        } else {
            let Some(at) = self.idle(now) else {
                return OTHERS;
            };
            row = FIRST + at as u16;
            let counts = counted(row);
            if let Some(old) = self.slots.get_mut(at) {
                if !old.shown {
                    add(&mut self.other, &counts, &old.base);
                }
                slot.shown = old.shown;
                slot.base = counts;
                slot.weighed = counts[QUERIES];
                let old = std::mem::replace(old, slot);
                self.by_name.remove(&old.name);
            }
        }
        self.by_name.insert(name.into(), row);
        row
    }

    /// A slot of which nobody has asked for long, among the next few.
    fn idle(&mut self, now: Tick) -> Option<usize> {
        for _ in 0..SEARCHED {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len().max(1);
            let idle = |slot: &Slot| now.since(slot.used) >= IDLE;
            if self.slots.get(at).is_some_and(idle) {
                return Some(at);
            }
        }
        None
    }

    /// What was asked by each namespace that has series, and by all others
    /// together under [`OTHER`]; each only ever grows while it has some. Who
    /// is to have them from now on is settled afterwards, so that what is told
    /// here of those that lose theirs is complete.
    pub(super) fn told(&mut self, now: Tick, counted: impl Fn(u16) -> Sums) -> Vec<(String, Sums)> {
        let counts: Vec<Sums> = (FIRST..).take(self.slots.len()).map(&counted).collect();
        let mut told = Vec::new();
        for (slot, counts) in self.slots.iter_mut().zip(&counts) {
            if slot.shown {
                let mut own = [0; CELLS];
                add(&mut own, counts, &slot.base);
                told.push((slot.name.to_string(), own));
            } else {
                add(&mut self.other, counts, &slot.base);
                slot.base = *counts;
            }
        }
        let mut other = counted(OTHERS);
        add(&mut other, &self.other, &[0; CELLS]);
        told.push((OTHER.to_owned(), other));
        self.elect(now, &counts);
        told
    }

    /// Gives series to those who ask more than twice as much as the least of
    /// those that have some: by less, they would be given to and fro.
    fn elect(&mut self, now: Tick, counts: &[Sums]) {
        let due = |last| now.since(last) >= ELECTION;
        if self.slots.len() <= NAMESPACES || !self.elected.is_none_or(due) {
            return;
        }
        self.elected = Some(now);
        let mut shown = Vec::new();
        let mut hidden = Vec::new();
        for (slot, counts) in self.slots.iter_mut().zip(counts) {
            let queries = counts[QUERIES];
            slot.weight = slot.weight / 2 + queries.saturating_sub(slot.weighed);
            slot.weighed = queries;
            let among = if slot.shown { &mut shown } else { &mut hidden };
            among.push((slot, counts));
        }
        shown.sort_by_key(|(slot, _)| slot.weight);
        hidden.sort_by_key(|(slot, _)| std::cmp::Reverse(slot.weight));
        for ((least, least_counts), (most, most_counts)) in shown.into_iter().zip(hidden) {
            if most.weight <= least.weight.saturating_mul(2) {
                break;
            }
            (least.shown, least.base) = (false, *least_counts);
            (most.shown, most.base) = (true, *most_counts);
        }
    }
}

/// Adds what was counted since.
fn add(sums: &mut Sums, counts: &Sums, since: &Sums) {
    for ((sum, count), since) in sums.iter_mut().zip(counts).zip(since) {
        *sum += count.saturating_sub(*since);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::clock;

    /// The cells of every row.
    struct Cells(RefCell<Vec<Sums>>);

    impl Cells {
        fn new() -> Self {
            Self(RefCell::new(vec![[0; CELLS]; ROWS]))
        }

        fn ask(&self, row: u16, queries: u64) {
            self.0.borrow_mut()[usize::from(row)][QUERIES] += queries;
        }

        fn of(&self, row: u16) -> Sums {
            self.0.borrow()[usize::from(row)]
        }
    }

    fn queries(told: &[(String, Sums)], name: &str) -> Option<u64> {
        let found = told.iter().find(|(told, _)| told == name);
        found.map(|(_, sums)| sums[QUERIES])
    }

    #[test]
    fn who_asks_most_has_series_and_nothing_is_lost_or_counted_twice() {
        let (mut book, cells) = (Book::default(), Cells::new());
        let tell = |book: &mut Book| {
            clock::advance(ELECTION);
            book.told(clock::now(), |row| cells.of(row))
        };
        let row = |book: &mut Book, name: &str| book.row(name, clock::now(), |row| cells.of(row));
        for n in 0..NAMESPACES {
            let quiet = row(&mut book, &format!("ns-{n}"));
            cells.ask(quiet, if n == 0 { 4 } else { 100 });
        }
        let late = row(&mut book, "late");
        assert_ne!(late, OTHERS, "it is counted all the same");
        cells.ask(late, 7);
        let told = tell(&mut book);
        assert_eq!(told.len(), NAMESPACES + 1);
        assert_eq!(queries(&told, "ns-0"), Some(4));
        assert_eq!(queries(&told, OTHER), Some(7));

        // Not by as little as that.
        let told = tell(&mut book);
        assert_eq!(
            (queries(&told, "late"), queries(&told, "ns-0")),
            (None, Some(4))
        );
        // What the one that goes asked is told for a last time.
        cells.ask(late, 100);
        cells.ask(FIRST, 1);
        let told = tell(&mut book);
        assert_eq!(
            (queries(&told, "ns-0"), queries(&told, OTHER)),
            (Some(5), Some(107))
        );
        cells.ask(late, 7);
        cells.ask(FIRST, 2);
        let told = tell(&mut book);
        assert_eq!(
            (queries(&told, "ns-0"), queries(&told, "late")),
            (None, Some(7))
        );
        assert_eq!(queries(&told, OTHER), Some(109));
        assert_eq!(told.len(), NAMESPACES + 1);
    }

    #[test]
    fn rows_are_bounded_and_given_on_when_idle() {
        let (mut book, cells) = (Book::default(), Cells::new());
        let row = |book: &mut Book, name: &str| book.row(name, clock::now(), |row| cells.of(row));
        let rows = ROWS - usize::from(FIRST);
        for n in 0..rows {
            assert_eq!(row(&mut book, &format!("ns-{n}")), FIRST + n as u16);
        }
        assert_eq!(row(&mut book, "one-more"), OTHERS);
        assert_eq!(row(&mut book, OTHER), OTHERS);
        // The last one has no series, and what it asked is not forgotten.
        let last = FIRST + (rows - 1) as u16;
        cells.ask(last, 5);
        clock::advance(IDLE);
        for n in 0..rows - 1 {
            row(&mut book, &format!("ns-{n}"));
        }
        let given = (0..=rows / SEARCHED).find_map(|_| {
            let given = row(&mut book, "one-more");
            (given != OTHERS).then_some(given)
        });
        assert_eq!(given, Some(last));
        assert_eq!(row(&mut book, &format!("ns-{}", rows - 1)), OTHERS);
        cells.ask(last, 3);
        let told = book.told(clock::now(), |row| cells.of(row));
        assert_eq!(queries(&told, OTHER), Some(8));
    }
}
