#!/usr/bin/env bash
# Prints every figure that depends on the machine; run it on one that does nothing else.
#   ./bench.sh                 deaths, replacements, starts: docs/reliability.md
#   ./bench.sh speed [PART]    how fast the sound is made, beside scsynth and fundsp: docs/performance.md
#                              parts: sine saw flat graph loop checkpoint modules; none is all
set -eu
cd "$(dirname "$0")"

case "${1:-}" in
"")
    cargo build --release --workspace --quiet
    cargo test --release --quiet -p understudy-integration-tests -- --test-threads=1 --nocapture --include-ignored \
        a_death a_thousand a_hundred both_workers twenty start_processor the_cost the_lead how_many how_long 2>&1 | grep FIGURE
    ;;
speed)
    shift
    command -v scsynth >/dev/null ||
        echo "scsynth is not here, so it is left out; install it with: apt-get install supercollider-server" >&2
    exec cargo run --release --quiet -p understudy-bench -- "$@"
    ;;
*)
    echo "usage: ./bench.sh [speed [sine | saw | flat | graph | loop | checkpoint | modules]...]" >&2
    exit 2
    ;;
esac
