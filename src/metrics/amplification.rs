//! Which names search lists are walked for most.
//!
//! One in [`SAMPLED`] of the queries that only a search list makes is looked
//! at, and what stands in front of the appended domain is counted in a
//! space-saving sketch (Metwally, Agrawal, El Abbadi 2005) of `ENTRIES`
//! names for each worker. Counts are halved each `HALF_LIFE`, so that they
//! speak of the last minutes.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::namespaces;
use crate::clock::Tick;
use crate::wire::NameBuf;

/// One in so many is looked at. A prime, or walks of regular length would be
/// sampled at the same step for ever.
pub const SAMPLED: u32 = 61;
/// Names that a worker keeps count of. The count of one that is among them is
/// too high by at most a share of 1 in so many of all that was sampled.
const ENTRIES: usize = 64;
const HALF_LIFE: Duration = Duration::from_secs(60);

/// A name that search lists are walked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopName {
    /// What the client wanted, before its resolver appended a domain.
    pub name: String,
    /// About how many queries that cost in the last minutes: an estimate from
    /// a sample, halved each minute.
    pub queries: u64,
}

/// What costs most.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// Names, most first.
    pub names: Vec<TopName>,
}

/// The `count` names that cost most.
pub fn top(count: usize) -> Top {
    let mut weights: HashMap<Box<[u8]>, u64> = HashMap::new();
    for sheet in namespaces::sheets() {
        let sketch = sheet.names.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in &sketch.entries {
            *weights.entry(entry.name.clone()).or_default() += u64::from(entry.count);
        }
    }
    let named = weights.into_iter().map(|(name, count)| TopName {
        name: text(&name),
        queries: count * u64::from(SAMPLED),
    });
    let mut names: Vec<TopName> = named.collect();
    names.sort_by(|a, b| {
        let order = b.queries.cmp(&a.queries);
        order.then_with(|| a.name.cmp(&b.name))
    });
    names.truncate(count);
    Top { names }
}

/// Labels in wire form as text without a last dot.
fn text(labels: &[u8]) -> String {
    let mut name = NameBuf::new();
    let mut rest = labels;
    while let Some((len, behind)) = rest.split_first() {
        let Some((label, behind)) = behind.split_at_checked(usize::from(*len)) else {
            break;
        };
        if name.push_label(label).is_err() {
            break;
        }
        rest = behind;
    }
    let text = name.to_string();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// The names that one worker has seen most.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    entries: Vec<Entry>,
    halved: Option<Tick>,
}

#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    count: u32,
}

impl Sketch {
    /// Counts a name: labels in wire form, in lower case.
    pub(super) fn add(&mut self, name: &[u8], now: Tick) {
        self.age(now);
        if let Some(entry) = self.entries.iter_mut().find(|entry| *entry.name == *name) {
            entry.count = entry.count.saturating_add(1);
            return;
        }
        let name = name.into();
        if self.entries.len() < ENTRIES {
            return self.entries.push(Entry { name, count: 1 });
        }
        if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
            least.name = name;
            least.count = least.count.saturating_add(1);
        }
    }

    fn age(&mut self, now: Tick) {
        let halved = *self.halved.get_or_insert(now);
        let passed = now.since(halved).as_secs() / HALF_LIFE.as_secs();
        if passed > 0 {
            self.halved = Some(now);
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            for entry in &mut self.entries {
                entry.count = entry.count.checked_shr(passed).unwrap_or(0);
            }
            self.entries.retain(|entry| entry.count > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn wire(text: &str) -> Vec<u8> {
        let name: NameBuf = text.parse().unwrap();
        let wire = name.wire();
        wire[..wire.len() - 1].to_vec()
    }

    #[test]
    fn the_heavy_ones_stay_and_fade() {
        let mut sketch = Sketch::default();
        let now = clock::now();
        for n in 0..1000 {
            sketch.add(&wire("api.stripe.com"), now);
            sketch.add(&wire(&format!("x{n}.example.org")), now);
        }
        assert_eq!(sketch.entries.len(), ENTRIES);
        let heavy = |sketch: &Sketch| {
            let most = sketch.entries.iter().max_by_key(|entry| entry.count);
            most.map(|entry| (text(&entry.name), entry.count))
        };
        assert_eq!(heavy(&sketch), Some(("api.stripe.com".to_owned(), 1000)));
        clock::advance(HALF_LIFE * 2);
        sketch.age(clock::now());
        assert_eq!(heavy(&sketch), Some(("api.stripe.com".to_owned(), 250)));
        clock::advance(HALF_LIFE * 40);
        sketch.age(clock::now());
        assert_eq!(heavy(&sketch), None);
    }

    #[test]
    fn octets_that_are_no_labels_do_no_harm() {
        assert_eq!(text(b"\x03api\x06stripe\x03com"), "api.stripe.com");
        assert_eq!(text(b"\x03api\x40stri"), "api");
        assert_eq!(text(&[]), "");
    }
}
