//! The crate fundsp as a player of voices.
//!
//! Each voice is a graph as its users write them, put together by its types and processed by its own
//! block processing; they are summed straight, without a further graph around them.

use anyhow::Result;
use fundsp::prelude32::*;

use crate::{
    BLOCK_FRAMES, RATE_HZ, clock,
    peers::{ADSR, CUTOFF_HZ, Player, Q, RESONANCE, Voice, check, freq_hz},
};

/// Which of its sawtooth oscillators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What the voice has, its own kind: `sine_hz`, `saw_hz` (a wavetable).
    Usual,
    /// `poly_saw_hz`: a sawtooth with its edge rounded.
    Poly,
}

/// So many voices.
pub struct Fundsp {
    voice: Voice,
    source: Source,
    units: Vec<Box<dyn AudioUnit>>,
    frames: usize,
}

fn unit(voice: Voice, source: Source, freq_hz: f32) -> Box<dyn AudioUnit> {
    let [attack, decay, sustain, release] = ADSR;
    let gate = shared(0.0);
    let mut unit: Box<dyn AudioUnit> = match (voice, source) {
        (Voice::Sine, _) => Box::new(
            (sine_hz(freq_hz) * (var(&gate) >> adsr_live(attack, decay, sustain, release)))
                >> lowpass_hz(CUTOFF_HZ, Q),
        ),
        (Voice::Saw, Source::Usual) => Box::new(saw_hz(freq_hz) >> moog_hz(CUTOFF_HZ, RESONANCE)),
        (Voice::Saw, Source::Poly) => {
            Box::new(poly_saw_hz(freq_hz) >> moog_hz(CUTOFF_HZ, RESONANCE))
        }
    };
    unit.set_sample_rate(RATE_HZ.into());
    unit.allocate();
    // Its envelope takes for open only a gate that it has seen closed.
    for _ in 0..10 {
        let mut heard = BufferArray::<U1>::new();
        unit.process(BLOCK_FRAMES, &BufferRef::empty(), &mut heard.buffer_mut());
    }
    gate.set_value(1.0);
    unit
}

/// A block of all of them, on both channels.
fn block(units: &mut [Box<dyn AudioUnit>], heard: &mut BufferArray<U2>) {
    let mut own = BufferArray::<U1>::new();
    heard.clear();
    for unit in units {
        unit.process(BLOCK_FRAMES, &BufferRef::empty(), &mut own.buffer_mut());
        for channel in 0..2 {
            let sum = heard.channel_mut(channel).iter_mut();
            for (sum, own) in sum.zip(own.channel(0)) {
                *sum += *own;
            }
        }
    }
}

impl Fundsp {
    /// Ready to play, after a second in which envelopes come to rest.
    pub fn new(voice: Voice, source: Source, voices: usize, seconds: f64) -> Self {
        let units = (0..voices).map(|number| unit(voice, source, freq_hz(number)));
        let mut units: Vec<Box<dyn AudioUnit>> = units.collect();
        for _ in 0..RATE_HZ as usize / BLOCK_FRAMES {
            block(&mut units, &mut BufferArray::new());
        }
        Self {
            voice,
            source,
            units,
            frames: (f64::from(RATE_HZ) * seconds) as usize / BLOCK_FRAMES * BLOCK_FRAMES,
        }
    }
}

impl Player for Fundsp {
    fn name(&self) -> String {
        match (self.voice, self.source) {
            (Voice::Sine, _) => "fundsp, sine_hz, adsr_live, lowpass_hz".into(),
            (Voice::Saw, Source::Usual) => "fundsp, saw_hz, moog_hz".into(),
            (Voice::Saw, Source::Poly) => "fundsp, poly_saw_hz, moog_hz".into(),
        }
    }

    fn ns_per_voice_frame(&mut self) -> Result<f64> {
        let mut heard = BufferArray::new();
        let ((), seconds) = clock::of(|| {
            for _ in 0..self.frames / BLOCK_FRAMES {
                block(&mut self.units, &mut heard);
            }
        });
        check(heard.channel_f32(0))?;
        Ok(seconds * 1e9 / (self.units.len() * self.frames) as f64)
    }

    fn one_voice(&mut self, freq_hz: f32) -> Result<Vec<f32>> {
        let mut units = [unit(self.voice, self.source, freq_hz)];
        let mut left = Vec::new();
        while left.len() < 2 * RATE_HZ as usize {
            let mut heard = BufferArray::new();
            block(&mut units, &mut heard);
            left.extend_from_slice(&heard.channel_f32(0)[..BLOCK_FRAMES]);
        }
        Ok(left.split_off(RATE_HZ as usize))
    }
}
