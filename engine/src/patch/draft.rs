//! Edits that wait for their commit.

use common::edit::Edit;

use super::{Patch, PatchError, check::at_most};

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
    /// What a commit is told if none waits.
    pub const NONE_WAITS: &str = "no edit waits; /patch/create, /patch/remove, /patch/connect and /patch/disconnect make some";

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Those that wait, in order.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// What comes of the patch in force, which is that of the generation, by those that wait and this one: for
    /// [`Self::push`].
    ///
    /// # Errors
    /// When it cannot be made, or too many wait.
    pub fn with(
        &mut self,
        edit: &Edit,
        in_force: &Patch,
        generation: u64,
    ) -> Result<(u64, Patch), PatchError> {
        at_most("edits that wait", self.edits.len() + 1, EDITS_MAX)?;
        let mut patch = match self.made.take() {
            Some((of, patch)) if of == generation => patch,
            _ => self.made(in_force)?,
        };
        match patch.edit(edit) {
            Ok(()) => Ok((generation, patch)),
            Err(why) => {
                self.made = Some((generation, patch));
                Err(why)
            }
        }
    }

    /// It waits; `made` is what [`Self::with`] has returned, if it was asked.
    pub fn push(&mut self, edit: Edit, made: Option<(u64, Patch)>) {
        self.edits.push(edit);
        self.made = made;
    }

    /// The patch in force with all of them made.
    ///
    /// # Errors
    /// When one cannot be made any more.
    pub fn made(&self, in_force: &Patch) -> Result<Patch, PatchError> {
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
