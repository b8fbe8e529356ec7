//! `distortion`: saturates, clips, folds or crushes.
//!
//! All but the crusher, whose dirt is meant, run at twice the rate, so that the harmonics that they
//! make are filtered off instead of folding back into what is heard: a half-band filter up, the
//! shaper, the same filter down, 15 frames late in all. The dry sound waits for the wet one, so that a
//! mix is no comb. A change of the mode is a short cross-fade.
//!
//! # Source
//! Half-band filters in two phases: P. P. Vaidyanathan, Multirate Systems and Filter Banks, 1993, 4.6;
//! 31 taps of a sine over its argument under a Kaiser window (β = 6). Folding: the sine of the level.

use super::{choice, linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Bits, Lanes, inlined},
    math,
    module::{Io, Module, Outs, State},
    smooth::{GLIDE_MS, glide_frames},
};

pub struct Distortion;

/// Half of the filter's taps between its samples, from the middle outwards; all of them add up to 1.
const TAPS: [f32; 8] = [
    0.630_087_6,
    -0.192_664_54,
    0.096_901_23,
    -0.052_563_523,
    0.027_682_898,
    -0.013_278_12,
    0.005_365_973,
    -0.001_531_549_7,
];
/// What the filters remember, in frames: what came in, and of what was shaped the samples between the
/// frames and those at the frames.
const PAST: usize = 16;
const LATE: usize = 8;

// Cells: the three pasts, the tone's filter, the crusher's held sample and how far its next one is
// away, the mode, the one that is being left and the frames until then.
const CAME: usize = 0;
const BETWEEN: usize = CAME + PAST;
const SHAPED: usize = BETWEEN + PAST;
const TONE: usize = SHAPED + LATE;
const HELD: usize = TONE + 1;
const TURN: usize = HELD + 1;
const MODE: usize = TURN + 1;
const OLD_MODE: usize = MODE + 1;
const LEFT: usize = OLD_MODE + 1;

const SOFT: u32 = 0;
const HARD: u32 = 1;
const FOLD: u32 = 2;
const CRUSH: u32 = 3;

/// The last samples, the newest at the end; each is written twice, so that they lie in one piece
/// wherever the ring begins.
struct Past<L, const LEN: usize, const TWICE: usize> {
    ring: [L; TWICE],
    at: usize,
}

impl<L: Lanes, const LEN: usize, const TWICE: usize> Past<L, LEN, TWICE> {
    #[inline(always)]
    fn load(state: &State<'_, L>, cell: usize) -> Self {
        let mut ring = [state.get(cell); TWICE];
        for (number, sample) in ring.iter_mut().enumerate() {
            *sample = state.get(cell + number % LEN);
        }
        Self { ring, at: 0 }
    }

    #[inline(always)]
    fn store(&self, state: &mut State<'_, L>, cell: usize) {
        for number in 0..LEN {
            state.set_calm(cell + number, self.ring[self.at % LEN + number]);
        }
    }

    #[inline(always)]
    fn push(&mut self, x: L) {
        let at = self.at % LEN;
        self.ring[at] = x;
        self.ring[at + LEN] = x;
        self.at = (at + 1) % LEN;
    }

    /// All of them, the oldest first.
    #[inline(always)]
    fn all(&self) -> &[L] {
        &self.ring[self.at % LEN..][..LEN]
    }
}

/// The half-band filter's taps over 16 samples: what lies in their middle.
#[inline(always)]
fn middle<L: Lanes>(io: &Io<'_, L>, past: &[L]) -> L {
    let mut sum = io.splat(0.0);
    for (number, tap) in TAPS.iter().enumerate() {
        let pair = past[PAST / 2 - 1 - number] + past[PAST / 2 + number];
        sum = sum + pair * io.splat(*tap);
    }
    sum
}

