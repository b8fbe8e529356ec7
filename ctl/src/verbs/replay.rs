//! `understudy replay`: renders the command log of an instance again, to a WAV file, or to one file for each module
//! with a cable into `out`.
//!
//! A stem is the sound that one module brings into `out`, through the level of `out` and the fades of the last
//! stage: the same log, rendered with no other cable into `out`. All stems are rendered side by side with the mix.
//! The sound that no single module has made (the smoothed step between two patches, a muted block) goes into a file
//! of its own, so that all files add up to the mix.
//!
//! The log is read segment by segment, from the newest segment that begins no later than the wanted start. The
//! replay fails with a message if a segment does not begin in the state in which the segment before ends, or if
//! blocks are lost with a damaged segment.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use common::{
    command_log::{self, LogError, Preamble, Reach, Reader},
    options::Seconds,
    stage::AudioFormat,
    units::BlockIndex,
};
use engine::replay::{self, Later, Replay, ReplayError, Unread};
use platform::{living, log_end, paths::Paths, samples::Samples, segments};
use serde_json::json;

use crate::{Context, failure::Failure, output};

/// The tolerance for the sum of all stems: a smaller difference from the mix is rounding.
const NEAR: f32 = 1e-6;
/// The name of the file with the sound that no single module has made; a module's ID never contains a space.
const REST: &str = "rest of the mix";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name of an instance, or a command log file [default: the instance of --instance]
    #[arg(value_name = "INSTANCE|LOG")]
    source: Option<String>,
    /// Write this WAV file, 32-bit float
    #[arg(short, long, value_name = "OUT.wav", required_unless_present = "stems")]
    output: Option<PathBuf>,
    /// Write a WAV file for each module with a cable into "out", named by the module; all files add up to the mix
    #[arg(long, value_name = "DIR")]
    stems: Option<PathBuf>,
    /// Start here: seconds of music since the start of the run, or #N for block N
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// End here
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// Render only the last part of the run, of this length
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    last: Option<Seconds>,
    /// Render an earlier run of the instance, by its number [default: the newest]
    #[arg(long, value_name = "N")]
    run: Option<u64>,
}

/// A position in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Seconds(f64),
    Block(u64),
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = match text.strip_prefix('#') {
            Some(block) => block.parse().ok().map(Self::Block),
            None => {
                let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
                seconds
                    .filter(|s| (0.0..1e12).contains(s))
                    .map(Self::Seconds)
            }
        };
        read.ok_or_else(|| {
            format!(
                "\"{text}\" is not a position (expected seconds such as 12.5, or a block such as #480)"
            )
        })
    }
}

impl Moment {
    /// The block that contains the position.
    fn block(self, format: AudioFormat) -> u64 {
        match self {
            Self::Block(block) => block,
            Self::Seconds(seconds) => blocks_in(seconds, format) as u64,
        }
    }
}

fn blocks_in(seconds: f64, format: AudioFormat) -> f64 {
    seconds * f64::from(format.rate_hz) / f64::from(format.block_frames)
}

/// The files of a run's segments, oldest first. The segment that is still written is held open: it may be closed
/// meanwhile, and the next segment then takes its file name.
struct Files {
    paths: Vec<PathBuf>,
    newest: Option<Arc<File>>,
    /// The run has not ended.
    lives: bool,
}

