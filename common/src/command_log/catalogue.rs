//! The catalogue of a log: the module types that its writer knew, their parameters in the order of their
//! numbers, and the sizes of their states. It is generated from the code. A log of another build is read by
//! these names.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The catalogue of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The version of the program.
    pub program: String,
    /// The types, sorted by name.
    pub types: Vec<TypeNames>,
}

/// A module type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeNames {
    /// The name, as in a patch's `type`.
    pub name: String,
    /// The type's own parameters. Their amounts follow in the same order.
    pub params: Vec<String>,
    /// State cells per channel.
    pub cells: u64,
}

impl Catalogue {
    /// A hash of the types. It changes with them, even if the version does not.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(&postcard::to_allocvec(&self.types).unwrap_or_default())
    }

    /// The type with this name.
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
