//! `reprise copy`: copies a repository's snapshots to another destination.

use reprise_policies::{CopyJob, Policy};
use reprise_repository::backend::Backend;
use reprise_repository::{CopyReport, Repository};
use serde_json::json;

use crate::args::CopyArgs;
use crate::context::Context;
use crate::destination::{self, DestinationOptions};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;
use crate::sources;

pub(crate) fn run(context: &Context, args: &CopyArgs) -> Result<Exit, Failure> {
    let Some(to) = &args.to else {
        return copy_all_in_policies(context);
    };
    let from = context.open_repository()?;
    let to = destination::parse_location(to)?;
    let target = destination::open_for_writing(context, &to, &DestinationOptions::default())?;
    copy_repository(context, &from, target.as_ref())
}

fn copy_all_in_policies(context: &Context) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    let mut exit = None;
    for (policy, copy) in policies.copies() {
        let one = run_copy_job(context, policy, copy).unwrap_or_else(|failure| {
            failure.report(context.global.json);
            failure.exit
        });
        if one == Exit::Interrupted {
            return Ok(one);
        }
        exit = Some(exit.map_or(one, |exit: Exit| exit.combine_with(one)));
    }
    exit.ok_or_else(|| {
        let hint = "add one under `copies:`, or give a destination with --to URL";
        Failure::new(Exit::NotFound, "the policy defines no copies", hint)
    })
}

/// Carries out a copy that a policy describes.
pub(crate) fn run_copy_job(
    context: &Context,
    policy: &Policy,
    copy: &CopyJob,
) -> Result<Exit, Failure> {
    let named = |failure: Failure| Failure {
        message: format!("copy {}/{}: {}", policy.name, copy.name, failure.message),
        ..failure
    };
    let described = |name: &str| {
        policy
            .repositories
            .get(name)
            .ok_or_else(|| Failure::usage(format!("repository `{name}` is not defined"), ""))
    };
    let copied = || {
        let (from, to) = (described(&copy.from)?, described(&copy.to)?);
        let from = sources::open_repository(context, from, &[])?;
        let location = sources::repository_location(to)?;
        let target =
            destination::open_for_writing(context, &location, &sources::destination_options(to))?;
        copy_repository(context, &from, target.as_ref())
    };
    copied().map_err(named)
}

fn copy_repository(
    context: &Context,
    from: &Repository,
    target: &dyn Backend,
) -> Result<Exit, Failure> {
    let shown = ProgressDisplay::start(context, "copy");
    let report = from.copy_to(target, &shown.progress)?;
    drop(shown);
    print_report(context, from, target, &report);
    Ok(if report.not_copied.is_empty() {
        Exit::Ok
    } else {
        Exit::Damaged
    })
}

fn print_report(context: &Context, from: &Repository, target: &dyn Backend, report: &CopyReport) {
    for left in &report.not_copied {
        output::print_error(&format!("not copied: {}: {}", left.object, left.reason));
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "copy",
            "from": from.location(),
            "to": target.location(),
            "report": report,
            "traffic": {"from": from.traffic(), "to": target.traffic()},
        }));
    } else if !context.global.quiet {
        output::print_line(&format!(
            "{} to {}: {} copied, {} already present; {}, {}, {}",
            from.location(),
            target.location(),
            output::format_count(report.snapshots, "snapshot", "snapshots"),
            report.snapshots_present,
            output::format_count(report.packs, "pack", "packs"),
            output::format_bytes(report.bytes),
            output::format_count(report.log_segments, "log segment", "log segments"),
        ));
    }
}
