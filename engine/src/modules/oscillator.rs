//! An oscillator: all but the shape of its wave.
//!
//! Its phase is a whole number, so that it never drifts, however long it runs; the frequency is right
//! to half a step of 2^-32 of the rate. Each type of oscillator is one of these and a wave, a function
//! of the phase. Its edges and corners are rounded over the frame before and the frame after, so that
//! it aliases less: each by the step that the phase really makes there, however fast the frequency
//! moves.

use super::{
    linear, log,
    sync::{self, Anew, Here, Sync},
};
use crate::{
    catalog::{ModuleType, Param},
    lanes::{Lanes, inlined},
    math,
    module::{Io, Outs, State},
};

/// The inputs of every oscillator.
pub const INPUTS: &[&str] = &["fm", "sync"];
/// The first parameters of every oscillator.
pub const FREQ: Param = log("freq", "Hz", [0.01, 440.0, 20_000.0], "frequency");
/// See [`FREQ`].
pub const GAIN: Param = linear("gain", "", [0.0, 0.5, 1.0], "level");
/// See [`FREQ`].
pub const INDEX: Param = linear(
    "index",
    "",
    [0.0, 1.0, 20.0],
    "how far a signal of 1 at the input \"fm\" moves the frequency, in frequencies, through zero",
);

/// The description of an oscillator that has no parameter of its own.
pub const fn described(name: &'static str, help: &'static str) -> ModuleType {
    ModuleType {
        name,
        help,
        inputs: INPUTS,
        outputs: &["out"],
        params: &[FREQ, GAIN, INDEX],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    }
}

/// Cells of state.
pub const CELLS: usize = ANEW + sync::CELLS;
/// What was at `sync` in the frame before.
const SYNC: usize = 0;
/// The frequency in the frame before.
const HZ: usize = 1;
const PHASE: usize = 2;
/// What is kept of a turn that begins anew.
const ANEW: usize = 3;

/// A frame of an oscillator.
#[derive(Clone, Copy)]
pub struct Tick<L: Lanes> {
    /// The frequency, below 0 where the wave goes backwards.
    pub hz: L,
    /// The one in the frame before.
    pub last_hz: L,
    /// The level.
    pub gain: L,
    /// What is at `sync`; nothing if nothing is plugged there.
    pub sync: Option<Sync<L>>,
    /// Its number.
    pub frame: usize,
}

/// Goes through the frames of a block, given what is heard in one. The parameters 0, 1 and 2 are
/// [`FREQ`], [`GAIN`] and [`INDEX`], the inputs are [`INPUTS`], and the first two cells are used.
#[inline(always)]
pub fn walk<L: Lanes>(
    io: &Io<'_, L>,
    state: &mut State<'_, L>,
    outs: &mut Outs<'_, L>,
    mut heard: impl FnMut(Tick<L>) -> L,
) {
    let (freq, gain) = (io.param(0), io.param(1));
    let plain = !io.plugged(0) && !io.plugged(1);
    if let (true, Some(hz), Some(gain)) = (plain, freq.still(), gain.still()) {
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                heard(Tick {
                    hz,
                    last_hz: hz,
                    gain,
                    sync: None,
                    frame,
                })
            },
        );
        state.set(HZ, hz);
        return;
    }
    let (index, [fm, syncs]) = (io.param(2), io.inputs());
    let (one, synced) = (io.splat(1.0), io.plugged(1));
    let (mut before, mut last_hz) = (state.get(SYNC), state.get(HZ));
    outs.write(
        0,
        #[inline(always)]
        |frame| {
            let hz = freq.at(frame) * (one + index.at(frame) * fm.at(frame));
            let now = syncs.at(frame);
            let heard = heard(Tick {
                hz,
                last_hz,
                gain: gain.at(frame),
                sync: synced.then_some(Sync { before, now }),
                frame,
            });
            (before, last_hz) = (now, hz);
            heard
        },
    );
    state.set(SYNC, before);
    state.set(HZ, last_hz);
}

/// Renders a wave: its level at a phase, in units of 2^-32 of a turn, given the steps either side of it
/// and the frame's number.
///
/// Where what is at `sync` rises through 0, the turn begins anew ([`Anew`]).
#[inline(always)]
pub fn render<L: Lanes>(
    io: &Io<'_, L>,
    state: &mut State<'_, L>,
    outs: &mut Outs<'_, L>,
    wave: impl Fn(L::Bits, Steps<L>, usize) -> L,
) {
    let mut phase = state.bits(PHASE);
    let mut anew = Anew::load(state, ANEW);
    walk(
        io,
        state,
        outs,
        #[inline(always)]
        |tick| {
            let mut here = Here {
                phase,
                steps: Steps::of(io, tick.last_hz, tick.hz),
                rounds: io.splat(0.0),
            };
            match tick.sync {
                Some(sync) => {
                    anew.begun(io, &mut here, tick.last_hz);
                    anew.begins(io, &mut here, tick.hz, sync, |phase, steps| {
                        wave(phase, steps, tick.frame)
                    });
                }
                None => anew.forget(io),
            }
            let level = wave(here.phase, here.steps, tick.frame) + here.rounds;
            phase = here.phase + math::step(io, tick.hz);
            level * tick.gain
        },
    );
    state.set_bits(PHASE, phase);
    anew.store(state, ANEW);
}

