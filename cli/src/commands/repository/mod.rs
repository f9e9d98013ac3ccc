//! Whole repositories: `init`, `verify` (and `repair`), `prune`, `copy`; `access_policy` prints what a destination must grant.

pub(crate) mod access_policy;
pub(crate) mod copy;
pub(crate) mod init;
pub(crate) mod prune;
pub(crate) mod repair;
pub(crate) mod verify;
