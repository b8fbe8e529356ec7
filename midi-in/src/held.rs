//! The held state of the MIDI input, in a file of the instance, with which a restarted MIDI input continues.
//!
//! The file is written before messages are sent, together with these messages, and again after they are sent. After a
//! kill between the two, the successor sends the messages: ends of notes, bends, controllers. Strikes are not
//! repeated, since their notes may have begun.

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
    /// The port, for `status`.
    pub port: Port,
    /// The keys, pedals, bends and settings.
    pub translator: Translator,
    /// The bytes of an incomplete message.
    #[serde(skip_serializing_if = "is_default")]
    pub tail: Vec<u8>,
    /// The messages that are being sent, with the NTP timestamps of their arrival.
    #[serde(skip_serializing_if = "is_default")]
    pub unsent: Vec<(Said, u64)>,
}

/// The state of the port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The requested name, or the name of the port that was found.
    pub name: String,
    /// Whether the port is open.
    pub open: bool,
    /// How often the port has returned.
    pub reopened: u64,
    /// Whether the port was open and has disappeared.
    pub gone: bool,
}

impl Held {
    /// Reads the state of the predecessor.
    pub fn read(path: &Path) -> Self {
        kept::read(path).unwrap_or_else(|why| {
            say::line("midi-in", &format!("the held state cannot be read: {why}"));
            Self::default()
        })
    }

    /// The messages that the predecessor may not have sent before its death, to be sent now. If one of them began the
    /// song, the next tick begins it instead.
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

/// The file; it is written only after a change.
pub struct File {
    path: PathBuf,
    written: Held,
    /// Whether a write error has been logged.
    told: bool,
}

impl File {
    /// Opens the file; also returns its content.
    pub fn open(path: PathBuf) -> (Self, Held) {
        let held = Held::read(&path);
        let file = Self {
            path,
            written: held.clone(),
            told: false,
        };
        (file, held)
    }

    /// Saves the state.
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
                say::line("midi-in", &format!("the held state cannot be saved: {why}"));
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
