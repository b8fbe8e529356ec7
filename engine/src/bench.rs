//! A test bench for one module, with any signal at its inputs.

use common::{
    command::Expression,
    sample::{NO_SAMPLE, Sample},
};
use fearless_simd::Level;

use crate::{
    module::{Buffer, Context, Expressed, Kind, Module, Note, Plug, Polyphony, Process, lanes_for},
    modules, params,
    smooth::GLIDE_MS,
    stretch::Stretch,
};

/// How many frames are rendered at once.
const BLOCK: usize = 64;

/// A module under test.
pub struct Bench {
    kind: Kind,
    channels: usize,
    cells: Vec<u32>,
    written: Vec<u64>,
    sample: Option<Sample>,
    scratch: Vec<f32>,
    context: Context,
}

impl Bench {
    /// One channel, at 48 kHz, with those parameters.
    pub fn of<M: Module>(values: &[(&str, f32)]) -> Self {
        Self::poly::<M>(values, 1)
    }

    /// Several channels.
    pub fn poly<M: Module>(values: &[(&str, f32)], channels: usize) -> Self {
        Self::at::<M>(values, channels, 48_000.0)
    }

    /// Several channels, at any rate.
    pub fn at<M: Module>(values: &[(&str, f32)], channels: usize, rate_hz: f32) -> Self {
        let kind = modules::kind(M::TYPE.name).unwrap();
        Self::with(kind, values, channels, rate_hz)
    }

    /// A module of any kind, even one that is not in the catalogue.
    pub fn with(kind: Kind, values: &[(&str, f32)], channels: usize, rate_hz: f32) -> Self {
        let context = Context {
            rate_hz,
            wide: crate::lanes::wide(Level::new()),
        };
        let mut all: Vec<f32> = kind.describe.params.iter().map(|p| p.default).collect();
        for (name, value) in values {
            all[usize::from(kind.describe.param_index(name).unwrap())] = *value;
        }
        let mut cells = vec![0; kind.cells(context, channels)];
        kind.begin(context, channels, &all, &mut cells);
        Self {
            kind,
            channels,
            written: vec![0; cells.len() / 1024 + 1],
            cells,
            sample: None,
            scratch: vec![0.0; params::scratch_len(BLOCK)],
            context,
        }
    }

    /// Sets the recording that the module plays from.
    pub fn playing(mut self, sample: Sample) -> Self {
        self.sample = Some(sample);
        self
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: &str, value: f32) {
        let param = self.kind.describe.param_index(name).unwrap();
        self.kind
            .set(&mut self.cells, self.context, param.into(), value, GLIDE_MS);
    }

    /// Opens or closes the module's gate.
    pub fn gate(&mut self, level: f32) {
        self.kind.gate(&mut self.cells, level);
    }

    /// Plays or ends a note.
    pub fn note(&mut self, pitch: f32, velocity: f32, frames: u32) {
        let note = Note {
            pitch,
            velocity,
            frames,
        };
        let played = self
            .kind
            .note(&mut self.cells, self.context, self.channels, note);
        assert!(played);
    }

    /// Changes sounding notes.
    pub fn express(&mut self, pitch: f32, what: Expression, value: f32) {
        let expressed = Expressed { pitch, what, value };
        self.kind
            .express(&mut self.cells, self.context, self.channels, expressed);
    }

    /// Fills the state of the channels with arbitrary bits, as a torn copy would.
    pub fn garble(&mut self, seed: u32) {
        // The head and the parameters' glides are written by the engine.
        let own = 8 + 8 * self.kind.params;
        let mut bits = seed | 1;
        for cell in &mut self.cells[own..] {
            bits ^= bits << 13;
            bits ^= bits >> 17;
            bits ^= bits << 5;
            *cell = match bits >> 29 {
                0 => f32::NAN.to_bits(),
                1 => f32::NEG_INFINITY.to_bits(),
                2 => u32::MAX,
                3 => bits >> 20,
                _ => bits,
            };
        }
    }

    /// Renders `frames` frames, with those signals at inputs, the same in all channels. Returns every
    /// channel of every output.
    pub fn run(&mut self, frames: usize, inputs: &[(&str, Vec<f32>)]) -> Vec<Vec<f32>> {
        let inputs: Vec<(&str, Vec<Vec<f32>>)> = inputs
            .iter()
            .map(|(name, signal)| (*name, vec![signal.clone(); self.channels]))
            .collect();
        self.run_poly(frames, &inputs)
    }

