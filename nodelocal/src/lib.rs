//! The agent that serves DNS on every node: a drop-in for NodeLocal DNSCache
//! (`node-cache` of kubernetes/dns).
#![forbid(unsafe_code)]

pub mod channel;
mod codec;
pub mod command;
pub mod control;
pub mod errors;
pub mod firewall;
pub mod flags;
pub mod handover;
pub mod holder;
pub mod interface;
pub mod kube_dns;
pub mod restarts;
pub mod setup;
pub mod template;
