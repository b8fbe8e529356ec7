//! Faults on request: what the control thread is told to do to this worker's render thread.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use common::message::Fault;
use platform::harm;

/// The faults under way; written by the control thread, acted out by the render thread.
#[derive(Default)]
pub struct Faults {
    deadly: AtomicU32,
    exit_code: AtomicI32,
    slow_us: AtomicU32,
    nan: AtomicU32,
    flip: AtomicU32,
}

const SEGV: u32 = 1;
const ABORT: u32 = 2;
const PANIC: u32 = 3;
const HANG: u32 = 4;
const EXIT: u32 = 5;

impl Faults {
    /// Takes in a fault; the ones that are not the render thread's are the caller's.
    pub fn request(&self, fault: Fault) {
        let deadly = |kind| self.deadly.store(kind, Ordering::Release);
        match fault {
            Fault::Segv => deadly(SEGV),
            Fault::Abort => deadly(ABORT),
            Fault::Panic => deadly(PANIC),
            Fault::Hang => deadly(HANG),
            Fault::Exit(code) => {
                self.exit_code.store(code, Ordering::Relaxed);
                deadly(EXIT);
            }
            Fault::Slow(us) => self.slow_us.store(us, Ordering::Relaxed),
            Fault::Nan => self.nan.store(1, Ordering::Relaxed),
            Fault::Flip => self.flip.store(1, Ordering::Relaxed),
            Fault::Oom => harm::out_of_memory(),
            Fault::Signal(_) | Fault::MuteControl | Fault::DropControl => {}
        }
    }

    /// Acts out what was requested, on a block just rendered.
    ///
    /// # Real-time
    /// Yes, as long as nothing was requested.
    pub fn act(&self, samples: &mut [f32]) {
        match self.deadly.load(Ordering::Acquire) {
            0 => {}
            SEGV => harm::segmentation_fault(),
            ABORT => std::process::abort(),
            PANIC => panic!("injected: a panic in the render thread"),
            EXIT => harm::exit_now(self.exit_code.load(Ordering::Relaxed)),
            _ => loop {
                std::hint::spin_loop();
            },
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
