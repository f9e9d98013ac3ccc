//! Restores a snapshot's entries as files of a directory, and compares a directory with a snapshot.
//!
//! `plan` and `execute` (windows of entries) are the entry, with the types `options` and `report`. `directory_restore` is
//! a restore in progress, `existing_files` what it keeps, `write_contents` what it writes (`parallel`: on several
//! threads), `restore_directory` the target, `path_selection` what is restored; `content` and `attributes` are those of a
//! file. `compare` compares.

mod attributes;
mod compare;
mod content;
mod directory_restore;
mod execute;
mod existing_files;
mod options;
mod parallel;
mod path_selection;
mod plan;
mod report;
mod restore_directory;
mod write_contents;

pub use compare::{Comparison, Difference, NOT_IN_SNAPSHOT, compare_directory};
pub use execute::restore;
pub use options::{OverwriteMode, RestoreOptions};
pub use path_selection::{PathMatch, PathSelection};
pub use plan::plan_restore;
pub use report::{RestorePlan, RestoreReport};
