//! Changes from one patch to another without a click: the patch that is played while cables fade in and out.
//!
//! The transit patch contains all of the new patch, and the parts of the old one that fade out: cables, and as
//! *ghosts* the modules that they come from. The log stores the transit patch of an edit, so that every engine built
//! from it (in a worker, a replacement or a replay) has the same modules, cables and cells. If old and new patch
//! cannot share a module, because its number of channels has changed or the cables of both would form a cycle, the
//! module's ghost plays on beside it, from the same state.

use std::collections::BTreeMap;

use super::{Cable, Checked, Fade, ModuleSpec, Patch, PatchError, Wire};
use crate::{plan, schedule};

/// The separator between a ghost's former id and the number of the edit that made the ghost.
const MARK: char = '~';

/// The former id of a ghost; `None` for any other module.
pub fn id_before(id: &str) -> Option<&str> {
    let (before, number) = id.rsplit_once(MARK)?;
    number.parse::<u64>().ok().map(|_| before)
}

/// The fate of an old module in the patch that is played.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// The module of this number.
    Stays(u16),
    /// A ghost of its own.
    Ghost,
}

impl Patch {
    /// The patch without modules and cables that fade out; no cable fades in.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut settled = self.clone();
        settled.modules.retain(|spec| id_before(&spec.id).is_none());
        settled.cables.retain(Cable::stays);
        for cable in &mut settled.cables {
            cable.fade = None;
        }
        settled
    }

    /// The patch with the values, patterns, sequences and presets of another patch with the same modules.
    #[must_use]
    pub(crate) fn with_values_of(mut self, other: &Self) -> Self {
        let by_id = other.modules.iter().map(|spec| (&spec.id, &spec.params));
        let set: BTreeMap<_, _> = by_id.collect();
        for spec in &mut self.modules {
            if let Some(params) = set.get(&spec.id) {
                spec.params.clone_from(params);
            }
        }
        self.sequences.clone_from(&other.sequences);
        self.patterns.clone_from(&other.patterns);
        self.presets.clone_from(&other.presets);
        self
    }
}

impl Cable {
    /// Whether the cable remains after all fades.
    fn stays(&self) -> bool {
        // A module that listens to a ghost is a ghost too, or the cable fades out.
        let to_ghost = self.to.split('.').next().and_then(id_before).is_some();
        self.fade != Some(Fade::Out) && !to_ghost
    }
}

impl Checked {
    /// As [`Patch::settled`].
    ///
    /// # Errors
    /// Never: no remaining module listens to a ghost.
    pub fn settled(&self) -> Result<Self, PatchError> {
        let is_ghost =
            |module: u16| id_before(&self.patch().modules[usize::from(module)].id).is_some();
        // The index of each module without the ghosts before it.
        let mut places = Vec::with_capacity(self.patch().modules.len());
        let mut place = 0;
        for module in 0..self.patch().modules.len() as u16 {
            places.push(place);
            place += u16::from(!is_ghost(module));
        }
        let mut feedbacks = 0;
        let cables = self.patch().cables.iter().zip(self.wires());
        let stay = cables.filter(|(cable, _)| cable.stays());
        let wires = stay.map(|(_, wire)| {
            let mut wire = *wire;
            wire.fade = None;
            wire.from.module = places[usize::from(wire.from.module)];
            wire.to.module = places[usize::from(wire.to.module)];
            if let Some(number) = &mut wire.feedback {
                *number = feedbacks;
                feedbacks += 1;
            }
            wire
        });
        let wires = wires.collect();
        Self::of(self.patch().settled(), wires)
    }

    /// The patch to play after an edit, and the result of `check` for it: this patch with the fading parts of
    /// `playing`, or alone if that would be too large. `has_faded` is true if all fades of the previous edit have
    /// ended; `number` identifies this edit.
    ///
    /// # Errors
    /// As `check`, of this patch.
    pub fn taking_over<T, E>(
        &self,
        playing: &Self,
        has_faded: bool,
        number: u64,
        check: impl Fn(&Self) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let fading = match has_faded {
            true => (playing.settled()).and_then(|playing| self.replacing(&playing, number)),
            false => self.replacing(playing, number),
        };
        if let Ok(fading) = fading
            && let Ok(checked) = check(&fading)
        {
            return Ok((fading, checked));
        }
        Ok((self.clone(), check(self)?))
    }