/// The level that a mode makes of a level.
#[inline(always)]
fn shape<L: Lanes>(io: &Io<'_, L>, mode: u32, x: L) -> L {
    let one = io.splat(1.0);
    match mode {
        SOFT => math::soft_clip(io, x),
        HARD => x.min(one).max(-one),
        FOLD => {
            // In turns, within the middle one.
            let x = x * io.splat(0.5 * std::f32::consts::FRAC_1_PI);
            let part = x - (x + io.splat(0.5)).floor();
            let bits = (part * io.splat(16_777_216.0)).truncate();
            math::sine(io, bits.up(8))
        }
        _ => x,
    }
}

impl Module for Distortion {
    const TYPE: ModuleType = ModuleType {
        name: "distortion",
        help: "saturates, clips, folds or crushes",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            linear(
                "drive",
                "dB",
                [0.0, 12.0, 48.0],
                "how loud it is before it is bent",
            ),
            choice(
                "mode",
                &["soft", "hard", "fold", "bitcrush"],
                "how it is bent",
            ),
            log(
                "tone",
                "Hz",
                [200.0, 20_000.0, 20_000.0],
                "low-pass behind it",
            ),
            linear("mix", "", [0.0, 1.0, 1.0], "from dry (0) to bent only (1)"),
            linear("bits", "", [1.0, 8.0, 16.0], "of the crusher's samples"),
            log(
                "rate",
                "Hz",
                [100.0, 12_000.0, 192_000.0],
                "of the crusher's samples",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = LEFT + 1;

    fn start(_: usize, params: &[f32], cells: &mut [u32]) {
        cells[MODE] = params[1] as u32;
        cells[OLD_MODE] = params[1] as u32;
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let whole_glide = glide_frames(io.context.rate_hz);
        let wished = io.param(1).first().lane(0) as u32;
        let mut left = (*state.cell(LEFT, 0)).min(whole_glide);
        let mut mode = *state.cell(MODE, 0);
        let mut old = *state.cell(OLD_MODE, 0);
        if left == 0 {
            old = mode;
            if mode != wished {
                (mode, left) = (wished, whole_glide);
            }
        }
        pass(io, state, outs, [old, mode], left);
        left = left.saturating_sub(io.frames as u32);
        state.set_bits(LEFT, io.splat_bits(left));
        state.set_bits(MODE, io.splat_bits(mode));
        state.set_bits(OLD_MODE, io.splat_bits(old));
    }
}

/// Renders a block, from one mode to the other while `left` frames are left of the cross-fade.
#[inline(always)]
fn pass<L: Lanes>(
    io: &Io<'_, L>,
    state: &mut State<'_, L>,
    outs: &mut Outs<'_, L>,
    [old, mode]: [u32; 2],
    left: u32,
) {
    let (zero, half, one) = (io.splat(0.0), io.splat(0.5), io.splat(1.0));
    let each_glide = 1.0 / (io.context.rate_hz * GLIDE_MS / 1000.0).max(1.0);
    let (drive, tone, mix) = (io.param(0), io.param(2), io.param(3));
    let (bits, rate) = (io.param(4), io.param(5));
    let mut came = Past::<L, PAST, { 2 * PAST }>::load(state, CAME);
    let mut between = Past::<L, PAST, { 2 * PAST }>::load(state, BETWEEN);
    let mut shaped = Past::<L, LATE, { 2 * LATE }>::load(state, SHAPED);
    let mut low = state.get(TONE);
    let (mut held, mut turn) = (state.get(HELD), state.get(TURN));
    let (gain_moves, go_moves) = (drive.still().is_none(), tone.still().is_none());
    let mut gain = math::amplitude(io, drive.first());
    let mut go = math::one_pole(io, tone.first());
    for (frame, (x, out)) in io
        .input(0)
        .chunks_exact(L::N)
        .zip(outs.samples(0).chunks_exact_mut(L::N))
        .enumerate()
    {
        if gain_moves {
            gain = math::amplitude(io, drive.at(frame));
        }
        if go_moves {
            go = math::one_pole(io, tone.at(frame));
        }
        let rest = io.splat((left as f32 - frame as f32).max(0.0) * each_glide);
        came.push(L::load(io.token, x));
        let bent = inlined(
            #[inline(always)]
            |x: L| {
                let new = shape(io, mode, x);
                if old == mode {
                    new
                } else {
                    new + (shape(io, old, x) - new) * rest
                }
            },
        );
        let past = came.all();
        let dry = past[0];
        let at_frame = bent(past[PAST / 2 - 1] * gain);
        let after_it = bent(middle(io, past) * gain);
        shaped.push(at_frame);
        between.push(after_it);
        let mut wet = (shaped.all()[0] + middle(io, between.all())) * half;
        if old == CRUSH || mode == CRUSH {
            turn = turn + rate.at(frame) * io.splat(1.0 / io.context.rate_hz);
            let due = one.le(turn);
            turn = L::select(due, (turn - turn.floor()).max(zero), turn);
            let steps = math::exp2(io, bits.at(frame) - one);
            let clipped = wet.min(one).max(-one);
            let coarse = (clipped * steps + half).floor() / steps;
            held = L::select(due, coarse, held);
            wet = match (old == CRUSH, mode == CRUSH) {
                (true, true) => held,
                (true, false) => wet + (held - wet) * rest,
                _ => held + (wet - held) * rest,
            };
        }
        let step = (wet - low) * go;
        let toned = low + step;
        low = toned + step;
        (dry + (toned - dry) * mix.at(frame)).store(out);
    }
    came.store(state, CAME);
    between.store(state, BETWEEN);
    shaped.store(state, SHAPED);
    state.set_calm(TONE, low);
    state.set_calm(HELD, held);
    state.set_calm(TURN, turn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, level, step_max};

    fn sine(hz: f64, gain: f64, frames: usize) -> Vec<f32> {
        let turn = |n: usize| libm::sin(n as f64 * hz / 48_000.0 * std::f64::consts::TAU);
        (0..frames).map(|n| (turn(n) * gain) as f32).collect()
    }

    fn bent(mode: u32, drive: f32, input: Vec<f32>) -> Vec<f32> {
        let values = [("mode", mode as f32), ("drive", drive)];
        Bench::of::<Distortion>(&values)
            .run(input.len(), &[("in", input)])
            .remove(0)
    }

    #[test]
    fn a_quiet_sound_passes_unbent_and_in_step_with_the_dry_one() {
        for mode in [SOFT, HARD, FOLD] {
            for (mix, tone_hz) in [(0.5, 1_000.0), (1.0, 200.0)] {
                let input = sine(tone_hz, 0.01, 48_000);
                let values = [("mode", mode as f32), ("drive", 0.0), ("mix", mix)];
                let out = Bench::of::<Distortion>(&values).run(48_000, &[("in", input.clone())]);
                for n in 1_000..48_000 {
                    let error = (out[0][n] - input[n - 15]).abs();
                    assert!(error < 4e-4, "{mode} at {n}: {error}");
                }
                let found = level(&out[0], tone_hz);
                assert!((found / 0.01 - 1.0).abs() < 0.002, "{mode}: {found}");
            }
        }
    }

    #[test]
    fn each_mode_bends_as_its_formula() {
        // A slow sine: what comes out follows the curve, 15 frames later (and what the tone's filter
        // takes, half a frame or so).
        let input = sine(20.0, 0.5, 9_600);
        for mode in [SOFT, HARD, FOLD] {
            let out = bent(mode, 20.0, input.clone());
            for n in 2_400..9_600 {
                let x = f64::from(input[n - 15]) * 10.0;
                let y = match mode {
                    SOFT => {
                        let t = (x / 1.875).clamp(-1.0, 1.0);
                        1.875 * t * (1.0 - 2.0 / 3.0 * t * t + 0.2 * t * t * t * t)
                    }
                    HARD => x.clamp(-1.0, 1.0),
                    _ => libm::sin(x),
                };
                let error = (f64::from(out[n]) - y).abs();
                assert!(error < 0.02, "{mode} at {n}: {error}");
            }
        }
    }

    #[test]
    fn what_folds_back_is_far_below_what_it_would_be() {
        let (hz, frames) = (5_003.0, 48_000);
        let input = sine(hz, 1.0, frames);
        // What folds back from 72 kHz up still does, at twice the rate.
        for (mode, all_least_db) in [(SOFT, 20.0), (HARD, 9.0), (FOLD, 20.0)] {
            let gain = 4.0;
            let plain: Vec<f32> = input
                .iter()
                .map(|x| {
                    let x = f64::from(x * gain);
                    (match mode {
                        SOFT => {
                            let t = (x / 1.875).clamp(-1.0, 1.0);
                            1.875 * t * (1.0 - 2.0 / 3.0 * t * t + 0.2 * t * t * t * t)
                        }
                        HARD => x.clamp(-1.0, 1.0),
                        _ => libm::sin(x),
                    }) as f32
                })
                .collect();
            let out = bent(mode, 20.0 * libm::log10f(gain), input.clone());
            // The 7th harmonic, 35 021 Hz, would be heard at 12 979.
            let seventh = 48_000.0 - 7.0 * hz;
            let (before, after) = (level(&plain, seventh), level(&out, seventh));
            let less = 20.0 * libm::log10(before / after);
            assert!(less > 45.0 && before > 0.01, "{mode}: {less} dB, {before}");
            let all = |out: &[f32]| -> f64 {
                let folded = (5..60).step_by(2).map(|k| f64::from(k) * hz % 48_000.0);
                folded.map(|hz| level(out, hz) * level(out, hz)).sum()
            };
            let less = 10.0 * libm::log10(all(&plain) / all(&out));
            assert!(less > all_least_db, "{mode}: all {less} dB");
            // What is meant is there.
            let (third, meant) = (level(&out, 3.0 * hz), level(&plain, 3.0 * hz));
            assert!(
                (third / meant - 1.0).abs() < 0.25,
                "{mode}: {third} {meant}"
            );
        }
    }

    #[test]
    fn the_crusher_holds_and_rounds() {
        let values = [
            ("mode", 3.0),
            ("drive", 0.0),
            ("bits", 3.0),
            ("rate", 4_800.0),
        ];
        let out = Bench::of::<Distortion>(&values)
            .run(9_600, &[("in", sine(50.0, 1.0, 9_600))])
            .remove(0);
        // The tone's filter, at 20 kHz, takes a few frames to settle.
        let settled = out[960..].windows(3).filter(|w| {
            let quarter = (w[0] * 4.0 - (w[0] * 4.0).round()).abs() < 0.01;
            quarter && (w[2] - w[0]).abs() < 0.01
        });
        assert!(settled.count() > 5_000);
        let changes = out[960..].windows(2).filter(|w| (w[1] - w[0]).abs() > 0.15);
        assert!(changes.count() < 900);
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let values = [("drive", 0.0), ("rate", 192_000.0), ("bits", 16.0)];
        let mut distortion = Bench::of::<Distortion>(&values);
        let mut heard = Vec::new();
        for (param, value) in [
            ("drive", 12.0),
            ("mode", 1.0),
            ("mode", 2.0),
            ("mode", 3.0),
            ("mode", 0.0),
            ("tone", 300.0),
            ("mix", 0.0),
        ] {
            let now: Vec<f32> = sine(50.0, 0.5, heard.len() + 1_024).split_off(heard.len());
            heard.extend(distortion.run(1_024, &[("in", now)]).remove(0));
            distortion.set(param, value);
        }
        // The input moves by 0.0033 a frame, fourfold where it is driven; a cross-fade by 1/336.
        assert!(step_max(&heard) < 0.03, "{}", step_max(&heard));
    }

    #[test]
    fn each_channel_is_bent_as_if_it_were_alone() {
        for mode in [0.0, 1.0, 2.0, 3.0] {
            alone::<Distortion>(&[("mode", mode)], &["in"]);
        }
        alone::<Distortion>(&[("mode", 2.0)], &["in", "drive", "tone"]);
    }
}
