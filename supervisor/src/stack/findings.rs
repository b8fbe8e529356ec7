//! What has been found out about poison, for `status`: the commands left out, the modules bypassed.
//!
//! Both stand in the command log, so that a supervisor that takes over an instance knows them too.

use common::{
    command::{Command, Event},
    command_log::Record,
    units::{BlockIndex, Seq},
};
use engine::patch::Patch;
use serde_json::{Value, json};

use crate::music::{describe, module_name};

/// Left-out commands and bypassed modules that are shown.
const SHOWN: usize = 64;

/// See the file's head.
#[derive(Default)]
pub struct Findings {
    /// Since when commands are held, in microseconds.
    pub held_since_us: Option<u64>,
    /// Until when checkpoints are kept for a trial, in microseconds; 0 if they are not.
    pub keep_until_us: u64,
    /// The module whose output was muted when last looked at.
    pub muted: Option<u16>,
    quarantined: Vec<Value>,
    bypassed: Vec<Value>,
    /// The supervisor's own commands, which bypass modules.
    own: Vec<Seq>,
}

impl Findings {
    /// What the supervisors before have found out, as they listed it, from the records of their log.
    pub fn recall(records: &[Record]) -> Self {
        let mut findings = Self::default();
        // Those that were not left out, the one in force last.
        let mut patches: Vec<(Seq, &str)> = Vec::new();
        let mut newest = Seq(0);
        let mut rest = records.iter().enumerate().peekable();
        while let Some((place, record)) = rest.next() {
            match record {
                Record::Command { seq, command, .. } => {
                    newest = *seq;
                    match command {
                        Command::Patch(json) | Command::Edited(json) => patches.push((*seq, json)),
                        Command::Event(Event::Bypass(module)) => {
                            let name = module_name(&in_force(&patches), *module);
                            findings.bypass(*seq, &name, first_block(*seq, &records[place..]));
                        }
                        Command::Event(_)
                        | Command::At { .. }
                        | Command::Draft(_)
                        | Command::Keep(_) => {}
                    }
                }
                Record::Quarantine { seq: first } => {
                    let Some(command) = find(*first, records) else {
                        continue;
                    };
                    findings.quarantine(*first, &describe(&in_force(&patches), command));
                    if command.patch().is_some() {
                        patches.retain(|(seq, _)| seq < first);
                        // What was meant for it was left out with it.
                        for seq in (first.0 + 1..=newest.0).map(Seq) {
                            rest.next_if(|(_, next)| **next == Record::Quarantine { seq });
                        }
                    }
                }
                Record::Head { .. }
                | Record::Decision { .. }
                | Record::State { .. }
                | Record::Progress { .. } => {}
            }
        }
        findings
    }

    /// A command is left out.
    pub fn quarantine(&mut self, seq: Seq, what: &str) {
        keep(
            &mut self.quarantined,
            json!({ "command": seq.0, "what": what }),
        );
    }

    /// A module is bypassed from that block on, if it is known, by the command `seq`.
    pub fn bypass(&mut self, seq: Seq, module: &str, block: Option<BlockIndex>) {
        self.own.push(seq);
        keep(
            &mut self.bypassed,
            json!({ "module": module, "block": block.map(|block| block.0) }),
        );
    }

    /// Whether that command is the supervisor's own: a bypass.
    pub fn is_own(&self, seq: Seq) -> bool {
        self.own.contains(&seq)
    }

    /// For `status`.
    pub fn show(&self) -> (Value, Value) {
        (json!(self.quarantined), json!(self.bypassed))
    }
}

/// The last of those patches, to name modules by.
fn in_force(patches: &[(Seq, &str)]) -> Patch {
    let read = patches.last().map(|(_, json)| Patch::from_log(json));
    read.and_then(Result::ok)
        .unwrap_or_else(Patch::default_patch)
}

/// The first block that has that command in.
fn first_block(own: Seq, records: &[Record]) -> Option<BlockIndex> {
    records.iter().find_map(|record| match record {
        Record::Decision { block, seq } if *seq >= own => Some(*block),
        _ => None,
    })
}

/// The command of that number.
fn find(wanted: Seq, records: &[Record]) -> Option<&Command> {
    records.iter().find_map(|record| match record {
        Record::Command { seq, command, .. } if *seq == wanted => Some(command),
        _ => None,
    })
}

fn keep(list: &mut Vec<Value>, entry: Value) {
    if list.len() >= SHOWN {
        list.remove(0);
    }
    list.push(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(seq: u64, command: Command) -> Record {
        let (seq, token) = (Seq(seq), 0);
        Record::Command {
            seq,
            token,
            command,
        }
    }

    const fn left_out(seq: u64) -> Record {
        Record::Quarantine { seq: Seq(seq) }
    }

    fn default_patch() -> Command {
        Command::Patch(Patch::default_patch().to_json())
    }

    /// `q` of the filter.
    const POISON: Command = Command::Event(Event::Param {
        module: 2,
        param: 1,
        value: 0.5,
    });
    const BYPASS: Command = Command::Event(Event::Bypass(2));

    #[test]
    fn what_was_listed_is_found_again_in_the_log() {
        let findings = Findings::recall(&[
            command(1, default_patch()),
            command(2, POISON),
            left_out(2),
            command(3, BYPASS),
            Record::Decision {
                block: BlockIndex(6),
                seq: Seq(2),
            },
            Record::Decision {
                block: BlockIndex(7),
                seq: Seq(4),
            },
            command(4, BYPASS),
        ]);
        let (quarantined, bypassed) = findings.show();
        assert_eq!(
            quarantined,
            json!([{ "command": 2, "what": "q of \"filter\" to 0.5" }])
        );
        assert_eq!(
            bypassed,
            json!([
                { "module": "\"filter\"", "block": 7 },
                { "module": "\"filter\"", "block": null },
            ])
        );
        assert!(findings.is_own(Seq(3)) && !findings.is_own(Seq(2)));
    }

    #[test]
    fn what_was_meant_for_a_patch_is_left_out_with_it_and_modules_are_named_by_the_one_in_force() {
        let mut other = Patch::default_patch();
        other.modules.swap(1, 2);
        let findings = Findings::recall(&[
            command(1, default_patch()),
            command(2, Command::Patch(other.to_json())),
            command(3, POISON),
            command(4, BYPASS),
            left_out(2),
            left_out(3),
            left_out(4),
            command(5, POISON),
            left_out(5),
            command(6, BYPASS),
        ]);
        let (quarantined, bypassed) = findings.show();
        assert_eq!(
            quarantined,
            json!([
                { "command": 2, "what": "a patch" },
                { "command": 5, "what": "q of \"filter\" to 0.5" },
            ])
        );
        let names = bypassed.as_array().into_iter().flatten();
        let names: Vec<&Value> = names.map(|entry| &entry["module"]).collect();
        assert_eq!(names, ["\"adsr\"", "\"filter\""]);
    }
}
