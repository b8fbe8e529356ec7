//! The program `understudy`; the library contains its verbs.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    // Rendered samples must be bit-identical to those of a worker.
    platform::realtime::flush_denormals();
    understudy_ctl::run()
}
