//! `reprise drill`: restore rehearsals with a verdict.

use std::path::{Path, PathBuf};

use reprise_policies::{Drill, Policy};
use reprise_repository::Outcome;
use reprise_restore::drill::{self, Broken, DrillReport};
use serde_json::json;

use crate::args::DrillArgs;
use crate::context::{Context, now};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Shown;
use crate::sources;

pub(crate) fn run(context: &Context, args: &DrillArgs) -> Result<Exit, Failure> {
    let policies = context.policies()?;
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
        match one(context, policy, drill) {
            Ok((report, snapshot_exit)) => {
                let verdict = if report.verdict == Outcome::Ok {
                    Exit::Ok
                } else {
                    Exit::Damaged
                };
                print(context, &report);
                exit = exit.and(verdict).and(snapshot_exit);
                reports.push(report);
            }
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) => {
                let message = format!("drill {} could not be run: {}", drill.name, failure.message);
                let failure = Failure { message, ..failure };
                if !context.global.json {
                    failure.report(false);
                }
                exit = exit.and(failure.exit);
                broken.push((drill.name.clone(), failure.text()));
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
        output::json_line(
            &json!({"event": "drills", "reports": reports, "not_carried_out": failed}),
        );
    } else if !context.global.quiet {
        let good = reports
            .iter()
            .filter(|report| report.verdict == Outcome::Ok)
            .count();
        output::line(&format!(
            "{good} of {} ok",
            output::format_count(reports.len() + broken.len(), "drill", "drills")
        ));
    }
    Ok(exit)
}

/// One drill; also how its own snapshot ended, if it took one.
fn one(context: &Context, policy: &Policy, drill: &Drill) -> Result<(DrillReport, Exit), Failure> {
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
        // Without the identity: a snapshot must work with what the host has.
        let repository = sources::open_repository(context, described, &[])?;
        let job = sources::job_of(policy, source)?;
        let committed =
            sources::take(context, &repository, sources::name_of(source), job)?.committed;
        for warning in &committed.warnings {
            output::note(&format!("warning: {warning}"));
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
        let shown = Shown::start(context, &drill.name);
        let place = (&address, server.replay);
        let report = drill::run_in_server(&repository, drill, place, now, &shown.progress)?;
        return Ok((report, exit));
    }
    let snapshot = repository.find_snapshot(&format!("{}@latest", drill.source))?;
    let shown = Shown::start(context, &drill.name);
    let report = drill::run(&repository, &snapshot, drill, now, &shown.progress)?;
    Ok((report, exit))
}

fn print(context: &Context, report: &DrillReport) {
    if context.global.json || context.global.quiet {
        return;
    }
    output::line(&format!("drill {}: {}", report.drill, report.verdict));
    output::line(&format!(
        "  snapshot {} of {}, data time {}",
        &report.snapshot[..8],
        report.source,
        output::time(&report.data_time)
    ));
    output::line(&format!(
        "  restored {} in {}; recovery time {}, data loss {}",
        restored(report),
        output::seconds(report.restore_seconds),
        output::seconds(report.recovery_seconds),
        output::seconds(report.data_loss_seconds)
    ));
    for check in &report.checks {
        let mark = if check.passed { "pass" } else { "FAIL" };
        output::line(&format!("  {mark}  {}: {}", check.name, check.detail));
    }
}

fn restored(report: &DrillReport) -> String {
    let Some(server) = &report.server else {
        let counts = &report.counts;
        return format!(
            "{}, {}",
            output::format_count(counts.entries, "entry", "entries"),
            output::bytes(counts.bytes)
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
        Some(age) => format!("{text} (newest row {} old)", output::seconds(age)),
        None => text,
    }
}

fn write_junit(file: &Path, reports: &[DrillReport], broken: &[Broken]) -> Result<(), Failure> {
    let xml =
        drill::junit(reports, broken).map_err(|reason| Failure::new(Exit::Failed, reason, ""))?;
    std::fs::write(file, xml).map_err(|error| Failure::file("write", file, &error))
}
