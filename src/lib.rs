//! Pando: cluster DNS for Kubernetes, a drop-in for CoreDNS.
#![forbid(unsafe_code)]
