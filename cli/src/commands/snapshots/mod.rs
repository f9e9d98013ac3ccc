//! Snapshots: `snapshot` and `run` take them, `list`, `show`, `ls` and `diff` look at them, `forget` and `unforget`.

pub(crate) mod diff;
pub(crate) mod forget;
mod groups;
pub(crate) mod list;
pub(crate) mod ls;
pub(crate) mod run;
mod run_summary;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod snapshot_output;
pub(crate) mod unforget;
