//! `acid`: the low-pass of the TB-303 with its envelope.
//!
//! A diode ladder of four coupled poles, without buffers between the stages: its slope is softer than that of
//! `ladder`. A high-pass in the feedback keeps the filter from self-oscillation below some hundred hertz. A gate
//! restarts the envelope, which raises the cutoff and lets it fall. A gate above one half is an accent, scaled by the
//! parameter `accent`: the envelope reaches higher, falls within 200 ms, and the output is louder. The equations of a
//! frame are solved with zero-delay feedback; the input of the ladder is saturated, which bounds all states.
//!
//! # Source
//! Vadim Zavalishin, The Art of VA Filter Design, 2018, 5.10 (diode ladder: it oscillates at a feedback
//! of 17); Tim Stinchcombe, Analysis of the Moog transistor ladder and derivative filters, 2008; Robin
//! Schmidt, Open303, 2009 (`TeeBeeFilter`: the high-pass of 150 Hz; accents of 200 ms).

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, Mask, inlined},
    math,
    module::{Edge, Io, Module, Outs, State},
};

pub struct Acid;

// Cells: the four stages and the high-pass, the envelope and its smoothed rise, the strength of the accent, and the
// gate in the previous frame.
const STAGES: usize = 0;
const HIGH: usize = 4;
const ENVELOPE: usize = 5;
const RISEN: usize = 6;
const STRENGTH: usize = 7;
const GATE: usize = 8;

/// The corner of the high-pass in the feedback.
const HIGH_HZ: f32 = 150.0;
/// The rise time of the envelope.
const RISE_MS: f32 = 1.0;
/// The longest decay of an accent.
const ACCENT_MS: f32 = 200.0;
/// The level at which the envelope ends: less than a tenth of a cent.
const OVER: f32 = 1e-5;
/// The feedback at which the ladder oscillates.
const OSCILLATES: f32 = 17.0;

/// The equations of a frame, solved from the last stage to the first.
#[derive(Clone, Copy)]
struct Solved<L> {
    /// The gain of a stage, half of the gain, and the factor of its state.
    go: L,
    half: L,
    keep: L,
    /// The reciprocal of the own coefficient of each of the first three stages.
    each: [L; 3],
    /// The contribution of a stage to the next one.
    next: [L; 4],
    /// The feedback of the high-passed output, and the reciprocal of the own coefficient of the input.
    back: L,
    inverse: L,
    gain: L,
    high: L,
}

impl<L: Lanes> Solved<L> {
    #[inline(always)]
    fn of(io: &Io<'_, L>, [cutoff, resonance, drive]: [L; 3]) -> Self {
        let one = io.splat(1.0);
        // The ladder oscillates at its corner divided by the square root of two: raise the corner accordingly.
        let go = math::pole(io, cutoff, std::f32::consts::SQRT_2);
        let half = go * io.splat(0.5);
        let third = one / (one - half * half);
        let second = one / (one - half * half * third);
        let first = one / (one - go * half * second);
        let next = [go * first, half * second, half * third, half];
        let all = (next[0] * next[1]) * (next[2] * next[3]);
        let high = math::one_pole(io, io.splat(HIGH_HZ));
        let feedback = resonance * io.splat(OSCILLATES);
        let back = feedback * (one - high);
        Self {
            go,
            half,
            keep: one - go,
            each: [first, second, third],
            next,
            back,
            inverse: one / (one + back * all),
            // Compensates half of the level that the feedback takes.
            gain: math::amplitude(io, drive) * (one + feedback * io.splat(0.5)),
            high,
        }
    }

