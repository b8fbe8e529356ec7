//! SuperCollider's server, `scsynth`, as a player of voices: rendering to a file, without a clock.
//!
//! What SuperCollider's language would write is written here: the definition of a voice, and the
//! file of commands that starts so many of them. A voice is what its users write: one node, its
//! pitch, gate, cutoff and resonance as controls.
//!
//! # Source
//! SuperCollider's documentation, "Synth Definition File Format" and "Non-Realtime Synthesis",
//! <https://docs.supercollider.online/Reference/Synth-Definition-File-Format.html>.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    BLOCK_FRAMES, RATE_HZ, clock,
    peers::{ADSR, CUTOFF_HZ, Player, Q, RESONANCE, Voice, check, freq_hz},
};

/// The program.
const PROGRAM: &str = "scsynth";
/// How to get it.
pub const INSTALL: &str = "apt-get install supercollider-server";

/// Rates of unit generators.
const CONTROL: u8 = 1;
const AUDIO: u8 = 2;
/// The number of multiplication among the binary operators.
const TIMES: u16 = 2;
/// Longer packets are refused in a file of commands.
const PACKET_BYTES_MAX: usize = 8_000;

/// Whether the program is there.
pub fn is_here() -> bool {
    let mut run = Command::new(PROGRAM);
    run.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
    run.status().is_ok()
}

/// What goes into a unit generator.
#[derive(Clone, Copy)]
enum Input {
    Constant(f32),
    /// The output of that number of the unit generator of that number.
    From(u32, u32),
}

struct Ugen {
    name: &'static str,
    rate: u8,
    special: u16,
    inputs: Vec<Input>,
    outputs: u32,
}

/// The definition of a voice.
struct Definition {
    name: &'static str,
    controls: Vec<(&'static str, f32)>,
    ugens: Vec<Ugen>,
}

impl Definition {
    /// With the unit generator that puts out the controls.
    fn new(name: &'static str, controls: &[(&'static str, f32)]) -> Self {
        Self {
            name,
            controls: controls.to_vec(),
            ugens: vec![Ugen {
                name: "Control",
                rate: CONTROL,
                special: 0,
                inputs: vec![],
                outputs: controls.len() as u32,
            }],
        }
    }

    /// Adds a unit generator; returns its first output.
    fn add(&mut self, name: &'static str, rate: u8, special: u16, inputs: &[Input]) -> Input {
        self.ugens.push(Ugen {
            name,
            rate,
            special,
            inputs: inputs.to_vec(),
            outputs: u32::from(name != "Out"),
        });
        Input::From(self.ugens.len() as u32 - 1, 0)
    }

    /// As a file of definitions with this one in it.
    fn encode(&self) -> Vec<u8> {
        let mut constants: Vec<f32> = Vec::new();
        let inputs = self.ugens.iter().flat_map(|ugen| &ugen.inputs);
        for input in inputs {
            if let Input::Constant(value) = input
                && !constants.contains(value)
            {
                constants.push(*value);
            }
        }
        let mut bytes = Bytes(b"SCgf".to_vec());
        bytes.u32(2);
        bytes.u16(1);
        bytes.name(self.name);
        bytes.u32(constants.len() as u32);
        constants.iter().for_each(|value| bytes.f32(*value));
        bytes.u32(self.controls.len() as u32);
        self.controls
            .iter()
            .for_each(|(_, value)| bytes.f32(*value));
        bytes.u32(self.controls.len() as u32);
        for (number, (name, _)) in self.controls.iter().enumerate() {
            bytes.name(name);
            bytes.u32(number as u32);
        }
        bytes.u32(self.ugens.len() as u32);
        for ugen in &self.ugens {
            bytes.name(ugen.name);
            bytes.0.push(ugen.rate);
            bytes.u32(ugen.inputs.len() as u32);
            bytes.u32(ugen.outputs);
            bytes.u16(ugen.special);
            for input in &ugen.inputs {
                match input {
                    Input::Constant(value) => {
                        let place = constants.iter().position(|constant| constant == value);
                        bytes.u32(u32::MAX);
                        bytes.u32(place.unwrap_or_default() as u32);
                    }
                    Input::From(ugen, output) => {
                        bytes.u32(*ugen);
                        bytes.u32(*output);
                    }
                }
            }
            (0..ugen.outputs).for_each(|_| bytes.0.push(ugen.rate));
        }
        // No variants.
        bytes.u16(0);
        bytes.0
    }
}

/// Bytes in the order of the network.
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    fn f32(&mut self, value: f32) {
        self.0.extend(value.to_be_bytes());
    }

    /// Its length and its characters.
    fn name(&mut self, name: &str) {
        self.0.push(name.len() as u8);
        self.0.extend(name.bytes());
    }

    /// Zeros up to a multiple of four.
    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// A string of OSC: at least one zero at its end.
    fn text(&mut self, text: &str) {
        self.0.extend(text.bytes());
        self.0.push(0);
        self.pad();
    }
}

