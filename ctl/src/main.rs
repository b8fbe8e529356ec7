//! The program `understudy`: see the library for what it does.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    // Rendered samples must be bit-identical to those of a worker.
    platform::realtime::flush_denormals();
    understudy_ctl::run()
}
