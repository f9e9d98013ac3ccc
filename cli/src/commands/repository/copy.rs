//! `reprise copy`: copies a repository's snapshots to another destination.

use std::time::Duration;

use clap::Args;
use reprise_policies::{CopyJob, Policy};
use reprise_scheduler::isolation::run_isolated;
use reprise_scheduler::jobs::{CopyJobReport, copy_by_policy, copy_repository};
use reprise_scheduler::repositories::{
    DestinationOptions, UnreachableRepositories, find_repository, open_for_writing, parse_location,
};
use reprise_scheduler::{JobError, JobResult};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
#[command(after_help = "\
Objects are copied unchanged: no recovery identity is needed, and the copy is a complete repository of its own.
Objects that the copy already has are not sent again. An interrupted copy is resumed by the next run.

Examples:
  reprise -r /srv/backup copy --to s3://bucket/prefix
  reprise copy --policies /etc/reprise          the copies that the policy describes")]
pub(crate) struct CopyArgs {
    /// Destination: empty, or an earlier copy. Default: the `copies:` of the policy.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
}

pub(crate) fn run(context: &Context, args: &CopyArgs) -> Result<Exit, Failure> {
    let Some(to) = &args.to else {
        return copy_all_in_policies(context);
    };
    let from = context.open_repository()?;
    let (to, options) = (parse_location(to)?, DestinationOptions::default());
    let target = open_for_writing(&context.environment, &to, &options)?;
    let shown = ProgressDisplay::start(context, "copy");
    let copied = copy_repository(&from, target.as_ref(), &shown.progress)?;
    drop(shown);
    Ok(report_copy(context, &copied))
}

fn copy_all_in_policies(context: &Context) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    let mut unreachable = UnreachableRepositories::default();
    let mut exit = None;
    for (policy, copy) in policies.copies() {
        let one = run_copy_job(context, (policy, copy), Duration::MAX, &mut unreachable);
        if one == Exit::Interrupted {
            return Ok(one);
        }
        exit = Some(exit.map_or(one, |exit: Exit| exit.combine_with(one)));
    }
    exit.ok_or_else(|| {
        Failure::from(JobError::NothingDefined {
            kind: "copies",
            hint: "add one under `copies:`, or give a destination with --to URL",
        })
    })
}

/// Carries out a copy that a policy describes, for `time_max` at most, and reports it, also if it fails.
pub(crate) fn run_copy_job(
    context: &Context,
    (policy, copy): (&Policy, &CopyJob),
    time_max: Duration,
    unreachable: &mut UnreachableRepositories,
) -> Exit {
    let copied = try_copy_job(context, (policy, copy), time_max, unreachable);
    match copied.inspect_err(|error| unreachable.note_failure(error)) {
        Ok(copied) => report_copy(context, &copied),
        Err(error) => {
            let failure = Failure::from(error);
            let message = format!("copy {}/{}: {}", policy.name, copy.name, failure.message);
            let members = [
                ("policy", policy.name.as_str()),
                ("source", &copy.from),
                ("repository", &copy.to),
                ("kind", "copy"),
            ];
            let failure = Failure { message, ..failure };
            failure.report_with(context.global.json, &members);
            failure.exit
        }
    }
}

fn try_copy_job(
    context: &Context,
    (policy, copy): (&Policy, &CopyJob),
    time_max: Duration,
    unreachable: &UnreachableRepositories,
) -> JobResult<CopyJobReport> {
    for name in [&copy.from, &copy.to] {
        unreachable.check_reachable(find_repository(policy, name)?)?;
    }
    let shown = ProgressDisplay::start(context, "copy");
    let (context, policy, copy) = (context.clone(), policy.clone(), copy.clone());
    let progress = shown.progress.clone();
    run_isolated(&shown.progress, time_max, move || {
        copy_by_policy(
            &context.environment,
            &policy,
            &copy,
            &progress,
            &mut |event| context.print_event(&event),
        )
    })
}

fn report_copy(context: &Context, copied: &CopyJobReport) -> Exit {
    print_report(context, copied);
    let report = &copied.report;
    match (report.not_copied.is_empty(), report.unreadable.is_empty()) {
        (false, _) => Exit::Damaged,
        (true, false) => Exit::Degraded,
        (true, true) => Exit::Ok,
    }
}

fn print_report(context: &Context, copied: &CopyJobReport) {
    let CopyJobReport {
        from, to, report, ..
    } = copied;
    for left in report.not_copied.iter().chain(&report.unreadable) {
        output::print_error(&format!("not copied: {}: {}", left.object, left.reason));
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "copy",
            "from": from,
            "to": to,
            "report": report,
            "traffic": {"from": copied.traffic_from, "to": copied.traffic_to},
        }));
    } else if !context.global.quiet {
        output::print_line(&format!(
            "{} to {}: {} copied, {} already present; {}, {}, {}",
            from,
            to,
            output::format_count(report.snapshots, "snapshot", "snapshots"),
            report.snapshots_present,
            output::format_count(report.packs, "pack", "packs"),
            output::format_bytes(report.bytes),
            output::format_count(report.log_segments, "log segment", "log segments"),
        ));
    }
}
