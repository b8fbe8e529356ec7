//! Creates the next segment of the log, or a state file and a new ledger, from a checkpoint that the workers have left
//! in shared memory.
//!
//! A separate thread reads the checkpoint and the newest records and writes the new file. The writer of the log then
//! adds the records that came meanwhile and switches to the file, so that no record is lost between two files. A kill
//! at any instant leaves one complete file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use common::{
    checkpoint::{Checkpoint, Mark},
    command::Command,
    command_log::{Extent, Record, Segment, preamble},
    units::{BlockIndex, Seq},
};
use engine::catalog::catalogue;
use platform::{paths::Paths, shared::Shared};

use crate::{account::Account, ledger, log::now_ms, states};

/// The number of attempts to read a state: a worker may overwrite the newest one while it is read.
const TRIES: usize = 200;
const TRY_AGAIN: Duration = Duration::from_millis(5);
/// The limit of findings that a new segment carries on; fewer are shown.
const FINDINGS: usize = 256;

/// A checkpoint of a worker, and the checksums of its block.
pub struct State {
    pub mark: Mark,
    pub arena: Vec<u8>,
    pub sums: [Option<u64>; 2],
}

/// The file with the newest records of the log: the segment in progress, or the ledger.
#[derive(Clone)]
pub struct Source {
    pub path: PathBuf,
    pub extent: Extent,
}

impl Source {
    /// Opens the file at its start.
    ///
    /// # Errors
    /// If the file does not exist.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Appends the records between two places of the log to `to`.
    ///
    /// # Errors
    /// If the source lacks these records, or a file cannot be read or written.
    pub fn copy(&self, to: &mut File, start: u64, end: u64) -> io::Result<()> {
        let place = |of_log| self.extent.place(of_log);
        let (Some(from), Some(until)) = (place(start), place(end)) else {
            return Err(io::Error::other("the records begin later"));
        };
        let length = until.saturating_sub(from);
        let mut file = self.open()?;
        file.seek(SeekFrom::Start(from))?;
        match io::copy(&mut file.take(length), to)? {
            copied if copied == length => Ok(()),
            copied => Err(io::Error::other(format!(
                "only {copied} of {length} bytes exist"
            ))),
        }
    }
}

/// The kind of file to create.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The next segment.
    Segment,
    /// A state file, and a new ledger.
    State,
}

/// The order to create a file.
pub struct Order {
    pub what: What,
    pub paths: Paths,
    pub shared: Shared,
    /// Whether two workers play and must agree on the state.
    pub both: bool,
    pub source: Source,
    /// The segment in progress.
    pub last: Extent,
    /// The length of the log.
    pub length: u64,
}

/// A file that is complete except for the newest records.
pub struct Prepared {
    pub what: What,
    pub file: File,
    pub extent: Extent,
    /// The last command that the state contains.
    pub seq: Seq,
    /// The place of the log up to which the file holds the records.
    pub copied: u64,
}

/// The newest checkpoint of the workers, before block `until` if given. If both workers play, a checkpoint that both
/// agree on.
///
/// # Errors
/// If no such checkpoint exists.
fn state(shared: &Shared, both: bool, until: Option<BlockIndex>) -> Result<State> {
    // At the end of a run no further checkpoint appears.
    let tries = if until.is_some() { 1 } else { TRIES };
    let latest = until.unwrap_or(BlockIndex(u64::MAX));
    for _ in 0..tries {
        let all = shared.checkpoints.iter().flatten();
        let mut all: Vec<&Checkpoint<'_>> = all
            .filter(|checkpoint| checkpoint.block().is_some_and(|block| block <= latest))
            .collect();
        all.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.block()));
        if let Some(state) = all.into_iter().find_map(|c| state_of(shared, both, c)) {
            return Ok(state);
        }
        thread::sleep(TRY_AGAIN);
    }
    bail!("the workers have no checkpoint that they agree on")
}

fn state_of(shared: &Shared, both: bool, checkpoint: &Checkpoint<'_>) -> Option<State> {
    let before = BlockIndex(checkpoint.mark()?.block.0.checked_sub(1)?);
    // First, since ring cells are soon reused.
    let sums = [0, 1].map(|slot| {
        let ring = &shared.rings[slot];
        let proof = ring.proof(before).or_else(|| ring.published(before));
        proof.map(|proof| proof.sum)
    });
    let agreed = match sums {
        [Some(one), Some(other)] => one == other,
        _ => !both,
    };
    if !agreed {
        return None;
    }
    let mut words = vec![0; checkpoint.arena_words()];
    let mark = checkpoint.read(&mut words)?;
    let arena = words.into_iter().flat_map(u64::to_ne_bytes).collect();
    (mark.block.0 == before.0 + 1).then_some(State { mark, arena, sums })
}

