//! One file a command.

pub(crate) mod archive;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod drill;
pub(crate) mod init;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod policy;
pub(crate) mod restore;
pub(crate) mod restore_mysql;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod snapshots;
pub(crate) mod verify;
