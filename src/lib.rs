//! Pando: cluster DNS for Kubernetes, a drop-in for CoreDNS.
#![deny(unsafe_code)]
// Tests time what they test; the ban is for the way of a query.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod app;
pub mod ask;
pub mod chain;
pub mod cidr;
pub mod cli;
pub mod clock;
pub mod command;
pub mod configuration;
pub mod denial;
pub mod golang;
pub mod http;
pub mod interfaces;
pub mod metrics;
pub mod plugin;
pub mod presentation;
pub mod response;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod upstream;
pub mod wire;
pub mod zones;