    /// Advances the stages and the high-pass by one frame.
    #[inline(always)]
    fn frame(&self, io: &Io<'_, L>, z: &mut [L; 5], x: L) -> L {
        let fourth = self.keep * z[3];
        let third = (self.keep * z[2] + self.half * fourth) * self.each[2];
        let second = (self.keep * z[1] + self.half * third) * self.each[1];
        let first = (self.keep * z[0] + self.go * second) * self.each[0];
        let [n1, n2, n3, n4] = self.next;
        let rest = fourth + n4 * (third + n3 * (second + n2 * first));
        let u = (self.gain * x - self.back * (rest - z[4])) * self.inverse;
        let u = math::soft_clip(io, u);
        let y1 = n1 * u + first;
        let y2 = n2 * y1 + second;
        let y3 = n3 * y2 + third;
        let y4 = n4 * y3 + fourth;
        let step = (y4 - z[4]) * self.high;
        z[4] = z[4] + (step + step);
        for (z, y) in z.iter_mut().zip([y1, y2, y3, y4]) {
            *z = (y + y) - *z;
        }
        y4
    }
}

impl Module for Acid {
    const TYPE: ModuleType = ModuleType {
        name: "acid",
        help: "low-pass with envelope and accent, after the TB-303; env outputs the envelope",
        inputs: &["in", "gate"],
        outputs: &["out", "env"],
        params: &[
            log(
                "cutoff",
                "Hz",
                [20.0, 300.0, 12_000.0],
                "resonance frequency without the envelope",
            ),
            linear(
                "resonance",
                "",
                [0.0, 0.8, 1.25],
                "feedback; self-oscillation above 1",
            ),
            linear(
                "depth",
                "octaves",
                [0.0, 3.0, 8.0],
                "depth of the envelope on the cutoff",
            ),
            log(
                "decay",
                "ms",
                [20.0, 500.0, 10_000.0],
                "time until the envelope falls to a tenth",
            ),
            linear(
                "accent",
                "",
                [0.0, 0.0, 1.0],
                "strength of the accent for a gate above 0.5",
            ),
            linear(
                "drive",
                "dB",
                [-24.0, 0.0, 36.0],
                "gain before the saturation",
            ),
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 9;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let params: [_; 6] = io.params();
        let [cutoff, resonance, depth, decay, accent, drive] = params;
        let (zero, one, half) = (io.splat(0.0), io.splat(1.0), io.splat(0.5));
        let mut z: [L; 5] = state.several(STAGES);
        let (mut envelope, mut risen) = (state.get(ENVELOPE), state.get(RISEN));
        let mut strength = state.get(STRENGTH);
        let mut edges = io.edges(state.get(GATE));
        let each = 1000.0 / io.context.rate_hz;
        let rise = -std::f32::consts::LOG2_E * each / RISE_MS;
        let rise = one - math::exp2(io, io.splat(rise));
        let fall = io.splat(-std::f32::consts::LOG2_10 * each);
        let falls = inlined(
            #[inline(always)]
            |frame: usize, accented: L| {
                let ms = decay.at(frame);
                let ms = ms + (ms.min(io.splat(ACCENT_MS)) - ms) * accented;
                math::exp2(io, fall / ms)
            },
        );
        let solve = inlined(
            #[inline(always)]
            |frame: usize, lift: L| {
                let cutoff = cutoff.at(frame) * math::exp2(io, lift * depth.at(frame));
                Solved::of(io, [cutoff, resonance.at(frame), drive.at(frame)])
            },
        );
        let still = params.iter().all(|param| param.still().is_some());
        // Everything is at rest: the parameters, the gate and the envelope.
        let over = !zero.lt(envelope.max(risen)).any();
        let mut first = edges;
        let opens = first.next(0, io.at(1, 0)).opens.any();
        let stands = still && over && !opens && io.still(1).is_some();
        if stands {
            edges = first;
        }
        let mut solved = solve(0, zero);
        let (mut accented, mut falling) = (zero, one);
        let mut begins = true;
        let (outs, envs) = outs.two();
        let both = outs.chunks_exact_mut(L::N).zip(envs.chunks_exact_mut(L::N));
        for (frame, (out, env)) in both.enumerate() {
            if !stands {
                let Edge { gate, opens, .. } = edges.next(frame, io.at(1, frame));
                if opens.any() {
                    envelope = L::select(opens, one, envelope);
                    let strong = (gate + gate - one).max(zero).min(one);
                    strength = L::select(opens, strong, strength);
                    begins = true;
                }
                if begins || !still {
                    accented = accent.at(frame) * strength;
                    falling = falls(frame, accented);
                    begins = false;
                }
                risen = risen + (envelope - risen) * rise;
                envelope = envelope * falling;
                solved = solve(frame, risen * (one + accented * half));
            }
            risen.store(env);
            let y = solved.frame(
                io,
                &mut z,
                L::load(io.token, &io.input(0)[frame * L::N..][..L::N]),
            );
            (y * (one + accented * risen)).store(out);
        }
        let ends = io.splat(OVER);
        let kept = inlined(
            #[inline(always)]
            |x: L| L::select(ends.lt(x), x, zero),
        );
        (envelope, risen) = (kept(envelope), kept(risen));
        for (cell, z) in z.into_iter().enumerate() {
            state.set_flushed(STAGES + cell, z);
        }
        state.set_flushed(ENVELOPE, envelope);
        state.set_flushed(RISEN, risen);
        state.set_flushed(STRENGTH, strength);
        state.set(GATE, edges.before);
        const { assert!(HIGH == STAGES + 4) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, gain_at, noise, step_max};

    /// (1 + k/2) / (8s⁴ + 32s³ + 40s² + 16s + 1 + k h / (1 + h)), by the bilinear transform; decibels.
    fn formula(cutoff: f32, resonance: f32, hz: f64) -> f64 {
        let tan = |hz: f64| libm::tan(std::f64::consts::PI * hz / 48_000.0);
        let s = tan(hz) / tan(f64::from(cutoff)) / std::f64::consts::SQRT_2;
        let k = 17.0 * f64::from(resonance);
        let h = tan(hz) / tan(150.0);
        // ih / (1 + ih) = (h² + ih) / (1 + h²)
        let (high_re, high_im) = (h * h / (1.0 + h * h), h / (1.0 + h * h));
        let re = 8.0 * s * s * s * s - 40.0 * s * s + 1.0 + k * high_re;
        let im = -32.0 * s * s * s + 16.0 * s + k * high_im;
        20.0 * libm::log10((1.0 + k / 2.0) / (re * re + im * im).sqrt())
    }

    #[test]
    fn its_response_is_the_diode_ladders() {
        for (cutoff, resonance) in [(500.0, 0.0), (800.0, 0.7), (100.0, 0.9), (5_000.0, 0.9)] {
            let values = [("cutoff", cutoff), ("resonance", resonance)];
            let mut input = vec![0.0; 96_000];
            input[0] = 1e-3;
            let out = Bench::of::<Acid>(&values).run(input.len(), &[("in", input)]);
            for hz in [20.0, 99.0, 400.0, 800.0, 2_000.0, 5_000.0, 12_000.0] {
                let expected = formula(cutoff, resonance, hz);
                let found = 20.0 * libm::log10(gain_at(&out[0], hz) * 1e3);
                let at = format!("{cutoff} {resonance} at {hz} Hz: {found} {expected} dB");
                assert!(expected < -80.0 || (found - expected).abs() < 0.05, "{at}");
            }
        }
    }

    #[test]
    fn it_oscillates_above_one_and_not_below() {
        let late = |resonance: f32| {
            let values = [("cutoff", 3_000.0), ("resonance", resonance)];
            let mut input = vec![0.0; 96_000];
            input[0] = 0.1;
            let out = Bench::of::<Acid>(&values).run(input.len(), &[("in", input)]);
            out[0][90_000..]
                .iter()
                .fold(0.0, |max: f32, x| max.max(x.abs()))
        };
        assert!(late(0.97) < 1e-6, "{}", late(0.97));
        assert!(late(1.1) > 0.01 && late(1.1) < 1.0, "{}", late(1.1));
    }

    #[test]
    fn a_gate_begins_the_envelope_and_it_falls_to_a_tenth_in_its_time() {
        let mut acid = Bench::of::<Acid>(&[("decay", 300.0), ("accent", 0.5)]);
        assert!(acid.run(1_000, &[])[1].iter().all(|x| *x == 0.0));
        acid.gate(0.5);
        let env = acid.run(48_000, &[]).remove(1);
        assert!(env[0] > 0.0 && env[400] > 0.9);
        assert!((env[4_800 + 14_400] / env[4_800] - 0.1).abs() < 1e-4);
        // Again, by another event, with an accent half-way to 200 ms.
        acid.gate(1.0);
        let env = acid.run(48_000, &[]).remove(1);
        assert!((env[4_800 + 12_000] / env[4_800] - 0.1).abs() < 1e-4);
        // It ends.
        acid.gate(0.0);
        assert!(acid.run(96_000, &[])[1][95_000..].iter().all(|x| *x == 0.0));
        // By a cable, at its frame.
        let gate: Vec<f32> = (0..2_000).map(|n| f32::from(u8::from(n >= 777))).collect();
        let env = acid.run(2_000, &[("gate", gate)]).remove(1);
        assert_eq!(env.iter().position(|x| *x > 0.0), Some(777));
    }

    #[test]
    fn the_envelope_opens_it_and_an_accent_more() {
        let tone: Vec<f32> = (0..4_800)
            .map(|n| libm::sin(f64::from(n) / 24.0 * std::f64::consts::TAU) as f32 * 0.1)
            .collect();
        let loud = |gate: f32| {
            let values = [("cutoff", 200.0), ("accent", 1.0), ("resonance", 0.5)];
            let mut acid = Bench::of::<Acid>(&values);
            acid.gate(gate);
            let out = acid.run(4_800, &[("in", tone.clone())]);
            out[0][480..2_400].iter().map(|x| x * x).sum::<f32>()
        };
        assert!(loud(0.5) > 100.0 * loud(0.0));
        assert!(loud(1.0) > 2.0 * loud(0.5));
    }

    #[test]
    fn no_input_and_no_sweep_makes_it_grow_and_no_jump_clicks() {
        let values = [("cutoff", 12_000.0), ("resonance", 1.25), ("drive", 36.0)];
        let mut acid = Bench::of::<Acid>(&values);
        let sweep: Vec<f32> = noise(5, 24_000).iter().map(|x| x * 10.0 - 5.0).collect();
        let input: Vec<f32> = noise(1, 24_000).iter().map(|x| x * 100.0).collect();
        let gate = noise(9, 24_000);
        let out = acid.run(24_000, &[("in", input), ("cutoff", sweep), ("gate", gate)]);
        assert!(out[0].iter().all(|x| x.abs() < 8.0));
        acid.run(64, &[("in", vec![f32::NAN; 64])]);
        let out = acid.run(64, &[("in", vec![0.1; 64])]);
        assert!(out[0].iter().all(|x| x.abs() < 8.0));
        let mut acid = Bench::of::<Acid>(&[("cutoff", 500.0), ("accent", 1.0)]);
        let mut heard = Vec::new();
        for (number, (param, value)) in [
            ("cutoff", 5_000.0),
            ("resonance", 0.2),
            ("depth", 0.0),
            ("drive", 6.0),
            ("cutoff", 100.0),
        ]
        .into_iter()
        .enumerate()
        {
            let input = (heard.len()..heard.len() + 2_048)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 480.0) as f32 * 0.1)
                .collect();
            acid.gate(number as f32 % 2.0);
            heard.extend(acid.run(2_048, &[("in", input)]).remove(0));
            acid.set(param, value);
        }
        assert!(step_max(&heard) < 0.06, "{}", step_max(&heard));
    }

    #[test]
    fn each_channel_is_filtered_as_if_it_were_alone() {
        alone::<Acid>(&[("accent", 1.0)], &["in"]);
        alone::<Acid>(&[("accent", 1.0)], &["in", "gate", "cutoff"]);
    }
}
