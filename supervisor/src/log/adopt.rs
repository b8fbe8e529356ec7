//! Going on with a log that another supervisor has left.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use anyhow::{Context, Result};
use common::command_log::{Extent, Preamble, Reader};
use platform::{paths::Paths, segments};

use super::{CommandLog, Open, tell_torn};
use crate::{
    account::{Account, DAMAGED},
    disk::Disk,
    ledger::{Ledger, Left},
};

/// A segment of an earlier supervisor, positioned at its end.
struct Opened {
    file: File,
    segment: Extent,
    account: Account,
    /// The records that the ledger lacks.
    beyond: Vec<u8>,
}

impl CommandLog {
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
            submission_id: account.submission_id,
            next_block: account.next_block,
            decided: account.decided,
            refused: Vec::new(),
            has_hole: false,
            edited: account.edited,
            retention: None,
            trouble: None,
            is_astray: false,
        }
    }
}
