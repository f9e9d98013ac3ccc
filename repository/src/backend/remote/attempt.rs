//! How one attempt to send a request fails.

use std::time::Duration;

use crate::backend::{BackendError, Cause};

/// Why one attempt failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// A retry would not help.
    Permanent(BackendError),
    /// A retry may work.
    Transient {
        /// What happened.
        source: Cause,
        /// The retry delay that the server asks for.
        retry_after: Option<Duration>,
        /// Whether the server responded at all.
        answered: bool,
    },
}

/// A response that cannot be what the server sent.
pub(super) fn corrupt_response(source: impl Into<Cause>) -> AttemptError {
    AttemptError::Transient {
        source: source.into(),
        retry_after: None,
        answered: true,
    }
}
