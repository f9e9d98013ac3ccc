//! `reprise run`: the snapshots that policies describe, once and now.

use reprise_policies::{Policy, Source};

use crate::args::RunArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::sources;

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<Exit, Failure> {
    let policies = context.policies()?;
    let mut exit = Exit::Ok;
    for (policy, source) in policies.select(&args.names)? {
        for repository in &source.repositories {
            // One source that fails must not keep the others from being saved.
            match one(context, policy, source, repository) {
                Ok(one) => exit = exit.and(one),
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
    Ok(exit)
}

fn one(
    context: &Context,
    policy: &Policy,
    source: &Source,
    repository: &str,
) -> Result<Exit, Failure> {
    let described = policy.repositories.get(repository).ok_or_else(|| {
        Failure::usage(
            format!(
                "repository `{repository}` is not described in policy {}",
                policy.name
            ),
            "",
        )
    })?;
    let repository = sources::open_repository(context, described, &[])?;
    let job = sources::job_of(policy, source)?;
    let committed = sources::take(context, &repository, sources::name_of(source), job)?;
    Ok(sources::report(context, &committed, &repository))
}
