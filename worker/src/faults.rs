//! Injected faults: the control thread requests them, the render thread performs them.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use common::message::Fault;
use platform::harm;

/// The requested faults. The control thread writes them; the render thread performs them.
#[derive(Default)]
pub struct Faults {
    /// The first requested fault that crashes, ends or hangs the worker; later ones are ignored.
    deadly: OnceLock<Fault>,
    slow_us: AtomicU32,
    nan: AtomicU32,
    flip: AtomicU32,
}

impl Faults {
    /// Accepts a fault. Exhausts the memory at once; ignores faults that are not performed inside
    /// the worker or that the control thread performs itself.
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

    /// Performs the requested faults on a block that was just rendered.
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
