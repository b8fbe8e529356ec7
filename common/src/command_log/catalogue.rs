//! What the numbers in a log mean: the types of modules that its writer knew, their parameters in the order of
//! their numbers, and how large their states are. Generated from the code; a log of another build is read by
//! the names.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// See the file's head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The version of the program.
    pub program: String,
    /// The types, in the order of their names.
    pub types: Vec<TypeNames>,
}

/// A type of modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeNames {
    /// As in a patch's `type`.
    pub name: String,
    /// Its own parameters; the amount by which each of them is modulated follows, in the same order.
    pub params: Vec<String>,
    /// Cells of the state of one channel.
    pub cells: u64,
}

impl Catalogue {
    /// A number that changes with the types, whatever the version is called.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(&postcard::to_allocvec(&self.types).unwrap_or_default())
    }

    /// The type of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&TypeNames> {
        self.types.iter().find(|known| known.name == name)
    }
}

impl std::fmt::Display for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (catalogue {:016x})", self.program, self.hash())
    }
}
