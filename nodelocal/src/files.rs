//! Files without a name.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

/// An empty file in memory; `name` is for whoever looks at the process.
///
/// # Errors
///
/// The system's.
pub(crate) fn memory(name: &str) -> io::Result<OwnedFd> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC)?)
}
