//! The common part of all oscillators: everything except the waveform.
//!
//! The phase is an integer, so that it never drifts; the frequency is exact to half a step of 2^-32 of the rate. Each
//! type of oscillator adds a wave, a function of the phase. Edges and corners are rounded over the adjacent frames
//! to reduce aliasing, each by the actual phase step there, even while the frequency moves.

use super::{
    hard_sync::{self, Anew, Here, Sync},
    linear, log,
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
    "frequency change by a signal of 1 at the input \"fm\", as a multiple of freq, through zero",
);

/// The description of an oscillator without parameters of its own.
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
pub const CELLS: usize = ANEW + hard_sync::CELLS;
/// The input `sync` in the previous frame.
const SYNC: usize = 0;
/// The frequency in the previous frame.
const HZ: usize = 1;
const PHASE: usize = 2;
/// The state of a cycle that restarts.
const ANEW: usize = 3;

/// A frame of an oscillator.
#[derive(Clone, Copy)]
pub struct Tick<L: Lanes> {
    /// The frequency; negative for a wave that runs backwards.
    pub hz: L,
    /// The frequency in the previous frame.
    pub last_hz: L,
    /// The level.
    pub gain: L,
    /// The input `sync`; `None` without a cable.
    pub sync: Option<Sync<L>>,
    /// The number of the frame.
    pub frame: usize,
}

/// Renders the frames of a block by a function that renders one frame. The parameters 0, 1 and 2 are
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

/// Renders a wave: its level at a phase, in units of 2^-32 of a cycle, given the steps either side of it
/// and the frame's number.
///
/// A rising zero crossing at `sync` restarts the cycle ([`Anew`]).
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

/// The width of an edge's rounding, in cycles: one step on either side.
#[derive(Clone, Copy)]
pub struct Steps<L> {
    /// After the edge, in the direction of a growing phase.
    after: L,
    /// Before the edge.
    before: L,
    /// The reciprocals of both.
    each: [L; 2],
    /// 1, or 0 if no edge is rounded on that side.
    rounds: [L; 2],
}

impl<L: Lanes> Steps<L> {
    /// The width at a frame between two steps: an edge that the last step has passed is rounded over that step, an edge
    /// that the next step will pass over the next one. The two steps may differ in length and direction.
    #[inline(always)]
    pub fn of(io: &Io<'_, L>, last_hz: L, hz: L) -> Self {
        let (most, least) = (io.splat(0.499), io.splat(1e-9));
        let cycles = inlined(
            #[inline(always)]
            |hz: L| {
                (hz * io.splat(1.0 / io.context.rate_hz))
                    .min(most)
                    .max(-most)
            },
        );
        let (last, next) = (cycles(last_hz), cycles(hz));
        let (after, before) = (last.max(-next).max(least), next.max(-last).max(least));
        let one = io.splat(1.0);
        Self {
            after,
            before,
            each: [one / after, one / before],
            rounds: [one; 2],
        }
    }

    /// Disables the rounding of an edge that was passed since the previous frame, at the frequency `last_hz`.
    #[inline(always)]
    pub fn without_edge_behind(self, io: &Io<'_, L>, which: L::Mask, last_hz: L) -> Self {
        let forwards = io.splat(0.0).le(last_hz);
        self.without(io, which & forwards, which & !forwards)
    }

    /// Disables the rounding of an edge that the next step would pass, at the frequency `hz`.
    #[inline(always)]
    pub fn without_edge_ahead(self, io: &Io<'_, L>, which: L::Mask, hz: L) -> Self {
        let forwards = io.splat(0.0).le(hz);
        self.without(io, which & !forwards, which & forwards)
    }

    /// Disables the rounding of all edges.
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

    /// The larger of both widths, in cycles.
    #[inline(always)]
    pub fn widest(self) -> L {
        self.after.max(self.before)
    }

    /// The proximity to the edge on either side: 0 at a distance of a step or more, 1 on the edge.
    #[inline(always)]
    fn near(self, io: &Io<'_, L>, cycle: L) -> [L; 2] {
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        [
            (self.rounds[0] - cycle * self.each[0]).max(zero),
            (self.rounds[1] - (one - cycle) * self.each[1]).max(zero),
        ]
    }
}

/// The correction that rounds the edge of a wave that falls by 2 at the begin of the cycle; 0 at a distance of more
/// than a step.
///
/// # Source
/// Välimäki, Pekonen, Nam: Perceptually informed synthesis of bandlimited classical waveforms using
/// integrated polynomial interpolation, 2012 (the two-point polynomial, "`PolyBLEP`").
#[inline(always)]
pub fn edge<L: Lanes>(io: &Io<'_, L>, phase: L::Bits, steps: Steps<L>) -> L {
    let [after, before] = steps.near(io, math::cycles(io, phase));
    after * after - before * before
}

/// The correction that rounds the corner of a wave whose slope grows by 8 per cycle at the begin of the cycle: the
/// integral of [`edge`].
///
/// # Source
/// Esqueda, Välimäki, Bilbao: Rounding corners with BLAMP, 2016 (two points, "`PolyBLAMP`").
#[inline(always)]
pub fn corner<L: Lanes>(io: &Io<'_, L>, phase: L::Bits, steps: Steps<L>) -> L {
    let [after, before] = steps.near(io, math::cycles(io, phase));
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
                let cycles = f64::from(hz) * (begin + n) as f64 / 48_000.0;
                let angle = (cycles - libm::floor(cycles)) * std::f64::consts::TAU;
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

    /// The noise of an oscillator of 1,000 Hz whose cycle restarts 700 times a second: the level between the partials
    /// of 700 Hz relative to that of the partials, in dB.
    fn synced_noise<M: Module>() -> f64 {
        // Not a whole number of frames: each cycle restarts at another position between two frames.
        let master = |n: usize| {
            let cycles = n as f64 * 700.0 / 48_000.0;
            ((cycles - libm::floor(cycles)) * 2.0 - 1.0) as f32
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

    /// The same for a plain wave whose cycle restarts with the next frame.
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

    /// Synced, it has at least 20 dB less of it than a plain wave whose cycle begins with a frame.
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
