//! From a patch to its processing order: the order of the modules and the connections between them.
//!
//! Done once, on the control thread; the render thread then follows a list of steps. The order, and with it the
//! order of every sum, follows from the patch alone.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{loops::loops, patch::Wire};

/// When a feedback cable delivers its source's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// A block later.
    Block,
    /// A frame later, when the loop is processed for the next frame.
    Frame,
    /// A frame later, to a module that is processed later: the cable closes no cycle.
    FrameAhead,
}

/// A feedback cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// The number of the cable among the feedback cables.
    pub number: u16,
    pub late: Late,
}

/// A cable as the render thread sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The source module, by its index in the patch.
    pub module: u16,
    /// The output of the source module.
    pub output: u16,
    /// The input to which the cable leads.
    pub input: u16,
    /// The number among the fading cables, if it fades in or out.
    pub fade: Option<u16>,
    /// Set for a feedback cable, which delivers late.
    pub feedback: Option<Feedback>,
}

/// The processing of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The module's index in the patch.
    pub module: u16,
    /// The loop that contains the module. The modules of a loop are processed one after the other.
    pub in_loop: Option<u16>,
    /// The cables into the module, in the order of the patch.
    pub connections: Vec<Connection>,
}

/// The processing order: each module after its sources, except over feedback cables; the modules of a loop one
/// after the other; otherwise as in the patch.
///
/// # Errors
/// If there is a cycle: its modules, in the order of the cables.
pub fn schedule(modules: usize, cables: &[Wire]) -> Result<Vec<Step>, Vec<u16>> {
    let loops = loops(modules, cables);
    // What others wait for as a whole: a loop, identified by its first module, or a single module.
    let whole = |module: u16| loops[usize::from(module)].unwrap_or(module);
    let mut connections = vec![Vec::new(); modules];
    let (mut within, mut between) = (Vec::new(), Vec::new());
    for wire in cables {
        let [from, to] = [wire.from.module, wire.to.module];
        let late = match wire.frame {
            false => Late::Block,
            true if whole(from) == whole(to) => Late::Frame,
            true => Late::FrameAhead,
        };
        if wire.feedback.is_none() || late == Late::FrameAhead {
            match whole(from) == whole(to) {
                true => within.push((from, to)),
                false => between.push((whole(from), whole(to))),
            }
        }
        connections[usize::from(to)].push(Connection {
            module: from,
            output: wire.from.port,
            input: wire.to.port,
            fade: wire.fade,
            feedback: wire.feedback.map(|number| Feedback { number, late }),
        });
    }
    let mut wholes = vec![Vec::new(); modules];
    for module in sorted(modules, within.into_iter()) {
        wholes[usize::from(whole(module))].push(module);
    }
    let order = sorted(modules, between.into_iter()).into_iter();
    let order = order.flat_map(|whole| std::mem::take(&mut wholes[usize::from(whole)]));
    let step = |module: u16| Step {
        module,
        in_loop: loops[usize::from(module)],
        connections: std::mem::take(&mut connections[usize::from(module)]),
    };
    let steps: Vec<Step> = order.map(step).collect();
    match steps.len() == modules {
        true => Ok(steps),
        false => Err(cycle(modules, cables)),
    }
}

/// The modules in an order in which each follows its sources, otherwise by number; without the modules on or
/// behind a cycle.
fn sorted(modules: usize, cables: impl Iterator<Item = (u16, u16)>) -> Vec<u16> {
    let mut listeners = vec![Vec::new(); modules];
    let mut waiting_for = vec![0_usize; modules];
    for (from, to) in cables {
        listeners[usize::from(from)].push(to);
        waiting_for[usize::from(to)] += 1;
    }
    let mut ready: BinaryHeap<Reverse<u16>> = (0..modules as u16)
        .filter(|module| waiting_for[usize::from(*module)] == 0)
        .map(Reverse)
        .collect();
    let mut sorted = Vec::with_capacity(modules);
    while let Some(Reverse(module)) = ready.pop() {
        sorted.push(module);
        for listener in &listeners[usize::from(module)] {
            let waiting = &mut waiting_for[usize::from(*listener)];
            *waiting -= 1;
            if *waiting == 0 {
                ready.push(Reverse(*listener));
            }
        }
    }
    sorted
}

/// The indices of the cables that close a cycle with earlier cables.
pub fn closing(modules: usize, cables: &[Wire]) -> Vec<usize> {
    let ahead = |wire: &&Wire| wire.feedback.is_none();
    let ends = |wire: &Wire| (wire.from.module, wire.to.module);
    let tangled = tangled(modules, cables.iter().filter(ahead).map(ends));
    let mut listeners = vec![Vec::new(); modules];
    let mut closing = Vec::new();
    for (place, wire) in cables.iter().enumerate() {
        let (from, to) = ends(wire);
        if wire.feedback.is_some() || !tangled[usize::from(from)] || !tangled[usize::from(to)] {
            continue;
        }
        if reaches(&listeners, to, from) {
            closing.push(place);
        } else {
            listeners[usize::from(from)].push(to);
        }
    }
    closing
}

/// Whether a path leads from one module to another, or both are the same.
fn reaches(listeners: &[Vec<u16>], from: u16, to: u16) -> bool {
    let mut seen = vec![false; listeners.len()];
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        if module == to {
            return true;
        }
        if !std::mem::replace(&mut seen[usize::from(module)], true) {
            next.extend(&listeners[usize::from(module)]);
        }
    }
    false
}

