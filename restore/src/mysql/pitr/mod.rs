//! Points in time: `catalog` says which recovery targets there are, `find_path` finds the snapshot and the log by which
//! one is reached (`path`), `roll_forward` replays the log, whose events `events_after_snapshot` has.

pub(crate) mod catalog;
mod events_after_snapshot;
mod find_path;
mod path;
pub(crate) mod roll_forward;

pub use catalog::{RecoveryCatalog, RecoveryWindow};
pub use path::RecoveryPath;
