//! Commands to the music, with modules and parameters as numbers instead of names.
//!
//! An [`Event`] is small and `Copy`: it crosses to the render thread by value. A [`Command`] is what the
//! command log stores and every worker receives: an event, an edit, a preset or a whole patch.

use serde::{Deserialize, Serialize};

use crate::{edit::Drafted, preset::SavedPreset, units::FrameIndex};

/// One change of the running patch. It takes effect at the start of a block, or at the frame of [`Command::At`].
///
/// Numbers refer to the patch in force: a module's index in the patch, a parameter's index in the
/// description of the module's type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Sets a parameter; the engine smooths the change.
    Param {
        /// The module's index in the patch.
        module: u16,
        /// The parameter's index in the module's type.
        param: u16,
        /// The new value, finite and in the parameter's range, in its unit.
        value: f32,
    },
    /// Opens or closes a module's gate.
    Gate {
        /// The module's index in the patch.
        module: u16,
        /// 0: closed; above 0, up to 1: open, with this velocity.
        level: f32,
    },
    /// Starts the engine (`true`), or fades it out and keeps it silent (`false`).
    Run(bool),
    /// Bypasses a module that has killed a worker: its first input goes straight to its outputs. The next
    /// patch uses it again.
    Bypass(u16),
    /// Ramps a parameter to a value within a given time.
    Ramp {
        /// The module's index in the patch.
        module: u16,
        /// The parameter's index in the module's type.
        param: u16,
        /// The target value, finite and in the parameter's range, in its unit.
        value: f32,
        /// Duration in milliseconds, 0 to [`RAMP_MS_MAX`].
        ms: f32,
    },
    /// Begins or ends a note.
    Note {
        /// The index in the patch of the module that gives the note a voice.
        module: u16,
        /// The note number, not necessarily whole: 60 is C4, 61 a semitone above.
        pitch: f32,
        /// 0 ends the note of this pitch; above 0, up to 1, begins one.
        velocity: f32,
        /// Frames after which the note ends; 0: never.
        frames: u32,
    },
    /// Changes a sounding note, or all notes of a module.
    Express {
        /// The module's index in the patch.
        module: u16,
        /// The pitch with which the note was begun; below 0: all notes.
        pitch: f32,
        /// The dimension to change.
        what: Expression,
        /// Semitones for a bend; otherwise 0 to 1.
        value: f32,
    },
    /// Controls a sequence of the patch.
    Sequence {
        /// The sequence's index in the patch.
        sequence: u16,
        /// The action.
        control: SequenceControl,
    },
    /// Restarts all sequences at the same frame.
    ResetSequences,
    /// Silences everything at once: gates close, notes end, tails are cut. Sequences play on and parameters
    /// keep their values.
    Silence,
    /// Sets the position in the song: an external clock drives every playing sequence.
    Clock {
        /// The clock tick at this frame, 24 per beat, counted from the beginning of the song.
        ticks: u32,
        /// The tempo in beats per minute from here on. 0: nothing beyond this tick plays until the next tick comes.
        bpm: f32,
        /// Whether every sequence starts here, including stopped ones.
        begin: bool,
    },
}

impl Event {
    /// The module that the event addresses, if any.
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

    /// The same event for another module.
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

/// The longest ramp, in milliseconds: an hour.
pub const RAMP_MS_MAX: f32 = 3_600_000.0;

/// The dimensions of a sounding note: those of MIDI Polyphonic Expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expression {
    /// Pitch, in semitones relative to the pitch with which the note was begun.
    Bend,
    /// Pressure on the key, 0 to 1.
    Pressure,
    /// MIDI controller 74, 0 to 1.
    Timbre,
}

/// What an event can do to a sequence, at any frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SequenceControl {
    /// Continue from the present step.
    Start,
    /// Stop; a sounding note ends.
    Stop,
    /// Go back to the first step; a stopped sequence stays stopped.
    Reset,
    /// Set the tempo in beats per minute, from the next step on.
    Bpm(f32),
    /// Set how long a gate stays open, as a fraction of its step: above 0, up to 1.
    GateLength(f32),
    /// Start at the first step with the next bar of the playing sequences, or at once if none plays.
    Join,
}

/// One accepted command: the command log stores it, and every worker receives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// An event, as soon as possible.
    Event(Event),
    /// Puts a patch in force: the JSON text of a patch file, already checked.
    Patch(String),
    /// An event at a frame; at once if the frame has passed.
    At {
        /// The frame, from 0 for the life of the instance.
        frame: FrameIndex,
        /// The event.
        event: Event,
    },
    /// A change of the collected edits, which wait for their commit; no change of the sound.
    Draft(Drafted),
    /// As [`Command::Patch`], but modules that stay keep the values of their parameters: the patch in force
    /// after edits.
    Edited(String),
    /// Saves a preset of a module for the patch in force; no change of the sound.
    SavePreset(SavedPreset),
}

impl Command {
    /// The text of the patch that the command puts in force, if any.
    #[must_use]
    pub fn patch(&self) -> Option<&str> {
        match self {
            Self::Patch(json) | Self::Edited(json) => Some(json),
            Self::Event(_) | Self::At { .. } | Self::Draft(_) | Self::SavePreset(_) => None,
        }
    }
}
