//! Finds loops: modules on a cycle through a cable that is one frame late.
//!
//! Only these modules have to be rendered frame by frame. A loop is a strongly connected component of all
//! cables except those that are a block late, which constrain no order. Done once, on the control thread.

use crate::patch::Wire;

/// For each module the loop that contains it, identified by the loop's first module.
///
/// # Source
/// S. R. Kosaraju's two searches: A. V. Aho, J. E. Hopcroft, J. D. Ullman, *Data Structures and Algorithms*
/// (1983), 6.7.
pub fn loops(modules: usize, cables: &[Wire]) -> Vec<Option<u16>> {
    let mut loops = vec![None; modules];
    if cables.iter().all(|wire| !wire.frame) {
        return loops;
    }
    let (mut listeners, mut sources) = (vec![Vec::new(); modules], vec![Vec::new(); modules]);
    for wire in cables
        .iter()
        .filter(|wire| wire.feedback.is_none() || wire.frame)
    {
        listeners[usize::from(wire.from.module)].push(wire.to.module);
        sources[usize::from(wire.to.module)].push(wire.from.module);
    }
    // Whether a module was visited; then the component of each module, identified by its first module.
    let mut seen = vec![false; modules];
    let mut order = Vec::with_capacity(modules);
    for module in 0..modules as u16 {
        search(module, &listeners, &mut seen, &mut order);
    }
    seen.fill(false);
    let mut of = vec![0; modules];
    for module in order.into_iter().rev() {
        let mut component = Vec::new();
        search(module, &sources, &mut seen, &mut component);
        let first = component.iter().copied().min().unwrap_or_default();
        for module in component {
            of[usize::from(module)] = first;
        }
    }
    for wire in cables.iter().filter(|wire| wire.frame) {
        let [from, to] = [wire.from, wire.to].map(|end| of[usize::from(end.module)]);
        if from == to {
            loops[usize::from(from)] = Some(from);
        }
    }
    of.into_iter()
        .map(|first| loops[usize::from(first)])
        .collect()
}

/// Appends all unvisited modules that can be reached from a module, each after those that are reached from
/// it.
fn search(from: u16, next: &[Vec<u16>], seen: &mut [bool], order: &mut Vec<u16>) {
    if std::mem::replace(&mut seen[usize::from(from)], true) {
        return;
    }
    let mut path = vec![(from, next[usize::from(from)].iter())];
    while let Some((module, ways)) = path.last_mut() {
        match ways.next() {
            Some(&way) if !std::mem::replace(&mut seen[usize::from(way)], true) => {
                path.push((way, next[usize::from(way)].iter()));
            }
            Some(_) => {}
            None => {
                order.push(*module);
                path.pop();
            }
        }
    }
}
