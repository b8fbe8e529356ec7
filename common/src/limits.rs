//! Every bound of the program, with the consequence that fixes its value.

use crate::units::BlockIndex;

/// Fewest frames in a block; below this the hand-over between processes costs more than the sound.
pub const BLOCK_FRAMES_MIN: u32 = 16;
/// Most frames in a block; above this a player feels the delay of one block.
pub const BLOCK_FRAMES_MAX: u32 = 2048;
/// Most channels of sound.
pub const CHANNELS_MAX: u32 = 32;
/// The lowest sample rate that devices offer, in hertz.
pub const RATE_HZ_MIN: u32 = 8_000;
/// The highest sample rate that devices offer, in hertz.
pub const RATE_HZ_MAX: u32 = 192_000;
/// Blocks that workers may be ahead of the play cursor, at most, including a device's burst.
pub const AHEAD_BLOCKS_MAX: u64 = small_under_loom(128, 2);
/// The largest `--lead`. The rest of [`AHEAD_BLOCKS_MAX`] is for devices that take many blocks at once.
pub const LEAD_BLOCKS_MAX: u64 = small_under_loom(64, 1);
/// Default upper limit of `--lead auto`, in milliseconds: music can still be played live with this delay.
pub const LEAD_MAX_MS: u32 = 32;
/// Cells in a ring: the blocks ahead of the play cursor, and as many played ones against which a follower
/// proves itself.
pub const RING_CELLS: u64 = small_under_loom(256, 4);
/// Decision words: how far back a replacement may start and still catch up without the command log. 43 s at
/// 375 blocks a second.
pub const DECISIONS: u64 = small_under_loom(16_384, 32);
/// Blocks between two checkpoints of the follower (43 ms at 48 kHz and 128 frames): a replacement renders
/// at most this many blocks again.
pub const CHECKPOINT_BLOCKS: u64 = 16;
/// A leader without a follower writes a checkpoint after this many blocks, so that a catch-up stays well
/// within [`DECISIONS`].
pub const LONE_CHECKPOINT_BLOCKS: u64 = small_under_loom(1_024, 1);
/// Bytes of an arena that a checkpoint can hold.
pub const ARENA_BYTES_MAX: u64 = small_under_loom(17 << 20, 16);
/// The highest level of a valid sample: +36 dB above full scale. A block with a louder sample is a fault
/// and is not played.
pub const SANE_LEVEL: f32 = 64.0;
/// Look-ahead of the safety stage, in microseconds. The engine delays all sound by this, so an event at a
/// frame is heard this much later.
pub const SAFETY_DELAY_US: u32 = 1_500;
/// Blocks in a row with equal checksums after which a worker is proven.
pub const PROOF_BLOCKS: u64 = 8;
/// Commands that fit between the two threads of a worker. The others stay in the log until there is room.
pub const COMMAND_QUEUE: usize = 4_096;
/// Quarantined commands that the stage holds: more than a worker can still have to apply.
pub const QUARANTINE_KEPT: usize = 64;
/// Commands in one ipc-channel message: keeps a message far below 64 KiB, at which it would be fragmented.
pub const COMMANDS_PER_MESSAGE: usize = 512;
/// Most modules in a patch: their numbers must fit events, their states checkpoints, their costs the stage.
pub const MODULES_MAX: usize = small_under_loom(4_000, 1) as usize;
/// Bytes of a patch's JSON text: it must fit one request at the control socket.
pub const PATCH_BYTES_MAX: usize = 192 * 1024;
/// Bytes of a recording's samples, 32 bits each, at its own rate and at the stack's: 5.8 minutes of stereo
/// that was converted to 48 kHz. A replacement reads all recordings of a patch before it can begin.
pub const SAMPLE_BYTES_MAX: usize = 256 << 20;
/// Switches, and replacements, that `status` keeps: several minutes of the fastest series of faults.
pub const NOTES_KEPT: usize = small_under_loom(256, 1) as usize;
/// Seconds of sound that the tape keeps for the recorder. A failing process is started again after at most
/// 5 s, detecting that it hangs takes 2 s, and a disk may be busy for several more.
pub const TAPE_SECONDS: u32 = 16;
/// Most bytes of tape: audio-out holds all of it in memory. 16 s of stereo at 48 kHz take 6 MB; 32 channels
/// at 192 kHz get 2.7 s.
pub const TAPE_BYTES_MAX: usize = 64 << 20;
/// Bytes of text in one ipc-channel message: keeps a message below 64 KiB, at which it would be fragmented.
pub const TEXT_BYTES_PER_MESSAGE: usize = 32 * 1024;
/// Bytes of a datagram that the gateway reads.
pub const DATAGRAM_BYTES_MAX: usize = 8 * 1024;
/// Most levels of bundles within bundles, and of arrays within arrays.
pub const OSC_DEPTH_MAX: usize = 8;

/// The bound, or a smaller one under loom: loom needs memory for each word in every interleaving that it explores.
const fn small_under_loom(bound: u64, under_loom: u64) -> u64 {
    if cfg!(loom) { under_loom } else { bound }
}

/// [`SAFETY_DELAY_US`] in frames: 72 at 48 kHz.
#[must_use]
pub const fn safety_delay_frames(rate_hz: u32) -> u32 {
    (rate_hz as u64 * SAFETY_DELAY_US as u64 / 1_000_000) as u32
}

/// Whether all samples are valid: finite, and within [`SANE_LEVEL`].
///
/// # Real-time
/// Yes; linear in the samples.
#[must_use]
pub fn sane(samples: &[f32]) -> bool {
    // No early exit, so that the loop is vectorised. A comparison with NaN is false.
    samples
        .iter()
        .fold(true, |sane, sample| sane & (sample.abs() <= SANE_LEVEL))
}

const _: () = assert!(RING_CELLS >= 2 * AHEAD_BLOCKS_MAX);
const _: () = assert!(LEAD_BLOCKS_MAX < AHEAD_BLOCKS_MAX);
const _: () = assert!(DECISIONS > 4 * (LONE_CHECKPOINT_BLOCKS + RING_CELLS));
const _: () = assert!(RING_CELLS.is_power_of_two() && DECISIONS.is_power_of_two());

/// The index of a block's cell or word in an array of `length` elements, a power of two.
#[must_use]
pub const fn place(block: BlockIndex, length: u64) -> usize {
    (block.0 & (length - 1)) as usize
}
