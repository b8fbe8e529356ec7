//! The cost of a patch before it is played, from a table of what each module type costs and from measurements of
//! the patch in force.
//!
//! The supervisor predicts the load of each edit with it; so does `understudy up`. Pure arithmetic: the worker
//! measures. A module type in the patch in force is expected to cost what was measured of it. Any other type is
//! expected to cost what the table says, scaled by how this machine compares with the table. The prediction is
//! approximate, since a module's cost depends on its inputs too.

use std::collections::BTreeMap;

use common::stage::BlockCosts;
use fearless_simd::Level;

use crate::{
    Config, catalog, lanes,
    module::lanes_for,
    patch::{Checked, id_before},
    plan,
    schedule::{Late, Step},
};

mod table;

use table::{FRAME_CALL_NS, LAST_BLOCK_NS, LAST_SAMPLE_NS, TABLE};

/// Above this load, in percent of a core, an edit is accepted with a note of the predicted load.
pub const TOLD_PERCENT: f64 = 80.0;
/// Above this load an edit is refused unless forced, since the sound would break.
pub const MOST_PERCENT: f64 = 100.0;
/// Weights, in nanoseconds per frame, by which the table counters the measurements: for the scale of this
/// machine, and for one type against that scale. The measured cost of little work is mostly cold caches, and
/// more of the same work costs far less each. So measurements count only if they are some percent of a core.
const DOUBT_NS: f64 = 1_000.0;
const TYPE_DOUBT_NS: f64 = 200.0;

/// What a worker does in each block besides rendering, on the reference machine.
const PUBLISHING_NS: f64 = 10_000.0;

/// A group of modules that cost the same: of one type, with as many channels side by side, rendered in blocks or
/// frame by frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sort {
    kind: &'static str,
    lanes: usize,
    by_frame: bool,
}

impl Sort {
    /// The table's value, in nanoseconds per frame.
    fn usual_ns(self) -> f64 {
        let (_, each) = TABLE
            .iter()
            .find(|(kind, _)| *kind == self.kind)
            .unwrap_or(&TABLE[0]);
        let ns = match self.lanes {
            1 => each[0],
            8 => each[1],
            _ => each[2],
        };
        ns + if self.by_frame { FRAME_CALL_NS } else { 0.0 }
    }
}

/// The known costs.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// For each sort: measured nanoseconds per frame, and the number of lane groups measured.
    measured: BTreeMap<Sort, (f64, f64)>,
    /// The ratio of all measured costs to the table's.
    scale: Option<f64>,
    /// Nanoseconds per block outside of modules.
    rest_ns: Option<f64>,
}

impl Costs {
    /// Learns from measurements of a patch.
    pub fn learn(&mut self, patch: &Checked, config: Config, costs: &BlockCosts) {
        let frames = f64::from(config.block_frames);
        let mut sums: BTreeMap<Sort, (f64, f64)> = BTreeMap::new();
        for ((sort, groups), ns) in sorts(patch).into_iter().zip(&costs.module_ns) {
            // A bypassed module has no measurement.
            let Some(sort) = sort.filter(|_| *ns > 0) else {
                continue;
            };
            let (sum, count) = sums.entry(sort).or_default();
            *sum += *ns as f64 / frames;
            *count += groups;
        }
        let found: f64 = sums.values().map(|(sum, _)| sum).sum();
        let usual = sums
            .iter()
            .map(|(sort, (_, count))| sort.usual_ns() * count);
        let usual: f64 = usual.sum();
        if usual > 0.0 {
            self.scale = Some((found + DOUBT_NS) / (usual + DOUBT_NS));
            self.rest_ns = Some(costs.rest_ns as f64);
        }
        self.measured.extend(sums);
    }

    /// The predicted load of a patch in percent of one core: the time outside of modules, and all modules.
    #[must_use]
    pub fn predict(&self, patch: &Checked, config: Config) -> f64 {
        let frames = f64::from(config.block_frames);
        let scale = self.scale.unwrap_or(1.0);
        let rest = || {
            let samples = frames * f64::from(config.channels);
            scale * (PUBLISHING_NS + LAST_BLOCK_NS + LAST_SAMPLE_NS * samples)
        };
        let each = sorts(patch)
            .into_iter()
            .map(|(sort, groups)| sort.map_or(0.0, |sort| groups * self.each_ns(sort)));
        let ns = self.rest_ns.unwrap_or_else(rest) + frames * each.sum::<f64>();
        ns * f64::from(config.rate_hz) / (1e7 * frames)
    }

