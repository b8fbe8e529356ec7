//! Failpoints: named places where a test can make a worker crash or hang.
//!
//! The environment variable `UNDERSTUDY_FAILPOINTS` lists them, comma-separated, and is read once at
//! the start. `POINT#NTH=FAULT` injects the fault when the worker passes the point for the nth time
//! (points are `applied`, `rendered`, `sealed`, `proved`, `published`, `advanced`, `checkpointed`).
//! `apply:MODULE.PARAM:VALUE=FAULT` does so before that change is applied (numbers as in events),
//! which makes a command poison. `render:MODULE:BLOCK=FAULT` does so before that module is rendered
//! at or after that block, which makes a state poison. `@INCARNATION` at the end of an entry limits
//! it to one incarnation. Without the variable, each place costs one comparison.

use common::{
    command::Event,
    message::Fault,
    units::{BlockIndex, Incarnation},
};
use platform::harm;

/// The environment variable that lists the failpoints.
const VARIABLE: &str = "UNDERSTUDY_FAILPOINTS";

/// A place in the rendering of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Applied,
    Rendered,
    Sealed,
    Proved,
    Published,
    Advanced,
    Checkpointed,
}

const POINTS: [(&str, Point); 7] = [
    ("applied", Point::Applied),
    ("rendered", Point::Rendered),
    ("sealed", Point::Sealed),
    ("proved", Point::Proved),
    ("published", Point::Published),
    ("advanced", Point::Advanced),
    ("checkpointed", Point::Checkpointed),
];

#[derive(Debug, PartialEq)]
enum Trigger {
    Pass(Point, u64),
    Apply(u16, u16, f32),
    Render(u16, u64),
}

/// The failpoints of this incarnation.
#[derive(Debug, Default)]
pub struct Failpoints {
    armed: Vec<(Trigger, Fault)>,
    passed: [std::cell::Cell<u64>; POINTS.len()],
}

impl Failpoints {
    /// Reads the environment variable.
    pub fn from_environment(incarnation: Incarnation) -> Self {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let armed = text
            .split(',')
            .filter_map(|entry| {
                let (entry, life) = entry.split_once('@').unwrap_or((entry, ""));
                let this_life = life.is_empty() || life.parse() == Ok(incarnation.0);
                parse(entry).filter(|_| this_life)
            })
            .collect();
        Self {
            armed,
            passed: Default::default(),
        }
    }

    /// The worker passes `point`.
    ///
    /// # Real-time
    /// Yes.
    pub fn pass(&self, point: Point) {
        if self.armed.is_empty() {
            return;
        }
        let count = &self.passed[point as usize];
        count.set(count.get() + 1);
        self.fire(|trigger| *trigger == Trigger::Pass(point, count.get()));
    }

    /// The worker is about to apply an event.
    ///
    /// # Real-time
    /// Yes.
    pub fn apply(&self, event: &Event) {
        if let Event::Param {
            module,
            param,
            value,
        } = *event
        {
            self.fire(|trigger| *trigger == Trigger::Apply(module, param, value));
        }
    }

    /// The worker is about to render a module.
    ///
    /// # Real-time
    /// Yes.
    pub fn render(&self, block: BlockIndex, module: u16) {
        self.fire(|trigger| {
            matches!(*trigger, Trigger::Render(m, from) if m == module && block.0 >= from)
        });
    }

    fn fire(&self, hit: impl Fn(&Trigger) -> bool) {
        for (trigger, fault) in &self.armed {
            if hit(trigger) {
                harm::inflict(*fault);
                // A fault that does not end the process is a hang.
                loop {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

fn parse(entry: &str) -> Option<(Trigger, Fault)> {
    let (place, fault) = entry.split_once('=')?;
    let fault = fault.trim().parse().ok()?;
    let trigger = match place.trim().split(':').collect::<Vec<_>>().as_slice() {
        ["apply", target, value] => {
            let (module, param) = target.split_once('.')?;
            Trigger::Apply(
                module.parse().ok()?,
                param.parse().ok()?,
                value.parse().ok()?,
            )
        }
        ["render", module, block] => Trigger::Render(module.parse().ok()?, block.parse().ok()?),
        [point] => {
            let (name, nth) = point.split_once('#').unwrap_or((point, "1"));
            let (_, point) = POINTS.iter().find(|(known, _)| *known == name)?;
            Trigger::Pass(*point, nth.parse().ok()?)
        }
        _ => return None,
    };
    Some((trigger, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_understood() {
        let parsed = |text| parse(text).map(|(trigger, _)| trigger);
        assert_eq!(
            parsed("sealed#3=segv"),
            Some(Trigger::Pass(Point::Sealed, 3))
        );
        assert_eq!(
            parsed("applied=kill"),
            Some(Trigger::Pass(Point::Applied, 1))
        );
        assert_eq!(
            parsed("apply:0.1:666=hang"),
            Some(Trigger::Apply(0, 1, 666.0))
        );
        assert_eq!(parsed("render:2:500=abort"), Some(Trigger::Render(2, 500)));
        assert_eq!(parsed("rendered#x=segv"), None);
        assert_eq!(parsed("nowhere=segv"), None);
    }
}
