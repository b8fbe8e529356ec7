//! Edits sequences by names, one change at a time.

use common::{
    command::{Event, SequenceControl},
    edit::{Edit, SequenceEdit, Setting},
};

use super::{
    super::{PatchError, check::check_id, error::hint},
    ChainSpec, Patch, PatternSpec, Pitch, SequenceError, SequenceSpec, TargetSpec, steps_of,
};

impl Patch {
    /// Applies one change; the caller checks the whole patch after all changes.
    pub(in crate::patch) fn edit_sequence(
        &mut self,
        edit: &SequenceEdit,
    ) -> Result<(), PatchError> {
        match edit {
            SequenceEdit::Create {
                id,
                running,
                settings,
            } => {
                check_id(format_args!("sequence \"{id}\""), id)?;
                if self.sequence_index(id).is_ok() {
                    return Err(SequenceError::Taken { id: id.clone() }.into());
                }
                let mut spec = SequenceSpec::new(id);
                spec.running = *running;
                let playing = self.sequences.iter().find(|other| other.running);
                if let Some(other) = playing.or(self.sequences.first()) {
                    spec.bpm = other.bpm;
                }
                self.set_all(&mut spec, settings)?;
                self.sequences.push(spec);
            }
            SequenceEdit::Change { id, settings } => {
                let place = usize::from(self.sequence_index(id)?);
                let mut spec = self.sequences[place].clone();
                self.set_all(&mut spec, settings)?;
                self.sequences[place] = spec;
            }
            SequenceEdit::Remove { id } => {
                let place = self.sequence_index(id)?;
                self.sequences.remove(usize::from(place));
            }
            SequenceEdit::Save { id, name } => {
                check_id(format_args!("pattern \"{name}\""), name)?;
                let place = usize::from(self.sequence_index(id)?);
                let pattern = self.sequences[place].pattern.clone();
                self.patterns.insert(name.clone(), pattern);
            }
            SequenceEdit::Load { id, name } => {
                let place = usize::from(self.sequence_index(id)?);
                self.sequences[place].pattern = self.kept("load", name)?.clone();
            }
            SequenceEdit::Forget { name } => {
                self.kept("remove", name)?;
                self.patterns.remove(name);
            }
        }
        Ok(())
    }

    fn set_all(&self, spec: &mut SequenceSpec, settings: &[Setting]) -> Result<(), PatchError> {
        settings
            .iter()
            .try_for_each(|setting| self.set_one(spec, setting))
    }

    fn set_one(&self, spec: &mut SequenceSpec, setting: &Setting) -> Result<(), PatchError> {
        let notation = |what| SequenceError::Notation {
            at: format!("sequence \"{}\"", spec.id),
            what,
        };
        let PatternSpec { notes, lanes, .. } = &mut spec.pattern;
        match setting {
            Setting::Pattern(text) => {
                steps_of(text).map_err(notation)?;
                spec.pattern.text.clone_from(text);
            }
            Setting::Steps(steps) => spec.pattern.steps = *steps,
            Setting::Bpm(bpm) => spec.bpm = *bpm,
            Setting::Division(division) => spec.division = *division,
            Setting::Swing(part) => spec.swing = *part,
            Setting::Rotate(steps) => spec.pattern.rotate = *steps,
            Setting::Probability(chances) => spec.pattern.probability.clone_from(chances),
            Setting::Ratchet(times) => spec.pattern.ratchet.clone_from(times),
            Setting::Notes(names) => {
                let read: Result<Vec<Pitch>, _> = names.iter().map(|name| name.parse()).collect();
                *notes = read.map_err(notation)?;
            }
            Setting::Lane(param, values) if values.is_empty() => {
                lanes.remove(param);
            }
            Setting::Lane(param, values) => {
                lanes.insert(param.clone(), values.clone());
            }
            Setting::Target {
                role,
                module,
                param,
            } => {
                let target = TargetSpec {
                    module: module.clone(),
                    role: *role,
                    param: param.clone(),
                };
                if !spec.targets.contains(&target) {
                    spec.targets.push(target);
                }
            }
            Setting::Unassign(module) => {
                let before = spec.targets.len();
                spec.targets.retain(|target| target.module != *module);
                if spec.targets.len() == before {
                    let (id, module) = (spec.id.clone(), module.clone());
                    let played = spec.targets.iter().map(|target| target.module.as_str());
                    let hint = hint(&module, played);
                    return Err(SequenceError::NoTarget { id, module, hint }.into());
                }
            }
            Setting::Chain(links) => {
                let link = |(pattern, bars): &(String, u32)| ChainSpec {
                    pattern: pattern.clone(),
                    bars: *bars,
                };
                spec.chain = links.iter().map(link).collect();
            }
            Setting::Seed(seed) => spec.seed = *seed,
        }
        Ok(())
    }

