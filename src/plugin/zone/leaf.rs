//! Some neighbouring names in one piece of memory.

use super::node::Node;

/// A leaf is cut in two beyond so many octets.
const LARGE: usize = 4096;

/// Names in order, packed: the length of the key in two octets, the key, its sets.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Where each name ends.
    ends: Box<[u32]>,
    octets: Box<[u8]>,
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Octets on the heap, without what the allocator adds.
    pub(super) fn size(&self) -> usize {
        self.octets.len() + 4 * self.ends.len()
    }

    pub(super) fn node(&self, at: usize) -> Option<Node<'_>> {
        let from = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        let octets = self.octets.get(from..*self.ends.get(at)? as usize)?;
        let (len, rest) = octets.split_first_chunk::<2>()?;
        let (key, sets) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        Some(Node::new(key, sets))
    }

    /// Where `key` is, or where it would be.
    pub(super) fn seek(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let Some(node) = self.node(middle) else { break };
            match node.key.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.len()).map_while(|at| self.node(at))
    }
}

/// Packs names, in order, into leaves.
#[derive(Default)]
pub(super) struct Packer {
    octets: Vec<u8>,
    ends: Vec<u32>,
}

impl Packer {
    /// Appends a name. `sets` writes what it owns; where that is nothing, the
    /// name is left out.
    pub(super) fn push(&mut self, key: &[u8], sets: impl FnOnce(&mut Vec<u8>)) {
        let start = self.octets.len();
        // A key has 510 octets at most.
        self.octets
            .extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.octets.extend_from_slice(key);
        let head = self.octets.len();
        sets(&mut self.octets);
        match self.octets.len() == head {
            true => self.octets.truncate(start),
            false => self.ends.push(self.octets.len() as u32),
        }
    }

    /// The leaves, and nothing left for the next ones. A leaf of one name can
    /// be of any size.
    pub(super) fn leaves(&mut self) -> impl Iterator<Item = Leaf> {
        let parts = self.octets.len().div_ceil(LARGE).max(1);
        let limit = self.octets.len().div_ceil(parts);
        let mut from = 0;
        let mut leaves = Vec::with_capacity(parts);
        let mut ends: Vec<u32> = Vec::new();
        for &end in &self.ends {
            ends.push(end - from);
            if (end - from) as usize >= limit {
                leaves.push(self.leaf(from, &mut ends));
                from = end;
            }
        }
        if !ends.is_empty() {
            leaves.push(self.leaf(from, &mut ends));
        }
        self.octets.clear();
        self.ends.clear();
        leaves.into_iter()
    }

    fn leaf(&self, from: u32, ends: &mut Vec<u32>) -> Leaf {
        let end = from + ends.last().copied().unwrap_or_default();
        let octets = self.octets.get(from as usize..end as usize);
        let leaf = Leaf {
            octets: octets.unwrap_or_default().into(),
            ends: ends.as_slice().into(),
        };
        ends.clear();
        leaf
    }
}
