//! `reprise run`: takes the snapshots that policies describe, once and now.

use std::collections::BTreeSet;

use reprise_policies::{Policy, PolicyRepository, PolicySource};
use reprise_repository::Repository;

use crate::args::RunArgs;
use crate::commands::copy;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;
use crate::sources;

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
            match copy::run_copy_job(context, policy, job) {
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
    let described = sources::find_repository(policy, repository)?;
    let repository = sources::open_repository(context, described, &[])?;
    let job = sources::source_reader(policy, source)?;
    let taken =
        sources::take_snapshot(context, &repository, sources::snapshot_naming(source), job)?;
    let exit = sources::report_snapshot(context, &taken, &repository);
    Ok(exit.combine_with(extend_locks(context, described, &repository)?))
}

/// Extends the locks of what is still needed, where the policy requires locks.
fn extend_locks(
    context: &Context,
    described: &PolicyRepository,
    repository: &Repository,
) -> Result<Exit, Failure> {
    let Some(immutable) = sources::destination_options(described).immutable else {
        return Ok(Exit::Ok);
    };
    let shown = ProgressDisplay::start(context, "locks");
    let report = repository.extend_locks(immutable, current_time(), &shown.progress)?;
    drop(shown);
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
