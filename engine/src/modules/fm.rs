//! `fm`: four sine operators that modulate each other's phase, in eight algorithms.
//!
//! As in most FM instruments, a modulator is added to the phase, so that the pitch does not change. Levels are ordinary
//! parameters; envelopes modulate them by cables. An algorithm is a table of modulation routes and output levels; a
//! change of the algorithm glides from table to table.
//!
//! # Source
//! John Chowning, The synthesis of complex audio spectra by means of frequency modulation, 1973; the
//! feedback, of the mean of the last two samples, after Norio Tomisawa, US patent 4,249,447, 1981.

use super::{choice, hard_sync::Sync, linear, log, oscillator};
use crate::{
    catalog::{ModuleType, Param},
    lanes::{Bits, Lanes, Mask, inlined},
    math,
    module::{Io, Module, Outs, State},
    smooth::glide_frames,
};

pub struct Fm;

const OPERATORS: usize = 4;
/// The phase modulation by an operator at level 1, in cycles: an index of 4 π.
const INDEX: f32 = 2.0;
/// The phase modulation of the fourth operator by itself at level 1 and feedback 1, in cycles.
const FEEDBACK: f32 = 0.5;

const RATIO: usize = 2;
const LEVEL: usize = RATIO + OPERATORS;
const FEEDBACK_PARAM: usize = LEVEL + OPERATORS;
const ALGORITHM_PARAM: usize = FEEDBACK_PARAM + 1;

const ALGORITHMS: &[&str] = &[
    "4>3>2>1",
    "(4+3)>2>1",
    "(4+(3>2))>1",
    "((4>3)+2)>1",
    "4>3,2>1",
    "4>(3+2+1)",
    "4>3,2,1",
    "4,3,2,1",
];

/// The modulation routes, then the output levels.
const ROUTES: usize = 10;
type Routes<T> = [T; ROUTES];
const R43: usize = 0;
const R42: usize = 1;
const R41: usize = 2;
const R32: usize = 3;
const R31: usize = 4;
const R21: usize = 5;
const HEARD: usize = 6;

/// The routes of [`ALGORITHMS`]; the output levels add up to at most 1.
const TABLE: [Routes<f32>; 8] = {
    const THIRD: f32 = 1.0 / 3.0;
    [
        [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.5, 0.0],
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, THIRD, THIRD, THIRD, 0.0],
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, THIRD, THIRD, THIRD, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25],
    ]
};

// Cells: the phases, the fourth operator's last two samples, the input `sync` in the previous frame, the algorithm,
// the remaining frames of its glide, the routes during the glide, and the second half of the rounding of a `sync`.
const PHASES: usize = 0;
const LAST: usize = PHASES + OPERATORS;
const SYNC: usize = LAST + 2;
const ALGORITHM: usize = SYNC + 1;
const LEFT: usize = ALGORITHM + 1;
const ROUTE: usize = LEFT + 1;
const ROUNDS: usize = ROUTE + ROUTES;

/// A phase shifted by `cycles`.
#[inline(always)]
fn moved<L: Lanes>(io: &Io<'_, L>, phase: L::Bits, cycles: L) -> L::Bits {
    let part = cycles - (cycles + io.splat(0.5)).floor();
    phase + (part * io.splat(math::CYCLE)).truncate()
}

const fn ratio(name: &'static str) -> Param {
    log(
        name,
        "",
        [0.125, 1.0, 32.0],
        "frequency of the operator, as a multiple of freq",
    )
}

const fn level(name: &'static str, default: f32) -> Param {
    linear(
        name,
        "",
        [0.0, default, 1.0],
        "level of the operator; as a modulator, 1 is an index of 4 pi",
    )
}

