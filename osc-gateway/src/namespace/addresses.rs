//! The table of OSC addresses: the arguments of each, and what it does.
//!
//! The parser refuses an address that is not in the table, errors name the arguments that stand here, address patterns match these
//! addresses, and `/engine/schema` replies with these rows. Tests compare the table with the parser and with `docs/reference`.
//!
//! Arguments are written as `i:NAME` (an integer), `f:NAME` (a number), `s:NAME` (a string), `NAME` (a name or a number) or as words
//! to choose from, such as `gate|note`. A range stands after a name or replaces it. Brackets enclose optional arguments, `…` follows
//! repeated ones.

#[cfg(test)]
mod documented;
#[cfg(test)]
mod parsed;

use super::listed;
use crate::decode::Value;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The address; `ID` stands for a module, `PARAM` for one of its parameters.
    pub address: &'static str,
    /// The arguments, in the notation of the file's head.
    pub takes: &'static str,
    /// What a message to the address does, in Markdown.
    pub does: &'static str,
    /// The arguments in an error, where their names would say too little.
    in_words: Option<&'static str>,
}

/// Addresses of each parameter of each module; `/engine/schema` also replies with the ranges and units.
#[rustfmt::skip]
pub(super) const OF_PARAMS: &[Entry] = &[
    row("/mod/ID/PARAM", "f:VALUE [f:MS]", "Set a parameter, at once or in that time.")
        .in_words("a number, and optionally a time in milliseconds"),
    row("/knob/ID/PARAM", "f:0 to 1", "Set a parameter by the position of a knob over its whole range.")
        .in_words("one number from 0 to 1"),
];

/// Addresses of each module that accepts a gate.
#[rustfmt::skip]
pub(super) const OF_GATES: &[Entry] = &[
    row("/gate/ID", "f:0 to 1", "Open or close a gate. A level between 0 and 1 opens the gate with that velocity.")
        .in_words("a number from 0 to 1, T, F, \"on\" or \"off\""),
];

/// Addresses of each module that plays notes.
#[rustfmt::skip]
pub(super) const OF_NOTES: &[Entry] = &[
    row("/note/ID", "PITCH f:VELOCITY 0 to 127 [f:MS]", "Play a note; with MS, for that many milliseconds. Velocity 0 ends it.")
        .in_words("/note/ID PITCH VELOCITY [MS], for example /note/keys C4 100 or /note/keys 60 100 250"),
    row("/express/ID", "bend|pressure|timbre f:VALUE [PITCH]", "Change the note of that pitch, or all notes.")
        .in_words("/express/ID bend|pressure|timbre VALUE [PITCH], for example /express/keys bend 0.5 C4"),
];

