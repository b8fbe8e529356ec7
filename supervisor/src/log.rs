//! The command log's writer: every accepted command before it is broadcast, every decision in time.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use anyhow::Result;
use common::{
    command::Command,
    command_log::{self, Record, VERSION},
    message::Numbered,
    stage::{Decision, Shape, Stage},
    units::{BlockIndex, Seq},
};

use crate::disk::Disk;

/// More than the head of a log takes.
const HEAD_BYTES: u64 = 4_096;

/// Whether a command log is there that this program can read.
pub fn is_one(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && command_log::head(&head).is_ok()
}

/// Tells how many bytes of a torn record at a log's end are dropped, if any are.
pub fn tell_torn(bytes: u64) {
    if bytes > 0 {
        platform::say::line(
            "supervisor",
            &format!("the command log ended in a torn record; {bytes} bytes dropped"),
        );
    }
}

/// The log of the run in progress.
pub struct CommandLog {
    file: File,
    disk: Disk,
    offset: u64,
    /// The last command's number, and the highest token.
    seq: Seq,
    token: u64,
    /// The decisions below this block are in the log; the last of them is `decided`.
    next_block: BlockIndex,
    decided: Seq,
    edited: Option<Edited>,
}

/// The last edit of the patch.
#[derive(Clone, Copy)]
struct Edited {
    seq: Seq,
    /// The first block that it is in for good.
    block: Option<BlockIndex>,
}

impl Edited {
    /// Takes note of a decision.
    fn decided(&mut self, block: BlockIndex, seq: Seq) {
        if self.block.is_none() && seq >= self.seq {
            self.block = Some(block);
        }
    }
}

impl CommandLog {
    /// Begins a log: the head, the first patch, and the state that it begins with, if any.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(
        path: &Path,
        shape: Shape,
        patch: String,
        state: Option<Vec<u8>>,
    ) -> io::Result<Self> {
        let file = File::create(path)?;
        let mut log = Self {
            disk: Disk::keeping(&file, 0)?,
            file,
            offset: 0,
            seq: Seq(0),
            token: 0,
            next_block: BlockIndex(0),
            decided: Seq(1),
            edited: None,
        };
        log.append(&[Record::Head {
            version: VERSION,
            shape,
        }])?;
        log.accept(vec![(0, Command::Patch(patch))])?;
        let state = state.map(|arena| Record::State {
            block: BlockIndex(0),
            seq: Seq(1),
            arena,
        });
        log.append(state.as_slice())?;
        log.file.sync_all()?;
        Ok(log)
    }

    /// Goes on with a log that another supervisor has left; a torn last record is dropped. Calls
    /// `each` for every record.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn adopt(path: &Path, mut each: impl FnMut(&Record)) -> Result<Self> {
        let bytes = fs::read(path)?;
        let mut token = 0;
        let (mut seq, mut decided, mut next_block) = (Seq(0), Seq(1), BlockIndex(0));
        let mut edited: Option<Edited> = None;
        let mut records = command_log::records(&bytes);
        for (_, record) in records.by_ref() {
            match &record {
                Record::Command {
                    seq: number,
                    token: under,
                    command,
                } => {
                    seq = *number;
                    if let Command::Edited(_) = command {
                        edited = Some(Edited { seq, block: None });
                    }
                    token = token.max(*under);
                }
                Record::Decision { block, seq } => {
                    (next_block, decided) = (block.next(), *seq);
                    edited.iter_mut().for_each(|e| e.decided(*block, *seq));
                }
                Record::Progress { block } => next_block = next_block.max(*block),
                Record::Head { .. } | Record::State { .. } | Record::Quarantine { .. } => {}
            }
            each(&record);
        }
        let offset = records.offset();
        let file = File::options().append(true).open(path)?;
        let torn = bytes.len() as u64 - offset;
        tell_torn(torn);
        if torn > 0 {
            file.set_len(offset)?;
        }
        Ok(Self {
            disk: Disk::keeping(&file, offset)?,
            file,
            offset,
            seq,
            token,
            next_block,
            decided,
            edited,
        })
    }

    /// Whether so many blocks have been decided since the last edit of the patch came in.
    pub fn is_past_edit(&self, blocks: u64) -> bool {
        self.edited.is_none_or(|edited| {
            let block = edited.block;
            block.is_some_and(|block| self.next_block.0 >= block.0 + blocks)
        })
    }

    /// Whether the disk holds all up to that length; if not, it will soon.
    pub fn on_disk(&self, length: u64) -> bool {
        let held = self.disk.held() >= length;
        if !held {
            self.disk.hurry();
        }
        held
    }

    /// How long it is, in bytes.
    pub const fn length(&self) -> u64 {
        self.offset
    }

    /// The last command's number.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// The highest token under which a command was handed in: what comes under it or a lower one is
    /// in the log already.
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// Numbers commands, each with its token, and writes them down.
    ///
    /// # Errors
    /// When they cannot be written; then they are not accepted.
    pub fn accept(&mut self, commands: Vec<(u64, Command)>) -> io::Result<Vec<Numbered>> {
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
        self.write(&bytes)?;
        (self.seq, self.token, self.edited) = (seq, highest, edited);
        Ok(numbered)
    }

    /// Writes other records down.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(command_log::encode).collect();
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(why) = self.file.write_all(bytes) {
            // What got in half-way must not stand before what comes next.
            let _ = self.file.set_len(self.offset);
            return Err(why);
        }
        self.offset += bytes.len() as u64;
        self.disk.written(self.offset);
        Ok(())
    }

    /// Writes down what the workers have decided since the last call.
    ///
    /// # Errors
    /// When it cannot be written; the next call tries again.
    pub fn collect(&mut self, stage: &Stage<'_>, frontier: BlockIndex) -> io::Result<()> {
        let mut records = Vec::new();
        let (mut block, mut decided) = (self.next_block, self.decided);
        let mut edited = self.edited;
        while block < frontier {
            match stage.decision(block, decided) {
                // Not for good yet: it may still be revised.
                Decision::Open | Decision::Made { sealed: false, .. } => break,
                Decision::Made { seq, .. } if seq > decided => {
                    records.push(Record::Decision { block, seq });
                    edited.iter_mut().for_each(|e| e.decided(block, seq));
                    decided = seq;
                }
                Decision::Made { .. } | Decision::Gone => {}
            }
            block = block.next();
        }
        self.append(&records)?;
        (self.next_block, self.decided, self.edited) = (block, decided, edited);
        stage.set_logged(block);
        Ok(())
    }

    /// Says how far it was played.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn progress(&mut self, block: BlockIndex) -> io::Result<()> {
        self.append(&[Record::Progress { block }])
    }
}
