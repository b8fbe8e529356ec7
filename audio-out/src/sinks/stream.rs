//! Opens a stream on a device; contains its callback.
//!
//! REAL-TIME: the callback takes frames from the playback, clamps them to full scale, counts clamped samples
//! and the gaps that the device causes. Recordings and replays have the unclamped samples.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use common::{
    stage::{AudioFormat, Stage},
    tape::Tape,
};
use cpal::{
    BufferSize, HostId, OutputCallbackInfo, Stream, StreamConfig, SupportedBufferSize,
    traits::{DeviceTrait, StreamTrait},
};
use platform::{realtime, shared::Shared};

use super::{
    Playback,
    gaps::Gaps,
    hosts::{Found, Wish},
    signs::{self, Errors, Signs},
};

/// An open stream of a device.
pub struct Open {
    /// The stream; dropping it stops playback.
    _stream: Stream,
    /// The sound system.
    pub host: HostId,
    /// The name of the device.
    pub device: String,
    /// The name of the device, with that of the sound system.
    pub name: String,
    /// The errors of the stream.
    pub errors: Errors,
}

/// Opens the first matching device that supports the stack's rate and channels. `silent_since` is the end of the
/// previous stream, if any.
///
/// # Errors
/// If no device can be opened; the text has the reason for each device.
pub fn open(
    shared: &Shared,
    tape: Tape<'static>,
    wish: &Wish,
    signs: &Arc<Signs>,
    number: u64,
    silent_since: Option<Instant>,
) -> Result<Open> {
    let mut troubles = Vec::new();
    for found in wish.find()? {
        match start(shared, tape, &found, signs, number, silent_since) {
            Ok((stream, errors)) => {
                return Ok(Open {
                    _stream: stream,
                    host: found.host,
                    name: through(&found.name, found.host),
                    device: found.name,
                    errors,
                });
            }
            Err(why) => troubles.push(format!("{why:#}")),
        }
    }
    Err(anyhow!("{}", troubles.join("; ")))
}

/// The displayed name of a device.
pub fn through(device: &str, host: HostId) -> String {
    format!("{device}, through {}", host.name())
}

fn start(
    shared: &Shared,
    tape: Tape<'static>,
    found: &Found,
    signs: &Arc<Signs>,
    number: u64,
    silent_since: Option<Instant>,
) -> Result<(Stream, Errors)> {
    let format = shared.stage.format();
    let usual = found.device.default_output_config().ok();
    let wanted = period_frames(&format, found.host);
    let period = match usual.as_ref().map(|usual| *usual.buffer_size()) {
        Some(SupportedBufferSize::Range { min, max }) if max > 0 => wanted.clamp(min.min(max), max),
        _ => wanted,
    };
    let config = |buffer_size| StreamConfig {
        channels: format.channels as u16,
        sample_rate: format.rate_hz,
        buffer_size,
    };
    let build = |config: StreamConfig| {
        let (mut teller, errors) = signs::errors(signs, number);
        let mut voice = Voice {
            playback: Playback::for_device(shared, tape),
            signs: Arc::clone(signs),
            gaps: Gaps::new(format.rate_hz, grace(&format, silent_since), signs.xruns()),
            stage: shared.stage,
            channels: format.channels as usize,
            period: (period * format.channels) as usize,
            start: Instant::now(),
            silent_since,
            // JACK's server sets the priority of its thread.
            asks_priority: found.host.name() != "JACK",
            prepared: false,
        };
        let play = move |out: &mut [f32], _: &OutputCallbackInfo| voice.play(number, out);
        let fail = move |error| teller.tell(error);
        let stream = found.device.build_output_stream(config, play, fail, None)?;
        Ok::<_, cpal::Error>((stream, errors))
    };
    let (stream, errors) = build(config(BufferSize::Fixed(period)))
        .or_else(|_| build(config(BufferSize::Default)))
        .with_context(|| {
            let takes = usual.map(|usual| usual.sample_rate());
            let advice = takes
                .filter(|rate| *rate != format.rate_hz)
                .map(|rate| format!(" (expected {rate} Hz: start the stack with --rate {rate})"));
            format!(
                "{} does not support {} channels at {} Hz{}",
                found.name,
                format.channels,
                format.rate_hz,
                advice.unwrap_or_default()
            )
        })?;
    stream
        .play()
        .with_context(|| format!("{} cannot be started", found.name))?;
    Ok((stream, errors))
}

