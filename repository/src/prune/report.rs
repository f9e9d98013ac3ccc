//! What a prune plans to do, and what it has done.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::error::ObjectFailure;

/// The plan of a prune.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PrunePlan {
    /// Snapshots that are kept.
    pub snapshots: u64,
    /// Forgotten snapshots that are condemned now.
    pub forgotten: u64,
    /// Packs of the repository.
    pub packs: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Packs of which nothing is needed, condemned now.
    pub dead_packs: u64,
    /// Their bytes.
    pub dead_bytes: u64,
    /// Those of them that were re-encrypted, according to a keeper: other packs hold what is needed of them.
    pub replaced_packs: u64,
    /// Packs of which so little is needed that it is copied, condemned now.
    pub repacked_packs: u64,
    /// Their bytes.
    pub repacked_bytes: u64,
    /// Bytes of their segments that are copied, whole, into new packs.
    pub copied_bytes: u64,
    /// Bytes in other packs of which nothing is needed, but too little to copy the rest.
    pub unused_bytes: u64,
    /// Fragments of the index.
    pub fragments: u64,
    /// Those that are replaced by others.
    pub fragments_replaced: u64,
    /// Forgotten snapshots that were condemned before and are deleted now.
    pub swept_snapshots: u64,
    /// Packs that were condemned before and are deleted now.
    pub swept_packs: u64,
    /// Their bytes: the space that is freed now.
    pub swept_bytes: u64,
    /// Bytes that are freed once what is condemned now is deleted; the new packs' directories not counted.
    pub freed_later_bytes: u64,
    /// Packs that nothing needs and that may belong to an active run.
    pub possibly_in_use_packs: u64,
    /// Log segments that were forgotten before the grace period began and are deleted now.
    pub log_segments: u64,
    /// Their bytes: freed now.
    pub log_bytes: u64,
    /// Bytes of log segments that are forgotten and still wait.
    pub log_bytes_waiting: u64,
    /// What waits, and the reason.
    pub waiting: Vec<WaitingSweep>,
    /// What is wrong or ignored. None of it is deleted.
    pub findings: Vec<ObjectFailure>,
}

/// Condemned objects that cannot be deleted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingSweep {
    /// The sweep.
    pub sweep: String,
    /// Its packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What they wait for, in words.
    pub reason: String,
    /// Until when at the latest.
    pub until: DateTime<Utc>,
}

/// The result of a prune.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// The sweep record that condemns, if anything is condemned.
    pub condemned: Option<String>,
    /// New packs.
    pub new_packs: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// New index fragments.
    pub new_fragments: u64,
    /// Snapshots deleted.
    pub snapshots: u64,
    /// Index fragments deleted.
    pub fragments: u64,
    /// Packs deleted.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that were condemned and are needed after all.
    pub still_needed_packs: u64,
    /// Log segments deleted.
    pub log_segments: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Objects that are locked: a later run deletes them.
    pub locked: Vec<ObjectFailure>,
    /// What was found to be wrong during the run.
    pub findings: Vec<ObjectFailure>,
}
