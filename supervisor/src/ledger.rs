//! The ledger: the part of the command log that a new supervisor needs, in memory, so that the supervisor takes over at
//! once for any length of the log, and even without the log.
//!
//! The ledger begins like a segment of the log, without the state, and continues with the same records; each record is
//! written to the log first. The ledger is restarted regularly, so it stays short. It ends with the instance; all data
//! that must survive a restart of the machine is in the log.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use common::command_log::{Extent, Preamble, Reader};
use platform::{say, shared};

use crate::closing::Source;

/// The path of the ledger; `None` if the instance is unknown.
fn path(instance: &str) -> Option<PathBuf> {
    shared::file(instance, shared::LEDGER).ok()
}

/// The path of a new ledger that will replace the current one.
pub fn next_path(instance: &str) -> Option<PathBuf> {
    shared::file(instance, "ledger-new").ok()
}

/// The ledger of an instance, open for writing.
pub struct Ledger {
    instance: String,
    open: Option<(File, Extent)>,
    bytes: u64,
}

/// The ledger of an earlier supervisor.
pub struct Left {
    /// All whole records.
    pub bytes: Vec<u8>,
    /// The extent of its beginning.
    pub extent: Extent,
    file: File,
}

impl Left {
    /// Reads the ledger; `None` if there is none, or its beginning is damaged.
    pub fn read(instance: &str) -> Option<Self> {
        let path = path(instance)?;
        let mut bytes = fs::read(&path).ok()?;
        let mut reader = Reader::new(&bytes[..]);
        let extent = Preamble::read(&mut reader).ok()??.extent();
        while reader.next().ok()?.is_some() {}
        let whole = reader.offset();
        bytes.truncate(whole as usize);
        let file = File::options().write(true).open(&path).ok()?;
        Some(Self {
            bytes,
            extent,
            file,
        })
    }

    /// The end of the whole log according to the ledger.
    pub const fn end(&self) -> u64 {
        self.extent.of_log(self.bytes.len() as u64)
    }
}

impl Ledger {
    /// No ledger: a new supervisor reads the log.
    pub fn none(instance: &str) -> Self {
        Self {
            instance: instance.into(),
            open: None,
            bytes: 0,
        }
    }

    /// Begins a ledger with a segment's preamble without its arena.
    pub fn begin(instance: &str, preamble: &[u8]) -> Self {
        let mut ledger = Self::none(instance);
        let made = next_path(instance).map(|next| {
            let mut file = File::create(&next)?;
            file.write_all(preamble)?;
            let extent = Preamble::read(&mut Reader::new(preamble))?;
            let extent = extent.ok_or_else(|| io::Error::other("the ledger has no beginning"))?;
            ledger.replace(file, extent.extent())
        });
        if let Some(Err(why)) = made {
            ledger.give_up(&why);
        }
        ledger
    }

    /// Continues the ledger of an earlier supervisor, with the records that only the log has.
    pub fn go_on(instance: &str, left: Left, beyond: &[u8]) -> Self {
        let whole = left.bytes.len() as u64;
        let mut ledger = Self::none(instance);
        let mut file = left.file;
        let placed = file
            .set_len(whole)
            .and_then(|()| file.seek(SeekFrom::Start(whole)));
        match placed {
            Ok(_) => {
                (ledger.open, ledger.bytes) = (Some((file, left.extent)), whole);
                ledger.append(beyond);
            }
            Err(why) => ledger.give_up(&why),
        }
        ledger
    }

    /// Replaces the ledger by a complete file.
    ///
    /// # Errors
    /// If the file cannot be renamed; the ledger is then unchanged.
    pub fn replace(&mut self, file: File, extent: Extent) -> io::Result<()> {
        let (Some(next), Some(path)) = (next_path(&self.instance), path(&self.instance)) else {
            return Ok(());
        };
        fs::rename(next, path)?;
        self.bytes = file.metadata()?.len();
        self.open = Some((file, extent));
        Ok(())
    }

    /// The length in bytes; `None` without a ledger.
    pub fn length(&self) -> Option<u64> {
        self.open.as_ref().map(|_| self.bytes)
    }

    /// The ledger as a source of records.
    pub fn source(&self) -> Option<Source> {
        let (_, extent) = self.open.as_ref()?;
        Some(Source {
            path: path(&self.instance)?,
            extent: *extent,
        })
    }

    /// Adds records that are in the log. Without space the ledger is removed, since an incomplete one is invalid.
    pub fn append(&mut self, bytes: &[u8]) {
        let Some((file, _)) = &mut self.open else {
            return;
        };
        match file.write_all(bytes) {
            Ok(()) => self.bytes += bytes.len() as u64,
            Err(why) => self.give_up(&why),
        }
    }

    fn give_up(&mut self, why: &io::Error) {
        if let Some(path) = path(&self.instance) {
            let _ = fs::remove_file(&path);
            let text = format!(
                "{} cannot be written ({why}); a new supervisor will read the command log instead",
                path.display()
            );
            say::line("supervisor", &text);
        }
        self.open = None;
    }
}
