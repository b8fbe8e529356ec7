//! `ar`: an envelope of two segments, attack and release; its times are exact to the frame.
//!
//! In mode `gate` the envelope holds its height while the gate is open; in mode `one_shot` it runs through both
//! segments regardless of the gate. With `loop` it restarts at its end, without a hold, while the gate is open. Each
//! segment begins at the current level, so no gate clicks. The height of the gate is the height of the envelope.

use super::{
    choice, log,
    segments::{self, GATE, Voice},
};
use crate::{
    catalog::ModuleType,
    lanes::{LANES_MAX, Lanes, Mask, inlined},
    module::{Edge, Io, Module, Outs, State},
};

pub struct Ar;

/// Gate opens: any → attack → hold or release → idle; closes: attack or hold → release.
const IDLE: u32 = 0;
const ATTACK: u32 = 1;
const HOLD: u32 = 2;
const RELEASE: u32 = 3;

// Parameters.
const MODE: usize = 2;
const LOOP: usize = 3;
const CURVE: usize = 4;

/// The state of all channels from one change of a segment to the next.
#[derive(Clone, Copy)]
struct Span<L> {
    from: L,
    target: L,
    /// The reciprocal of the segment's frames; 0 for a constant level.
    each: L,
    left: L,
}

const fn moves(voice: &Voice) -> bool {
    matches!(voice.stage, ATTACK | RELEASE)
}

const fn target(voice: &Voice) -> f32 {
    match voice.stage {
        ATTACK | HOLD => voice.height,
        _ => 0.0,
    }
}

#[inline(always)]
fn span<L: Lanes>(io: &Io<'_, L>, voices: &[Voice]) -> Span<L> {
    let mut all = [[0.0; LANES_MAX]; 4];
    for (channel, voice) in voices.iter().enumerate() {
        all[0][channel] = voice.from;
        all[1][channel] = target(voice);
        all[2][channel] = match moves(voice) {
            true => 1.0 / voice.frames as f32,
            false => 0.0,
        };
        all[3][channel] = voice.left as f32;
    }
    Span {
        from: L::load(io.token, &all[0][..L::N]),
        target: L::load(io.token, &all[1][..L::N]),
        each: L::load(io.token, &all[2][..L::N]),
        left: L::load(io.token, &all[3][..L::N]),
    }
}

