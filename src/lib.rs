//! Pando: cluster DNS for Kubernetes, a drop-in for CoreDNS.
#![forbid(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod http;
pub mod metrics;
pub mod plugin;
pub mod response;
pub mod upstream;
pub mod wire;
