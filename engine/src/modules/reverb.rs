//! `reverb`: a room: a feedback delay network of eight lines.
//!
//! A Hadamard matrix, which preserves the energy, mixes the outputs of the lines and feeds them back. Only the gain and
//! the low-pass of each line take energy; they are computed so that every frequency decays in the set time on any
//! path through the lines. Four all-pass filters before the lines increase the density of the first echoes. A change
//! of the size or the predelay fades from the old room to the new one.
//!
//! # Source
//! Jean-Marc Jot, Antoine Chaigne, Digital delay networks for designing artificial reverberators, 1991;
//! Manfred Schroeder, Natural sounding artificial reverberation, 1962 (the all-passes).

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Context, Io, Module, Outs, Polyphony, State},
    smooth::glide_frames,
};

pub struct Reverb;

const LINES: usize = 8;
/// The length of a line in samples; at rates above 70 kHz it limits the largest rooms.
const LINE: usize = 8_192;
/// The lines of a room of size 1: the echoes of two lines rarely coincide.
const LINES_MS: [f32; LINES] = [23.13, 27.71, 31.37, 35.93, 40.39, 45.07, 50.71, 57.29];
/// The length of the predelay's line in samples: 341 ms at 48 kHz.
const PREDELAY: usize = 16_384;
const DIFFUSERS_MS: [f32; 4] = [4.31, 3.17, 1.97, 1.09];
const DIFFUSER: usize = 1_024;
const DIFFUSION: f32 = 0.6;
/// Samples below this level (-200 dB) become 0: they are inaudible and would become denormals, which are slow.
const NOTHING: f32 = 1e-10;
/// The signs of the lines in the left and right output.
const SIDES: [[f32; LINES]; 2] = [
    [1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0],
    [1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0],
];
/// The reciprocal square root of the number of lines: their sum is as loud as one line.
const EACH: f32 = 0.353_553_4;

// Cells: the write position; size and predelay in samples, their previous values, and the remaining frames of the fade;
// for each line the gain, the coefficient of the low-pass, and its state.
const AT: usize = 0;
const SIZE: usize = 1;
const PRE: usize = 3;
const LEFT: usize = 5;
const BEGUN: usize = 6;
const GAIN: usize = 7;
const GO: usize = GAIN + LINES;
const LOW: usize = GO + LINES;

/// The lengths of the lines of a room.
#[inline(always)]
fn lengths(context: Context, size: f32) -> [usize; LINES] {
    let each_ms = context.rate_hz / 1000.0;
    let size = size.min((LINE - 1) as f32 / (LINES_MS[LINES - 1] * each_ms));
    LINES_MS.map(|ms| ((ms * size * each_ms + 0.5) as usize).clamp(1, LINE - 1))
}

/// The loss of a line at each pass: its gain, and the coefficient of its low-pass.
///
/// If a line must lose D dB at low frequencies in a pass, it loses 2 D dB at the damping frequency, where a sound
/// decays in half the time.
fn design(context: Context, length: usize, decay_s: f32, damping_hz: f32) -> (f32, f32) {
    let rate = f64::from(context.rate_hz);
    let loss_db = 60.0 * length as f64 / (rate * f64::from(decay_s).max(0.01));
    let gain = libm::pow(10.0, -loss_db / 20.0);
    let cycle = f64::from(damping_hz).clamp(1.0, rate * 0.49) / rate;
    let w = libm::tan(std::f64::consts::PI * cycle);
    let corner = w / (libm::pow(10.0, loss_db / 10.0) - 1.0).max(1e-12).sqrt();
    // A pass that loses nearly all energy would need a low-pass that rings for longer than the decay.
    let corner = corner.max(std::f64::consts::LN_10 * 1.5 / (rate * f64::from(decay_s).max(0.01)));
    (gain as f32, (corner / (1.0 + corner)) as f32)
}

/// The Hadamard matrix of eight.
#[inline(always)]
fn hadamard(mut x: [f32; LINES]) -> [f32; LINES] {
    for half in [1, 2, 4] {
        let before = x;
        for (line, x) in x.iter_mut().enumerate() {
            let other = before[(line ^ half) & 7];
            *x = match line & half {
                0 => before[line] + other,
                _ => other - before[line],
            };
        }
    }
    x
}

