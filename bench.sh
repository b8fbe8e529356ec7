#!/usr/bin/env bash
# Prints every figure that depends on the machine; run it on one that does nothing else.
set -eu
cd "$(dirname "$0")"
cargo build --release --workspace --quiet
cargo test --release --quiet -p understudy-integration-tests -- --test-threads=1 --nocapture --include-ignored \
    a_death a_thousand a_hundred both_workers twenty start_processor the_lead 2>&1 | grep FIGURE