    /// This patch with all parts of `playing` that must fade out, or play on until then; `number` identifies this
    /// edit.
    ///
    /// # Errors
    /// As [`Patch::from_json`].
    pub(crate) fn replacing(&self, playing: &Self, number: u64) -> Result<Self, PatchError> {
        let mut transit = Transit::between(playing, self);
        transit.part();
        Self::as_it_is(transit.union(number))
    }
}

/// Two patches, as numbers.
struct Transit<'a> {
    old: &'a Patch,
    new: &'a Patch,
    old_wires: &'a [Wire],
    new_wires: &'a [Wire],
    becomes: Vec<Becomes>,
    /// For each new module, the old module whose state it continues.
    was: Vec<Option<u16>>,
}

impl<'a> Transit<'a> {
    fn between(old: &'a Checked, new: &'a Checked) -> Self {
        let (old_channels, new_channels) = (plan::channels_of(old), plan::channels_of(new));
        let (old_wires, new_wires) = (old.wires(), new.wires());
        let (old, new) = (old.patch(), new.patch());
        let places: BTreeMap<&str, usize> = (new.modules.iter().enumerate())
            .map(|(at, spec)| (name(spec), at))
            .collect();
        let mut was = vec![None; new.modules.len()];
        let becomes = old.modules.iter().enumerate().map(|(at, spec)| {
            let Some(&there) = places.get(name(spec)) else {
                return Becomes::Ghost;
            };
            if new.modules[there].kind != spec.kind {
                return Becomes::Ghost;
            }
            was[there] = Some(at as u16);
            match old_channels[at] == new_channels[there] {
                true => Becomes::Stays(there as u16),
                false => Becomes::Ghost,
            }
        });
        let becomes = becomes.collect();
        Self {
            old,
            new,
            old_wires,
            new_wires,
            becomes,
            was,
        }
    }

    /// Separates the modules that would be on a cycle of old and new cables into old and new ones.
    fn part(&mut self) {
        let new_count = self.new.modules.len() as u16;
        let place = |old: u16| match self.becomes[usize::from(old)] {
            Becomes::Stays(there) => there,
            Becomes::Ghost => new_count + old,
        };
        let ahead = |wire: &&Wire| wire.feedback.is_none();
        let old = self.old_wires.iter().filter(ahead);
        let new = self.new_wires.iter().filter(ahead);
        let cables = old
            .map(|wire| (place(wire.from.module), place(wire.to.module)))
            .chain(new.map(|wire| (wire.from.module, wire.to.module)));
        let modules = self.new.modules.len() + self.old.modules.len();
        let tangled = schedule::tangled(modules, cables);
        for becomes in &mut self.becomes {
            if let Becomes::Stays(there) = *becomes
                && tangled[usize::from(there)]
            {
                *becomes = Becomes::Ghost;
            }
        }
    }

    fn union(&self, number: u64) -> Patch {
        let mut union = self.new.clone();
        union.samples.extend(self.old.samples.clone());
        // The id of each old module.
        let mut ids = Vec::with_capacity(self.old.modules.len());
        for (spec, becomes) in self.old.modules.iter().zip(&self.becomes) {
            match *becomes {
                Becomes::Stays(there) => {
                    ids.push(self.new.modules[usize::from(there)].id.clone());
                }
                Becomes::Ghost => {
                    let mut ghost = spec.clone();
                    if id_before(&ghost.id).is_none() {
                        ghost.id = format!("{}{MARK}{number}", ghost.id);
                    }
                    ids.push(ghost.id.clone());
                    union.modules.push(ghost);
                }
            }
        }
        self.mark_coming(&mut union.cables);
        self.add_leaving(&mut union.cables, &ids);
        union
    }

