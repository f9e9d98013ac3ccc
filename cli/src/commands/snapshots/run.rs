//! `reprise run`: takes the snapshots that policies describe, once and now.

use std::collections::BTreeSet;

use clap::Args;
use reprise_policies::{Policy, PolicyRepository, PolicySource};
use reprise_repository::Repository;
use reprise_scheduler::jobs::{extend_locks, snapshot_policy_source};
use reprise_scheduler::repositories::find_repository;

use super::snapshot_output::report_snapshot;
use crate::commands::repository::copy::run_copy_job;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reprise run --policies /etc/reprise            everything
  reprise run --policies prod.yaml prod/jenkins  one source")]
pub(crate) struct RunArgs {
    /// POLICY or POLICY/SOURCE. Default: all.
    #[arg(value_name = "POLICY[/SOURCE]")]
    pub(crate) names: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    let (mut exit, mut touched) = (Exit::Ok, BTreeSet::new());
    for (policy, source) in policies.select_sources(&args.names)? {
        for repository in &source.repositories {
            // One source that fails must not keep the others from being backed up.
            match run_source(context, policy, source, repository) {
                Ok(one) => {
                    exit = exit.combine_with(one);
                    touched.insert((policy.name.clone(), repository.clone()));
                }
                Err(failure) => {
                    if failure.exit == Exit::Interrupted {
                        return Err(failure);
                    }
                    let message = format!(
                        "{}/{} to {repository}: {}",
                        policy.name, source.name, failure.message
                    );
                    Failure { message, ..failure }.report(context.global.json);
                    exit = exit.combine_with(failure.exit);
                }
            }
        }
    }
    for (policy, job) in policies.copies() {
        if touched.contains(&(policy.name.clone(), job.from.clone())) {
            match run_copy_job(context, policy, job) {
                Ok(one) => exit = exit.combine_with(one),
                Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
                Err(failure) => {
                    failure.report(context.global.json);
                    exit = exit.combine_with(failure.exit);
                }
            }
        }
    }
    Ok(exit)
}

fn run_source(
    context: &Context,
    policy: &Policy,
    source: &PolicySource,
    repository: &str,
) -> Result<Exit, Failure> {
    let shown = ProgressDisplay::start(context, &source.name);
    let (opened, taken) = snapshot_policy_source(
        &context.environment,
        policy,
        source,
        repository,
        &shown.progress,
        &mut |event| context.print_event(&event),
    )?;
    drop(shown);
    let exit = report_snapshot(context, &taken, &opened);
    let described = find_repository(policy, repository)?;
    Ok(exit.combine_with(extend_repository_locks(context, described, &opened)?))
}

/// Extends the locks of what is still needed, where the policy requires locks.
fn extend_repository_locks(
    context: &Context,
    described: &PolicyRepository,
    repository: &Repository,
) -> Result<Exit, Failure> {
    let shown = ProgressDisplay::start(context, "locks");
    let extended = extend_locks(&context.environment, described, repository, &shown.progress)?;
    drop(shown);
    let Some((immutable, report)) = extended else {
        return Ok(Exit::Ok);
    };
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
    Ok(if report.failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Degraded
    })
}
