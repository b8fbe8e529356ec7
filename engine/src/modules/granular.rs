//! `granular`: a cloud of grains from the recent input or from a recording.
//!
//! Grains begin at the rate of `density`, at random positions around the set one, under a bell-shaped envelope. A
//! line holds the recent input, unless `freeze` is on; with a recording, its frames replace the line. A grain keeps
//! its initial pitch, length and pan position.
//!
//! # Source
//! Curtis Roads, Microsound, 2001, chapter 3.

use super::{choice, linear, log, noise};
use crate::{
    bandlimited::{self, Bounds, GRAIN_REACH, Kernel, ONE, Quality},
    catalog::ModuleType,
    lanes::{Lanes, Whole},
    module::{Context, Io, Module, Outs, Polyphony, State},
};

pub struct Granular;

/// The length of the line in samples: 2.7 s at 48 kHz.
const LINE: usize = 131_072;
/// The limit of simultaneous grains.
const GRAINS: usize = 64;

// Cells: the write position, the frames until the next grain, the random state, whether the module has begun; then
// for each grain its position (two), its step (two), its age and length in frames, its pan position.
const AT: usize = 0;
const NEXT: usize = 1;
const CHANCE: usize = 2;
const FIRST: usize = 3;
const GRAIN: usize = 7;

/// The least distance of a grain from the write position, in frames: the interpolation reads adjacent frames.
const MARGIN: f32 = GRAIN_REACH as f32;

#[derive(Clone, Copy, Default)]
struct Grain {
    place: i64,
    step: i64,
    age: u32,
    /// 0 for an unused grain.
    length: u32,
    /// From left (0) to right (1).
    side: f32,
}

impl Grain {
    #[inline(always)]
    fn load<L: Lanes>(state: &mut State<'_, L>, first: usize) -> Self {
        let mut cell = |number: usize| *state.cell(first + number, 0);
        let wide = |high: u32, low: u32| i64::from(high as i32) << 32 | i64::from(low);
        Self {
            place: wide(cell(0), cell(1)),
            step: wide(cell(2), cell(3)),
            age: cell(4),
            length: cell(5),
            side: f32::from_bits(cell(6)).clamp(0.0, 1.0),
        }
    }

    #[inline(always)]
    fn keep<L: Lanes>(&self, state: &mut State<'_, L>, first: usize) {
        let cells = [
            (self.place >> 32) as u32,
            self.place as u32,
            (self.step >> 32) as u32,
            self.step as u32,
            self.age,
            self.length,
            self.side.to_bits(),
        ];
        for (number, cell) in cells.into_iter().enumerate() {
            *state.cell(first + number, 0) = cell;
        }
    }

    /// The level at the grain's age: a squared parabola, which begins and ends without a corner.
    #[inline(always)]
    fn swell(&self) -> f32 {
        let x = self.age as f32 / self.length as f32;
        let bell = 4.0 * x * (1.0 - x);
        bell * bell
    }
}

