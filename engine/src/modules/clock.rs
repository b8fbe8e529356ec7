//! `clock`: pulses at a tempo, each at its exact frame, without drift.
//!
//! Time is counted in integers; a frame, a tempo and every length are exact multiples of the unit. As for sequences, a
//! tempo is an integer number of thousandths of a BPM: 133.7 is exact, unlike the nearest single-precision number.
//! Pulse k begins at the frame nearest to k · 60 · rate · length / bpm for any k. A change of the tempo continues from
//! the current position in the beat; a change of the division keeps the beats.

use super::{linear, tempo};
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, State},
    sequencer::thousandths,
};

pub struct Clock;

// Parameters.
const BPM: usize = 0;
const DIVISION: usize = 1;
const SWING: usize = 2;
const LENGTH: usize = 3;

// Cells: the phase, the lower half first; the half of the current pair of pulses, 0 before the start; the input
// `reset` in the previous frame.
const PHASE: usize = 0;
const HALF: usize = 2;
const RESET: usize = 3;

/// The steps of a BPM: those of [`thousandths`].
const STEPS: u64 = 1_000;
/// The parts of a quarter note after which every division has made an even number of pulses.
const CYCLE_PARTS: u64 = 4_608;

/// The position of a channel in musical time: a part of a quarter note is 60 · rate · [`STEPS`].
#[derive(Clone, Copy)]
struct Time {
    phase: u64,
    half: u32,
}

/// The lengths of a frame and of pulses, in the same unit.
#[derive(Clone, Copy)]
struct Lengths {
    cycle: u64,
    /// The length of a frame.
    frame: u64,
    pulse: u64,
    /// The delay of every second pulse.
    late: u64,
}

/// A frame's position: whether a pulse begins, the time since the last begin, the time until the next.
struct Place {
    begins: bool,
    since: u64,
    until: u64,
}

impl Lengths {
    /// Computes the lengths; `swing` is in pulses.
    #[inline(always)]
    fn new(rate_hz: f32, bpm: f32, division: f32, swing: f32) -> Self {
        let part = 60 * (rate_hz as u64).max(1) * STEPS;
        let pulse = part * tempo::length(division);
        Self {
            cycle: part * CYCLE_PARTS,
            frame: u64::from(thousandths(bpm.clamp(0.0, 1_000.0))) * tempo::PARTS,
            pulse,
            late: ((f64::from(swing) * pulse as f64) as u64).min(pulse - 1),
        }
    }
}

impl Time {
    /// Returns the position of this frame and advances to the next.
    #[inline(always)]
    fn next(&mut self, lengths: &Lengths, reset: bool) -> Place {
        let Lengths {
            cycle,
            frame,
            pulse,
            late,
        } = *lengths;
        if reset || self.half == 0 {
            // Half a frame ahead, so that the nearest frame is the first one not before a time.
            (self.phase, self.half) = (frame / 2, 0);
        }
        let at = self.phase % (2 * pulse);
        let second = pulse + late;
        let half = match self.half {
            1 if at >= second => 2,
            // Not by the swing alone: the pulse must end first.
            2 if at >= pulse => 2,
            _ => 1,
        };
        let begins = half != self.half;
        self.half = half;
        self.phase += frame;
        if self.phase >= cycle {
            self.phase %= cycle;
        }
        match half {
            1 => Place {
                begins,
                since: at,
                until: second - at.min(second),
            },
            _ => Place {
                begins,
                since: at.saturating_sub(second),
                until: 2 * pulse - at,
            },
        }
    }
}

