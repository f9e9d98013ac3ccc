//! `reprise run`: the snapshots that policies describe, once and now.

use std::collections::BTreeSet;

use reprise_policies::{Policy, Repository as PolicyRepository, Source};
use reprise_repository::Repository;

use crate::args::RunArgs;
use crate::commands::copy;
use crate::context::{Context, now};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Shown;
use crate::sources;

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<Exit, Failure> {
    let policies = context.policies()?;
    let (mut exit, mut touched) = (Exit::Ok, BTreeSet::new());
    for (policy, source) in policies.select(&args.names)? {
        for repository in &source.repositories {
            // One source that fails must not keep the others from being saved.
            match one(context, policy, source, repository) {
                Ok(one) => {
                    exit = exit.and(one);
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
                    exit = exit.and(failure.exit);
                }
            }
        }
    }
    for (policy, job) in policies.copies() {
        if touched.contains(&(policy.name.clone(), job.from.clone())) {
            match copy::of_policy(context, policy, job) {
                Ok(one) => exit = exit.and(one),
                Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
                Err(failure) => {
                    failure.report(context.global.json);
                    exit = exit.and(failure.exit);
                }
            }
        }
    }
    Ok(exit)
}

fn one(
    context: &Context,
    policy: &Policy,
    source: &Source,
    repository: &str,
) -> Result<Exit, Failure> {
    let described = sources::described(policy, repository)?;
    let repository = sources::open_repository(context, described, &[])?;
    let job = sources::job_of(policy, source)?;
    let taken = sources::take(context, &repository, sources::name_of(source), job)?;
    let exit = sources::report(context, &taken, &repository);
    Ok(exit.and(keep_locked(context, described, &repository)?))
}

/// Extends the locks of what is still needed, where the policy demands locks.
fn keep_locked(
    context: &Context,
    described: &PolicyRepository,
    repository: &Repository,
) -> Result<Exit, Failure> {
    let Some(immutable) = sources::wishes_of(described).immutable else {
        return Ok(Exit::Ok);
    };
    let shown = Shown::start(context, "locks");
    let report = repository.extend_locks(immutable, now(), &shown.progress)?;
    drop(shown);
    for failed in &report.failed {
        output::note(&format!(
            "warning: cannot extend the lock of {}: {}",
            failed.object, failed.reason
        ));
    }
    if report.extended > 0 {
        context.note(&format!(
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
