//! `quantizer`: rounds a pitch to the nearest note of a scale.
//!
//! Pitches are in octaves, 0 is C. A pitch half-way between two notes is rounded up. `trigger` is 1 in each frame in
//! which the note changes.

use super::choice;
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    module::{Io, Module, Outs, State},
};

pub struct Quantizer;

const ROOTS: &[&str] = &[
    "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B",
];

const SCALES: &[&str] = &[
    "chromatic",
    "major",
    "minor",
    "harmonic_minor",
    "melodic_minor",
    "dorian",
    "phrygian",
    "lydian",
    "mixolydian",
    "locrian",
    "major_pentatonic",
    "minor_pentatonic",
    "blues",
    "whole_tone",
    "diminished",
    "major_triad",
    "minor_triad",
    "fifths",
    "octaves",
];

/// The semitones of each scale above its root.
const SEMITONES: [&[u8]; 19] = [
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    &[0, 2, 4, 5, 7, 9, 11],
    &[0, 2, 3, 5, 7, 8, 10],
    &[0, 2, 3, 5, 7, 8, 11],
    &[0, 2, 3, 5, 7, 9, 11],
    &[0, 2, 3, 5, 7, 9, 10],
    &[0, 1, 3, 5, 7, 8, 10],
    &[0, 2, 4, 6, 7, 9, 11],
    &[0, 2, 4, 5, 7, 9, 10],
    &[0, 1, 3, 5, 6, 8, 10],
    &[0, 2, 4, 7, 9],
    &[0, 3, 5, 7, 10],
    &[0, 3, 5, 6, 7, 10],
    &[0, 2, 4, 6, 8, 10],
    &[0, 2, 3, 5, 6, 8, 9, 11],
    &[0, 4, 7],
    &[0, 3, 7],
    &[0, 7],
    &[0],
];

const _: () = assert!(SEMITONES.len() == SCALES.len());

/// The last output note.
const NOTE: usize = 0;

impl Module for Quantizer {
    const TYPE: ModuleType = ModuleType {
        name: "quantizer",
        help: "rounds a pitch to the nearest note of a scale",
        inputs: &["in"],
        outputs: &["out", "trigger"],
        params: &[
            choice("scale", SCALES, "scale"),
            choice("root", ROOTS, "root note of the scale"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 1;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let scale = io.param(0).first().lane(0) as usize;
        let semitones = SEMITONES[scale.min(SEMITONES.len() - 1)];
        let root = io.param(1).first();
        let (zero, one, half) = (io.splat(0.0), io.splat(1.0), io.splat(0.5));
        let octave = io.splat(12.0);
        let nearest = inlined(
            #[inline(always)]
            |pitch: L| {
                let above = pitch * octave - root;
                let first = (above / octave).floor() * octave;
                let above = above - first;
                // From the last note of the octave below to the first note of the octave above.
                let mut note = io.splat(f32::from(semitones[semitones.len() - 1]) - 12.0);
                for next in semitones {
                    let next = io.splat(f32::from(*next));
                    note = L::select(((note + next) * half).le(above), next, note);
                }
                note = L::select(((note + octave) * half).le(above), octave, note);
                (first + note + root) / octave
            },
        );
        let mut before = state.get(NOTE);
        if let Some(pitch) = io.still(0) {
            let pitch = nearest(pitch);
            let another = L::select(before.lt(pitch) | pitch.lt(before), one, zero);
            outs.hold(0, pitch);
            outs.write(
                1,
                #[inline(always)]
                |frame| if frame == 0 { another } else { zero },
            );
            before = pitch;
        } else {
            let (out, trigger) = outs.two();
            let both = out
                .chunks_exact_mut(L::N)
                .zip(trigger.chunks_exact_mut(L::N));
            for (frame, (out, trigger)) in both.enumerate() {
                let pitch = nearest(io.at(0, frame));
                let another = before.lt(pitch) | pitch.lt(before);
                L::select(another, one, zero).store(trigger);
                pitch.store(out);
                before = pitch;
            }
        }
        state.set_flushed(NOTE, before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn it_is_the_nearest_note_of_each_scale_and_root() {
        for (scale, semitones) in SEMITONES.iter().enumerate() {
            for root in [0, 1, 7, 11] {
                let values = [("scale", scale as f32), ("root", root as f32)];
                let mut quantizer = Bench::of::<Quantizer>(&values);
                let input: Vec<f32> = (0..4_001).map(|n| (n as f32 - 2_000.0) / 997.0).collect();
                let heard = quantizer.run(4_001, &[("in", input.clone())]);
                for (pitch, found) in input.iter().zip(&heard[0]) {
                    let wanted = f64::from(*pitch) * 12.0;
                    let notes = (-48..48).filter(|note: &i32| {
                        semitones.contains(&((note - root).rem_euclid(12) as u8))
                    });
                    let least = notes
                        .map(|note| (f64::from(note) - wanted).abs())
                        .fold(f64::MAX, f64::min);
                    let found = f64::from(*found) * 12.0;
                    let note = found.round();
                    assert!((found - note).abs() < 1e-5);
                    let degree = (note as i32 - root).rem_euclid(12) as u8;
                    assert!(semitones.contains(&degree), "{}: {note}", SCALES[scale]);
                    let off = (note - wanted).abs();
                    assert!(off - least < 1e-4, "{} {root}: {pitch}", SCALES[scale]);
                }
            }
        }
    }

    #[test]
    fn a_trigger_says_when_the_note_changes() {
        for channels in [1, 3] {
            let mut quantizer = Bench::poly::<Quantizer>(&[("scale", 1.0)], channels);
            let input = (0..1_000).map(|n| n as f32 / 1_000.0).collect();
            let heard = quantizer.run(1_000, &[("in", input)]);
            let (out, trigger) = (&heard[0], &heard[channels]);
            let changes = (1..1_000).filter(|n| out[*n] != out[n - 1]);
            let triggers = (0..1_000).filter(|n| trigger[*n] > 0.0);
            assert_eq!(changes.clone().count(), 7);
            assert!(changes.eq(triggers));
            // An input that stays on another note.
            let heard = quantizer.run(100, &[("in", vec![0.5; 100])]);
            assert_eq!(heard[channels][0], 1.0);
            assert_eq!(heard[channels][1..], [0.0; 99]);
        }
    }
}