impl Module for Fm {
    const TYPE: ModuleType = ModuleType {
        name: "fm",
        help: "four operators that modulate each other's phase",
        inputs: &["sync"],
        outputs: &["out"],
        params: &[
            oscillator::FREQ,
            oscillator::GAIN,
            ratio("ratio1"),
            ratio("ratio2"),
            ratio("ratio3"),
            ratio("ratio4"),
            level("level1", 1.0),
            level("level2", 0.15),
            level("level3", 0.0),
            level("level4", 0.0),
            linear(
                "feedback",
                "",
                [0.0, 0.0, 1.0],
                "phase modulation of operator 4 by itself; 1 is an index of pi",
            ),
            choice(
                "algorithm",
                ALGORITHMS,
                "routing: > means modulates; the last operator of each chain is heard",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = ROUNDS + 1;

    fn start(_: usize, params: &[f32], cells: &mut [u32]) {
        cells[ALGORITHM] = params[ALGORITHM_PARAM] as u32;
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (freq, gain) = (io.param(0), io.param(1));
        let ratios = [0, 1, 2, 3].map(|operator| io.param(RATIO + operator));
        let levels = [0, 1, 2, 3].map(|operator| io.param(LEVEL + operator));
        let feedback = io.param(FEEDBACK_PARAM);
        let algorithm = (io.param(ALGORITHM_PARAM).first().lane(0) as u32).min(7);
        let table = TABLE[algorithm as usize];
        let glide = glide_frames(io.context.rate_hz);
        let mut left = (*state.cell(LEFT, 0)).min(glide);
        let mut routes: Routes<f32> = std::array::from_fn(|route| state.number(ROUTE + route, 0));
        let before = *state.cell(ALGORITHM, 0);
        if before != algorithm {
            if left == 0 {
                routes = TABLE[before as usize % TABLE.len()];
            }
            left = glide;
            state.set_bits(ALGORITHM, io.splat_bits(algorithm));
        }
        if left == 0 {
            routes = table;
        }
        let mut phases: [L::Bits; OPERATORS] = std::array::from_fn(|o| state.bits(PHASES + o));
        let mut last = [state.get(LAST), state.get(LAST + 1)];
        let mut sync_before = state.get(SYNC);
        let (zero, one, half) = (io.splat(0.0), io.splat(1.0), io.splat(0.5));
        let synced = io.plugged(0);
        let mut due = match synced {
            true => state.get(ROUNDS),
            false => zero,
        };
        let mut still_steps = None;
        if let (Some(hz), Some(a), Some(b), Some(c), Some(d)) = (
            freq.still(),
            ratios[0].still(),
            ratios[1].still(),
            ratios[2].still(),
            ratios[3].still(),
        ) {
            still_steps = Some([
                math::step(io, hz * a),
                math::step(io, hz * b),
                math::step(io, hz * c),
                math::step(io, hz * d),
            ]);
        }
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                if left > 0 {
                    for (route, wanted) in routes.iter_mut().zip(table) {
                        *route += (wanted - *route) / left as f32;
                    }
                    left -= 1;
                    if left == 0 {
                        routes = table;
                    }
                }
                let routes = routes;
                let by = |route: usize| io.splat(routes[route] * INDEX);
                let itself = feedback.at(frame) * io.splat(FEEDBACK * 0.5);
                let levels = levels.map(|level| level.at(frame));
                // The output at these phases, and the fourth operator.
                let sound = inlined(
                    #[inline(always)]
                    |phases: [L::Bits; OPERATORS]| {
                        let four =
                            math::sine(io, moved(io, phases[3], (last[0] + last[1]) * itself));
                        let four = four * levels[3];
                        let three = math::sine(io, moved(io, phases[2], four * by(R43)));
                        let three = three * levels[2];
                        let cycles = four * by(R42) + three * by(R32);
                        let two = math::sine(io, moved(io, phases[1], cycles));
                        let two = two * levels[1];
                        let cycles = four * by(R41) + three * by(R31) + two * by(R21);
                        let one = math::sine(io, moved(io, phases[0], cycles));
                        let one = one * levels[0];
                        let part = |operator: usize| io.splat(routes[HEARD + operator]);
                        let sum =
                            one * part(0) + two * part(1) + (three * part(2) + four * part(3));
                        (sum, four)
                    },
                );
                let steps = match still_steps {
                    Some(steps) => steps,
                    None => ratios.map(|ratio| math::step(io, freq.at(frame) * ratio.at(frame))),
                };
                let (mut sum, four) = sound(phases);
                let mut next = phases;
                for (phase, step) in next.iter_mut().zip(steps) {
                    *phase = *phase + step;
                }
                if synced {
                    // As in every oscillator (`sync`): a cycle restarts one frame after the rising edge, and the
                    // jump is rounded over the two adjacent frames.
                    sum = sum + due;
                    due = zero;
                    let now = io.at(0, frame);
                    let sync = Sync {
                        before: sync_before,
                        now,
                    };
                    sync_before = now;
                    let rises = sync.rises(io);
                    if rises.any() {
                        let ago = sync.ago(io);
                        let rest = one - ago;
                        let part = |hz: L, ratio: L, frames: L| math::step(io, hz * ratio * frames);
                        let mut end = phases;
                        for operator in 0..OPERATORS {
                            let (hz, ratio) = (freq.at(frame), ratios[operator].at(frame));
                            end[operator] = end[operator] + part(hz, ratio, rest);
                            let gone = part(hz, ratio, ago);
                            next[operator] = L::Bits::select(rises, gone, next[operator]);
                        }
                        let start = [io.splat_bits(0); OPERATORS];
                        let height = sound(start).0 - sound(end).0;
                        let before = height * ago * ago * half;
                        // Channels without a rising edge stay unchanged: adding 0 would turn -0 into 0, but only
                        // beside a channel with a rising edge.
                        sum = L::select(rises, sum + before, sum);
                        due = L::select(rises, -(height * rest * rest * half), zero);
                    }
                }
                phases = next;
                last = [four, last[0]];
                sum * gain.at(frame)
            },
        );
        for (operator, phase) in phases.into_iter().enumerate() {
            state.set_bits(PHASES + operator, phase);
        }
        state.set_flushed(LAST, last[0]);
        state.set_flushed(LAST + 1, last[1]);
        state.set(SYNC, sync_before);
        state.set_flushed(ROUNDS, due);
        state.set_bits(LEFT, io.splat_bits(left));
        for (number, route) in routes.into_iter().enumerate() {
            state.set(ROUTE + number, io.splat(route));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, level, step_max},
        modules::oscillator::tests::{assert_in_tune, assert_synced_without_noise, heard},
    };

    #[test]
    fn it_is_in_tune() {
        assert_in_tune::<Fm>(&[("level2", 0.05)]);
    }

    #[test]
    fn its_sidebands_are_bessel_functions_of_the_index() {
        for index in [0.5, 1.0, 2.0] {
            let values = [
                ("ratio2", 0.125),
                ("level2", (index / (4.0 * std::f64::consts::PI)) as f32),
            ];
            let heard = heard::<Fm>(&values, 4_000.0, 48_000);
            for order in -5..=5 {
                let exact = libm::jn(order, index).abs();
                let found = level(&heard, 4_000.0 + 500.0 * f64::from(order));
                assert!(
                    (found - exact).abs() < 1e-4,
                    "index {index}, {order}: {found} {exact}"
                );
            }
        }
    }

    /// The algorithms as formulas: the output, given `moved(operator, by)`.
    fn formula(algorithm: usize, moved: &dyn Fn(usize, f64) -> f64, four: f64) -> f64 {
        let m = moved;
        let alone = |operator| m(operator, 0.0);
        match algorithm {
            0 => m(1, m(2, m(3, four))),
            1 => m(1, m(2, four + alone(3))),
            2 => m(1, four + m(2, alone(3))),
            3 => m(1, m(3, four) + alone(2)),
            4 => (m(3, four) + m(1, alone(2))) / 2.0,
            5 => (m(3, four) + m(2, four) + m(1, four)) / 3.0,
            6 => (m(3, four) + alone(2) + alone(1)) / 3.0,
            _ => (four + alone(3) + alone(2) + alone(1)) / 4.0,
        }
    }

    #[test]
    fn every_algorithm_is_its_formula() {
        let ratios = [1.0_f32, 2.0, 3.0, 0.5];
        let levels = [0.9_f32, 0.1, 0.07, 0.15];
        for feedback in [0.0_f32, 0.8] {
            for (number, name) in ALGORITHMS.iter().enumerate() {
                let values = [
                    ("ratio2", ratios[1]),
                    ("ratio3", ratios[2]),
                    ("ratio4", ratios[3]),
                    ("level1", levels[0]),
                    ("level2", levels[1]),
                    ("level3", levels[2]),
                    ("level4", levels[3]),
                    ("feedback", feedback),
                    ("algorithm", number as f32),
                ];
                let found = heard::<Fm>(&values, 480.0, 4_800);
                let mut last = [0.0; 2];
                for (n, found) in found.iter().enumerate() {
                    let sine = |operator: usize, cycles: f64| {
                        let own = 0.01 * n as f64 * f64::from(ratios[operator - 1]);
                        let angle = (own - libm::floor(own) + cycles) * std::f64::consts::TAU;
                        f64::from(levels[operator - 1]) * libm::sin(angle)
                    };
                    let four = sine(4, (last[0] + last[1]) / 2.0 * f64::from(feedback) * 0.5);
                    last = [four, last[0]];
                    let exact = formula(number, &|operator, by| sine(operator, 2.0 * by), four);
                    assert!(
                        (f64::from(*found) - exact).abs() < 1e-4,
                        "{name} at {n}: {found} {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn synced_it_is_nearly_without_noise() {
        let plain = |cycle: f64| {
            let modulator = 0.15 * libm::sin(cycle * std::f64::consts::TAU);
            libm::sin((cycle + 2.0 * modulator) * std::f64::consts::TAU)
        };
        assert_synced_without_noise::<Fm>(plain);
    }

    #[test]
    fn a_turn_begins_between_two_frames() {
        // Feedback apart, a sine: it rises 0.25 frames before the frame 200, and begins a frame later.
        let values = [("freq", 100.0), ("gain", 1.0), ("level2", 0.0)];
        let mut fm = Bench::of::<Fm>(&values);
        let sync = (0..400).map(|n| match n {
            200 => 0.25,
            _ if n < 200 => -0.75,
            _ => 1.0,
        });
        let heard = fm.run(400, &[("sync", sync.collect())]).remove(0);
        let sine = |frames: f64| libm::sin(frames / 480.0 * std::f64::consts::TAU);
        let height = -sine(200.75);
        for (n, found) in heard.iter().enumerate() {
            let at = n as f64;
            let exact = match n {
                ..200 => sine(at),
                200 => sine(200.0) + height * 0.25 * 0.25 / 2.0,
                201 => sine(0.25) - height * 0.75 * 0.75 / 2.0,
                _ => sine(at - 200.75),
            };
            assert!(
                (f64::from(*found) - exact).abs() < 1e-4,
                "{n}: {found} {exact}"
            );
        }
    }

    #[test]
    fn a_change_of_algorithm_does_not_click() {
        let values = [
            ("freq", 200.0),
            ("gain", 1.0),
            ("level2", 0.05),
            ("level3", 0.05),
            ("level4", 0.05),
        ];
        let mut fm = Bench::of::<Fm>(&values);
        let mut heard = fm.run(500, &[]).remove(0);
        for (algorithm, frames) in [(7, 700), (2, 100), (5, 900), (0, 600)] {
            fm.set("algorithm", algorithm as f32);
            heard.extend(fm.run(frames, &[]).remove(0));
        }
        // Three modulators of an index of 0.63 on 200 Hz: 0.026 (1 + 3 x 0.63), and the glide.
        assert!(step_max(&heard) < 0.08, "{}", step_max(&heard));
    }

    #[test]
    fn every_channel_is_as_one_alone() {
        let values = [("freq", 321.0), ("level3", 0.3), ("feedback", 0.4)];
        let alone = Bench::of::<Fm>(&values).run(1_000, &[]).remove(0);
        for channels in [5, 16, 20] {
            let all = Bench::poly::<Fm>(&values, channels).run(1_000, &[]);
            assert!(all.iter().all(|channel| *channel == alone));
        }
    }
}