/// The preamble of a segment or state file, by the account up to the state.
fn beginning(
    account: &Account,
    state: &State,
    (run, number): (u64, u64),
    (played, at_ms): (BlockIndex, u64),
) -> (Segment, Record) {
    let standing = &account.standing;
    let older = account.findings.len().saturating_sub(FINDINGS);
    let segment = Segment {
        run,
        number,
        from: state.mark.next_offset,
        block: state.mark.block,
        seq: state.mark.seq,
        submission_id: account.submission_id,
        generation: standing.generation,
        patch: standing.patch.to_json(),
        drafts: standing.draft.edits().to_vec(),
        edited: account.edited.map(|edited| (edited.seq, edited.block)),
        findings: account.findings[older..].to_vec(),
        sums: state.sums,
        played,
        at_ms,
    };
    let patch = Record::Command {
        seq: segment.seq,
        submission_id: 0,
        command: Command::Patch(standing.text.clone()),
    };
    (segment, patch)
}

/// The beginning of a segment or a state file.
struct Beginning {
    segment: Segment,
    patch: Record,
    arena: Vec<u8>,
}

impl Order {
    /// Creates the file, without the records that come meanwhile; `None` if no further step is necessary.
    ///
    /// # Errors
    /// If there is no checkpoint, or the disk refuses.
    pub fn prepare(&self) -> Result<Option<Prepared>> {
        let prepared = self.begin(None).and_then(|begun| self.write(begun));
        platform::heap::give_back();
        prepared
    }

