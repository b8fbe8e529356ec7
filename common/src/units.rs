//! Quantities that must not be mixed up, each as a type of its own.
//!
//! Everything that happens to the sound has a block number. Every accepted command has a sequence number,
//! every switch an epoch, every worker's life an incarnation. These numbers only grow.

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl $name {
            /// The next number.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// The number of a block of sound, from 0 for the life of the instance.
    BlockIndex
);
counter!(
    /// The number of a frame of sound, from 0 for the life of the instance.
    FrameIndex
);
counter!(
    /// The sequence number of an accepted command, from 1; 0 means "none yet".
    Seq
);
counter!(
    /// The number of a switch: each change of the preference adds 1.
    Epoch
);
counter!(
    /// The number of a worker's life. Each worker that is started gets its own; 0 means "no worker".
    Incarnation
);

/// Where the counters of a run begin: at 0, except in tests that begin just below an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// The first block that is rendered, at most [`FIRST_BLOCK_MAX`].
    pub block: BlockIndex,
    /// The value that means "none yet" in all other counters: sequence numbers, tickets and submission ids,
    /// epochs, incarnations, patches, segments and places of the log, recordings, futex words. At most
    /// [`FIRST_NUMBER_MAX`].
    pub number: u64,
}

/// The highest first block: with the largest blocks, 2^62 frames precede it.
pub const FIRST_BLOCK_MAX: u64 = 1 << 51;
/// The highest first number: it shares a word with 16 more bits in submission ids, and with 4 more in breadcrumbs.
pub const FIRST_NUMBER_MAX: u64 = 1 << 46;

/// The seat of a worker: the worker in it owns ring 0 or ring 1 for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// The seat of ring 0.
    Zero,
    /// The seat of ring 1.
    One,
}

impl Slot {
    /// Both seats, in order.
    pub const ALL: [Self; 2] = [Self::Zero, Self::One];

    /// The index of the slot, 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other seat.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// The seat with this index, if there is one.
    #[must_use]
    pub const fn from_index(index: u64) -> Option<Self> {
        match index {
            0 => Some(Self::Zero),
            1 => Some(Self::One),
            _ => None,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.index().fmt(f)
    }
}
