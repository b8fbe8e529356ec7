//! Faults on request: what the control thread is told to do to the thread that plays.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::message::{Fault, SIGKILL};
use platform::harm;

/// The variable that names a place, as `POINT#N`: each life is killed there when it passes for the nth time. For
/// tests; points are `taken`, `taped`, `written`, `noted`.
const VARIABLE: &str = "UNDERSTUDY_AUDIO_FAILPOINT";

/// A place on the way of a block to tape and file.
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

/// Where this life ends, and how many times it still passes there.
static PLACE: OnceLock<Point> = OnceLock::new();
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Reads where this life is to end; call it before anything is played.
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

/// Ends the process where it was to end.
///
/// # Real-time
/// Yes.
pub fn pass(point: Point) {
    if PLACE.get() == Some(&point) && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        harm::inflict(Fault::Signal(SIGKILL));
    }
}

/// The first deadly one; there is no second.
static DEADLY: OnceLock<Fault> = OnceLock::new();
static SLOW_US: AtomicU32 = AtomicU32::new(0);

/// Takes in a fault. What goes wrong in samples (NaN, a flipped bit) is a worker's.
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

/// Acts out what was requested, before a block is taken.
///
/// # Real-time
/// Yes, as long as nothing was requested.
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