    /// Writes a state file from a checkpoint before block `until`, without a ledger: no supervisor follows.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn leave_state(&self, until: BlockIndex) -> Result<()> {
        let begun = self.begin(Some(until))?;
        let bytes = self.bytes(&begun.segment, &begun.patch, begun.arena);
        Ok(states::write(&self.paths, &bytes)?)
    }

    fn begin(&self, until: Option<BlockIndex>) -> Result<Beginning> {
        let state = state(&self.shared, self.both, until)?;
        let mark = state.mark;
        anyhow::ensure!(
            self.source.extent.place(mark.next_offset).is_some()
                && (self.what == What::State || mark.block > self.last.block),
            "the newest checkpoint is older than the last file"
        );
        let account = Account::up_to(mark.seq, || self.source.open())?;
        anyhow::ensure!(
            account.seq == mark.seq && account.preamble.extent() == self.source.extent,
            "{} lacks the command {}",
            self.source.path.display(),
            mark.seq
        );
        let number = self.last.number + u64::from(self.what == What::Segment);
        let now = (self.shared.stage.cursor(), now_ms());
        let (segment, patch) = beginning(&account, &state, (self.last.run, number), now);
        Ok(Beginning {
            segment,
            patch,
            arena: state.arena,
        })
    }

    fn bytes(&self, segment: &Segment, patch: &Record, arena: Vec<u8>) -> Vec<u8> {
        preamble(
            self.shared.stage.format(),
            &catalogue(),
            segment,
            patch,
            arena,
        )
    }

    fn write(&self, begun: Beginning) -> Result<Option<Prepared>> {
        let Beginning {
            segment,
            patch,
            arena,
        } = begun;
        let bytes = self.bytes(&segment, &patch, arena);
        let (path, bytes) = match self.what {
            What::Segment => (self.paths.next_command_log(), bytes),
            What::State => {
                let written = states::write(&self.paths, &bytes);
                written.context("the state cannot be written")?;
                let Some(path) = ledger::next_path(&self.paths.instance) else {
                    return Ok(None);
                };
                (path, self.bytes(&segment, &patch, Vec::new()))
            }
        };
        let copied = self.length.max(segment.from);
        let file = self
            .fill(&path, &bytes, segment.from, copied)
            // A partial file is useless.
            .inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        let extent = Extent {
            run: segment.run,
            number: segment.number,
            block: segment.block,
            from: segment.from,
            preamble: bytes.len() as u64,
        };
        Ok(Some(Prepared {
            what: self.what,
            file,
            extent,
            seq: segment.seq,
            copied,
        }))
    }

    /// Writes the file: `bytes`, then the records between two places of the log.
    fn fill(&self, path: &Path, bytes: &[u8], from: u64, to: u64) -> Result<File> {
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(bytes)?;
        self.source.copy(&mut file, from, to)?;
        if self.what == What::Segment {
            file.sync_all()?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        command::Event,
        command_log::{Found, encode},
        edit::{Drafted, Edit},
        stage::AudioFormat,
    };
    use engine::patch::Patch;

    const FORMAT: AudioFormat = AudioFormat {
        rate_hz: 48_000,
        block_frames: 64,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };

    fn command(seq: u64, command: Command) -> Record {
        Record::Command {
            seq: Seq(seq),
            submission_id: 10 * seq,
            command,
        }
    }

    fn set(value: f32) -> Command {
        Command::Event(Event::Param {
            module: 2,
            param: 0,
            value,
        })
    }

    /// Where each record of a log begins, and the log after a first segment's preamble.
    fn log(records: &[Record]) -> (Vec<u8>, Vec<u64>, u64) {
        let json = Patch::default_patch().to_json();
        let known = Segment {
            run: 4,
            from: 1,
            seq: Seq(1),
            generation: 1,
            patch: json.clone(),
            ..Segment::default()
        };
        let patch = command(1, Command::Patch(json));
        let mut bytes = preamble(FORMAT, &catalogue(), &known, &patch, Vec::new());
        let before = bytes.len() as u64;
        let mut places = Vec::new();
        for record in records {
            places.push(1 + bytes.len() as u64 - before);
            bytes.extend(encode(record));
        }
        places.push(1 + bytes.len() as u64 - before);
        (bytes, places, before)
    }

    #[test]
    fn a_segment_tells_the_same_as_the_one_before_wherever_its_state_stands() {
        let draft = Drafted::Edit(Edit::Remove { id: "adsr".into() });
        let mut other = Patch::default_patch();
        other.modules.swap(1, 2);
        let decision = |block, seq| Record::Decision {
            block: BlockIndex(block),
            seq: Seq(seq),
        };
        let records = [
            command(2, set(700.0)),
            command(3, Command::Draft(draft)),
            decision(5, 3),
            command(4, Command::Edited(other.to_json())),
            command(5, set(1.0)),
            Record::Quarantine { seq: Seq(5) },
            Record::Found(Found::LeftOut {
                seq: Seq(5),
                what: "that".into(),
            }),
            command(6, set(0.5)),
            decision(9, 6),
            Record::Progress {
                block: BlockIndex(11),
            },
            command(7, Command::Event(Event::Run(false))),
        ];
        let (old, places, before) = log(&records);
        let whole = Account::of(|| Ok(&old[..])).unwrap();
        for (at, record) in records.iter().enumerate() {
            let Record::Command { seq, .. } = record else {
                continue;
            };
            // A state contains only decided commands.
            if seq.0 > 6 {
                continue;
            }
            let next = places[at + 1];
            let account = Account::up_to(*seq, || Ok(&old[..])).unwrap();
            let mark = Mark {
                block: BlockIndex(if seq.0 < 6 { 6 } else { 10 }),
                seq: *seq,
                patch_offset: 0,
                next_offset: next,
            };
            let state = State {
                mark,
                arena: vec![7; 300_000],
                sums: [Some(1), Some(1)],
            };
            let (known, patch) = beginning(&account, &state, (4, 1), (BlockIndex(3), 99));
            assert_eq!((known.run, known.number, known.from), (4, 1, next));
            let mut new = preamble(FORMAT, &catalogue(), &known, &patch, state.arena);
            new.extend_from_slice(&old[(before + next - 1) as usize..]);
            let again = Account::of(|| Ok(&new[..])).unwrap();
            let numbers = |a: &Account| {
                (
                    a.seq,
                    a.submission_id,
                    a.next_block,
                    a.decided,
                    a.reach.played,
                )
            };
            assert_eq!(numbers(&again), numbers(&whole), "{seq}");
            let music = |a: &Account| {
                let standing = &a.standing;
                let draft = standing.draft.edits().to_vec();
                let patch = standing.patch.to_json();
                (patch, standing.text.clone(), draft, standing.generation)
            };
            assert_eq!(music(&again), music(&whole), "{seq}");
            assert_eq!(again.findings, whole.findings, "{seq}");
            let extent = again.preamble.extent();
            assert_eq!(extent.of_log(again.length), *places.last().unwrap());
        }
    }
}
