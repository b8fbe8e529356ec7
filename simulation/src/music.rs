//! A stand-in for the engine. Every command and every block changes its state for ever, so that a command
//! that is missing, doubled or a block late is visible in all samples after it.

use common::units::{BlockIndex, Seq};

use crate::clock::mix;

/// Frames per block; there is one channel.
pub const BLOCK_FRAMES: u32 = 16;

/// What a command does to a worker that applies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// The command only changes the music.
    Good,
    /// The worker that applies it dies.
    CrashOnApply,
    /// The worker that applies it hangs.
    HangOnApply,
    /// The worker that renders the block in which it is new dies.
    CrashOnRender,
    /// The worker that renders the block this many blocks later dies, in [`BOMB_MODULE`].
    CrashLater(u64),
    /// The supervisor's own command: bypasses a module.
    Bypass(u16),
}

/// The module in which [`Nature::CrashLater`] kills.
pub const BOMB_MODULE: u16 = 1;
/// The module that kills from a certain block on, if the plan has such a block.
pub const FRAGILE_MODULE: u16 = 2;

/// A command in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// The submission id; 0 for the supervisor's own commands.
    pub submission_id: u64,
    /// The effect of the command.
    pub nature: Nature,
}

/// The whole state of the music.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    hash: u64,
    bomb_at: u64,
    bypassed: u64,
}

/// The outcome of rendering a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rendered {
    /// The samples.
    Sound([f32; BLOCK_FRAMES as usize]),
    /// The death of the worker, in this module.
    Death(u16),
}

impl State {
    /// Applies a command before `block`.
    pub fn apply(&mut self, seq: Seq, command: Command, block: BlockIndex) {
        self.hash = mix(self.hash ^ mix(seq.0 << 20 ^ command.submission_id));
        match command.nature {
            Nature::CrashLater(blocks) => self.bomb_at = block.0 + blocks,
            Nature::Bypass(module) => self.bypass(module),
            _ => {}
        }
    }

    /// Bypasses a module.
    pub fn bypass(&mut self, module: u16) {
        self.bypassed |= 1 << module;
    }

    /// Renders a block. From block `fragile_at` on, [`FRAGILE_MODULE`] kills.
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
