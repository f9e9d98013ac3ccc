//! `reprise verify`: is everything present and undamaged, and if not, what is affected?

use reprise_policies::parse_percent;
use reprise_repository::{
    DataSubset, LockReport, VerifyDepth, VerifyFinding, VerifyOptions, VerifyReport,
};
use serde_json::json;

use crate::args::VerifyArgs;
use crate::context::{Context, current_time};
use crate::destination::{self, DestinationOptions};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

/// Paths printed for each snapshot that a finding affects; `--json` lists more.
const PATHS_PRINTED_MAX: usize = 20;

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    let depth = parse_depth(args)?;
    if args.repair {
        return super::repair::run(context, args, depth);
    }
    let repository = context.open_repository()?;
    // Only after the repository is opened: without a repository nothing is probed.
    let probed = destination::probe_if_allowed(
        context,
        &context.location()?,
        &DestinationOptions::default(),
    )?;
    let mut snapshots = Vec::new();
    for name in &args.snapshots {
        snapshots.push(context.find_snapshot(&repository, name)?);
    }
    let shown = ProgressDisplay::start(context, "verify");
    let report = repository.verify(&VerifyOptions { depth, snapshots }, &shown.progress)?;
    let locks = match probed {
        Some(probed) if probed.locks.is_supported() => {
            Some(repository.inspect_locks(current_time(), &shown.progress)?)
        }
        _ => None,
    };
    drop(shown);
    if context.global.json {
        output::print_json(&json!({
            "event": "verify", "report": report, "destination": probed, "locks": locks,
        }));
    } else {
        if let Some(probed) = &probed {
            context.print_note(&destination::describe_capabilities(probed));
        }
        if let Some(locks) = &locks {
            context.print_note(&describe_locks(locks));
        }
        print_report(context, &report, depth);
    }
    Ok(if report.findings.is_empty() {
        Exit::Ok
    } else {
        Exit::Damaged
    })
}

/// The state of the locks in a line for people.
fn describe_locks(locks: &LockReport) -> String {
    let first = locks.earliest.map_or_else(
        || "no lock has an end".to_owned(),
        |earliest| format!("the first lock ends {}", output::format_time(&earliest)),
    );
    format!(
        "locks: {} of {} objects; {first}",
        locks.objects - locks.unlocked - locks.failed.len() as u64,
        locks.objects
    )
}

fn parse_depth(args: &VerifyArgs) -> Result<VerifyDepth, Failure> {
    let Some(text) = &args.read_data else {
        return Ok(VerifyDepth::Structure);
    };
    let percent = parse_percent(text).map_err(|error| {
        let hint = "write it as --read-data 10%, and snapshots before --read-data";
        Failure::usage(format!("`{text}` is not a percentage: {error}"), hint)
    })?;
    let day = current_time().timestamp().div_euclid(24 * 3600);
    Ok(VerifyDepth::ReadData(DataSubset::for_day(
        f64::from(percent.get()),
        day,
    )))
}

fn print_report(context: &Context, report: &VerifyReport, depth: VerifyDepth) {
    for finding in &report.findings {
        print_finding(finding);
    }
    for note in &report.notes {
        context.print_note(&format!("note: {note}"));
    }
    if context.global.quiet {
        return;
    }
    let read = match depth {
        VerifyDepth::Structure => "contents not read".to_owned(),
        VerifyDepth::ReadData(_) => {
            format!(
                "{} ({}) read, decrypted and hashed",
                output::format_count(report.packs_read, "pack", "packs"),
                output::format_bytes(report.bytes_read)
            )
        }
    };
    let verdict = match report.findings.len() {
        0 => "ok".to_owned(),
        count => format!(
            "damaged: {}",
            output::format_count(count, "finding", "findings")
        ),
    };
    let segments = output::format_count(report.log_segments, "log segment", "log segments");
    let logs = match (report.log_segments, report.log_segments_read) {
        (0, _) => String::new(),
        (_, 0) => format!(", {segments}"),
        (_, read) => format!(", {segments} ({read} read)"),
    };
    output::print_line(&format!(
        "{verdict}: {}, {}, {}{logs}; {read}",
        output::format_count(report.snapshots, "snapshot", "snapshots"),
        output::format_count(report.chunks, "chunk", "chunks"),
        output::format_count(report.packs, "pack", "packs"),
    ));
}

pub(super) fn print_finding(finding: &VerifyFinding) {
    output::print_error(&format!("damaged: {}: {}", finding.object, finding.reason));
    for hurt in &finding.affected_snapshots {
        let what = if hurt.whole {
            "the whole snapshot".to_owned()
        } else if hurt.paths.is_empty() {
            "some of its files; give --identity to read their names".to_owned()
        } else {
            output::format_count(hurt.paths.len() as u64 + hurt.more_paths, "path", "paths")
        };
        output::print_error(&format!(
            "  affects snapshot {} of {}: {what}",
            hurt.snapshot.short(),
            hurt.source
        ));
        for path in hurt.paths.iter().take(PATHS_PRINTED_MAX) {
            output::print_error(&format!("    {path}"));
        }
        if hurt.paths.len() > PATHS_PRINTED_MAX {
            output::print_error("    …");
        }
    }
}
