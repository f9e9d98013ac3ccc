//! `reprise copy`: copies a repository's snapshots to another destination.

use clap::Args;
use reprise_policies::{CopyJob, Policy};
use reprise_scheduler::JobError;
use reprise_scheduler::jobs::{CopyJobReport, copy_by_policy, copy_repository};
use reprise_scheduler::repositories::{DestinationOptions, open_for_writing, parse_location};
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
        Failure::from(JobError::NothingDefined {
            kind: "copies",
            hint: "add one under `copies:`, or give a destination with --to URL",
        })
    })
}

/// Carries out a copy that a policy describes.
pub(crate) fn run_copy_job(
    context: &Context,
    policy: &Policy,
    copy: &CopyJob,
) -> Result<Exit, Failure> {
    let shown = ProgressDisplay::start(context, "copy");
    let copied = copy_by_policy(
        &context.environment,
        policy,
        copy,
        &shown.progress,
        &mut |event| context.print_event(&event),
    );
    drop(shown);
    match copied {
        Ok(copied) => Ok(report_copy(context, &copied)),
        Err(error) => {
            let failure = Failure::from(error);
            Err(Failure {
                message: format!("copy {}/{}: {}", policy.name, copy.name, failure.message),
                ..failure
            })
        }
    }
}

fn report_copy(context: &Context, copied: &CopyJobReport) -> Exit {
    print_report(context, copied);
    if copied.report.not_copied.is_empty() {
        Exit::Ok
    } else {
        Exit::Damaged
    }
}

fn print_report(context: &Context, copied: &CopyJobReport) {
    let CopyJobReport {
        from, to, report, ..
    } = copied;
    for left in &report.not_copied {
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
