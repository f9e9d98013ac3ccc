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
//! `view` is the state of the repository, `mark` what is needed (`references` reads it, `recent_cache` saves time),
//! `pack_usage` how much of each pack; `plan` decides, `condemn` and `sweep` are the two phases, with
//! `fragment_writer` for index fragments and `action_deadline` before deletions; `logs` does the same for logs,
//! `expired_records` deletes old leases and sweeps. `options` and `report` are what a user gives and gets.

mod action_deadline;
mod condemn;
mod expired_records;
mod fragment_writer;
mod logs;
mod mark;
mod options;
mod pack_usage;
mod plan;
mod recent_cache;
mod references;
mod report;
mod sweep;
#[cfg(test)]
mod tests;
mod view;

use crate::error::Result;
use crate::progress::Progress;
use crate::prune::logs::DueLogSegments;
use crate::prune::mark::MarkedChunks;
use crate::prune::options::PruneContext;
use crate::prune::pack_usage::IndexUsage;
use crate::prune::plan::PruneDecision;
use crate::prune::view::RepositoryView;
use crate::records::leases::Lease;
use crate::records::tombstones::Keeper;
use crate::store::Repository;

pub use options::PruneOptions;
pub use report::{PrunePlan, PruneReport, WaitingSweep};

impl Repository {
    /// Collects garbage. `show` gets the plan before anything is done.
    ///
    /// # Errors
    /// When a root cannot be read, so that what it needs is unknown; [`crate::Error::UnknownHost`] when this machine
    /// may not add to the repository; [`crate::Error::NotKeeper`] without a keeper's key; or errors of the backend. The next run resumes unfinished work.
    pub fn prune(
        &self,
        options: &PruneOptions,
        progress: &Progress,
        show: impl FnOnce(&PrunePlan),
    ) -> Result<PruneReport> {
        if options.dry_run {
            return self.run_prune(None, options, progress, show);
        }
        self.require_writer()?;
        let keeper = self.load_keeper(options.keeper_file.as_deref(), "prune")?;
        let backend = self.inner.backend.as_ref();
        let lease = Lease::acquire(&self.inner, backend, &options.host, view::PRUNE_COMMAND)?;
        let done = self.run_prune(Some((&lease, &keeper)), options, progress, show);
        lease.release(backend);
        done
    }

    fn run_prune(
        &self,
        authority: Option<(&Lease, &Keeper)>,
        options: &PruneOptions,
        progress: &Progress,
        show: impl FnOnce(&PrunePlan),
    ) -> Result<PruneReport> {
        let (view, index) = RepositoryView::load(self, authority.map(|(lease, _)| lease))?;
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
        let Some((lease, keeper)) = authority else {
            return Ok(report);
        };
        let job = PruneContext {
            repository: self,
            options,
            keeper,
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
