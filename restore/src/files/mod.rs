//! Restores a snapshot's entries as files of a directory, and compares a directory with a snapshot.
//!
//! `plan` and `execute` (windows of entries) are the entry, with the types `options` and `report`. `directory_restore` is
//! a restore in progress, `existing_files` what it keeps, `write_contents` what it writes (`parallel`: on several
//! threads), `links` the further names of files, `problems` what it could not do, `path_selection` what is restored.
//! `directory` is the one that is restored into, `content` where a file's chunks are in it. `compare` compares, and
//! `read_entry` reads a single file without restoring it.

mod compare;
mod content;
mod directory;
mod directory_restore;
mod execute;
mod existing_files;
mod links;
mod options;
mod parallel;
mod path_selection;
mod plan;
mod problems;
mod read_entry;
mod report;
mod write_contents;

pub use compare::{Comparison, ComparisonOptions, Difference, NOT_IN_SNAPSHOT, compare_directory};
pub use directory::process_rights::ProcessRights;
pub use execute::restore;
pub use options::{AttributeSelection, OverwriteMode, RestoreOptions, SpecialFiles};
pub use path_selection::{PathMatch, PathSelection, ResolvedPaths};
pub use plan::plan_restore;
pub use problems::{Consequence, ProblemGroup};
pub use read_entry::write_entry_content;
pub use report::{RestorePlan, RestoreReport, StoppedRestore};
