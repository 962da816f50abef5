//! The agent that serves DNS on every node: a drop-in for NodeLocal DNSCache
//! (`node-cache` of kubernetes/dns).
#![forbid(unsafe_code)]

pub mod channel;
mod codec;
pub mod control;
pub mod flags;
pub mod handover;
pub mod holder;
pub mod restarts;
