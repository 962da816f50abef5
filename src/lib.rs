//! Pando: cluster DNS for Kubernetes, a drop-in for CoreDNS.
#![forbid(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod metrics;
pub mod wire;
