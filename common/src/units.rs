//! The quantities that must not be mixed up, each as a type of its own.
//!
//! Everything that happens to the sound happens at a block number, never "now"; every accepted
//! command has a sequence number; every switch has an epoch; every life of a worker has an
//! incarnation. All of them only ever grow.

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
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
    /// The sequence number of an accepted command; 0 means "none yet", the first command is 1.
    Seq
);
counter!(
    /// The number of a switch: each change of the preferred slot is one more.
    Epoch
);
counter!(
    /// The number of a life of a worker: each worker ever started has its own; 0 means "nobody".
    Incarnation
);

/// Where the counters of a run begin: at 0, but for tests, which begin just below an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// The first block to be rendered, at most [`FIRST_BLOCK_MAX`].
    pub block: BlockIndex,
    /// What stands for "none yet" in all other counters: sequence numbers, tickets and submission ids, epochs, lives of
    /// workers, patches, segments and places of the log, recordings, futex words; at most [`FIRST_NUMBER_MAX`].
    pub number: u64,
}

/// The highest first block: with the largest blocks there are 2^62 frames before it.
pub const FIRST_BLOCK_MAX: u64 = 1 << 51;
/// The highest first number: submission ids have 16 bits beside it, breadcrumbs 4 beside a block.
pub const FIRST_NUMBER_MAX: u64 = 1 << 46;

/// A worker's seat: it owns ring 0 or ring 1 for its whole life.
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

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The seat across.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// The seat of that number, if there is one.
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