    /// Marks the new cables that fade in.
    fn mark_coming(&self, cables: &mut [Cable]) {
        let places: BTreeMap<_, usize> = (self.old_wires.iter().enumerate())
            .map(|(place, wire)| (wire.key(), place))
            .collect();
        for (cable, wire) in cables.iter_mut().zip(self.new_wires) {
            let was = |mut end: super::End| {
                end.module = self.was[usize::from(end.module)]?;
                Some(end)
            };
            let before = was(wire.from)
                .zip(was(wire.to))
                .and_then(|(from, to)| places.get(&(from, to, cable.lateness())))
                .map(|place| self.old.cables[*place].fade);
            cable.fade = match before {
                // A ghost still plays the old signal; this cable takes over from it.
                Some(None) if self.is_new(wire.from.module) && !self.is_new(wire.to.module) => {
                    Some(Fade::In)
                }
                Some(None) => None,
                Some(Some(_)) | None => Some(Fade::In),
            };
        }
    }

    /// Whether a module of the new patch is not shared with the old one.
    fn is_new(&self, module: u16) -> bool {
        self.was[usize::from(module)]
            .is_none_or(|old| self.becomes[usize::from(old)] == Becomes::Ghost)
    }

    /// Adds the old cables that fade out, and those that ghosts play from.
    fn add_leaving(&self, cables: &mut Vec<Cable>, ids: &[String]) {
        let there: std::collections::BTreeSet<_> = self.new_wires.iter().map(Wire::key).collect();
        for (cable, wire) in self.old.cables.iter().zip(self.old_wires) {
            let (from, to) = (usize::from(wire.from.module), usize::from(wire.to.module));
            let fade = match (self.becomes[from], self.becomes[to]) {
                (_, Becomes::Ghost) => cable.fade,
                (Becomes::Ghost, Becomes::Stays(_)) => Some(Fade::Out),
                (Becomes::Stays(from), Becomes::Stays(to)) => {
                    let (mut ends, back) = ((wire.from, wire.to), cable.lateness());
                    (ends.0.module, ends.1.module) = (from, to);
                    if there.contains(&(ends.0, ends.1, back)) {
                        continue;
                    }
                    Some(Fade::Out)
                }
            };
            cables.push(Cable {
                from: renamed(&cable.from, &ids[from]),
                to: renamed(&cable.to, &ids[to]),
                feedback: cable.feedback,
                frame: cable.frame,
                fade,
            });
        }
    }
}

/// The name that identifies a module: there is only one `out`.
fn name(spec: &ModuleSpec) -> &str {
    match spec.kind.as_str() {
        "out" => "",
        _ => &spec.id,
    }
}

