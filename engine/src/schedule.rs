//! From a patch to the order of work: who runs when, and whose sound goes where.
//!
//! Done once, on the control thread. The render thread then walks a list of steps. The order, and
//! with it the order of every sum, follows from the patch's text alone.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{loops::loops, patch::Wire};

/// When what a cable that leads back brings is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// A block later.
    Block,
    /// A frame later, when its loop is processed next.
    Frame,
    /// A frame later, by a module that is processed later: it closes no cycle.
    FrameAhead,
}

/// A cable that leads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Its number among those.
    pub number: u16,
    pub late: Late,
}

/// One cable, as the render thread sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The module that it comes from, by its place in the patch.
    pub module: u16,
    /// Output of that module.
    pub output: u16,
    /// Input of the module that it leads to.
    pub input: u16,
    /// Its number among the cables that fade in or out, if it does.
    pub fade: Option<u16>,
    /// It leads back: what it brings is late.
    pub feedback: Option<Feedback>,
}

/// One module to be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the patch.
    pub module: u16,
    /// The loop that it is of; its modules are processed one after the other.
    pub in_loop: Option<u16>,
    /// The cables that come in, in the order of the patch.
    pub connections: Vec<Connection>,
}

/// The order of work: each module after all that it listens to but by cables that lead back, the modules of a
/// loop one after the other, else as in the patch.
///
/// # Errors
/// The modules of a cycle, in the order of the cables.
pub fn schedule(modules: usize, cables: &[Wire]) -> Result<Vec<Step>, Vec<u16>> {
    let loops = loops(modules, cables);
    // What is waited for as a whole: a loop, by its first module, or a module.
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

/// So many modules, each after those from which cables lead to it, else by their numbers; without those that
/// are on a cycle or behind one.
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

/// The cables, by their places, that close a cycle with those before them.
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

/// Whether a way leads from one module to another, or they are the same.
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

/// For each of so many modules, whether it is on a cycle, or between two.
pub fn tangled(modules: usize, cables: impl Iterator<Item = (u16, u16)> + Clone) -> Vec<bool> {
    let behind = unreached(modules, cables.clone());
    let before = unreached(modules, cables.map(|(from, to)| (to, from)));
    std::iter::zip(behind, before)
        .map(|(behind, before)| behind && before)
        .collect()
}

/// For each module, whether it is on a cycle or behind one.
fn unreached(modules: usize, cables: impl Iterator<Item = (u16, u16)>) -> Vec<bool> {
    let mut unreached = vec![true; modules];
    for module in sorted(modules, cables) {
        unreached[usize::from(module)] = false;
    }
    unreached
}

/// Walks up the cables that do not lead back from a module that cannot be ordered, until it meets its own path.
fn cycle(modules: usize, cables: &[Wire]) -> Vec<u16> {
    let ahead = || cables.iter().filter(|wire| wire.feedback.is_none());
    let stuck = unreached(modules, ahead().map(|w| (w.from.module, w.to.module)));
    let is_stuck = |module: u16| stuck[usize::from(module)];
    let mut path: Vec<u16> = (0..modules as u16)
        .filter(|m| is_stuck(*m))
        .take(1)
        .collect();
    // Who waits, waits for one who waits: there is always a way up.
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

    /// Cables drawn as `a>b`, `a<b` where they lead back, `a~b` where they are a frame late; modules numbered by
    /// letter, those of a loop in brackets.
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
        // Who listens comes after it, who does not stays where it was.
        assert_eq!(draw("b>d d~b").unwrap(), "a(bd)cef");
        assert_eq!(draw("a>b b>d d~b e>d b>c").unwrap(), "ae(bd)cf");
        assert_eq!(draw("d>b b~d f>a a>b").unwrap(), "cefa(db)");
        // A module to itself; two loops; one through another's module; one in another.
        assert_eq!(draw("c~c").unwrap(), "ab(c)def");
        assert_eq!(draw("a>b b~a c>d d~c d>a").unwrap(), "(cd)(ab)ef");
        assert_eq!(draw("a>b b~a b>c c~b").unwrap(), "(abc)def");
        assert_eq!(draw("a>b b>c c>d d~a c~b").unwrap(), "(abcd)ef");
        // Through two cables that are late.
        assert_eq!(draw("c~a a>b b~c").unwrap(), "(abc)def");
        // One that closes no cycle is waited for, and makes no loop; a block late, it is neither.
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
