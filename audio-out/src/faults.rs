//! Injected faults: the control thread receives them, the playback thread executes them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::message::{Fault, SIGKILL};
use platform::harm;

/// The variable that names a place, as `POINT#N`: each process is killed when it passes the point for the nth time. For
/// tests; the points are `taken`, `taped`, `written`, `noted`.
const VARIABLE: &str = "UNDERSTUDY_AUDIO_FAILPOINT";

/// A point on the path of a block to the tape and the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Taken,
    Taped,
    Written,
    Noted,
}

const POINTS: [(&str, Point); 4] = [
    ("taken", Point::Taken),
    ("taped", Point::Taped),
    ("written", Point::Written),
    ("noted", Point::Noted),
];

/// The point at which this process is killed, and the remaining number of passes.
static PLACE: OnceLock<Point> = OnceLock::new();
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Reads the point from the environment; call this before any block is played.
pub fn arm() {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    let Some((name, count)) = text.split_once('#') else {
        return;
    };
    let point = POINTS.iter().find(|(known, _)| *known == name);
    if let (Some((_, point)), Ok(count)) = (point, count.parse()) {
        LEFT.store(count, Ordering::Relaxed);
        let _ = PLACE.set(*point);
    }
}

/// Kills the process at its point.
///
/// # Real-time
/// Yes.
pub fn pass(point: Point) {
    if PLACE.get() == Some(&point) && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        harm::inflict(Fault::Signal(SIGKILL));
    }
}

/// The first fatal fault; later ones are ignored.
static DEADLY: OnceLock<Fault> = OnceLock::new();
static SLOW_US: AtomicU32 = AtomicU32::new(0);

/// Accepts a fault. Faults in samples (NaN, a flipped bit) are only valid for a worker.
pub fn request(fault: Fault) {
    match fault {
        Fault::Segv | Fault::Abort | Fault::Panic | Fault::Hang | Fault::Exit(_) => {
            let _ = DEADLY.set(fault);
        }
        Fault::Slow(us) => SLOW_US.store(us, Ordering::Relaxed),
        Fault::Oom => harm::inflict(fault),
        Fault::Nan | Fault::Flip | Fault::Signal(_) | Fault::MuteControl | Fault::DropControl => {}
    }
}

/// Executes the requested fault, before a block is taken.
///
/// # Real-time
/// Yes, without a requested fault.
pub fn act() {
    if let Some(fault) = DEADLY.get() {
        harm::inflict(*fault);
        loop {
            std::hint::spin_loop();
        }
    }
    let slow_us = SLOW_US.load(Ordering::Relaxed);
    if slow_us > 0 {
        let until = Instant::now() + Duration::from_micros(slow_us.into());
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}