/// The rate at which the envelope is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// For each sample: `EnvGen.ar`.
    Audio,
    /// Once a block: `EnvGen.kr`.
    Control,
}

fn definition(voice: Voice, envelope: Envelope) -> Definition {
    use Input::{Constant, From};
    let controls = [
        ("freq", 440.0),
        ("gate", 1.0),
        ("cutoff", CUTOFF_HZ),
        ("rq", 1.0 / Q),
    ];
    let mut def = Definition::new("voice", &controls);
    let [freq, gate, cutoff, rq] = [0, 1, 2, 3].map(|control| From(0, control));
    let zero = Constant(0.0);
    let heard = match voice {
        Voice::Sine => {
            let rate = match envelope {
                Envelope::Audio => AUDIO,
                Envelope::Control => CONTROL,
            };
            let sine = def.add("SinOsc", AUDIO, 0, &[freq, zero]);
            let [attack, decay, sustain, release] = ADSR;
            // The gate, scale, bias, time scale, what is done at the end (free the node); then
            // `Env.adsr`: level at first, segments, the one to hold after, none to loop from; and
            // each segment's level, time, curve (5: by a number).
            let inputs = [1.0, 0.0, 1.0, 2.0, 0.0, 3.0, 2.0, -99.0];
            let segments = [(1.0, attack), (sustain, decay), (0.0, release)];
            let segments = segments.map(|(level, time)| [level, time, 5.0, -4.0]);
            let numbers = inputs.into_iter().chain(segments.into_iter().flatten());
            let inputs: Vec<Input> = [gate].into_iter().chain(numbers.map(Constant)).collect();
            let level = def.add("EnvGen", rate, 0, &inputs);
            let shaped = def.add("BinaryOpUGen", AUDIO, TIMES, &[sine, level]);
            def.add("RLPF", AUDIO, 0, &[shaped, cutoff, rq])
        }
        Voice::Saw => {
            let saw = def.add("Saw", AUDIO, 0, &[freq]);
            // It oscillates at 4.
            let gain = Constant(4.0 * RESONANCE);
            def.add("MoogFF", AUDIO, 0, &[saw, cutoff, gain, zero])
        }
    };
    def.add("Out", AUDIO, 0, &[zero, heard, heard]);
    def
}

/// A file of commands: that definition, a node for each of these pitches, an end.
fn score(definition: &Definition, pitches: &[f32], seconds: f64) -> Vec<u8> {
    let mut packets = Vec::new();
    let mut receive = Bytes(Vec::new());
    receive.text("/d_recv");
    receive.text(",b");
    let blob = definition.encode();
    receive.u32(blob.len() as u32);
    receive.0.extend(blob);
    receive.pad();
    packets.push((0.0, vec![receive.0]));
    let message = |(number, pitch): (usize, &f32)| {
        let mut new = Bytes(Vec::new());
        new.text("/s_new");
        new.text(",siiisf");
        new.text(definition.name);
        new.u32(1_000 + number as u32);
        // At the head of the group that holds all.
        new.u32(0);
        new.u32(0);
        new.text("freq");
        new.f32(*pitch);
        new.0
    };
    let messages: Vec<Vec<u8>> = pitches.iter().enumerate().map(message).collect();
    let each = messages.first().map_or(1, |first| first.len() + 4);
    for some in messages.chunks(PACKET_BYTES_MAX / each) {
        packets.push((0.0, some.to_vec()));
    }
    let mut end = Bytes(Vec::new());
    end.text("/c_set");
    end.text(",if");
    end.u32(0);
    end.f32(0.0);
    packets.push((seconds, vec![end.0]));
    let mut file = Bytes(Vec::new());
    for (seconds, messages) in packets {
        let bytes: usize = messages.iter().map(|message| message.len() + 4).sum();
        file.u32(16 + bytes as u32);
        file.text("#bundle");
        file.0
            .extend(((seconds * 4_294_967_296.0) as u64).to_be_bytes());
        for message in messages {
            file.u32(message.len() as u32);
            file.0.extend(message);
        }
    }
    file.0
}

/// So many voices.
pub struct Scsynth {
    voice: Voice,
    envelope: Envelope,
    voices: usize,
    seconds: f64,
    folder: TempDir,
}

impl Scsynth {
    /// Ready to play.
    ///
    /// # Errors
    /// When no folder can be made for its files.
    pub fn new(voice: Voice, envelope: Envelope, voices: usize, seconds: f64) -> Result<Self> {
        Ok(Self {
            voice,
            envelope,
            voices,
            seconds,
            folder: tempfile::tempdir().context("a folder for scsynth's files")?,
        })
    }

