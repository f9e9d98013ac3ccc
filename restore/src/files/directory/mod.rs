//! The directory that is restored into. Every entry in it is reached below an open directory, never through a link, and its
//! attributes are set through descriptors whose identity was checked.
//!
//! `restore_directory` is the target as a whole, `directories` makes and reopens directories, `placement` puts new entries
//! where they belong, `names` knows what was in a directory before. `attributes` sets owners, modes and times,
//! `attribute_policy` says which, `flagged_entries` names flags that are not set, `process_rights` what this process may set.

pub(crate) mod attribute_policy;
pub(crate) mod attributes;
pub(crate) mod directories;
pub(crate) mod failure;
pub(crate) mod flagged_entries;
pub(crate) mod names;
pub(crate) mod placement;
pub(crate) mod process_rights;
pub(crate) mod restore_directory;
