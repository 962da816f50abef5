//! Memory that outlives the process: a file, by rights one without a name
//! (memfd), that is mapped into whichever process runs.
//!
//! With `mmsg` all of the unsafe code. It hands out plain slices.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;

/// A mapped file, in words of 64 bits.
pub(super) struct Shared {
    /// Its beginning, which many may use at once.
    pub words: &'static [AtomicU64],
    /// What follows, in equal parts for one user each.
    pub rooms: Vec<&'static mut [u64]>,
}

/// Maps so many words and rooms of so many words for as long as the process
/// lasts. The file grows to that size; it must not be in use: neither by
/// another process nor by an earlier mapping.
///
/// # Errors
///
/// The system's.
pub(super) fn map(file: &File, words: usize, rooms: usize, room: usize) -> io::Result<Shared> {
    let size = (words + rooms * room) * size_of::<u64>();
    if file.metadata()?.len() < size as u64 {
        file.set_len(size as u64)?;
    }
    // SAFETY: a new mapping at a place of the system's choice replaces none.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let base = base.cast::<u64>();
    // SAFETY: the mapping is as long as this, begins on a page, is never
    // undone, and holds integers. Nobody but this process writes to it, and
    // to this part through atomics alone.
    let shared = unsafe { slice::from_raw_parts(base.cast::<AtomicU64>(), words) };
    let rooms = (0..rooms).map(|index| {
        // SAFETY: the same; each room is used through this one slice, and
        // none overlaps another or the words.
        unsafe { slice::from_raw_parts_mut(base.add(words + index * room), room) }
    });
    Ok(Shared {
        words: shared,
        rooms: rooms.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_is_written_is_there_the_next_time() {
        let file = tempfile::tempfile().unwrap();
        let mut first = map(&file, 3, 2, 5).unwrap();
        first.words[2].store(7, Ordering::Relaxed);
        first.rooms[0].fill(1);
        first.rooms[1].fill(2);
        // With more rooms, those that were there stay where they are.
        let again = map(&file, 3, 3, 5).unwrap();
        let words: Vec<u64> = (again.words.iter())
            .map(|word| word.load(Ordering::Relaxed))
            .collect();
        assert_eq!(words, [0, 0, 7]);
        assert_eq!(again.rooms, [[1; 5], [2; 5], [0; 5]]);
    }
}
