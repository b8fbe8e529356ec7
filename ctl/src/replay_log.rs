//! Rendering a command log again: the same commands before the same blocks give the same samples.
//!
//! Used by `replay`, `demo` and the tests. It knows what a worker knows: patch, commands, and for
//! each block which commands are in. It needs no stack, no clock and no audio.

use common::{
    command::Command,
    command_log::{self, LogError, Record},
    stage::Shape,
    units::{BlockIndex, Seq},
};
use engine::{
    Config, Engine, RestoreError,
    patch::{Patch, PatchError},
};

/// Why a log could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is no log, or one of a newer program.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The first command is missing or no patch.
    #[error("the command log does not begin with a patch: it is of an instance that never started")]
    NoPatch,
    /// A patch that this build does not play.
    #[error("the patch of command {0} cannot be played by this build: {1}")]
    Patch(Seq, PatchError),
    /// The state of a resumed instance does not fit.
    #[error("the state that the instance resumed from does not fit its patch: {0}")]
    State(#[from] RestoreError),
    /// A command is in, but not in the log.
    #[error("command {0} is in the sound of block {1}, but not in the log")]
    Missing(Seq, BlockIndex),
}

/// What was rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The shape of the sound.
    pub shape: Shape,
    /// Blocks rendered, from block 0 on.
    pub blocks: u64,
    /// Commands that were in by the end, the first patch included.
    pub commands: u64,
}

/// The parts of a log.
struct Parts {
    commands: Vec<(Seq, Command)>,
    decisions: Vec<(BlockIndex, Seq)>,
    start: Option<(Seq, Vec<u8>)>,
    end: BlockIndex,
}

impl Parts {
    fn read(bytes: &[u8]) -> Self {
        let mut parts = Self {
            commands: Vec::new(),
            decisions: Vec::new(),
            start: None,
            end: BlockIndex(0),
        };
        for (_, record) in command_log::records(bytes) {
            match record {
                Record::Head { .. } => {}
                Record::Command { seq, command } => parts.commands.push((seq, command)),
                Record::Decision { block, seq } => parts.decisions.push((block, seq)),
                Record::State { block, seq, arena } => {
                    if block == BlockIndex(0) && parts.start.is_none() {
                        parts.start = Some((seq, arena));
                    }
                }
                Record::Progress { block } => parts.end = parts.end.max(block),
            }
        }
        parts
    }
}

/// Renders a log from block 0 to the last block that it knows to have been played, and hands each
/// block to `each_block`, interleaved.
///
/// # Errors
/// When it is no log, or its commands are not whole.
pub fn replay(bytes: &[u8], mut each_block: impl FnMut(&[f32])) -> Result<Replayed, ReplayError> {
    let shape = command_log::head(bytes)?;
    let config = Config {
        rate_hz: shape.rate_hz,
        block_frames: shape.block_frames,
        channels: shape.channels,
    };
    let parts = Parts::read(bytes);
    let mut commands = parts.commands.iter().peekable();
    let Some((first, Command::Patch(json))) = commands.next() else {
        return Err(ReplayError::NoPatch);
    };
    let mut engine = load(*first, json, config)?;
    let mut applied = *first;
    if let Some((seq, arena)) = &parts.start {
        engine.restore(arena)?;
        applied = applied.max(*seq);
    }
    let mut decisions = parts.decisions.iter().peekable();
    let mut in_force = applied;
    let mut samples = vec![0.0; shape.block_samples()];
    for number in 0..parts.end.0 {
        let block = BlockIndex(number);
        while let Some((_, seq)) = decisions.next_if(|(from, _)| *from <= block) {
            in_force = in_force.max(*seq);
        }
        while let Some((seq, command)) = commands.next_if(|(seq, _)| *seq <= in_force) {
            // What a resumed state already holds, or what was written twice.
            if *seq <= applied {
                continue;
            }
            if *seq != applied.next() {
                return Err(ReplayError::Missing(applied.next(), block));
            }
            match command {
                Command::Event(event) => engine.apply(event),
                Command::Patch(json) => {
                    let mut new = load(*seq, json, config)?;
                    new.adopt(&engine);
                    engine = new;
                }
            }
            applied = *seq;
        }
        if applied < in_force {
            return Err(ReplayError::Missing(applied.next(), block));
        }
        engine.render(&mut samples, &mut |_| {});
        each_block(&samples);
    }
    Ok(Replayed {
        shape,
        blocks: parts.end.0,
        commands: applied.0,
    })
}

