//! Zones that are kept as records: what `secondary` serves.
//!
//! A [`Zone`] is never changed under a reader: a transfer [edits](Zone::apply)
//! a copy, which shares all that stays the same, and the copy is swapped in
//! whole. Names lie in the order of RFC 4034 section 6.1, packed into leaves
//! of a few kilobytes, so a record costs little more than its own octets.

mod key;
mod leaf;
mod lookup;
mod node;
mod store;
#[cfg(test)]
mod tests;
mod tree;

pub(super) use lookup::{Lookup, Outcome};
pub(super) use store::{Op, Refused, Soa, Zone};
