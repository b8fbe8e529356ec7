//! `karplus`: a plucked string: a burst of noise that circulates in a delay line of one period.
//!
//! The line is read by polynomial interpolation, and a symmetric filter that delays all frequencies by exactly one
//! frame smooths the output. So the string is in tune at any brightness, and its length may change at any time. (An
//! allpass would preserve the highest partials slightly longer, but rings when it changes.) Each channel has its own
//! noise sequence, the same each time.
//!
//! # Source
//! Karplus, Strong: Digital synthesis of plucked-string and drum timbres, 1983; Jaffe, Smith:
//! Extensions of the Karplus-Strong plucked-string algorithm, 1983; the damping filter as in Julius O.
//! Smith, Physical Audio Signal Processing, "The extended Karplus-Strong algorithm",
//! <https://ccrma.stanford.edu/~jos/pasp/Extended_Karplus_Strong_Algorithm.html>.

use super::{linear, log, noise};
use crate::{
    catalog::ModuleType,
    lanes::{Bits, LANES_MAX, Lanes, Mask, inlined},
    math,
    module::{Context, Edge, Io, Module, Outs, State},
};

pub struct Karplus;

const LOWEST_HZ: f32 = 20.0;

/// The length of the line in samples: a period of the lowest string, and the adjacent samples of the interpolation.
fn line_len(context: Context) -> usize {
    (context.rate_hz / LOWEST_HZ) as usize + 8
}

// Cells: the write position, the noise, the gate in the previous frame, the height of the pluck and its remaining
// frames, the last two samples out of the line, the DC filter.
const AT: usize = 0;
const WHITE: usize = 1;
const GATE: usize = 2;
const HEIGHT: usize = 3;
const BURST: usize = 4;
const READ: usize = 5;
const STANDS: usize = 7;

/// The coefficients of the string in a frame.
#[derive(Clone, Copy)]
struct String<L> {
    /// The period in frames.
    cycle: L,
    /// The weights of a sample and of its neighbours in the loop.
    middle: L,
    sides: L,
}

#[inline(always)]
fn string<L: Lanes>(io: &Io<'_, L>, hz: L, ms: L, brightness: L) -> String<L> {
    let (half, rate) = (io.splat(0.5), io.context.rate_hz);
    let cycle = io.splat(rate) / hz;
    // The level after a period: 60 dB are 9.97 halvings.
    let frames = ms * io.splat(rate / 1_000.0);
    let keep = math::exp2(io, io.splat(-9.965_784) * cycle / frames);
    let middle = half + half * brightness;
    let side = (half - half * brightness) * half;
    // Compensates the filter's loss at the fundamental, as far as the stability of lower frequencies allows.
    let quarter = io.splat_bits(1 << 30);
    let cosine = math::sine(io, math::step(io, hz) + quarter);
    let keep = (keep / (middle + (side + side) * cosine)).min(io.splat(0.999_99));
    String {
        cycle,
        middle: middle * keep,
        sides: side * keep,
    }
}