impl Files {
    /// Opens a segment at its start.
    fn open(&self, path: &Path) -> io::Result<File> {
        match &self.newest {
            Some(newest) if self.paths.last().is_some_and(|last| last == path) => {
                let mut file = newest.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
            _ => File::open(path),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The start of a segment, and its file.
struct Place {
    number: u64,
    block: BlockIndex,
    path: PathBuf,
}

/// The segments of a run that the replay needs, oldest first.
struct Source {
    all: Arc<Files>,
    /// The first segment to read; `later` holds the others.
    first: Place,
    bytes: Vec<u8>,
    later: Vec<Place>,
    /// The range of blocks to write.
    from: u64,
    to: u64,
}

impl Source {
    fn of(all: Files, args: &Args) -> Result<Self, Failure> {
        let no = |path: &Path, what: String| Failure::no(format!("{}: {what}", path.display()));
        let newest = all.paths.last().cloned().unwrap_or_default();
        let open = |path: &PathBuf| {
            let file = all
                .open(path)
                .map_err(|e| no(path, format!("cannot be read: {e}")))?;
            Ok(Reader::without_arenas(BufReader::new(file)))
        };
        let mut places = Vec::new();
        for path in &all.paths {
            let preamble = Preamble::read(&mut open(path)?).map_err(|e| no(path, e.to_string()))?;
            // Logs of older versions have no segments.
            if preamble.is_none() && all.paths.len() > 1 {
                warn_of_beginning(path);
                continue;
            }
            let known = preamble.map(|p| p.segment).unwrap_or_default();
            let (number, block) = (known.number, known.block);
            let path = path.clone();
            places.push(Place {
                number,
                block,
                path,
            });
        }
        let Some(newest) = places.last().map(|place| place.path.clone()) else {
            return Err(no(&newest, "the run has no readable segment".into()));
        };
        let mut bytes = vec![0; HEAD_BYTES];
        let read = all.open(&newest).and_then(|mut file| file.read(&mut bytes));
        bytes.truncate(read.map_err(|e| no(&newest, format!("cannot be read: {e}")))?);
        let format = command_log::head(&bytes)
            .map_err(|e| no(&newest, e.to_string()))?
            .format;
        let (mut from, to) = (
            args.from.map(|m| m.block(format)),
            args.to.map(|m| m.block(format)),
        );
        if let Some(Seconds(last)) = args.last {
            let mut reader = open(&newest)?;
            let mut reach = Reach::default();
            while let Some((_, record)) = reader.next().map_err(|e| no(&newest, e.to_string()))? {
                reach.take(&record);
            }
            let end = reach.end(!all.lives);
            from = Some(end.0.saturating_sub(blocks_in(last as f64, format) as u64));
        }
        let from = from.unwrap_or(0);
        let first = places
            .iter()
            .rposition(|place| place.block.0 <= from)
            .unwrap_or(0);
        let mut later = places.split_off(first);
        let first = later.remove(0);
        let bytes = all.read(&first.path);
        let bytes = bytes.map_err(|e| no(&first.path, format!("cannot be read: {e}")))?;
        let block = first.block;
        if args.from.is_some() && block.0 > from {
            let text = format!("the kept log begins at block {block}; rendering from there");
            output::warning(&text);
        }
        Ok(Self {
            all: Arc::new(all),
            first,
            bytes,
            later,
            from: from.max(block.0),
            to: to.unwrap_or(u64::MAX),
        })
    }

    /// All segments to read, oldest first.
    fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.first).chain(&self.later)
    }

    fn later(&self) -> Vec<Later> {
        let later = |place: &Place| {
            let (all, path) = (Arc::clone(&self.all), place.path.clone());
            Later {
                number: place.number,
                block: place.block,
                read: Box::new(move || all.read(&path)),
            }
        };
        self.later.iter().map(later).collect()
    }

    /// Renders a run that has not ended as far as it was played, and a run without an end to its last decision.
    fn replay(&self, replay: Replay) -> Replay {
        let replay = replay.then(self.later());
        match self.all.lives {
            true => replay,
            false => replay.to_last_decision(),
        }
    }

    /// Warns of truncated or damaged segments, and of a run without an end. Segments behind the wanted range are not
    /// checked.
    fn warn(&self, replay: &Replay, is_whole: bool) {
        for Unread { block, read, all } in replay.unread() {
            let place = self.places().find(|place| place.block == *block);
            output::warning(&format!(
                "{}: truncated or damaged at byte {read} of {all}; the rest of the file is not rendered",
                place
                    .map_or(&self.first.path, |place| &place.path)
                    .display()
            ));
        }
        if is_whole && !self.all.lives && !replay.has_end() {
            let last = self.later.last().unwrap_or(&self.first);
            output::warning(&format!(
                "{}: the end of the run is missing; rendered to the last decision, block {}",
                last.path.display(),
                replay.block()
            ));
        }
    }
}

fn warn_of_beginning(path: &Path) {
    output::warning(&format!(
        "{}: damaged at its start; the file is not rendered",
        path.display()
    ));
}

/// An upper bound of the length of a log's header, in bytes.
const HEAD_BYTES: usize = 4_096;

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let segments = match args.source.as_deref() {
        None => segments_of(&context.paths, args.run)?,
        Some(text) if text.contains(['/', '.']) || Path::new(text).is_file() => {
            if args.run.is_some() {
                let why = "--run is only valid with an instance (a log file holds one run)";
                return Err(Failure::usage(why));
            }
            Files {
                paths: vec![text.into()],
                newest: None,
                lives: false,
            }
        }
        Some(name) => {
            let paths = Paths::of(name).map_err(|e| Failure::usage(e.to_string()))?;
            segments_of(&paths, args.run)?
        }
    };
    let source = Source::of(segments, args)?;
    let path = &source.first.path;
    let played = |e: ReplayError| Failure::no(format!("{}: {e}", path.display()));
    let replay = Replay::new(&source.bytes, find(path)).map_err(played)?;
    let mut replay = source.replay(replay);
    let format = replay.format();
    let samples = Samples::beside(path).files();
    let logs: Vec<PathBuf> = source.places().map(|place| place.path.clone()).collect();
    let create = |output: &PathBuf| {
        let read = logs.iter().chain(&samples);
        output::keep_apart(output, read.map(PathBuf::as_path))?;
        output::Wav::create(output, format.rate_hz, format.channels)
    };
    let mut wav = args.output.as_ref().map(create).transpose()?;
    let mut stems = match &args.stems {
        Some(folder) => {
            let apart: Vec<&Path> = (logs.iter())
                .chain(&samples)
                .chain(&args.output)
                .map(PathBuf::as_path)
                .collect();
            Some(Stems::begin(folder, &source, format, &apart)?)
        }
        None => None,
    };
    let mut block = vec![0.0; format.block_samples()];
    let begun = Instant::now();
    let mut written_blocks = 0;
    let mut is_whole = false;
    while replay.block().0 < source.to {
        if !replay.next(&mut block).map_err(played)? {
            is_whole = true;
            break;
        }
        let wanted = replay.block().0 > source.from;
        if let Some(stems) = &mut stems {
            stems.next(&block, wanted).map_err(played)?;
        }
        if let Some(wav) = wav.as_mut().filter(|_| wanted) {
            wav.add(&block);
        }
        written_blocks += u64::from(wanted);
    }
    source.warn(&replay, is_whole);
    let differing = replay.unequal().to_vec();
    let lost = replay.lost().to_vec();
    let (blocks, commands) = (written_blocks, replay.commands());
    wav.map_or(Ok(()), output::Wav::finish)?;
    let written = stems.map_or(Ok(Vec::new()), Stems::finish)?;
    let frames = blocks * u64::from(format.block_frames);
    let pace = output::pace(frames, format.rate_hz, begun);
    let mut files: Vec<String> = args
        .output
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    files.extend(written.iter().map(|p| p.display().to_string()));
    if context.json {
        output::value(&json!({
            "log": path.display().to_string(), "output": args.output, "from_block": source.from,
            "stems": written, "frames": frames, "blocks": blocks, "commands": commands,
            "rate": format.rate_hz, "channels": format.channels, "times_real_time": pace,
            "lost": lost.iter().map(|lost| [lost.start, lost.end]).collect::<Vec<_>>(),
        }));
    } else {
        output::line(&format!(
            "replayed {commands} commands, {blocks} blocks, {frames} frames, {pace} times as fast as real time, to {}",
            files.join(", ")
        ));
    }
    if !lost.is_empty() {
        let lost: Vec<String> = lost
            .iter()
            .map(|lost| format!("{} to {}", lost.start, lost.end - 1))
            .collect();
        return Err(Failure::no(format!(
            "the log lacks the blocks {}; silence replaces them",
            lost.join(", ")
        )));
    }
    if differing.is_empty() {
        return Ok(());
    }
    let blocks: Vec<String> = differing.iter().map(|block| block.to_string()).collect();
    Err(Failure::no(format!(
        "the segments that begin at block {} do not match the end of the segment before",
        blocks.join(", ")
    )))
}

/// The command log of an instance: the kept segments of the run `wanted`, or of the newest run, oldest first. If all
/// processes of the instance were killed, the end of the log is taken from the stage.
fn segments_of(paths: &Paths, wanted: Option<u64>) -> Result<Files, Failure> {
    log_end::complete_if_dead(paths);
    let path = paths.command_log();
    let newest = File::open(&path).ok();
    let read = newest
        .as_ref()
        .map(|file| Preamble::read(&mut Reader::without_arenas(BufReader::new(file))));
    let mut all: Vec<(u64, u64, PathBuf)> = segments::closed(paths)
        .into_iter()
        .map(|closed| (closed.run, closed.number, closed.path))
        .collect();
    match read {
        Some(Ok(Some(preamble))) => {
            let (run, number) = (preamble.segment.run, preamble.segment.number);
            // This segment, and later ones, may have been closed since.
            all.retain(|(r, n, _)| (*r, *n) < (run, number));
            all.push((run, number, path.clone()));
        }
        // A log of an older version, or a damaged log: the reader of the file reports its error.
        _ if all.is_empty() => all.push((0, 0, path.clone())),
        Some(_) => {
            warn_of_beginning(&path);
        }
        None => {}
    }
    let run = wanted.or_else(|| all.last().map(|(run, ..)| *run));
    let mut runs: Vec<String> = all.iter().map(|(run, ..)| run.to_string()).collect();
    runs.dedup();
    let paths_of_run: Vec<PathBuf> = all
        .into_iter()
        .filter(|(of, ..)| Some(*of) == run)
        .map(|(.., path)| path)
        .collect();
    let Some(last) = paths_of_run.last() else {
        return Err(Failure::no(format!(
            "the run {} is not kept (expected one of {})",
            run.unwrap_or_default(),
            runs.join(", ")
        )));
    };
    let is_newest = *last == path;
    let lives = is_newest && (living::launcher(paths).is_some() || !living::of(paths).is_empty());
    Ok(Files {
        paths: paths_of_run,
        newest: newest.map(Arc::new).filter(|_| is_newest),
        lives,
    })
}

fn find(log: &Path) -> Box<common::sample::Find<'static>> {
    let samples = Samples::beside(log);
    Box::new(move |id| samples.find(id))
}