/// How far an edge's rounding reaches, in turns: as far as one step goes.
#[derive(Clone, Copy)]
pub struct Steps<L> {
    /// Behind the edge, in the direction in which the phase grows.
    after: L,
    /// Ahead of it.
    before: L,
    /// One over each.
    each: [L; 2],
    /// 1, or 0 where no edge is rounded on that side.
    rounds: [L; 2],
}

impl<L: Lanes> Steps<L> {
    /// The reach at a frame between two steps: an edge that was passed by the last step is rounded
    /// over that one, an edge that the next step will pass over the next. The two may differ widely
    /// and go either way.
    #[inline(always)]
    pub fn of(io: &Io<'_, L>, last_hz: L, hz: L) -> Self {
        let (most, least) = (io.splat(0.499), io.splat(1e-9));
        let turns = inlined(
            #[inline(always)]
            |hz: L| {
                (hz * io.splat(1.0 / io.context.rate_hz))
                    .min(most)
                    .max(-most)
            },
        );
        let (last, next) = (turns(last_hz), turns(hz));
        let (after, before) = (last.max(-next).max(least), next.max(-last).max(least));
        let one = io.splat(1.0);
        Self {
            after,
            before,
            each: [one / after, one / before],
            rounds: [one; 2],
        }
    }

    /// Without the rounding of an edge that was passed since the frame before, going that fast.
    #[inline(always)]
    pub fn without_edge_behind(self, io: &Io<'_, L>, which: L::Mask, last_hz: L) -> Self {
        let forwards = io.splat(0.0).le(last_hz);
        self.without(io, which & forwards, which & !forwards)
    }

    /// Without the rounding of an edge that the next step would pass, going that fast.
    #[inline(always)]
    pub fn without_edge_ahead(self, io: &Io<'_, L>, which: L::Mask, hz: L) -> Self {
        let forwards = io.splat(0.0).le(hz);
        self.without(io, which & !forwards, which & forwards)
    }

    /// Without the rounding of any edge.
    #[inline(always)]
    pub fn without_edges(self, io: &Io<'_, L>) -> Self {
        let all = io.splat(0.0).le(io.splat(0.0));
        self.without(io, all, all)
    }

    #[inline(always)]
    fn without(self, io: &Io<'_, L>, after: L::Mask, before: L::Mask) -> Self {
        let none = io.splat(0.0);
        let [behind, ahead] = self.rounds;
        Self {
            rounds: [
                L::select(after, none, behind),
                L::select(before, none, ahead),
            ],
            ..self
        }
    }

    /// The longer of both, in turns.
    #[inline(always)]
    pub fn widest(self) -> L {
        self.after.max(self.before)
    }

    /// How near the edge is on either side of it: 0 a step away or more, 1 on the edge.
    #[inline(always)]
    fn near(self, io: &Io<'_, L>, turn: L) -> [L; 2] {
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        [
            (self.rounds[0] - turn * self.each[0]).max(zero),
            (self.rounds[1] - (one - turn) * self.each[1]).max(zero),
        ]
    }
}

/// What rounds the edge of a wave that falls by 2 where the turn begins: 0 further than a step away
/// from it.
///
/// # Source
/// Välimäki, Pekonen, Nam: Perceptually informed synthesis of bandlimited classical waveforms using
/// integrated polynomial interpolation, 2012 (the two-point polynomial, "`PolyBLEP`").
#[inline(always)]
pub fn edge<L: Lanes>(io: &Io<'_, L>, phase: L::Bits, steps: Steps<L>) -> L {
    let [after, before] = steps.near(io, math::turns(io, phase));
    after * after - before * before
}

/// What rounds the corner of a wave whose slope grows by 8 a turn where the turn begins: the integral
/// of [`edge`].
///
/// # Source
/// Esqueda, Välimäki, Bilbao: Rounding corners with BLAMP, 2016 (two points, "`PolyBLAMP`").
#[inline(always)]
pub fn corner<L: Lanes>(io: &Io<'_, L>, phase: L::Bits, steps: Steps<L>) -> L {
    let [after, before] = steps.near(io, math::turns(io, phase));
    let sum = after * after * after * steps.after + before * before * before * steps.before;
    sum * io.splat(4.0 / 3.0)
}

