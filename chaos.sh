#!/usr/bin/env bash
# Everything at once: the real stack under OSC traffic, random faults on every service; at the end
# the sound is compared with the replay, and commands, descriptors, segments, zombies, memory counted.
#   ./chaos.sh [--minutes M] [--seed S]      the same seed gives the same faults
set -eu
cd "$(dirname "$0")"
minutes=2 seed=51
while [ $# -gt 0 ]; do
    case "$1" in
    --minutes) minutes=${2:?--minutes takes a number}; shift 2 ;;
    --seed) seed=${2:?--seed takes a number}; shift 2 ;;
    *)
        echo "usage: ./chaos.sh [--minutes M] [--seed S]" >&2
        exit 2
        ;;
    esac
done
cargo build --release --workspace --quiet
UNDERSTUDY_CHAOS_SECONDS=$((minutes * 60)) UNDERSTUDY_SEED=$seed \
    exec cargo test --release -p understudy-integration-tests --test chaos -- --nocapture