impl Module for Karplus {
    const TYPE: ModuleType = ModuleType {
        name: "karplus",
        help: "plucked string: plucked when its gate opens, damped when it closes",
        inputs: &["gate", "in"],
        outputs: &["out"],
        params: &[
            log("freq", "Hz", [LOWEST_HZ, 220.0, 8_000.0], "frequency"),
            log(
                "decay",
                "ms",
                [10.0, 4_000.0, 60_000.0],
                "time to fall by 60 dB while the gate is open; shorter for dark, high strings",
            ),
            log(
                "release",
                "ms",
                [10.0, 300.0, 60_000.0],
                "time to fall by 60 dB once the gate is closed",
            ),
            linear(
                "brightness",
                "",
                [0.0, 0.6, 1.0],
                "from a faster decay of higher partials (0) to an equal decay of all (1)",
            ),
            linear("gain", "", [0.0, 0.5, 1.0], "level at a gate of 1"),
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 9;

    fn memory(context: Context) -> usize {
        line_len(context)
    }

    fn start(channel: usize, _: &[f32], cells: &mut [u32]) {
        cells[WHITE] = noise::start(1, channel);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let len = line_len(io.context);
        let [freq, decay, release, brightness, gain] = [0, 1, 2, 3, 4].map(|param| io.param(param));
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let mut edges = io.edges(state.get(GATE));
        let [mut height, mut burst] = [HEIGHT, BURST].map(|cell| state.get(cell));
        let mut read = [state.get(READ), state.get(READ + 1)];
        let mut stands = [state.get(STANDS), state.get(STANDS + 1)];
        let stands_keep = io.splat(1.0 - std::f32::consts::TAU * 10.0 / io.context.rate_hz);
        let bits = state.bits(WHITE);
        let one_bit = io.splat_bits(1);
        let mut bits = L::Bits::select(bits.lt(one_bit), one_bit, bits);
        let mut at = *state.cell(AT, 0) as usize % len;
        let (least, most) = (io.splat(2.0), io.splat((len - 4) as f32));
        // The string with open and closed gate, computed once if nothing moves.
        let mut still = None;
        if let (Some(hz), Some(open), Some(closed), Some(brightness)) = (
            freq.still(),
            decay.still(),
            release.still(),
            brightness.still(),
        ) {
            still = Some([
                string(io, hz, open, brightness),
                string(io, hz, closed, brightness),
            ]);
        }
        let select = inlined(
            #[inline(always)]
            |mask: L::Mask, yes: String<L>, no: String<L>| String {
                cycle: L::select(mask, yes.cycle, no.cycle),
                middle: L::select(mask, yes.middle, no.middle),
                sides: L::select(mask, yes.sides, no.sides),
            },
        );
        for channel in 0..L::N {
            state.writes(channel * len..(channel + 1) * len, at, io.frames);
        }
        let memory = &mut *state.memory;
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let Edge {
                    gate, open, opens, ..
                } = edges.next(frame, io.at(0, frame));
                let now = match still {
                    Some([ringing, damped]) => select(open, ringing, damped),
                    None => {
                        let ms = L::select(open, decay.at(frame), release.at(frame));
                        string(io, freq.at(frame), ms, brightness.at(frame))
                    }
                };
                if opens.any() {
                    height = L::select(opens, gate.min(one), height);
                    burst = L::select(opens, now.cycle, burst);
                }
                bits = noise::next(bits);
                let white = noise::white(io, bits);
                let pluck = L::select(zero.lt(burst), white * height, zero);
                burst = (burst - one).max(zero);

                // The four samples around the read position, one or two of them before it.
                let delay = (now.cycle - one).max(least).min(most);
                let whole = delay.floor();
                let mut firsts = [0; LANES_MAX];
                whole.truncate().store(&mut firsts[..L::N]);
                let mut taps = [[0.0; LANES_MAX]; 4];
                for (channel, line) in memory.chunks_exact(len).enumerate().take(L::N) {
                    let first = (firsts[channel] as usize).clamp(1, len - 3) - 1;
                    for (tap, samples) in taps.iter_mut().enumerate() {
                        let back = at + len - first - tap;
                        samples[channel] = line[if back >= len { back - len } else { back }];
                    }
                }
                let [a, b, c, d] = [0, 1, 2, 3].map(|tap| L::load(io.token, &taps[tap][..L::N]));
                let x = delay - whole;
                let (x1, x2) = (x - one, x - io.splat(2.0));
                let up = x + one;
                let (sixth, half) = (io.splat(1.0 / 6.0), io.splat(0.5));
                let sample = (d * up * x * x1 - a * x * x1 * x2) * sixth
                    + (b * up * x1 * x2 - c * up * x * x2) * half;

                let round = read[0] * now.middle + (sample + read[1]) * now.sides;
                read = [sample, read[0]];
                let string = round + pluck + io.at(1, frame);
                let size = string.abs();
                let whole = io.splat(1e-20).lt(size) & size.lt(io.splat(1e20));
                let string = L::select(whole, string, zero);
                let mut kept = [0.0; LANES_MAX];
                string.store(&mut kept[..L::N]);
                for (channel, line) in memory.chunks_exact_mut(len).enumerate().take(L::N) {
                    line[at] = kept[channel];
                }
                at = if at + 1 == len { 0 } else { at + 1 };
                // Removes DC.
                stands = [string, string - stands[0] + stands[1] * stands_keep];
                stands[1] * gain.at(frame)
            },
        );
        state.set_bits(AT, io.splat_bits(at as u32));
        state.set_bits(WHITE, bits);
        state.set(GATE, edges.before);
        state.set_flushed(HEIGHT, height);
        state.set_flushed(BURST, burst);
        for number in 0..2 {
            state.set_flushed(READ + number, read[number]);
            state.set_flushed(STANDS + number, stands[number]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, level},
        modules::{
            drum::tests::{peak, rms},
            oscillator::tests::cents_off,
        },
    };

    fn plucked(values: &[(&str, f32)], frames: usize) -> Vec<f32> {
        let mut string = Bench::of::<Karplus>(&[values, &[("gain", 1.0)]].concat());
        string.gate(1.0);
        string.run(frames, &[]).remove(0)
    }

    #[test]
    fn it_is_in_tune_however_bright() {
        for brightness in [0.5, 1.0] {
            for hz in [100.0, 110.3, 220.0, 333.3, 440.0, 523.251_1, 789.1, 1_000.0] {
                let values = [
                    ("freq", hz),
                    ("decay", 60_000.0),
                    ("brightness", brightness),
                ];
                let cents = cents_off(&plucked(&values, 144_000), hz);
                assert!(cents.abs() < 0.1, "{brightness}, {hz} Hz: {cents} cents");
            }
        }
    }

    #[test]
    fn its_fundamental_falls_by_60_decibels_in_its_time_and_by_the_release_once_let_go() {
        for hz in [100.0_f32, 440.0, 1_000.0] {
            let values = [
                ("freq", hz),
                ("decay", 2_000.0),
                ("release", 400.0),
                ("brightness", 0.9),
                ("gain", 1.0),
            ];
            let mut string = Bench::of::<Karplus>(&values);
            string.gate(1.0);
            let open = string.run(48_000, &[]).remove(0);
            string.gate(0.0);
            let closed = string.run(48_000, &[]).remove(0);
            let fell = |part: &[f32], from: usize, to: usize| {
                let at = |begin: usize| level(&part[begin..begin + 4_800], hz.into());
                20.0 * libm::log10(at(from) / at(to))
            };
            let decay = fell(&open, 4_800, 38_400);
            assert!((decay - 21.0).abs() < 0.3, "{hz} Hz: {decay} dB");
            let release = fell(&closed, 480, 10_080);
            assert!((release - 30.0).abs() < 0.3, "{hz} Hz: {release} dB");
        }
    }

    #[test]
    fn a_dark_string_loses_its_high_partials_first() {
        let fell = |brightness, partial: f64| {
            let values = [
                ("freq", 220.0),
                ("decay", 10_000.0),
                ("brightness", brightness),
            ];
            let heard = plucked(&values, 48_000);
            let at = |begin: usize| level(&heard[begin..begin + 12_000], 220.0 * partial);
            20.0 * libm::log10(at(1_000) / at(30_000))
        };
        assert!(fell(0.2, 12.0) > fell(0.2, 2.0) + 20.0);
        assert!(fell(1.0, 12.0) < fell(1.0, 2.0) + 3.0);
    }

    #[test]
    fn each_channel_is_plucked_to_the_frame_by_noise_of_its_own() {
        for channels in [1, 3, 20] {
            let mut string = Bench::poly::<Karplus>(&[("gain", 1.0)], channels);
            let gate = |channel: usize| {
                let height = |n| if n >= 70 + 7 * channel { 0.5 } else { 0.0 };
                (0..4_800).map(height).collect()
            };
            let gates: Vec<Vec<f32>> = (0..channels).map(gate).collect();
            let heard = string.run_poly(4_800, &[("gate", gates)]);
            for (channel, out) in heard.iter().enumerate() {
                let begin = 70 + 7 * channel;
                assert_eq!(peak(&out[..begin]), 0.0);
                assert!(out[begin] != 0.0 && peak(out) < 1.2 && rms(out) > 0.02);
                assert!(channel == 0 || out[begin] != heard[0][70]);
            }
        }
    }

    #[test]
    fn moving_parameters_sound_as_still_ones() {
        let run = |inputs: &[(&str, Vec<f32>)]| {
            let mut string = Bench::of::<Karplus>(&[("freq", 330.0)]);
            string.gate(1.0);
            string.run(4_800, inputs).remove(0)
        };
        let nothing: Vec<f32> = (0..4_800).map(|n| (n % 2) as f32 * 1e-30).collect();
        let moving = run(&["freq", "decay", "brightness"].map(|input| (input, nothing.clone())));
        assert_eq!(run(&[]), moving);
    }

    #[test]
    fn whatever_comes_in_it_stays_within_bounds() {
        let values = [
            ("decay", 60_000.0),
            ("release", 60_000.0),
            ("brightness", 0.0),
        ];
        let mut string = Bench::of::<Karplus>(&values);
        let bad = (0..480)
            .map(|n| [f32::NAN, f32::INFINITY, 1.0][n % 3])
            .collect();
        string.run(480, &[("in", bad)]);
        let heard = string.run(96_000, &[]).remove(0);
        assert!(heard[48_000..].iter().all(|x| x.abs() < 100.0));
    }
}
