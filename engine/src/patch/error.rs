//! The errors of a patch: what is wrong, where, and what is expected.

/// The first error in a patch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
#[non_exhaustive]
pub enum PatchError {
    /// The text is not JSON.
    #[error("not a patch: {0}")]
    Json(String),
    /// An unknown field, or a field of a wrong type.
    #[error("{at}: {what} (line {line}, column {column})")]
    Field {
        at: String,
        what: String,
        line: usize,
        column: usize,
    },
    /// A field that only the log of an instance may contain.
    #[error("{at}.fade: no such field (expected one of from, to, feedback, frame)")]
    Fading { at: String },
    /// The preset does not exist.
    #[error("module \"{module}\" has no preset \"{name}\"{hint}")]
    UnknownPreset {
        module: String,
        name: String,
        hint: String,
    },
    /// The format has another version.
    #[error("version: {found} is not supported (expected {})", super::VERSION)]
    Version { found: u32 },
    /// A count exceeds its limit.
    #[error("{what}: {count} is too many (expected at most {max})")]
    TooMany {
        what: &'static str,
        count: usize,
        max: usize,
    },
    /// An id is not valid in an address.
    #[error(
        "{at}: the id \"{id}\" is invalid (expected 1 to {} characters of a-z A-Z 0-9 _ -)",
        super::ID_CHARS_MAX
    )]
    BadId { at: String, id: String },
    /// Two modules have the same id.
    #[error("{at}: the id \"{id}\" is taken by {by} (expected a unique id)")]
    DuplicateId { at: String, id: String, by: String },
    /// The module type does not exist.
    #[error("{at}: no module type \"{name}\"{hint}")]
    UnknownType {
        at: String,
        name: String,
        hint: String,
    },
    /// The module has no such parameter.
    #[error("{at}: \"{module}\" ({kind}) has no such parameter{hint}")]
    UnknownParam {
        at: String,
        module: String,
        kind: &'static str,
        hint: String,
    },
    /// A recording for a type that does not play recordings.
    #[error("{at}: the type {kind} does not play recordings (expected sampler or granular)")]
    NoSample { at: String, kind: &'static str },
    /// A recording was not imported.
    #[error(
        "{at}: \"{sample}\" is not imported; `understudy patch load FILE`, `up --patch FILE` and `render` import the recordings that a patch file names"
    )]
    UnknownSample { at: String, sample: String },
    /// A value is outside its range.
    #[error("{at}: {value} is out of range (expected {min} to {max})")]
    OutOfRange {
        at: String,
        value: f32,
        min: f32,
        max: String,
    },
    /// A value of a stepped parameter is not an integer.
    #[error("{at}: {value} is not an integer (expected {right})")]
    NotStepped {
        at: String,
        value: f32,
        right: String,
    },
    /// A module does not exist.
    #[error("{at}: no module \"{name}\"{hint}")]
    UnknownModule {
        at: String,
        name: String,
        hint: String,
    },
    /// A module has no such port.
    #[error("{at}: {module} has no {side} \"{port}\"{hint}")]
    UnknownPort {
        at: String,
        module: String,
        side: &'static str,
        port: String,
        hint: String,
    },
    /// A module has no inputs, or no outputs.
    #[error("{at}: {module} has no {side}s")]
    NoPorts {
        at: String,
        module: String,
        side: &'static str,
    },
    /// Two cables have the same ends.
    #[error("{at}: the cable duplicates {by} (expected each cable once)")]
    DuplicateCable { at: String, by: String },
    /// A cable to remove does not exist.
    #[error("no cable goes from \"{from}\" to \"{to}\"; `understudy patch show` shows all cables")]
    NoCable { from: String, to: String },
    /// A cycle has no delayed cable.
    #[error("cables: {path} is a cycle; remove one of its cables")]
    Cycle { path: String },
    /// The patch has no `out`.
    #[error("modules: no module is of type \"out\" (expected exactly one)")]
    NoOut,
    /// The patch has two modules of type `out`.
    #[error("{at}: {by} is of type \"out\" already (expected exactly one)")]
    SecondOut { at: String, by: String },
    /// An error in a sequence.
    #[error(transparent)]
    Sequence(#[from] super::sequence::SequenceError),
    /// A value of the engine's configuration is outside its range.
    #[error("{what} {value} is out of range (expected {min} to {max})")]
    Config {
        what: &'static str,
        value: u32,
        min: u32,
        max: u32,
    },
    /// The state of the modules exceeds the size of a checkpoint.
    #[error("modules: the state has {bytes} bytes (expected at most {max}); remove modules")]
    TooMuchState { bytes: u64, max: u64 },
}

/// A similar name, or the list of known names, as the end of an error text.
pub(super) fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let word = word.to_ascii_lowercase();
    let alike = |known: &str| strsim::jaro_winkler(&word, &known.to_ascii_lowercase());
    // The first of the most similar names: `max_by` would return the last.
    let best = known
        .clone()
        .map(|known| (alike(known), known))
        .reduce(|best, other| if other.0 > best.0 { other } else { best });
    match best {
        Some((score, best)) if score > 0.75 => format!("; did you mean \"{best}\"?"),
        Some(_) if known.clone().count() <= 12 => {
            format!(
                " (expected one of {})",
                known.collect::<Vec<_>>().join(", ")
            )
        }
        _ => String::new(),
    }
}
