//! `wavetable`: an oscillator that morphs through six waves, from a sine to sung vowels.
//!
//! Each wave is a sum of sines, with one table for each octave that contains the partials below half the rate, so that
//! nothing aliases. Adjacent octaves are cross-faded, so that a sweep does not click. The tables are constants, equal
//! in every process and not part of the state; they are computed when the first module of the type is built.
//!
//! # Source
//! Julius O. Smith, Physical Audio Signal Processing, "Wavetable synthesis"; the vowels' formants:
//! Peterson, Barney: Control methods used in a study of the vowels, 1952 (men's "ah" and "ee").

use std::sync::LazyLock;

use super::{linear, oscillator};
use crate::{
    catalog::ModuleType,
    lanes::{Bits, LANES_MAX, Lanes},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Wavetable;

const WAVES: usize = 6;
const SAW: usize = 2;
/// The tables of a wave: with 1, 2, 4, … 512 partials, which at 20 Hz reach up to 10 kHz.
const OCTAVES: usize = 10;
/// The length of a table: four samples for each period of the last partial, so that cubic interpolation is accurate.
const SIZE_LOG2: u32 = 11;
const SIZE: usize = 1 << SIZE_LOG2;

const POSITION: usize = 3;

/// The level of a partial, a sine, in a wave.
fn partial(wave: usize, number: usize) -> f64 {
    let n = number as f64;
    let odd = number % 2 == 1;
    // A pitch of 110 Hz, a bandwidth of 100 Hz and the voice's slope of 6 dB per octave.
    let formants = |formants: [(f64, f64); 3]| {
        let each = formants.map(|(hz, level)| {
            let off = (n - hz / 110.0) / (50.0 / 110.0);
            level / (1.0 + off * off)
        });
        (0.05 + each.iter().sum::<f64>()) / n
    };
    match wave {
        0 => f64::from(u8::from(number == 1)),
        1 if odd => [1.0, -1.0][number / 2 % 2] / (n * n),
        SAW => 1.0 / n,
        3 if odd => 1.0 / n,
        4 => formants([(730.0, 1.0), (1_090.0, 1.0), (2_440.0, 0.6)]),
        5 => formants([(270.0, 0.6), (2_290.0, 1.0), (3_010.0, 1.0)]),
        _ => 0.0,
    }
}

/// The table of each octave of each wave.
static TABLES: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let angle = |n: usize| n as f64 / SIZE as f64 * std::f64::consts::TAU;
    let sine: Vec<f64> = (0..SIZE).map(|n| libm::sin(angle(n))).collect();
    let mut tables = Vec::with_capacity(WAVES * OCTAVES * SIZE);
    for wave in 0..WAVES {
        let mut sum = vec![0.0_f64; SIZE];
        let mut octaves = Vec::with_capacity(OCTAVES * SIZE);
        for octave in 0..OCTAVES {
            let first = if octave == 0 {
                1
            } else {
                (1 << (octave - 1)) + 1
            };
            for number in first..=1 << octave {
                let level = partial(wave, number);
                for (n, sample) in sum.iter_mut().enumerate() {
                    *sample += level * sine[n * number % SIZE];
                }
            }
            octaves.extend_from_slice(&sum);
        }
        // The loudest octave just reaches full scale.
        let peak = octaves.iter().fold(0.0_f64, |peak, x| peak.max(x.abs()));
        tables.extend(octaves.iter().map(|x| (x / peak) as f32));
    }
    tables
});

/// The table of a wave and an octave.
#[inline(always)]
fn table(tables: &[f32], wave: usize, octave: usize) -> &[f32] {
    &tables[(wave.min(WAVES - 1) * OCTAVES + octave.min(OCTAVES - 1)) * SIZE..][..SIZE]
}