impl Module for Clock {
    const TYPE: ModuleType = ModuleType {
        name: "clock",
        help: "pulses at a tempo",
        inputs: &["reset"],
        outputs: &["gate", "trigger"],
        params: &[
            tempo::BPM,
            tempo::DIVISION,
            linear(
                "swing",
                "",
                [0.0, 0.0, 0.9],
                "delay of every second pulse, in pulses; 0.333 gives triplets",
            ),
            linear(
                "length",
                "",
                [0.0, 0.5, 1.0],
                "time for which the gate is open, in pulses; at least one frame open and one closed",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 4;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (bpm, swing) = (io.param(BPM), io.param(SWING));
        let (division, length) = (io.param(DIVISION), io.param(LENGTH));
        let still = bpm.still().is_some() && swing.still().is_some();
        let (gate, trigger) = outs.two();
        for channel in 0..L::N {
            // Under modulation each channel has its own value.
            let division = division.first().lane(channel);
            let lengths_at = |frame: usize| {
                Lengths::new(
                    io.context.rate_hz,
                    bpm.at(frame).lane(channel),
                    division,
                    swing.at(frame).lane(channel),
                )
            };
            let mut lengths = lengths_at(0);
            let phase = u64::from(*state.cell(PHASE, channel))
                | u64::from(*state.cell(PHASE + 1, channel)) << 32;
            let mut time = Time {
                phase: phase % lengths.cycle,
                half: *state.cell(HALF, channel),
            };
            let mut before = state.number(RESET, channel);
            for frame in 0..io.frames {
                if !still {
                    lengths = lengths_at(frame);
                }
                let reset = io.input(0)[if io.plugged(0) {
                    frame * L::N + channel
                } else {
                    0
                }];
                let place = time.next(&lengths, before <= 0.0 && reset > 0.0);
                before = reset;
                let long = f64::from(length.at(frame).lane(channel)) * lengths.pulse as f64;
                let open = place.since < long as u64 && place.until > lengths.frame;
                gate[frame * L::N + channel] = f32::from(u8::from(place.begins || open));
                trigger[frame * L::N + channel] = f32::from(u8::from(place.begins));
            }
            *state.cell(PHASE, channel) = time.phase as u32;
            *state.cell(PHASE + 1, channel) = (time.phase >> 32) as u32;
            *state.cell(HALF, channel) = time.half;
            state.set_number(RESET, channel, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    /// The places where a signal rises.
    fn rises(signal: &[f32]) -> Vec<usize> {
        let mut before = 0.0;
        let mut found = Vec::new();
        for (frame, now) in signal.iter().enumerate() {
            if before <= 0.0 && *now > 0.0 {
                found.push(frame);
            }
            before = *now;
        }
        found
    }

    fn division(name: &str) -> f32 {
        let names = tempo::DIVISION.choices;
        names.iter().position(|n| *n == name).unwrap() as f32
    }

    #[test]
    fn each_pulse_of_forty_minutes_is_at_its_frame() {
        for (bpm, name) in [(133.7_f32, "1/16t"), (999.0, "1/32"), (20.1, "1/4.")] {
            let lengths = Lengths::new(48_000.0, bpm, division(name), 0.0);
            let mut time = Time { phase: 0, half: 0 };
            let mut pulses = 0_u128;
            let (pulse, frame) = (u128::from(lengths.pulse), u128::from(lengths.frame));
            // In quarter notes: 60 · rate · length / bpm, with the bpm as it is written.
            let bpm = (f64::from(bpm) * 1_000.0).round() / 1_000.0;
            let each =
                60.0 * 48_000.0 / bpm * tempo::length(division(name)) as f64 / tempo::PARTS as f64;
            assert!((pulse as f64 / frame as f64 / each - 1.0).abs() < 1e-15);
            for number in 0..120_000_000_u128 {
                if time.next(&lengths, false).begins {
                    // The nearest: within half a frame.
                    let off = (2 * number * frame).abs_diff(2 * pulses * pulse);
                    assert!(off <= frame, "{bpm} {name}: pulse {pulses} at {number}");
                    pulses += 1;
                }
            }
            let expected = (120_000_000.0 / each).round();
            assert!((pulses as f64 - expected).abs() <= 1.0);
        }
    }

    /// Frames passed over at once are as frames passed one by one: the phase is a whole number.
    fn skipped(lengths: &Lengths, frames: u64) -> Time {
        let (frame, cycle) = (u128::from(lengths.frame), u128::from(lengths.cycle));
        let phase = ((frame / 2 + u128::from(frames) * frame) % cycle) as u64;
        let before = (phase + lengths.cycle - lengths.frame) % lengths.cycle % (2 * lengths.pulse);
        let half = 1 + u32::from(before >= lengths.pulse + lengths.late);
        Time { phase, half }
    }

    #[test]
    fn the_pulses_of_years_are_where_a_sequence_has_its_steps() {
        for (bpm, name) in [
            (133.7_f32, "1/16"),
            (174.3, "1/16"),
            (61.007, "1/8"),
            (998.9, "1/32"),
        ] {
            let (division, thousandths) = (division(name), thousandths(bpm));
            let lengths = Lengths::new(48_000.0, bpm, division, 0.0);
            // A pulse, and the frame of the n-th, from whole numbers: sequencer/tempo.rs.
            let tempo = crate::sequencer::Tempo {
                bpm: thousandths,
                division: name.trim_start_matches("1/").parse().unwrap(),
            };
            let frame_of = |n: u64| tempo.frames(48_000, (n.into(), 1));
            // What skips frames is what passes them.
            let mut time = Time { phase: 0, half: 0 };
            for _ in 0..1_000_000 {
                time.next(&lengths, false);
            }
            let skipped_to = skipped(&lengths, 1_000_000);
            assert_eq!((time.phase, time.half), (skipped_to.phase, skipped_to.half));
            for years in [1, 10, 100] {
                let start = years * 365 * 24 * 3_600 * 48_000;
                let mut time = skipped(&lengths, start);
                let pulses =
                    u128::from(start) * u128::from(lengths.frame) / u128::from(lengths.pulse);
                let mut next = pulses as u64 - 1;
                while frame_of(next) < start {
                    next += 1;
                }
                for number in start..start + 480_000 {
                    let begins = time.next(&lengths, false).begins;
                    assert_eq!(
                        begins,
                        number == frame_of(next),
                        "{bpm} {name} {years}: {number}"
                    );
                    next += u64::from(begins);
                }
            }
        }
    }

    #[test]
    fn gate_and_trigger_are_exact_to_the_frame() {
        // 125 bpm at 48 kHz: a quarter note is 23040 frames.
        let mut clock = Bench::of::<Clock>(&[("bpm", 125.0), ("length", 0.25)]);
        let heard = clock.run(120_000, &[]);
        assert_eq!(
            rises(&heard[0]),
            [0, 23_040, 46_080, 69_120, 92_160, 115_200]
        );
        let high: Vec<usize> = (0..120_000).filter(|n| heard[1][*n] > 0.0).collect();
        assert_eq!(high, rises(&heard[0]));
        let open = heard[0][..23_040].iter().filter(|x| **x > 0.0).count();
        assert!((5_759..=5_761).contains(&open), "{open}");
    }

    #[test]
    fn a_whole_length_still_closes_for_a_frame_and_none_opens_for_one() {
        for (length, open) in [(1.0, 23_039), (0.0, 1)] {
            let mut clock = Bench::of::<Clock>(&[("bpm", 125.0), ("length", length)]);
            let heard = clock.run(23_040 * 4, &[]);
            assert_eq!(rises(&heard[0]), [0, 23_040, 46_080, 69_120]);
            for pulse in heard[0].chunks(23_040) {
                assert_eq!(pulse.iter().filter(|x| **x > 0.0).count(), open);
            }
        }
    }

    #[test]
    fn swing_delays_each_second_pulse() {
        let values = [
            ("bpm", 125.0),
            ("division", division("1/8")),
            ("swing", 0.25),
        ];
        let mut clock = Bench::of::<Clock>(&values);
        let heard = clock.run(50_000, &[]);
        let expected = [0, 14_400, 23_040, 37_440, 46_080];
        assert_eq!(rises(&heard[0]), expected);
    }

    #[test]
    fn a_change_of_tempo_keeps_the_beat_where_it_is() {
        let mut clock = Bench::of::<Clock>(&[("bpm", 125.0)]);
        clock.run(11_520, &[]);
        // Half a beat has passed. At twice the tempo the other half takes 5,760 frames, plus a quarter of the glide
        // of 336 frames.
        clock.set("bpm", 250.0);
        let heard = clock.run(30_000, &[]);
        let found = rises(&heard[1]);
        assert!(found[0].abs_diff(5_760 + 336 / 4) < 45, "{found:?}");
        assert_eq!(found[1] - found[0], 11_520);
    }

    #[test]
    fn a_change_of_division_stays_on_the_beat() {
        let mut clock = Bench::of::<Clock>(&[("bpm", 125.0), ("division", division("1/16"))]);
        clock.run(7 * 5_760 + 100, &[]);
        clock.set("division", division("1/4"));
        let heard = clock.run(60_000, &[]);
        let found: Vec<usize> = rises(&heard[1])
            .iter()
            .map(|n| n + 7 * 5_760 + 100)
            .collect();
        assert_eq!(found[found.len() - 2..], [69_120, 92_160]);
    }

    #[test]
    fn a_rise_at_reset_is_a_beat() {
        for channels in [1, 3] {
            let mut clock = Bench::poly::<Clock>(&[("bpm", 125.0)], channels);
            let reset = (0..60_000).map(|n| f32::from(u8::from(n >= 10_000)));
            let heard = clock.run(60_000, &[("reset", reset.collect())]);
            for trigger in &heard[channels..] {
                assert_eq!(rises(trigger), [0, 10_000, 33_040, 56_080]);
            }
        }
    }
}
