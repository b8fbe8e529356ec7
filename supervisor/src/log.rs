//! Writes the command log: each accepted command before its broadcast, each decision before it is lost from the stage.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use common::{
    command::Command,
    command_log::{self, Extent, Found, Preamble, Reader, Record, Segment},
    message::Numbered,
    options::Options,
    stage::{Decision, Shape, Stage},
    units::{BlockIndex, First, Seq},
};
use engine::{catalog::catalogue, patch::Patch};
use platform::{paths::Paths, say, segments, shared::Shared};
use serde_json::{Value, json};

use crate::{
    account::{Account, DAMAGED, Edited},
    closing::{Order, Prepared, Source, What},
    disk::Disk,
    keeper::Keeper,
    ledger::{Ledger, Left},
};

/// An upper bound of the length of a log's header, in bytes.
const HEAD_BYTES: u64 = 4_096;

/// Whether the path is a command log that this program can read.
pub fn is_one(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && command_log::head(&head).is_ok()
}

/// The extent of a command log; a log of an older build, without segments, has run 0.
pub fn extent(path: &Path) -> Extent {
    // Number 0 of run 0 is the log that such a build called the previous one.
    let unnumbered = Extent {
        number: 1,
        ..Extent::default()
    };
    extent_of(path).unwrap_or(unnumbered)
}

fn extent_of(path: &Path) -> Option<Extent> {
    begins(path).map(|(extent, _)| extent)
}

/// The extent of a command log, and the shape of its sound.
pub fn begins(path: &Path) -> Option<(Extent, Shape)> {
    let mut reader = Reader::without_arenas(File::open(path).ok()?);
    let preamble = Preamble::read(&mut reader).ok()??;
    Some((preamble.extent(), preamble.shape))
}

/// The extent of a command log, and the length of its file in bytes; `None` for a file with only a header.
pub fn head_of(path: &Path) -> Option<(Extent, u64)> {
    let mut reader = Reader::without_arenas(File::open(path).ok()?);
    let two = [reader.next().ok()?, reader.next().ok()?];
    let length = fs::metadata(path).ok()?.len();
    two.iter()
        .all(Option::is_some)
        .then(|| (extent(path), length))
}

/// The run of a segment, and the end of its last whole record in the whole log.
pub fn end(path: &Path) -> Option<(u64, u64)> {
    let mut reader = Reader::without_arenas(File::open(path).ok()?);
    let extent = Preamble::read(&mut reader).ok()??.extent();
    while reader.next().ok()?.is_some() {}
    Some((extent.run, extent.of_log(reader.offset())))
}

/// Whether a segment may reach further than the one after it, by their lengths or because the later one is damaged at
/// its beginning.
pub fn may_go_further(before: &Path, newest: &Path) -> bool {
    let end = |path: &Path| {
        let length = fs::metadata(path).ok()?.len();
        Some(extent_of(path)?.of_log(length))
    };
    match (end(before), end(newest)) {
        (Some(before), Some(newest)) => before > newest,
        _ => false,
    }
}

