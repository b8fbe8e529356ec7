//! The program `understudy`: see the library for what it does.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    // What is rendered here is to equal what a worker renders, to the bit.
    platform::realtime::flush_denormals();
    understudy_ctl::run()
}