impl Module for Granular {
    const TYPE: ModuleType = ModuleType {
        name: "granular",
        help: "a cloud of grains from the recent input or a recording, in stereo",
        inputs: &["in"],
        outputs: &["left", "right"],
        params: &[
            linear(
                "position",
                "",
                [0.0, 0.1, 1.0],
                "start of the grains: age of the input, or position in the recording",
            ),
            log("size", "ms", [5.0, 80.0, 1_000.0], "length of a grain"),
            log("density", "Hz", [0.5, 20.0, 200.0], "grains a second"),
            log(
                "pitch",
                "",
                [0.0625, 1.0, 16.0],
                "playback speed of the grains: 2 is an octave up",
            ),
            linear(
                "spray",
                "",
                [0.0, 0.05, 1.0],
                "random distance from the position",
            ),
            linear(
                "spread",
                "",
                [0.0, 0.5, 1.0],
                "random distance from the centre",
            ),
            choice(
                "freeze",
                &["off", "on"],
                "on: the line stops recording the input",
            ),
            linear("gain", "", [0.0, 1.0, 2.0], "level"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: true,
    };
    const POLYPHONY: Polyphony = Polyphony::Summed;
    const CELLS: usize = FIRST + GRAINS * GRAIN;

    fn memory(_: Context) -> usize {
        LINE
    }

    fn start(channel: usize, _: &[f32], cells: &mut [u32]) {
        bandlimited::prepare();
        cells[CHANCE] = noise::start(2, channel);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [position, size, density, pitch, spray, spread, freeze, gain] = io.params();
        let sound = io.sample.at_rate(io.context.rate_hz as u32);
        let recorded = sound.frames() > 0;
        let rate = match recorded {
            true => sound.rate_hz() as f32 / io.context.rate_hz,
            false => 1.0,
        };
        let (lefts, rights) = outs.two();
        let mut at = *state.cell(AT, 0) as usize % LINE;
        let next = state.number(NEXT, 0);
        let mut next = if next.is_finite() { next } else { 0.0 };
        let mut chance = (*state.cell(CHANCE, 0)).max(1);
        let mut grains: [Grain; GRAINS] =
            std::array::from_fn(|n| Grain::load(state, FIRST + n * GRAIN));
        let frozen = freeze.first().lane(0) >= 0.5 || recorded;
        if !frozen {
            state.writes(0..LINE, at, io.frames);
        }
        let line = &mut *state.memory;
        let all = Bounds::all(sound.frames());
        for frame in 0..io.frames {
            let of = |value: L| value.lane(0);
            if !frozen {
                let x = io.input(0)[frame * L::N];
                line[at] = if x.is_finite() { x } else { 0.0 };
                at = (at + 1) % LINE;
            }
            let pitch = of(pitch.at(frame)) * rate;
            next -= 1.0;
            let free = grains.iter().position(|grain| grain.length == 0);
            if let (true, Some(free)) = (next <= 0.0, free) {
                let mut length = of(size.at(frame)) * io.context.rate_hz / 1000.0;
                if !recorded {
                    // A very fast or very slow grain must not wrap around the line.
                    let room = LINE as f32 - 2.0 * MARGIN;
                    length = length.min(room / (pitch - 1.0).abs().max(0.01));
                }
                let mut toss = || {
                    chance = noise::next(Whole(chance)).0;
                    chance as i32 as f32 * (1.0 / 2_147_483_648.0)
                };
                let part = of(position.at(frame)) + toss() * of(spray.at(frame));
                let side = 0.5 + 0.5 * toss() * of(spread.at(frame));
                let place = if recorded {
                    f64::from(part.clamp(0.0, 1.0)) * sound.frames() as f64
                } else {
                    // Far enough back that the grain neither reaches the write position nor is overtaken by it.
                    let nearest = (length * (pitch - 1.0)).max(0.0) + MARGIN;
                    let furthest = LINE as f32 - MARGIN - (length * (1.0 - pitch)).max(0.0);
                    let back = (part.abs() * LINE as f32).min(furthest).max(nearest);
                    at as f64 - f64::from(back)
                };
                grains[free] = Grain {
                    place: (place * ONE as f64) as i64,
                    step: (f64::from(pitch) * ONE as f64) as i64,
                    age: 0,
                    length: (length as u32).max(2),
                    side,
                };
                let period = io.context.rate_hz / of(density.at(frame));
                next = (next + period).clamp(0.0, period.max(1.0));
            }
            // Constant loudness for any number of overlapping grains.
            let many = of(density.at(frame)) * of(size.at(frame)) / 1000.0;
            let each = of(gain.at(frame)) / many.clamp(1.0, GRAINS as f32).sqrt();
            let (mut l, mut r) = (0.0, 0.0);
            for grain in grains.iter_mut().filter(|grain| grain.length > 0) {
                let swell = grain.swell() * each;
                let (near, far) = ((1.0 - grain.side).sqrt(), grain.side.sqrt());
                let place = grain.place;
                let kernel = Kernel::at(Quality::Grain, grain.step.unsigned_abs());
                let [left, right] = if !recorded {
                    let place = place.rem_euclid((LINE as i64) << 32);
                    [kernel.read([&*line], place, &Bounds::ring(LINE))[0]; 2]
                } else if sound.is_mono() {
                    [kernel.read([sound.side(0)], place, &all)[0]; 2]
                } else {
                    kernel.read([sound.side(0), sound.side(1)], place, &all)
                };
                l += left * swell * near;
                r += right * swell * far;
                grain.place = place.wrapping_add(grain.step);
                grain.age = grain.age.wrapping_add(1);
                if grain.age >= grain.length {
                    grain.length = 0;
                }
            }
            lefts[frame * L::N] = l * std::f32::consts::SQRT_2;
            rights[frame * L::N] = r * std::f32::consts::SQRT_2;
        }
        *state.cell(AT, 0) = at as u32;
        state.set_number(NEXT, 0, next);
        *state.cell(CHANCE, 0) = chance;
        for (number, grain) in grains.iter().enumerate() {
            grain.keep(state, FIRST + number * GRAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, level, step_max};
    use common::sample::Sample;

    fn tone(hz: f64, frames: usize) -> Vec<f32> {
        let cycle = |n: usize| libm::sin(n as f64 * hz / 48_000.0 * std::f64::consts::TAU);
        (0..frames).map(|n| cycle(n) as f32 * 0.5).collect()
    }

    #[test]
    fn a_cloud_of_a_tone_is_the_tone_and_an_octave_up_the_octave() {
        for (pitch, hz) in [(1.0, 400.0), (2.0, 800.0), (0.5, 200.0)] {
            let values = [
                ("pitch", pitch),
                ("spray", 0.0),
                ("spread", 0.0),
                ("density", 40.0),
                ("size", 100.0),
            ];
            let mut cloud = Bench::of::<Granular>(&values);
            let heard = cloud.run(96_000, &[("in", tone(400.0, 96_000))]);
            let heard = &heard[0][48_000..];
            let (wanted, other) = (level(heard, hz), level(heard, hz * 1.37));
            assert!(
                wanted > 0.05 && wanted > 10.0 * other,
                "{pitch}: {wanted}, {other}"
            );
        }
    }

    #[test]
    fn grains_begin_as_often_as_they_should_and_swell_without_a_click() {
        // Of a constant each grain is its swell: apart from each other they can be counted.
        let values = [
            ("density", 10.0),
            ("size", 50.0),
            ("spray", 0.0),
            ("spread", 0.0),
        ];
        let sample = Sample::new(48_000, 1, vec![1.0; 48_000]).unwrap();
        let mut cloud = Bench::of::<Granular>(&values).playing(sample);
        let heard = cloud.run(96_000, &[]).remove(0);
        let begun = heard
            .windows(2)
            .filter(|w| w[0] == 0.0 && w[1] > 0.0)
            .count();
        assert_eq!(begun, 20);
        assert!(step_max(&heard) < 0.005, "{}", step_max(&heard));
        assert!((heard.iter().fold(0.0, |a: f32, b| a.max(*b)) - 1.0).abs() < 0.01);
    }

    #[test]
    fn sixty_four_grains_sound_at_once() {
        let values = [
            ("density", 64.0),
            ("size", 1_000.0),
            ("spray", 0.0),
            ("spread", 0.0),
        ];
        let sample = Sample::new(48_000, 1, vec![0.1; 144_000]).unwrap();
        let mut cloud = Bench::of::<Granular>(&values).playing(sample);
        let heard = cloud.run(96_000, &[]).remove(0);
        // The mean of a swell is 8 / 15; what many are divided by is the root of their number.
        let expected = 0.1 * 64.0 * (8.0 / 15.0) / 8.0;
        for x in &heard[60_000..] {
            assert!((x / expected - 1.0).abs() < 0.03, "{x}, not {expected}");
        }
    }

    #[test]
    fn a_grain_of_a_recording_does_not_alias_and_is_bounded_in_cost() {
        // 15 kHz two octaves up is nothing that can be heard; folded back it would be 12 kHz.
        let recording = |hz: f64| Sample::new(48_000, 1, tone(hz, 48_000)).unwrap();
        let loudest = |hz: f64, pitch: f32| {
            let values = [
                ("pitch", pitch),
                ("spray", 0.0),
                ("density", 10.0),
                ("size", 50.0),
            ];
            let mut cloud = Bench::of::<Granular>(&values).playing(recording(hz));
            cloud.run(48_000, &[])[0]
                .iter()
                .fold(0.0_f32, |most, x| most.max(x.abs()))
        };
        for pitch in [1.9, 2.5, 4.0, 7.5, 16.0] {
            assert!(
                loudest(15_000.0, pitch) < 5e-5,
                "{pitch}: {}",
                loudest(15_000.0, pitch)
            );
        }
        assert!(loudest(1_000.0, 4.0) > 0.3);
    }

    #[test]
    fn frozen_it_goes_on_with_what_it_has() {
        let values = [("freeze", 0.0), ("density", 40.0)];
        let mut cloud = Bench::of::<Granular>(&values);
        cloud.run(48_000, &[("in", tone(300.0, 48_000))]);
        cloud.set("freeze", 1.0);
        let heard = cloud.run(192_000, &[("in", vec![0.0; 192_000])]);
        let last = &heard[0][150_000..];
        assert!(last.iter().any(|x| x.abs() > 0.05));
    }

    #[test]
    fn at_the_ends_of_its_ranges_it_reads_no_sample_that_is_being_written() {
        for pitch in [0.0625, 1.0, 16.0] {
            for position in [0.0, 1.0] {
                let values = [
                    ("pitch", pitch),
                    ("position", position),
                    ("size", 1_000.0),
                    ("spray", 1.0),
                    ("spread", 0.0),
                    // One at a time.
                    ("density", 0.5),
                ];
                let mut cloud = Bench::of::<Granular>(&values);
                let heard = cloud.run(400_000, &[("in", tone(50.0, 400_000))]);
                // Across the seam of the line a tone would jump.
                let most = step_max(&heard[0][200_000..]);
                let of_the_tone = 0.5 * std::f32::consts::TAU * 50.0 / 48_000.0 * pitch;
                assert!(
                    most < 1.1 * of_the_tone + 0.001,
                    "{pitch}, {position}: {most}"
                );
            }
        }
    }
}
