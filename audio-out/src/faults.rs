//! Faults on request: what the control thread is told to do to the thread that plays.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use common::message::Fault;
use platform::harm;

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
