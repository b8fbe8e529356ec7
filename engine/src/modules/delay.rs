//! `delay`: a feedback echo.
//!
//! The line is a ring of samples in the arena, 80 KiB for each channel: with the reverberation the largest state of
//! all modules, and therefore used to measure checkpoints. A change of the time fades from the old echo to the new
//! one; the line itself is never cleared. Two filters in the feedback may remove bass and treble; at the ends of their
//! ranges the filters have no effect at all.
//!
//! # Source
//! Julius O. Smith, Physical Audio Signal Processing, "Delay Lines" and "Feedback Comb Filters",
//! <https://ccrma.stanford.edu/~jos/pasp/>.

use super::{
    echo::{self, Band, flush_denormal},
    linear,
};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, Mask},
    module::{Context, Io, Module, Outs, State},
};

pub struct Delay;

/// The length of the line in samples: 426 ms at 48 kHz; less at higher rates.
const LINE: usize = 20_480;

/// The state of the filters in the feedback.
const FILTERS: usize = echo::CELLS;

fn samples(ms: f32, context: Context) -> u32 {
    ((ms * context.rate_hz / 1000.0) as u32).clamp(1, LINE as u32 - 1)
}

impl Module for Delay {
    const TYPE: ModuleType = ModuleType {
        name: "delay",
        help: "echo with feedback and two filters",
        inputs: &["in"],
        outputs: &["out"],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
        params: &[
            linear(
                "time",
                "ms",
                [1.0, 250.0, 400.0],
                "time from one echo to the next",
            ),
            linear(
                "feedback",
                "",
                [0.0, 0.4, 0.95],
                "level of an echo relative to the one before",
            ),
            echo::MIX,
            echo::LOW,
            echo::HIGH,
        ],
    };
    const CELLS: usize = FILTERS + 2;

    fn memory(_: Context) -> usize {
        LINE
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (time, feedback, mix) = (io.param(0), io.param(1), io.param(2));
        let (low, high) = (io.param(3), io.param(4));
        let still_band = low.still().is_some() && high.still().is_some();
        let first_band = Band::of(io, low.first(), high.first());
        let zero = io.splat(0.0);
        let parts = zero.lt(first_band[1]) | zero.lt(first_band[3]);
        let filters = !still_band || parts.any();
        let out = outs.samples(0);
        for channel in 0..io.channels {
            let of = |value: L| value.lane(channel);
            let mut tap = echo::Tap::load(io, state, channel, LINE);
            let mut poles = [0, 1].map(|n| flush_denormal(state.number(FILTERS + n, channel)));
            let mut band = Band::lane(first_band, channel);
            state.writes(channel * LINE..(channel + 1) * LINE, tap.at, io.frames);
            let line = &mut state.memory[channel * LINE..][..LINE];
            for frame in 0..io.frames {
                tap.aim(|| samples(of(time.at(frame)), io.context) as usize);
                let echo = tap.heard(line);
                let input = io.input(0)[frame * L::N + channel];
                out[frame * L::N + channel] = input + (echo - input) * of(mix.at(frame));
                let mut back = echo;
                if filters {
                    if !still_band {
                        let all = Band::of(io, low.at(frame), high.at(frame));
                        band = Band::lane(all, channel);
                    }
                    back = band.next(&mut poles, echo);
                }
                line[tap.at] = flush_denormal(input + back * of(feedback.at(frame)));
                tap.next();
            }
            tap.keep(state, channel);
            for (n, pole) in poles.into_iter().enumerate() {
                state.set_number(FILTERS + n, channel, pole);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn an_impulse_comes_again_at_its_time_and_softer() {
        let mut delay = Bench::of::<Delay>(&[("time", 10.0), ("feedback", 0.5), ("mix", 1.0)]);
        let mut input = vec![0.0; 2_000];
        input[0] = 1.0;
        let heard = delay.run(2_000, &[("in", input)]).remove(0);
        let loud: Vec<(usize, f32)> = heard
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, sample)| *sample != 0.0)
            .collect();
        assert_eq!(loud, [(480, 1.0), (960, 0.5), (1440, 0.25), (1920, 0.125)]);
    }

    #[test]
    fn a_change_of_time_does_not_click() {
        let mut delay = Bench::of::<Delay>(&[("time", 100.0), ("feedback", 0.0), ("mix", 1.0)]);
        let tone = |n: usize| libm::sin(n as f64 * 0.01) as f32 * 0.5;
        let input: Vec<f32> = (0..24_000).map(tone).collect();
        let mut heard = delay
            .run(12_000, &[("in", input[..12_000].to_vec())])
            .remove(0);
        delay.set("time", 37.0);
        heard.extend(
            delay
                .run(12_000, &[("in", input[12_000..].to_vec())])
                .remove(0),
        );
        let step = heard
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(step < 0.01, "{step}");
    }

    #[test]
    fn what_goes_back_is_filtered_as_by_the_formula() {
        let values = [("time", 100.0), ("feedback", 0.5), ("mix", 1.0)];
        let mut input = vec![0.0; 14_400];
        input[0] = 1.0;
        for (low, high) in [(300.0, 20_000.0), (10.0, 2_000.0), (100.0, 5_000.0)] {
            let all = [&values[..], &[("low", low), ("high", high)]].concat();
            let out = Bench::of::<Delay>(&all).run(14_400, &[("in", input.clone())]);
            // The first echo is as it was, the second went back once.
            let once = &out[0][9_600..14_400];
            assert!(out[0][4_800] == 1.0 && out[0][4_801] == 0.0);
            for hz in [50.0, 300.0, 1_000.0, 2_000.0, 8_000.0] {
                let tan = |hz: f64| libm::tan(std::f64::consts::PI * hz / 48_000.0);
                let s = [low, high].map(|corner| tan(hz) / tan(f64::from(corner)));
                let mut expected = 0.5;
                if low > 10.0 {
                    expected *= s[0] / (1.0 + s[0] * s[0]).sqrt();
                }
                if high < 20_000.0 {
                    expected /= (1.0 + s[1] * s[1]).sqrt();
                }
                let off = 20.0 * libm::log10(crate::bench::gain_at(once, hz) / expected);
                assert!(off.abs() < 0.1, "{low} {high} at {hz} Hz: {off} dB off");
            }
        }
    }

    #[test]
    fn a_change_of_its_filters_does_not_click() {
        let mut delay = Bench::of::<Delay>(&[("time", 50.0), ("feedback", 0.9), ("mix", 1.0)]);
        let mut heard = Vec::new();
        for (param, value) in [
            ("low", 400.0),
            ("high", 300.0),
            ("low", 10.0),
            ("high", 20_000.0),
        ] {
            let tone = |n: usize| libm::sin(n as f64 * 0.01) as f32 * 0.2;
            let input = (heard.len()..heard.len() + 9_600).map(tone).collect();
            heard.extend(delay.run(9_600, &[("in", input)]).remove(0));
            delay.set(param, value);
        }
        let step = crate::bench::step_max(&heard[2_500..]);
        assert!(step < 0.03, "{step}");
    }

    #[test]
    fn each_channel_is_as_if_it_were_alone() {
        let values = [("time", 2.0), ("low", 100.0), ("high", 3_000.0)];
        crate::bench::alone::<Delay>(&values, &["in"]);
        crate::bench::alone::<Delay>(&values, &["in", "high"]);
    }
}
