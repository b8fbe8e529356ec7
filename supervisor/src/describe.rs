//! Commands in a few words, for log lines and messages.

use common::command::{Command, Event};
use engine::patch::Patch;

/// The name of a module of a patch by its number.
pub fn module_name(patch: &Patch, module: u16) -> String {
    let spec = patch.modules.get(usize::from(module));
    spec.map_or_else(|| module.to_string(), |spec| format!("\"{}\"", spec.id))
}

/// A short text about a command.
pub fn describe(patch: &Patch, command: &Command) -> String {
    match *command {
        Command::Patch(_) | Command::Edited(_) => "a patch".into(),
        Command::Event(Event::Param {
            module,
            param,
            value,
        }) => {
            let name = module_name(patch, module);
            let spec = patch.modules.get(usize::from(module));
            let kind = spec.and_then(|spec| engine::catalog::find(&spec.kind));
            let known = kind.and_then(|kind| kind.params.get(usize::from(param)));
            let param = known.map_or_else(|| param.to_string(), |p| p.name.to_owned());
            format!("{param} of {name} to {value}")
        }
        Command::Event(Event::Ramp {
            module,
            param,
            value,
            ms,
        }) => {
            let set = Event::Param {
                module,
                param,
                value,
            };
            format!("{} in {ms} ms", describe(patch, &Command::Event(set)))
        }
        Command::Event(Event::Note {
            module,
            pitch,
            velocity,
            ..
        }) => {
            let name = module_name(patch, module);
            format!("note {pitch} of {name} at {velocity}")
        }
        Command::Event(Event::Gate { module, level }) => {
            format!("gate of {} to {level}", module_name(patch, module))
        }
        Command::Event(Event::Sequence { sequence, control }) => {
            let spec = patch.sequences.get(usize::from(sequence));
            let name = spec.map_or_else(|| sequence.to_string(), |spec| format!("\"{}\"", spec.id));
            format!("{control:?} of the sequence {name}")
        }
        Command::Event(event) => format!("{event:?}"),
        Command::At { event, .. } => describe(patch, &Command::Event(event)),
        Command::Draft(_) => "an edit of the patch".into(),
        Command::SavePreset(ref kept) => format!("preset \"{}\" of \"{}\"", kept.name, kept.module),
    }
}
