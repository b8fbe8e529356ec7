//! How fast the sound is made, beside others that play the same in the same run: `./bench.sh speed`.
//!
//! Prints tables and lines that begin with `FIGURE`. Nothing here decides anything: docs/performance.md
//! says what is wanted. What depends on other programs goes on without those that are missing.
#![forbid(unsafe_code)]

mod checkpoint;
mod clock;
mod fundsp;
mod graph;
mod module_costs;
mod one_loop;
mod ours;
mod peers;
mod scsynth;

use anyhow::{Result, bail};

use crate::{
    fundsp::{Fundsp, Source},
    ours::Ours,
    peers::{Player, Voice},
    scsynth::{Envelope, Scsynth},
};

/// Frames a second.
const RATE_HZ: u32 = 48_000;
/// Frames in a block; what scsynth and fundsp have too unless told otherwise.
const BLOCK_FRAMES: usize = 64;
/// Voices that are compared.
const VOICES: usize = 1_024;
/// Seconds of sound in each round: some tenths of a second of work for whoever plays.
const OUR_SECONDS: f64 = 2.0;
const SCSYNTH_SECONDS: f64 = 3.0;
const FUNDSP_SECONDS: f64 = 0.5;
/// How often each is measured; the best counts.
const ROUNDS: usize = 7;
/// The pitch of the one voice that is looked at.
const LOOKED_AT_HZ: f32 = 440.0;

/// Measures and prints.
type Part = fn() -> Result<()>;
/// What is measured, by the name that asks for it alone.
const PARTS: [(&str, Part); 7] = [
    ("sine", || {
        compare("sine, envelope, resonant low-pass", Voice::Sine)
    }),
    ("saw", || compare("sawtooth, ladder", Voice::Saw)),
    ("flat", flatness),
    ("graph", graph::measure),
    ("loop", one_loop::measure),
    ("checkpoint", checkpoint::measure),
    ("modules", module_costs::measure),
];

fn main() -> Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let known = PARTS.map(|(name, _)| name);
    if let Some(unknown) = asked.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("{unknown}: {} are right, or none for all", known.join(", "));
    }
    platform::realtime::flush_denormals();
    machine();
    for (name, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            measure()?;
            println!();
        }
    }
    Ok(())
}

/// What the figures were taken on.
fn machine() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!(
        "{cores} cores; load at the start {load} (0 is a machine that does nothing else); \
         {RATE_HZ} Hz, blocks of {BLOCK_FRAMES} frames; best of {ROUNDS} rounds\n"
    );
}

/// The players of a voice: ours, and who else is here.
fn players(voice: Voice) -> Result<Vec<Box<dyn Player>>> {
    let mut players: Vec<Box<dyn Player>> = Vec::new();
    for channels in [32, 1] {
        match Ours::new(voice, VOICES, channels, OUR_SECONDS)? {
            Some(ours) => players.push(Box::new(ours)),
            None => println!("`ladder` is not there: this engine does not play it yet"),
        }
    }
    if scsynth::is_here() {
        let envelopes: &[Envelope] = match voice {
            Voice::Sine => &[Envelope::Audio, Envelope::Control],
            Voice::Saw => &[Envelope::Audio],
        };
        for envelope in envelopes {
            let scsynth = Scsynth::new(voice, *envelope, VOICES, SCSYNTH_SECONDS)?;
            players.push(Box::new(scsynth));
        }
    } else {
        println!("scsynth is not here (install it with {})", scsynth::INSTALL);
    }
    let sources: &[Source] = match voice {
        Voice::Sine => &[Source::Usual],
        Voice::Saw => &[Source::Usual, Source::Poly],
    };
    for source in sources {
        let fundsp = Fundsp::new(voice, *source, VOICES, FUNDSP_SECONDS);
        players.push(Box::new(fundsp));
    }
    Ok(players)
}

/// All players of a voice, side by side; the last columns show that they play the same.
fn compare(what: &str, voice: Voice) -> Result<()> {
    println!("{what}: {VOICES} voices");
    let mut players = players(voice)?;
    let costs = peers::best(&mut players, ROUNDS)?;
    println!(
        "  {:44} {:>14} {:>14} {:>14} {:>8} {:>9}",
        "", "ns/voice/frame", "voices a core", "of the first", "level", "pitch"
    );
    for (player, cost) in players.iter_mut().zip(&costs) {
        let (level, pitch) = peers::level_and_pitch(&player.one_voice(LOOKED_AT_HZ)?);
        println!(
            "  {:44} {cost:14.2} {:14.0} {:14.3} {level:8.3} {pitch:6.1} Hz",
            player.name(),
            peers::voices_per_core(*cost),
            costs[0] / cost
        );
    }
    for (player, cost) in players.iter().zip(&costs) {
        println!(
            "FIGURE {what}: {}: {:.0} voices in real time on one core ({:.2} ns a voice and frame)",
            player.name(),
            peers::voices_per_core(*cost),
            cost
        );
    }
    Ok(())
}

/// The cost of a voice, from few of them to many.
fn flatness() -> Result<()> {
    flat(32, &[10, 32, 100, 320, 1_000, 10_000])?;
    // A patch has up to 4,000 modules: the most voices are in eight.
    flat(1, &[10, 32, 100, 320, 1_000, 10_000])
}

/// The cost of a voice, from few voices to many, in modules of up to so many channels.
fn flat(channels: u8, counts: &[usize]) -> Result<()> {
    /// Voices times seconds in a round, 32 channels a module: some tenths of a second of work.
    const VOICE_SECONDS: f64 = 4_000.0;
    println!(
        "cost of a voice (sine, envelope, resonant low-pass), modules of up to {channels} channels"
    );
    let mut players: Vec<Box<dyn Player>> = Vec::new();
    for voices in counts {
        let seconds = VOICE_SECONDS * f64::from(channels) / 32.0 / *voices as f64;
        if let Some(ours) = Ours::new(Voice::Sine, *voices, channels, seconds.max(0.25))? {
            players.push(Box::new(ours));
        }
    }
    let costs = peers::best(&mut players, ROUNDS)?;
    for (voices, cost) in counts.iter().zip(&costs) {
        let real_time = *voices as f64 / peers::voices_per_core(*cost);
        println!(
            "FIGURE {voices} voices: {cost:.2} ns a voice and frame, {:.1} % of real time",
            100.0 * real_time
        );
    }
    let dearest = costs.iter().copied().fold(0.0, f64::max);
    let cheapest = costs.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "FIGURE the dearest of these over the cheapest: {:+.0} %",
        100.0 * (dearest / cheapest - 1.0)
    );
    Ok(())
}
