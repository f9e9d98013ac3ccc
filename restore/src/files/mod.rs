//! Bringing a snapshot's entries back as files of a directory, and comparing a directory with a snapshot.
//!
//! `path_selection`, `restore_directory` (the target), `execute` (windows of entries), `content`, `attributes`, `compare`.

mod attributes;
mod compare;
mod content;
mod execute;
mod path_selection;
mod restore_directory;

use std::path::PathBuf;

use reprise_repository::{EntryCounts, Outcome, Progress, RawText, Repository, Snapshot, Warning};
use serde::Serialize;

use crate::error::Result;

pub use compare::{Comparison, Difference, NOT_IN_SNAPSHOT, compare_directory};
pub use path_selection::{PathMatch, PathSelection};

/// What to do with what the target holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverwriteMode {
    /// The target must be empty.
    Refuse,
    /// Files that differ are replaced; files that the snapshot does not have stay.
    Overwrite,
    /// An interrupted restore of the same snapshot is continued: files that are right already are kept.
    Resume,
}

/// What to bring back, and where to.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The directory. It is made if it does not exist.
    pub target: PathBuf,
    /// Only these paths and what is below them; empty: everything.
    pub paths: Vec<RawText>,
    /// What to do with what is there.
    pub existing: OverwriteMode,
}

/// What a restore is going to do.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    /// What will be there afterwards.
    pub counts: EntryCounts,
    /// How many of those exist in the target already.
    pub existing: u64,
    /// Some of them, by name.
    pub existing_examples: Vec<String>,
}

/// What a restore did.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// `ok`, or `degraded` when something named could not be restored as it was.
    pub outcome: Outcome,
    /// What is there now.
    pub counts: EntryCounts,
    /// Files that were right already.
    #[serde(rename = "already_correct")]
    pub kept: u64,
    /// What could not be restored as it was.
    pub warnings: Vec<Warning>,
}

/// Says what a restore would do, without doing it.
///
/// # Errors
/// As for [`restore`].
pub fn plan_restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<RestorePlan> {
    path_selection::plan_restore(repository, snapshot, options)
}

/// Brings a snapshot back. Every chunk is compared with its id before it is written.
///
/// # Errors
/// When the target is refused, or the snapshot cannot be read. What single entries suffer is a warning.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoreReport> {
    execute::restore_files(repository, snapshot, options, progress)
}