/// Addresses that contain no module.
#[rustfmt::skip]
pub(super) const FIXED: &[Entry] = &[
    row("/pattern/chain", "s:ID [s:NAME i:BARS …]",
        "Play saved patterns in turn, changing at the bar; without names, the sequence's pattern."),
    row("/pattern/list", "", "One `/pattern/list.reply` for each saved pattern, with its number and the number of patterns."),
    row("/pattern/load", "s:NAME s:ID", "Let a sequence play a saved pattern."),
    row("/pattern/remove", "s:NAME", "Remove a saved pattern."),
    row("/pattern/save", "s:NAME s:ID", "Save what a sequence plays under a name."),
    row("/seq/add", "s:ID s:MODULE s:PATTERN [NOTES…]",
        "Create a sequence. It starts at the next bar; with notes it plays them, else the gate."),
    row("/seq/assign", "s:ID gate|note|param s:MODULE [s:PARAM]", "Add a target. `param` needs PARAM.")
        .in_words("ID gate|note MODULE, or ID param MODULE PARAM"),
    row("/seq/bpm", "s:ID f:BPM", "Set the tempo from the next step on, 1 to 999."),
    row("/seq/config", "s:ID f:BPM i:STEPS i:DIVISION",
        "Set tempo, length and division; see `/seq/bpm`, `/seq/length`, `/seq/division`."),
    row("/seq/create", "s:ID", "Create a stopped, empty sequence."),
    row("/seq/division", "s:ID i:DIVISION", "Set the steps in a whole note: 16 for sixteenths."),
    row("/seq/gate_len", "s:ID f:FRACTION", "Set how long a gate stays open, as a fraction of the step."),
    row("/seq/length", "s:ID i:STEPS", "Set the number of steps after which the pattern repeats."),
    row("/seq/list", "", "One `/seq/list.reply` for each sequence, with its number and the number of sequences."),
    row("/seq/notes", "s:ID [NOTES…]", "Set the notes: one for each hit, repeated."),
    row("/seq/param_lane", "s:ID s:PARAM [f:VALUES…]", "Set the values of a parameter, one for each step, repeated."),
    row("/seq/pattern", "s:ID s:PATTERN", "Set the pattern and keep the notes."),
    row("/seq/probability", "s:ID [f:CHANCES…]",
        "Set how likely each step's hit is, 0 to 1, one value for each step, repeated."),
    row("/seq/ratchet", "s:ID [i:TIMES…]",
        "Set how often each step's hit repeats within the step, 1 to 8, one value for each step, repeated."),
    row("/seq/remove", "s:ID", "Remove a sequence."),
    row("/seq/reset", "s:ID", "Return to the first step, at once or at the frame of a bundle's time tag."),
    row("/seq/reset_all", "", "Return all sequences to their first step at the same frame."),
    row("/seq/rotate", "s:ID i:STEPS", "Rotate the pattern to the right."),
    row("/seq/seed", "s:ID i:NUMBER", "Set the seed of the probabilities."),
    row("/seq/start", "s:ID [bar]",
        "Start at once or at the frame of a bundle's time tag; with `bar`, with the next bar of the others."),
    row("/seq/stop", "s:ID", "Stop, at once or at the frame of a bundle's time tag."),
    row("/seq/swing", "s:ID f:PART", "Delay every second step by this part of a step, 0 to 0.75."),
    row("/seq/unassign", "s:ID s:MODULE", "Remove a target."),
    row("/seq/update", "s:ID s:PATTERN [NOTES…]", "Replace the pattern from the next step on."),
    row("/patch/abort", "", "Discard the collected edits."),
    row("/patch/commit", "[force]", "Apply all collected edits together.")
        .in_words("no argument or \"force\""),
    row("/patch/connect", "s:SRC s:DST [frame]", "Connect a cable. Each end is `ID` (the first port) or `ID.PORT`.")
        .in_words("two strings, SRC DST, each `id` or `id.port`, and optionally \"frame\""),
    row("/patch/create", "s:ID s:TYPE", "Create a module.")
        .in_words("two strings, ID TYPE"),
    row("/patch/disconnect", "s:SRC s:DST", "Remove a cable.")
        .in_words("two strings, SRC DST, each `id` or `id.port`"),
    row("/patch/remove", "s:ID", "Remove a module with its cables and presets.")
        .in_words("one string, ID"),
    row("/engine/list", "", "Answered by `/engine/list.reply`: id and type of each module."),
    row("/engine/schema", "",
        "One `/engine/address.reply` for each address, then one `/engine/schema.reply` for each parameter."),
    row("/engine/start", "", "Play."),
    row("/engine/status", "", "Answered by `/engine/status.reply` with JSON, as `understudy status --json` prints it."),
    row("/engine/stop", "", "Fade out."),
    row("/midi/clock", "i:TICK f:BPM", "Report the position and tempo of the clock."),
    row("/midi/continue", "", "Start all sequences where they are."),
    row("/midi/panic", "", "Silence everything at once and stop all sequences."),
    row("/midi/play", "i:TICK [f:BPM]", "Start all sequences at this tick of the song; 24 ticks make a beat."),
    row("/midi/silence", "", "Silence everything at once, including reverbs and echoes."),
    row("/midi/start", "", "Start all sequences from their first step."),
    row("/midi/stop", "", "Stop all sequences."),
    row("/midi/tempo", "f:BPM", "Set the tempo of all sequences, without a phase."),
    row("/notify", "i:0|1", "Stop (0) or start (1) the `/done` replies.")
        .in_words("0 or 1"),
    row("/preset/list", "[s:MODULE]", "Answered by `/preset/list.reply` with JSON."),
    row("/preset/load", "s:MODULE s:NAME [f:MS]", "Set the module to a preset, at once or in that time."),
    row("/preset/morph", "s:MODULE s:A s:B f:POSITION [f:MS]", "Set the module between two presets: 0 is A, 1 is B."),
    row("/preset/save", "s:MODULE s:NAME", "Save the module's parameters as a preset in the patch."),
    row("/record/start", "[s:NAME]", "Start a recording.")
        .in_words("a name or no argument"),
    row("/record/status", "", "Answered by `/record/status.reply` with JSON."),
    row("/record/stop", "", "End the recording."),
    row("/sync", "i:NUMBER", "Answered by `/synced` with the same integer.")
        .in_words("one integer"),
    row("/test", "", "Set the patch's first `sine` to 440 Hz and open the gate of its first `adsr`."),
];

