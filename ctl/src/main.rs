//! The program `understudy`: see the library for what it does.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    understudy_ctl::run()
}
