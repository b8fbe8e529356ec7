//! Where the sound goes: a device, a WAV file, or nowhere in time.
//!
//! Each sink runs the player on a thread of its own and is looked after by the control thread.

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

use crate::player::Player;

/// A place where the sound goes.
pub trait Sink {
    /// As it is shown in `status`.
    fn describe(&self) -> String;

    /// Whether what is played arrives; else it waits for a device, or for room.
    fn plays(&self) -> bool {
        true
    }

    /// Called now and then by the control thread; returns a line for the log.
    fn look_after(&mut self) -> Option<String> {
        None
    }

    /// Stops playing and writes out what is left.
    fn finish(self: Box<Self>);
}

/// Opens the sink that is wished for: `auto`, `device`, `device:NAME`, `wav:PATH` or `null`.
///
/// # Errors
/// When it cannot be opened; one line that says what to do.
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
            None => bail!("no sink \"{wish}\"; there are auto, device[:NAME], wav:PATH, null"),
        },
    }
}
