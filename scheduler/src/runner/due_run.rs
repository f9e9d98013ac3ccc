//! One evaluation of all schedules: decisions are recorded, and what is to begin is run, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reprise_policies::{PolicySet, TimeZoneData};
use reprise_repository::{ErrorClass, Outcome, Progress};

use super::lease::{LEASE_TIME, LeaseKeeper, scheduled_run};
use super::order::{WorkOrder, WorkStep};
use super::work::WorkRun;
use crate::due::{
    AttemptKind, DueDecision, Evaluation, ScheduledJob, StartDecision, WaitReason, evaluate_job,
    list_scheduled_jobs, retry_time,
};
use crate::environment::JobEnvironment;
use crate::ledger::{
    Claim, Claimant, JobRecord, Ledger, LedgerError, LedgerResult, RunDetails, RunResult,
    SkippedSlots,
};
use crate::policy_version::{describe_version, read_policy_version};
use crate::repositories::UnreachableRepositories;

/// How long a run may take by default: a first snapshot over a slow line takes many hours.
const RUN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// One evaluation of all schedules.
#[derive(Debug)]
pub struct DueRun<'a> {
    /// Where and on whose behalf.
    pub environment: &'a JobEnvironment,
    /// The policies.
    pub policies: &'a Arc<PolicySet>,
    /// What was decided before; `None`: it cannot be used, and repositories tell which snapshots are due.
    pub ledger: Option<&'a Arc<Ledger>>,
    /// What policies call this host.
    pub host_names: Vec<String>,
    /// A name that no other process has.
    pub owner: String,
}

/// What happens in an evaluation.
#[derive(Debug)]
pub enum DueEvent<'a> {
    /// Slots without a run were decided.
    Skipped {
        /// The job.
        job: &'a str,
        /// Which, and why.
        skipped: &'a SkippedSlots,
    },
    /// A slot that had begun was given up.
    GivenUp {
        /// The job.
        job: &'a str,
        /// The slot.
        slot: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// A slot waits.
    Waiting {
        /// The job.
        job: &'a str,
        /// The slot.
        slot: &'a str,
        /// What for.
        reason: WaitReason,
    },
    /// A run begins.
    Started {
        /// The run.
        claim: &'a Claim,
        /// Whether its slot was missed.
        is_late: bool,
        /// How it is going on.
        progress: &'a Arc<Progress>,
    },
    /// A step of a run has ended.
    Step {
        /// The run.
        claim: &'a Claim,
        /// The step.
        step: &'a WorkStep,
    },
    /// A run has ended.
    Ended {
        /// The run.
        claim: &'a Claim,
        /// How.
        result: &'a RunResult,
    },
    /// The ledger could not be used for a job.
    LedgerFailed {
        /// The job.
        job: &'a str,
        /// Why.
        error: &'a LedgerError,
    },
}

/// Receives the events of an evaluation.
pub type DueObserver<'a> = &'a mut dyn FnMut(DueEvent<'_>);

/// What became of an evaluation.
#[derive(Debug, Default)]
pub struct DueReport {
    /// Jobs of this host that have a schedule.
    pub jobs: u64,
    /// Runs that were made.
    pub runs: u64,
    /// The worst outcome of all runs; `None`: there was none.
    pub outcome: Option<Outcome>,
    /// The class of the first error.
    pub class: Option<ErrorClass>,
    /// Slots that were missed, given up or run late.
    pub missed: u64,
    /// Jobs whose decisions could not be recorded.
    pub unrecorded: u64,
    /// Whether a stop was requested before everything was done.
    pub is_interrupted: bool,
}

/// What a job has to do, and what of it is done already.
pub(super) struct StepsToDo<'a> {
    pub(super) environment: &'a JobEnvironment,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) times_done: u64,
    pub(super) done: Vec<String>,
}

