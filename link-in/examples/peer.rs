//! Another member of an Ableton Link session, to try `--link`: reads the commands `tempo BPM`, `start` and `stop` from
//! standard input, and prints `beat PHASE NTP` for each beat and `peers COUNT` when a member joins or leaves.
//!
//! `cargo run --release -p understudy-link-in --features link --example peer`. The program affects the session of the
//! whole local network.

use std::{
    io::{self, BufRead},
    sync::mpsc,
    thread,
    time::Duration,
};

use platform::realtime::ntp_now;
use rusty_link::{AblLink, SessionState};

const QUANTUM: f64 = 4.0;
const POLL: Duration = Duration::from_millis(5);

fn main() {
    let link = AblLink::new(120.0);
    link.enable_start_stop_sync(true);
    link.enable(true);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let mut state = SessionState::new();
    let (mut last, mut peers) = (f64::NAN, 0);
    loop {
        link.capture_app_session_state(&mut state);
        let now = link.clock_micros();
        match told.try_recv().as_deref().map(str::split_whitespace) {
            Ok(words) => {
                act(&mut state, now, words.collect());
                link.commit_app_session_state(&state);
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return,
        }
        if link.num_peers() != peers {
            peers = link.num_peers();
            println!("peers {peers}");
        }
        let beat = state.beat_at_time(now, QUANTUM).floor();
        if beat != last {
            last = beat;
            let ago_us = (link.clock_micros() - state.time_at_beat(beat, QUANTUM)).max(0) as u64;
            let ago = (u128::from(ago_us) << 32) / 1_000_000;
            println!(
                "beat {} {}",
                beat.rem_euclid(QUANTUM),
                ntp_now() - ago as u64
            );
        }
        thread::sleep(POLL);
    }
}

fn act(state: &mut SessionState, now: i64, words: Vec<&str>) {
    match words[..] {
        ["tempo", bpm] => match bpm.parse() {
            Ok(bpm) => state.set_tempo(bpm, now),
            Err(_) => println!("\"{bpm}\" is not a tempo (expected a number in BPM)"),
        },
        ["start"] => state.set_is_playing(true, now),
        ["stop"] => state.set_is_playing(false, now),
        _ => println!("got {words:?} (expected tempo BPM, start or stop)"),
    }
}
