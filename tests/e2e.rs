//! What a user sees: the real binary, asked over real sockets.
#![forbid(unsafe_code)]
// Tests time what they test.
#![allow(clippy::disallowed_methods)]
// Tests time what they test.
#![allow(clippy::disallowed_methods)]

#[path = "e2e/answering.rs"]
mod answering;
#[path = "e2e/api.rs"]
mod api;
#[path = "e2e/caching.rs"]
mod caching;
#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "e2e/forward.rs"]
mod forward;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/kubernetes.rs"]
mod kubernetes;
#[path = "e2e/overload.rs"]
mod overload;
#[path = "e2e/process.rs"]
mod process;
#[path = "e2e/serving.rs"]
mod serving;

use pando_test::ServerBuilder;

/// The server under test on this Corefile; see [`ServerBuilder`] for `$PORT`.
fn pando(corefile: &str) -> ServerBuilder {
    ServerBuilder::pando(env!("CARGO_BIN_EXE_pando"), corefile)
}
