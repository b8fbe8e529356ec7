//! Who plays the voices whose cost is compared: each says what a voice costs and what it sounds like.

use anyhow::{Result, ensure};

use crate::RATE_HZ;

/// What every voice is made of. Its gate is open and stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// A sine, an envelope, a resonant low-pass of second order.
    Sine,
    /// A sawtooth and a ladder low-pass of fourth order.
    Saw,
}

/// Where the low-pass of either voice closes.
pub const CUTOFF_HZ: f32 = 1_000.0;
/// Resonance of the low-pass of [`Voice::Sine`].
pub const Q: f32 = 3.0;
/// Resonance of the low-pass of [`Voice::Saw`], as a share of that at which it oscillates.
pub const RESONANCE: f32 = 0.5;
/// The envelope: attack, decay in seconds, sustained level, release in seconds.
pub const ADSR: [f32; 4] = [0.01, 0.1, 0.7, 0.2];

/// The pitch of a voice: no two voices alike, all of them between 110 and 880 Hz.
pub fn freq_hz(voice: usize) -> f32 {
    110.0 + (voice * 97 % 7_700) as f32 / 10.0
}

/// One that plays voices.
pub trait Player {
    /// What it is called in the tables.
    fn name(&self) -> String;

    /// Plays all its voices for a while.
    ///
    /// # Errors
    /// When it cannot, or when what it plays is no sound.
    fn ns_per_voice_frame(&mut self) -> Result<f64>;

    /// A second of one voice at that pitch, after its envelope has come to rest; left channel.
    ///
    /// # Errors
    /// As [`Player::ns_per_voice_frame`].
    fn one_voice(&mut self, freq_hz: f32) -> Result<Vec<f32>>;
}

/// The cost of each, best of so many rounds in which all take turns.
///
/// # Errors
/// The first that fails.
pub fn best(players: &mut [Box<dyn Player>], rounds: usize) -> Result<Vec<f64>> {
    let mut best = vec![f64::INFINITY; players.len()];
    for _ in 0..rounds {
        for (best, player) in best.iter_mut().zip(&mut *players) {
            *best = best.min(player.ns_per_voice_frame()?);
        }
    }
    Ok(best)
}

/// How many such voices a core plays in real time.
pub fn voices_per_core(ns_per_voice_frame: f64) -> f64 {
    1e9 / (ns_per_voice_frame * f64::from(RATE_HZ))
}

/// That it is a sound.
///
/// # Errors
/// When it is silence or no numbers.
pub fn check(samples: &[f32]) -> Result<()> {
    ensure!(samples.iter().all(|x| x.is_finite()), "no numbers came out");
    ensure!(samples.iter().any(|x| x.abs() > 1e-6), "silence came out");
    Ok(())
}

/// The level of a tone in a signal, root mean square, and its pitch by the rising zero crossings of
/// what is left of it when its partials are taken off.
pub fn level_and_pitch(signal: &[f32]) -> (f64, f64) {
    let squares: f64 = signal.iter().map(|x| f64::from(*x).powi(2)).sum();
    let mut low = [0.0; 3];
    let fundamental: Vec<f64> = signal
        .iter()
        .map(|x| {
            low.iter_mut().fold(f64::from(*x), |input, low| {
                *low += 0.02 * (input - *low);
                *low
            })
        })
        .collect();
    let settled = &fundamental[signal.len() / 2..];
    let mean = settled.iter().sum::<f64>() / settled.len() as f64;
    let settled: Vec<f64> = settled.iter().map(|x| x - mean).collect();
    let mut crossings = settled.windows(2).enumerate().filter_map(|(at, pair)| {
        let rises = pair[0] < 0.0 && pair[1] >= 0.0;
        rises.then(|| at as f64 - pair[0] / (pair[1] - pair[0]))
    });
    let first = crossings.next().unwrap_or_default();
    let (count, last) = crossings.fold((0, first), |(count, _), at| (count + 1, at));
    let pitch = f64::from(count) * f64::from(RATE_HZ) / (last - first);
    ((squares / signal.len() as f64).sqrt(), pitch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_has_its_level_and_pitch_and_so_it_has_on_a_shifted_level() {
        let step = std::f64::consts::TAU * 440.0 / f64::from(RATE_HZ);
        for (shift, expected) in [(0.0, 0.5_f64.sqrt()), (0.5, 0.75_f64.sqrt())] {
            let sine = (0..RATE_HZ).map(|n| ((f64::from(n) * step).sin() + shift) as f32);
            let (level, pitch) = level_and_pitch(&sine.collect::<Vec<_>>());
            assert!((level - expected).abs() < 1e-3, "{level}");
            assert!((pitch - 440.0).abs() < 0.1, "{pitch}");
        }
    }
}
