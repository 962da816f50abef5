//! What a user sees: the real binary, asked over real sockets.
#![forbid(unsafe_code)]
// Tests time what they test.
#![allow(clippy::disallowed_methods)]

#[path = "e2e/answering.rs"]
mod answering;
#[path = "e2e/api.rs"]
mod api;
#[path = "e2e/autopath.rs"]
mod autopath;
#[path = "e2e/binary.rs"]
mod binary;
#[path = "e2e/broken.rs"]
mod broken;
#[path = "e2e/caching.rs"]
mod caching;
#[path = "e2e/chart.rs"]
mod chart;
#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "e2e/command_line.rs"]
mod command_line;
#[path = "e2e/console.rs"]
mod console;
#[path = "e2e/cut.rs"]
mod cut;
#[path = "e2e/deploy.rs"]
mod deploy;
#[path = "e2e/diff.rs"]
mod diff;
#[path = "e2e/distributions.rs"]
mod distributions;
#[path = "e2e/doctor.rs"]
mod doctor;
#[path = "e2e/explain.rs"]
mod explain;
#[path = "e2e/forward.rs"]
mod forward;
#[path = "e2e/garbage.rs"]
mod garbage;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/http.rs"]
mod http;
#[path = "e2e/image.rs"]
mod image;
#[path = "e2e/kubernetes.rs"]
mod kubernetes;
#[path = "e2e/lines.rs"]
mod lines;
#[path = "e2e/metrics.rs"]
mod metrics;
#[path = "e2e/overload.rs"]
mod overload;
#[path = "e2e/probe.rs"]
mod probe;
#[path = "e2e/process.rs"]
mod process;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/rewrite.rs"]
mod rewrite;
#[path = "e2e/secondary.rs"]
mod secondary;
#[path = "e2e/serving.rs"]
mod serving;
#[path = "e2e/signals.rs"]
mod signals;
#[path = "e2e/slo.rs"]
mod slo;
#[path = "e2e/start.rs"]
mod start;

use pando_test::ServerBuilder;

/// The server under test on this Corefile; see [`ServerBuilder`] for `$PORT`.
fn pando(corefile: &str) -> ServerBuilder {
    ServerBuilder::pando(env!("CARGO_BIN_EXE_pando"), corefile)
}
