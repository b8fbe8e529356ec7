//! `understudy render`: renders a patch and a score to a WAV file, in one process, without a running stack.

use std::{path::PathBuf, time::Instant};

use common::{
    command::Event,
    edit::Drafted,
    limits::{BLOCK_FRAMES_MAX, BLOCK_FRAMES_MIN, CHANNELS_MAX, RATE_HZ_MAX, RATE_HZ_MIN},
    message::Submission,
    preset::Preset,
    units::FrameIndex,
};
use engine::{
    Config, Engine,
    patch::{Checked, Draft, Patch, PatchError},
    score::{self, Line},
};
use osc_gateway::{
    decode::{Message, Value},
    namespace::{Action, Budget, Namespace},
};
use serde_json::json;

use crate::{
    Context,
    failure::Failure,
    output,
    patch_file::{self, Shelf},
};

/// The limit of the 32-bit length of a WAV file: slightly over three hours of stereo at 48 kHz.
const WAV_BYTES_MAX: f64 = 4_294_000_000.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The patch file
    patch: PathBuf,
    /// Play this score; each line is SECONDS ADDRESS ARG…
    #[arg(long, value_name = "FILE")]
    score: PathBuf,
    /// Render this many seconds
    #[arg(long, value_name = "S")]
    seconds: f64,
    /// Write this WAV file, 32-bit float
    #[arg(short, long, value_name = "OUT.wav")]
    output: PathBuf,
    /// Set the sample rate in Hz
    #[arg(long, value_name = "HZ", default_value_t = 48_000,
        value_parser = clap::value_parser!(u32).range(i64::from(RATE_HZ_MIN)..=i64::from(RATE_HZ_MAX)))]
    rate: u32,
    /// Set the block size in frames
    #[arg(long, value_name = "FRAMES", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(i64::from(BLOCK_FRAMES_MIN)..=i64::from(BLOCK_FRAMES_MAX)))]
    block: u32,
    /// Set the number of audio channels
    #[arg(long, value_name = "N", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(CHANNELS_MAX)))]
    channels: u32,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let config = Config {
        rate_hz: args.rate,
        block_frames: args.block,
        channels: args.channels,
    };
    let bytes = args.seconds * f64::from(args.rate) * f64::from(args.channels) * 4.0;
    if !(0.0..=WAV_BYTES_MAX).contains(&bytes) {
        return Err(Failure::usage(format!(
            "--seconds {} is out of range (expected 0 to {:.0}, the limit of a WAV file)",
            args.seconds,
            WAV_BYTES_MAX / f64::from(args.rate * args.channels * 4)
        )));
    }
    let named = |path: &PathBuf, what: String| Failure::no(format!("{}: {what}", path.display()));
    let shelf = Shelf::of_process(context.paths.samples());
    let (_, patch) = patch_file::read(&args.patch, config, &shelf)?;
    let sources = shelf.sources();
    let read = [&args.patch, &args.score].into_iter().chain(&sources);
    output::keep_apart(&args.output, read.map(PathBuf::as_path))?;
    let mut engine = Engine::new(&patch, config).map_err(|e| named(&args.patch, e.to_string()))?;
    let lines = score::parse(&output::read_text(&args.score)?)
        .map_err(|e| named(&args.score, e.to_string()))?;
    let mut reader = Reader::new(patch, config).map_err(|why| named(&args.patch, why))?;
    let mut events = Vec::new();
    for line in &lines {
        let frame = frame_of(line, args.rate);
        let (steps, notes) = reader
            .read(line)
            .map_err(|e| named(&args.score, format!("line {}: {e}", line.number)))?;
        for note in notes {
            eprintln!("{}: line {}: {note}", args.score.display(), line.number);
        }
        events.extend(steps.into_iter().map(|step| (frame, step)));
    }
    let frames = (args.seconds * f64::from(args.rate)).round() as u64;
    let begun = Instant::now();
    let mut wav = output::Wav::create(&args.output, args.rate, args.channels)?;
    let count = events.len();
    let mut events = events.into_iter().peekable();
    let mut samples = vec![0.0; config.block_samples()];
    let block_frames = u64::from(args.block);
    for block in 0..frames.div_ceil(block_frames) {
        let end = frames.min((block + 1) * block_frames);
        while let Some((at, event)) = events.next_if(|(at, _)| at.0 < end) {
            match event {
                Step::Event(event) => engine.apply_at(at, &event),
                Step::Edited(patch) => {
                    let mut edited = Engine::new(&patch, config)
                        .map_err(|e| named(&args.score, e.to_string()))?;
                    edited.adopt_edited(&engine);
                    engine = edited;
                }
            }
        }
        engine.render(&mut samples, &mut |_| {});
        let left = end - block * block_frames;
        wav.add(&samples[..left as usize * args.channels as usize]);
    }
    wav.finish()?;
    let pace = output::pace(frames, args.rate, begun);
    let late = events.count();
    let played = count - late;
    if late > 0 {
        eprintln!("{late} events are after the end and were not played");
    }
    if context.json {
        output::value(&json!({
            "output": args.output.display().to_string(), "frames": frames,
            "rate": args.rate, "channels": args.channels, "events": played,
            "times_real_time": pace,
        }));
    } else {
        output::line(&format!(
            "rendered {frames} frames, {played} events, {pace} times as fast as real time, to {}",
            args.output.display()
        ));
    }
    Ok(())
}