/// Flushes inaudible values to 0.
#[inline(always)]
fn flush_denormal(x: f32) -> f32 {
    let size = x.abs();
    if size > NOTHING && size < 1e10 {
        x
    } else {
        0.0
    }
}

impl Module for Reverb {
    const TYPE: ModuleType = ModuleType {
        name: "reverb",
        help: "reverberation of a room, in stereo",
        inputs: &["in"],
        outputs: &["left", "right"],
        params: &[
            linear("size", "", [0.2, 1.0, 2.0], "size of the room"),
            log(
                "decay",
                "s",
                [0.1, 2.0, 60.0],
                "time for a sound to fall by 60 dB",
            ),
            log(
                "damping",
                "Hz",
                [200.0, 6_000.0, 20_000.0],
                "frequency at which a sound decays in half the time",
            ),
            linear(
                "predelay",
                "ms",
                [0.0, 10.0, 200.0],
                "time before the first reflection",
            ),
            linear("mix", "", [0.0, 0.3, 1.0], "from dry (0) to room only (1)"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const POLYPHONY: Polyphony = Polyphony::Summed;
    const CELLS: usize = LOW + LINES;

    fn memory(_: Context) -> usize {
        LINES * LINE + PREDELAY + DIFFUSERS_MS.len() * DIFFUSER
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [size, decay, damping, predelay, mix] = io.params();
        let whole_glide = glide_frames(io.context.rate_hz);
        let each_ms = io.context.rate_hz / 1000.0;
        let diffusers =
            DIFFUSERS_MS.map(|ms| ((ms * each_ms + 0.5) as usize).clamp(1, DIFFUSER - 1));
        let memory = Self::memory(io.context);
        let (lefts, rights) = outs.two();
        // The type has one channel; the loop also allows several.
        for channel in 0..io.channels {
            let mut at = *state.cell(AT, channel) as usize;
            let mut sizes = [0, 1].map(|n| state.number(SIZE + n, channel));
            let mut pres = [0, 1].map(|n| *state.cell(PRE + n, channel) as usize % PREDELAY);
            let mut left = (*state.cell(LEFT, channel)).min(whole_glide);
            let wish = |frame: usize| {
                let pre = predelay.at(frame).lane(channel) * each_ms + 0.5;
                let pre = (pre as usize).min(PREDELAY - 1);
                (size.at(frame).lane(channel), pre)
            };
            let begins = *state.cell(BEGUN, channel) == 0;
            if begins {
                let (size, pre) = wish(0);
                (sizes, pres) = ([size; 2], [pre; 2]);
            }
            let mut rooms = sizes.map(|size| lengths(io.context, size));
            let load = |state: &State<'_, L>, cell: usize| -> [f32; LINES] {
                std::array::from_fn(|line| state.number(cell + line, channel))
            };
            let (mut gain, mut go) = (load(state, GAIN), load(state, GO));
            let mut low = load(state, LOW);
            // The losses of the lines move linearly over the block to their values at its end.
            let (mut gain_step, mut go_step) = ([0.0; LINES], [0.0; LINES]);
            if io.fresh || begins {
                let last = io.frames - 1;
                let room = lengths(io.context, wish(last).0);
                let decay_s = decay.at(last).lane(channel);
                let damping_hz = damping.at(last).lane(channel);
                for line in 0..LINES {
                    let found = design(io.context, room[line], decay_s, damping_hz);
                    if begins {
                        (gain[line], go[line]) = found;
                    }
                    gain_step[line] = (found.0 - gain[line]) / io.frames as f32;
                    go_step[line] = (found.1 - go[line]) / io.frames as f32;
                }
            }
            let mut begin = channel * memory;
            for len in [LINE; LINES]
                .into_iter()
                .chain([PREDELAY])
                .chain([DIFFUSER; 4])
            {
                state.writes(begin..begin + len, at % len, io.frames);
                begin += len;
            }
            let (lines, rest) =
                state.memory[channel * memory..][..memory].split_at_mut(LINES * LINE);
            let (pre_line, diffuser_lines) = rest.split_at_mut(PREDELAY);
            for frame in 0..io.frames {
                if left == 0 {
                    let (size, pre) = wish(frame);
                    if size != sizes[0] || pre != pres[0] {
                        (sizes, pres) = ([size, sizes[0]], [pre, pres[0]]);
                        rooms = [lengths(io.context, size), rooms[0]];
                        left = whole_glide;
                    }
                }
                let old_part = left.saturating_sub(1) as f32 / whole_glide as f32;
                let old_part = if left == 0 { 0.0 } else { old_part };
                left = left.saturating_sub(1);
                let dry = io.input(0)[frame * L::N + channel];
                pre_line[at % PREDELAY] = flush_denormal(dry);
                let heard = |length: usize| pre_line[at.wrapping_sub(length) % PREDELAY];
                let mut x = heard(pres[0]);
                if left > 0 {
                    x += (heard(pres[1]) - x) * old_part;
                }
                for (line, length) in diffuser_lines.chunks_exact_mut(DIFFUSER).zip(diffusers) {
                    let came = line[at.wrapping_sub(length) % DIFFUSER];
                    let goes = x + came * DIFFUSION;
                    line[at % DIFFUSER] = flush_denormal(goes);
                    x = came - goes * DIFFUSION;
                }
                let mut y = [0.0; LINES];
                for (line, y) in y.iter_mut().enumerate() {
                    let samples = &lines[line * LINE..][..LINE];
                    let heard = |room: usize| samples[at.wrapping_sub(rooms[room][line]) % LINE];
                    *y = heard(0);
                    if left > 0 {
                        *y += (heard(1) - *y) * old_part;
                    }
                }
                for line in 0..LINES {
                    gain[line] += gain_step[line];
                    go[line] += go_step[line];
                    let step = (y[line] * gain[line] - low[line]) * go[line];
                    y[line] = low[line] + step;
                    low[line] = y[line] + step;
                }
                let mixed = hadamard(y);
                for (line, mixed) in mixed.into_iter().enumerate() {
                    lines[line * LINE + at % LINE] = flush_denormal(mixed * EACH + x * 0.5);
                }
                at = at.wrapping_add(1);
                let mix = mix.at(frame).lane(channel);
                for (side, out) in [&mut *lefts, &mut *rights].into_iter().enumerate() {
                    let mut wet = 0.0;
                    for (y, sign) in y.iter().zip(SIDES[side]) {
                        wet += y * sign;
                    }
                    out[frame * L::N + channel] = dry + (wet * EACH - dry) * mix;
                }
            }
            // The counter may wrap at 2^32, since the length of every line divides 2^32.
            *state.cell(AT, channel) = at as u32;
            *state.cell(LEFT, channel) = left;
            *state.cell(BEGUN, channel) = 1;
            for n in [0, 1] {
                state.set_number(SIZE + n, channel, sizes[n]);
                *state.cell(PRE + n, channel) = pres[n] as u32;
            }
            for line in 0..LINES {
                state.set_number(GAIN + line, channel, gain[line]);
                state.set_number(GO + line, channel, go[line]);
                state.set_number(LOW + line, channel, flush_denormal(low[line]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};
    use crate::modules::filter::Filter;

    fn response(values: &[(&str, f32)], frames: usize) -> Vec<Vec<f32>> {
        let mut input = vec![0.0; frames];
        input[0] = 1.0;
        let mut all = vec![("mix", 1.0), ("predelay", 0.0)];
        all.extend(values);
        Bench::of::<Reverb>(&all).run(frames, &[("in", input)])
    }

    /// The time in which a band around that frequency dies away by 60 dB, from its fall between -5 and
    /// -25 dB of all that is still to come (Schroeder, 1965).
    fn rt60(out: &[f32], hz: f32, q: f32) -> f64 {
        let values = [("cutoff", hz), ("q", q), ("mode", 2.0)];
        let band = Bench::of::<Filter>(&values).run(out.len(), &[("in", out.to_vec())]);
        let mut to_come = 0.0;
        let mut falling: Vec<f64> = band[0]
            .iter()
            .rev()
            .map(|x| {
                to_come += f64::from(*x) * f64::from(*x);
                to_come
            })
            .collect();
        falling.reverse();
        let at = |db: f64| {
            let level = falling[0] * libm::pow(10.0, db / 10.0);
            falling.iter().position(|x| *x < level).unwrap() as f64
        };
        3.0 * (at(-25.0) - at(-5.0)) / 48_000.0
    }

    #[test]
    fn it_dies_away_in_the_time_that_is_set() {
        for (decay, size) in [(0.5, 0.4), (2.0, 1.0), (4.0, 2.0)] {
            let values = [("decay", decay), ("size", size), ("damping", 4_000.0)];
            let out = response(&values, (decay * 72_000.0) as usize);
            for side in &out {
                let (low, high) = (rt60(side, 200.0, 4.0), rt60(side, 4_000.0, 20.0));
                let (low, high) = (low / f64::from(decay), high / f64::from(decay));
                assert!((low - 1.0).abs() < 0.08, "{decay} s: {low} of it at 200 Hz");
                assert!(
                    (high - 0.5).abs() < 0.07,
                    "{decay} s: {high} of it at 4 kHz"
                );
            }
        }
    }

    #[test]
    fn it_begins_after_the_predelay_and_sounds_wide() {
        let out = response(&[("predelay", 100.0)], 96_000);
        let first = |out: &Vec<f32>| out.iter().position(|x| *x != 0.0);
        assert_eq!(first(&out[0]), Some(4_800 + 1_110));
        assert_eq!(first(&out[1]), Some(4_800 + 1_110));
        let product = |a: &[f32], b: &[f32]| -> f64 {
            let both = a.iter().zip(b);
            both.map(|(a, b)| f64::from(a * b)).sum()
        };
        let (left, right) = (product(&out[0], &out[0]), product(&out[1], &out[1]));
        let alike = product(&out[0], &out[1]) / (left * right).sqrt();
        assert!(alike.abs() < 0.15, "{alike}");
        assert!((left / right - 1.0).abs() < 0.2, "{left} {right}");
    }

    #[test]
    fn the_matrix_keeps_the_energy() {
        let x = [0.3, -0.1, 0.7, 0.2, -0.9, 0.5, 0.4, -0.6];
        let energy = |x: [f32; 8]| x.iter().map(|x| x * x).sum::<f32>();
        let y = hadamard(x).map(|x| x * EACH);
        assert!((energy(x) - energy(y)).abs() < 1e-6);
        assert_ne!(x, y);
        // Twice is back.
        let back = hadamard(y).map(|x| x * EACH);
        assert!(x.iter().zip(back).all(|(x, y)| (x - y).abs() < 1e-6));
    }

    #[test]
    fn no_jump_of_a_parameter_clicks_and_it_falls_silent() {
        let mut reverb = Bench::of::<Reverb>(&[("mix", 1.0)]);
        let mut heard = Vec::new();
        for (param, value) in [
            ("size", 0.5),
            ("decay", 0.2),
            ("predelay", 150.0),
            ("damping", 300.0),
            ("size", 2.0),
            ("mix", 0.2),
            ("decay", 0.1),
        ] {
            let input = (heard.len()..heard.len() + 9_600)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 960.0) as f32 * 0.5)
                .collect();
            heard.extend(reverb.run(9_600, &[("in", input)]).remove(0));
            reverb.set(param, value);
        }
        assert!(
            step_max(&heard[960..]) < 0.04,
            "{}",
            step_max(&heard[960..])
        );
        let out = reverb.run(96_000, &[]);
        assert!(out[0][90_000..].iter().all(|x| *x == 0.0));
        assert!(reverb.run(64, &[("in", vec![f32::NAN; 64])])[0].len() == 64);
        assert!(reverb.run(96_000, &[])[0].iter().all(|x| x.is_finite()));
    }

    #[test]
    fn its_state_is_within_what_a_checkpoint_bears() {
        let context = Context {
            rate_hz: 192_000.0,
            wide: true,
        };
        assert!((Reverb::memory(context) + Reverb::CELLS) * 4 < 400 * 1024);
    }
}
