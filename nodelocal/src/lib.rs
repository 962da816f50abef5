//! The agent that serves DNS on every node: a drop-in for NodeLocal DNSCache
//! (`node-cache` of kubernetes/dns).
#![forbid(unsafe_code)]

pub mod channel;
pub mod child;
mod codec;
pub mod command;
pub mod control;
pub mod errors;
mod event;
mod files;
pub mod firewall;
pub mod flags;
pub mod handover;
pub mod holder;
pub mod interface;
pub mod kube_dns;
mod node;
pub mod restarts;
pub mod setup;
pub mod status;
pub mod supervisor;
pub mod template;
pub mod watchdog;
pub mod worker;
