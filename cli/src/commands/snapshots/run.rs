//! `reprise run`: takes the snapshots that policies describe, once and now.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use reprise_policies::{CopyJob, Policy, PolicySource};
use reprise_repository::LockReport;
use reprise_repository::Repository;
use reprise_repository::backend::ImmutabilityPolicy;
use reprise_scheduler::JobResult;
use reprise_scheduler::isolation::run_isolated;
use reprise_scheduler::jobs::{SnapshotReport, extend_locks, snapshot_policy_source};
use reprise_scheduler::repositories::{UnreachableRepositories, find_repository};

use super::run_summary::RunSummary;
use super::snapshot_output::report_snapshot;
use crate::commands::repository::copy::run_copy_job;
use crate::commands::schedule::due::run_due;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;
use crate::quantities::parse_duration_option;

/// How long a source may take by default: a first snapshot over a slow line takes many hours.
const SOURCE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Args)]
#[command(after_help = "\
Sources are independent of each other: one that fails, hangs or takes too long does not keep the others from being
stored. A repository that cannot be reached is tried once in a run.

Examples:
  reprise run --policies /etc/reprise            everything
  reprise run --policies prod.yaml prod/jenkins  one source
  reprise run --policies /etc/reprise --due      what is due now, by the schedules of the policies")]
pub(crate) struct RunArgs {
    /// POLICY or POLICY/SOURCE. Default: all.
    #[arg(value_name = "POLICY[/SOURCE]")]
    pub(crate) names: Vec<String>,
    /// Run what schedules say is due, once: for cron, timers and CI. What ran is in `reprise runs`.
    #[arg(long, conflicts_with_all = ["names", "timeout"])]
    pub(crate) due: bool,
    /// Give up on a source or a copy after this time. Default: 24h.
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
}

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<Exit, Failure> {
    if args.due {
        return run_due(context);
    }
    let timeout = args
        .timeout
        .as_deref()
        .map(|text| parse_duration_option(text, "--timeout", "write it as 90m or 6h"));
    let policies = context.load_policies()?;
    let selected = policies.select_sources(&args.names)?;
    let mut run = PolicyRun {
        context,
        time_max: timeout.transpose()?.unwrap_or(SOURCE_TIME_MAX),
        unreachable: UnreachableRepositories::default(),
        summary: RunSummary::default(),
    };
    let mut touched = BTreeSet::new();
    for (policy, source) in selected {
        for repository in &source.repositories {
            let stored = run.run_source(policy, source, repository);
            if run.summary.is_interrupted() {
                return Ok(run.summary.finish(context));
            }
            if stored {
                touched.insert((policy.name.clone(), repository.clone()));
            }
        }
    }
    for (policy, job) in policies.copies() {
        if touched.contains(&(policy.name.clone(), job.from.clone())) {
            run.run_copy(policy, job);
            if run.summary.is_interrupted() {
                break;
            }
        }
    }
    Ok(run.summary.finish(context))
}

/// A run under way.
struct PolicyRun<'a> {
    context: &'a Context,
    time_max: Duration,
    unreachable: UnreachableRepositories,
    summary: RunSummary,
}

impl PolicyRun<'_> {
    /// Takes a snapshot of a source to one of its repositories. Whether there is one.
    fn run_source(&mut self, policy: &Policy, source: &PolicySource, repository: &str) -> bool {
        let taken = self.try_source(policy, source, repository);
        let stored = taken.is_ok();
        let exit = taken.unwrap_or_else(|failure| {
            let message = format!(
                "{}/{} to {repository}: {}",
                policy.name, source.name, failure.message
            );
            let members = [
                ("policy", policy.name.as_str()),
                ("source", &source.name),
                ("repository", repository),
                ("kind", source.kind.as_str()),
            ];
            let failure = Failure { message, ..failure };
            failure.report_with(self.context.global.json, &members);
            failure.exit
        });
        self.summary.count_source(exit);
        stored
    }

    fn try_source(
        &mut self,
        policy: &Policy,
        source: &PolicySource,
        repository: &str,
    ) -> Result<Exit, Failure> {
        self.unreachable
            .check_reachable(find_repository(policy, repository)?)?;
        let taken = self.take_snapshot(policy, source, repository);
        let (opened, taken) = taken.inspect_err(|error| self.unreachable.note_failure(error))?;
        let exit = report_snapshot(self.context, &taken, &opened);
        Ok(exit.combine_with(self.extend_repository_locks(policy, repository, opened)?))
    }

    fn take_snapshot(
        &self,
        policy: &Policy,
        source: &PolicySource,
        repository: &str,
    ) -> JobResult<(Repository, SnapshotReport)> {
        let shown = ProgressDisplay::start(self.context, &source.name);
        let (context, policy, source) = (self.context.clone(), policy.clone(), source.clone());
        let (repository, progress) = (repository.to_owned(), shown.progress.clone());
        run_isolated(&shown.progress, self.time_max, move || {
            snapshot_policy_source(
                &context.environment,
                &policy,
                &source,
                &repository,
                &progress,
                &mut |event| context.print_event(&event),
            )
        })
    }

    /// Extends the locks of what is still needed, where the policy requires locks.
    fn extend_repository_locks(
        &self,
        policy: &Policy,
        repository: &str,
        opened: Repository,
    ) -> Result<Exit, Failure> {
        let described = find_repository(policy, repository)?.clone();
        let shown = ProgressDisplay::start(self.context, "locks");
        let (context, progress) = (self.context.clone(), shown.progress.clone());
        let extended = run_isolated(&shown.progress, self.time_max, move || {
            extend_locks(&context.environment, &described, &opened, &progress)
        });
        drop(shown);
        Ok(extended?.map_or(Exit::Ok, |(immutable, report)| {
            report_locks(self.context, immutable, &report)
        }))
    }

    /// Carries out a copy that a policy describes.
    fn run_copy(&mut self, policy: &Policy, job: &CopyJob) {
        let copied = run_copy_job(
            self.context,
            (policy, job),
            self.time_max,
            &mut self.unreachable,
        );
        self.summary.count_copy(copied);
    }
}

fn report_locks(context: &Context, immutable: ImmutabilityPolicy, report: &LockReport) -> Exit {
    for failed in &report.failed {
        output::print_note(&format!(
            "warning: cannot extend the lock of {}: {}",
            failed.object, failed.reason
        ));
    }
    if report.extended > 0 {
        context.print_note(&format!(
            "{} extended by {}",
            output::format_count(report.extended, "lock", "locks"),
            output::format_count(immutable.days, "day", "days")
        ));
    }
    if report.failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Degraded
    }
}
