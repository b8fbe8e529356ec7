//! A trial: a worker whose output is not played. It tries commands that may be poison, or acts as
//! the referee and renders a block a third time. It starts from a checkpoint and does what the
//! workers did.
//!
//! The result is the way the trial ends: exit code 0, or the death that the commands cause. Its
//! breadcrumb and its verdict are in shared words of its own.

use anyhow::{Result, bail, ensure};
use common::{
    checkpoint::Mark,
    command::{Command, Event},
    message::Numbered,
    ring::checksum,
    stage::{Breadcrumb, Decision, Phase, SlotWords, Stage},
    units::{BlockIndex, Incarnation, Seq},
};
use engine::Engine;
use platform::{realtime, samples::Samples, shared::Shared};

use crate::{catch_up, failpoints::Failpoints, log_tail::LogTail};

/// How many blocks are rendered after each command: some commands do harm only later.
const BLOCKS_EACH: u64 = 16;
/// Before any command is tried, as many blocks are rendered without the commands, since some
/// failures need no command. This is the limit, as a number of commands.
const CONTROLLED_MAX: u64 = 256;

/// The question that a trial answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Does one of the commands after `after`, up to `last`, do harm?
    Commands {
        after: Seq,
        last: Seq,
        bypassing: Vec<u16>,
    },
    /// What is the checksum of that block?
    Referee(BlockIndex),
}

impl std::str::FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|e| e.to_string());
        match text.split(':').collect::<Vec<_>>().as_slice() {
            ["commands", after, last, modules] => Ok(Self::Commands {
                after: Seq(number(after)?),
                last: Seq(number(last)?),
                bypassing: modules
                    .split(',')
                    .filter(|module| !module.is_empty())
                    .map(|module| module.parse::<u16>().map_err(|e| e.to_string()))
                    .collect::<Result<_, _>>()?,
            }),
            ["referee", block] => Ok(Self::Referee(BlockIndex(number(block)?))),
            _ => Err("expected the task commands:AFTER:LAST:MODULE,… or referee:BLOCK".into()),
        }
    }
}

/// Performs the task.
///
/// # Errors
/// When there is no checkpoint or log to start from.
pub fn run(
    shared: &Shared,
    mut log: LogTail,
    samples: &Samples,
    incarnation: Incarnation,
    task: Task,
) -> Result<()> {
    let stage = shared.stage;
    let seat = stage.trial();
    seat.take_seat(incarnation, BlockIndex(0), Seq(0));
    crate::end_at_a_panic(seat);
    realtime::flush_denormals();
    let start = match task {
        Task::Commands { after, .. } => catch_up::start_from(shared, &mut log, samples, |mark| {
            (mark.seq <= after).then_some(mark.block)
        })?,
        // The oldest checkpoint is the least likely to contain the error that the referee looks
        // for.
        Task::Referee(block) => catch_up::start_from(shared, &mut log, samples, |mark| {
            (mark.block <= block).then_some(std::cmp::Reverse(mark.block))
        })?,
    };
    let mut trial = Trial {
        recordings: samples,
        stage,
        seat,
        failpoints: Failpoints::from_environment(incarnation),
        engine: start.engine,
        mark: start.mark,
        frontier: start.frontier,
        commands: start.commands.into_iter().peekable(),
        samples: vec![0.0; stage.format().block_samples()],
    };
    match task {
        Task::Commands {
            after,
            last,
            bypassing,
        } => trial.try_commands(after, last, &bypassing),
        Task::Referee(block) => trial.referee(block),
    }
}

struct Trial<'a> {
    recordings: &'a Samples,
    stage: Stage<'static>,
    seat: SlotWords<'static>,
    failpoints: Failpoints,
    engine: Box<Engine>,
    mark: Mark,
    frontier: BlockIndex,
    commands: std::iter::Peekable<std::vec::IntoIter<Numbered>>,
    samples: Vec<f32>,
}

impl Trial<'_> {
    fn referee(&mut self, block: BlockIndex) -> Result<()> {
        ensure!(self.mark.block <= block, "no checkpoint is old enough");
        loop {
            let Decision::Made { seq, sealed: true } =
                self.stage.decision(self.mark.block, self.mark.seq)
            else {
                bail!("the decision of block {} is lost", self.mark.block);
            };
            self.apply(seq)?;
            self.render();
            if self.mark.block > block {
                self.seat
                    .give_verdict(block, checksum(block, seq, &self.samples));
                return Ok(());
            }
        }
    }

    fn try_commands(&mut self, after: Seq, last: Seq, bypassing: &[u16]) -> Result<()> {
        while self.mark.block < self.frontier {
            match self.stage.decision(self.mark.block, self.mark.seq) {
                Decision::Made { seq, sealed: true } if seq <= after => self.apply(seq)?,
                _ => break,
            }
            self.render();
        }
        self.apply(after)?;
        for module in bypassing {
            self.engine.apply(&Event::Bypass(*module));
        }
        let (arena, mark) = (self.engine.arena().to_vec(), self.mark);
        for _ in 0..(last.0 - after.0).min(CONTROLLED_MAX) {
            self.render_some();
        }
        self.engine.restore(&arena)?;
        self.mark = mark;
        while self.mark.seq < last {
            self.apply(self.mark.seq.next())?;
            self.render_some();
        }
        Ok(())
    }

    fn render_some(&mut self) {
        for _ in 0..BLOCKS_EACH {
            self.render();
        }
    }

    /// Applies the commands up to `seq`, in order, except those in quarantine.
    fn apply(&mut self, seq: Seq) -> Result<()> {
        while let Some(next) = self.commands.next_if(|next| next.seq <= seq) {
            self.mark.seq = next.seq;
            self.breadcrumb(Phase::Applying, 0);
            if self.stage.quarantined(next.seq) {
                continue;
            }
            match next.command {
                Command::Event(event) => {
                    self.failpoints.apply(&event);
                    self.engine.apply(&event);
                }
                Command::At { frame, event } => {
                    self.failpoints.apply(&event);
                    self.engine.apply_at(frame, &event);
                }
                Command::Draft(_) | Command::SavePreset(_) => {}
                Command::Patch(ref json) | Command::Edited(ref json) => {
                    let config = self.engine.config();
                    let mut engine = Box::new(catch_up::build(json, config, self.recordings)?);
                    match next.command {
                        Command::Edited(_) => engine.adopt_edited(&self.engine),
                        _ => engine.adopt(&self.engine),
                    }
                    self.engine = engine;
                }
            }
        }
        ensure!(self.mark.seq >= seq, "command {seq} is not in the log");
        Ok(())
    }

    fn render(&mut self) {
        let (seat, mark) = (self.seat, self.mark);
        let failpoints = &self.failpoints;
        let mut trace = |module| {
            seat.drop_breadcrumb(Breadcrumb {
                block: mark.block,
                phase: Phase::Rendering,
                module,
                command: mark.seq,
            });
            failpoints.render(mark.block, module);
        };
        self.engine.render(&mut self.samples, &mut trace);
        self.mark.block = self.mark.block.next();
        self.breadcrumb(Phase::Idle, 0);
    }

    fn breadcrumb(&self, phase: Phase, module: u16) {
        self.seat.drop_breadcrumb(Breadcrumb {
            block: self.mark.block,
            phase,
            module,
            command: self.mark.seq,
        });
    }
}
