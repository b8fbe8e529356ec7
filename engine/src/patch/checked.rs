//! A patch that has been checked, with the results of the check, so that no later step repeats it.

use super::{Patch, PatchError, Wire, read};
use crate::schedule::{Step, closing};

/// See the file's head. The patch never changes; values change on a copy ([`Patch::apply`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    patch: Patch,
    /// The cables, as numbers.
    wires: Vec<Wire>,
    /// The order of rendering.
    steps: Vec<Step>,
}

impl Patch {
    /// Checks all of the patch, and marks the cables that close cycles (the last of each cycle in the patch's order)
    /// as delayed.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn checked(mut self) -> Result<Checked, PatchError> {
        let mut wires = self.check()?;
        let closing = closing(self.modules.len(), &wires);
        if !closing.is_empty() {
            for cable in closing {
                self.cables[cable].feedback = true;
            }
            wires = self.check()?;
        }
        Checked::of(self, wires)
    }
}

impl Checked {
    /// As [`Patch::from_json`].
    ///
    /// # Errors
    /// As [`Patch::from_json`].
    pub fn from_json(text: &str) -> Result<Self, PatchError> {
        let patch = read::read(text)?;
        patch.check_is_settled()?;
        patch.checked()
    }

    /// As [`Patch::from_log`].
    ///
    /// # Errors
    /// As [`Patch::from_log`].
    pub fn from_log(text: &str) -> Result<Self, PatchError> {
        Self::as_it_is(Patch::from_log_unchecked(text)?)
    }

    /// Checks a patch without marking cables.
    pub(super) fn as_it_is(patch: Patch) -> Result<Self, PatchError> {
        let wires = patch.check()?;
        Self::of(patch, wires)
    }

    /// A patch with its cables as numbers.
    pub(super) fn of(patch: Patch, wires: Vec<Wire>) -> Result<Self, PatchError> {
        let steps = patch.steps_with(&wires)?;
        Ok(Self {
            patch,
            wires,
            steps,
        })
    }

    /// The patch.
    #[must_use]
    pub const fn patch(&self) -> &Patch {
        &self.patch
    }

    /// The patch alone.
    #[must_use]
    pub fn into_patch(self) -> Patch {
        self.patch
    }

    pub(crate) fn wires(&self) -> &[Wire] {
        &self.wires
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }
}