    /// The expected cost of one lane group of that sort, in nanoseconds per frame.
    fn each_ns(&self, sort: Sort) -> f64 {
        let usual = self.scale.unwrap_or(1.0) * sort.usual_ns();
        let (found, count) = self.measured.get(&sort).copied().unwrap_or_default();
        usual * (found + TYPE_DOUBT_NS) / (usual * count + TYPE_DOUBT_NS)
    }
}

/// For each module of a patch its sort and its number of lane groups; no sort for a ghost.
fn sorts(patch: &Checked) -> Vec<(Option<Sort>, f64)> {
    let wide = lanes::wide(Level::new());
    let mut by_frame = vec![false; patch.patch().modules.len()];
    for part in patch
        .steps()
        .chunk_by(|one, two| one.in_loop == two.in_loop)
    {
        if part.iter().any(is_by_frame) {
            part.iter()
                .for_each(|step| by_frame[usize::from(step.module)] = true);
        }
    }
    let channels = plan::channels_of(patch).into_iter().zip(by_frame);
    let modules = patch.patch().modules.iter().zip(channels);
    modules
        .map(|(spec, (channels, by_frame))| {
            let (lanes, groups) = lanes_for(channels, wide);
            let kind = catalog::find(&spec.kind).filter(|_| id_before(&spec.id).is_none());
            let sort = kind.map(|kind| Sort {
                kind: kind.name,
                lanes,
                by_frame,
            });
            (sort, groups as f64)
        })
        .collect()
}

/// Whether one of the module's cables is one frame late within its loop.
fn is_by_frame(step: &Step) -> bool {
    let late = |late: Late| late == Late::Frame;
    let mut connections = step.connections.iter();
    connections.any(|link| link.feedback.is_some_and(|feedback| late(feedback.late)))
}

/// The answer to an edit with that predicted load, where the patch in force had `before`: nothing, or a note of
/// the prediction.
///
/// # Errors
/// When the sound would break, the load grows, and the edit is not forced.
pub fn judge(predicted: f64, before: f64, forced: bool) -> Result<Option<String>, String> {
    // An edit that leaves an overload as it is or reduces it is always accepted.
    let is_heavier = predicted > before + 0.01;
    if predicted > MOST_PERCENT && is_heavier && !forced {
        return Err(format!(
            "{} of one core, so the sound would break (expected at most {MOST_PERCENT:.0} %; --force or /patch/commit force overrides this limit)",
            said(predicted)
        ));
    }
    Ok((predicted > TOLD_PERCENT).then(|| said(predicted)))
}