/// The end of a cable with another module id.
fn renamed(end: &str, id: &str) -> String {
    match end.split_once('.') {
        Some((_, port)) => format!("{id}.{port}"),
        None => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules `name:type`, cables `a>b`, or `a<b` where they lead back.
    fn patch(modules: &str, cables: &str) -> Patch {
        let module = |text: &str| {
            let (id, kind) = text.split_once(':').unwrap();
            format!(r#"{{"id":"{id}","type":"{kind}"}}"#)
        };
        let cable = |text: &str| {
            let back = text.contains('<');
            let (from, to) = text.split_once(['>', '<']).unwrap();
            format!(r#"{{"from":"{from}","to":"{to}","feedback":{back}}}"#)
        };
        let list = |texts: &str, each: &dyn Fn(&str) -> String| {
            let all: Vec<_> = texts.split_whitespace().map(each).collect();
            all.join(",")
        };
        let (modules, cables) = (list(modules, &module), list(cables, &cable));
        Patch::from_json(&format!(
            r#"{{"version":1,"modules":[{modules}],"cables":[{cables}]}}"#
        ))
        .unwrap()
    }

    /// The cables of the transit between two patches: `+` fades in, `-` fades out.
    fn drawn(old: &Patch, new: &Patch, number: u64) -> (Patch, String) {
        let [old, now] = [old, new].map(|patch| Checked::as_it_is(patch.clone()).unwrap());
        let union = now.replacing(&old, number).unwrap();
        let again = Checked::from_log(&union.patch().to_json()).unwrap();
        assert_eq!(again, union);
        let settled = Checked::as_it_is(union.patch().settled()).unwrap();
        assert_eq!(union.settled().unwrap(), settled);
        let union = union.into_patch();
        assert_eq!(union.settled(), *new);
        if union != union.settled() {
            assert!(Patch::from_json(&union.to_json()).is_err());
        }
        let cable = |cable: &Cable| {
            let fade = match cable.fade {
                None => "",
                Some(Fade::In) => "+",
                Some(Fade::Out) => "-",
            };
            let arrow = if cable.feedback { "<" } else { ">" };
            format!("{fade}{}{arrow}{}", cable.from, cable.to)
        };
        let cables: Vec<_> = union.cables.iter().map(cable).collect();
        (union, cables.join(" "))
    }

    const FOUR: &str = "s:sine f:filter v:vca o:out";

    #[test]
    fn cables_fade_and_what_has_gone_plays_on() {
        let old = patch(FOUR, "s>f f>v v>o");
        assert_eq!(drawn(&old, &old, 1).1, "s>f f>v v>o");
        let new = patch(FOUR, "s>f f.out>o.in");
        assert_eq!(drawn(&old, &new, 1).1, "s>f +f.out>o.in -f>v -v>o");
        let new = patch("s:sine v:vca o:out", "s>v v>o");
        assert_eq!(drawn(&old, &new, 7).1, "+s>v v>o s>f~7 -f~7>v");
        // Another of the same name, and another out.
        let new = patch("s:saw f:filter v:vca p:out", "s>f f>v v>p");
        assert_eq!(drawn(&old, &new, 7).1, "+s>f f>v v>p -s~7>f");
    }

    #[test]
    fn an_edit_in_the_middle_of_another_goes_on_from_there() {
        let old = patch(FOUR, "s>f f>v v>o");
        let bare = patch("s:sine v:vca o:out", "s>v v>o");
        let (union, _) = drawn(&old, &bare, 7);
        assert_eq!(drawn(&union, &bare, 8).1, "+s>v v>o s>f~7 -f~7>v");
        // There again, as another module.
        let (_, cables) = drawn(&union, &old, 8);
        assert_eq!(cables, "+s>f +f>v v>o -s>v s>f~7 -f~7>v");
        assert_eq!(drawn(&union.settled(), &bare, 8).1, "s>v v>o");
    }

    #[test]
    fn where_old_and_new_would_make_a_cycle_they_part() {
        let effects = "s:sine a:filter b:vca o:out";
        let old = patch(effects, "s>a a>b b>o");
        let new = patch(effects, "s>b b>a a>o");
        let (_, cables) = drawn(&old, &new, 3);
        assert_eq!(cables, "+s>b +b>a +a>o s>a~3 a~3>b~3 -b~3>o");
    }

    #[test]
    fn where_there_are_more_channels_old_and_new_part() {
        let modules = "s:sine t:sine u:merge f:filter v:vca o:out";
        let old = patch(modules, "s>f f>v v>o s>u.in1 t>u.in2");
        let new = patch(modules, "s>f f>v v>o s>u.in1 t>u.in2 u>f");
        let (union, cables) = drawn(&old, &new, 3);
        assert_eq!(
            cables,
            "s>f f>v +v>o s>u.in1 t>u.in2 +u>f s>f~3 f~3>v~3 -v~3>o"
        );
        let at = |id: &str| usize::from(union.module_index(id).unwrap());
        let channels = plan::channels_of(&Checked::as_it_is(union.clone()).unwrap());
        assert_eq!((channels[at("f")], channels[at("f~3")]), (2, 1));
    }
}
