//! `understudy record start|stop|status`: starts a recording of the played sound, ends it, shows its state.

use common::{message::Request, recording::Wish};
use serde_json::Value;

use crate::{Context, asking, failure::Failure, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Start a recording of the played sound
    Start {
        /// Name the file in the instance's folder of recordings: NAME.wav for 32-bit float, NAME.flac for 24
        /// bits [default: date and time, .wav]
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// End the recording
    Stop,
    /// Show the state of the current or last recording
    Status,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let request = match &args.what {
        What::Start { name } => Request::Record(Wish::Start(name.clone())),
        What::Stop => Request::Record(Wish::Stop),
        What::Status => Request::RecordStatus,
    };
    let status = asking::ask(&context.paths, &request, asking::USUAL)?;
    if context.json {
        output::value(&status);
    } else {
        output::line(&line(&status));
    }
    Ok(())
}

/// The state of a recording as a line of text.
pub(crate) fn line(status: &Value) -> String {
    let Some(file) = status["file"].as_str() else {
        return format!(
            "no recording yet; `understudy record start [NAME]` records to {}",
            status["folder"].as_str().unwrap_or_default()
        );
    };
    let seconds = status["seconds"].as_f64().unwrap_or_default();
    let mut text = match status["recording"] == true {
        true => format!("recording {file}: {seconds:.1} s so far"),
        false => format!("recorded {file}: {seconds:.1} s"),
    };
    if let Some(missing) = status["missing_frames"].as_u64().filter(|count| *count > 0) {
        text += &format!("; {missing} frames are missing and replaced by silence");
    }
    if let Some(trouble) = status["trouble"].as_str() {
        text += &format!("; {trouble}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_what_is_recorded_and_what_is_wrong() {
        let none = line(&json!({ "recording": false, "folder": "/f" }));
        assert!(
            none.contains("no recording") && none.ends_with("/f"),
            "{none}"
        );
        let mut status = json!({
            "recording": true, "file": "/f/a.wav", "seconds": 1.25, "missing_frames": 0, "trouble": null,
        });
        assert_eq!(line(&status), "recording /f/a.wav: 1.2 s so far");
        status["recording"] = false.into();
        status["missing_frames"] = 3.into();
        status["trouble"] = "no room".into();
        let text =
            "recorded /f/a.wav: 1.2 s; 3 frames are missing and replaced by silence; no room";
        assert_eq!(line(&status), text);
    }
}