const fn row(address: &'static str, takes: &'static str, does: &'static str) -> Entry {
    Entry {
        address,
        takes,
        does,
        in_words: None,
    }
}

/// All rows, in the order in which `/engine/schema` replies with them.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [OF_PARAMS, OF_GATES, OF_NOTES, FIXED].into_iter().flatten()
}

/// The row of an address that is split at its slashes.
pub(super) fn find(parts: &[&str]) -> Option<&'static Entry> {
    all().find(|entry| entry.matches(parts))
}

/// The rows of a family: the addresses with the same first part.
pub(super) fn family(name: &str) -> impl Iterator<Item = &'static Entry> {
    all().filter(move |entry| entry.family() == name)
}

/// The addresses of a family with their arguments, for an error.
pub(super) fn usages(name: &str) -> String {
    let usages: Vec<String> = family(name).map(Entry::usage).collect();
    usages.join(", ")
}

/// The addresses as briefly as an error needs them: `/seq/…` for a whole family.
pub(super) fn outline() -> String {
    let brief =
        |entry: &Entry| match entry.address.contains("/ID") || entry.verb() == entry.family() {
            true => entry.address.to_owned(),
            false => format!("/{}/…", entry.family()),
        };
    let mut outline: Vec<String> = all().map(brief).collect();
    outline.dedup();
    outline.join(", ")
}

impl Entry {
    const fn in_words(self, words: &'static str) -> Self {
        Self {
            in_words: Some(words),
            ..self
        }
    }

    /// The first part of the address, such as `seq`.
    pub(super) fn family(&self) -> &'static str {
        self.address.split('/').nth(1).unwrap_or_default()
    }

    /// The last part of the address, such as `start`.
    pub(super) fn verb(&self) -> &'static str {
        self.address.rsplit('/').next().unwrap_or_default()
    }

    fn matches(&self, parts: &[&str]) -> bool {
        let mut known = self.address.split('/').skip(1);
        let same = |part: &&str| {
            known
                .next()
                .is_some_and(|own| matches!(own, "ID" | "PARAM") || own == *part)
        };
        parts.iter().all(same) && known.next().is_none()
    }

    /// The names of the arguments, without their types.
    fn names(&self) -> String {
        let types = ["i:", "f:", "s:"];
        let takes = self.takes.to_owned();
        types
            .into_iter()
            .fold(takes, |takes, kind| takes.replace(kind, ""))
    }

    fn usage(&self) -> String {
        format!("{} {}", self.address, self.names())
            .trim_end()
            .to_owned()
    }

    /// The error for wrong arguments.
    pub(super) fn wrong(&self, args: &[Value]) -> String {
        let names = || match self.takes.is_empty() {
            true => "no argument".to_owned(),
            false => self.names(),
        };
        let expected = self.in_words.map_or_else(names, str::to_owned);
        format!("got {} (expected {expected})", listed(args))
    }
}
