//! `midi_in`: where a keyboard will come in: pitch, gate and velocity, a channel a voice.
//!
//! A pitch of 0 is C4, note 60, 261.626 Hz; 1 is an octave. An oscillator whose `freq` is 261.626 Hz
//! plays it at its input of that name. There are no events of notes yet: until then all channels play
//! the parameter `note`, and `/gate/ID` opens the gates of all of them; its height is the velocity.
//! A gate that is opened again while it is open is closed for one frame, so that whoever listens
//! begins anew.

use super::linear;
use crate::{
    catalog::{ModuleType, Param, Scale},
    lanes::Lanes,
    module::{Io, Module, Outs, State},
};

pub struct MidiIn;

/// How far the gate was open before.
const GATE: usize = 0;
const VELOCITY: usize = 1;

impl Module for MidiIn {
    const TYPE: ModuleType = ModuleType {
        name: "midi_in",
        help: "pitch, gate and velocity of the voices of a keyboard",
        inputs: &[],
        outputs: &["pitch", "gate", "velocity"],
        params: &[Param {
            scale: Scale::Stepped,
            ..linear("note", "", [0.0, 60.0, 127.0], "note number; 60 is C4")
        }],
        takes_gate: true,
        takes_sample: false,
    };
    const CELLS: usize = 2;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let note = io.param(0);
        let (middle, octave) = (io.splat(60.0), io.splat(12.0));
        match note.still() {
            Some(note) => outs.hold(0, (note - middle) / octave),
            None => outs.write(
                0,
                #[inline(always)]
                |frame| (note.at(frame) - middle) / octave,
            ),
        }
        let zero = io.splat(0.0);
        let level = io.splat(io.gate.level);
        let again = io.gate.opened && state.number(GATE, 0) > 0.0;
        if again {
            outs.write(
                1,
                #[inline(always)]
                |frame| if frame == 0 { zero } else { level },
            );
        } else {
            outs.hold(1, level);
        }
        let velocity = L::select(zero.lt(level), level, state.get(VELOCITY));
        outs.hold(2, velocity);
        state.set(GATE, level);
        state.set_calm(VELOCITY, velocity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn a_note_is_its_pitch_in_octaves_from_c4() {
        for (note, pitch) in [(60.0, 0.0), (69.0, 0.75), (48.0, -1.0), (0.0, -5.0)] {
            let mut keys = Bench::poly::<MidiIn>(&[("note", note)], 4);
            let heard = keys.run(10, &[]);
            assert!(heard[..4].iter().all(|voice| *voice == [pitch; 10]));
        }
        // A4 is 440 Hz.
        assert!((261.625_57 * libm::exp2(0.75) - 440.0).abs() < 1e-3);
    }

    #[test]
    fn its_gate_opens_all_voices_and_its_height_is_the_velocity() {
        let mut keys = Bench::poly::<MidiIn>(&[], 2);
        assert!(keys.run(5, &[])[2..].iter().all(|x| *x == [0.0; 5]));
        keys.gate(0.5);
        assert!(keys.run(5, &[])[2..].iter().all(|x| *x == [0.5; 5]));
        // Again while it is open.
        keys.gate(0.75);
        let heard = keys.run(3, &[]);
        assert!(heard[2..4].iter().all(|x| *x == [0.0, 0.75, 0.75]));
        keys.gate(0.0);
        let heard = keys.run(3, &[]);
        assert!(heard[2..4].iter().all(|x| *x == [0.0; 3]));
        assert!(heard[4..].iter().all(|x| *x == [0.75; 3]));
    }
}
