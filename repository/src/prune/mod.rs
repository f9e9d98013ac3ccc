//! Garbage collection: what no kept snapshot needs is named first, and deleted later.
//!
//! ```text
//! mark ──► plan ──► condemn: repack what is needed of mostly dead packs, describe what stays, put `condemned`
//!                      │  grace period, and every run that began before
//!                      ▼
//!                   sweep: put `final`, mark again, delete roots, index fragments, packs; put `done`
//! ```
//!
//! No record signed by a writer makes this delete what was kept before: a pack is deleted only when nothing in its own
//! directory is needed, or when every needed segment of it is in another pack byte for byte. That another pack claims
//! to hold the same chunks is not enough, as they cannot be decrypted here.
//!
//! `view` is the state of the repository, `mark` what is needed, `pack_usage` how much of each pack, `missing_chunks`
//! what is in no pack; `plan` decides, `condemn` and `sweep` are the two phases, `logs` those of logs,
//! `expired_records` deletes old leases and sweeps.

mod condemn;
mod expired_records;
mod logs;
mod mark;
mod pack_usage;
mod plan;
mod recent_cache;
mod references;
mod sweep;
#[cfg(test)]
mod tests;
mod view;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::error::{ObjectFailure, Result};
use crate::progress::Progress;
use crate::records::leases::Lease;
use crate::store::Repository;

use logs::DueLogSegments;
use mark::MarkedChunks;
use pack_usage::IndexUsage;
use plan::PruneDecision;
use view::RepositoryView;

/// The options of a prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only report what would be done.
    pub dry_run: bool,
    /// The grace period of condemned objects.
    pub grace: TimeDelta,
    /// At most this many bytes are copied out of mostly dead packs.
    pub max_repack: Option<u64>,
    /// Packs are copied when less than this share of their bytes is needed, in percent.
    pub repack_below: u8,
    /// This host's name.
    pub host: String,
}

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

/// What all parts of a prune need.
struct PruneContext<'a> {
    repository: &'a Repository,
    options: &'a PruneOptions,
    progress: &'a Progress,
}

impl Repository {
    /// Collects garbage. `show` gets the plan before anything is done.
    ///
    /// # Errors
    /// When a root cannot be read, so that what it needs is unknown; [`crate::Error::UnknownHost`] when this machine
    /// may not add to the repository; or errors of the backend. The next run resumes unfinished work.
    pub fn prune(
        &self,
        options: &PruneOptions,
        progress: &Progress,
        show: impl FnOnce(&PrunePlan),
    ) -> Result<PruneReport> {
        let lease = if options.dry_run {
            None
        } else {
            self.require_writer()?;
            let backend = self.inner.backend.as_ref();
            let lease = Lease::acquire(&self.inner, backend, &options.host, view::PRUNE_COMMAND)?;
            Some(lease)
        };
        let done = self.run_prune(lease.as_ref(), options, progress, show);
        if let Some(lease) = lease {
            lease.release(self.inner.backend.as_ref());
        }
        done
    }

    fn run_prune(
        &self,
        lease: Option<&Lease>,
        options: &PruneOptions,
        progress: &Progress,
        show: impl FnOnce(&PrunePlan),
    ) -> Result<PruneReport> {
        let (view, index) = RepositoryView::load(self, lease)?;
        let mut marks = MarkedChunks::new(self.fixed_reader(index))?;
        let early = view.due_roots_in_grace(options.grace);
        let kept = view.roots.snapshots.iter();
        let kept = kept.filter(|s| !s.forgotten || early.contains(&s.id));
        marks.mark_snapshots(&kept.collect::<Vec<_>>(), None, progress)?;
        let superseded = view::condemned_fragments(&view.sweeps);
        let mut census = IndexUsage::count_usage(&marks, &view.packs, &superseded)?;
        let mut decision = PruneDecision::decide(&view, &marks, &mut census, options);
        drop(census);
        let now = view.leases.now;
        let logs = DueLogSegments::find_due(self, options.grace, now, &mut decision.plan)?;
        show(&decision.plan);
        let mut report = PruneReport::default();
        let Some(lease) = lease else {
            return Ok(report);
        };
        let job = PruneContext {
            repository: self,
            options,
            progress,
        };
        if !decision.is_blocked {
            condemn::condemn_garbage(&job, &view, &marks, &decision, &mut report)?;
            sweep::run_due_sweeps(&job, lease, &mut marks, &mut report)?;
        }
        logs.delete_segments(&job, &mut report)?;
        expired_records::delete_expired_records(self, &view)?;
        Ok(report)
    }
}