/// The frames before gaps count: the first stream needs time to start; after a previous stream every gap counts.
fn grace(format: &AudioFormat, silent_since: Option<Instant>) -> u64 {
    match silent_since {
        Some(_) => 0,
        None => format.rate_hz.into(),
    }
}

/// The period of the device: some 10 ms, in whole blocks. With a shorter period, waking this thread 6 ms late would
/// cause an xrun. A sound server buffers two periods.
fn period_frames(format: &AudioFormat, host: HostId) -> u32 {
    let blocks = format.rate_hz / 100 / format.block_frames;
    let blocks = match host.name() {
        "ALSA" => blocks + 1,
        _ => blocks.max(1),
    };
    blocks * format.block_frames
}

/// The callback's state.
struct Voice {
    playback: Playback,
    signs: Arc<Signs>,
    gaps: Gaps,
    stage: Stage<'static>,
    channels: usize,
    /// The number of samples in a period.
    period: usize,
    start: Instant,
    silent_since: Option<Instant>,
    asks_priority: bool,
    prepared: bool,
}

impl Voice {
    fn play(&mut self, number: u64, out: &mut [f32]) {
        let first = !self.prepared;
        if first {
            // Once, in the thread of the sound system.
            let _ = self.asks_priority && realtime::ask_priority(8);
            realtime::flush_denormals();
            self.prepared = true;
        }
        let signs = Arc::clone(&self.signs);
        let frames = (out.len() / self.channels) as u64;
        let newest = signs.play(number, frames, || {
            // A sound server first fills its whole buffer. Fill all of it except a period with silence; otherwise the
            // workers would have to stay that far ahead forever.
            let early = match first {
                true => out.len().saturating_sub(self.period),
                false => 0,
            };
            let (silence, sound) = out.split_at_mut(early);
            silence.fill(0.0);
            self.note_gaps(frames);
            self.playback.fill(sound);
            let clipped = clamp(sound);
            if clipped > 0 {
                self.stage.add_clipped(clipped);
            }
        });
        if !newest {
            out.fill(0.0);
        }
    }

    fn note_gaps(&mut self, frames: u64) {
        if let Some(since) = self.silent_since.take() {
            self.stage.add_device_gaps(1, since.elapsed());
        }
        let now: Duration = self.start.elapsed();
        if let Some(gap) = self.gaps.taken(now, frames, self.signs.xruns()) {
            let count = if gap.grown { 0 } else { gap.count };
            self.stage.add_device_gaps(count, gap.length);
        }
    }
}

/// Clamps samples to full scale; returns the number of clamped samples.
fn clamp(samples: &mut [f32]) -> u64 {
    let mut clipped = 0;
    for sample in samples {
        if sample.abs() > 1.0 {
            *sample = sample.clamp(-1.0, 1.0);
            clipped += 1;
        }
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn format(rate_hz: u32, block_frames: u32) -> AudioFormat {
        AudioFormat {
            rate_hz,
            block_frames,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        }
    }

    #[test]
    fn a_period_is_whole_blocks_of_some_10_ms_and_never_none() {
        let alsa = cpal::available_hosts()
            .into_iter()
            .find(|host| host.name() == "ALSA");
        for (rate_hz, block, frames) in [
            (48_000, 128, 512),
            (48_000, 16, 496),
            (192_000, 2_048, 2_048),
            (8_000, 2_048, 2_048),
        ] {
            let period = period_frames(&format(rate_hz, block), alsa.unwrap());
            assert_eq!(period, frames, "{rate_hz} Hz, blocks of {block}");
        }
    }

    #[test]
    fn the_first_stream_may_take_a_second_to_start_and_the_next_one_nothing() {
        let format = format(44_100, 64);
        assert_eq!(grace(&format, None), 44_100);
        assert_eq!(grace(&format, Some(Instant::now())), 0);
    }

    #[test]
    fn nothing_beyond_full_scale_reaches_a_device_and_what_does_not_is_counted() {
        let mut samples = [0.0, 1.0, -1.0, 1.0001, -59.0, f32::INFINITY];
        assert_eq!(clamp(&mut samples), 3);
        assert_eq!(samples, [0.0, 1.0, -1.0, 1.0, -1.0, 1.0]);
    }
}
