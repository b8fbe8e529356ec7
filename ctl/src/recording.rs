//! Reads a sound file as far as it is intact, and converts it to the rate of the stack.
//!
//! [`riff`] reads and repairs the structure of WAV and AIFF files; symphonia decodes their sound and all other file
//! types. No repair is silent: the caller gets a line for each. rubato converts the rate once, on import; nothing
//! is converted during playback.

mod riff;

use std::{io::Cursor, path::Path};

use audioadapter_buffers::direct::SequentialSliceOfSlices;
use common::{
    limits::SAMPLE_BYTES_MAX,
    sample::{Sample, Sound},
};
use rubato::{Fft, FixedSync, Resampler, WindowFunction};
use symphonia::core::{
    codecs::audio::AudioDecoderOptions,
    errors::Error,
    formats::{FormatOptions, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

use crate::output;

/// The size limit of a file, in bytes: 64-bit samples are twice as long as 32-bit ones, and files may contain pictures.
const FILE_BYTES_MAX: usize = 2 * SAMPLE_BYTES_MAX + (64 << 20);
/// The valid sample rates of a file, in hertz; any other rate means a damaged header.
const RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=1_000_000;
/// The length of the converter's filter, in frames at the lower rate; its transition band is 2.6 % of half that rate.
const FILTER_FRAMES: usize = 1_024;

/// A recording, and the list of repairs.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) sample: Sample,
    /// Empty for an intact file.
    pub(crate) mended: Vec<String>,
}

/// Reads the recording in a file.
pub(crate) fn read(path: &Path, rate_hz: u32) -> Result<Recording, String> {
    let mut recording = decode(output::read_bytes(path, FILE_BYTES_MAX)?)?;
    recording.sample = at_rate(recording.sample, rate_hz)?;
    Ok(recording)
}

/// Decodes a file's bytes at the recorded rate.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<Recording, String> {
    let (bytes, found) = match riff::mended(&bytes)? {
        Some(file) => (file.bytes, file.found),
        None => (bytes, riff::Found::default()),
    };
    let mut mended = found.mended;
    let (rate_hz, channels, mut samples) = sound(bytes, &mut mended)?;
    if let Some(frames) = found.frames {
        samples.truncate(frames.saturating_mul(channels));
    }
    if !RATES_HZ.contains(&rate_hz) {
        return Err(format!(
            "the sample rate is {rate_hz} Hz (expected {} to {} Hz)",
            RATES_HZ.start(),
            RATES_HZ.end()
        ));
    }
    let none = || "the file has no sound, or more than 32 channels".to_owned();
    let sample = Sample::new(rate_hz, channels as u32, samples).ok_or_else(none)?;
    let sample = sample.looping(found.looped).rooted(found.root);
    if found.looped.is_some() && sample.looped().is_none() {
        mended.push("the loop lies beyond the end and is ignored".to_owned());
    }
    Ok(Recording { sample, mended })
}

/// Rate, channels and frames of a file, as far as it is intact.
fn sound(bytes: Vec<u8>, mended: &mut Vec<String>) -> Result<(u32, usize, Vec<f32>), String> {
    let no = |why: Error| format!("it cannot be read as WAV, AIFF, FLAC, MP3 or Ogg Vorbis: {why}");
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let (options, meta) = (FormatOptions::default(), MetadataOptions::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, options, meta)
        .map_err(no)?;
    let track = format.default_track(TrackType::Audio);
    let params = track.and_then(|track| Some((track.id, track.codec_params.as_ref()?.audio()?)));
    let (id, params) = params.ok_or("the file has no sound")?;
    let rate_hz = params.sample_rate.ok_or("the header has no sample rate")?;
    let said = track.and_then(|track| track.num_frames);
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(params, &AudioDecoderOptions::default())
        .map_err(no)?;
    let (mut all, mut some) = (Vec::new(), Vec::new());
    let (mut channels, mut damaged) = (0, 0_u32);
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(_) if !all.is_empty() => break,
            Err(why) => return Err(no(why)),
        };
        if packet.track_id != id {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(Error::DecodeError(_) | Error::IoError(_)) => {
                damaged += 1;
                continue;
            }
            Err(why) => return Err(no(why)),
        };
        let now = decoded.spec().channels().count();
        if channels != 0 && now != channels || decoded.spec().rate() != rate_hz {
            mended.push("the channels or the rate change; the rest is ignored".to_owned());
            break;
        }
        channels = now;
        some.resize(decoded.samples_interleaved(), 0.0_f32);
        decoded.copy_to_slice_interleaved(&mut some);
        all.extend_from_slice(&some);
        if all.len() * 4 > SAMPLE_BYTES_MAX {
            return Err(too_much());
        }
    }
    if damaged > 0 {
        mended.push(format!("{damaged} damaged packets are skipped"));
    }
    let frames = all.len() / channels.max(1);
    if let Some(said) = said.filter(|said| *said > frames as u64) {
        mended.push(format!(
            "the file has {frames} frames (the header says {said})"
        ));
    }
    if all.is_empty() {
        return Err("the file has no sound".to_owned());
    }
    Ok((rate_hz, channels, all))
}

fn too_much() -> String {
    format!(
        "the recording is too large (expected at most {} MiB as 32-bit samples, at its own rate and at the stack's)",
        SAMPLE_BYTES_MAX >> 20
    )
}

/// Converts a recording to `rate_hz`, unless it has that rate already.
pub(crate) fn at_rate(sample: Sample, rate_hz: u32) -> Result<Sample, String> {
    let sound = sample.recorded();
    if sample.at_rate(rate_hz).rate_hz() == rate_hz {
        return Ok(sample);
    }
    let ratio = f64::from(rate_hz) / f64::from(sound.rate_hz());
    let more = sound.bytes() as f64 * ratio;
    if sound.bytes() as f64 + more > SAMPLE_BYTES_MAX as f64 {
        return Err(too_much());
    }
    let samples =
        converted(sound, rate_hz).map_err(|why| format!("the rate cannot be converted: {why}"))?;
    sample.converted(rate_hz, &samples).ok_or_else(too_much)
}

/// The frames of a sound at another rate, interleaved.
fn converted(sound: &Sound, rate_hz: u32) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let (from, to) = (sound.rate_hz() as usize, rate_hz as usize);
    let channels = sound.channels() as usize;
    let sides: Vec<&[f32]> = (0..channels).map(|channel| sound.side(channel)).collect();
    let input = SequentialSliceOfSlices::new(&sides, channels, sound.frames())?;
    // An even number of whole periods of both rates, so that the filter's middle is a frame.
    let period = 2 * from / gcd(from, to);
    let chunk = (FILTER_FRAMES * from.div_ceil(to)).next_multiple_of(period);
    let window = WindowFunction::BlackmanHarris2;
    let mut fft = Fft::<f32>::new_custom(from, to, chunk, 1, channels, window, FixedSync::Input)?;
    let mut samples = fft.process_all(&input, sound.frames(), None)?.take_data();
    // Keep the frames before the end of the sound: rubato computes their count in floats and may add one.
    samples.truncate((sound.frames() * to).div_ceil(from) * channels);
    Ok(samples)
}

const fn gcd(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

#[cfg(test)]
mod tests;