fn load(seq: Seq, json: &str, config: Config) -> Result<Engine, ReplayError> {
    Patch::from_json(json)
        .and_then(|patch| Engine::new(&patch, config))
        .map_err(|e| ReplayError::Patch(seq, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::command::Event;

    const SHAPE: Shape = Shape {
        rate_hz: 48_000,
        block_frames: 64,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };
    const GATE: Event = Event::Gate {
        module: 1,
        level: 1.0,
    };

    fn log(records: &[Record]) -> Vec<u8> {
        let head = Record::Head {
            version: command_log::VERSION,
            shape: SHAPE,
        };
        let all = std::iter::once(&head).chain(records);
        all.flat_map(command_log::encode).collect()
    }

    fn command(seq: u64, command: Command) -> Record {
        Record::Command {
            seq: Seq(seq),
            command,
        }
    }

    fn decision(block: u64, seq: u64) -> Record {
        Record::Decision {
            block: BlockIndex(block),
            seq: Seq(seq),
        }
    }

    fn fresh() -> Engine {
        let config = Config {
            rate_hz: 48_000,
            block_frames: 64,
            channels: 2,
        };
        Engine::new(&Patch::default_patch(), config).unwrap()
    }

    #[test]
    fn commands_come_in_before_the_block_that_was_decided() {
        let text = Patch::default_patch().to_json();
        let bytes = log(&[
            command(1, Command::Patch(text.clone())),
            command(2, Command::Event(GATE)),
            command(3, Command::Patch(text)),
            decision(2, 2),
            decision(5, 3),
            Record::Progress {
                block: BlockIndex(9),
            },
        ]);
        let mut heard = Vec::new();
        let done = replay(&bytes, |block| heard.extend_from_slice(block)).unwrap();
        assert_eq!((done.blocks, done.commands), (9, 3));

        let mut engine = fresh();
        let mut expected = Vec::new();
        let mut block = vec![0.0; SHAPE.block_samples()];
        for number in 0..9 {
            if number == 2 {
                engine.apply(&GATE);
            }
            if number == 5 {
                let mut new = fresh();
                new.adopt(&engine);
                engine = new;
            }
            engine.render(&mut block, &mut |_| {});
            expected.extend_from_slice(&block);
        }
        assert_eq!(heard, expected);
        assert!(heard.iter().any(|sample| *sample != 0.0));
    }

    #[test]
    fn a_resumed_instance_begins_where_it_was() {
        let mut engine = fresh();
        engine.apply(&GATE);
        let mut block = vec![0.0; SHAPE.block_samples()];
        engine.render(&mut block, &mut |_| {});
        let bytes = log(&[
            command(1, Command::Patch(Patch::default_patch().to_json())),
            Record::State {
                block: BlockIndex(0),
                seq: Seq(1),
                arena: engine.arena().to_vec(),
            },
            Record::Progress {
                block: BlockIndex(1),
            },
        ]);
        engine.render(&mut block, &mut |_| {});
        replay(&bytes, |heard| assert_eq!(heard, block)).unwrap();
    }

    #[test]
    fn what_is_no_whole_log_is_refused() {
        let end = Record::Progress {
            block: BlockIndex(3),
        };
        assert!(matches!(
            replay(b"nonsense", |_| {}),
            Err(ReplayError::Log(LogError::NoHead))
        ));
        assert!(matches!(
            replay(&log(std::slice::from_ref(&end)), |_| {}),
            Err(ReplayError::NoPatch)
        ));
        let patch = command(1, Command::Patch(Patch::default_patch().to_json()));
        assert!(matches!(
            replay(&log(&[patch, decision(1, 4), end]), |_| {}),
            Err(ReplayError::Missing(Seq(2), BlockIndex(1)))
        ));
    }
}
