//! The costs of the modules for `status`, the most expensive first.

use common::stage::BlockCosts;
use serde_json::{Value, json};

use super::Stack;
use crate::status::hundredths;

/// The number of modules listed during an overload.
const NAMED: usize = 5;

impl Stack {
    /// Each module of the patch in force with its load on one core, the rest of a block, and the sum; the loads are null
    /// before the first measurement.
    pub(super) fn show_modules(&self) -> Value {
        let costs = self.music.measured(&self.shared.stage);
        json!({
            "instance": self.options.instance,
            "modules": self.modules(costs.as_ref(), usize::MAX),
            "rest_percent": costs.as_ref().map(|costs| self.percent(costs.rest_ns)),
            "sum_percent": costs.as_ref().map(|costs| self.percent(costs.total_ns())),
        })
    }

    /// The most expensive modules, at most `most`.
    fn modules(&self, costs: Option<&BlockCosts>, most: usize) -> Vec<Value> {
        let ns = |module: usize| costs?.module_ns.get(module).copied();
        let specs = self.music.modules().iter().enumerate();
        let mut modules: Vec<_> = specs.map(|(place, spec)| (ns(place), spec)).collect();
        modules.sort_by_key(|(ns, _)| std::cmp::Reverse(*ns));
        let shown = modules.into_iter().take(most).map(|(ns, spec)| {
            let percent = ns.map(|ns| self.percent(ns));
            json!({ "id": spec.id, "type": spec.kind, "load_percent": percent })
        });
        shown.collect()
    }

    fn percent(&self, ns: u64) -> f64 {
        hundredths(100.0 * ns as f64 / self.format.block_ns().max(1) as f64)
    }

    /// The most expensive modules during an overload.
    pub(super) fn dearest(&self) -> Value {
        if !self.overload.lasts() {
            return Value::Null;
        }
        let costs = self.music.measured(&self.shared.stage);
        self.modules(costs.as_ref(), NAMED).into()
    }
}
