//! The simulated trial: does what `understudy-worker` does with `--task`.

use common::{
    ring::checksum,
    stage::{Breadcrumb, Decision, Phase},
    units::{BlockIndex, Incarnation, Seq, Slot},
};
use failover::trial::{Case, End, Modules};

use crate::{
    music::{Nature, Rendered, State},
    world::{Event, FIRST, News, World},
};

/// A trial under way.
#[derive(Debug)]
pub struct TrialRun {
    pub life: Incarnation,
    case: Case,
}

impl World<'_> {
    /// The launcher starts the trial.
    pub(crate) fn trial_starts(&mut self, life: Incarnation, case: Case) {
        self.stage.trial().take_seat(life, BlockIndex(0), Seq(0));
        self.trial = Some(TrialRun { life, case });
        let delay = 500 + self.dice.below(3_000);
        self.clock.after(delay, Event::Trial(life));
    }

    /// The supervisor kills the trial.
    pub(crate) fn trial_killed(&mut self, life: Incarnation) {
        if self.trial.as_ref().is_some_and(|t| t.life == life) {
            self.trial_ends(life, End::Outside);
        }
    }

    fn trial_ends(&mut self, life: Incarnation, end: End) {
        self.trial = None;
        self.news.push_back(News::TrialEnded(life, end));
        let delay = 100 + self.dice.below(2_000);
        self.clock.after(delay, Event::News(self.supervisors));
    }

    /// Runs the whole trial in one step: nobody hears it, so its timing within the step does not matter.
    pub(crate) fn trial_steps(&mut self, life: Incarnation) {
        let Some(run) = self.trial.as_ref().filter(|t| t.life == life) else {
            return;
        };
        let end = match run.case {
            Case::Commands {
                after, bypassing, ..
            } => self.tries(after, self.log.last(), bypassing),
            Case::Differing { block, .. } => self.referees(block),
        };
        if let Some(end) = end {
            self.trial_ends(life, end);
        }
    }

    /// Tries commands; `None` if the trial hangs.
    fn tries(&mut self, after: Seq, last: Seq, bypassing: Modules) -> Option<End> {
        let newest = self.restore(|_, seq| seq <= after, false);
        let (mut block, mut seq, mut state) = newest;
        let frontier = Slot::ALL
            .map(|s| self.stage.slot(s).frontier())
            .into_iter()
            .max()?;
        while block < frontier {
            match self.stage.decision(block, seq) {
                Decision::Made {
                    seq: to,
                    sealed: true,
                } if to <= after => {
                    self.apply_to(&mut state, &mut seq, to, block);
                }
                _ => break,
            }
            if let Rendered::Death(module) = state.render(block, self.plan.fragile_at) {
                return Some(End::Died(seq, module));
            }
            block = block.next();
        }
        self.apply_to(&mut state, &mut seq, after, block);
        bypassing.iter().for_each(|module| state.bypass(module));
        let (mut control, mut at) = (state, block);
        for _ in 0..16 * (last.0 - after.0) {
            if let Rendered::Death(module) = control.render(at, self.plan.fragile_at) {
                return Some(End::Died(seq, module));
            }
            at = at.next();
        }
        while seq < last {
            seq = seq.next();
            self.stage.trial().drop_breadcrumb(Breadcrumb {
                block,
                phase: Phase::Applying,
                module: 0,
                command: seq,
            });
            let Some(command) = self.log.command(seq) else {
                return Some(End::Outside);
            };
            if !self.stage.quarantined(seq) {
                match command.nature {
                    Nature::CrashOnApply | Nature::CrashOnRender => return Some(End::Died(seq, 0)),
                    Nature::HangOnApply => return None,
                    _ => state.apply(seq, command, block),
                }
            }
            for _ in 0..16 {
                if let Rendered::Death(module) = state.render(block, self.plan.fragile_at) {
                    return Some(End::Died(seq, module));
                }
                block = block.next();
            }
        }
        Some(End::Passed(None))
    }

    /// The referee renders the block a third time.
    fn referees(&self, wanted: BlockIndex) -> Option<End> {
        let (mut block, mut seq, mut state) = self.restore(|block, _| block <= wanted, true);
        loop {
            let Decision::Made {
                seq: to,
                sealed: true,
            } = self.stage.decision(block, seq)
            else {
                return Some(End::Outside);
            };
            self.apply_to(&mut state, &mut seq, to, block);
            match state.render(block, self.plan.fragile_at) {
                Rendered::Sound(samples) if block == wanted => {
                    return Some(End::Passed(Some(checksum(block, to, &samples))));
                }
                Rendered::Sound(_) => block = block.next(),
                Rendered::Death(module) => return Some(End::Died(seq, module)),
            }
        }
    }

    /// The newest checkpoint that fits, or the oldest one; otherwise the initial state.
    fn restore(
        &self,
        fits: impl Fn(BlockIndex, Seq) -> bool,
        oldest: bool,
    ) -> (BlockIndex, Seq, State) {
        let whole = self.checkpoints.iter().flatten().flatten().copied();
        let fitting = whole.filter(|(block, seq, _)| fits(*block, *seq));
        let found = match oldest {
            true => fitting.min_by_key(|(block, ..)| *block),
            false => fitting.max_by_key(|(block, ..)| *block),
        };
        found.unwrap_or((BlockIndex(0), FIRST, State::default()))
    }

    fn apply_to(&self, state: &mut State, seq: &mut Seq, to: Seq, block: BlockIndex) {
        while *seq < to {
            *seq = seq.next();
            if let Some(command) = self.log.command(*seq)
                && !self.stage.quarantined(*seq)
            {
                state.apply(*seq, command, block);
            }
        }
    }
}
