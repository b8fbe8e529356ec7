//! An independent ear: it judges samples and knows nothing of blocks or workers.

use std::path::Path;

use anyhow::{Context, Result};
use symphonia::core::{
    codecs::audio::AudioDecoderOptions,
    formats::{FormatOptions, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

/// The samples of a WAV file of 32-bit floats, channels interleaved.
///
/// # Errors
/// When the file cannot be read.
pub fn read_wav(path: &Path) -> Result<Vec<f32>> {
    let reader = hound::WavReader::open(path).with_context(|| path.display().to_string())?;
    Ok(reader.into_samples::<f32>().collect::<Result<_, _>>()?)
}

/// The samples of a FLAC file of 24 bits, channels interleaved.
///
/// # Errors
/// When the file cannot be read, or part of it cannot be decoded.
pub fn read_flac(path: &Path) -> Result<Vec<i32>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let source = MediaSourceStream::new(Box::new(file), Default::default());
    let (options, meta) = (FormatOptions::default(), MetadataOptions::default());
    let hint = Hint::new();
    let mut format = symphonia::default::get_probe().probe(&hint, source, options, meta)?;
    let track = format.default_track(TrackType::Audio);
    let params = track.and_then(|track| track.codec_params.as_ref()?.audio());
    let mut decoder = symphonia::default::get_codecs().make_audio_decoder(
        params.context("there is no sound in it")?,
        &AudioDecoderOptions::default(),
    )?;
    let (mut samples, mut part) = (Vec::new(), Vec::<i32>::new());
    while let Some(packet) = format.next_packet()? {
        decoder.decode(&packet)?.copy_to_vec_interleaved(&mut part);
        // The decoder returns 24-bit samples in the upper bits of 32-bit words.
        samples.extend(part.iter().map(|sample| sample >> 8));
    }
    Ok(samples)
}

/// The number of samples that differ in any bit, over the length of the shorter slice.
#[must_use]
pub fn differing(a: &[f32], b: &[f32]) -> usize {
    a.iter()
        .zip(b)
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .count()
}

/// Breaks in a steady sine of one channel: places where a sample is not the one that the two
/// samples before it predict, x(n) = 2 cos(w) x(n-1) - x(n-2). Places closer than 10 ms are one
/// break.
#[must_use]
pub fn breaks(samples: &[f32], hz: f64, rate_hz: f64) -> Vec<usize> {
    let factor = 2.0 * (std::f64::consts::TAU * hz / rate_hz).cos();
    let mut found: Vec<usize> = Vec::new();
    for (n, three) in samples.windows(3).enumerate() {
        let [a, b, c] = [
            f64::from(three[0]),
            f64::from(three[1]),
            f64::from(three[2]),
        ];
        if (factor * b - a - c).abs() > 1e-3
            && found
                .last()
                .is_none_or(|last| n - last > (rate_hz / 100.0) as usize)
        {
            found.push(n);
        }
    }
    found
}

/// The largest absolute sample.
#[must_use]
pub fn peak(samples: &[f32]) -> f32 {
    samples
        .iter()
        .fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// The smallest of the values that at least `share` of the values do not exceed.
#[must_use]
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).saturating_sub(1);
    values.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_hears_one_sample_that_is_missing_and_one_that_is_repeated() {
        let tone =
            |n: usize| (n as f64 * std::f64::consts::TAU * 440.0 / 48_000.0).sin() as f32 * 0.5;
        let whole: Vec<f32> = (0..48_000).map(tone).collect();
        assert!(breaks(&whole, 440.0, 48_000.0).is_empty());
        let mut cut = whole.clone();
        cut.remove(10_000);
        cut.insert(30_000, cut[30_000]);
        assert_eq!(breaks(&cut, 440.0, 48_000.0).len(), 2);
    }
}