/// For tests: what every oscillator keeps.
#[cfg(test)]
pub mod tests {
    use crate::{
        bench::{Bench, level},
        module::Module,
    };

    /// One channel at full level.
    pub fn heard<M: Module>(values: &[(&str, f32)], hz: f32, frames: usize) -> Vec<f32> {
        let values = [values, &[("freq", hz), ("gain", 1.0)]].concat();
        Bench::of::<M>(&values).run(frames, &[]).remove(0)
    }

    /// How far the pitch of 3 s at 48 kHz is from `hz`, in cents: what the first partial's phase gains.
    pub fn cents_off(signal: &[f32], hz: f32) -> f64 {
        // A window that keeps the other partials out; twice, 2 s apart.
        let angle = |begin: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            let len = 48_000;
            for (n, sample) in signal[begin..begin + len].iter().enumerate() {
                let turns = f64::from(hz) * (begin + n) as f64 / 48_000.0;
                let angle = (turns - libm::floor(turns)) * std::f64::consts::TAU;
                let window = 0.5 - 0.5 * libm::cos(n as f64 / len as f64 * std::f64::consts::TAU);
                re += f64::from(*sample) * window * libm::cos(angle);
                im -= f64::from(*sample) * window * libm::sin(angle);
            }
            libm::atan2(im, re) / std::f64::consts::TAU
        };
        let gained = angle(96_000) - angle(0);
        let gained = gained - libm::round(gained);
        libm::log2(1.0 + gained / 2.0 / f64::from(hz)) * 1_200.0
    }

    /// Its pitch is right to a tenth of a cent from 20 Hz up.
    pub fn assert_in_tune<M: Module>(values: &[(&str, f32)]) {
        for hz in [20.0, 27.5, 261.625_58, 1_234.567, 4_186.009, 9_999.5] {
            let cents = cents_off(&heard::<M>(values, hz, 144_000), hz);
            assert!(cents.abs() < 0.1, "{hz} Hz: {cents} cents");
        }
    }

    /// What an oscillator of 1,000 Hz sounds like whose turn begins anew 700 times a second, in dB: all that lies
    /// between the partials of 700 Hz, against those.
    fn synced_noise<M: Module>() -> f64 {
        // Not a whole number of frames: each turn begins anew somewhere else between two of them.
        let master = |n: usize| {
            let turns = n as f64 * 700.0 / 48_000.0;
            ((turns - libm::floor(turns)) * 2.0 - 1.0) as f32
        };
        let sync: Vec<f32> = (0..96_000).map(master).collect();
        let mut oscillator = Bench::of::<M>(&[("freq", 1_000.0), ("gain", 1.0)]);
        let heard = oscillator.run(96_000, &[("sync", sync)]).remove(0);
        noise_between(&heard[48_000..])
    }

    /// Of a second at 48 kHz what does not lie on partials of 700 Hz below 10 kHz, against all, in dB.
    fn noise_between(heard: &[f32]) -> f64 {
        let power = |hz: f64| level(heard, hz) * level(heard, hz) / 2.0;
        let partials: f64 = (1..15).map(|n| power(700.0 * f64::from(n))).sum();
        let between = (1..1_000)
            .filter(|n| n % 70 != 0)
            .map(|n| power(10.0 * f64::from(n)));
        10.0 * libm::log10(between.sum::<f64>() / partials)
    }

    /// The same of a plain wave whose turn begins anew with the first frame after.
    fn snapped_noise(wave: impl Fn(f64) -> f64) -> f64 {
        let mut phase = 0.0;
        let heard: Vec<f32> = (0..48_000)
            .map(|n| {
                let master = |n: f64| libm::floor(n * 700.0 / 48_000.0);
                if n > 0 && master(f64::from(n)) > master(f64::from(n - 1)) {
                    phase = 0.0;
                }
                let level = wave(phase - libm::floor(phase)) as f32;
                phase += 1_000.0 / 48_000.0;
                level
            })
            .collect();
        noise_between(&heard)
    }

    /// Synced, it has at least 20 dB less of it than a plain wave whose turn begins with a frame.
    pub fn assert_synced_without_noise<M: Module>(plain: impl Fn(f64) -> f64) {
        let (smooth, snapped) = (synced_noise::<M>(), snapped_noise(plain));
        println!("{}: {smooth:.1} dB, snapped {snapped:.1}", M::TYPE.name);
        assert!(smooth < snapped - 20.0, "{smooth:.1} {snapped:.1} dB");
    }

    /// The level of a partial of 4.7 kHz that lies above half the rate, where it comes down to.
    pub fn alias(signal: &[f32], partial: u32) -> f64 {
        let hz = 4_700.0 * f64::from(partial);
        level(signal, (hz - 48_000.0 * libm::round(hz / 48_000.0)).abs())
    }
}
