//! From a patch to the order of work: who runs when, and whose sound goes where.
//!
//! Done once, on the control thread. The render thread then walks a list of steps. The order, and
//! with it the order of every sum, follows from the patch's text alone.

use std::collections::BTreeSet;

use crate::patch::End;

/// One cable, as the render thread sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The module that it comes from, by its place in the patch.
    pub module: u16,
    /// Output of that module.
    pub output: u16,
    /// Input of the module that it leads to.
    pub input: u16,
}

/// One module's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the patch.
    pub module: u16,
    /// The cables that come in, in the order of the patch.
    pub links: Vec<Link>,
}

/// The order of work: each module after all that it listens to, else as in the patch.
///
/// # Errors
/// The modules of a cycle, in the order of the cables.
pub fn schedule(modules: usize, cables: &[(End, End)]) -> Result<Vec<Step>, Vec<u16>> {
    let mut links = vec![Vec::new(); modules];
    let mut listeners = vec![Vec::new(); modules];
    for (from, to) in cables {
        let link = Link {
            module: from.module,
            output: from.port,
            input: to.port,
        };
        links[usize::from(to.module)].push(link);
        listeners[usize::from(from.module)].push(to.module);
    }
    let mut waiting_for: Vec<usize> = links.iter().map(Vec::len).collect();
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
            links: links[usize::from(module)].clone(),
        });
    }
    match waiting_for.iter().position(|waiting| *waiting > 0) {
        Some(stuck) => Err(cycle(stuck as u16, &links, &waiting_for)),
        None => Ok(steps),
    }
}

/// Walks up the cables from a module that never became ready, until it meets its own path.
fn cycle(stuck: u16, links: &[Vec<Link>], waiting_for: &[usize]) -> Vec<u16> {
    let mut path = vec![stuck];
    loop {
        let last = usize::from(path[path.len() - 1]);
        let up = links[last]
            .iter()
            .find(|link| waiting_for[usize::from(link.module)] > 0);
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

    /// Cables drawn as `a>b`, modules numbered by letter.
    fn draw(cables: &str) -> Result<String, String> {
        let end = |letter: u8| End {
            module: u16::from(letter - b'a'),
            port: 0,
        };
        let pair = |cable: &str| (end(cable.as_bytes()[0]), end(cable.as_bytes()[2]));
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
    }

    #[test]
    fn a_cycle_is_named_without_what_hangs_on_it() {
        assert_eq!(draw("a>b b>c c>b c>d").unwrap_err(), "cb");
        assert_eq!(draw("a>a").unwrap_err(), "a");
    }
}
