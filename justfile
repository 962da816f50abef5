# The same recipes as .ci/run, one by one.

default:
    @just --list

fmt:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets -- -D warnings

deny:
    cargo deny check licenses bans sources

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Builds etcd, kube-apiserver, kube-controller-manager and kubectl (Go, four minutes the first time).
control-plane:
    tests/control-plane/build.sh

# Builds helm for the tests of the chart (Go, a minute the first time).
helm:
    tests/helm/build.sh

# Builds the images without a registry, for their tests; needs root, buildah, mmdebstrap, runc and cargo-cyclonedx.
images:
    tests/image/build.sh

test:
    cargo test --workspace

# How long the functions on the way of a query take.
micro:
    cargo bench -p pando-micro

# Their instructions and allocations against benches/micro/baseline.json; needs valgrind.
instructions *args:
    cargo run --release -p pando-micro -- {{args}}

# One minute of each fuzz target; needs a nightly toolchain and cargo-fuzz.
fuzz seconds="60":
    for target in $(cargo +nightly fuzz list); do \
        cargo +nightly fuzz run --dev --sanitizer none "$target" -- -max_total_time={{seconds}} || exit 1; done

demo:
    cargo run --release -- -conf deploy/demo/Corefile

# Memory, start, look-ups and changes from 100 to 10,000 Services, beside CoreDNS where COREDNS_BIN names one.
scale *arguments:
    cargo build --release
    cargo run --release -p pando-scale -- {{arguments}}

# What a query costs beside a bare echo, unbound and dnsdist, and CoreDNS and node-cache where COREDNS_BIN and NODE_CACHE_BIN name them; two idle cores.
load *arguments:
    cargo build --release
    cargo run --release -p pando-load -- {{arguments}}
