//! `reprise drill`: restore rehearsals with a verdict.

use std::path::{Path, PathBuf};

use clap::Args;
use reprise_policies::{Drill, Policy};
use reprise_repository::Outcome;
use reprise_restore::drill::{self, DrillReport, FailedDrill};
use reprise_scheduler::JobError;
use reprise_scheduler::jobs::{JobEvent, run_drill, take_drill_snapshot};
use serde_json::json;

use crate::commands::snapshots::snapshot_output::print_snapshot_warnings;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reprise drill --policies policies/examples/quickstart.yaml --junit drill.xml")]
pub(crate) struct DrillArgs {
    /// POLICY or POLICY/DRILL. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &DrillArgs) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    let (mut reports, mut broken, mut exit) = (Vec::new(), Vec::new(), Exit::Ok);
    let drills = policies.select_drills(&args.names)?;
    if drills.is_empty() {
        return Err(Failure::from(JobError::NothingDefined {
            kind: "drills",
            hint: "add one under `drills:`",
        }));
    }
    for (policy, drill) in drills {
        match run_and_report(context, policy, drill) {
            Ok((report, drill_exit)) => {
                exit = exit.combine_with(drill_exit);
                reports.push(report);
            }
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) => {
                let message = format!("drill {} could not be run: {}", drill.name, failure.message);
                let failure = Failure { message, ..failure };
                if !context.global.json {
                    failure.report(false);
                }
                exit = exit.combine_with(failure.exit);
                broken.push((drill.name.clone(), failure.format_text()));
            }
        }
    }
    if let Some(file) = &args.junit {
        write_junit(file, &reports, &broken)?;
    }
    if context.global.json {
        let failed: Vec<_> = broken
            .iter()
            .map(|(name, reason)| json!({"drill": name, "reason": reason}))
            .collect();
        output::print_json(&json!({"event": "drills", "reports": reports, "not_run": failed}));
    } else if !context.global.quiet {
        let good = reports
            .iter()
            .filter(|report| report.verdict == Outcome::Ok)
            .count();
        output::print_line(&format!(
            "{good} of {} ok",
            output::format_count(reports.len() + broken.len(), "drill", "drills")
        ));
    }
    Ok(exit)
}

/// Runs one drill. Its exit code is that of the verdict and of its own snapshot, if it took one.
fn run_and_report(
    context: &Context,
    policy: &Policy,
    drill: &Drill,
) -> Result<(DrillReport, Exit), Failure> {
    let environment = &context.environment;
    let mut observe = |event: JobEvent<'_>| context.print_event(&event);
    let shown = ProgressDisplay::start(context, &drill.source);
    let committed = take_drill_snapshot(environment, policy, drill, &shown.progress, &mut observe)?;
    drop(shown);
    let mut snapshot_exit = Exit::Ok;
    if let Some(committed) = committed {
        print_snapshot_warnings(&committed);
        snapshot_exit = committed.snapshot.root.outcome.into();
    }
    let shown = ProgressDisplay::start(context, &drill.name);
    let report = run_drill(environment, policy, drill, &shown.progress, &mut observe)?;
    drop(shown);
    let verdict = if report.verdict == Outcome::Ok {
        Exit::Ok
    } else {
        Exit::Damaged
    };
    print_report(context, &report);
    Ok((report, verdict.combine_with(snapshot_exit)))
}

fn print_report(context: &Context, report: &DrillReport) {
    if context.global.json || context.global.quiet {
        return;
    }
    output::print_line(&format!("drill {}: {}", report.drill, report.verdict));
    output::print_line(&format!(
        "  snapshot {} of {}, data time {}",
        &report.snapshot[..8],
        report.source,
        output::format_time(&report.data_time)
    ));
    output::print_line(&format!(
        "  restored {} in {}; recovery time {}, data loss {}",
        describe_restored(report),
        output::format_seconds(report.restore_seconds),
        output::format_seconds(report.recovery_seconds),
        output::format_seconds(report.data_loss_seconds)
    ));
    for check in &report.checks {
        let mark = if check.passed { "pass" } else { "FAIL" };
        output::print_line(&format!("  {mark}  {}: {}", check.name, check.detail));
    }
}

fn describe_restored(report: &DrillReport) -> String {
    let Some(server) = &report.server else {
        let counts = &report.counts;
        return format!(
            "{}, {}",
            output::format_count(counts.entries, "entry", "entries"),
            output::format_bytes(counts.bytes)
        );
    };
    let mut text = format!(
        "{}, {}",
        output::format_count(server.tables, "table", "tables"),
        output::format_count(server.rows, "row", "rows")
    );
    if server.transactions > 0 {
        text.push_str(&format!(
            ", {}",
            output::format_count(server.transactions, "transaction", "transactions")
        ));
    }
    match server.newest_row_age_seconds {
        Some(age) => format!("{text} (newest row {} old)", output::format_seconds(age)),
        None => text,
    }
}

fn write_junit(
    file: &Path,
    reports: &[DrillReport],
    broken: &[FailedDrill],
) -> Result<(), Failure> {
    let xml = drill::render_junit(reports, broken)
        .map_err(|reason| Failure::new(Exit::Failed, reason, ""))?;
    std::fs::write(file, xml).map_err(|error| Failure::file_error("write", file, &error))
}
