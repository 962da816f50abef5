//! Message buffers that are used again.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Buffers kept per thread, and the largest that is worth keeping.
const KEPT: usize = 64;
const LARGEST_KEPT: usize = 4096;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The bytes of one message. Its memory goes back to the thread that drops it.
#[derive(Debug, Default)]
pub struct Buf(Vec<u8>);

impl Buf {
    /// A buffer with what `fill` appends to it.
    pub fn filled(fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut buffer = FREE
            .try_with(|free| free.borrow_mut().pop())
            .ok()
            .flatten()
            .unwrap_or_default();
        fill(&mut buffer);
        Self(buffer)
    }

    /// A buffer that holds a copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::filled(|buffer| buffer.extend_from_slice(bytes))
    }

    /// The bytes, owned; they do not come back to the pool.
    pub fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if !(1..=LARGEST_KEPT).contains(&self.0.capacity()) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        // A thread that is ending has no pool any more; the memory is simply freed then.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_and_comes_back_empty() {
        let first = Buf::copy_of(&[1; 300]);
        let place = first.as_ptr();
        drop(first);
        let second = Buf::copy_of(&[2; 10]);
        assert_eq!(second.as_ptr(), place);
        assert_eq!(&*second, &[2; 10]);
    }
}