/// All stems of a log while they are rendered.
struct Stems {
    stems: Vec<Stem>,
    block: Vec<f32>,
    /// The difference between the mix and the sum of the stems, its file, and whether it exceeds rounding.
    rest: Vec<f32>,
    rest_wav: output::Wav,
    rest_path: PathBuf,
    has_rest: bool,
}

struct Stem {
    replay: Replay,
    wav: output::Wav,
    path: PathBuf,
}

impl Stems {
    /// Begins a file for each stem; refuses to overwrite the files in `apart`.
    fn begin(
        folder: &Path,
        source: &Source,
        format: AudioFormat,
        apart: &[&Path],
    ) -> Result<Self, Failure> {
        let log = source.first.path.as_path();
        let wrong = |e: ReplayError| Failure::no(format!("{}: {e}", log.display()));
        fs::create_dir_all(folder)
            .map_err(|e| Failure::no(format!("cannot make {}: {e}", folder.display())))?;
        let rest_path = folder.join(format!("{REST}.wav"));
        let stem = |id: String| {
            let replay = Replay::alone(&source.bytes, find(log), &id).map_err(wrong)?;
            let replay = source.replay(replay);
            let path = folder.join(format!("{id}.wav"));
            output::keep_apart(&path, apart.iter().copied())?;
            let wav = output::Wav::create(&path, format.rate_hz, format.channels)?;
            Ok(Stem { replay, wav, path })
        };
        output::keep_apart(&rest_path, apart.iter().copied())?;
        let mut ids = replay::heard(&source.bytes).map_err(wrong)?;
        for Place { path, .. } in &source.later {
            let read = source.all.read(path);
            let bytes = read.map_err(|e| wrong(LogError::Io(e).into()))?;
            let more = replay::heard(&bytes).map_err(wrong)?;
            let new = more.into_iter().filter(|id| !ids.contains(id));
            ids.extend(new.collect::<Vec<_>>());
        }
        let stems: Vec<Stem> = ids.into_iter().map(stem).collect::<Result<_, Failure>>()?;
        Ok(Self {
            stems,
            block: vec![0.0; format.block_samples()],
            rest: vec![0.0; format.block_samples()],
            rest_wav: output::Wav::create(&rest_path, format.rate_hz, format.channels)?,
            rest_path,
            has_rest: false,
        })
    }

    /// Renders the next block of each stem beside the block `mix`; writes them if `wanted`.
    fn next(&mut self, mix: &[f32], wanted: bool) -> Result<(), ReplayError> {
        self.rest.copy_from_slice(mix);
        for stem in &mut self.stems {
            stem.replay.next(&mut self.block)?;
            if wanted {
                stem.wav.add(&self.block);
            }
            for (rest, sample) in self.rest.iter_mut().zip(&self.block) {
                *rest -= sample;
            }
        }
        if !wanted {
            return Ok(());
        }
        self.rest_wav.add(&self.rest);
        self.has_rest |= self.rest.iter().any(|rest| rest.abs() > NEAR);
        Ok(())
    }

    /// Completes the files and returns their paths.
    fn finish(self) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = Vec::new();
        for stem in self.stems {
            stem.wav.finish()?;
            paths.push(stem.path);
        }
        self.rest_wav.finish()?;
        if self.has_rest {
            paths.push(self.rest_path);
        } else {
            let _ = fs::remove_file(self.rest_path);
        }
        Ok(paths)
    }
}
