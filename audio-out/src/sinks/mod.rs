//! The sinks: a device, a WAV file, or null.
//!
//! Each sink runs the playback on a thread of its own; the control thread maintains the sink.

mod device;
mod gaps;
mod hosts;
mod signs;
mod stream;
mod timed;
mod watch;
mod wav;

pub use hosts::list as devices;

use anyhow::{Result, bail};
use common::tape::Tape;
use platform::shared::Shared;

use crate::playback::Playback;

/// A destination of the sound.
pub trait Sink {
    /// The text of the sink in `status`.
    fn describe(&self) -> String;

    /// Whether the sound arrives; otherwise the sink waits for a device or for space on the disk.
    fn plays(&self) -> bool {
        true
    }

    /// Maintains the sink; the control thread calls this regularly. Returns a line for the log.
    fn look_after(&mut self) -> Option<String> {
        None
    }

    /// Stops playback and writes the remaining sound.
    fn finish(self: Box<Self>);
}

/// Opens the requested sink: `auto`, `device`, `device:NAME`, `wav:PATH` or `null`.
///
/// # Errors
/// If the sink cannot be opened; the error is one line that says what to do.
pub fn open(shared: &Shared, tape: Tape<'static>, wish: &str) -> Result<Box<dyn Sink>> {
    if let Some(path) = wish.strip_prefix("wav:") {
        return Ok(Box::new(wav::Wav::open(shared, tape, path)?));
    }
    match wish {
        "null" => Ok(Box::new(timed::Null::open(shared, tape, "null".into())?)),
        "device" => Ok(Box::new(device::Device::open(shared, tape, None)?)),
        "auto" => match device::Device::open(shared, tape, None) {
            Ok(device) => Ok(Box::new(device)),
            // A previous audio-out had a device: wait for it instead of falling back to null.
            Err(why) if shared.stage.has_device() => Err(why),
            Err(why) => {
                let text = format!("null (no sound device: {why})");
                Ok(Box::new(timed::Null::open(shared, tape, text)?))
            }
        },
        _ => match wish.strip_prefix("device:") {
            Some(name) => Ok(Box::new(device::Device::open(shared, tape, Some(name))?)),
            None => {
                bail!("no sink \"{wish}\" (expected auto, device, device:NAME, wav:PATH or null)")
            }
        },
    }
}
