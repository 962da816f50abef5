use std::time::Duration;

use super::*;
use crate::chain::Chain;
use crate::plugin::testing::{self, Answer, Script, ask, query, refusal, shown};
use crate::wire::rtype::{A, AAAA, MX};

mod cut;
mod dump;
mod kept;
mod live;
mod setup;
mod stale;

const NAME: &str = "www.example.org.";
const GOOD: &str = "www.example.org. 100 A 192.0.2.1";
const OTHER: &str = "www.example.org. 100 A 192.0.2.2";
const SOA: &str = "!example.org. 100 SOA";

fn chain(text: &str, script: &Arc<Script>) -> Chain {
    testing::chain(&DEFINITION, text, script)
}

fn seconds(seconds: u64) {
    clock::advance(Duration::from_secs(seconds));
}

/// Runs a test where background work can run beside it, as on a worker.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}
