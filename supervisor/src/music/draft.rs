//! Edits that wait for their commit.

use anyhow::Result;
use common::edit::Edit;
use engine::patch::Patch;

/// Edits that may wait for a commit: as many as make the largest patch.
const EDITS_MAX: usize = 20_000;

/// See the file's head.
#[derive(Default)]
pub struct Draft {
    edits: Vec<Edit>,
    /// What has come of them, and of which patch: the next one is checked against it. Its values are
    /// those of back then.
    made: Option<(u64, Patch)>,
}

impl Draft {
    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// What comes of the patch in force, which is that of the generation, by those that wait and this one.
    ///
    /// # Errors
    /// When it cannot be made, or too many wait.
    pub fn with(&mut self, edit: &Edit, in_force: &Patch, generation: u64) -> Result<Patch> {
        anyhow::ensure!(
            self.edits.len() < EDITS_MAX,
            "{EDITS_MAX} edits wait already; /patch/commit takes them in, /patch/abort forgets them"
        );
        let mut patch = match self.made.take() {
            Some((of, patch)) if of == generation => patch,
            _ => self.made(in_force)?,
        };
        match patch.edit(edit) {
            Ok(()) => Ok(patch),
            Err(why) => {
                self.made = Some((generation, patch));
                Err(why.into())
            }
        }
    }

    /// It waits; `made` is what [`Self::with`] has returned, and the generation.
    pub fn push(&mut self, edit: Edit, made: Option<(u64, Patch)>) {
        self.edits.push(edit);
        self.made = made;
    }

    /// The patch in force with all of them made.
    ///
    /// # Errors
    /// When one cannot be made any more.
    pub fn made(&self, in_force: &Patch) -> Result<Patch> {
        let mut patch = in_force.clone();
        for edit in &self.edits {
            patch.edit(edit)?;
        }
        Ok(patch)
    }

    /// None waits any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
