//! From a patch to the order of work: who runs when, and whose sound goes where.
//!
//! Done once, on the control thread. The render thread then walks a list of steps. The order, and
//! with it the order of every sum, follows from the patch's text alone.

use std::collections::BTreeSet;

use crate::patch::Wire;

/// One cable, as the render thread sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The module that it comes from, by its place in the patch.
    pub module: u16,
    /// Output of that module.
    pub output: u16,
    /// Input of the module that it leads to.
    pub input: u16,
    /// Its number among the cables that fade in or out, if it does.
    pub fade: Option<u16>,
    /// Its number among the cables that lead back, if it does: what it brings is late.
    pub feedback: Option<u16>,
}

/// One module's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the patch.
    pub module: u16,
    /// The cables that come in, in the order of the patch.
    pub links: Vec<Link>,
}

/// The order of work: each module after all that it listens to but by cables that lead back, else as in
/// the patch.
///
/// # Errors
/// The modules of a cycle, in the order of the cables.
pub fn schedule(modules: usize, cables: &[Wire]) -> Result<Vec<Step>, Vec<u16>> {
    let mut links = vec![Vec::new(); modules];
    let mut listeners = vec![Vec::new(); modules];
    let mut waiting_for = vec![0; modules];
    for wire in cables {
        let to = usize::from(wire.to.module);
        links[to].push(Link {
            module: wire.from.module,
            output: wire.from.port,
            input: wire.to.port,
            fade: wire.fade,
            feedback: wire.feedback,
        });
        if wire.feedback.is_none() {
            waiting_for[to] += 1;
            listeners[usize::from(wire.from.module)].push(wire.to.module);
        }
    }
    let mut ready: BTreeSet<u16> = (0..modules as u16)
        .filter(|module| waiting_for[usize::from(*module)] == 0)
        .collect();
    let mut steps = Vec::with_capacity(modules);
    while let Some(module) = ready.pop_first() {
        for listener in &listeners[usize::from(module)] {
            let waiting = &mut waiting_for[usize::from(*listener)];
            *waiting -= 1;
            if *waiting == 0 {
                ready.insert(*listener);
            }
        }
        steps.push(Step {
            module,
            links: std::mem::take(&mut links[usize::from(module)]),
        });
    }
    match waiting_for.iter().position(|waiting: &usize| *waiting > 0) {
        Some(stuck) => Err(cycle(stuck as u16, &links, &waiting_for)),
        None => Ok(steps),
    }
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
    let mut listeners = vec![Vec::new(); modules];
    let mut waiting_for = vec![0_usize; modules];
    for (from, to) in cables {
        listeners[usize::from(from)].push(to);
        waiting_for[usize::from(to)] += 1;
    }
    let mut ready: Vec<u16> = (0..modules as u16)
        .filter(|module| waiting_for[usize::from(*module)] == 0)
        .collect();
    while let Some(module) = ready.pop() {
        for listener in &listeners[usize::from(module)] {
            waiting_for[usize::from(*listener)] -= 1;
            if waiting_for[usize::from(*listener)] == 0 {
                ready.push(*listener);
            }
        }
    }
    waiting_for.into_iter().map(|waiting| waiting > 0).collect()
}

/// Walks up the cables from a module that never became ready, until it meets its own path.
fn cycle(stuck: u16, links: &[Vec<Link>], waiting_for: &[usize]) -> Vec<u16> {
    let mut path = vec![stuck];
    loop {
        let last = usize::from(path[path.len() - 1]);
        let up = links[last]
            .iter()
            .find(|link| link.feedback.is_none() && waiting_for[usize::from(link.module)] > 0);
        // A module that waits, waits for one that waits: there is always a way up.
        let Some(Link { module, .. }) = up.copied() else {
            return path;
        };
        if let Some(start) = path.iter().position(|seen| *seen == module) {
            path.drain(..start);
            path.reverse();
            return path;
        }
        path.push(module);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::End;

    /// Cables drawn as `a>b`, or `a<b` where they lead back; modules numbered by letter.
    fn draw(cables: &str) -> Result<String, String> {
        let end = |letter: u8| End {
            module: u16::from(letter - b'a'),
            port: 0,
        };
        let pair = |cable: &str| Wire {
            from: end(cable.as_bytes()[0]),
            to: end(cable.as_bytes()[2]),
            fade: None,
            feedback: (cable.as_bytes()[1] == b'<').then_some(0),
            frame: false,
        };
        let cables: Vec<_> = cables.split_whitespace().map(pair).collect();
        let letters = |modules: Vec<u16>| {
            modules
                .into_iter()
                .map(|m| (b'a' + m as u8) as char)
                .collect()
        };
        schedule(5, &cables)
            .map(|steps| letters(steps.iter().map(|step| step.module).collect()))
            .map_err(letters)
    }

    #[test]
    fn each_comes_after_all_that_it_listens_to() {
        assert_eq!(draw("").unwrap(), "abcde");
        assert_eq!(draw("e>d d>c c>b b>a").unwrap(), "edcba");
        assert_eq!(draw("a>e b>e e>c").unwrap(), "abdec");
        assert_eq!(draw("a>b a>c b>d c>d").unwrap(), "abcde");
        assert_eq!(draw("a>b b<a e>a c<c").unwrap(), "cdeab");
    }

    #[test]
    fn a_cycle_is_named_without_what_hangs_on_it() {
        assert_eq!(draw("a>b b>c c>b c>d").unwrap_err(), "cb");
        assert_eq!(draw("a>a").unwrap_err(), "a");
    }
}
