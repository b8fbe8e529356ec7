//! The findings for `status`: quarantined commands and bypassed modules.
//!
//! Both are in the command log, so that the next supervisor knows them too.

use common::{command_log::Found, units::Seq};
use serde_json::{Value, json};

/// The limit of shown quarantined commands and bypassed modules.
const SHOWN: usize = 64;

/// See the file's head.
#[derive(Default)]
pub struct Findings {
    /// The module whose output was muted at the last check.
    pub muted: Option<u16>,
    /// The supervisor's own commands, which bypass modules.
    pub own: Vec<Seq>,
    /// All quarantined commands of the log, in order.
    pub left_out: Vec<Seq>,
    quarantined: Vec<Value>,
    bypassed: Vec<Value>,
}

impl Findings {
    /// The findings of earlier supervisors, from the log.
    pub fn recall(found: &[Found], left_out: Vec<Seq>) -> Self {
        let mut findings = Self {
            left_out,
            ..Self::default()
        };
        found.iter().for_each(|found| findings.add(found));
        findings
    }

    /// Adds a finding that has been logged.
    pub fn add(&mut self, found: &Found) {
        match found {
            Found::LeftOut { seq, what } => {
                let entry = json!({ "command": seq.0, "what": what });
                keep(&mut self.quarantined, entry);
            }
            Found::Bypassed { seq, module, block } => {
                self.own.push(*seq);
                let entry = json!({ "module": module, "block": block.0 });
                keep(&mut self.bypassed, entry);
            }
        }
    }

    /// The findings for `status`.
    pub fn show(&self) -> (Value, Value) {
        (json!(self.quarantined), json!(self.bypassed))
    }
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
    use common::units::BlockIndex;

    #[test]
    fn what_the_log_lists_is_shown_and_the_newest_is_kept() {
        let left_out = |seq| Found::LeftOut {
            seq: Seq(seq),
            what: "a patch".into(),
        };
        let mut found: Vec<Found> = (0..SHOWN as u64 + 3).map(left_out).collect();
        found.push(Found::Bypassed {
            seq: Seq(99),
            module: "\"filter\"".into(),
            block: BlockIndex(7),
        });
        let findings = Findings::recall(&found, vec![Seq(7)]);
        let (quarantined, bypassed) = findings.show();
        assert_eq!(quarantined.as_array().map(Vec::len), Some(SHOWN));
        assert_eq!(quarantined[0], json!({ "command": 3, "what": "a patch" }));
        assert_eq!(bypassed, json!([{ "module": "\"filter\"", "block": 7 }]));
        assert_eq!(
            (findings.own, findings.left_out),
            (vec![Seq(99)], vec![Seq(7)])
        );
    }
}