/// A prediction as text.
#[must_use]
pub fn said(percent: f64) -> String {
    format!("predicted load {percent:.0} %")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::Patch;

    const CONFIG: Config = Config {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
    };
    /// Nanoseconds of a block.
    const BLOCK_NS: f64 = 128e9 / 48_000.0;

    /// A patch with that many modules of each type, each with a cable into `out`, and other cables.
    fn patch(modules: &[(&str, usize, u8)], cables: &str) -> Checked {
        let mut text = String::from(r#"{"version":1,"modules":[{"id":"out","type":"out"}"#);
        for (kind, count, channels) in modules {
            for n in 0..*count {
                text += &format!(r#",{{"id":"{kind}{n}","type":"{kind}","channels":{channels}}}"#);
            }
        }
        text += &format!(r#"],"cables":[{cables}]}}"#);
        Patch::from_json(&text).unwrap().checked().unwrap()
    }

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6 * other.abs()
    }

    #[test]
    fn each_module_type_is_in_the_table() {
        let types: Vec<_> = catalog::all().iter().map(|kind| kind.name).collect();
        assert_eq!(TABLE.map(|(name, _)| name).to_vec(), types);
        let ns = TABLE.iter().flat_map(|(_, each)| each);
        assert!(ns.clone().all(|ns| (0.1..1e5).contains(ns)), "{ns:?}");
    }

    /// Measurements in which each module costs a multiple of the table's value.
    fn times(patch: &Checked, factor: f64) -> BlockCosts {
        let ns = |(sort, groups): (Option<Sort>, f64)| {
            let ns = sort.map_or(0.0, Sort::usual_ns);
            (factor * ns * groups * f64::from(CONFIG.block_frames)) as u64
        };
        BlockCosts {
            rest_ns: 0,
            module_ns: sorts(patch).into_iter().map(ns).collect(),
        }
    }

    #[test]
    fn what_is_some_percent_of_a_core_costs_what_was_measured() {
        let playing = patch(&[("saw", 400, 1), ("ladder", 400, 1)], "");
        let mut costs = Costs::default();
        let mut measured = times(&playing, 1.0);
        // Ladders cost three times the table's value.
        (measured.module_ns[401..].iter_mut()).for_each(|ns| *ns *= 3);
        measured.rest_ns = 5_000;
        costs.learn(&playing, CONFIG, &measured);
        let percent = |ns: u64| 100.0 * ns as f64 / BLOCK_NS;
        let close = |one: f64, other: f64| (one - other).abs() < 0.04 * other;
        let predicted = costs.predict(&playing, CONFIG);
        assert!(
            close(predicted, percent(measured.total_ns())),
            "{predicted}"
        );
        let ladders: u64 = measured.module_ns[401..501].iter().sum();
        let predicted = costs.predict(&patch(&[("ladder", 100, 1)], ""), CONFIG);
        assert!(close(predicted, percent(5_000 + ladders)), "{predicted}");
        // Types that are no longer in force are still known.
        let empty = patch(&[], "");
        costs.learn(&empty, CONFIG, &times(&empty, 1.0));
        let predicted = costs.predict(&patch(&[("ladder", 100, 1)], ""), CONFIG);
        assert!(close(predicted, percent(ladders)), "{predicted}");
    }

    #[test]
    fn what_was_not_is_what_the_table_says_at_the_speed_of_this_machine() {
        let playing = patch(&[("saw", 3_000, 1)], "");
        let mut costs = Costs::default();
        costs.learn(&playing, CONFIG, &times(&playing, 2.0));
        for channels in [1, 5, 16, 32] {
            let next = patch(&[("ladder", 7, channels)], "");
            let twice = times(&next, 2.0).total_ns() as f64;
            let ratio = costs.predict(&next, CONFIG) / (100.0 * twice / BLOCK_NS);
            assert!((0.95..1.0).contains(&ratio), "{channels}: {ratio}");
        }
    }

    #[test]
    fn what_a_tiny_patch_costs_in_cold_caches_is_not_believed() {
        let playing = Patch::default_patch().checked().unwrap();
        let mut costs = Costs::default();
        costs.learn(&playing, CONFIG, &times(&playing, 10.0));
        for kind in ["filter", "ladder"] {
            let next = patch(&[(kind, 100, 1)], "");
            let usual = 100.0 * times(&next, 1.0).total_ns() as f64 / BLOCK_NS;
            let ratio = costs.predict(&next, CONFIG) / usual;
            assert!((1.0..1.4).contains(&ratio), "{kind}: {ratio}");
        }
    }

    #[test]
    fn a_module_that_is_rendered_frame_by_frame_costs_more() {
        let costs = Costs::default();
        let modules = [("vca", 2, 1)];
        let straight = r#"{"from":"vca0","to":"vca1"}"#;
        let closed =
            |how: &str| format!(r#"{straight},{{"from":"vca1","to":"vca0","{how}":true}}"#);
        let cost = |cables: &str| costs.predict(&patch(&modules, cables), CONFIG);
        let block_late = cost(&closed("feedback"));
        assert!(near(block_late, cost(straight)));
        let longer = 2.0 * FRAME_CALL_NS * f64::from(CONFIG.block_frames);
        assert!(near(
            cost(&closed("frame")),
            block_late + 100.0 * longer / BLOCK_NS
        ));
    }

    #[test]
    fn a_module_that_is_bypassed_says_nothing() {
        let playing = patch(&[("reverb", 1, 1)], "");
        let mut costs = Costs::default();
        costs.learn(&playing, CONFIG, &times(&playing, 0.0));
        assert!(costs.scale.is_none() && costs.measured.is_empty());
        assert!(costs.predict(&playing, CONFIG) > 0.1);
    }

    #[test]
    fn an_edit_is_told_or_refused_by_its_prediction() {
        assert_eq!(judge(79.0, 10.0, false), Ok(None));
        let told = judge(93.2, 10.0, false).unwrap().unwrap();
        assert_eq!(told, "predicted load 93 %");
        let why = judge(131.0, 10.0, false).unwrap_err();
        assert!(why.contains("131 %") && why.contains("--force"), "{why}");
        assert!(judge(131.0, 10.0, true).unwrap().is_some());
        assert!(judge(131.0, 131.0, false).unwrap().is_some(), "no heavier");
        assert!(judge(110.0, 131.0, false).unwrap().is_some(), "lighter");
    }
}
