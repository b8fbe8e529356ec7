//! `out`: the output of the patch.
//!
//! The input `in` is heard on all audio channels, each other input on its own channel; the channels of a cable are
//! summed. The module's blocks are the audio channels; no cable can connect to them.

use super::{choice, linear};
use crate::{
    catalog::{ModuleType, Param},
    lanes::Lanes,
    module::{Io, Module, Outs, Polyphony, State},
};

pub struct Out;

const SAFETY: usize = 1;

impl Module for Out {
    const TYPE: ModuleType = ModuleType {
        name: "out",
        help: "output of the patch: \"in\" goes to all audio channels, each other input to its own",
        inputs: &[
            "in", "left", "right", "ch3", "ch4", "ch5", "ch6", "ch7", "ch8", "ch9", "ch10", "ch11",
            "ch12", "ch13", "ch14", "ch15", "ch16", "ch17", "ch18", "ch19", "ch20", "ch21", "ch22",
            "ch23", "ch24", "ch25", "ch26", "ch27", "ch28", "ch29", "ch30", "ch31", "ch32",
        ],
        outputs: &[],
        params: &[
            linear("gain", "", [0.0, 1.0, 1.0], "level"),
            Param {
                default: 1.0,
                ..choice(
                    "safety",
                    &["off", "on"],
                    "safety stage: limiter at -0.2 dBFS, DC removal, fade-in after a mute",
                )
            },
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const POLYPHONY: Polyphony = Polyphony::Summed;
    /// The switch of the safety stage; the stage itself is a part of the engine ([`crate::safety`]).
    const CELLS: usize = 1;

    fn start(_: usize, params: &[f32], cells: &mut [u32]) {
        cells[0] = params[SAFETY] as u32;
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        *state.cell(0, 0) = io.param(SAFETY).first().lane(0) as u32;
        let gain = io.param(0);
        for channel in 0..outs.count() {
            let (all, own) = (io.frames_of(0), io.frames_of(channel + 1));
            outs.write(
                channel,
                #[inline(always)]
                |frame| (all.at(frame) + own.at(frame)) * gain.at(frame),
            );
        }
    }
}
