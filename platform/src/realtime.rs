//! The one choke point of real-time code: priority, floating-point mode, clocks, and the check for allocations.
//!
//! A real-time thread asks for its priority and flushes denormals once. [`section`] then runs each piece of its work;
//! in debug and test builds, an allocation in it ends the process.

use std::time::Duration;

use common::{
    stage::Stage,
    time_tag::{self, Timing},
    units::FrameIndex,
};

#[cfg(debug_assertions)]
pub use assert_no_alloc::AllocDisabler;

/// What the operating system granted a real-time thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Real-time priority was granted.
    pub priority: bool,
    /// Memory is locked.
    pub locked: bool,
}

impl Granted {
    /// The bits that a worker publishes on the stage.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.priority) | u64::from(self.locked) << 1
    }
}

/// A thread with real-time priority that runs for so long without a pause spins: the kernel ends its process with
/// SIGXCPU (`RLIMIT_RTTIME`, set by [`crate::limits::check`]). Well above what the supervisor waits for, where it gets to run.
pub const SPINS_MAX: Duration = Duration::from_secs(1);
/// A real-time thread that has work for longer than this pauses for [`PAUSE`].
pub const PAUSES_AFTER: Duration = Duration::from_millis(100);
/// The shortest pause that the kernel sees: a sleep of 1 µs is over before the thread has left its processor.
pub const PAUSE: Duration = Duration::from_micros(50);

/// The environment variable that keeps a stack from asking for real-time priority, for measurements.
pub const NO_REALTIME: &str = "UNDERSTUDY_NO_REALTIME";

/// Asks for real-time priority for the calling thread; returns whether it was granted. `level`, 1 to 10, orders the
/// stack's threads among each other; 10 is highest.
#[must_use]
pub fn ask_priority(level: i32) -> bool {
    if std::env::var_os(NO_REALTIME).is_some() {
        return false;
    }
    let parameters = libc::sched_param {
        sched_priority: 10 + level,
    };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: a plain system call on the calling thread with a live parameter block.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

/// Whether a thread of this process would be granted real-time priority. The calling thread's priority does not
/// change.
#[must_use]
pub fn priority_available() -> bool {
    let asked = std::thread::Builder::new().spawn(|| ask_priority(1));
    asked.is_ok_and(|thread| thread.join().unwrap_or(false))
}

/// The machine's monotonic clock, the same for all processes, in nanoseconds.
///
/// # Real-time
/// Yes: it is read without a system call.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The wall clock, as an NTP timestamp.
///
/// # Real-time
/// Yes: it is read without a system call.
#[must_use]
pub fn ntp_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    time_tag::ntp(since.as_secs(), since.subsec_nanos())
}

/// How many times a pair of clocks is read to find the reading with the least delay.
const READINGS: usize = 4;

/// The monotonic clock, in the units of NTP timestamps.
///
/// # Real-time
/// Yes: it is read without a system call.
#[must_use]
pub fn monotonic_ntp() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let fraction = (now.tv_nsec.unsigned_abs() << 32) / 1_000_000_000;
    now.tv_sec.unsigned_abs() << 32 | fraction
}

/// How far the wall clock is ahead of the monotonic clock, as an NTP timestamp. Of several readings, the one with the
/// shortest time between the two clocks counts.
///
/// # Real-time
/// Yes: a few readings without a system call.
#[must_use]
pub fn wall_ahead() -> u64 {
    let reading = || {
        let (before, wall, after) = (monotonic_ntp(), ntp_now(), monotonic_ntp());
        let took = after.wrapping_sub(before);
        (took, wall.wrapping_sub(before.wrapping_add(took / 2)))
    };
    let (_, ahead) = (1..READINGS).fold(reading(), |best, _| best.min(reading()));
    ahead
}

/// As [`wall_ahead`], plus the offset by which a test has set the instance's wall clock.
///
/// # Real-time
/// Yes; as [`wall_ahead`].
#[must_use]
pub fn wall_ahead_of(stage: &Stage<'_>) -> u64 {
    wall_ahead().wrapping_add(stage.clock_set_by())
}

/// How time tags map to frames at present. `None` until audio-out has set the time origin; always `None` in
/// freewheel. A wall clock that has just been set counts at once, whether or not audio-out has noticed the change.
///
/// # Real-time
/// Yes: a few readings without a system call.
#[must_use]
pub fn timing(stage: &Stage<'_>) -> Option<Timing> {
    let origin = Some(stage.time_origin()).filter(|origin| *origin != 0)?;
    let (told, found) = (stage.wall(), wall_ahead_of(stage));
    let ahead = if time_tag::is_set(told, found) {
        found
    } else {
        told
    };
    let format = stage.format();
    let near = stage.cursor().0.saturating_mul(format.block_frames.into());
    Some(Timing::new(
        origin.wrapping_add(ahead),
        FrameIndex(near),
        format.rate_hz,
    ))
}

/// Sets flush-to-zero and denormals-are-zero for the calling thread. A thread inherits the mode of the thread that
/// starts it, so each thread that renders sets its own.
pub fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        let mut control: u32 = 0;
        // SAFETY: stores and loads MXCSR through a live local; setting FTZ (bit 15) and DAZ
        // (bit 6) is valid on every x86-64 processor.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack));
            control |= 1 << 15 | 1 << 6;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack));
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let mut control: u64;
        // SAFETY: reads and writes FPCR; FZ (bit 24) is valid on every AArch64 processor.
        unsafe {
            std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack));
            control |= 1 << 24;
            std::arch::asm!("msr fpcr, {}", in(reg) control, options(nomem, nostack));
        }
    }
}

/// Runs a piece of real-time work: in debug and test builds an allocation in it ends the process
/// (where the program has [`AllocDisabler`] as its global allocator).
pub fn section<T>(work: impl FnOnce() -> T) -> T {
    assert_no_alloc::assert_no_alloc(work)
}
