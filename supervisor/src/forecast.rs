//! The measured costs of the modules of the patch in force, and from them the predicted cost of an edit
//! (`engine::cost`).
//!
//! Each worker measures in its slot of the stage. The measurements are stored by type, since there are none right after
//! an edit.

use anyhow::Result;
use common::stage::{AudioFormat, BlockCosts, Stage};
use engine::{
    Config, Engine,
    cost::{self, Costs},
    patch::Checked,
};

/// See the file's head.
pub struct Forecast {
    costs: Costs,
    config: Config,
    /// Whether the stack runs without a clock; no load is then too high.
    freewheel: bool,
}

impl Forecast {
    /// A forecast without measurements.
    pub fn new(format: AudioFormat) -> Self {
        Self {
            costs: Costs::default(),
            config: format.into(),
            freewheel: format.freewheel,
        }
    }

    /// Takes the measurements of the patch that is played.
    pub fn learn(&mut self, stage: &Stage<'_>, playing: &Checked) {
        if let Some(costs) = measured(stage, playing, self.config) {
            self.costs.learn(playing, self.config, &costs);
        }
    }

    /// The note on the load for the sender of an edit, if any.
    ///
    /// # Errors
    /// If the predicted load is too high and the edit is not forced.
    pub fn weigh(
        &self,
        stage: &Stage<'_>,
        next: &Checked,
        playing: &Checked,
        forced: bool,
    ) -> Result<Option<String>> {
        if self.freewheel {
            return Ok(None);
        }
        let predict = |patch| self.costs.predict(patch, self.config);
        let next = predict(next);
        if next <= cost::TOLD_PERCENT {
            return Ok(None); // no more of the prediction is trusted
        }
        let before = predict(playing);
        let share = share_of(before, shown(stage));
        cost::judge(next * share, before * share, forced).map_err(anyhow::Error::msg)
    }
}

/// Below this prediction, in percent of a core, the measured load does not confirm or refute it.
const SUBSTANTIAL: f64 = 50.0;

/// The trusted share of a prediction: no more than the measured cost of the patch in force.
fn share_of(predicted: f64, shown: f64) -> f64 {
    match predicted > SUBSTANTIAL && shown < predicted {
        true => shown / predicted,
        false => 1.0,
    }
}

/// The leader's time for a block, in percent of the block.
fn shown(stage: &Stage<'_>) -> f64 {
    let leader = stage.slot(stage.preference().slot);
    leader.mean_ns() as f64 * 100.0 / stage.format().block_ns().max(1) as f64
}

/// The measurements of the leader for a patch, otherwise those of the follower.
pub fn measured(stage: &Stage<'_>, playing: &Checked, config: Config) -> Option<BlockCosts> {
    let patch = playing.patch();
    let fingerprint = Engine::fingerprint_of(patch, config);
    let leader = stage.preference().slot;
    let mut tables = [leader, leader.other()].into_iter();
    tables.find_map(|slot| stage.costs(slot).read(fingerprint, patch.modules.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_of_what_plays_is_not_believed_beyond_what_is_seen() {
        assert_eq!(share_of(120.0, 30.0), 0.25);
        assert_eq!(share_of(120.0, 130.0), 1.0);
        assert_eq!(share_of(20.0, 5.0), 1.0, "a small patch says little");
    }
}