    /// As [`Self::run`], with a signal for each channel.
    pub fn run_poly(&mut self, frames: usize, inputs: &[(&str, Vec<Vec<f32>>)]) -> Vec<Vec<f32>> {
        let names = self.kind.describe.inputs;
        let place = |name: &str| names.iter().position(|n| *n == name).unwrap();
        let mut plugs = vec![Plug::Nothing; names.len()];
        for (at, (name, _)) in inputs.iter().enumerate() {
            plugs[place(name)] = Plug::Direct(at as u16);
        }
        let (n, groups) = lanes_for(self.channels, self.context.wide);
        let out_lanes = if self.kind.polyphony == Polyphony::Split {
            1
        } else {
            n * groups
        };
        let outputs = self.kind.describe.outputs.len();
        let out_channels = if self.kind.polyphony == Polyphony::Split {
            1
        } else {
            self.channels
        };
        let mut heard = vec![Vec::new(); outputs * out_channels];
        let mut begin = 0;
        while begin < frames {
            let now = (frames - begin).min(BLOCK);
            let block = |signal: &Vec<Vec<f32>>| {
                let mut samples = vec![0.0; now * n * groups];
                for (channel, signal) in signal.iter().enumerate() {
                    for frame in 0..now {
                        samples[(channel / n * now + frame) * n + channel % n] =
                            signal[begin + frame];
                    }
                }
                let frame = |f: usize| &samples[f * n..][..n];
                let still = groups == 1 && (1..now).all(|f| frame(f) == frame(0));
                Buffer { samples, still }
            };
            let buffers: Vec<Buffer> = inputs.iter().map(|(_, signal)| block(signal)).collect();
            let silence = Buffer {
                samples: vec![0.0; now * 32],
                still: true,
            };
            let mut outs: Vec<Buffer> = (0..outputs)
                .map(|_| Buffer {
                    samples: vec![f32::NAN; now * out_lanes],
                    still: false,
                })
                .collect();
            let mut process = Process {
                context: self.context,
                stretch: Stretch::whole(0..now),
                channels: self.channels,
                cells: &mut self.cells,
                first_cell: 0,
                written: &mut self.written,
                sample: self.sample.as_ref().unwrap_or(&NO_SAMPLE),
                plugs: &plugs,
                buffers: &buffers,
                gathered: &[],
                silence: &silence,
                outs: &mut outs,
                wanted: u32::MAX,
                scratch: &mut self.scratch,
            };
            (self.kind.render)(Level::new(), &mut process);
            for (number, out) in outs.iter().enumerate() {
                for channel in 0..out_channels {
                    let sample = |frame: usize| match out_channels {
                        1 => out.samples[frame * if out_lanes == 1 { 1 } else { n }],
                        _ => out.samples[(channel / n * now + frame) * n + channel % n],
                    };
                    heard[number * out_channels + channel].extend((0..now).map(sample));
                }
            }
            begin += now;
        }
        heard
    }
}

/// The level of a frequency in a signal at 48 kHz; 1 for a sine of amplitude 1.
pub fn level(signal: &[f32], hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in signal.iter().enumerate() {
        let angle = hz / 48_000.0 * std::f64::consts::TAU * n as f64;
        re += f64::from(*sample) * libm::cos(angle);
        im += f64::from(*sample) * libm::sin(angle);
    }
    2.0 * (re * re + im * im).sqrt() / signal.len() as f64
}

/// The largest step from one sample to the next.
pub fn step_max(signal: &[f32]) -> f32 {
    let steps = signal.windows(2).map(|w| (w[1] - w[0]).abs());
    steps.fold(0.0, f32::max)
}

/// The gain for a sine of that frequency, from an impulse response at 48 kHz.
pub fn gain_at(response: &[f32], hz: f64) -> f64 {
    level(response, hz) * response.len() as f64 / 2.0
}

/// Noise between -1 and 1 from an integer generator.
pub fn noise(seed: u32, frames: usize) -> Vec<f32> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x as i32 as f32 / 2_147_483_648.0
    };
    (0..frames).map(|_| next()).collect()
}

/// Checks that each of several channels, with noise of its own at those inputs, has the same bits as
/// when it is rendered alone.
pub fn alone<M: Module>(values: &[(&str, f32)], inputs: &[&str]) {
    const FRAMES: usize = 500;
    for channels in [2, 9, 32] {
        let signal = |input: usize, channel: usize| noise((input * 64 + channel) as u32, FRAMES);
        let all: Vec<(&str, Vec<Vec<f32>>)> = inputs
            .iter()
            .enumerate()
            .map(|(input, name)| (*name, (0..channels).map(|c| signal(input, c)).collect()))
            .collect();
        let heard = Bench::poly::<M>(values, channels).run_poly(FRAMES, &all);
        for channel in 0..channels {
            let one: Vec<(&str, Vec<f32>)> = inputs
                .iter()
                .enumerate()
                .map(|(input, name)| (*name, signal(input, channel)))
                .collect();
            let one = Bench::of::<M>(values).run(FRAMES, &one);
            let bits = |x: &Vec<f32>| x.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
            for (output, one) in one.iter().enumerate() {
                let found = &heard[output * channels + channel];
                assert_eq!(bits(found), bits(one), "{channel} of {channels}, {output}");
            }
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn no_module_panics_whatever_bits_it_remembers() {
        for described in modules::all() {
            for (seed, channels) in [(1, 1), (2, 5), (3, 20), (4, 1), (5, 16)] {
                let kind = modules::kind(described.name).unwrap();
                let mut bench = Bench::with(kind, &[], channels, 48_000.0);
                bench.garble(seed);
                bench.gate(1.0);
                bench.run(200, &[]);
                let moving = vec![0.5; 200];
                let inputs: Vec<(&str, Vec<f32>)> = described
                    .inputs
                    .iter()
                    .map(|input| (*input, moving.clone()))
                    .collect();
                bench.garble(seed + 10);
                bench.run(200, &inputs);
            }
        }
    }
}
