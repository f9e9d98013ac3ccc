//! Who forgets, when and why: the record in a tombstone.

use chrono::{DateTime, Utc};
use reprise_repository::{PolicyVersion, TombstoneMetadata};

use crate::environment::JobEnvironment;

/// The record for a tombstone.
#[must_use]
pub fn tombstone_metadata(
    environment: &JobEnvironment,
    reason: String,
    policy: Option<PolicyVersion>,
    at: DateTime<Utc>,
) -> TombstoneMetadata {
    TombstoneMetadata {
        at,
        by: environment.user.clone(),
        reason,
        policy,
        program: environment.program.clone(),
    }
}
