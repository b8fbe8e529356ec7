//! Edits a patch by names, one change at a time.
//!
//! Edits apply to a copy of the patch in force. The caller checks the whole copy ([`Patch::checked`]) before it
//! replaces the patch.

use common::edit::Edit;

use super::{Cable, ModuleSpec, Patch, PatchError, check, error::hint, id_of};

impl Patch {
    /// Applies one change.
    ///
    /// # Errors
    /// If the object of the change is missing, or exists already. The patch is then unchanged.
    pub fn edit(&mut self, edit: &Edit) -> Result<(), PatchError> {
        match edit {
            Edit::Create { id, kind } => self.create(id, kind),
            Edit::Remove { id } => self.remove(id),
            Edit::Connect { from, to, frame } => self.connect(from, to, *frame),
            Edit::Disconnect { from, to } => self.disconnect(from, to),
            Edit::Sequence(edit) => self.edit_sequence(edit),
        }
    }

    fn create(&mut self, id: &str, kind: &str) -> Result<(), PatchError> {
        let at = format!("module \"{id}\"");
        check::check_id(&at, id)?;
        let kind = check::find_type(&at, kind)?.name;
        if let Some(by) = self.modules.iter().find(|module| module.id == id) {
            let by = format!("a module of type {}", by.kind);
            let id = id.to_owned();
            return Err(PatchError::DuplicateId { at, id, by });
        }
        self.modules.push(ModuleSpec {
            id: id.to_owned(),
            kind: kind.to_owned(),
            channels: 1,
            ..ModuleSpec::default()
        });
        Ok(())
    }

    fn remove(&mut self, id: &str) -> Result<(), PatchError> {
        let Some(place) = self.modules.iter().position(|module| module.id == id) else {
            let hint = hint(id, self.modules.iter().map(|module| module.id.as_str()));
            return Err(PatchError::UnknownModule {
                at: "remove".into(),
                name: id.to_owned(),
                hint,
            });
        };
        self.modules.remove(place);
        self.presets.remove(id);
        let is_of = |end: &str| end.split('.').next() == Some(id);
        self.cables
            .retain(|cable| !is_of(&cable.from) && !is_of(&cable.to));
        self.unassign(id);
        Ok(())
    }

    fn connect(&mut self, from: &str, to: &str, frame: bool) -> Result<(), PatchError> {
        if self.cable(from, to)?.is_some() {
            let (at, by) = ("connect".into(), format!("\"{from}\" to \"{to}\""));
            return Err(PatchError::DuplicateCable { at, by });
        }
        self.cables.push(Cable {
            frame,
            ..Cable::between(from, to)
        });
        Ok(())
    }

    fn disconnect(&mut self, from: &str, to: &str) -> Result<(), PatchError> {
        match self.cable(from, to)? {
            Some(place) => {
                self.cables.remove(place);
                Ok(())
            }
            None => Err(PatchError::NoCable {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
        }
    }

    /// The index of the cable between two ends, in any spelling of the ends.
    fn cable(&self, from: &str, to: &str) -> Result<Option<usize>, PatchError> {
        let ids = (id_of(from), id_of(to));
        let places = self.places(|id| id == ids.0 || id == ids.1);
        // A missing name needs a suggestion: then look at all modules.
        let wanted = (self.ends(from, to, &places))
            .or_else(|_| self.ends(from, to, &self.places(|_| true)))?;
        let same = |cable: &Cable| {
            (id_of(&cable.from), id_of(&cable.to)) == ids
                && (self.ends(&cable.from, &cable.to, &places)).is_ok_and(|ends| ends == wanted)
        };
        Ok(self.cables.iter().position(same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(edits: &[Edit]) -> Result<Patch, String> {
        let mut patch = Patch::default_patch();
        for edit in edits {
            patch.edit(edit).map_err(|why| why.to_string())?;
        }
        let checked = patch.checked().map_err(|why| why.to_string())?;
        Ok(checked.into_patch())
    }

    fn create(id: &str, kind: &str) -> Edit {
        Edit::Create {
            id: id.into(),
            kind: kind.into(),
        }
    }

    fn cable(new: bool, from: &str, to: &str) -> Edit {
        let (from, to) = (from.into(), to.into());
        match new {
            true => Edit::Connect {
                from,
                to,
                frame: false,
            },
            false => Edit::Disconnect { from, to },
        }
    }

    fn remove(id: &str) -> Edit {
        Edit::Remove { id: id.into() }
    }

    #[test]
    fn modules_and_cables_come_and_go() {
        let patch = edited(&[
            create("verb", "reverb"),
            cable(true, "filter", "verb"),
            cable(false, "filter.out", "out"),
            cable(true, "verb.left", "out"),
            remove("sine"),
        ])
        .unwrap();
        let cables: Vec<_> = patch.cables.iter().map(|c| (&*c.from, &*c.to)).collect();
        assert_eq!(
            cables,
            [("adsr", "filter"), ("filter", "verb"), ("verb.left", "out")]
        );
        assert_eq!(Patch::from_json(&patch.to_json()).unwrap(), patch);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (edits, what) in [
            (vec![create("a b", "sine")], "the id \"a b\" is invalid"),
            (vec![create("s", "sin")], "did you mean \"sine\"?"),
            (
                vec![create("sine", "saw")],
                "taken by a module of type sine",
            ),
            (
                vec![remove("sin")],
                "no module \"sin\"; did you mean \"sine\"?",
            ),
            (
                vec![cable(true, "sine", "fliter")],
                "did you mean \"filter\"?",
            ),
            (vec![cable(true, "sine", "adsr.in")], "the cable duplicates"),
            (
                vec![cable(false, "sine", "out")],
                "no cable goes from \"sine\" to \"out\"",
            ),
            (vec![remove("out")], "no module is of type \"out\""),
        ] {
            let why = edited(&edits).unwrap_err();
            assert!(why.contains(what), "{edits:?}: {why}");
        }
    }
}
