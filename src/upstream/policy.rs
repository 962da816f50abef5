//! In which order the upstreams of a group are tried.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use smallvec::SmallVec;

/// Most upstreams that a group may have.
pub const MAX_UPSTREAMS: usize = 64;

/// `policy` of `forward`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// A new random order for each query.
    #[default]
    Random,
    /// Each query starts with the upstream after the one the last query started with.
    RoundRobin,
    /// The order of the Corefile.
    Sequential,
}

impl Policy {
    /// All words that `policy` takes, in the order of CoreDNS's documentation.
    pub const NAMES: [&'static str; 3] = ["random", "round_robin", "sequential"];

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "random" => Some(Self::Random),
            "round_robin" => Some(Self::RoundRobin),
            "sequential" => Some(Self::Sequential),
            _ => None,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random",
            Self::RoundRobin => "round_robin",
            Self::Sequential => "sequential",
        })
    }
}

/// Indices of upstreams in the order in which one query tries them.
pub(super) type Sequence = SmallVec<[u8; 16]>;

/// A policy and what it remembers between two queries, for all workers.
#[derive(Debug, Default)]
pub(super) struct Picker {
    policy: Policy,
    robin: AtomicU32,
}

impl Picker {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            robin: AtomicU32::new(0),
        }
    }

    /// The order for the next query among `count` upstreams, at most [`MAX_UPSTREAMS`] of them.
    pub(super) fn sequence(&self, count: usize) -> Sequence {
        let mut all: Sequence = (0..u8::try_from(count).unwrap_or(u8::MAX)).collect();
        if all.len() < 2 {
            return all;
        }
        match self.policy {
            Policy::Random => fastrand::shuffle(&mut all),
            Policy::RoundRobin => {
                // The counter moves before it is used, so the first query starts with the
                // second upstream; those that follow the first keep the Corefile's order.
                let turn = self.robin.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                let first = turn as usize % all.len();
                all[..=first].rotate_right(1);
            }
            Policy::Sequential => {}
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_starts_with_the_second_and_goes_round() {
        let picker = Picker::new(Policy::RoundRobin);
        let orders: Vec<_> = (0..4).map(|_| picker.sequence(3).to_vec()).collect();
        assert_eq!(orders, [[1, 0, 2], [2, 0, 1], [0, 1, 2], [1, 0, 2]]);
    }

    #[test]
    fn sequential_keeps_the_order() {
        let picker = Picker::new(Policy::Sequential);
        for _ in 0..3 {
            assert_eq!(picker.sequence(4).to_vec(), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn random_gives_every_order_its_share() {
        let picker = Picker::new(Policy::Random);
        let mut firsts = [0; 4];
        for _ in 0..4000 {
            let order = picker.sequence(4);
            let mut sorted = order.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            firsts[usize::from(order[0])] += 1;
        }
        assert!(firsts.iter().all(|n| (800..1200).contains(n)), "{firsts:?}");
    }

    #[test]
    fn names_round_trip() {
        for name in Policy::NAMES {
            assert_eq!(Policy::from_name(name).unwrap().to_string(), name);
        }
        assert_eq!(Policy::from_name("Random"), None);
    }
}
