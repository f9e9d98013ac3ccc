//! One file per command.

pub(crate) mod archive;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod drill;
pub(crate) mod forget;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod key_change;
pub(crate) mod key_sheet;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod policy;
pub(crate) mod preview;
pub(crate) mod prune;
pub(crate) mod reencrypt;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod restore_mysql;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod snapshots;
pub(crate) mod unforget;
pub(crate) mod verify;