/// For each module whether it is on a cycle or between two cycles.
pub fn tangled(modules: usize, cables: impl Iterator<Item = (u16, u16)> + Clone) -> Vec<bool> {
    let behind = unreached(modules, cables.clone());
    let before = unreached(modules, cables.map(|(from, to)| (to, from)));
    std::iter::zip(behind, before)
        .map(|(behind, before)| behind && before)
        .collect()
}

/// For each module whether it is on a cycle or behind one.
fn unreached(modules: usize, cables: impl Iterator<Item = (u16, u16)>) -> Vec<bool> {
    let mut unreached = vec![true; modules];
    for module in sorted(modules, cables) {
        unreached[usize::from(module)] = false;
    }
    unreached
}

/// Follows the cables backwards from a module that cannot be ordered, without feedback cables, until the path
/// meets itself.
fn cycle(modules: usize, cables: &[Wire]) -> Vec<u16> {
    let ahead = || cables.iter().filter(|wire| wire.feedback.is_none());
    let stuck = unreached(modules, ahead().map(|w| (w.from.module, w.to.module)));
    let is_stuck = |module: u16| stuck[usize::from(module)];
    let mut path: Vec<u16> = (0..modules as u16)
        .filter(|m| is_stuck(*m))
        .take(1)
        .collect();
    // Each of these modules waits for another of them, so there is always a way.
    while let Some(up) = path.last().and_then(|last| {
        let mut up = ahead().filter(|wire| wire.to.module == *last);
        up.find(|wire| is_stuck(wire.from.module))
    }) {
        let module = up.from.module;
        if let Some(start) = path.iter().position(|seen| *seen == module) {
            path.drain(..start);
            path.reverse();
            break;
        }
        path.push(module);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::End;

    /// Cables drawn as `a>b`, `a<b` for feedback by a block, `a~b` for feedback by a frame. Modules are numbered
    /// by letter; those of a loop are in brackets.
    fn draw(cables: &str) -> Result<String, String> {
        let end = |letter: u8| End {
            module: u16::from(letter - b'a'),
            port: 0,
        };
        let pair = |cable: &str| Wire {
            from: end(cable.as_bytes()[0]),
            to: end(cable.as_bytes()[2]),
            fade: None,
            feedback: (cable.as_bytes()[1] != b'>').then_some(0),
            frame: cable.as_bytes()[1] == b'~',
        };
        let cables: Vec<_> = cables.split_whitespace().map(pair).collect();
        let letters = |modules: &[u16]| -> String {
            let letter = |module: &u16| char::from(b'a' + *module as u8);
            modules.iter().map(letter).collect()
        };
        let steps = schedule(6, &cables).map_err(|cycle| letters(&cycle))?;
        let parts = steps.chunk_by(|one, two| one.in_loop == two.in_loop && one.in_loop.is_some());
        let parts = parts.map(|part| {
            let modules: Vec<u16> = part.iter().map(|step| step.module).collect();
            match part[0].in_loop {
                Some(first) => {
                    assert_eq!(Some(&first), modules.iter().min());
                    format!("({})", letters(&modules))
                }
                None => letters(&modules),
            }
        });
        Ok(parts.collect())
    }

    #[test]
    fn each_comes_after_all_that_it_listens_to() {
        assert_eq!(draw("").unwrap(), "abcdef");
        assert_eq!(draw("e>d d>c c>b b>a").unwrap(), "edcbaf");
        assert_eq!(draw("a>e b>e e>c").unwrap(), "abdecf");
        assert_eq!(draw("a>b a>c b>d c>d").unwrap(), "abcdef");
        assert_eq!(draw("a>b b<a e>a c<c").unwrap(), "cdeabf");
    }

    #[test]
    fn a_loop_comes_as_one_where_all_that_it_listens_to_has_been() {
        // A listener follows its source; all other modules stay where they were.
        assert_eq!(draw("b>d d~b").unwrap(), "a(bd)cef");
        assert_eq!(draw("a>b b>d d~b e>d b>c").unwrap(), "ae(bd)cf");
        assert_eq!(draw("d>b b~d f>a a>b").unwrap(), "cefa(db)");
        // A module that feeds itself; two loops; a loop through another loop's module; a loop inside another.
        assert_eq!(draw("c~c").unwrap(), "ab(c)def");
        assert_eq!(draw("a>b b~a c>d d~c d>a").unwrap(), "(cd)(ab)ef");
        assert_eq!(draw("a>b b~a b>c c~b").unwrap(), "(abc)def");
        assert_eq!(draw("a>b b>c c>d d~a c~b").unwrap(), "(abcd)ef");
        // Through two late cables.
        assert_eq!(draw("c~a a>b b~c").unwrap(), "(abc)def");
        // A frame-late cable without a cycle is waited for and makes no loop; a block-late cable does neither.
        assert_eq!(draw("c~a").unwrap(), "bcadef");
        assert_eq!(draw("a>c c<a d~b b>a").unwrap(), "dbacef");
        assert_eq!(draw("a>b b<a b>c c~b").unwrap(), "a(bc)def");
    }

    #[test]
    fn a_cycle_is_named_without_what_hangs_on_it() {
        assert_eq!(draw("a>b b>c c>b c>d").unwrap_err(), "cb");
        assert_eq!(draw("a>a").unwrap_err(), "a");
        assert_eq!(draw("e>a a~e a>b b>c c>b c~a").unwrap_err(), "cb");
    }
}
