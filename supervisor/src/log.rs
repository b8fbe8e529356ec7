//! Writes the command log: each accepted command before its broadcast, each decision before it is lost from the stage.

mod adopt;
mod files;

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use common::{
    command::Command,
    command_log::{self, Extent, Found, Record, Segment},
    message::Numbered,
    options::Options,
    stage::{AudioFormat, Decision, Stage},
    units::{BlockIndex, First, Seq},
};
use engine::{catalog::catalogue, patch::Patch};
use platform::{paths::Paths, say, segments, shared::Shared};
use serde_json::{Value, json};

use crate::{
    account::Edited,
    closing::{Order, Prepared, Source, What},
    disk::Disk,
    ledger::Ledger,
    retention::Retention,
};

pub use files::{begins, end, extent, head_of, is_one, may_go_further};

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
    /// The last command's number, and the highest submission id.
    seq: Seq,
    submission_id: u64,
    /// The decisions below this block are in the log, except those that the disk has refused so far; the last one is
    /// `decided`.
    next_block: BlockIndex,
    decided: Seq,
    refused: Vec<Record>,
    /// Whether decisions were lost from the stage before they were logged.
    has_hole: bool,
    edited: Option<Edited>,
    /// The thread that frees space on a full disk.
    retention: Option<Retention>,
    trouble: Option<Trouble>,
    /// Whether the file was moved or removed.
    is_astray: bool,
}

/// The segment in progress.
struct Open {
    file: File,
    disk: Disk,
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
        format: AudioFormat,
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
            submission_id: 0,
            command: Command::Patch(json),
        };
        let known = catalogue();
        let preamble = |arena| command_log::preamble(format, &known, &segment, &record, arena);
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
            submission_id: 0,
            next_block: begin.block,
            decided: first,
            refused: Vec::new(),
            has_hole: false,
            edited: None,
            retention: None,
            trouble: None,
            is_astray: false,
        })
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
        if let Some(retention) = &self.retention {
            retention.look();
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
        self.retention.as_ref()?.trouble()
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

    /// The highest submission id of a submitted command: submissions under this or a lower id are already in the log.
    pub const fn submission_id(&self) -> u64 {
        self.submission_id
    }

    /// Numbers commands, each with its submission id, and writes them to the log.
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
        let mut highest = self.submission_id;
        for (submission_id, command) in commands {
            seq = seq.next();
            highest = highest.max(submission_id);
            if let Command::Edited(_) = command {
                edited = Some(Edited { seq, block: None });
            }
            let record = Record::Command {
                seq,
                submission_id,
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
        (self.seq, self.submission_id, self.edited) = (seq, highest, edited);
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
        self.retention = Some(Retention::start(options, &self.paths));
    }

    /// The state of the log for `status`: whether it is writable, since when not, and the kept size.
    pub fn show(&self) -> Value {
        let kept = self.retention.as_ref().map_or(0, Retention::kept_bytes);
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
            if is_full(&why) && self.retention.as_ref().is_some_and(Retention::make_room) {
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
mod tests;
