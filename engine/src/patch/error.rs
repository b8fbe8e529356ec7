//! What can be wrong with a patch: what it was, where, what would be right.

/// The first thing that was wrong with a patch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
#[non_exhaustive]
pub enum PatchError {
    /// The text is not JSON.
    #[error("not a patch: {0}")]
    Json(String),
    /// A field that no patch has, or with something else in it.
    #[error("{at}: {what} (line {line}, column {column})")]
    Field {
        at: String,
        what: String,
        line: usize,
        column: usize,
    },
    /// What only the log of an instance may hold.
    #[error("{at}.fade: no such field; there are from, to, feedback, frame")]
    Fading { at: String },
    /// No such preset.
    #[error("module \"{module}\" has no preset \"{name}\"{hint}")]
    UnknownPreset {
        module: String,
        name: String,
        hint: String,
    },
    /// The format is of another version.
    #[error(
        "version: it is {found}; this program reads version {}",
        super::VERSION
    )]
    Version { found: u32 },
    /// Too many of something.
    #[error("{what}: there are {count}; at most {max} are allowed")]
    TooMany {
        what: &'static str,
        count: usize,
        max: usize,
    },
    /// An id that cannot be part of an address.
    #[error(
        "{at}: the id \"{id}\" must be 1 to {} of a-z A-Z 0-9 _ -",
        super::ID_CHARS_MAX
    )]
    BadId { at: String, id: String },
    /// Two modules of the same id.
    #[error("{at}: the id \"{id}\" is taken by {by}; each module needs its own")]
    DuplicateId { at: String, id: String, by: String },
    /// No such module type.
    #[error("{at}: no module type \"{name}\"{hint}")]
    UnknownType {
        at: String,
        name: String,
        hint: String,
    },
    /// The type has no such parameter.
    #[error("{at}: \"{module}\" ({kind}) has no such parameter{hint}")]
    UnknownParam {
        at: String,
        module: String,
        kind: &'static str,
        hint: String,
    },
    /// A recording for a type that plays none.
    #[error("{at}: {kind} plays from no recording; sampler and granular do")]
    NoSample { at: String, kind: &'static str },
    /// A recording that was not taken in.
    #[error(
        "{at}: \"{sample}\" was not taken in; `understudy patch load FILE`, `up --patch FILE` and `render` read the recordings that a patch file names"
    )]
    UnknownSample { at: String, sample: String },
    /// A value that the parameter cannot take.
    #[error("{at}: {value} is out of range; from {min} to {max} is right")]
    OutOfRange {
        at: String,
        value: f32,
        min: f32,
        max: String,
    },
    /// A value between the steps.
    #[error("{at}: {value} is no whole number; right are {right}")]
    NotStepped {
        at: String,
        value: f32,
        right: String,
    },
    /// A cable to or from nowhere.
    #[error("{at}: no module \"{name}\"{hint}")]
    UnknownModule {
        at: String,
        name: String,
        hint: String,
    },
    /// A cable to or from a port that the module does not have.
    #[error("{at}: {module} has no {side} \"{port}\"{hint}")]
    UnknownPort {
        at: String,
        module: String,
        side: &'static str,
        port: String,
        hint: String,
    },
    /// A cable on a side of a module that has no ports.
    #[error("{at}: {module} has no {side}s")]
    NoPorts {
        at: String,
        module: String,
        side: &'static str,
    },
    /// The same cable twice.
    #[error("{at}: {by} is the same cable; remove one")]
    DuplicateCable { at: String, by: String },
    /// A cable to take out that is not there.
    #[error(
        "no cable goes from \"{from}\" to \"{to}\"; `understudy patch show` shows all there are"
    )]
    NoCable { from: String, to: String },
    /// Sound would have to be there before it is made.
    #[error("cables: {path} is a cycle; remove one of its cables")]
    Cycle { path: String },
    /// Nothing would be heard.
    #[error("modules: none is of type \"out\"; one is needed to hear something")]
    NoOut,
    /// Two places to be heard.
    #[error("{at}: {by} is of type \"out\" already; exactly one is right")]
    SecondOut { at: String, by: String },
    /// A sequence.
    #[error(transparent)]
    Sequence(#[from] super::sequence::SequenceError),
    /// The engine cannot run like this.
    #[error("{what} {value}: from {min} to {max} is right")]
    Config {
        what: &'static str,
        value: u32,
        min: u32,
        max: u32,
    },
    /// More state than a checkpoint can hold.
    #[error("modules: their state takes {bytes} bytes; a checkpoint holds {max}; remove some")]
    TooMuchState { bytes: u64, max: u64 },
}

/// What a wrong word might have meant, or what there is, as the end of a message.
pub(super) fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let word = word.to_ascii_lowercase();
    let alike = |known: &str| strsim::jaro_winkler(&word, &known.to_ascii_lowercase());
    // The first of the likeliest: `max_by` alone would give the last.
    let best = known
        .clone()
        .map(|known| (alike(known), known))
        .reduce(|best, other| if other.0 > best.0 { other } else { best });
    match best {
        Some((score, best)) if score > 0.75 => format!("; did you mean \"{best}\"?"),
        Some(_) if known.clone().count() <= 12 => {
            format!("; there are {}", known.collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    }
}
