//! One kind of job a file: options and a report, no output.
//!
//! `snapshot` takes one, `locks` extends those of a repository; `copy`, `prune` and `verify` work on whole repositories;
//! `archive` archives a log; `forget` forgets what policies no longer keep, `forget_named` what is named, both with the
//! record that `tombstones` makes; `drill` rehearses a restore. An `event` is what people should know before a job has ended.

mod archive;
mod copy;
mod drill;
mod event;
mod forget;
mod forget_named;
mod locks;
mod prune;
mod snapshot;
mod tombstones;
mod verify;

pub use archive::{ArchiveJob, ArchiveOverrides, archive_job, run_archive};
pub use copy::{CopyJobReport, copy_by_policy, copy_repository};
pub use drill::{run_drill, take_drill_snapshot};
pub use event::{JobEvent, JobObserver};
pub use forget::{ForgetOptions, ForgetReport, WrittenTombstones, run_forget};
pub use forget_named::{
    ForgetNamedOptions, ForgetNamedReport, find_by_id, find_unreadable, forget_named,
};
pub use locks::extend_locks;
pub use prune::{PolicyDestination, PruneJobReport, policy_destinations, prune_repository};
pub use snapshot::{SnapshotReport, snapshot_policy_source, take_snapshot};
pub use tombstones::tombstone_metadata;
pub use verify::{VerifyJobReport, verify_repository};
