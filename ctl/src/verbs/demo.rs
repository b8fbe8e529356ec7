//! `understudy demo`: plays a short piece and kills its workers meanwhile, then compares every played sample with
//! a replay of the command log.
//!
//! With a WAV sink, the played samples are the sink's file. With any other sink the recorder writes the samples
//! that audio-out played, from the frame that the recorder reports.

use std::{
    path::{Path, PathBuf},
    process::Child,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use common::{
    message::{Fault, Request, SIGKILL, Target},
    options::{KEEP, Options, SEGMENT_AGE, SEGMENT_BYTES},
    recording::Wish,
};
use rosc::OscType;
use rustix::process::Pid;
use serde_json::{Value, json};

use engine::replay::Replay;

use crate::{
    Context, asking,
    failure::Failure,
    launcher,
    osc::Osc,
    output,
    verbs::{inject::inject, up::check_sink},
};

/// Kills in the piece; every other one hits the leader.
const KILLS: usize = 20;
/// The time between two kills: eight seconds in total.
const BETWEEN: Duration = Duration::from_millis(400);
/// A follower is ready in far less; without a follower a kill would be audible.
const PROTECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A minor tune, in hertz.
const TUNE: [f32; 8] = [220.0, 261.63, 329.63, 440.0, 392.0, 329.63, 293.66, 246.94];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Play to this sink: auto, device[:NAME], wav:PATH or null [default: auto, which is the default device
    /// if there is one; with --output alone: wav:OUT.wav]
    #[arg(long, env = "UNDERSTUDY_SINK")]
    sink: Option<String>,
    /// Write the played sound to this WAV file, 32-bit float
    #[arg(short, long, value_name = "OUT.wav")]
    output: Option<PathBuf>,
}

/// The name of the recording, if the sink is not a WAV file.
const RECORDING: &str = "demo.wav";

/// The played piece.
struct Played {
    /// The file with the played samples, and its first frame.
    file: PathBuf,
    from_frame: u64,
    kills: usize,
    notes: usize,
    status: Value,
}

/// The result of the comparison.
struct Heard {
    written: u64,
    replayed: u64,
    compared: u64,
    differ: u64,
    peak: f32,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let paths = &context.paths;
    paths.make().map_err(|e| Failure::no(e.to_string()))?;
    let sink = match (&args.sink, &args.output) {
        (Some(sink), _) => check_sink(sink)?,
        (None, Some(file)) => check_sink(&format!("wav:{}", file.display()))?,
        (None, None) => "auto".to_owned(),
    };
    // The recorder never overwrites a recording.
    let _ = std::fs::remove_file(paths.recordings().join(RECORDING));
    let options = options(&paths.instance, &sink);
    let (mut child, text) = launcher::start(paths, &options, None, &AtomicBool::new(false))?;
    say(context, &format!("{text}\n{}", introduction()));
    let played = play(context, sink.strip_prefix("wav:"));
    // The stack must end even if the piece has failed.
    let ended = end(&mut child);
    let mut played = played?;
    ended?;
    let heard = listen(&played, &paths.command_log())?;
    if let Some(output) = &args.output
        && sink
            .strip_prefix("wav:")
            .is_none_or(|path| Path::new(path) != played.file)
    {
        std::fs::copy(&played.file, output)
            .map_err(|e| Failure::no(format!("cannot write {}: {e}", output.display())))?;
        played.file.clone_from(output);
    }
    report(context, &played, &heard)
}

/// Prints text unless the output is JSON.
fn say(context: &Context, text: &str) {
    if !context.json {
        output::raw(text);
    }
}

fn introduction() -> String {
    format!(
        "\nTwo worker processes render the same tune; one is heard, the other stands by.\nEvery {:.1} s one of them is killed (SIGKILL), {KILLS} times in total, and replaced.\nThe played samples are written to a file and compared afterwards with a replay of the command log.\n\n",
        BETWEEN.as_secs_f64()
    )
}

fn options(instance: &str, sink: &str) -> Options {
    Options {
        instance: instance.into(),
        sink: sink.into(),
        freewheel: false,
        // A free port; the status names the port.
        osc: "127.0.0.1:0".into(),
        midi: None,
        link: false,
        rate_hz: 48_000,
        block_frames: 128,
        lead_blocks: None,
        lead_max_ms: common::limits::LEAD_MAX_MS,
        channels: 2,
        patch: false,
        resume: false,
        segment: (SEGMENT_BYTES, SEGMENT_AGE),
        keep: KEEP,
        archive: None,
        first: common::units::First::default(),
    }
}

fn end(child: &mut Child) -> Result<(), Failure> {
    launcher::end(Pid::from_child(child), || {
        matches!(child.try_wait(), Ok(Some(_)))
    })
}

fn play(context: &Context, wav: Option<&str>) -> Result<Played, Failure> {
    let paths = &context.paths;
    let protected = || {
        let found = asking::wait_for(paths, PROTECTION_TIMEOUT, |s| s["state"] == "protected");
        if found {
            Ok(())
        } else {
            Err(Failure::no(format!(
                "the follower is not ready after {} s: see {}",
                PROTECTION_TIMEOUT.as_secs(),
                paths.text_log().display()
            )))
        }
    };
    protected()?;
    let record = |wish| asking::ask(paths, &Request::Record(wish), asking::USUAL);
    let (file, from_frame) = match wav {
        Some(path) => (path.into(), 0),
        None => {
            let status = record(Wish::Start(Some(RECORDING.into())))?;
            let from_frame = status["from_frame"].as_u64().unwrap_or(0);
            (
                status["file"].as_str().unwrap_or_default().into(),
                from_frame,
            )
        }
    };
    let osc = Osc::open(&asking::status(paths)?)?;
    osc.send("/test", Vec::new())?;
    let mut notes = 0;
    let mut due = Instant::now();
    let mut note = |until: Instant| -> Result<(), Failure> {
        while Instant::now() < until {
            osc.send(
                "/mod/sine/freq",
                vec![OscType::Float(TUNE[notes % TUNE.len()])],
            )?;
            notes += 1;
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(left.min(BETWEEN / 2));
        }
        Ok(())
    };
    let begun = Instant::now();
    let mut kills = 0;
    for kill in 0..KILLS {
        due = due.max(Instant::now()) + BETWEEN;
        note(due)?;
        if kill > 0 {
            protected()?;
            say(context, &survived(&asking::status(paths)?));
        }
        let leader = asking::status(paths)?["leader"].as_u64().unwrap_or(0);
        let (target, slot, role) = if kill % 2 == 0 {
            (Target::Leader, leader, "the leader")
        } else {
            (Target::Follower, 1 - leader.min(1), "the follower")
        };
        let seconds = begun.elapsed().as_secs_f64();
        inject(paths, Fault::Signal(SIGKILL), target)?;
        kills += 1;
        say(
            context,
            &format!("{seconds:5.1} s  killed worker:{slot}, {role:13}"),
        );
    }
    note(Instant::now() + BETWEEN)?;
    protected()?;
    say(context, &survived(&asking::status(paths)?));
    osc.send("/gate/adsr", vec![OscType::Int(0)])?;
    osc.sync()?;
    // Wait for the release of the last note.
    thread::sleep(BETWEEN);
    if wav.is_none() {
        record(Wish::Stop)?;
    }
    Ok(Played {
        file,
        from_frame,
        kills,
        notes,
        status: asking::status(paths)?,
    })
}

/// The end of the line of a kill, once a new follower is ready.
fn survived(status: &Value) -> String {
    let last = status["replacements"]
        .as_array()
        .and_then(|list| list.last());
    let ready = last.and_then(|last| last["ready_ms"].as_f64());
    let after = ready.map_or_else(String::new, |ms| format!(" after {ms:.1} ms"));
    format!(
        "  worker:{} plays, a new follower is ready{after}\n",
        status["leader"]
    )
}

/// Compares the played samples with a replay of the log, bit by bit.
fn listen(played: &Played, log: &Path) -> Result<Heard, Failure> {
    let wav = &played.file;
    let wrong = |path: &Path, what: &dyn std::fmt::Display| {
        Failure::no(format!("cannot read {}: {what}", path.display()))
    };
    let written: Vec<f32> = hound::WavReader::open(wav)
        .and_then(|reader| reader.into_samples::<f32>().collect())
        .map_err(|e| wrong(wav, &e))?;
    let bytes = std::fs::read(log).map_err(|e| wrong(log, &e))?;
    let mut replayed = 0;
    let (mut compared, mut differ) = (0, 0);
    let mut replay = Replay::new(&bytes, Box::new(|_| None)).map_err(|e| wrong(log, &e))?;
    let mut block = vec![0.0; replay.format().block_samples()];
    let mut ahead = played.from_frame as usize * replay.format().channels as usize;
    while replay.next(&mut block).map_err(|e| wrong(log, &e))? {
        let skipped = ahead.min(block.len());
        ahead -= skipped;
        for sample in &block[skipped..] {
            if let Some(played) = written.get(replayed) {
                compared += 1;
                differ += u64::from(played.to_bits() != sample.to_bits());
            }
            replayed += 1;
        }
    }
    Ok(Heard {
        written: written.len() as u64,
        replayed: replayed as u64,
        compared,
        differ,
        peak: written.iter().fold(0.0, |peak, s| s.abs().max(peak)),
    })
}

fn report(context: &Context, played: &Played, heard: &Heard) -> Result<(), Failure> {
    let wav = &played.file;
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let audio = &played.status["audio"];
    let (underruns, concealed) = (
        count(&audio["underruns"]),
        count(&audio["concealed_blocks"]),
    );
    let switches = count(&played.status["epoch"]);
    // 48 kHz, two channels.
    let seconds = heard.written as f64 / 96_000.0;
    let good = heard.compared > 0 && heard.differ == 0 && heard.peak > 0.0 && concealed == 0;
    if context.json {
        output::value(&json!({
            "output": wav.display().to_string(), "seconds": seconds, "peak": heard.peak,
            "notes": played.notes, "kills": played.kills, "switches": switches,
            "samples_written": heard.written, "samples_replayed": heard.replayed,
            "samples_compared": heard.compared, "samples_that_differ": heard.differ,
            "underruns": underruns, "concealed_blocks": concealed, "good": good,
        }));
        if !good {
            // The JSON value has been written; returning an error would write a second one.
            std::process::exit(1);
        }
        return Ok(());
    }
    output::raw(&format!(
        "\nHeard     {seconds:.1} s, {} notes, peak {:.2}: {}\nKilled    {} workers; playback switched to the other worker {switches} times\nCompared  {} samples with a replay of the command log: {} differ\nMissed    {underruns} underruns, {concealed} blocks concealed\n\n",
        played.notes,
        heard.peak,
        wav.display(),
        played.kills,
        heard.compared,
        heard.differ,
    ));
    // A recording ends earlier than the music.
    if heard.written > heard.replayed {
        output::line(&format!(
            "Lengths   {} samples were played, {} are in the log; samples that are not in the log were not compared",
            heard.written, heard.replayed
        ));
    }
    if heard.peak == 0.0 {
        return Err(Failure::no("the recording is silent (expected sound)"));
    }
    if !good {
        return Err(Failure::no(format!(
            "the kills were audible: {} of {} samples differ, {concealed} blocks were concealed; see {}",
            heard.differ,
            heard.compared,
            context.paths.text_log().display()
        )));
    }
    output::line(&format!(
        "No sample was lost or changed in {} kills.",
        played.kills
    ));
    Ok(())
}
