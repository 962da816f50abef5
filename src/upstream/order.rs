//! Which upstream a query asks next.

use super::policy::Sequence;
use super::{Group, metrics};

/// One query's way through the upstreams of its group, in the order of the policy, over and over.
pub(super) struct Order<'a> {
    group: &'a Group,
    sequence: Sequence,
    cursor: usize,
    /// Upstreams found down since `cursor` was last at the beginning.
    downs: usize,
    /// Upstreams asked so far, as bits.
    tried: u64,
    hopeless: bool,
}

impl<'a> Order<'a> {
    pub(super) fn new(group: &'a Group) -> Self {
        Self {
            group,
            sequence: group.picker.sequence(group.upstreams.len()),
            cursor: 0,
            downs: 0,
            tried: 0,
            hopeless: false,
        }
    }

    /// The index of the next upstream that is up and not being asked. When all are down, of one
    /// taken by chance: perhaps it is the checks that fail, and not the upstreams.
    pub(super) fn next(&mut self, is_running: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.sequence.len();
        for _ in 0..2 * count {
            if self.cursor >= count {
                self.cursor = 0;
                self.downs = 0;
            }
            let index = usize::from(self.sequence[self.cursor]);
            self.cursor += 1;
            if self.group.is_down(index) {
                self.downs += 1;
                if self.downs < count {
                    continue;
                }
                metrics::count_broken();
                self.hopeless = true;
                let try_anyway = !self.group.options.failfast_all_unhealthy;
                return try_anyway.then(|| fastrand::usize(..count));
            }
            if !is_running(index) {
                return Some(index);
            }
        }
        None
    }

    /// The first upstream that is up and that this query has not asked.
    pub(super) fn untried(&self) -> Option<usize> {
        self.sequence
            .iter()
            .map(|&index| usize::from(index))
            .find(|&index| self.tried & (1 << index) == 0 && !self.group.is_down(index))
    }

    pub(super) fn mark_tried(&mut self, index: usize) {
        self.tried |= 1 << index;
    }

    /// Whether all were found down, and there is nobody left to ask.
    pub(super) fn is_hopeless(&self) -> bool {
        self.hopeless
    }
}
