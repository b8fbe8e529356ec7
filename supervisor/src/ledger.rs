//! The ledger: what a new supervisor has to know of the command log, in memory, so that it takes over at once,
//! however long the log is, and even where there is none.
//!
//! It begins like a segment of the log, without the state, and goes on with the same records, each written
//! here after it was written there. From time to time it is begun anew, so it stays short. Gone with the instance;
//! what must outlive the machine is in the log.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use common::command_log::{Extent, Preamble, Reader};
use platform::{say, shared};

use crate::closing::Source;

/// Where it stands; `None` where nobody says which instance's it is.
fn path(instance: &str) -> Option<PathBuf> {
    shared::file(instance, shared::LEDGER).ok()
}

/// One that is being written, to take the place of it.
pub fn next_path(instance: &str) -> Option<PathBuf> {
    shared::file(instance, "ledger-new").ok()
}

/// The ledger of an instance, open for writing.
pub struct Ledger {
    instance: String,
    open: Option<(File, Extent)>,
    bytes: u64,
}

/// What another supervisor has left.
pub struct Left {
    /// All whole records.
    pub bytes: Vec<u8>,
    /// How it begins.
    pub extent: Extent,
    file: File,
}

impl Left {
    /// Reads what is there; `None` where there is none, or its beginning is damaged.
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

    /// Where the whole log ends, as far as this says.
    pub const fn end(&self) -> u64 {
        self.extent.of_log(self.bytes.len() as u64)
    }
}

impl Ledger {
    /// None: a new supervisor reads the log.
    pub fn none(instance: &str) -> Self {
        Self {
            instance: instance.into(),
            open: None,
            bytes: 0,
        }
    }

    /// Begins with those records: a segment's preamble without its arena.
    pub fn begin(instance: &str, preamble: &[u8]) -> Self {
        let mut ledger = Self::none(instance);
        let made = next_path(instance).map(|next| {
            let mut file = File::create(&next)?;
            file.write_all(preamble)?;
            let extent = Preamble::read(&mut Reader::new(preamble))?;
            let extent = extent.ok_or_else(|| io::Error::other("it has no beginning"))?;
            ledger.replace(file, extent.extent())
        });
        if let Some(Err(why)) = made {
            ledger.give_up(&why);
        }
        ledger
    }

    /// Goes on with what another supervisor has left, and with what the log has beyond it.
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

    /// A complete file takes the place of it, under its name.
    ///
    /// # Errors
    /// When it cannot be put there; then it stays as it is.
    pub fn replace(&mut self, file: File, extent: Extent) -> io::Result<()> {
        let (Some(next), Some(path)) = (next_path(&self.instance), path(&self.instance)) else {
            return Ok(());
        };
        fs::rename(next, path)?;
        self.bytes = file.metadata()?.len();
        self.open = Some((file, extent));
        Ok(())
    }

    /// How long it is, in bytes; `None` where there is none.
    pub fn length(&self) -> Option<u64> {
        self.open.as_ref().map(|_| self.bytes)
    }

    /// For whoever reads what it has.
    pub fn source(&self) -> Option<Source> {
        let (_, extent) = self.open.as_ref()?;
        Some(Source {
            path: path(&self.instance)?,
            extent: *extent,
        })
    }

    /// Adds records that are in the log. Where there is no room, it goes: what is there must be all.
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
                "{} cannot be written ({why}); a new supervisor reads the command log instead",
                path.display()
            );
            say::line("supervisor", &text);
        }
        self.open = None;
    }
}
