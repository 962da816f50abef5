//! Pando: cluster DNS for Kubernetes, a drop-in for CoreDNS.
#![forbid(unsafe_code)]
// Tests time what they test; the ban is for the way of a query.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod chain;
pub mod cidr;
pub mod clock;
pub mod golang;
pub mod http;
pub mod metrics;
pub mod plugin;
pub mod presentation;
pub mod response;
pub mod upstream;
pub mod wire;
pub mod zones;
