#!/usr/bin/env bash
# All tests, set-up included: formatting, lints, documentation, unit tests, real processes.
#   ./test.sh            everything
#   ./test.sh --quick    formatting and the tests that start no process
#   ./test.sh --mutants  sabotages the rules one by one; each must turn a test red
set -eu
cd "$(dirname "$0")"

say() { printf '\n== %d:%02d %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# Packages that the tests use: sound headers, sound servers without a card, OSC clients.
packages=""
need() { # need PACKAGE COMMAND...
    package=$1; shift
    "$@" >/dev/null 2>&1 || packages="$packages $package"
}
need pkg-config command -v pkg-config
need libasound2-dev test -e /usr/include/alsa/asoundlib.h
need pulseaudio command -v pulseaudio
need pulseaudio-utils command -v parec
need libasound2-plugins sh -c 'ls /usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so'
need libjack-jackd2-dev pkg-config --exists jack
need jackd2 sh -c 'command -v jackd && command -v jack_lsp'
need libpipewire-0.3-dev pkg-config --exists libpipewire-0.3
# Not libclang-cpp.so, which bindgen cannot use.
need libclang-dev bash -c 'ls /usr/lib{*,/*,/llvm*/lib}/libclang{,-[0-9]*}.so* 2>/dev/null | grep .'
need pipewire command -v pipewire
need pipewire-pulse command -v pipewire-pulse
need dbus command -v dbus-daemon
need wireplumber command -v wireplumber
need liblo-tools command -v oscsend
need strace command -v strace
need python3-pip python3 -m pip --version
if [ -n "$packages" ]; then
    say "installing$packages"
    root=""
    [ "$(id -u)" = 0 ] || root="sudo -n"
    # shellcheck disable=SC2086
    if ! { $root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq $packages; } >/dev/null; then
        echo "please install:$packages" >&2
        exit 1
    fi
fi

if ! python3 -c 'import pythonosc' 2>/dev/null; then
    export PYTHONPATH="$PWD/target/python"
    python3 -c 'import pythonosc' 2>/dev/null ||
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target target/python python-osc
fi

case "${1:-}" in
--quick)
    cargo fmt --all --check
    exec cargo test --workspace --lib --bins --test tidy
    ;;
--mutants)
    exec ./mutants.sh
    ;;
"") ;;
*)
    echo "usage: ./test.sh [--quick | --mutants]" >&2
    exit 2
    ;;
esac

# All sound systems; launch.sh builds those in that it finds. All steps name the same packages and features: cargo
# would build the libraries again for others.
all="--workspace --features understudy-audio-out/jack,understudy-audio-out/pipewire"

say "formatting"
cargo fmt --all --check
# shellcheck disable=SC2086  # several words
{
    say "lints"
    cargo clippy $all --all-targets --quiet -- -D warnings
    say "documentation"
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
    say "building the stack"
    cargo build --release $all --quiet
    say "building the tests, and programs in which an allocation in a real-time thread is the end"
    cargo build $all --bins --tests --quiet
    say "tests"
    cargo test $all --no-fail-fast --lib --bins --quiet
    cargo test $all --no-fail-fast --doc --quiet
    say "all interleavings, under loom"
    RUSTFLAGS="--cfg loom" cargo test --release --quiet --target-dir target/loom \
        -p understudy-common -p understudy-failover --test loom_torn --test loom_words -- --nocapture
    say "all orders of crashes, a freeze and poison"
    cargo test --release $all --quiet --test switch_model -- --test-threads=1 --nocapture
    say "a hundred thousand simulated fault schedules"
    target/release/understudy-simulation --seeds 100000
    say "real processes that may not allocate in a real-time thread"
    UNDERSTUDY_PROGRAMS="$PWD/target/debug" UNDERSTUDY_KILLS=40 \
        cargo test $all --test hitless -- --test-threads=1 --nocapture a_thousand
    say "real processes"
    # The model of the switch has run above, in a release build.
    UNDERSTUDY_PROGRAMS="$PWD/target/release" \
        cargo test $all --no-fail-fast --test '*' -- --test-threads=1 --nocapture --skip break_nothing
}
say "sabotage"
./mutants.sh
say "all green"
