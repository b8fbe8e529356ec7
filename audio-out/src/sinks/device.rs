//! Plays on a sound device through cpal.
//!
//! The callback asks for frames of any number and gets them from the player. A device that fails
//! is let go of by the control thread at its first error, or once it asks for nothing any more, and
//! opened again with growing pauses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::{stage::Shape, tape::Tape};
use cpal::{
    BufferSize, ErrorKind, OutputCallbackInfo, Stream, StreamConfig,
    traits::{DeviceTrait, HostTrait, StreamTrait},
};
use platform::{realtime, shared::Shared};

use super::{Player, Sink};

const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A device that asks for nothing for so long plays nothing any more, whatever it says.
const ASLEEP: Duration = Duration::from_millis(600);
/// How long a device may take to wake up: a sound server that has just been started was seen to take
/// one buffer at once and the next one 2 s later.
const WAKING: Duration = Duration::from_secs(4);
/// It is awake once it has asked between so many looks in a row.
const AWAKE: u32 = 4;

/// What the device's callbacks tell the control thread.
#[derive(Default)]
struct Signs {
    failed: AtomicBool,
    xruns: AtomicU64,
    /// How often devices have asked for sound.
    asked: AtomicU64,
}

/// A sound device.
pub struct Device {
    shared: Shared,
    tape: Tape<'static>,
    wish: Option<String>,
    stream: Option<Stream>,
    signs: Arc<Signs>,
    xruns_told: u64,
    /// How often devices had asked when that was last seen to grow or the stream was opened, and
    /// when that was.
    seen: (u64, Instant),
    /// Between how many looks in a row it has asked.
    steady: u32,
    name: String,
    retry_at: Instant,
    pause: Duration,
}

impl Device {
    /// Opens the device of that name, or the default one, and starts to play.
    ///
    /// # Errors
    /// When there is none, or it does not take what the instance plays.
    pub fn open(shared: &Shared, tape: Tape<'static>, wish: Option<&str>) -> Result<Self> {
        let signs = Arc::<Signs>::default();
        let (stream, name) = start(shared, tape, wish, &signs)?;
        Ok(Self {
            shared: *shared,
            tape,
            wish: wish.map(Into::into),
            stream: Some(stream),
            signs,
            xruns_told: 0,
            seen: (0, Instant::now()),
            steady: 0,
            name,
            retry_at: Instant::now(),
            pause: PAUSE,
        })
    }
}

impl Device {
    /// What is wrong with the stream, if anything is.
    fn complaint(&mut self) -> Option<&'static str> {
        let asked = self.signs.asked.load(Ordering::Relaxed);
        if asked != self.seen.0 {
            self.seen = (asked, Instant::now());
            self.steady = self.steady.saturating_add(1);
        } else if self.steady < AWAKE {
            self.steady = 0;
        }
        let awake = self.steady >= AWAKE;
        let patience = if awake { ASLEEP } else { WAKING };
        match self.signs.failed.swap(false, Ordering::Relaxed) {
            true => Some("has failed"),
            false if self.seen.1.elapsed() > patience => Some("asks for nothing"),
            false => None,
        }
    }
}

/// The device of that name, of any of the sound systems that this program was built with.
fn named(wish: &str) -> Result<cpal::Device> {
    let mut names = Vec::new();
    let hosts = cpal::available_hosts().into_iter();
    for host in hosts.filter_map(|id| cpal::host_from_id(id).ok()) {
        for device in host.output_devices().into_iter().flatten() {
            let name = device.to_string();
            if name == wish || device.id().is_ok_and(|id| id.to_string().ends_with(wish)) {
                return Ok(device);
            }
            names.push(name);
        }
    }
    anyhow::bail!("no device \"{wish}\"; there are: {}", names.join(", "))
}

fn start(
    shared: &Shared,
    tape: Tape<'static>,
    wish: Option<&str>,
    signs: &Arc<Signs>,
) -> Result<(Stream, String)> {
    let device = match wish {
        None => {
            let device = cpal::default_host().default_output_device();
            device.context("there is no default output device")?
        }
        Some(wish) => named(wish)?,
    };
    let name = device.to_string();
    let shape = shared.stage.shape();
    let config = StreamConfig {
        channels: shape.channels as u16,
        sample_rate: shape.rate_hz,
        buffer_size: BufferSize::Fixed(period_frames(&shape)),
    };
    let open = |config: StreamConfig| {
        let mut player = Player::for_device(shared, tape);
        let mut prepared = false;
        let told = Arc::clone(signs);
        let play = move |out: &mut [f32], _: &OutputCallbackInfo| {
            if !prepared {
                // Once, in the thread that cpal made.
                let _ = realtime::ask_priority(8);
                realtime::flush_denormals();
                prepared = true;
            }
            told.asked.fetch_add(1, Ordering::Relaxed);
            player.fill(out);
        };
        let told = Arc::clone(signs);
        let fail = move |error: cpal::Error| match error.kind() {
            ErrorKind::RealtimeDenied => {}
            ErrorKind::Xrun => drop(told.xruns.fetch_add(1, Ordering::Relaxed)),
            _ => told.failed.store(true, Ordering::Relaxed),
        };
        device.build_output_stream(config, play, fail, None)
    };
    let stream = open(config)
        .or_else(|_| {
            open(StreamConfig {
                buffer_size: BufferSize::Default,
                ..config
            })
        })
        .with_context(|| {
            format!(
                "{name} does not play {} channels at {} Hz",
                shape.channels, shape.rate_hz
            )
        })?;
    stream
        .play()
        .with_context(|| format!("{name} does not start"))?;
    Ok((stream, name))
}

/// Frames that the device takes at once: some 10 ms in whole blocks. Shorter, and a machine that
/// wakes this thread 6 ms late has the device run dry.
const fn period_frames(shape: &Shape) -> u32 {
    let blocks = shape.rate_hz / 100 / shape.block_frames + 1;
    blocks * shape.block_frames
}

impl Sink for Device {
    fn describe(&self) -> String {
        match self.stream {
            Some(_) => format!("device:{}", self.name),
            None => format!("device:{} (gone; waiting for it)", self.name),
        }
    }

    fn plays(&self) -> bool {
        self.stream.is_some() && self.steady >= AWAKE
    }

    fn look_after(&mut self) -> Option<String> {
        let xruns = self.signs.xruns.load(Ordering::Relaxed);
        if xruns != self.xruns_told {
            self.xruns_told = xruns;
            return Some(format!("the device ran dry; {xruns} times so far"));
        }
        if self.stream.is_some()
            && let Some(what) = self.complaint()
        {
            self.stream = None;
            self.steady = 0;
            self.pause = PAUSE;
            self.retry_at = Instant::now() + self.pause;
            return Some(format!(
                "the device {} {what}; it is opened again when it is back",
                self.name
            ));
        }
        if self.stream.is_none() && Instant::now() >= self.retry_at {
            match start(&self.shared, self.tape, self.wish.as_deref(), &self.signs) {
                Ok((stream, name)) => {
                    self.seen = (self.signs.asked.load(Ordering::Relaxed), Instant::now());
                    self.signs.failed.store(false, Ordering::Relaxed);
                    (self.stream, self.name) = (Some(stream), name);
                    return Some(format!("the device {} is open again", self.name));
                }
                Err(_) => {
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                    self.retry_at = Instant::now() + self.pause;
                }
            }
        }
        None
    }

    fn finish(self: Box<Self>) {
        drop(self.stream);
    }
}