    /// The event that applies an edit's tempo to a running sequence: the edit alone does not change its tempo. Call
    /// this on the patch after the edit.
    #[must_use]
    pub fn tempo_of(&self, edit: &Edit) -> Option<Event> {
        let Edit::Sequence(SequenceEdit::Change { id, settings }) = edit else {
            return None;
        };
        let bpm = settings.iter().find_map(|setting| match setting {
            Setting::Bpm(bpm) => Some(*bpm),
            _ => None,
        })?;
        let sequence = self.sequence_index(id).ok()?;
        let control = SequenceControl::Bpm(bpm);
        Some(Event::Sequence { sequence, control })
    }

    /// Removes a module from all targets.
    pub(in crate::patch) fn unassign(&mut self, module: &str) {
        for spec in &mut self.sequences {
            spec.targets.retain(|target| target.module != module);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::edit::Role;

    use super::*;

    fn edited(edits: Vec<SequenceEdit>) -> Result<Patch, String> {
        let mut patch = Patch::default_patch();
        for edit in edits {
            patch
                .edit(&Edit::Sequence(edit))
                .map_err(|why| why.to_string())?;
        }
        let checked = patch.checked().map_err(|why| why.to_string())?;
        let patch = checked.into_patch();
        assert_eq!(Patch::from_json(&patch.to_json()).unwrap(), patch);
        Ok(patch)
    }

    fn create(id: &str, settings: Vec<Setting>) -> SequenceEdit {
        SequenceEdit::Create {
            id: id.into(),
            running: true,
            settings,
        }
    }

    fn change(id: &str, settings: Vec<Setting>) -> SequenceEdit {
        let id = id.into();
        SequenceEdit::Change { id, settings }
    }

    fn target(role: Role, module: &str, param: Option<&str>) -> Setting {
        Setting::Target {
            role,
            module: module.into(),
            param: param.map(Into::into),
        }
    }

    fn save(id: &str, name: &str) -> SequenceEdit {
        let (id, name) = (id.into(), name.into());
        SequenceEdit::Save { id, name }
    }

    fn load(id: &str, name: &str) -> SequenceEdit {
        let (id, name) = (id.into(), name.into());
        SequenceEdit::Load { id, name }
    }

    #[test]
    fn sequences_come_change_and_go() {
        let patch = edited(vec![
            create(
                "a",
                vec![
                    target(Role::Gate, "adsr", None),
                    target(Role::Gate, "adsr", None),
                    target(Role::Note, "sine", None),
                    Setting::Pattern("X..x".into()),
                    Setting::Notes(vec!["C4".into(), "61".into()]),
                ],
            ),
            create("b", vec![]),
            save("a", "verse"),
            change(
                "a",
                vec![
                    Setting::Pattern("x".into()),
                    Setting::Steps(3),
                    Setting::Bpm(90.5),
                    Setting::Division(8),
                    Setting::Swing(0.5),
                    Setting::Rotate(1),
                    Setting::Probability(vec![0.5]),
                    Setting::Ratchet(vec![2]),
                    Setting::Lane("cutoff".into(), vec![100.0]),
                    Setting::Lane("gain".into(), vec![1.0]),
                    Setting::Lane("gain".into(), vec![]),
                    Setting::Chain(vec![("verse".into(), 7)]),
                    Setting::Seed(9),
                    Setting::Unassign("sine".into()),
                ],
            ),
            load("b", "verse"),
            SequenceEdit::Remove { id: "a".into() },
        ])
        .unwrap();
        assert_eq!(patch.sequences.len(), 1);
        let b = &patch.sequences[0];
        assert_eq!((b.id.as_str(), b.pattern.text.as_str()), ("b", "X..x"));
        assert_eq!(b.pattern.notes, [Pitch(60.0), Pitch(61.0)]);
        assert_eq!(patch.patterns["verse"], b.pattern);
    }

    #[test]
    fn a_new_one_has_the_tempo_of_those_that_play() {
        let mut patch = edited(vec![create("a", vec![]), create("b", vec![])]).unwrap();
        patch.sequences[0].running = false;
        patch.sequences[1].bpm = 174.5;
        let new = create("c", vec![]);
        patch.edit(&Edit::Sequence(new)).unwrap();
        assert_eq!(patch.sequences[2].bpm, 174.5);
    }

    #[test]
    fn a_tempo_that_is_edited_is_told_to_who_plays() {
        let patch = edited(vec![create("a", vec![]), create("b", vec![])]).unwrap();
        let tempo = |settings| patch.tempo_of(&Edit::Sequence(change("b", settings)));
        let event = Event::Sequence {
            sequence: 1,
            control: SequenceControl::Bpm(90.0),
        };
        assert_eq!(
            tempo(vec![Setting::Steps(4), Setting::Bpm(90.0)]),
            Some(event)
        );
        assert_eq!(tempo(vec![Setting::Steps(4)]), None);
    }

    #[test]
    fn a_module_that_goes_is_played_no_more() {
        let mut patch = edited(vec![create(
            "a",
            vec![
                target(Role::Gate, "adsr", None),
                target(Role::Note, "sine", None),
            ],
        )])
        .unwrap();
        let id = "sine".into();
        patch.edit(&Edit::Remove { id }).unwrap();
        let patch = patch.checked().unwrap().into_patch();
        assert_eq!(patch.sequences[0].targets.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |setting: Setting| vec![create("kick", vec![setting])];
        for (edits, what) in [
            (
                vec![SequenceEdit::Remove { id: "a".into() }],
                "no sequence \"a\"; the patch has none yet: /seq/add",
            ),
            (
                vec![create("kick", vec![]), change("kik", vec![])],
                "no sequence \"kik\"; did you mean \"kick\"?",
            ),
            (
                vec![create("a", vec![]), create("a", vec![])],
                "the sequence \"a\" exists already; /seq/update",
            ),
            (vec![create("a b", vec![])], "the id \"a b\" is invalid"),
            (
                with(Setting::Pattern("Q".into())),
                "sequence \"kick\": \"Q\" is not a step",
            ),
            (
                with(Setting::Notes(vec!["X1".into()])),
                "sequence \"kick\": \"X1\" is not a note",
            ),
            (
                with(Setting::Unassign("sine".into())),
                "\"kick\" does not play \"sine\"",
            ),
            (with(Setting::Swing(f32::NAN)), "swing: NaN is out of range"),
            (with(Setting::Steps(999)), "steps: 999 is out of range"),
            (
                with(target(Role::Gate, "sine", None)),
                "\"sine\" (sine) does not accept a gate (expected one of adsr",
            ),
            (
                vec![create("a", vec![]), load("a", "x")],
                "no pattern \"x\"; the patch has none yet",
            ),
            (
                vec![create("a", vec![]), save("a", "verse"), load("a", "vers")],
                "did you mean \"verse\"?",
            ),
            (
                vec![create("a", vec![]), save("a", "a b")],
                "the id \"a b\" is invalid",
            ),
            (
                vec![
                    create("a", vec![]),
                    save("a", "p"),
                    change("a", vec![Setting::Chain(vec![("p".into(), 1)])]),
                    SequenceEdit::Forget { name: "p".into() },
                ],
                "chain[0]: no pattern \"p\"",
            ),
        ] {
            let why = edited(edits.clone()).unwrap_err();
            assert!(why.contains(what), "{edits:?}: {why}");
        }
    }
}