/// The effect of a line of a score.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Takes effect at its exact frame.
    Event(Event),
    /// Takes effect from the block of its frame on; includes the modules that still fade out.
    Edited(Box<Patch>),
}

/// Reads a score line by line. Each line is resolved against the patch that the lines before it have left.
pub(crate) struct Reader {
    patch: Patch,
    /// The patch as it is played, with modules that fade out; `edited` is the frame of the last edit.
    playing: Checked,
    edited: Option<FrameIndex>,
    /// The number of edits so far.
    edits: u64,
    draft: Draft,
    names: Namespace,
    config: Config,
}

impl Reader {
    pub(crate) fn new(patch: Patch, config: Config) -> Result<Self, String> {
        Ok(Self {
            names: Namespace::of_patch(1, config.rate_hz, &patch.to_json())?,
            playing: patch.clone().checked().map_err(said)?,
            patch,
            edited: None,
            edits: 0,
            draft: Draft::default(),
            config,
        })
    }

    /// The effects of a line, and notes for the user.
    pub(crate) fn read(&mut self, line: &Line) -> Result<(Vec<Step>, Vec<String>), String> {
        let frame = frame_of(line, self.config.rate_hz);
        let message = Message {
            address: line.address.clone(),
            args: line.args.iter().map(|arg| value(arg)).collect(),
            time: None,
        };
        let mut budget = Budget::DATAGRAM;
        let actions = self.names.understand(&message, &mut budget)?;
        let (mut steps, mut notes) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Event(resolved) => {
                    let address = resolved.message.address;
                    notes.extend(resolved.note.map(|note| format!("{address} {note}")));
                    steps.push(self.event(resolved.event));
                }
                Action::Edit(Submission::Control { id, control, .. }, note) => {
                    notes.extend(note.map(|note| format!("{} {note}", line.address)));
                    let sequence = self.patch.sequence_index(&id);
                    let sequence = sequence.map_err(|why| why.to_string())?;
                    steps.push(self.event(Event::Sequence { sequence, control }));
                }
                Action::Edit(Submission::Edit(edit), _) => {
                    let mut patch = self.patch.clone();
                    patch.edit(&edit).map_err(said)?;
                    let tempo = patch.tempo_of(&edit);
                    steps.push(self.take_in(patch, frame)?);
                    steps.extend(tempo.map(Step::Event));
                }
                Action::Edit(Submission::Draft(Drafted::Edit(edit)), _) => {
                    let made = self.draft.with(&edit, &self.patch, self.edits);
                    let made = made.map_err(said)?;
                    self.draft.push(edit, Some(made));
                }
                Action::Edit(Submission::Draft(Drafted::Abort), _) => self.draft.clear(),
                Action::Edit(Submission::Commit { .. }, _) if self.draft.is_empty() => {
                    return Err(Draft::NONE_WAITS.into());
                }
                Action::Edit(Submission::Commit { .. }, _) => {
                    let patch = self.draft.made(&self.patch).map_err(said)?;
                    steps.push(self.take_in(patch, frame)?);
                    self.draft.clear();
                }
                Action::Edit(Submission::Preset(Preset::Save { module, name }), _) => {
                    let values = self.patch.values_for(&module, &name).map_err(said)?;
                    self.patch.keep(&module, &name, values);
                }
                Action::Edit(
                    Submission::Preset(Preset::Morph {
                        module,
                        between: (a, b),
                        position,
                        ms,
                        ..
                    }),
                    note,
                ) => {
                    notes.extend(note.map(|note| format!("{} {note}", line.address)));
                    let events = self.patch.morphed(&module, (&a, &b), position, ms);
                    let events = events.map_err(said)?.into_iter();
                    steps.extend(events.map(|event| self.event(event)));
                }
                _ => {
                    return Err(format!(
                        "{} has no effect in a score (expected an address that changes the sound)",
                        line.address
                    ));
                }
            }
        }
        Ok((steps, notes))
    }

    /// Plays an edited patch from `frame` on; removed modules fade out.
    fn take_in(&mut self, patch: Patch, frame: FrameIndex) -> Result<Step, String> {
        let patch = patch.checked().map_err(said)?;
        let faded = self.config.fade_blocks() * u64::from(self.config.block_frames);
        let has_faded = self
            .edited
            .is_none_or(|edited| frame.0 >= edited.0.saturating_add(faded));
        self.edits += 1;
        let fits = |patch: &Checked| Engine::arena_bytes_of(patch, self.config);
        let taken = patch.taking_over(&self.playing, has_faded, self.edits, fits);
        (self.playing, _) = taken.map_err(said)?;
        self.names = Namespace::of_patch(1, self.config.rate_hz, &patch.patch().to_json())?;
        self.patch = patch.into_patch();
        self.edited = Some(frame);
        Ok(Step::Edited(Box::new(self.playing.patch().clone())))
    }

    fn event(&mut self, event: Event) -> Step {
        self.patch.apply(&event);
        Step::Event(event)
    }
}

