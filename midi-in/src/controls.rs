//! What the controllers turn: as the instance's file says, which others write, too.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use common::midi::Bindings;
use platform::{kept, say};

/// How often it is looked whether the file has changed.
const LOOK: Duration = Duration::from_millis(200);

/// The bindings, as they were when the file was last looked at.
pub struct Controls {
    path: PathBuf,
    bindings: Bindings,
    changed: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Controls {
    /// Of that file, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            bindings: Bindings::default(),
            changed: None,
            looked: None,
        }
    }

    /// Modules and parameters that a controller turns, now that it has moved.
    pub fn moved(&mut self, channel: u8, controller: u8) -> Vec<(String, String)> {
        self.look();
        if self.bindings.learnt(channel, controller)
            && let Err(why) = kept::write(&self.path, &self.bindings)
        {
            say::line("midi-in", &format!("what was learnt is not kept: {why}"));
        }
        self.of(channel, controller)
    }

    /// Modules and parameters that a controller turns, without learning: the controller was not moved.
    pub fn bound(&mut self, channel: u8, controller: u8) -> Vec<(String, String)> {
        self.look();
        self.of(channel, controller)
    }

    fn of(&self, channel: u8, controller: u8) -> Vec<(String, String)> {
        let bound = self.bindings.of(channel, controller);
        bound.map(|b| (b.module.clone(), b.param.clone())).collect()
    }

    fn look(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let changed = self.path.metadata().and_then(|file| file.modified()).ok();
        if changed == self.changed {
            return;
        }
        self.changed = changed;
        match kept::read(&self.path) {
            Ok(bindings) => self.bindings = bindings,
            Err(why) => say::line("midi-in", &why.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_learnt_is_bound_to_what_moves_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("midi.json");
        let learn = Bindings {
            learn: Some(("filter".into(), "cutoff".into())),
            ..Bindings::default()
        };
        kept::write(&path, &learn).unwrap();
        let mut controls = Controls::new(path.clone());
        let cutoff = vec![("filter".to_owned(), "cutoff".to_owned())];
        assert_eq!(controls.moved(1, 74), cutoff);
        assert_eq!(controls.moved(1, 75), []);
        assert_eq!(Controls::new(path).moved(1, 74), cutoff);
    }
}
