//! The agent on a node: Pods with real resolvers, real rules, a cluster's DNS
//! behind it, and queries that go on whatever happens. Where there can be no
//! network namespaces, each test prints one line and passes.
//!
//! | variable | |
//! |---|---|
//! | `COREDNS_BIN` | the CoreDNS behind the node, where the cut is counted |
//! | `PANDO_NODE_BIN` | what lives here in place of the agent; node-cache validates the house |
//! | `HOUSE_KILLS`, `HOUSE_UPGRADES`, `HOUSE_VISITS` | how often, for long runs by hand |
//! | `HOUSE_NAMES` | how many external names are walked for, 1000 |
#![forbid(unsafe_code)]
// Tests time what they test.
#![allow(clippy::disallowed_methods)]

#[path = "house/bad_input.rs"]
mod bad_input;
#[path = "house/clients.rs"]
mod clients;
#[path = "house/corefiles.rs"]
mod corefiles;
#[path = "house/deployed.rs"]
mod deployed;
#[path = "house/resolvers.rs"]
mod resolvers;
#[path = "house/rooms.rs"]
mod rooms;
#[path = "house/traces.rs"]
mod traces;
#[path = "house/unbroken.rs"]
mod unbroken;
#[path = "house/upstreams.rs"]
mod upstreams;
#[path = "house/walk.rs"]
mod walk;