impl DueRun<'_> {
    /// Evaluates all schedules of this host once, and runs what is due.
    pub fn run(&self, observe: DueObserver<'_>) -> DueReport {
        let mut report = DueReport::default();
        let mut unreachable = UnreachableRepositories::default();
        for job in list_scheduled_jobs(self.policies) {
            if !job.is_for(&self.host_names) {
                continue;
            }
            report.jobs += 1;
            if self.environment.stop_requested.load(Ordering::SeqCst) {
                report.is_interrupted = true;
                break;
            }
            if let Err(error) = self.run_job(&job, &mut unreachable, &mut report, observe) {
                report.unrecorded += 1;
                if let Some(error) = error {
                    observe(DueEvent::LedgerFailed {
                        job: &job.name,
                        error: &error,
                    });
                }
                self.run_unrecorded(&job, &mut unreachable, &mut report, observe);
            }
        }
        report
    }

    /// Fails where the ledger does; without an error where there is none.
    fn run_job(
        &self,
        job: &ScheduledJob<'_>,
        unreachable: &mut UnreachableRepositories,
        report: &mut DueReport,
        observe: DueObserver<'_>,
    ) -> Result<(), Option<LedgerError>> {
        let ledger = self.ledger.ok_or(None)?;
        let now = (self.environment.clock)();
        let record = ledger
            .load_job(&job.name, job.paused_with().as_deref(), now)
            .map_err(Some)?;
        let evaluation = evaluate_job(&job.name, job.schedule, &record, now);
        Self::record_evaluation(ledger, job, &record, &evaluation, now, report, observe)
            .map_err(Some)?;
        match &evaluation.decision {
            DueDecision::NotDue => {}
            DueDecision::Waiting { slot, reason } => observe(DueEvent::Waiting {
                job: &job.name,
                slot,
                reason: *reason,
            }),
            DueDecision::Start(start) => {
                let claimant = Claimant {
                    owner: self.owner.clone(),
                    lease_until: now + LEASE_TIME,
                    now,
                };
                // Somebody else may be faster; that is no fault.
                if let Some(claim) = self.claim(ledger, job, start, &claimant).map_err(Some)? {
                    report.missed += u64::from(start.is_late);
                    self.perform(ledger, (job, start), &claim, unreachable, report, observe);
                }
            }
        }
        Ok(())
    }

    /// Records what was decided without a run, and with which timing.
    fn record_evaluation(
        ledger: &Ledger,
        job: &ScheduledJob<'_>,
        record: &JobRecord,
        evaluation: &Evaluation,
        now: DateTime<Utc>,
        report: &mut DueReport,
        observe: DueObserver<'_>,
    ) -> LedgerResult<()> {
        if let Some((active, reason)) = &evaluation.given_up
            && ledger.give_up(&job.name, active, reason, now)?
        {
            report.missed += 1;
            observe(DueEvent::GivenUp {
                job: &job.name,
                slot: &active.slot,
                reason,
            });
        }
        for skipped in &evaluation.skipped {
            ledger.record_skipped(&job.name, skipped, now)?;
            observe(DueEvent::Skipped {
                job: &job.name,
                skipped,
            });
        }
        let timing = job.schedule.timing_text();
        if record.timing.as_ref() != Some(&timing) {
            ledger.record_timing(&job.name, &timing)?;
        }
        Ok(())
    }

    fn claim(
        &self,
        ledger: &Ledger,
        job: &ScheduledJob<'_>,
        start: &StartDecision,
        claimant: &Claimant,
    ) -> LedgerResult<Option<Claim>> {
        let details = RunDetails {
            host: self.environment.host_name.clone(),
            program: self.environment.program.clone(),
            zone_data: TimeZoneData::bundled().version.to_owned(),
            policy_version: describe_version(&read_policy_version(&job.policy.path)),
            is_late: start.is_late,
        };
        match &start.attempt {
            AttemptKind::First => {
                let slot = (job.name.as_str(), start.slot.as_str(), start.due);
                ledger.claim_slot(slot, claimant, &details)
            }
            AttemptKind::Again(active) => ledger.claim_again(&job.name, active, claimant, &details),
        }
    }

    fn perform(
        &self,
        ledger: &Arc<Ledger>,
        (job, start): (&ScheduledJob<'_>, &StartDecision),
        claim: &Claim,
        unreachable: &mut UnreachableRepositories,
        report: &mut DueReport,
        observe: DueObserver<'_>,
    ) {
        let progress = Arc::new(Progress::default());
        observe(DueEvent::Started {
            claim,
            is_late: start.is_late,
            progress: &progress,
        });
        let mut environment = self.environment.clone();
        environment.scheduled = Some(scheduled_run(ledger, claim, environment.clock));
        let lease = LeaseKeeper::start(ledger, claim, &environment, &progress);
        let work = StepsToDo {
            environment: &environment,
            progress: &progress,
            times_done: ledger.count_done(&job.name).unwrap_or(0),
            // Without the list everything is done once more, which harms nothing.
            done: ledger.finished_steps(claim).unwrap_or_default(),
        };
        let steps = self.perform_steps(job, work, unreachable, &mut |step| {
            if let Err(error) = ledger.add_step(claim, &step.to_record()) {
                tracing::warn!(job = %claim.job, %error, "cannot record a step");
            }
            observe(DueEvent::Step { claim, step });
        });
        let is_lost = lease.is_lost();
        drop(lease);
        let result = self.conclude(job, start, &steps, is_lost);
        report.add(&result, &steps);
        report.is_interrupted |= self.environment.stop_requested.load(Ordering::SeqCst);
        match ledger.finish_claim(claim, &result, (self.environment.clock)()) {
            Ok(_) => {}
            Err(error) => {
                report.unrecorded += 1;
                observe(DueEvent::LedgerFailed {
                    job: &job.name,
                    error: &error,
                });
            }
        }
        observe(DueEvent::Ended {
            claim,
            result: &result,
        });
    }

    /// Performs the steps of a job that are not done yet, and tells each as it ends.
    pub(super) fn perform_steps(
        &self,
        job: &ScheduledJob<'_>,
        work: StepsToDo<'_>,
        unreachable: &mut UnreachableRepositories,
        on_step: &mut dyn FnMut(&WorkStep),
    ) -> Vec<WorkStep> {
        let order = Arc::new(WorkOrder {
            policies: Arc::clone(self.policies),
            policy: job.policy.clone(),
            kind: job.work.into(),
            time_max: job.schedule.timeout.unwrap_or(RUN_TIME_MAX),
            times_done: work.times_done,
        });
        let mut steps = Vec::new();
        let mut run = WorkRun {
            environment: work.environment,
            order: &order,
            progress: work.progress,
            unreachable,
            done: work.done,
        };
        run.perform(&mut |step| {
            on_step(step);
            steps.push(step.clone());
        });
        steps
    }

    /// What steps amount to, and whether they are tried again.
    fn conclude(
        &self,
        job: &ScheduledJob<'_>,
        start: &StartDecision,
        steps: &[WorkStep],
        is_lost: bool,
    ) -> RunResult {
        let outcome = steps
            .iter()
            .map(|step| step.outcome)
            .max()
            .unwrap_or(Outcome::Ok);
        let outcome = if is_lost { Outcome::Failed } else { outcome };
        let failed_before = match &start.attempt {
            AttemptKind::First => 0,
            AttemptKind::Again(active) => active.failed,
        };
        let now = (self.environment.clock)();
        let stopped = self.environment.stop_requested.load(Ordering::SeqCst);
        let retry_at = match outcome {
            Outcome::Ok | Outcome::Degraded => None,
            // Who stops it does not decide that it failed: the next evaluation goes on.
            Outcome::Failed if stopped => Some(now),
            Outcome::Failed => retry_time(job.schedule, failed_before + 1, now),
        };
        let worst = steps.iter().find(|step| step.outcome == Outcome::Failed);
        let error = worst.map(|step| format!("{}: {}", step.name, step.summary));
        let error = error.unwrap_or_default();
        RunResult {
            outcome,
            error: if is_lost {
                format!("it lost its lease and was stopped. {error}")
            } else {
                error
            },
            hint: worst.map(|step| step.hint.clone()).unwrap_or_default(),
            retry_at,
        }
    }
}

impl DueReport {
    pub(super) fn add(&mut self, result: &RunResult, steps: &[WorkStep]) {
        self.runs += 1;
        self.outcome = self.outcome.max(Some(result.outcome));
        let class = steps.iter().find_map(|step| step.class);
        self.class = self.class.or(class);
    }
}
