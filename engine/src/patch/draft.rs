//! The edits that wait for a commit.

use common::edit::Edit;

use super::{Patch, PatchError, check::at_most};

/// The limit of waiting edits: enough to create the largest patch.
const EDITS_MAX: usize = 20_000;

/// See the file's head.
#[derive(Default)]
pub struct Draft {
    edits: Vec<Edit>,
    /// The edited patch, and the generation of its original: the next edit is checked against it. Its values
    /// may be older than those in force.
    made: Option<(u64, Patch)>,
}

impl Draft {
    /// The error of a commit without waiting edits.
    pub const NONE_WAITS: &str = "no edit waits (expected /patch/create, /patch/remove, /patch/connect or /patch/disconnect before)";

    /// Whether no edit waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The waiting edits, in order.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The patch in force, of the given generation, with the waiting edits and this one applied: for [`Self::push`].
    ///
    /// # Errors
    /// If the edit cannot be applied, or too many edits wait.
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

    /// Adds an edit; `made` is the result of [`Self::with`], if it was called.
    pub fn push(&mut self, edit: Edit, made: Option<(u64, Patch)>) {
        self.edits.push(edit);
        self.made = made;
    }

    /// The patch in force with all waiting edits applied.
    ///
    /// # Errors
    /// If an edit cannot be applied any more.
    pub fn made(&self, in_force: &Patch) -> Result<Patch, PatchError> {
        let mut patch = in_force.clone();
        for edit in &self.edits {
            patch.edit(edit)?;
        }
        Ok(patch)
    }

    /// Discards all waiting edits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
