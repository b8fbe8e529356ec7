//! Faults on request: what the control thread is told to do to this worker's render thread.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use common::message::Fault;
use platform::harm;

/// The faults under way; written by the control thread, acted out by the render thread.
#[derive(Default)]
pub struct Faults {
    /// The first deadly one; there is no second.
    deadly: OnceLock<Fault>,
    slow_us: AtomicU32,
    nan: AtomicU32,
    flip: AtomicU32,
}

impl Faults {
    /// Takes in a fault; the ones that are not the render thread's are the caller's.
    pub fn request(&self, fault: Fault) {
        match fault {
            Fault::Segv | Fault::Abort | Fault::Panic | Fault::Hang | Fault::Exit(_) => {
                let _ = self.deadly.set(fault);
            }
            Fault::Slow(us) => self.slow_us.store(us, Ordering::Relaxed),
            Fault::Nan => self.nan.store(1, Ordering::Relaxed),
            Fault::Flip => self.flip.store(1, Ordering::Relaxed),
            Fault::Oom => harm::inflict(fault),
            Fault::Signal(_) | Fault::MuteControl | Fault::DropControl => {}
        }
    }

    /// Acts out what was requested, on a block just rendered.
    ///
    /// # Real-time
    /// Yes, as long as nothing was requested.
    pub fn act(&self, samples: &mut [f32]) {
        if let Some(fault) = self.deadly.get() {
            harm::inflict(*fault);
            loop {
                std::hint::spin_loop();
            }
        }
        let slow_us = self.slow_us.load(Ordering::Relaxed);
        if slow_us > 0 {
            let start = std::time::Instant::now();
            while start.elapsed().as_micros() < u128::from(slow_us) {
                std::hint::spin_loop();
            }
        }
        if self.nan.load(Ordering::Relaxed) != 0 {
            samples.fill(f32::NAN);
        }
        if self.flip.swap(0, Ordering::Relaxed) != 0
            && let Some(sample) = samples.first_mut()
        {
            *sample = f32::from_bits(sample.to_bits() ^ 1);
        }
    }
}
