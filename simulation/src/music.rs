//! A stand-in for the engine: a state that every command and every block changes for ever, so that
//! a command left out, doubled or a block too late shows in all samples after it.

use common::units::{BlockIndex, Seq};

use crate::clock::mix;

/// Frames of a block; one channel.
pub const BLOCK_FRAMES: u32 = 16;

/// What a command does to whoever applies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It changes the music.
    Good,
    /// Whoever applies it dies.
    CrashOnApply,
    /// Whoever applies it hangs.
    HangOnApply,
    /// Whoever renders the block that it is new in dies.
    CrashOnRender,
    /// Whoever renders the block that lies so many blocks later dies, in [`BOMB_MODULE`].
    CrashLater(u64),
    /// The supervisor's: that module is bypassed from now on.
    Bypass(u16),
}

/// The module in which [`Nature::CrashLater`] goes off.
pub const BOMB_MODULE: u16 = 1;
/// The module that dies at a certain block, if a run has such a block.
pub const FRAGILE_MODULE: u16 = 2;

/// A command of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it was submitted under; 0 for the supervisor's own.
    pub submission_id: u64,
    /// What it does.
    pub nature: Nature,
}

/// All state of the music.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    hash: u64,
    bomb_at: u64,
    bypassed: u64,
}

/// How rendering a block ends for the one who renders it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rendered {
    /// With samples.
    Sound([f32; BLOCK_FRAMES as usize]),
    /// With its death, in that module.
    Death(u16),
}

impl State {
    /// Takes a command in before `block`.
    pub fn apply(&mut self, seq: Seq, command: Command, block: BlockIndex) {
        self.hash = mix(self.hash ^ mix(seq.0 << 20 ^ command.submission_id));
        match command.nature {
            Nature::CrashLater(blocks) => self.bomb_at = block.0 + blocks,
            Nature::Bypass(module) => self.bypass(module),
            _ => {}
        }
    }

    /// Leaves a module out.
    pub fn bypass(&mut self, module: u16) {
        self.bypassed |= 1 << module;
    }

    /// Renders a block. `fragile_at`: from that block on, [`FRAGILE_MODULE`] kills.
    pub fn render(&mut self, block: BlockIndex, fragile_at: Option<u64>) -> Rendered {
        let bypassed = |module: u16| self.bypassed & 1 << module != 0;
        if self.bomb_at != 0 && block.0 >= self.bomb_at && !bypassed(BOMB_MODULE) {
            return Rendered::Death(BOMB_MODULE);
        }
        if fragile_at.is_some_and(|at| block.0 >= at) && !bypassed(FRAGILE_MODULE) {
            return Rendered::Death(FRAGILE_MODULE);
        }
        self.hash = mix(self.hash ^ block.0);
        let mut samples = [0.0; BLOCK_FRAMES as usize];
        for (n, sample) in samples.iter_mut().enumerate() {
            let bits = mix(self.hash ^ n as u64) as u32 >> 9;
            *sample = bits as f32 / (1 << 23) as f32 - 0.5;
        }
        Rendered::Sound(samples)
    }
}
