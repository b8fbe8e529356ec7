//! What the modules of the patch in force cost, and with it what an edit will cost (`engine::cost`).
//!
//! The workers measure, each in its slot of the stage. What was measured is kept by type, since just after an
//! edit nothing has been measured yet.

use anyhow::Result;
use common::stage::{BlockCosts, Shape, Stage};
use engine::{
    Config, Engine,
    cost::{self, Costs},
    patch::Checked,
};

/// See the file's head.
pub struct Forecast {
    costs: Costs,
    config: Config,
    /// Without a clock nothing is too much.
    freewheel: bool,
}

impl Forecast {
    /// Of music of that shape; nothing has been measured.
    pub fn new(shape: Shape) -> Self {
        Self {
            costs: Costs::default(),
            config: shape.into(),
            freewheel: shape.freewheel,
        }
    }

    /// Takes in what was measured of the patch that is played.
    pub fn learn(&mut self, stage: &Stage<'_>, playing: &Checked) {
        if let Some(costs) = measured(stage, playing, self.config) {
            self.costs.learn(playing, self.config, &costs);
        }
    }

    /// What the sender of an edit is to be told of its load, if anything.
    ///
    /// # Errors
    /// When it would be too much, and is not forced.
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
            return Ok(None); // of which no more than that is believed
        }
        let before = predict(playing);
        let share = share_of(before, shown(stage));
        cost::judge(next * share, before * share, forced).map_err(anyhow::Error::msg)
    }
}

/// Below this prediction, in percent of a core, what is shown says little about it.
const SUBSTANTIAL: f64 = 50.0;

/// By what share a prediction is believed: not more than the patch in force is seen to cost.
fn share_of(predicted: f64, shown: f64) -> f64 {
    match predicted > SUBSTANTIAL && shown < predicted {
        true => shown / predicted,
        false => 1.0,
    }
}

/// The time that the leader takes for a block, in percent of the block.
fn shown(stage: &Stage<'_>) -> f64 {
    let leader = stage.slot(stage.preference().slot);
    leader.mean_ns() as f64 * 100.0 / stage.shape().block_ns().max(1) as f64
}

/// What the leader has measured of that patch, else what the follower has.
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
