//! The bindings of controllers to parameters, in a file of the instance that other programs write too.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use common::midi::Bindings;
use platform::{kept, say};

/// The period of checking for changes of the file.
const LOOK: Duration = Duration::from_millis(200);

/// The bindings at the last check of the file.
pub struct Controls {
    path: PathBuf,
    bindings: Bindings,
    changed: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Controls {
    /// Reads the bindings from a file, which may be missing.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            bindings: Bindings::default(),
            changed: None,
            looked: None,
        }
    }

    /// The modules and parameters of a controller that was moved; learns a waiting binding.
    pub fn moved(&mut self, channel: u8, controller: u8) -> Vec<(String, String)> {
        self.look();
        if self.bindings.learnt(channel, controller)
            && let Err(why) = kept::write(&self.path, &self.bindings)
        {
            say::line(
                "midi-in",
                &format!("the learnt binding cannot be saved: {why}"),
            );
        }
        self.of(channel, controller)
    }

    /// The modules and parameters of a controller that was not moved; learns nothing.
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
