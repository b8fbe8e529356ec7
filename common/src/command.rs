//! What a user may ask of the music, after names have become numbers.
//!
//! An `Event` is small and `Copy`, so that it crosses into the render thread by value. A `Command`
//! is what the log keeps and what is broadcast to every worker: an event, or a whole patch.

use serde::{Deserialize, Serialize};

use crate::{edit::Drafted, preset::SavedPreset, units::FrameIndex};

/// One change to the running graph, applied at the start of a block.
///
/// Modules and parameters are numbered by the patch in force: a module by its place in the patch,
/// a parameter by its place in the description of the module's type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Set a parameter; the engine smooths it.
    Param {
        /// Place of the module in the patch.
        module: u16,
        /// Place of the parameter in the module's type.
        param: u16,
        /// The new value, finite and in the parameter's range, in its unit.
        value: f32,
    },
    /// Open or close a module's gate.
    Gate {
        /// Place of the module in the patch.
        module: u16,
        /// 0 is off; above 0, up to 1, is on with that velocity.
        level: f32,
    },
    /// Let the engine play (`true`) or fade it out and keep it silent (`false`).
    Run(bool),
    /// Leave a module out from now on, since a worker has died of it: its first input goes straight
    /// to its outputs. The next patch tries it again.
    Bypass(u16),
    /// Let a parameter glide to a value in a time of its own.
    Ramp {
        /// Place of the module in the patch.
        module: u16,
        /// Place of the parameter in the module's type.
        param: u16,
        /// Where it goes, finite and in the parameter's range, in its unit.
        value: f32,
        /// How long it takes, in milliseconds, from 0 up to [`RAMP_MS_MAX`].
        ms: f32,
    },
    /// Play a note, or end one.
    Note {
        /// Place in the patch of the module that gives it a voice.
        module: u16,
        /// A note number, not always a whole one: 60 is C4, 61 a semitone above.
        pitch: f32,
        /// 0 ends the note of that pitch; above 0, up to 1, begins one.
        velocity: f32,
        /// After so many frames it ends by itself; 0 is never.
        frames: u32,
    },
    /// Change a note that sounds, or all of a module's.
    Express {
        /// Place of the module in the patch.
        module: u16,
        /// The pitch that the note was begun with; below 0 is all of them.
        pitch: f32,
        /// What of it.
        what: Expression,
        /// Semitones of bend; else 0 to 1.
        value: f32,
    },
    /// Start, stop or set a sequence of the patch.
    Sequence {
        /// Place of the sequence in the patch.
        sequence: u16,
        /// What to do.
        control: SequenceControl,
    },
    /// Every sequence begins anew, all at the same frame.
    ResetSequences,
    /// Silences everything at once: gates close, notes end, and nothing rings on. Sequences play on,
    /// parameters stay.
    Silence,
    /// Says where in the song this frame is: an external clock that leads every playing sequence.
    Clock {
        /// The number of the tick at this frame, 24 in a beat, from 0 for the beginning of the song.
        ticks: u32,
        /// Beats a minute from there on; 0: nothing beyond the tick plays until the next tick is heard.
        bpm: f32,
        /// Whether every sequence starts to play from there, even one that stands still.
        begin: bool,
    },
}

impl Event {
    /// The module that it is meant for, if it is meant for one.
    #[must_use]
    pub const fn module(&self) -> Option<u16> {
        match *self {
            Self::Param { module, .. }
            | Self::Gate { module, .. }
            | Self::Bypass(module)
            | Self::Ramp { module, .. }
            | Self::Note { module, .. }
            | Self::Express { module, .. } => Some(module),
            Self::Run(_)
            | Self::Sequence { .. }
            | Self::ResetSequences
            | Self::Silence
            | Self::Clock { .. } => None,
        }
    }

    /// The same, meant for another module.
    #[must_use]
    pub const fn of_module(mut self, number: u16) -> Self {
        match &mut self {
            Self::Param { module, .. }
            | Self::Gate { module, .. }
            | Self::Bypass(module)
            | Self::Ramp { module, .. }
            | Self::Note { module, .. }
            | Self::Express { module, .. } => *module = number,
            Self::Run(_)
            | Self::Sequence { .. }
            | Self::ResetSequences
            | Self::Silence
            | Self::Clock { .. } => {}
        }
        self
    }
}

/// How long a ramp takes, at the most: an hour.
pub const RAMP_MS_MAX: f32 = 3_600_000.0;

/// What can be changed of a note that sounds: the three dimensions of MIDI Polyphonic Expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expression {
    /// Its pitch, in semitones beside the one that it was begun with.
    Bend,
    /// How hard its key is held, 0 to 1.
    Pressure,
    /// MIDI's controller 74, 0 to 1.
    Timbre,
}

/// What can be done to a sequence at any frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SequenceControl {
    /// Go on, from the step where it stands.
    Start,
    /// Stand still; the note that sounds is ended.
    Stop,
    /// Begin anew with the first step.
    Reset,
    /// Beats a minute, from its next step on.
    Bpm(f32),
    /// How long a gate is open, as a part of its step, above 0 up to 1.
    GateLength(f32),
    /// Begin anew with the first step where the next bar of those that play begins; at once if none does.
    Join,
}

/// One accepted command: what the log keeps, what every worker receives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A small change to the running graph.
    Event(Event),
    /// Play this patch from now on: a patch file's JSON text, already found good.
    Patch(String),
    /// A small change at that very frame; if it has passed, at once.
    At {
        /// The frame, from 0 for the life of the instance.
        frame: FrameIndex,
        /// What to do.
        event: Event,
    },
    /// A change of the patch's structure that waits for its commit; it changes no sound.
    Draft(Drafted),
    /// As [`Command::Patch`], but modules that stay keep the values of their parameters: what has
    /// become of the patch in force by edits.
    Edited(String),
    /// A preset of a module, for the patch in force; it changes no sound.
    SavePreset(SavedPreset),
}

impl Command {
    /// The text of the patch that it puts in force, if it does.
    #[must_use]
    pub fn patch(&self) -> Option<&str> {
        match self {
            Self::Patch(json) | Self::Edited(json) => Some(json),
            Self::Event(_) | Self::At { .. } | Self::Draft(_) | Self::SavePreset(_) => None,
        }
    }
}
