//! `reprise verify`: is everything present and undamaged, and if not, what is affected?

use clap::Args;
use reprise_policies::parse_percent;
use reprise_repository::{
    DataSubset, LockReport, UnreadableKind, UnreadableObjects, VerifyDepth, VerifyFinding,
    VerifyOptions, VerifyReport,
};
use reprise_scheduler::jobs::{VerifyJobReport, verify_repository};
use reprise_scheduler::repositories::describe_capabilities;
use serde_json::json;

use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
#[command(after_help = "\
Without options the structure is checked: snapshot roots and their signatures, the index, and that every pack exists
with the right size. This needs no recovery identity.

Examples:
  reprise verify
  reprise --identity recovery-1.txt verify --read-data        everything is read, decrypted and hashed
  reprise --identity recovery-1.txt verify --read-data 10%    a tenth, a different one each day
  reprise --identity recovery-1.txt verify jenkins@latest --read-data
  reprise --identity recovery-1.txt verify --read-data --repair             what could be repaired
  reprise --identity recovery-1.txt verify --read-data --repair --from s3://bucket/copy --yes")]
pub(crate) struct VerifyArgs {
    /// Read, decrypt and hash stored data: all of it, or a percentage, a different part each day.
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = "100%")]
    pub(crate) read_data: Option<String>,
    /// Print how damage can be repaired; with --yes, repair it. What cannot be repaired is quarantined.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Read undamaged data from this repository copy.
    #[arg(long, value_name = "URL", requires = "repair")]
    pub(crate) from: Option<String>,
    /// Delete a damaged object once its undamaged bytes are available, and store it again under its name.
    #[arg(long, requires = "from")]
    pub(crate) replace: bool,
    /// Only print what --repair would do, as without --yes.
    #[arg(long, short = 'n', requires = "repair", conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Carry out the repair that --repair prints.
    #[arg(long, requires = "repair")]
    pub(crate) yes: bool,
    /// Accept that this object, which this machine has seen, is gone without explanation; remembered on this machine.
    #[arg(long, value_name = "ID", conflicts_with = "dry_run")]
    pub(crate) accept_missing: Vec<String>,
    /// Only these snapshots (IDs, SOURCE@latest, SOURCE@2026-11-29, …) and the data that they need.
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
}

/// Paths printed for each snapshot that a finding affects; `--json` lists more.
const PATHS_PRINTED_MAX: usize = 20;

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    let depth = parse_depth(args)?;
    context.accept_missing(&args.accept_missing)?;
    if args.repair {
        return crate::commands::repository::repair::run(context, args, depth);
    }
    let target = context.target()?;
    let repository = target.open(context)?;
    let mut snapshots = Vec::new();
    for name in &args.snapshots {
        snapshots.push(context.find_snapshot(&repository, name)?);
    }
    let shown = ProgressDisplay::start(context, "verify");
    let verified = verify_repository(
        &context.environment,
        &repository,
        &target.location,
        &VerifyOptions { depth, snapshots },
        &shown.progress,
    )?;
    drop(shown);
    let VerifyJobReport {
        report,
        destination,
        locks,
    } = &verified;
    if context.global.json {
        output::print_json(&json!({
            "event": "verify", "report": report, "destination": destination, "locks": locks,
        }));
    } else {
        if let Some(probed) = destination {
            context.print_note(&describe_capabilities(probed));
        }
        if let Some(locks) = locks {
            context.print_note(&describe_locks(locks));
        }
        print_report(context, report, depth);
    }
    Ok(exit_for_report(report))
}

/// Damage counts most; what only others can read is unknown, and named.
pub(super) fn exit_for_report(report: &VerifyReport) -> Exit {
    match (report.findings.is_empty(), report.unreadable.is_empty()) {
        (false, _) => Exit::Damaged,
        (true, false) => Exit::Degraded,
        (true, true) => Exit::Ok,
    }
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
    print_unreadable(&report.unreadable);
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
        0 if !report.unreadable.is_empty() => {
            "degraded: not all could be checked with these identities".to_owned()
        }
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

/// One line for each kind of objects, and what helps to read them.
pub(super) fn print_unreadable(unreadable: &[UnreadableObjects]) {
    for objects in unreadable {
        let (one, many) = match objects.kind {
            UnreadableKind::Packs => ("the contents of 1 pack", "packs with contents"),
            UnreadableKind::PackDirectories => ("1 pack directory", "pack directories"),
            UnreadableKind::IndexFragments => ("1 index fragment", "index fragments"),
            UnreadableKind::Chunks => ("1 chunk", "chunks"),
            UnreadableKind::Snapshots => ("1 snapshot root", "snapshot roots"),
            UnreadableKind::EntryLists => ("the lists of 1 snapshot", "snapshots with their lists"),
            UnreadableKind::LogRecords => {
                ("the record of 1 log segment", "records of log segments")
            }
            UnreadableKind::LogSegments => ("1 log segment", "log segments"),
            UnreadableKind::Records => ("1 record", "records"),
        };
        let what = match objects.count {
            1 => format!("{one} ({})", objects.example),
            count => format!("{count} {many} (such as {})", objects.example),
        };
        output::print_error(&format!(
            "not checked: none of the given identities can decrypt {what}"
        ));
    }
    let hint = unreadable
        .iter()
        .find(|objects| !objects.readers.recipients.is_empty())
        .or(unreadable.first());
    if let Some(objects) = hint {
        for (number, line) in objects.readers.hint().lines().enumerate() {
            let begin = if number == 0 { "hint: " } else { "      " };
            output::print_error(&format!("  {begin}{line}"));
        }
    }
}

pub(super) fn print_finding(finding: &VerifyFinding) {
    output::print_error(&format!("damaged: {}: {}", finding.object, finding.reason));
    for affected in &finding.affected_snapshots {
        let what = if affected.whole {
            "the whole snapshot".to_owned()
        } else if affected.paths.is_empty() {
            "some of its files; give --identity to read their names".to_owned()
        } else {
            output::format_count(
                affected.paths.len() as u64 + affected.more_paths,
                "path",
                "paths",
            )
        };
        output::print_error(&format!(
            "  affects snapshot {} of {}: {what}",
            affected.snapshot.short(),
            affected.source
        ));
        for path in affected.paths.iter().take(PATHS_PRINTED_MAX) {
            output::print_error(&format!("    {path}"));
        }
        if affected.paths.len() > PATHS_PRINTED_MAX {
            output::print_error("    …");
        }
    }
}
