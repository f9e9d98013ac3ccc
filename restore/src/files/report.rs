//! Plan and report of a restore into a directory.

use reprise_repository::{EntryCounts, Outcome, Warning};
use serde::Serialize;

/// The plan of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    /// What will exist afterwards.
    pub counts: EntryCounts,
    /// How many of those already exist in the target.
    pub existing: u64,
    /// Some of them, by name.
    pub existing_examples: Vec<String>,
}

/// The summary of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// `ok`, or `degraded` when something named could not be restored as it was.
    pub outcome: Outcome,
    /// What exists now.
    pub counts: EntryCounts,
    /// Files that were right already.
    #[serde(rename = "already_correct")]
    pub kept: u64,
    /// What could not be restored as it was.
    pub warnings: Vec<Warning>,
    /// What a restore leaves to a person.
    pub notes: Vec<String>,
}
