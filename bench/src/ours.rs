//! The engine of this program as a player of voices, and the patches it is measured with.

use anyhow::{Result, ensure};
use common::command::Event;
use engine::{
    Config, Engine, catalog,
    patch::{Cable, MODULES_MAX, ModuleSpec, Patch},
};

use crate::{
    BLOCK_FRAMES, RATE_HZ, clock,
    peers::{ADSR, CUTOFF_HZ, Player, Q, RESONANCE, Voice, check, freq_hz},
};

/// Where everything is played.
pub const CONFIG: Config = Config {
    rate_hz: RATE_HZ,
    block_frames: BLOCK_FRAMES as u32,
    channels: 2,
};

/// A patch in the making.
pub struct Draft(Patch);

impl Draft {
    /// With nothing in it but `out`.
    pub fn new(gain: f32) -> Self {
        let mut draft = Self(Patch {
            version: engine::patch::VERSION,
            modules: vec![],
            cables: vec![],
            sequences: vec![],
            patterns: Default::default(),
            presets: Default::default(),
            samples: Default::default(),
        });
        draft.module("out", "out", &[("gain", gain)], 1);
        draft
    }

    /// Adds a module.
    pub fn module(&mut self, id: &str, kind: &str, params: &[(&str, f32)], channels: u8) {
        let params = params.iter().map(|(name, value)| ((*name).into(), *value));
        self.0.modules.push(ModuleSpec {
            id: id.into(),
            kind: kind.into(),
            params: params.collect(),
            sample: None,
            channels,
        });
    }

    /// Adds a cable from each of these to the next.
    pub fn chain(&mut self, ids: &[&str]) {
        self.0
            .cables
            .extend(ids.windows(2).map(|pair| Cable::between(pair[0], pair[1])));
    }

    /// Adds the modules of so many channels of a voice, and plugs them into `out`.
    fn voices(&mut self, voice: Voice, number: usize, channels: u8, freq_hz: f32) {
        let [source, envelope, filter] = ["s", "e", "f"].map(|name| format!("{name}{number}"));
        let freq = [("freq", freq_hz), ("gain", 1.0)];
        match voice {
            Voice::Sine => {
                let [attack, decay, sustain, release] = ADSR;
                self.module(&source, "sine", &freq, channels);
                self.module(
                    &envelope,
                    "adsr",
                    &[
                        ("attack", 1e3 * attack),
                        ("decay", 1e3 * decay),
                        ("sustain", sustain),
                        ("release", 1e3 * release),
                    ],
                    1,
                );
                self.module(&filter, "filter", &[("cutoff", CUTOFF_HZ), ("q", Q)], 1);
                self.chain(&[&source, &envelope, &filter, "out"]);
            }
            Voice::Saw => {
                self.module(&source, "saw", &freq, channels);
                self.module(
                    &filter,
                    "ladder",
                    &[("cutoff", CUTOFF_HZ), ("resonance", RESONANCE)],
                    1,
                );
                self.chain(&[&source, &filter, "out"]);
            }
        }
    }

    /// The patch.
    pub fn done(self) -> Patch {
        self.0
    }
}

/// An engine that plays this patch, all gates open, after a second in which envelopes come to rest.
///
/// # Errors
/// When the patch is wrong.
pub fn playing(patch: &Patch) -> Result<Engine> {
    let mut engine = Engine::new(patch, CONFIG)?;
    for module in 0..patch.modules.len() {
        let module = module as u16;
        engine.apply(&Event::Gate { module, level: 1.0 });
    }
    let mut out = vec![0.0; CONFIG.block_samples()];
    for _ in 0..RATE_HZ as usize / BLOCK_FRAMES {
        engine.render(&mut out, &mut |_| {});
    }
    check(&out)?;
    ensure!(engine.muted().is_none(), "the engine had to mute a module");
    Ok(engine)
}

/// So many voices, so many of them in each module; in as many patches, rendered in turn, as have room for
/// them.
pub struct Ours {
    voice: Voice,
    voices: usize,
    channels: u8,
    engines: Vec<Engine>,
    frames: usize,
}

impl Ours {
    /// Ready to play; `None` where this engine has not the modules for it.
    ///
    /// # Errors
    /// When the patch is wrong.
    pub fn new(voice: Voice, voices: usize, channels: u8, seconds: f64) -> Result<Option<Self>> {
        if voice == Voice::Saw && catalog::find("ladder").is_none() {
            return Ok(None);
        }
        /// Modules of a voice, at the most.
        const EACH: usize = 3;
        let firsts: Vec<usize> = (0..voices).step_by(channels.into()).collect();
        let engine = |firsts: &[usize]| {
            let mut draft = Draft::new(1.0 / voices as f32);
            for (number, first) in firsts.iter().enumerate() {
                let channels = channels.min((voices - first).min(32) as u8);
                draft.voices(voice, number, channels, freq_hz(*first));
            }
            playing(&draft.done())
        };
        let engines = firsts.chunks((MODULES_MAX - 1) / EACH).map(engine);
        Ok(Some(Self {
            voice,
            voices,
            channels,
            engines: engines.collect::<Result<_>>()?,
            frames: (f64::from(RATE_HZ) * seconds) as usize / BLOCK_FRAMES * BLOCK_FRAMES,
        }))
    }
}

impl Player for Ours {
    fn name(&self) -> String {
        match self.channels {
            1 => "Understudy, modules of one channel".into(),
            channels => format!("Understudy, modules of {channels} channels"),
        }
    }

    fn ns_per_voice_frame(&mut self) -> Result<f64> {
        let mut out = vec![0.0; CONFIG.block_samples()];
        let ((), seconds) = clock::of(|| {
            for _ in 0..self.frames / BLOCK_FRAMES {
                for engine in &mut self.engines {
                    engine.render(&mut out, &mut |_| {});
                }
            }
        });
        check(&out)?;
        Ok(seconds * 1e9 / (self.voices * self.frames) as f64)
    }

    fn one_voice(&mut self, freq_hz: f32) -> Result<Vec<f32>> {
        let mut draft = Draft::new(1.0);
        draft.voices(self.voice, 0, 1, freq_hz);
        let mut engine = playing(&draft.done())?;
        let mut out = vec![0.0; CONFIG.block_samples()];
        let mut left = Vec::new();
        while left.len() < RATE_HZ as usize {
            engine.render(&mut out, &mut |_| {});
            left.extend(out.iter().step_by(2));
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_of_voices_gets_a_module_too() {
        let mut ours = Ours::new(Voice::Sine, 70, 32, 0.01).unwrap().unwrap();
        let patch = ours.engines[0].patch();
        assert_eq!(patch.modules.len(), 1 + 3 * 3);
        assert_eq!(patch.modules[7].channels, 6);
        assert!(ours.ns_per_voice_frame().unwrap() > 0.0);
    }

    #[test]
    fn voices_that_one_patch_has_no_room_for_are_in_several() {
        let ours = Ours::new(Voice::Sine, 2_000, 1, 0.01).unwrap().unwrap();
        let modules = ours
            .engines
            .iter()
            .map(|engine| engine.patch().modules.len() - 1);
        assert_eq!(modules.collect::<Vec<_>>(), [3_999, 2_001]);
    }
}