impl Module for Wavetable {
    const TYPE: ModuleType = ModuleType {
        name: "wavetable",
        help: "wavetable oscillator: sine, triangle, saw, square, ah, ee; band-limited",
        inputs: oscillator::INPUTS,
        outputs: &["out"],
        params: &[
            oscillator::FREQ,
            oscillator::GAIN,
            oscillator::INDEX,
            linear(
                "position",
                "",
                [0.0, 0.0, 1.0],
                "from the first wave (0) to the last (1), a fifth of the range from one to the next",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = oscillator::CELLS;

    fn start(_: usize, _: &[f32], _: &mut [u32]) {
        // Compute the tables here, so that the render thread never does.
        LazyLock::force(&TABLES);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let tables: &[f32] = &TABLES;
        let position = io.param(POSITION);
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        oscillator::render(
            io,
            state,
            outs,
            #[inline(always)]
            |phase, steps, frame| {
                // The octave whose partials fit below half the rate, and its share in the cross-fade.
                let room = math::log2(io, io.splat(0.5) / steps.widest());
                let room = room.max(zero).min(io.splat(OCTAVES as f32 - 0.5));
                let octave = room.floor();
                let fade = ((room - octave) * io.splat(4.0)).min(one);
                let place = position.at(frame) * io.splat(WAVES as f32 - 1.0);
                let wave = place.floor().min(io.splat(WAVES as f32 - 2.0));
                let morph = place - wave;
                // The four samples around the phase.
                let x = L::of_signed(phase.up(SIZE_LOG2).down(8)) * io.splat(1.0 / 16_777_216.0);
                let (x1, x2, up) = (x - one, x - io.splat(2.0), x + one);
                let (sixth, half) = (io.splat(1.0 / 6.0), io.splat(0.5));
                let factors = [
                    -x * x1 * x2 * sixth,
                    up * x1 * x2 * half,
                    -up * x * x2 * half,
                    up * x * x1 * sixth,
                ];
                let mut numbers = [[0; LANES_MAX]; 3];
                phase.down(32 - SIZE_LOG2).store(&mut numbers[0][..L::N]);
                octave.truncate().store(&mut numbers[1][..L::N]);
                wave.truncate().store(&mut numbers[2][..L::N]);
                let mut parts = [[0.0; LANES_MAX]; 6];
                for (part, value) in parts.iter_mut().zip(factors) {
                    value.store(&mut part[..L::N]);
                }
                fade.store(&mut parts[4][..L::N]);
                morph.store(&mut parts[5][..L::N]);
                let mut heard = [0.0; LANES_MAX];
                for (channel, heard) in heard[..L::N].iter_mut().enumerate() {
                    let [first, octave, wave] = [0, 1, 2].map(|n| numbers[n][channel] as usize);
                    let read = |wave: usize, octave: usize| {
                        let table = table(tables, wave, octave);
                        let tap = |tap: usize| {
                            table[(first + SIZE - 1 + tap) % SIZE] * parts[tap][channel]
                        };
                        (tap(0) + tap(1)) + (tap(2) + tap(3))
                    };
                    let [fade, morph] = [4, 5].map(|part| parts[part][channel]);
                    let faded = |wave: usize| {
                        let full = read(wave, octave);
                        if fade < 1.0 {
                            let less = read(wave, octave.saturating_sub(1));
                            less + (full - less) * fade
                        } else {
                            full
                        }
                    };
                    let (from, to) = (faded(wave), faded(wave + 1));
                    *heard = from + (to - from) * morph;
                }
                L::load(io.token, &heard[..L::N])
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, level, step_max},
        modules::oscillator::tests::{assert_in_tune, heard},
    };

    fn at(wave: usize) -> [(&'static str, f32); 1] {
        [("position", wave as f32 / 5.0)]
    }

    #[test]
    fn it_is_in_tune() {
        for wave in 0..4 {
            assert_in_tune::<Wavetable>(&at(wave));
        }
    }

    #[test]
    fn its_waves_have_the_partials_of_their_formulas() {
        for wave in 0..WAVES {
            let heard = heard::<Wavetable>(&at(wave), 100.0, 48_000);
            assert!(heard.iter().all(|x| x.abs() < 1.01));
            let most =
                (1..64).max_by(|a, b| partial(wave, *a).abs().total_cmp(&partial(wave, *b).abs()));
            let most = most.unwrap();
            let scale = level(&heard, 100.0 * most as f64) / partial(wave, most).abs();
            for number in 1..64 {
                let exact = partial(wave, number).abs() * scale;
                let found = level(&heard, 100.0 * number as f64);
                assert!(
                    (found - exact).abs() < 1e-4 + 0.001 * exact,
                    "{wave}, partial {number}: {found} {exact}"
                );
            }
        }
    }

    #[test]
    fn it_does_not_alias() {
        for wave in 1..WAVES {
            let heard = heard::<Wavetable>(&at(wave), 4_700.0, 48_000);
            // Where the partials from the sixth to the eleventh come down to: 0.064 to 0.1 of a ramp.
            for hz in [19_800.0, 15_100.0, 10_400.0, 5_700.0, 1_000.0, 3_700.0] {
                let alias = level(&heard, hz);
                assert!(alias < 1e-5, "{wave}, {hz} Hz: {alias}");
            }
        }
    }

    #[test]
    fn octaves_fade_into_each_other() {
        // At 750 Hz there is room for the partials from the 17th to the 32nd.
        let twentieth = |hz: f32| {
            level(
                &heard::<Wavetable>(&at(SAW), hz, 48_000),
                20.0 * f64::from(hz),
            )
        };
        assert!(twentieth(749.0) < 0.001 && twentieth(751.0) < 0.001);
        let partials = [745.0, 735.0, 720.0, 700.0, 640.0].map(twentieth);
        assert!(partials.is_sorted() && partials[4] > 0.02);
    }

    #[test]
    fn no_jump_of_its_position_clicks() {
        let mut table = Bench::of::<Wavetable>(&[("freq", 50.0), ("gain", 1.0)]);
        let mut heard = table.run(1_000, &[]).remove(0);
        table.set("position", 0.2);
        heard.extend(table.run(1_000, &[]).remove(0));
        // A sine of 50 Hz moves by 0.0065 a frame, the glide by less than 1/336.
        assert!(step_max(&heard) < 0.0096);
    }

    #[test]
    fn every_channel_is_as_one_alone() {
        let values = [("freq", 1_234.0), ("position", 0.55)];
        let alone = Bench::of::<Wavetable>(&values).run(1_000, &[]).remove(0);
        for channels in [5, 16, 20] {
            let all = Bench::poly::<Wavetable>(&values, channels).run(1_000, &[]);
            assert!(all.iter().all(|channel| *channel == alone));
        }
    }
}
