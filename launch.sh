#!/usr/bin/env bash
# Builds what is not built, then starts the stack: ./launch.sh [options], or ./launch.sh demo.
# Relative paths in options are meant from where you are, so only cargo runs in this folder.
# Nothing is looked at but file times when all is built already: starting stays fast.
set -eu

here=$(cd -P -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd)
bin=$here/target/release
stamp=$bin/.launch-stamp
programs="understudy understudy-launcher understudy-supervisor understudy-worker understudy-audio-out understudy-recorder understudy-midi-in understudy-link-in understudy-osc-gateway"

say() { printf 'launch.sh: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Ableton Link is built in only where it is asked for: its licence is the GPL.
link=
case ${UNDERSTUDY_LINK-} in '' | 0 | n | no | f | false | off | N | NO | No | F | FALSE | False | OFF | Off) ;; *) link=1 ;; esac
for argument; do
    [ "$argument" != --link ] || link=1
done

# PipeWire and JACK are built in if their headers are there, or if a server runs and the headers can be installed.
# ALSA and PulseAudio's protocol, which PipeWire speaks, too, are always built in.
runtime=${XDG_RUNTIME_DIR:-/nowhere}
pipewire=
{ [ -S "$runtime/pipewire-0" ] || [ -S "${PIPEWIRE_RUNTIME_DIR:-/nowhere}/pipewire-0" ]; } && pipewire=1
jack=
for socket in /dev/shm/jack_*_0; do
    [ ! -S "$socket" ] || jack=1
done

# The cargo features of the sound systems to build in; determined only before a build.
systems() {
    found=
    if pkg-config --exists libpipewire-0.3 2>/dev/null && libclang; then found="understudy-audio-out/pipewire"; fi
    if pkg-config --exists jack 2>/dev/null; then found="$found understudy-audio-out/jack"; fi
    echo "$found"
}

# Whether a sound server runs for which the programs were not built.
deaf() {
    had=$(cat "$stamp" 2>/dev/null) || return 0
    case "$pipewire:$had" in 1:*pipewire*) ;; 1:*) return 0 ;; esac
    case "$jack:$had" in 1:*jack*) ;; 1:*) return 0 ;; esac
    return 1
}

built() {
    for program in $programs; do
        [ -x "$bin/$program" ] || return 1
    done
    [ -e "$stamp" ] || return 1
    ! deaf || [ -e "$stamp.deaf" ] || return 1
    [ -z "$link" ] || "$bin/understudy-link-in" --version >/dev/null 2>&1 || return 1
    newer=$(find "$here" \( -name target -o -name .git \) -prune -o -type f \
        \( -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock -o -name '*.json' \) \
        -newer "$stamp" -print -quit)
    [ -z "$newer" ]
}

# Whether libclang is where bindgen will find it.
libclang() {
    [ -z "${LIBCLANG_PATH-}" ] || return 0
    for library in /usr/lib*/libclang{,-[0-9]*}.so* /usr/lib/*/libclang{,-[0-9]*}.so* /usr/lib/llvm*/lib/libclang{,-[0-9]*}.so*; do
        [ ! -e "$library" ] || return 0
    done
    return 1
}

packages() {
    missing=
    command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
    if ! command -v pkg-config >/dev/null 2>&1; then
        missing="$missing pkg-config libasound2-dev"
    elif ! pkg-config --exists alsa; then
        missing="$missing libasound2-dev"
    fi
    if [ -n "$link" ]; then
        command -v c++ >/dev/null 2>&1 || missing="$missing g++"
        command -v cmake >/dev/null 2>&1 || missing="$missing cmake"
        libclang || missing="$missing libclang-dev"
    fi
    if [ -z "$missing" ]; then
        optional
        return 0
    fi
    advice="install the C compiler, pkg-config and the ALSA headers (Debian/Ubuntu: apt-get install$missing; Fedora: gcc pkgconf alsa-lib-devel; Arch: gcc pkgconf alsa-lib)"
    [ -z "$link" ] ||
        advice="$advice; for Ableton Link a C++ compiler, cmake and libclang, too (Fedora: gcc-c++ cmake clang-devel; Arch: cmake clang)"
    command -v apt-get >/dev/null 2>&1 || fail "missing:$missing; $advice"
    if [ "$(id -u)" = 0 ]; then
        root=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        root="sudo -n"
    else
        fail "missing:$missing, and I may not install; $advice"
    fi
    say "installing$missing"
    # shellcheck disable=SC2086  # lists of words
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $missing >&2 ||
        { $root apt-get update -q >&2 &&
            $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $missing >&2; } ||
        fail "could not install$missing; $advice"
    optional
}

# The headers of sound servers that run: without them the stack plays through PulseAudio's protocol or ALSA.
optional() {
    wanted=
    if [ -n "$pipewire" ]; then
        pkg-config --exists libpipewire-0.3 2>/dev/null || wanted="$wanted libpipewire-0.3-dev"
        libclang || wanted="$wanted libclang-dev"
    fi
    [ -z "$jack" ] || pkg-config --exists jack 2>/dev/null || wanted="$wanted libjack-jackd2-dev"
    [ -n "$wanted" ] || return 0
    root=
    [ "$(id -u)" = 0 ] || root="sudo -n"
    say "installing$wanted, for the sound server that runs here"
    # shellcheck disable=SC2086  # lists of words
    { command -v apt-get >/dev/null 2>&1 &&
        { $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $wanted ||
            { $root apt-get update -q &&
                $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $wanted; }; }; } >&2 ||
        say "could not install$wanted: building without; PipeWire is still reached as PulseAudio"
}

build() {
    if ! command -v cargo >/dev/null 2>&1; then
        [ -x "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo" ] ||
            fail "cargo is missing: install Rust 1.95 or newer from https://rustup.rs"
        PATH=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH
    fi
    packages
    say "building (the first time takes some minutes)"
    mkdir -p "$bin"
    # The time before the build counts: what is edited during it must be built again.
    touch "$stamp.new"
    features="$(systems)${link:+ understudy-link-in/link}"
    (cd "$here" && cargo build --release --quiet --features "$features" --target-dir "$here/target") >&2 ||
        fail "the build failed; what the compiler said stands above"
    for program in $programs; do
        [ -x "$bin/$program" ] || fail "the build made no $bin/$program"
    done
    echo "$features" >"$stamp.features"
    touch -r "$stamp.new" "$stamp.features"
    mv -f "$stamp.features" "$stamp"
    rm -f "$stamp.new" "$stamp.deaf"
    # A sound system that could not be built in is not tried again at every start.
    ! deaf || touch "$stamp.deaf"
}

built || build

if [ "${1-}" = demo ]; then
    shift
    exec "$bin/understudy" demo "$@"
fi
exec "$bin/understudy" up "$@"
