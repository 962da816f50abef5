//! How long each case takes: `cargo bench -p pando-micro`, or `just micro`.
#![forbid(unsafe_code)]
// The macros of criterion make functions without documentation.
#![allow(missing_docs)]

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

fn micro(criterion: &mut Criterion) {
    let cases = pando_micro::all().unwrap_or_else(|error| panic!("{error:#}"));
    for mut case in cases {
        criterion.bench_function(case.name, |bencher| bencher.iter(&mut case.call));
    }
}

/// A minute for all cases: these are microseconds, and callgrind counts exactly.
fn brief() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = brief();
    targets = micro
}
criterion_main!(benches);