impl Module for Ar {
    const TYPE: ModuleType = ModuleType {
        name: "ar",
        help: "envelope: attack, release; out: shaped input, env: envelope",
        inputs: &["in", "gate"],
        outputs: &["out", "env"],
        params: &[
            log("attack", "ms", [0.0, 10.0, 60_000.0], "time to full level"),
            log("release", "ms", [0.0, 200.0, 60_000.0], "time to silence"),
            choice(
                "mode",
                &["gate", "one_shot"],
                "gate: hold while the gate is open; one_shot: run through both segments",
            ),
            choice(
                "loop",
                &["off", "on"],
                "whether the envelope restarts while the gate is open",
            ),
            choice("curve", &["linear", "exponential"], "shape of the segments"),
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = segments::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let mut voices = segments::load(state);
        let voices = &mut voices[..L::N];
        let times = [io.param(0), io.param(1)];
        let one_shot = io.param(MODE).first().lane(0) >= 0.5;
        let again = io.param(LOOP).first().lane(0) >= 0.5;
        let exponential = io.param(CURVE).first().lane(0) >= 0.5;
        let rate = io.context.rate_hz;
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let mut edges = io.edges(state.get(GATE));
        let mut now = span(io, voices);
        let mut level = zero;
        // The frames since `now` was computed.
        let mut passed = 0;
        let catch_up = inlined(
            #[inline(always)]
            |voices: &mut [Voice], level: L, passed: u32| {
                let mut levels = [0.0; LANES_MAX];
                level.store(&mut levels[..L::N]);
                for (voice, level) in voices.iter_mut().zip(levels) {
                    if passed > 0 {
                        voice.level = level;
                    }
                    voice.left = voice.left.saturating_sub(passed);
                }
            },
        );
        let (out, env) = outs.two();
        for frame in 0..io.frames {
            let Edge {
                gate,
                open,
                opens,
                closes,
            } = edges.next(frame, io.at(1, frame));
            if (opens | closes).any() {
                catch_up(voices, level, passed);
                passed = 0;
                let (opens, closes) = (opens.bits(), closes.bits());
                for (channel, voice) in voices.iter_mut().enumerate() {
                    if opens & 1 << channel != 0 {
                        voice.height = gate.lane(channel).min(1.0);
                        voice.enter(ATTACK, times[0].at(frame).lane(channel), rate);
                    } else if closes & 1 << channel != 0
                        && (voice.stage == HOLD || voice.stage == ATTACK && !one_shot)
                    {
                        voice.enter(RELEASE, times[1].at(frame).lane(channel), rate);
                    }
                }
                now = span(io, voices);
            }
            now.left = (now.left - one).max(zero);
            passed += 1;
            let mut rest = now.left * now.each;
            if exponential {
                rest = segments::exponential(io, rest);
            }
            level = now.target + (now.from - now.target) * rest;
            let to = frame * L::N..(frame + 1) * L::N;
            level.store(&mut env[to.clone()]);
            (io.at(0, frame) * level).store(&mut out[to]);
            // The segments that have ended.
            if (zero.lt(now.each) & now.left.le(zero)).any() {
                catch_up(voices, level, passed);
                passed = 0;
                let open = open.bits();
                for (channel, voice) in voices.iter_mut().enumerate() {
                    let open = open & 1 << channel != 0;
                    if voice.left > 0 || !moves(voice) {
                        continue;
                    }
                    let time = |number: usize| times[number].at(frame).lane(channel);
                    match voice.stage {
                        ATTACK if one_shot || again => voice.enter(RELEASE, time(1), rate),
                        ATTACK => voice.stage = HOLD,
                        _ if again && open => voice.enter(ATTACK, time(0), rate),
                        _ => voice.stage = IDLE,
                    }
                }
                now = span(io, voices);
            }
        }
        catch_up(voices, level, passed);
        segments::keep(state, voices);
        state.set(GATE, edges.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    fn levels(ar: &mut Bench, frames: usize) -> Vec<f32> {
        let mut both = ar.run(frames, &[("in", vec![1.0; frames])]);
        assert_eq!(both[0], both[1]);
        both.remove(0)
    }

    #[test]
    fn its_times_are_exact_to_the_frame() {
        for curve in [0.0, 1.0] {
            let values = [("attack", 10.0), ("release", 5.0), ("curve", curve)];
            let mut ar = Bench::of::<Ar>(&values);
            assert_eq!(levels(&mut ar, 10), [0.0; 10]);
            ar.gate(1.0);
            let heard = levels(&mut ar, 1_000);
            assert!(heard[..479].windows(2).all(|w| w[0] < w[1]) && heard[0] > 0.0);
            assert!(heard[478] < 1.0 && heard[479..] == [1.0; 521]);
            if curve == 0.0 {
                assert!((heard[239] - 0.5).abs() < 1e-6);
            }
            ar.gate(0.0);
            let heard = levels(&mut ar, 300);
            assert!(heard[..239].windows(2).all(|w| w[0] > w[1]));
            assert!(heard[238] > 0.0 && heard[239..] == [0.0; 61]);
        }
    }

    #[test]
    fn one_shot_goes_through_whatever_the_gate_does() {
        let values = [("attack", 10.0), ("release", 10.0), ("mode", 1.0)];
        for open in [1, 5_000] {
            let mut ar = Bench::of::<Ar>(&values);
            let gate = (0..2_000).map(|n| f32::from(u8::from(n < open))).collect();
            let ones = vec![1.0; 2_000];
            let heard = ar.run(2_000, &[("in", ones), ("gate", gate)]).remove(1);
            assert_eq!(heard[479], 1.0);
            assert!((heard[719] - 0.5).abs() < 1e-6);
            assert!(heard[958] > 0.0 && heard[959..].iter().all(|x| *x == 0.0));
        }
    }

    #[test]
    fn a_loop_begins_anew_until_the_gate_closes() {
        for mode in [0.0, 1.0] {
            let values = [
                ("attack", 1.0),
                ("release", 2.0),
                ("loop", 1.0),
                ("mode", mode),
            ];
            let mut ar = Bench::of::<Ar>(&values);
            let gate = (0..2_000).map(|n| f32::from(u8::from(n < 1_000))).collect();
            let heard = ar.run(2_000, &[("gate", gate)]).remove(1);
            let tops: Vec<usize> = (0..2_000).filter(|n| heard[*n] == 1.0).collect();
            assert_eq!(tops, [47, 191, 335, 479, 623, 767, 911]);
            assert!(heard[1_055..].iter().all(|x| *x == 0.0));
        }
    }

    #[test]
    fn no_gate_clicks() {
        let mut ar = Bench::of::<Ar>(&[("attack", 10.0), ("release", 20.0)]);
        let mut heard = Vec::new();
        for frames in [300, 200, 700, 100, 50, 600] {
            let open = heard.len() % 3 != 2;
            ar.gate(if open { 1.0 } else { 0.0 });
            heard.extend(levels(&mut ar, frames));
            ar.gate(0.0);
            heard.extend(levels(&mut ar, 77));
        }
        assert!(step_max(&heard) < 0.0025, "{}", step_max(&heard));
    }

    #[test]
    fn each_channel_follows_its_own_gate() {
        let values = [("attack", 1.0), ("release", 3.0), ("curve", 1.0)];
        for channels in [3, 20] {
            let mut ar = Bench::poly::<Ar>(&values, channels);
            let gate = |channel: usize| {
                let open = |n: usize| (n / (40 + 3 * channel)) % 2 == 1;
                (0..800).map(|n| f32::from(u8::from(open(n)))).collect()
            };
            let gates: Vec<Vec<f32>> = (0..channels).map(gate).collect();
            let heard = ar.run_poly(800, &[("gate", gates.clone())]);
            for (channel, gate) in gates.into_iter().enumerate() {
                let alone = Bench::of::<Ar>(&values).run(800, &[("gate", gate)]);
                assert_eq!(heard[channels + channel], alone[1]);
            }
        }
    }
}
