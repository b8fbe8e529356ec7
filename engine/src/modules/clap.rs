//! `clap`: hand clap: four bursts of band-passed noise in quick succession, the last with a tail.
//!
//! # Source
//! Roland, TR-808 service notes, 1981, and network-909, "Hand clap", <http://network-909.de/handclap.htm>:
//! white noise through a band-pass of about 1 kHz, under an envelope of four teeth, each of which begins
//! where the last one ends. The tail, a second envelope in the original, is the last tooth here.

use super::{drum, linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, Mask},
    module::{Io, Module, Outs, State},
};

pub struct Clap;

const LEVEL: usize = drum::CELLS;
/// The remaining bursts, and the frames until the next one.
const BURSTS: usize = LEVEL + 1;
const UNTIL: usize = LEVEL + 2;
const Z: usize = LEVEL + 3;

/// The number of bursts after the first.
const MORE: f32 = 3.0;

impl Module for Clap {
    const TYPE: ModuleType = ModuleType {
        name: "clap",
        help: "hand clap, struck when its gate opens",
        inputs: drum::INPUTS,
        outputs: &["out"],
        params: &[
            log(
                "tune",
                "Hz",
                [300.0, 1_100.0, 5_000.0],
                "pitch of the noise",
            ),
            log(
                "decay",
                "ms",
                [10.0, 300.0, 5_000.0],
                "time for the last burst to fall by 60 dB",
            ),
            log(
                "tone",
                "",
                [0.5, 1.5, 10.0],
                "narrowness of the noise around its pitch",
            ),
            linear(
                "spread",
                "ms",
                [2.0, 10.0, 40.0],
                "time from one burst to the next",
            ),
            drum::GAIN,
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = Z + 2;

    fn start(channel: usize, _: &[f32], cells: &mut [u32]) {
        drum::start(channel, cells);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [tune, tone, spread, gain] = [0, 2, 3, 4].map(|param| io.param(param));
        let decay = drum::Fall::of(io, 1);
        let still_filter = match (tune.still(), tone.still()) {
            (Some(hz), Some(q)) => Some(drum::Svf::of(io, hz, q)),
            _ => None,
        };
        let still_burst = match spread.still() {
            Some(ms) => Some(drum::fall(io, ms + ms)),
            None => None,
        };
        let mut drum = drum::Drum::of(io, state);
        let [mut level, mut bursts, mut until] = [LEVEL, BURSTS, UNTIL].map(|cell| state.get(cell));
        let mut z = [state.get(Z), state.get(Z + 1)];
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let per_ms = io.splat(io.context.rate_hz / 1_000.0);
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let spread = spread.at(frame);
                let struck = drum.struck(io, frame);
                if struck.any() {
                    level = L::select(struck, zero, level);
                    bursts = L::select(struck, io.splat(MORE + 1.0), bursts);
                    until = L::select(struck, zero, until);
                }
                let bursts_now = zero.lt(bursts) & until.lt(io.splat(0.5));
                if bursts_now.any() {
                    level = L::select(bursts_now, one, level);
                    until = L::select(bursts_now, until + spread * per_ms, until);
                    bursts = L::select(bursts_now, bursts - one, bursts);
                }
                until = (until - one).max(-one);
                let filter = match still_filter {
                    Some(filter) => filter,
                    None => drum::Svf::of(io, tune.at(frame), tone.at(frame)),
                };
                let white = drum.white(io);
                let [_, band, _] = filter.next(&mut z, white);
                let sound = band * level * gain.at(frame) * io.splat(3.0);
                let burst = match still_burst {
                    Some(keep) => keep,
                    None => drum::fall(io, spread + spread),
                };
                level = level * L::select(zero.lt(bursts), burst, decay.at(io, frame));
                drum.heard(io.splat(0.0), sound)
            },
        );
        drum.keep(state);
        for (cell, value) in [(LEVEL, level), (BURSTS, bursts), (UNTIL, until)] {
            state.set_flushed(cell, value);
        }
        state.set_flushed(Z, z[0]);
        state.set_flushed(Z + 1, z[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::drum::tests::{assert_drum, rms, stroke};

    #[test]
    fn it_is_a_drum() {
        assert_drum::<Clap>();
    }

    #[test]
    fn its_bursts_are_as_far_apart_as_said() {
        for ms in [10.0_f32, 20.0] {
            let clap = stroke::<Clap>(&[("spread", ms), ("decay", 50.0)], 1.0, 9_600);
            let frames = (ms * 48.0) as usize;
            // Just before a burst it is 30 dB below where the burst begins; by half of that a tooth of
            // noise, which is loud now and soft then, is found.
            for burst in 1..=3 {
                let at = burst * frames;
                let rise = rms(&clap[at..at + 200]) / rms(&clap[at - 100..at]);
                assert!(rise > 4.0, "{ms} ms, {burst}: {rise}");
            }
            let at = 4 * frames;
            assert!(rms(&clap[at..at + 200]) < rms(&clap[at - 100..at]) * 1.5);
        }
    }

    #[test]
    fn its_tail_falls_in_its_time() {
        let clap = stroke::<Clap>(&[("decay", 2_000.0)], 1.0, 96_000);
        let fell = 20.0 * libm::log10(rms(&clap[2_400..12_000]) / rms(&clap[50_400..60_000]));
        assert!((fell - 30.0).abs() < 1.5, "{fell} dB");
    }

    #[test]
    fn its_noise_is_around_its_pitch() {
        let clap = stroke::<Clap>(&[("decay", 5_000.0), ("tone", 5.0)], 1.0, 96_000);
        let around = |hz: f64| {
            let levels = (0..40).map(|n| crate::bench::level(&clap, hz + 3.0 * f64::from(n - 20)));
            (levels.map(|level| level * level).sum::<f64>()).sqrt()
        };
        // A bandpass of Q 5 an octave off: |1 / (1 + i Q (2 - 1/2))|, 17.6 dB.
        for hz in [550.0, 2_200.0] {
            let fell = 20.0 * libm::log10(around(1_100.0) / around(hz));
            assert!((fell - 17.6).abs() < 3.0, "{hz} Hz: {fell} dB");
        }
    }
}
