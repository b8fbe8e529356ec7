//! The limits of the operating system that a stack depends on. They are checked before the stack is started, so that
//! a start that cannot succeed names the missing limit at once.
//!
//! Soft limits that are too low are raised, as far as the hard limits allow. All processes of the stack inherit the
//! result. Limits on locked memory and on real-time priority are not checked: below them the music is less protected
//! from other programs, but plays.
//!
//! One limit is lowered: real-time threads that spin, one on each processor, would keep every process that could end
//! them from running. The kernel ends them instead.

use std::{
    io,
    sync::{Arc, Barrier},
    thread,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::realtime;

/// A limit that must not be lower than `least`.
struct Need {
    resource: Resource,
    what: &'static str,
    /// The option letter of `ulimit`; `unit` is what one step of `ulimit` stands for, in bytes or things.
    letter: char,
    unit: u64,
    least: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// About twice what a stack of the usual audio format takes: a supervisor has 44 descriptors open, and 64 more while
/// clients ask; audio-out and a worker map 285 MiB each; the largest segment has at most 64 MiB.
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

/// How many threads a stack adds to those that run already, and the stack size of each thread in the check.
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
        /// What the limit is on.
        what: &'static str,
        /// The letter of `ulimit`.
        letter: char,
        /// The present limit.
        found: u64,
        /// The lowest sufficient limit.
        least: u64,
    },
    /// A limit on the user, or on the group of processes.
    #[error(
        "no {THREADS} threads can be started ({0}); raise the limit on processes (`ulimit -u`, or pids.max of the cgroup)"
    )]
    Threads(io::Error),
}

/// Raises soft limits as far as needed and allowed, and reports the first one that is still too low. Lowers the
/// limit on the time for which a real-time thread may run without a pause.
///
/// # Errors
/// Names the limit and the lowest sufficient value.
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

/// Lets the kernel end any process whose real-time thread spins. A lower limit stays.
fn limit_spinning() {
    let Rlimit { current, maximum } = getrlimit(Resource::Rttime);
    let most = realtime::SPINS_MAX.as_micros() as u64;
    let lowered = Rlimit {
        current: Some(current.map_or(most, |found| found.min(most))),
        maximum,
    };
    // Without this limit, the supervisor ends the spinning processes that it notices.
    let _ = setrlimit(Resource::Rttime, lowered);
}

/// Starts `count` threads at the same time, and ends them.
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
        // The threads that were started wait for ever; the program is about to end.
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
