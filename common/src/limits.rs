//! Every bound of the program, each with the consequence that fixes it.

use crate::units::BlockIndex;

/// Frames in a block, at the least; below this the hand-over between processes costs more than the sound.
pub const BLOCK_FRAMES_MIN: u32 = 16;
/// Frames in a block, at the most; above this one block is a delay that a player feels.
pub const BLOCK_FRAMES_MAX: u32 = 2048;
/// Channels of sound, at the most.
pub const CHANNELS_MAX: u32 = 32;
/// Sample rates that devices offer, in hertz.
pub const RATE_HZ_MIN: u32 = 8_000;
/// See [`RATE_HZ_MIN`].
pub const RATE_HZ_MAX: u32 = 192_000;
/// Blocks that workers may be ahead of the play cursor, at the most, a device's burst included.
pub const AHEAD_BLOCKS_MAX: u64 = small_under_loom(128, 2);
/// The largest `--lead`; the rest of [`AHEAD_BLOCKS_MAX`] is for devices that ask for much at once.
pub const LEAD_BLOCKS_MAX: u64 = small_under_loom(64, 1);
/// The longest that `--lead auto` grows to where nothing else was asked for, in milliseconds: a player
/// still plays with it.
pub const LEAD_MAX_MS: u32 = 32;
/// Cells in a ring: what lies ahead, and as much history to prove a standby by.
pub const RING_CELLS: u64 = small_under_loom(256, 4);
/// Decision words: the longest way back from which a standby can catch up without the log.
/// At 375 blocks a second, 43 s.
pub const DECISIONS: u64 = small_under_loom(16_384, 32);
/// The follower copies the arena each time this many blocks have passed (43 ms at 48 kHz, 128):
/// a replacement renders at most so many blocks again.
pub const CHECKPOINT_BLOCKS: u64 = 16;
/// A leader without a follower writes a checkpoint itself after this many blocks, so that the way
/// back stays well inside [`DECISIONS`].
pub const LONE_CHECKPOINT_BLOCKS: u64 = small_under_loom(1_024, 1);
/// Bytes of module state that a checkpoint can hold.
pub const ARENA_BYTES_MAX: u64 = small_under_loom(17 << 20, 16);
/// A sample beyond this, +36 dB above full scale, is no music: it is a fault, and is not played.
pub const SANE_LEVEL: f32 = 64.0;
/// The look-ahead of the safety stage, in microseconds: all sound leaves the engine that much later, so an
/// event at a frame is heard that much after it.
pub const SAFETY_DELAY_US: u32 = 1_500;
/// Blocks in a row whose checksums must equal before a standby counts as ready.
pub const PROOF_BLOCKS: u64 = 8;
/// Commands that may wait between a worker's two threads; what does not fit stays in the log.
pub const COMMAND_QUEUE: usize = 4_096;
/// Commands in quarantine that the stage knows: more than a worker can have before it.
pub const QUARANTINE_KEPT: usize = 64;
/// Commands in one ipc-channel message: keeps it far below the 64 KiB at which it is fragmented.
pub const COMMANDS_PER_MESSAGE: usize = 512;
/// Modules in a patch, at the most: their numbers and states must fit events and checkpoints, their costs
/// the stage.
pub const MODULES_MAX: usize = small_under_loom(4_000, 1) as usize;
/// Bytes of a patch's JSON text, so that it fits a question at the control socket.
pub const PATCH_BYTES_MAX: usize = 192 * 1024;
/// Bytes of a recording's samples, 32 bits each, at its own rate and at the stack's: 5.8 minutes of
/// stereo that was converted to 48 kHz. A replacement reads all of a patch's before it can begin.
pub const SAMPLE_BYTES_MAX: usize = 256 << 20;
/// Switches, and replacements, that are kept for `status`: some minutes of the wildest storm.
pub const NOTES_KEPT: usize = small_under_loom(256, 1) as usize;
/// Seconds of sound that stay on the tape for the recorder: the longest pause before a failing process
/// is started again is 5 s, to find that one hangs takes 2 s, a disk may be busy for some more.
pub const TAPE_SECONDS: u32 = 16;
/// Bytes of tape, at the most: audio-out holds all of it in memory. 16 s of stereo at 48 kHz take 6 MB;
/// 32 channels at 192 kHz get 2.7 s.
pub const TAPE_BYTES_MAX: usize = 64 << 20;
/// Bytes of text in one ipc-channel message: keeps it below the 64 KiB at which it is fragmented.
pub const TEXT_BYTES_PER_MESSAGE: usize = 32 * 1024;
/// Bytes of a datagram that the gateway will look at.
pub const DATAGRAM_BYTES_MAX: usize = 8 * 1024;
/// Depth of bundles in bundles, and of arrays in arrays.
pub const OSC_DEPTH_MAX: usize = 8;

/// The bound, or its stand-in where loom goes through all interleavings: each word costs it memory in
/// every one of them.
const fn small_under_loom(bound: u64, under_loom: u64) -> u64 {
    if cfg!(loom) { under_loom } else { bound }
}

/// [`SAFETY_DELAY_US`] in frames: 72 at 48 kHz.
#[must_use]
pub const fn safety_delay_frames(rate_hz: u32) -> u32 {
    (rate_hz as u64 * SAFETY_DELAY_US as u64 / 1_000_000) as u32
}

/// Whether all samples can be sound: finite and not beyond [`SANE_LEVEL`].
///
/// # Real-time
/// Yes; linear in the samples.
#[must_use]
pub fn sane(samples: &[f32]) -> bool {
    // No way out half-way, so that it runs in lanes; NaN is not below anything.
    samples
        .iter()
        .fold(true, |sane, sample| sane & (sample.abs() <= SANE_LEVEL))
}

const _: () = assert!(RING_CELLS >= 2 * AHEAD_BLOCKS_MAX);
const _: () = assert!(LEAD_BLOCKS_MAX < AHEAD_BLOCKS_MAX);
const _: () = assert!(DECISIONS > 4 * (LONE_CHECKPOINT_BLOCKS + RING_CELLS));
const _: () = assert!(RING_CELLS.is_power_of_two() && DECISIONS.is_power_of_two());

/// The cell or word of a block in an array of `length`, a power of two.
#[must_use]
pub const fn place(block: BlockIndex, length: u64) -> usize {
    (block.0 & (length - 1)) as usize
}
