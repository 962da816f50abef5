//! The structures of one call, in memory of ours or of a [ledger](super::super::ledger).

use std::mem;
use std::ptr;

use super::BATCH;

/// Octets of ancillary data: an address and three times fit with their
/// headers.
pub(super) const CONTROL: usize = 128;

/// Ancillary data, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL]);

/// The structures that the system reads and writes.
///
/// # Safety
///
/// Any octets are a value of such a type, and it needs no more alignment than
/// a `u64`.
pub(super) unsafe trait Plain: Copy {
    /// Words of 64 bits that [`BATCH`] of them take.
    const WORDS: usize = (BATCH * size_of::<Self>()).div_ceil(size_of::<u64>());
}

// SAFETY: integers, and pointers that only the system follows, aligned to 8.
unsafe impl Plain for libc::mmsghdr {}
// SAFETY: the same.
unsafe impl Plain for libc::iovec {}
// SAFETY: integers, aligned to 8.
unsafe impl Plain for libc::sockaddr_storage {}
// SAFETY: the same.
unsafe impl Plain for Control {}

/// Takes [`BATCH`] structures off the front of a piece of memory.
pub(super) fn take<'a, T: Plain>(memory: &mut &'a mut [u64]) -> &'a mut [T] {
    let (taken, rest) = mem::take(memory).split_at_mut(T::WORDS);
    *memory = rest;
    // SAFETY: any octets are a value of T, as `Plain` says.
    let (_, all, _) = unsafe { taken.align_to_mut::<T>() };
    assert!(all.len() >= BATCH, "T is aligned like u64, or less");
    &mut all[..BATCH]
}

/// Zeros for one user, up to the end of the process: a worker's buffers live
/// as long as it does. Made by the system page by page, on the first write to each.
pub(super) fn heap(words: usize) -> &'static mut [u64] {
    Box::leak(vec![0; words].into())
}

/// Room for the structures of one call.
///
/// Each message header points at the vector, name and control buffer of its
/// own index. All of them are borrowed for as long as this lives, so the
/// pointers stay right while the value moves.
pub(super) struct Messages<'a> {
    pub(super) headers: &'a mut [libc::mmsghdr],
    pub(super) vectors: &'a mut [libc::iovec],
    pub(super) names: &'a mut [libc::sockaddr_storage],
    pub(super) controls: &'a mut [Control],
}

impl<'a> Messages<'a> {
    pub(super) const WORDS: usize =
        libc::mmsghdr::WORDS + libc::iovec::WORDS + libc::sockaddr_storage::WORDS + Control::WORDS;

    /// Takes room for them off the front; what it holds stays, but for the pointers.
    pub(super) fn within(memory: &mut &'a mut [u64]) -> Self {
        let messages = Self {
            headers: take(memory),
            vectors: take(memory),
            names: take(memory),
            controls: take(memory),
        };
        let parts = messages
            .vectors
            .iter_mut()
            .zip(&mut *messages.names)
            .zip(&mut *messages.controls);
        for (message, ((vector, name), control)) in messages.headers.iter_mut().zip(parts) {
            let header = &mut message.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = ptr::from_mut(name).cast();
            header.msg_control = ptr::from_mut(control).cast();
            header.msg_controllen = match message.msg_len {
                // Whatever is there, it belongs to no datagram.
                0 => 0,
                _ => header.msg_controllen.min(CONTROL as _),
            };
        }
        messages
    }
}