/// Whether the error means a full disk.
fn is_full(why: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(why.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The time of day: milliseconds since 1970, UTC.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}

/// Logs the number of dropped bytes of a torn record at the end of a log, if any.
pub fn tell_torn(bytes: u64) {
    if bytes > 0 {
        say::line(
            "supervisor",
            &format!("the command log ended in a torn record; {bytes} bytes dropped"),
        );
    }
}

/// Completes the log of an instance after the end of all its processes: appends the last decisions, the played block
/// and the end. Does nothing for a log with an end.
///
/// # Errors
/// If the stage or the log is missing, or the log cannot be written.
pub fn complete(instance: &str) -> Result<()> {
    let stage = platform::shared::stage(instance)?;
    let paths = Paths::of(instance)?;
    if !is_one(&paths.command_log()) {
        return Ok(());
    }
    let (mut log, account) = CommandLog::adopt(&paths)?;
    let cursor = stage.cursor();
    if !account.reach.has_end && log.holds_all_before(&stage, cursor) {
        log.conclude(&stage, cursor)?;
        let text =
            format!("the command log of \"{instance}\" had no end; played to block {cursor}");
        say::line("supervisor", &text);
    }
    Ok(())
}

/// The log of the run in progress: its newest segment and the ledger.
pub struct CommandLog {
    paths: Paths,
    /// The segment in progress; `None` while no segment is writable, until the next one is created.
    open: Option<Open>,
    ledger: Ledger,
    segment: Extent,
    /// The length of the whole log in bytes.
    offset: u64,
    /// The last command's number, and the highest token.
    seq: Seq,
    token: u64,
    /// The decisions below this block are in the log, except those that the disk has refused so far; the last one is
    /// `decided`.
    next_block: BlockIndex,
    decided: Seq,
    refused: Vec<Record>,
    /// Whether decisions were lost from the stage before they were logged.
    has_hole: bool,
    edited: Option<Edited>,
    /// The thread that frees space on a full disk.
    keeper: Option<Keeper>,
    trouble: Option<Trouble>,
    /// Whether the file was moved or removed.
    is_astray: bool,
}

/// The segment in progress.
struct Open {
    file: File,
    disk: Disk,
}

/// A segment of an earlier supervisor, positioned at its end.
struct Opened {
    file: File,
    segment: Extent,
    account: Account,
    /// The records that the ledger lacks.
    beyond: Vec<u8>,
}

/// Why the log cannot be written or is not at its path, and since when.
pub struct Trouble {
    pub since: Instant,
    since_ms: u64,
    pub why: io::Error,
}

impl CommandLog {
    /// Creates a log with the first patch and the initial state; an empty state means that of the patch. The counters
    /// begin at the given numbers.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn create(
        paths: &Paths,
        shape: Shape,
        run: u64,
        patch: &Patch,
        json: String,
        arena: Vec<u8>,
        begin: First,
    ) -> io::Result<Self> {
        let mut file = File::create(paths.next_command_log())?;
        let first = Seq(begin.number + 1);
        let segment = Segment {
            run,
            number: begin.number,
            from: begin.number + 1,
            block: begin.block,
            seq: first,
            generation: begin.number + 1,
            patch: patch.to_json(),
            played: begin.block,
            at_ms: now_ms(),
            ..Segment::default()
        };
        let record = Record::Command {
            seq: first,
            token: 0,
            command: Command::Patch(json),
        };
        let known = catalogue();
        let preamble = |arena| command_log::preamble(shape, &known, &segment, &record, arena);
        let bytes = preamble(arena);
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok(Self {
            open: Some(Open {
                disk: Disk::keeping(&file, &paths.state, 0)?,
                file,
            }),
            ledger: Ledger::begin(&paths.instance, &preamble(Vec::new())),
            paths: paths.clone(),
            segment: Extent {
                run,
                number: segment.number,
                block: begin.block,
                from: segment.from,
                preamble: bytes.len() as u64,
            },
            offset: segment.from,
            seq: first,
            token: 0,
            next_block: begin.block,
            decided: first,
            refused: Vec::new(),
            has_hole: false,
            edited: None,
            keeper: None,
            trouble: None,
            is_astray: false,
        })
    }

    /// Continues the log of an earlier supervisor; a torn last record is dropped. Without a usable log, a new segment is
    /// created as soon as possible ([`Self::wants_segment`]). Also returns the account of the log.
    ///
    /// # Errors
    /// If neither log nor ledger can be read.
    pub fn adopt(paths: &Paths) -> Result<(Self, Account)> {
        segments::mend(paths);
        let left = Left::read(&paths.instance);
        let (opened, left) = match (Self::open_segment(paths, left.as_ref()), left) {
            (Ok(opened), left) => (opened, left),
            (Err(why), None) => return Err(why),
            (Err(why), Some(left)) => {
                let account = Account::of(|| Ok(&left.bytes[..]))?;
                let (extent, offset) = (left.extent, left.end());
                let ledger = Ledger::go_on(&paths.instance, left, &[]);
                let mut log = Self::of(paths, None, ledger, extent, offset, &account);
                log.troubled(io::Error::other(format!("{why:#}")));
                return Ok((log, account));
            }
        };
        let Opened {
            file,
            segment,
            account,
            beyond,
        } = opened;
        let ledger = left.map_or_else(
            || Ledger::none(&paths.instance),
            |left| Ledger::go_on(&paths.instance, left, &beyond),
        );
        let offset = account.preamble.extent().of_log(account.length);
        let disk = Disk::keeping(&file, &paths.state, offset)?;
        let open = Some(Open { file, disk });
        let log = Self::of(paths, open, ledger, segment, offset, &account);
        Ok((log, account))
    }

    /// Opens the segment in progress at its end; the ledger has all its records except the last ones.
    fn open_segment(paths: &Paths, left: Option<&Left>) -> Result<Opened> {
        let path = &paths.command_log();
        let mut file = File::options().read(true).write(true).open(path)?;
        let found = file.metadata()?.len();
        let preamble = Preamble::read(&mut Reader::without_arenas(File::open(path)?))?;
        let segment = preamble.context(DAMAGED)?.extent();
        let mut beyond = Vec::new();
        let account = match left {
            None => Account::of(|| File::open(path))?,
            Some(left) => {
                let place = segment.place(left.end()).filter(|place| *place <= found);
                let same = left.extent.run == segment.run;
                let place = place.filter(|_| same);
                let place = place.context("the file is not the segment in progress")?;
                file.seek(SeekFrom::Start(place))?;
                file.read_to_end(&mut beyond)?;
                Account::of(|| Ok(left.bytes.chain(&beyond[..])))?
            }
        };
        let offset = account.preamble.extent().of_log(account.length);
        let length = segment.place(offset).unwrap_or_default();
        let torn = found - length;
        tell_torn(torn);
        if torn > 0 {
            file.set_len(length)?;
            beyond.truncate(beyond.len().saturating_sub(torn as usize));
        }
        file.seek(SeekFrom::Start(length))?;
        Ok(Opened {
            file,
            segment,
            account,
            beyond,
        })
    }

    fn of(
        paths: &Paths,
        open: Option<Open>,
        ledger: Ledger,
        segment: Extent,
        offset: u64,
        account: &Account,
    ) -> Self {
        Self {
            paths: paths.clone(),
            open,
            ledger,
            segment,
            offset,
            seq: account.seq,
            token: account.token,
            next_block: account.next_block,
            decided: account.decided,
            refused: Vec::new(),
            has_hole: false,
            edited: account.edited,
            keeper: None,
            trouble: None,
            is_astray: false,
        }
    }

    /// The bytes written and the blocks decided since the state of the segment.
    pub const fn grown(&self) -> (u64, u64) {
        let bytes = self.offset - self.segment.from;
        (
            bytes,
            self.next_block.0.saturating_sub(self.segment.block.0),
        )
    }

    /// Whether a new segment is required at once: there is none, the file is not at its path, or the segment cannot be
    /// rendered to its end.
    pub const fn wants_segment(&self) -> bool {
        self.open.is_none() || self.is_astray || self.has_hole
    }

    /// The length of the ledger in bytes; `None` without a ledger.
    pub fn ledger_length(&self) -> Option<u64> {
        self.ledger.length()
    }

    /// The order to create the next segment or a state file.
    pub fn order(&self, what: What, shared: &Shared, both: bool) -> Order {
        Order {
            what,
            paths: self.paths.clone(),
            shared: *shared,
            both,
            source: self.source(),
            last: self.segment,
            length: self.offset,
        }
    }

    /// The fastest source of the newest records.
    pub fn source(&self) -> Source {
        let in_progress = || Source {
            path: self.paths.command_log(),
            extent: self.segment,
        };
        self.ledger.source().unwrap_or_else(in_progress)
    }

    /// Switches to a prepared file; false if the old segment still lacks decisions.
    ///
    /// # Errors
    /// If the disk refuses; the log then continues unchanged.
    pub fn change(&mut self, prepared: &mut Prepared) -> io::Result<bool> {
        let extent = prepared.extent;
        let waits = self.open.is_some() && !self.has_hole && prepared.what == What::Segment;
        if waits && self.next_block < extent.block {
            return Ok(false);
        }
        if self.open.is_some() {
            self.write_refused()?;
        }
        let rest = self.source();
        rest.copy(&mut prepared.file, prepared.copied, self.offset)?;
        prepared.copied = self.offset;
        match prepared.what {
            What::State => {
                let file = prepared.file.try_clone()?;
                self.ledger.replace(file, extent)?;
            }
            What::Segment => self.change_segment(prepared)?,
        }
        Ok(true)
    }

    fn change_segment(&mut self, prepared: &Prepared) -> io::Result<()> {
        let Prepared { file, extent, .. } = prepared;
        let disk = Disk::keeping(file, &self.paths.state, self.offset)?;
        let file = file.try_clone()?;
        let next = self.paths.next_command_log();
        let stood = self.stands();
        match (&self.open, &stood) {
            (Some(_), Ok(())) => {
                segments::change(&self.paths, &next, self.segment.run, self.segment.number)?;
            }
            _ => segments::put(&self.paths, &next)?,
        }
        if self.next_block < extent.block {
            // The state contains the earlier decisions.
            (self.next_block, self.decided) = (extent.block, prepared.seq);
        }
        (self.open, self.segment) = (Some(Open { file, disk }), *extent);
        (self.is_astray, self.has_hole) = (false, false);
        if let Err(why) = stood {
            let text = format!(
                "{}: {why}; the log continues in a new segment from block {}",
                self.paths.command_log().display(),
                extent.block
            );
            say::line("supervisor", &text);
        }
        if let Some(keeper) = &self.keeper {
            keeper.look();
        }
        Ok(())
    }

    /// Whether the log holds all commands that were decided before a block. A log that has lost a command cannot be
    /// rendered beyond it.
    fn holds_all_before(&self, stage: &Stage<'_>, cursor: BlockIndex) -> bool {
        let last = BlockIndex(cursor.0.saturating_sub(1));
        match stage.decision(last, self.decided) {
            Decision::Made { seq, .. } => seq <= self.seq,
            Decision::Open | Decision::Gone => true,
        }
    }

    /// Whether `blocks` blocks have been decided since the last edit of the patch.
    pub fn is_past_edit(&self, blocks: u64) -> bool {
        self.edited.is_none_or(|edited| {
            let block = edited.block;
            block.is_some_and(|block| self.next_block.0 >= block.0 + blocks)
        })
    }

    /// The error of the archive, if it fails.
    pub fn refused_by_archive(&self) -> Option<String> {
        self.keeper.as_ref()?.trouble()
    }

    /// The error of the last sync to the disk, if it failed.
    pub fn refused_by_disk(&self) -> Option<String> {
        self.open.as_ref()?.disk.refused()
    }

    /// Whether the log is synced up to `length`; if not, requests a sync.
    pub fn on_disk(&self, length: u64) -> bool {
        let Some(Open { disk, .. }) = &self.open else {
            return false;
        };
        let held = disk.held() >= length;
        if !held {
            disk.hurry();
        }
        held
    }

    fn length_of_file(&self) -> u64 {
        self.segment.place(self.offset).unwrap_or_default()
    }

    /// The length of the whole log in bytes.
    pub const fn length(&self) -> u64 {
        self.offset
    }

    /// The last command's number.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// The highest token of a submitted command: submissions under this or a lower token are already in the log.
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// Numbers commands, each with its token, and writes them to the log.
    ///
    /// # Errors
    /// If the commands cannot be written; they are then not accepted.
    pub fn accept(&mut self, commands: Vec<(u64, Command)>) -> io::Result<Vec<Numbered>> {
        self.accept_with(commands, |_| None)
    }

    /// As [`Self::accept`], with findings that depend on the number of the last command.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn accept_with(
        &mut self,
        commands: Vec<(u64, Command)>,
        found: impl FnOnce(Seq) -> Option<Found>,
    ) -> io::Result<Vec<Numbered>> {
        let mut bytes = Vec::new();
        let mut numbered = Vec::with_capacity(commands.len());
        let mut edited = self.edited;
        let mut seq = self.seq;
        let mut highest = self.token;
        for (token, command) in commands {
            seq = seq.next();
            highest = highest.max(token);
            if let Command::Edited(_) = command {
                edited = Some(Edited { seq, block: None });
            }
            let record = Record::Command {
                seq,
                token,
                command,
            };
            let offset = self.offset + bytes.len() as u64;
            bytes.extend(command_log::encode(&record));
            let next_offset = self.offset + bytes.len() as u64;
            if let Record::Command { command, .. } = record {
                numbered.push(Numbered {
                    seq,
                    offset,
                    next_offset,
                    command,
                });
            }
        }
        let found = found(seq).map(Record::Found);
        bytes.extend(found.iter().flat_map(command_log::encode));
        self.write(&bytes)?;
        (self.seq, self.token, self.edited) = (seq, highest, edited);
        Ok(numbered)
    }

    /// Writes other records to the log.
    ///
    /// # Errors
    /// If the records cannot be written.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(command_log::encode).collect();
        self.write(&bytes)
    }

    /// Starts the thread that limits the size of the log.
    pub fn keep(&mut self, options: &Options) {
        self.keeper = Some(Keeper::start(options, &self.paths));
    }

    /// The state of the log for `status`: whether it is writable, since when not, and the kept size.
    pub fn show(&self) -> Value {
        let kept = self.keeper.as_ref().map_or(0, Keeper::kept_bytes);
        let (state, since, why) = match &self.trouble {
            None => ("ok", None, None),
            Some(Trouble { since_ms, why, .. }) => {
                let state = if is_full(why) { "full" } else { "gone" };
                (state, Some(*since_ms), Some(why.to_string()))
            }
        };
        json!({
            "state": state, "since_ms": since, "why": why, "segment": self.segment.number,
            "kept_bytes": kept + self.length_of_file(),
        })
    }

    /// Why the log cannot be written or is not at its path.
    pub const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    fn troubled(&mut self, why: io::Error) {
        if let Some(trouble) = &mut self.trouble {
            trouble.why = why;
            return;
        }
        let text = format!("the command log cannot be written: {why}");
        say::line("supervisor", &text);
        self.trouble = Some(Trouble {
            since: Instant::now(),
            since_ms: now_ms(),
            why,
        });
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            let Err(why) = self.write_once(bytes) else {
                self.ledger.append(bytes);
                return Ok(());
            };
            if is_full(&why) && self.keeper.as_ref().is_some_and(Keeper::make_room) {
                continue;
            }
            self.troubled(io::Error::new(why.kind(), why.to_string()));
            return Err(why);
        }
    }

    fn write_once(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = self.length_of_file();
        let Some(Open { file, disk }) = &mut self.open else {
            let why = self.trouble.as_ref().map(|trouble| trouble.why.to_string());
            return Err(io::Error::other(why.unwrap_or_default()));
        };
        if let Err(why) = file.write_all(bytes) {
            // Remove a partial record before the next one is written.
            let _ = file.set_len(length);
            let _ = file.seek(SeekFrom::Start(length));
            return Err(why);
        }
        self.offset += bytes.len() as u64;
        disk.written(self.offset);
        Ok(())
    }

    /// Writes the decisions of the workers since the last call to the log. Refused records are held until the disk takes
    /// them, since the stage soon overwrites decisions.
    ///
    /// # Errors
    /// If the decisions cannot be written; the next call tries again.
    pub fn collect(&mut self, stage: &Stage<'_>, frontier: BlockIndex) -> io::Result<()> {
        let (mut block, mut decided) = (self.next_block, self.decided);
        let mut edited = self.edited;
        while block < frontier {
            match stage.decision(block, decided) {
                // Not final yet: the decision may be revised.
                Decision::Open | Decision::Made { sealed: false, .. } => break,
                Decision::Made { seq, .. } if seq > decided => {
                    self.refused.push(Record::Decision { block, seq });
                    edited.iter_mut().for_each(|e| e.decided(block, seq));
                    decided = seq;
                }
                Decision::Made { .. } => {}
                // An earlier supervisor has logged the decision.
                Decision::Gone if block < stage.logged() => {}
                Decision::Gone => {
                    self.found_hole(block);
                    break;
                }
            }
            block = block.next();
        }
        (self.next_block, self.decided, self.edited) = (block, decided, edited);
        self.write_refused()?;
        stage.set_logged(block);
        Ok(())
    }

    fn found_hole(&mut self, block: BlockIndex) {
        if !std::mem::replace(&mut self.has_hole, true) {
            let text = format!(
                "the command log lacks the decisions from block {block} on; it continues in a new segment"
            );
            say::line("supervisor", &text);
        }
    }

    fn write_refused(&mut self) -> io::Result<()> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let refused = std::mem::take(&mut self.refused);
        self.append(&refused)
            .inspect_err(|_| self.refused = refused)
    }

    /// Whether the segment in progress is still at its path.
    fn stands(&self) -> io::Result<()> {
        let Some(Open { file, .. }) = &self.open else {
            let why = self.trouble.as_ref().map(|trouble| trouble.why.to_string());
            return Err(io::Error::other(why.unwrap_or_default()));
        };
        let (held, found) = (file.metadata()?, fs::metadata(self.paths.command_log()));
        match found {
            Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => Ok(()),
            _ => Err(io::Error::other("the file was moved or removed")),
        }
    }

    /// Logs the played block, and checks the file.
    pub fn look_after(&mut self, played: BlockIndex) {
        let stands = self.stands();
        self.is_astray = stands.is_err();
        match self.progress(played).and(stands) {
            Err(why) => self.troubled(why),
            Ok(()) if self.trouble.take().is_some() => {
                say::line("supervisor", "the command log is writable again");
            }
            Ok(()) => {}
        }
    }

    fn progress(&mut self, block: BlockIndex) -> io::Result<()> {
        self.write_refused()?;
        self.append(&[Record::Progress { block }])
    }

    /// Ends the log of a run at the played block `cursor`, which no longer moves.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn conclude(&mut self, stage: &Stage<'_>, cursor: BlockIndex) -> io::Result<()> {
        self.collect(stage, cursor)?;
        self.progress(cursor)?;
        self.append(&[Record::Ended])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        command::Event,
        limits::DECISIONS,
        stage::STAGE_WORDS,
        sync::{AtomicU64, heap},
        units::First,
    };

    const SHAPE: Shape = Shape {
        rate_hz: 48_000,
        block_frames: 64,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };

    fn begun(folder: &Path) -> CommandLog {
        let paths = Paths {
            instance: "test".into(),
            runtime: folder.join("run"),
            state: folder.to_owned(),
        };
        let patch = Patch::default_patch();
        let json = patch.to_json();
        let begin = First::default();
        let log = CommandLog::create(&paths, SHAPE, 1, &patch, json, Vec::new(), begin).unwrap();
        fs::rename(paths.next_command_log(), paths.command_log()).unwrap();
        log
    }

    fn commands(count: u64) -> Vec<(u64, Command)> {
        (0..count)
            .map(|token| (10 + token, Command::Event(Event::Run(true))))
            .collect()
    }

    #[test]
    fn what_is_accepted_is_written_before_anybody_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = begun(folder.path());
        let accepted = log.accept(commands(3)).unwrap();
        let written = fs::read(log.paths.command_log()).unwrap();
        let last = command_log::records(&written).last().unwrap().1;
        let Record::Command { seq, token, .. } = last else {
            panic!("{last:?}");
        };
        assert_eq!((seq, token), (accepted[2].seq, 12));
        assert_eq!(log.length(), accepted[2].next_offset);
    }

    fn decisions(log: &CommandLog) -> Vec<(u64, u64)> {
        let written = fs::read(log.paths.command_log()).unwrap();
        let all = command_log::records(&written);
        all.filter_map(|(_, record)| match record {
            Record::Decision { block, seq } => Some((block.0, seq.0)),
            _ => None,
        })
        .collect()
    }

    /// A log with two commands that nobody has decided on, and the stage of its workers.
    fn playing<'a>(folder: &Path, words: &'a [AtomicU64]) -> (CommandLog, Stage<'a>) {
        let mut log = begun(folder);
        log.accept(commands(2)).unwrap();
        (log, Stage::create(words, &SHAPE).unwrap())
    }

    /// The workers decide on the blocks of that range with these commands in.
    fn decide(stage: &Stage<'_>, blocks: std::ops::Range<u64>, (seq, last): (u64, u64)) {
        let mut last = last;
        for block in blocks.map(BlockIndex) {
            let _ = stage.decide(block, Seq(seq), Seq(last));
            assert!(stage.seal(block, Seq(seq)));
            last = seq;
        }
    }

    #[test]
    fn what_is_decided_while_the_disk_refuses_is_written_once_it_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let words = heap(STAGE_WORDS);
        let (mut log, stage) = playing(folder.path(), &words);
        decide(&stage, 0..5, (2, 1));
        log.collect(&stage, BlockIndex(5)).unwrap();
        // As long as it refuses, many more blocks than the stage has words for.
        let read_only = File::open(log.paths.command_log()).unwrap();
        let open = std::mem::replace(&mut log.open.as_mut().unwrap().file, read_only);
        let mut refused = 0;
        for from in (5..5 + 3 * DECISIONS).step_by(1_000) {
            decide(
                &stage,
                from..from + 1_000,
                (3, if from == 5 { 2 } else { 3 }),
            );
            refused += u64::from(log.collect(&stage, BlockIndex(from + 1_000)).is_err());
        }
        assert!(refused > 40 && log.trouble().is_some());
        assert_eq!(decisions(&log), [(0, 2)]);
        log.open.as_mut().unwrap().file = open;
        log.look_after(BlockIndex(6));
        assert_eq!(decisions(&log), [(0, 2), (5, 3)]);
        assert!(log.trouble().is_none() && !log.wants_segment());
    }

    #[test]
    fn decisions_that_nobody_has_written_down_have_it_begin_a_segment() {
        let folder = tempfile::tempdir().unwrap();
        let words = heap(STAGE_WORDS);
        let (mut log, stage) = playing(folder.path(), &words);
        decide(&stage, 0..10, (2, 1));
        decide(&stage, 10..2 * DECISIONS, (3, 2));
        log.collect(&stage, BlockIndex(2 * DECISIONS)).unwrap();
        assert_eq!(
            decisions(&log),
            [],
            "when the commands came in, nobody knows"
        );
        assert!(log.wants_segment());
    }

    /// Blocks on which nothing came in leave no record: a new supervisor begins far behind.
    #[test]
    fn decisions_that_a_supervisor_before_has_seen_are_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let words = heap(STAGE_WORDS);
        let (mut log, stage) = playing(folder.path(), &words);
        let seen = 3 * DECISIONS;
        for from in (0..seen).step_by(1_024) {
            decide(&stage, from..from + 1_024, (1, 1));
            log.collect(&stage, BlockIndex(from + 1_024)).unwrap();
        }
        (log.next_block, log.decided) = (BlockIndex(0), Seq(1));
        decide(&stage, seen..seen + 10, (3, 1));
        log.collect(&stage, BlockIndex(seen + 10)).unwrap();
        assert_eq!(decisions(&log), [(seen, 3)]);
        assert!(!log.wants_segment());
    }

    #[test]
    fn one_that_is_taken_over_goes_on_after_its_last_whole_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = begun(folder.path());
        log.accept(commands(3)).unwrap();
        let (paths, length) = (log.paths.clone(), log.length());
        drop(log);
        let file = File::options().append(true).open(paths.command_log());
        file.unwrap().write_all(&[9; 5]).unwrap();
        let (mut log, account) = CommandLog::adopt(&paths).unwrap();
        assert_eq!((log.length(), log.seq(), log.token()), (length, Seq(4), 12));
        assert_eq!(account.seq, Seq(4));
        let next = log.accept(commands(1)).unwrap();
        assert_eq!((next[0].seq, next[0].offset), (Seq(5), length));
        assert!(log.stands().is_ok());
        fs::remove_file(paths.command_log()).unwrap();
        log.look_after(BlockIndex(0));
        assert!(log.wants_segment());
        assert!(CommandLog::adopt(&paths).is_err(), "no ledger, no log");
    }
}
