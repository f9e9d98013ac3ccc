//! Options of a restore into a directory.

use std::path::PathBuf;

use reprise_repository::RawText;

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
