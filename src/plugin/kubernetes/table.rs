//! Persistent tables: 4,096 buckets under a two-level tree of shared nodes.
//!
//! A copy of a table costs one reference count. An edit copies the nodes on
//! the way to one bucket, and only where another copy still shares them, so
//! the cost of a change does not depend on the size of the cluster. Nothing
//! is ever edited under a reader.

use std::net::IpAddr;
use std::sync::Arc;

const FANOUT: usize = 64;

/// Most buckets of a table with fewer than a few thousand items hold one at
/// most; then it lies in the branch itself, one step nearer to a reader.
#[derive(Clone)]
enum Bucket<T> {
    Few(Option<T>),
    Many(Arc<[T]>),
}

impl<T> Bucket<T> {
    fn items(&self) -> &[T] {
        match self {
            Self::Few(item) => item.as_slice(),
            Self::Many(items) => items,
        }
    }
}

impl<T> From<Vec<T>> for Bucket<T> {
    fn from(mut items: Vec<T>) -> Self {
        match items.len() {
            0 | 1 => Self::Few(items.pop()),
            _ => Self::Many(items.into()),
        }
    }
}

type Branch<T> = [Bucket<T>; FANOUT];
type Root<T> = [Option<Arc<Branch<T>>>; FANOUT];

/// A multiset of `T`, found by the upper 12 bits of a 64-bit hash that the
/// caller computes.
pub(super) struct Table<T> {
    root: Arc<Root<T>>,
    len: usize,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            len: self.len,
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            root: Arc::new([const { None }; FANOUT]),
            len: 0,
        }
    }
}

impl<T> Table<T> {
    /// How many items it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The items whose hash has the same upper bits.
    pub(super) fn bucket(&self, hash: u64) -> &[T] {
        let (i, j) = position(hash);
        match &self.root[i] {
            Some(branch) => branch[j].items(),
            None => &[],
        }
    }

    /// Whether neither has been edited since one was copied from the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    /// The buckets that may differ, each with the other's. It takes as long
    /// as there are branches that were edited.
    pub(super) fn differing<'t>(
        &'t self,
        other: &'t Self,
    ) -> impl Iterator<Item = (&'t [T], &'t [T])> {
        let branches = self.root.iter().zip(other.root.iter());
        let edited = branches.filter(|(own, other)| match (own, other) {
            (Some(own), Some(other)) => !Arc::ptr_eq(own, other),
            (own, other) => own.is_some() || other.is_some(),
        });
        edited.flat_map(|(own, other)| {
            let items = |branch: &'t Option<Arc<Branch<T>>>, at: usize| {
                let bucket = branch.as_deref().and_then(|branch| branch.get(at));
                bucket.map_or(&[][..], Bucket::items)
            };
            (0..FANOUT).map(move |at| (items(own, at), items(other, at)))
        })
    }

    /// All items, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let branches = self.root.iter().flatten();
        branches
            .flat_map(|branch| branch.iter())
            .flat_map(Bucket::items)
    }
}

impl<T: Clone> Table<T> {
    /// Rebuilds the bucket of `hash`.
    pub(super) fn edit<R>(&mut self, hash: u64, f: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let (i, j) = position(hash);
        let branch = Arc::make_mut(&mut self.root)[i]
            .get_or_insert_with(|| Arc::new([const { Bucket::Few(None) }; FANOUT]));
        let bucket = &mut Arc::make_mut(branch)[j];
        let old = bucket.items();
        let mut items = Vec::with_capacity(old.len() + 1);
        items.extend_from_slice(old);
        let before = items.len();
        let out = f(&mut items);
        self.len = self.len + items.len() - before;
        *bucket = items.into();
        out
    }
}

/// The 12 upper bits, 6 for each level: both are below [`FANOUT`].
fn position(hash: u64) -> (usize, usize) {
    ((hash >> 58) as usize, (hash >> 52) as usize & (FANOUT - 1))
}

/// A multimap from addresses to `V`. IPv4 and IPv6 lie apart so that an IPv4
/// entry costs four bytes and its value.
#[derive(Clone)]
pub(super) struct IpTable<V> {
    v4: Table<([u8; 4], V)>,
    v6: Table<([u8; 16], V)>,
}

impl<V> Default for IpTable<V> {
    fn default() -> Self {
        Self {
            v4: Table::default(),
            v6: Table::default(),
        }
    }
}