    /// Renders voices of these pitches; returns the processor time of it, in seconds.
    fn render(&self, pitches: &[f32], seconds: f64, wav: &Path) -> Result<f64> {
        let commands = self.folder.path().join("commands.osc");
        let definition = definition(self.voice, self.envelope);
        fs::write(&commands, score(&definition, pitches, seconds))?;
        let begun = clock::children()?;
        let output = Command::new(PROGRAM)
            .arg("-N")
            .arg(&commands)
            .arg("_")
            .arg(wav)
            .args([&RATE_HZ.to_string(), "WAV", "float"])
            .args(["-z", &BLOCK_FRAMES.to_string(), "-i", "0", "-o", "2"])
            .args(["-n", &(2 * self.voices + 64).to_string()])
            .args(["-w", "64", "-m", "262144", "-D", "0"])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{PROGRAM} cannot be run; install it with {INSTALL}"))?;
        let used = clock::children()? - begun;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && !said.contains("FAILURE"),
            "{PROGRAM} failed: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(used)
    }

    fn left(wav: &Path) -> Result<Vec<f32>> {
        let mut reader = hound::WavReader::open(wav)?;
        let samples: Result<Vec<f32>, _> = reader.samples::<f32>().step_by(2).collect();
        Ok(samples?)
    }
}

impl Player for Scsynth {
    fn name(&self) -> String {
        match (self.voice, self.envelope) {
            (Voice::Sine, Envelope::Audio) => "scsynth, SinOsc.ar, EnvGen.ar, RLPF.ar".into(),
            (Voice::Sine, Envelope::Control) => "scsynth, SinOsc.ar, EnvGen.kr, RLPF.ar".into(),
            (Voice::Saw, _) => "scsynth, Saw.ar, MoogFF.ar".into(),
        }
    }

    fn ns_per_voice_frame(&mut self) -> Result<f64> {
        let wav = self.folder.path().join("voices.wav");
        let pitches: Vec<f32> = (0..self.voices).map(freq_hz).collect();
        let without = self.render(&[], self.seconds, &wav)?;
        let with = self.render(&pitches, self.seconds, &wav)?;
        let left = Self::left(&wav)?;
        check(&left[left.len() - BLOCK_FRAMES..])?;
        let frames = self.seconds * f64::from(RATE_HZ);
        Ok((with - without) * 1e9 / (self.voices as f64 * frames))
    }

    fn one_voice(&mut self, freq_hz: f32) -> Result<Vec<f32>> {
        let wav = self.folder.path().join("voice.wav");
        self.render(&[freq_hz], 2.0, &wav)?;
        let mut left = Self::left(&wav)?;
        ensure!(left.len() >= 2 * RATE_HZ as usize, "scsynth ended early");
        left.truncate(2 * RATE_HZ as usize);
        Ok(left.split_off(RATE_HZ as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_laid_out_as_documented() {
        let mut def = Definition::new("a", &[("f", 1.0)]);
        let sine = def.add(
            "SinOsc",
            AUDIO,
            0,
            &[Input::From(0, 0), Input::Constant(0.0)],
        );
        def.add("Out", AUDIO, 0, &[Input::Constant(0.0), sine]);
        let mut expected = b"SCgf\0\0\0\x02\0\x01\x01a".to_vec();
        expected.extend(b"\0\0\0\x01\0\0\0\0");
        expected.extend(b"\0\0\0\x01\x3f\x80\0\0\0\0\0\x01\x01f\0\0\0\0");
        expected.extend(b"\0\0\0\x03");
        expected.extend(b"\x07Control\x01\0\0\0\0\0\0\0\x01\0\0\x01");
        expected.extend(b"\x06SinOsc\x02\0\0\0\x02\0\0\0\x01\0\0");
        expected.extend(b"\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\x02");
        expected.extend(b"\x03Out\x02\0\0\0\x02\0\0\0\0\0\0");
        expected.extend(b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\0\0\0");
        expected.extend(b"\0\0");
        assert_eq!(def.encode(), expected);
    }

    #[test]
    fn no_packet_of_a_score_is_too_long() {
        let definition = definition(Voice::Sine, Envelope::Audio);
        let file = score(&definition, &[440.0; 1_000], 1.0);
        let (mut rest, mut nodes) = (file.as_slice(), 0);
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            assert!(length <= 8_192 && length.is_multiple_of(4));
            let (packet, after) = after.split_at(length);
            assert!(packet.starts_with(b"#bundle\0"));
            nodes += packet.windows(6).filter(|w| w == b"/s_new").count();
            rest = after;
        }
        assert_eq!(nodes, 1_000);
    }
}
