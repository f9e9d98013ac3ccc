//! One file per command: its options, and its output.

pub(crate) mod completions;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod policy;
pub(crate) mod repository;
pub(crate) mod restore;
pub(crate) mod schedule;
pub(crate) mod snapshots;
