//! The limits of the operating system that a stack needs room below: looked at before it is started, so that
//! a start that cannot be says at once which limit is missing.
//!
//! What the one who starts it may raise is raised: a soft limit, up to the hard one. All processes inherit
//! what was found here. A limit on locked memory or on real-time priority is none of these: without, the
//! music is less protected from other programs and plays all the same.
//!
//! One limit is lowered: real-time threads that spin, one for each processor, would keep everybody from running who
//! could end them. The kernel does that.

use std::{
    io,
    sync::{Arc, Barrier},
    thread,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::realtime;

/// A limit, as the shell names it.
struct Need {
    resource: Resource,
    what: &'static str,
    /// The letter of `ulimit`, and the bytes, or things, that it counts in.
    letter: char,
    unit: u64,
    least: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What a stack of the usual format takes, twice over: a supervisor has 44 descriptors open and 64 more while
/// visitors ask, audio-out and a worker map 285 MiB, the largest segment has 64 MiB at the most.
const NEEDS: [Need; 5] = [
    Need {
        resource: Resource::Nofile,
        what: "open files",
        letter: 'n',
        unit: 1,
        least: 256,
    },
    Need {
        resource: Resource::As,
        what: "address space, in KiB",
        letter: 'v',
        unit: KIB,
        least: 1_024 * MIB,
    },
    Need {
        resource: Resource::Data,
        what: "data, in KiB",
        letter: 'd',
        unit: KIB,
        least: 256 * MIB,
    },
    Need {
        resource: Resource::Fsize,
        what: "the size of a file, in KiB",
        letter: 'f',
        unit: KIB,
        least: 128 * MIB,
    },
    Need {
        resource: Resource::Stack,
        what: "a stack, in KiB",
        letter: 's',
        unit: KIB,
        least: MIB,
    },
];

/// Threads that a stack has beyond those that there are, and the stack that each is tried with.
const THREADS: usize = 48;
const STACK_BYTES: usize = 64 * 1_024;

/// Which limit is too low.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// A limit of the process.
    #[error(
        "the limit on {what} is {found} (expected at least {least}); raise it with `ulimit -{letter} {least}`"
    )]
    Low {
        /// What is limited.
        what: &'static str,
        /// The letter of `ulimit`.
        letter: char,
        /// What it is.
        found: u64,
        /// What it has to be.
        least: u64,
    },
    /// A limit on the user, or on the group of processes.
    #[error(
        "no {THREADS} threads can be started ({0}); raise the limit on processes (`ulimit -u`, or pids.max of the cgroup)"
    )]
    Threads(io::Error),
}

/// Raises soft limits as far as needed and allowed, and finds the first that is still too low. Lowers the one on the
/// time for which a real-time thread may run without a pause.
///
/// # Errors
/// The limit, by name, and what it has to be.
pub fn check() -> Result<(), LimitError> {
    for need in &NEEDS {
        let Rlimit { current, maximum } = getrlimit(need.resource);
        let found = current.unwrap_or(u64::MAX);
        if found >= need.least {
            continue;
        }
        let raised = Rlimit {
            current: Some(need.least),
            maximum,
        };
        if maximum.is_some_and(|most| most < need.least)
            || setrlimit(need.resource, raised).is_err()
        {
            return Err(LimitError::Low {
                what: need.what,
                letter: need.letter,
                found: found / need.unit,
                least: need.least / need.unit,
            });
        }
    }
    limit_spinning();
    try_threads(THREADS).map_err(LimitError::Threads)
}

/// Has the kernel end any process whose real-time thread spins; a lower limit stays.
fn limit_spinning() {
    let Rlimit { current, maximum } = getrlimit(Resource::Rttime);
    let most = realtime::SPINS_MAX.as_micros() as u64;
    let lowered = Rlimit {
        current: Some(current.map_or(most, |found| found.min(most))),
        maximum,
    };
    // Without it the supervisor ends those that it comes to see.
    let _ = setrlimit(Resource::Rttime, lowered);
}

/// Starts so many threads at once, and ends them.
fn try_threads(count: usize) -> io::Result<()> {
    let mut all = Vec::with_capacity(count);
    let (mut started, mut refused) = (0, None);
    let gate = Arc::new(Barrier::new(count + 1));
    while started < count && refused.is_none() {
        let gate = Arc::clone(&gate);
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        match builder.spawn(move || gate.wait()) {
            Ok(handle) => {
                all.push(handle);
                started += 1;
            }
            Err(why) => refused = Some(why),
        }
    }
    match refused {
        // Those that have started wait for ever; the program is about to end.
        Some(why) => Err(why),
        None => {
            gate.wait();
            all.into_iter().for_each(|handle| drop(handle.join()));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limits_are_enough() {
        check().unwrap();
        try_threads(1).unwrap();
    }

    #[test]
    fn a_limit_says_what_to_type() {
        let text = LimitError::Low {
            what: "open files",
            letter: 'n',
            found: 16,
            least: 256,
        };
        assert_eq!(
            text.to_string(),
            "the limit on open files is 16 (expected at least 256); raise it with `ulimit -n 256`"
        );
    }
}
