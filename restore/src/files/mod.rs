//! Restores a snapshot's entries as files of a directory, and compares a directory with a snapshot.
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

/// How existing files of the target are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverwriteMode {
    /// The target must be empty.
    Refuse,
    /// Files that differ are replaced; files that the snapshot does not have stay.
    Overwrite,
    /// An interrupted restore of the same snapshot is resumed: files that are right already are kept.
    Resume,
}

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The directory. It is created if it does not exist.
    pub target: PathBuf,
    /// Only these paths and what is below them; empty: everything.
    pub paths: Vec<RawText>,
    /// How existing files are treated.
    pub existing: OverwriteMode,
}

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
}

/// Describes what a restore would do, without doing it.
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

/// Restores a snapshot. Every chunk is verified against its ID before it is written.
///
/// # Errors
/// When the target is refused, or the snapshot cannot be read. Failures of single entries are warnings.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoreReport> {
    execute::restore_files(repository, snapshot, options, progress)
}
