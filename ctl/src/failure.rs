//! The error of a verb, with its exit code.

/// One line of text and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What is wrong and what is expected.
    pub(crate) text: String,
}

impl Failure {
    /// The operation failed, or the stack refused it: exit code 1.
    pub(crate) fn no(text: impl Into<String>) -> Self {
        Self {
            code: 1,
            text: text.into(),
        }
    }

    /// Wrong usage: exit code 2.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            code: 2,
            text: text.into(),
        }
    }

    /// An option that prints text together with `--json`: wrong usage.
    pub(crate) fn not_with_json(option: &str) -> Self {
        Self::usage(format!(
            "{option} cannot be combined with --json (expected one of them)"
        ))
    }

    /// The instance is not running: exit code 3.
    pub(crate) fn absent(text: impl Into<String>) -> Self {
        Self {
            code: 3,
            text: text.into(),
        }
    }
}
