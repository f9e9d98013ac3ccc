//! Snapshots that are due although the ledger cannot be used: a full disk for it must not stop them.
//!
//! What the ledger would say is derived from the repositories: a snapshot that was taken since the slot was due stands for
//! it. Nothing else is run so, as nothing is lost with it.

use std::sync::Arc;

use chrono::TimeDelta;
use reprise_policies::{PolicySource, Slot};
use reprise_repository::{Outcome, Progress, ScheduledRun, SlotStamp};

use super::due_run::{DueEvent, DueObserver, DueReport, DueRun, StepsToDo};
use crate::due::{ScheduledJob, ScheduledWork};
use crate::error::JobResult;
use crate::ledger::{Claim, RunResult};
use crate::repositories::{UnreachableRepositories, find_repository, open_existing};

impl DueRun<'_> {
    /// Takes the snapshot of a job that is due, without a claim.
    pub(super) fn run_unrecorded(
        &self,
        job: &ScheduledJob<'_>,
        unreachable: &mut UnreachableRepositories,
        report: &mut DueReport,
        observe: DueObserver<'_>,
    ) {
        let Some((slot, done)) = self.find_unrecorded(job) else {
            return;
        };
        let claim = Claim {
            run: String::new(),
            job: job.name.clone(),
            slot: slot.id(),
            attempt: 1,
        };
        let progress = Arc::new(Progress::default());
        observe(DueEvent::Started {
            claim: &claim,
            is_late: false,
            progress: &progress,
        });
        let mut environment = self.environment.clone();
        environment.scheduled = Some(ScheduledRun {
            stamp: SlotStamp {
                job: claim.job.clone(),
                slot: claim.slot.clone(),
                attempt: claim.attempt,
            },
            is_current: Arc::new(|| true),
        });
        let work = StepsToDo {
            environment: &environment,
            progress: &progress,
            times_done: 0,
            done,
        };
        let steps = self.perform_steps(job, work, unreachable, &mut |step| {
            observe(DueEvent::Step {
                claim: &claim,
                step,
            });
        });
        let outcome = steps.iter().map(|step| step.outcome).max();
        let result = RunResult {
            outcome: outcome.unwrap_or(Outcome::Ok),
            error: String::new(),
            hint: String::new(),
            retry_at: None,
        };
        report.add(&result, &steps);
        observe(DueEvent::Ended {
            claim: &claim,
            result: &result,
        });
    }

    /// The slot of a snapshot that is due, and the repositories that have it already; `None`: nothing is to be done.
    fn find_unrecorded(&self, job: &ScheduledJob<'_>) -> Option<(Slot, Vec<String>)> {
        let ScheduledWork::Snapshot(source) = job.work else {
            return None;
        };
        let now = (self.environment.clock)();
        let jitter = TimeDelta::from_std(job.schedule.jitter_of(&job.name)).unwrap_or_default();
        let slot = job.schedule.last_slot(now - jitter)?;
        let has_it = |repository: &&String| {
            // What cannot be read is tried, and says why it failed.
            self.has_snapshot_for(job, source, repository, &slot)
                .unwrap_or(false)
        };
        let done: Vec<String> = source.repositories.iter().filter(has_it).cloned().collect();
        let is_due = job.schedule.may_start(now) && done.len() < source.repositories.len();
        is_due.then_some((slot, done))
    }

    fn has_snapshot_for(
        &self,
        job: &ScheduledJob<'_>,
        source: &PolicySource,
        repository: &str,
        slot: &Slot,
    ) -> JobResult<bool> {
        let described = find_repository(job.policy, repository)?;
        let opened = open_existing(self.environment, described, &[])?;
        let own = opened.source_history(&source.name)?.own;
        Ok(own.iter().any(|snapshot| {
            let stamp = snapshot.root.slot.as_ref();
            snapshot.effective_time() >= slot.due()
                || stamp.is_some_and(|stamp| stamp.job == job.name && stamp.slot == slot.id())
        }))
    }
}
