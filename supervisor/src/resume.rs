//! `--resume`: the patch and the state that the last run of the instance ended with, from its newest state or segment.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use common::command_log::{self, Preamble, Reader};
use engine::{
    patch::Patch,
    replay::{Replay, ReplayError},
};
use platform::{paths::Paths, samples::Samples, segments};

use crate::{account::DAMAGED, log, states::StateFile};

/// The end of the newest logged run; without an arena if only its patch can be used. `None`, with a log line, without
/// such a run.
pub fn resume(paths: &Paths) -> Result<Option<(Patch, Vec<u8>)>> {
    let say = |text: &str| platform::say::line("supervisor", text);
    let closed = segments::closed(paths).into_iter().rev().map(|c| c.path);
    let mut newest_first: Vec<PathBuf> =
        std::iter::once(paths.command_log()).chain(closed).collect();
    // After damage or a power cut the previous segment may reach further.
    if let [newest, before, ..] = &newest_first[..]
        && log::may_go_further(before, newest)
        && let (Some((run, end)), Some((same, further))) = (log::end(newest), log::end(before))
        && run == same
        && further > end
    {
        say(&format!(
            "{} ends before {}; the latter is resumed",
            newest.display(),
            before.display()
        ));
        newest_first.swap(0, 1);
    }
    for path in newest_first {
        let Some((head, length)) = log::head_of(&path) else {
            say(&format!("{} holds no run to resume", path.display()));
            continue;
        };
        platform::realtime::flush_denormals();
        for state in StateFile::of(paths, head, length) {
            let Ok([state, rest]) = state.read(&path, head) else {
                continue;
            };
            match replay_of(&[&state, &rest], paths) {
                Ok(replay) if !replay.is_past_its_end() => {
                    return rendered(replay, &rest).map(Some);
                }
                Err(why @ ReplayError::OtherBuild { .. }) => {
                    return patch_alone(&state, &why).map(Some);
                }
                _ => {}
            }
        }
        let bytes = fs::read(&path)?;
        let replay = match replay_of(&[&bytes], paths) {
            Err(ReplayError::NoPatch) => {
                say(&format!("{} is damaged at its beginning", path.display()));
                continue;
            }
            Err(why @ ReplayError::OtherBuild { .. }) => {
                return patch_alone(&bytes, &why).map(Some);
            }
            read => read.context("the last run cannot be resumed; start without --resume")?,
        };
        return rendered(replay, &bytes).map(Some);
    }
    say("there is no run to resume: the instance has not run before");
    Ok(None)
}

/// The patch of a state that another build has written; nothing else of the state can be used.
fn patch_alone(state: &[u8], why: &ReplayError) -> Result<(Patch, Vec<u8>)> {
    let text = format!("{why}; the patch is used, the state of its modules is reset");
    platform::say::line("supervisor", &text);
    let preamble = Preamble::read(&mut Reader::without_arenas(state))?;
    let known = preamble.context(DAMAGED)?.segment;
    Ok((Patch::from_json(&known.patch)?, Vec::new()))
}

fn replay_of(pieces: &[&[u8]], paths: &Paths) -> Result<Replay, ReplayError> {
    let samples = Samples::within(paths.samples());
    let replay = Replay::of_pieces(pieces, Box::new(move |id| samples.find(id)))?;
    Ok(replay.to_last_decision())
}

/// The end of a run; `last` are its last bytes.
fn rendered(mut replay: Replay, last: &[u8]) -> Result<(Patch, Vec<u8>)> {
    let mut records = command_log::records(last);
    records.by_ref().for_each(drop);
    log::tell_torn(last.len() as u64 - records.offset());
    let mut block = vec![0.0; replay.format().block_samples()];
    while replay.next(&mut block)? {}
    if !replay.has_end() {
        platform::say::line(
            "supervisor",
            &format!(
                "the last run was cut off; it is resumed at its last decision, block {}",
                replay.block()
            ),
        );
    }
    replay.apply_rest()?;
    Ok(replay.into_state())
}
