//! Errors of reading an archived log.

use reprise_repository::ErrorClass;

use crate::binlog::EventError;

/// The result of reading an archived log.
pub(super) type Result<T, E = LogReadError> = std::result::Result<T, E>;

/// Why an archived log could not be read. `Display` never includes the source.
#[derive(Debug, thiserror::Error)]
pub enum LogReadError {
    /// The repository failed.
    #[error("the archived log could not be read from the repository")]
    Repository(#[from] reprise_repository::Error),
    /// What is stored is not a valid log.
    #[error("the archived log cannot be read")]
    InvalidEvents {
        /// What is wrong with it.
        #[source]
        source: EventError,
    },
}

impl LogReadError {
    /// What the caller must do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::InvalidEvents { .. } => ErrorClass::Damaged,
        }
    }

    /// What to do next, in a sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Repository(error) => error.hint(),
            Self::InvalidEvents { .. } => "run `reprise verify --read-data`; points in time before the damage can still be restored".to_owned(),
        }
    }
}
