//! The held state of the MIDI input, in a file of the instance, with which a successor goes on.
//!
//! The file is written before anything is sent, together with the messages to be sent, and again when they
//! have been sent. So a process that is killed between the two leaves messages for its successor to send:
//! ends of notes, bends, controllers. Strikes are not repeated, since a note may have begun.

use std::path::{Path, PathBuf};

use platform::{kept, say};
use serde::{Deserialize, Serialize};

use crate::{
    channel::is_default,
    translate::{Said, Translator},
};

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// The port, as `status` shows it.
    pub port: Port,
    /// Keys, pedals, bends and all that was set up.
    pub translator: Translator,
    /// Bytes of a message that is not whole yet.
    #[serde(skip_serializing_if = "is_default")]
    pub tail: Vec<u8>,
    /// What is being sent, and the NTP timestamps at which it came.
    #[serde(skip_serializing_if = "is_default")]
    pub unsent: Vec<(Said, u64)>,
}

/// How the port is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// What was asked for, or the name of what was found.
    pub name: String,
    /// It is there.
    pub open: bool,
    /// How often it has come back.
    pub reopened: u64,
    /// It has been there, and went.
    pub gone: bool,
}

impl Held {
    /// The state that the predecessor has left.
    pub fn read(path: &Path) -> Self {
        kept::read(path).unwrap_or_else(|why| {
            say::line("midi-in", &format!("what was held is not known: {why}"));
            Self::default()
        })
    }

    /// Messages that the predecessor may not have sent before it was killed: to be sent now. Where one of them
    /// began the song, the next tick does.
    pub fn take_unsent(&mut self) -> Vec<(Said, u64)> {
        let began = |(said, _): &(Said, u64)| matches!(said, Said::Play(..));
        if self.unsent.iter().any(began) {
            self.translator.transport.begin_again();
        }
        let strikes = |said: &Said| matches!(said, Said::Note(_, 1..) | Said::Play(..));
        let unsent = std::mem::take(&mut self.unsent).into_iter();
        unsent.filter(|(said, _)| !strikes(said)).collect()
    }
}

/// The file; it is written only when something has changed.
pub struct File {
    path: PathBuf,
    written: Held,
    /// It has been said that it cannot be written.
    told: bool,
}

impl File {
    /// The file at that path, and its content.
    pub fn open(path: PathBuf) -> (Self, Held) {
        let held = Held::read(&path);
        let file = Self {
            path,
            written: held.clone(),
            told: false,
        };
        (file, held)
    }

    /// Writes it down.
    pub fn write(&mut self, held: &Held) {
        if *held == self.written {
            return;
        }
        match kept::write(&self.path, held) {
            Ok(()) => {
                self.written.clone_from(held);
                self.told = false;
            }
            Err(why) if !self.told => {
                say::line("midi-in", &format!("what is held is not kept: {why}"));
                self.told = true;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_was_killed_over_the_next_one_sends_but_no_note_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held.json");
        let (mut file, mut held) = File::open(path.clone());
        let unsent = [
            Said::Note(60.0, 90),
            Said::Note(61.0, 0),
            Said::Bend(-1.5, None),
        ];
        held.unsent = unsent.map(|said| (said, 7)).to_vec();
        held.tail = vec![0x90, 60];
        file.write(&held);
        let (_, mut next) = File::open(path);
        assert_eq!(next, held);
        assert_eq!(next.take_unsent(), held.unsent[1..]);
        assert_eq!(next.take_unsent(), []);
    }

    #[test]
    fn a_song_whose_beginning_was_not_sent_begins_with_the_next_tick() {
        let second = crate::clock::SECOND as u64;
        let mut held = Held::default();
        let mut said = Vec::new();
        let transport = &mut held.translator.transport;
        transport.start();
        for tick in 0..2 {
            transport.tick(tick * second / 50, &mut |what| said.push(what));
        }
        assert!(matches!(said[..], [Said::Play(0, ..), Said::Clock(1, ..)]));
        for (unsent, begins) in [(0, true), (1, false)] {
            let mut next = held.clone();
            next.unsent = vec![(said[unsent], 0)];
            next.take_unsent();
            let mut told = Vec::new();
            for tick in 2..4 {
                let transport = &mut next.translator.transport;
                transport.tick(tick * second / 50, &mut |what| told.push(what));
            }
            let begun = |what: &Said| matches!(what, Said::Play(2, ..));
            assert_eq!(
                told.iter().filter(|what| begun(what)).count(),
                usize::from(begins)
            );
            assert!(!matches!(told.last(), Some(Said::Play(3, ..))));
        }
    }
}
