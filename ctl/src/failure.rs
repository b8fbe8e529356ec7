//! Why a verb did not do what was asked, with its exit code.

/// One clear line and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What was wrong and what would be right.
    pub(crate) text: String,
}

impl Failure {
    /// It could not be done, or the stack said no: exit code 1.
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

    /// No such instance is running: exit code 3.
    pub(crate) fn absent(text: impl Into<String>) -> Self {
        Self {
            code: 3,
            text: text.into(),
        }
    }
}
