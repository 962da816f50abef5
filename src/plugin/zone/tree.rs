//! All names of a zone in order.

use std::sync::Arc;

use super::leaf::{Leaf, Packer};
use super::node::{Builder, Node};
use super::store::EditError;

/// Leaves in order. A copy shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    leaves: Vec<Arc<Leaf>>,
    /// Nothing in the leaf at the same place is below this key; it need not
    /// be there itself. The first one is empty.
    floors: Floors,
}

/// Keys in one piece of memory, because a search meets many of them.
#[derive(Clone, Debug, Default)]
struct Floors {
    ends: Vec<u32>,
    octets: Vec<u8>,
}

/// One step of an edit.
pub(super) struct Change<'a> {
    pub(super) key: &'a [u8],
    pub(super) rtype: u16,
    pub(super) rdata: &'a [u8],
    /// The TTL of a record that is added; `None` removes one.
    pub(super) ttl: Option<u32>,
}

/// Where a name is, or where it would be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    leaf: usize,
    at: usize,
}

impl Tree {
    pub(super) fn find(&self, key: &[u8]) -> Option<Node<'_>> {
        self.seek(key).ok()
    }

    /// The name, or the place between its neighbours.
    pub(super) fn seek(&self, key: &[u8]) -> Result<Node<'_>, Place> {
        let leaf = self.floors.last_below(key);
        let Some(found) = self.leaves.get(leaf) else {
            return Err(Place { leaf, at: 0 });
        };
        match found.seek(key) {
            Ok(at) => found.node(at).ok_or(Place { leaf, at }),
            Err(at) => Err(Place { leaf, at }),
        }
    }

    /// The name in front of a place.
    pub(super) fn before(&self, place: Place) -> Option<Node<'_>> {
        match place.at.checked_sub(1) {
            Some(at) => self.leaves.get(place.leaf)?.node(at),
            None => {
                let leaf = self.leaves.get(place.leaf.checked_sub(1)?)?;
                leaf.node(leaf.len().checked_sub(1)?)
            }
        }
    }

    /// The name at or behind a place.
    pub(super) fn behind(&self, place: Place) -> Option<Node<'_>> {
        let own = self.leaves.get(place.leaf)?.node(place.at);
        own.or_else(|| self.leaves.get(place.leaf + 1)?.node(0))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.leaves.iter().flat_map(|leaf| leaf.nodes())
    }

    /// The names of one leaf, for a walk that does not borrow the tree all the time.
    pub(super) fn leaf(&self, at: usize) -> Option<&Arc<Leaf>> {
        self.leaves.get(at)
    }

    /// Octets on the heap, without what the allocator adds.
    pub(super) fn size(&self) -> usize {
        let leaves: usize = self.leaves.iter().map(|leaf| leaf.size()).sum();
        leaves + self.leaves.len() * size_of::<(Arc<Leaf>, [usize; 2], Leaf)>()
    }

    /// Makes the changes, in their order for each name. `changed` is told of
    /// each that made a difference: key, type, and whether a record came or
    /// went. On an error, which names the key, some have been made.
    pub(super) fn apply(
        &mut self,
        changes: &mut [Change<'_>],
        mut changed: impl FnMut(&[u8], u16, bool),
    ) -> Result<(), (Vec<u8>, EditError)> {
        changes.sort_by(|a, b| a.key.cmp(b.key));
        let mut rest: &[Change<'_>] = changes;
        let mut packer = Packer::default();
        let mut next = Self::default();
        let old = std::mem::take(self);
        let count = old.leaves.len().max(1);
        let mut leaves = old.leaves.into_iter();
        for at in 0..count {
            let leaf = leaves.next();
            let limit = old.floors.get(at + 1);
            let ours = rest.partition_point(|change| limit.is_none_or(|limit| change.key < limit));
            let (here, behind) = rest.split_at(ours);
            rest = behind;
            match leaf {
                Some(leaf) if here.is_empty() => next.push(old.floors.get(at), leaf),
                leaf => {
                    merge(leaf.as_deref(), here, &mut packer, &mut changed)?;
                    for leaf in packer.leaves() {
                        next.push_own(leaf);
                    }
                }
            }
        }
        *self = match next.is_sparse() {
            true => next.repacked(),
            false => next,
        };
        Ok(())
    }

    /// Whether most of many leaves have lost most of their names.
    fn is_sparse(&self) -> bool {
        let leaves = self.leaves.len();
        leaves > 64 && self.leaves.iter().map(|leaf| leaf.size()).sum::<usize>() < leaves * 512
    }

    fn repacked(&self) -> Self {
        let mut packer = Packer::default();
        for node in self.nodes() {
            packer.push(node.key, |out| node.copy(out));
        }
        let mut packed = Self::default();
        for leaf in packer.leaves() {
            packed.push_own(leaf);
        }
        packed
    }

    fn push_own(&mut self, leaf: Leaf) {
        let floor = leaf.node(0).map(|node| node.key.to_vec());
        self.push(floor.as_deref(), Arc::new(leaf));
    }

    fn push(&mut self, floor: Option<&[u8]>, leaf: Arc<Leaf>) {
        let floor = match self.leaves.is_empty() {
            true => &[],
            false => floor.unwrap_or_default(),
        };
        self.floors.push(floor);
        self.leaves.push(leaf);
    }
}

fn merge(
    leaf: Option<&Leaf>,
    changes: &[Change<'_>],
    packer: &mut Packer,
    changed: &mut impl FnMut(&[u8], u16, bool),
) -> Result<(), (Vec<u8>, EditError)> {
    let mut nodes = leaf.map(Leaf::nodes).into_iter().flatten().peekable();
    for group in changes.chunk_by(|a, b| a.key == b.key) {
        let Some(key) = group.first().map(|change| change.key) else {
            continue;
        };
        while let Some(node) = nodes.next_if(|node| node.key < key) {
            packer.push(node.key, |out| node.copy(out));
        }
        let mut sets = match nodes.next_if(|node| node.key == key) {
            Some(node) => Builder::of(node),
            None => Builder::default(),
        };
        for change in group {
            let made = match change.ttl {
                Some(ttl) => sets.add(change.rtype, ttl, change.rdata),
                None => sets.remove(change.rtype, change.rdata).map(|()| true),
            };
            if made.map_err(|why| (key.to_vec(), why))? {
                changed(key, change.rtype, change.ttl.is_some());
            }
        }
        packer.push(key, |out| sets.write(out));
    }
    for node in nodes {
        packer.push(node.key, |out| node.copy(out));
    }
    Ok(())
}

impl Floors {
    fn get(&self, at: usize) -> Option<&[u8]> {
        let from = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.octets.get(from..*self.ends.get(at)? as usize)
    }

    fn push(&mut self, floor: &[u8]) {
        self.octets.extend_from_slice(floor);
        self.ends.push(self.octets.len() as u32);
    }

    /// The last that is not above `key`; the first is below all.
    fn last_below(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            match self.get(middle).is_some_and(|floor| floor <= key) {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    }
}
