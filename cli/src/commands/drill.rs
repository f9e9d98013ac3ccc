//! `reprise drill`: restore rehearsals with a verdict.

use std::path::{Path, PathBuf};

use reprise_policies::{Drill, Policy};
use reprise_repository::Outcome;
use reprise_restore::drill::{self, DrillReport, FailedDrill};
use serde_json::json;

use crate::args::DrillArgs;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;
use crate::sources;

pub(crate) fn run(context: &Context, args: &DrillArgs) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    let (mut reports, mut broken, mut exit) = (Vec::new(), Vec::new(), Exit::Ok);
    let drills = policies.select_drills(&args.names)?;
    if drills.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            "the policy defines no drills",
            "add one under `drills:`",
        ));
    }
    for (policy, drill) in drills {
        match run_drill(context, policy, drill) {
            Ok((report, snapshot_exit)) => {
                let verdict = if report.verdict == Outcome::Ok {
                    Exit::Ok
                } else {
                    Exit::Damaged
                };
                print_report(context, &report);
                exit = exit.combine_with(verdict).combine_with(snapshot_exit);
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

/// Runs one drill; also returns the outcome of its own snapshot, if it took one.
fn run_drill(
    context: &Context,
    policy: &Policy,
    drill: &Drill,
) -> Result<(DrillReport, Exit), Failure> {
    let missing = |what: &str, name: &str| {
        Failure::usage(
            format!("{what} `{name}` is not defined in policy {}", policy.name),
            "",
        )
    };
    let described = policy
        .repositories
        .get(&drill.repository)
        .ok_or_else(|| missing("repository", &drill.repository))?;
    let source = policy
        .sources
        .get(&drill.source)
        .ok_or_else(|| missing("source", &drill.source))?;
    let mut exit = Exit::Ok;
    if drill.snapshot_first {
        // Without the identity: a snapshot must work with the host's own keys.
        let repository = sources::open_repository(context, described, &[])?;
        let job = sources::source_reader(policy, source)?;
        let committed =
            sources::take_snapshot(context, &repository, sources::snapshot_naming(source), job)?
                .committed;
        for warning in &committed.warnings {
            output::print_note(&format!("warning: {warning}"));
        }
        exit = committed.snapshot.root.outcome.into();
    }
    let identity: Vec<PathBuf> = drill
        .identity
        .as_ref()
        .map(sources::identity_file)
        .transpose()?
        .into_iter()
        .collect();
    let repository = sources::open_repository(context, described, &identity)?;
    if let Some(server) = &drill.server {
        let address = sources::scratch_address(server)?;
        repository.require_data_identity()?;
        let shown = ProgressDisplay::start(context, &drill.name);
        let place = (&address, server.replay);
        let report =
            drill::run_in_server(&repository, drill, place, current_time, &shown.progress)?;
        return Ok((report, exit));
    }
    let snapshot = repository.find_snapshot(&format!("{}@latest", drill.source))?;
    let shown = ProgressDisplay::start(context, &drill.name);
    let report =
        drill::run_in_directory(&repository, &snapshot, drill, current_time, &shown.progress)?;
    Ok((report, exit))
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