/// The frame at which a line takes effect.
fn frame_of(line: &Line, rate_hz: u32) -> FrameIndex {
    FrameIndex((line.seconds * f64::from(rate_hz)).round() as u64)
}

fn said(why: PatchError) -> String {
    why.to_string()
}

/// The OSC value of an argument.
fn value(text: &str) -> Value {
    let number = |_| text.parse().map(Value::Float);
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text
            .parse()
            .map(Value::Int)
            .or_else(number)
            .unwrap_or_else(|_| Value::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::command::SequenceControl;

    const CONFIG: Config = Config {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
    };

    /// The effects and the notes of the last line of a score.
    fn read(text: &str) -> Result<(Vec<Step>, Vec<String>), String> {
        let mut reader = Reader::new(Patch::default_patch(), CONFIG).unwrap();
        let lines = score::parse(text).unwrap();
        let read = lines.iter().map(|line| reader.read(line));
        read.last().unwrap()
    }

    fn event(text: &str) -> Event {
        match read(text).unwrap().0.remove(0) {
            Step::Event(event) => event,
            Step::Edited(_) => panic!("{text} is an edit"),
        }
    }

    fn edited(text: &str) -> Patch {
        match read(text).unwrap().0.remove(0) {
            Step::Edited(patch) => *patch,
            Step::Event(event) => panic!("{text} is {event:?}"),
        }
    }

    #[test]
    fn lines_become_events() {
        let gate = Event::Gate {
            module: 1,
            level: 1.0,
        };
        assert_eq!(
            read("0 /gate/adsr true").unwrap(),
            (vec![Step::Event(gate)], vec![])
        );
        let (steps, notes) = read("0 /mod/filter/cutoff 1e9 50").unwrap();
        assert!(notes[0].contains("clamped to 20000"));
        let ramp = Event::Ramp {
            module: 2,
            param: 0,
            value: 20_000.0,
            ms: 50.0,
        };
        assert_eq!(steps, [Step::Event(ramp)]);
        let note = event("0 /note/sine A4 100");
        assert!(matches!(note, Event::Note { pitch: 69.0, .. }));
        assert_eq!(read("0 /mod/*/gain 0.5").unwrap().0.len(), 3);
    }

    #[test]
    fn a_score_makes_sequences_and_plays_them() {
        let added = "0 /seq/add a adsr X..x\n";
        assert!(edited(added).sequences[0].running);
        let control = |control| Event::Sequence {
            sequence: 0,
            control,
        };
        let stop = format!("{added}1 /seq/stop a");
        assert_eq!(event(&stop), control(SequenceControl::Stop));
        let tempo = format!("{added}1 /seq/bpm a 174");
        assert_eq!(event(&tempo), control(SequenceControl::Bpm(174.0)));
        let config = format!("{added}1 /seq/config a 174 16 8");
        let steps = read(&config).unwrap().0;
        assert_eq!(steps[1], Step::Event(control(SequenceControl::Bpm(174.0))));
    }

    #[test]
    fn a_score_patches_and_what_goes_fades_out() {
        let cut = "0 /patch/disconnect filter out\n1 /patch/commit\n";
        let patch = edited(cut);
        assert_eq!((patch.cables.len(), patch.settled().cables.len()), (3, 2));
        // After 5 ms it is gone.
        let later = format!("{cut}1.1 /patch/remove filter\n1.1 /patch/commit");
        let patch = edited(&later);
        assert!(patch.cables.iter().all(|cable| cable.to != "out"));
        let kept = read("0 /patch/remove filter\n0 /patch/abort\n0 /mod/filter/q 1").unwrap();
        assert_eq!(kept.0.len(), 1);
    }

    #[test]
    fn a_score_recalls_presets() {
        let text = "0 /mod/sine/freq 880\n0 /preset/save sine high\n0 /mod/sine/freq 220\n1 /preset/load sine high";
        let (steps, _) = read(text).unwrap();
        let freq = Event::Param {
            module: 0,
            param: 0,
            value: 880.0,
        };
        assert!(steps.contains(&Step::Event(freq)), "{steps:?}");
    }

    #[test]
    fn wrong_lines_say_what_would_be_right() {
        for (text, what) in [
            ("0 /mod/sin/freq 1", "did you mean \"sine\"?"),
            ("0 /mod/sine/freq x", "got \"x\" (expected one number)"),
            ("0 /mod/sine/freq nan", "the value is NaN"),
            ("0 /gate/out 1", "does not accept a gate"),
            ("0 /sync 1", "has no effect"),
            ("0 /patch/commit", "no edit waits"),
            ("0 /patch/connect sine nobody", "no module \"nobody\""),
            ("0 /preset/load sine none", "no preset"),
            (
                "0 /seq/start a",
                "no sequence \"a\"; the patch has none yet",
            ),
            (
                "0 /seq/add a sine X",
                "does not accept a gate (expected one of adsr",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
