//! Log segments that a keeper has forgotten long enough ago. Nothing refers to them but each other, so nothing is
//! marked: tombstones alone name those to delete, and they are deleted from the oldest on.
//!
//! Deletions are announced, and then tombstones are read once more: whoever takes one back reads the announcements
//! afterwards. So either this run sees that it was taken back, or the other sees that it may be too late.

use chrono::{DateTime, TimeDelta, Utc};

use crate::backend::BackendError;
use crate::error::{ObjectFailure, Result};
use crate::log::segment_record::LogSegmentKey;
use crate::prune::action_deadline::ActionDeadline;
use crate::prune::options::PruneContext;
use crate::prune::view::read_tombstones_strictly;
use crate::prune::{PrunePlan, PruneReport};
use crate::records::sweeps::{self, SweepRecord, SweepState};
use crate::records::tombstones::{ForgottenLog, Tombstones};
use crate::store::Repository;

/// What is deleted of each log.
#[derive(Debug)]
pub(super) struct DueLogSegments {
    /// By source, with the sequence number of the first segment that stays.
    logs: Vec<(ForgottenLog, Vec<LogSegmentKey>)>,
    /// The time from which the grace period is measured.
    now: DateTime<Utc>,
}

impl DueLogSegments {
    /// Finds what was forgotten before the grace period began; adds what still waits to the plan.
    pub(super) fn find_due(
        repository: &Repository,
        grace: TimeDelta,
        now: DateTime<Utc>,
        plan: &mut PrunePlan,
    ) -> Result<Self> {
        let tombstones = repository.read_tombstones()?;
        let mut due = Self {
            logs: Vec::new(),
            now,
        };
        for (source, _) in tombstones.forgotten_logs() {
            let first = tombstones.first_kept_segment(source);
            let over = first_kept_sequence(&tombstones, source, grace, now);
            let keys = repository.list_log_segments(source)?.into_iter();
            let forgotten = keys.filter(|key| key.sequence < first);
            let (going, waiting): (Vec<_>, Vec<_>) = forgotten.partition(|key| key.sequence < over);
            plan.log_segments += going.len() as u64;
            plan.log_bytes += going.iter().map(|key| key.size).sum::<u64>();
            plan.log_bytes_waiting += waiting.iter().map(|key| key.size).sum::<u64>();
            if !going.is_empty() {
                let log = ForgottenLog {
                    source: source.to_owned(),
                    before: over,
                };
                due.logs.push((log, going));
            }
        }
        Ok(due)
    }

    /// Deletes them. A locked segment keeps later ones of its log from being deleted.
    pub(super) fn delete_segments(
        &self,
        job: &PruneContext<'_>,
        report: &mut PruneReport,
    ) -> Result<()> {
        if self.logs.is_empty() {
            return Ok(());
        }
        self.announce_deletion(job)?;
        let clock = job.repository.inner.clock.as_ref();
        for (log, keys) in &self.logs {
            job.check_still_keeper()?;
            let watch = ActionDeadline::start(clock);
            let tombstones = read_tombstones_strictly(job.repository)?;
            let over = first_kept_sequence(&tombstones, &log.source, job.options.grace, self.now);
            for key in keys.iter().filter(|key| key.sequence < over) {
                job.progress.check_cancelled()?;
                watch.check_not_passed(clock)?;
                if !delete_log_segment(job, key, report)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Announces what is deleted, before the last check whether it may be.
    fn announce_deletion(&self, job: &PruneContext<'_>) -> Result<()> {
        let inner = &job.repository.inner;
        let record = SweepRecord {
            state: SweepState::Final,
            at: inner.clock.wall_time(),
            by: job.options.host.clone(),
            packs: Vec::new(),
            fragments: Vec::new(),
            roots: Vec::new(),
            logs: self.logs.iter().map(|(log, _)| log.clone()).collect(),
            of: None,
            program: crate::program::PROGRAM.to_owned(),
        };
        sweeps::put_sweep_record(inner, job.keeper.signer(), &record).map(drop)
    }
}

/// `false`: it is locked.
fn delete_log_segment(
    job: &PruneContext<'_>,
    key: &LogSegmentKey,
    report: &mut PruneReport,
) -> Result<bool> {
    let inner = &job.repository.inner;
    match inner.backend.delete(&key.to_object_key()) {
        Ok(()) => {
            report.log_segments += 1;
            report.log_bytes += key.size;
            Ok(true)
        }
        Err(error @ BackendError::Locked { .. }) => {
            report.locked.push(ObjectFailure {
                object: key.to_string(),
                reason: error.to_string(),
            });
            Ok(false)
        }
        Err(error) => Err(inner.backend_error(error)),
    }
}

/// The sequence number of the first segment that is kept, according to tombstones older than the grace period.
fn first_kept_sequence(
    tombstones: &Tombstones,
    source: &str,
    grace: TimeDelta,
    now: DateTime<Utc>,
) -> u64 {
    let named = tombstones
        .forgotten_logs()
        .filter(|(name, _)| *name == source);
    let old = named
        .flat_map(|(_, by)| by)
        .filter(|tombstone| tombstone.effective_since() + grace <= now);
    let logs = old.flat_map(|tombstone| &tombstone.record.logs);
    let places = logs.filter(|log| log.source == source);
    places.map(|log| log.before).max().unwrap_or(1)
}