impl<V> IpTable<V> {
    /// The values at `ip`, in insertion order.
    pub(super) fn at(&self, ip: IpAddr) -> impl Iterator<Item = &V> + Clone {
        let (v4, v6): (&[_], &[_]) = match ip {
            IpAddr::V4(ip) => (self.v4.bucket(spread(&ip.octets())), &[]),
            IpAddr::V6(ip) => (&[], self.v6.bucket(spread(&ip.octets()))),
        };
        let in_v4 = v4
            .iter()
            .filter(move |(k, _)| IpAddr::from(*k) == ip)
            .map(|(_, v)| v);
        in_v4.chain(
            v6.iter()
                .filter(move |(k, _)| IpAddr::from(*k) == ip)
                .map(|(_, v)| v),
        )
    }

    /// How many pairs it holds.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// All values, unordered.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        let v4 = self.v4.iter().map(|(_, value)| value);
        v4.chain(self.v6.iter().map(|(_, value)| value))
    }
}

impl<V: Clone + PartialEq> IpTable<V> {
    /// Adds one pair, also when the same is there already.
    pub(super) fn insert(&mut self, ip: IpAddr, value: V) {
        match ip {
            IpAddr::V4(ip) => {
                let key = ip.octets();
                self.v4.edit(spread(&key), |items| items.push((key, value)));
            }
            IpAddr::V6(ip) => {
                let key = ip.octets();
                self.v6.edit(spread(&key), |items| items.push((key, value)));
            }
        }
    }

    /// Takes one equal pair out, if there is one.
    pub(super) fn remove(&mut self, ip: IpAddr, value: &V) {
        match ip {
            IpAddr::V4(ip) => take_one(&mut self.v4, ip.octets(), value),
            IpAddr::V6(ip) => take_one(&mut self.v6, ip.octets(), value),
        }
    }
}

fn take_one<K, V>(table: &mut Table<(K, V)>, key: K, value: &V)
where
    K: Copy + PartialEq + AsRef<[u8]>,
    V: Clone + PartialEq,
{
    table.edit(spread(key.as_ref()), |items| {
        if let Some(at) = items.iter().position(|(k, v)| *k == key && v == value) {
            items.remove(at);
        }
    });
}

/// Spreads an address over the upper bits. Addresses of a cluster differ in
/// few and neighbouring bits; a multiplication carries them up.
fn spread(octets: &[u8]) -> u64 {
    octets
        .chunks(8)
        .fold(0, |hash: u64, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let mixed = (hash.rotate_left(23) ^ u64::from_le_bytes(word))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed ^ (mixed >> 32)
        })
        .wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut table = Table::default();
        table.edit(7 << 52, |items| items.push("a"));
        let old = table.clone();
        table.edit(7 << 52, |items| items.push("b"));
        table.edit(9 << 60, |items| items.push("c"));
        assert_eq!((old.len(), old.bucket(7 << 52)), (1, &["a"][..]));
        assert_eq!((table.len(), table.bucket(7 << 52)), (3, &["a", "b"][..]));
        assert_eq!(old.iter().count(), 1);
        assert_eq!(table.iter().count(), 3);
    }

    #[test]
    fn neighbouring_addresses_do_not_share_buckets() {
        let mut load: HashMap<u64, usize> = HashMap::new();
        for n in 0..150_000u32 {
            let ip = (0x0A00_0000 + n).to_be_bytes();
            *load.entry(spread(&ip) >> 52).or_default() += 1;
        }
        let fullest = load.values().max().copied().unwrap_or_default();
        assert!(fullest < 4 * 150_000 / 4096, "{fullest}");
    }

    proptest! {
        #[test]
        fn an_ip_table_is_a_multimap(steps in prop::collection::vec((any::<bool>(), 0u8..40, any::<bool>(), 0u32..3), 0..200)) {
            let mut table = IpTable::default();
            let mut model: Vec<(IpAddr, u32)> = Vec::new();
            for (insert, n, six, value) in steps {
                let ip: IpAddr = match six {
                    true => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]),
                    false => IpAddr::from([10, 0, 0, n]),
                };
                if insert {
                    table.insert(ip, value);
                    model.push((ip, value));
                } else {
                    table.remove(ip, &value);
                    if let Some(at) = model.iter().position(|p| *p == (ip, value)) {
                        model.remove(at);
                    }
                }
                let got: Vec<u32> = table.at(ip).copied().collect();
                let want: Vec<u32> = model.iter().filter(|p| p.0 == ip).map(|p| p.1).collect();
                prop_assert_eq!(got, want);
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}
