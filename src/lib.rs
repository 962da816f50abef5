//! Pando: cluster DNS for Kubernetes, a drop-in for CoreDNS.
#![forbid(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod http;
pub mod metrics;
// The rest of the plugins joins when the Corefile's types do.
pub mod plugin {
    //! The plugins.
    pub mod kubernetes;
}
pub mod response;
pub mod upstream;
pub mod wire;
