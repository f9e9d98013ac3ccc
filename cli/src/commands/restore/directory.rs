//! `reprise restore`: restores a snapshot.

use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use reprise_repository::{RawText, Repository, Snapshot};
use reprise_restore::files::{
    self, Comparison, ComparisonOptions, OverwriteMode, RestoreOptions, RestorePlan, RestoreReport,
};
use serde_json::json;

use crate::commands::restore::args::{RestoreArgs, ServerArgs};
use crate::commands::restore::problem_output::print_problems;
use crate::commands::restore::server;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

/// Differences printed; the rest is only counted.
const DIFFERENCES_PRINTED_MAX: usize = 50;

pub(crate) fn run(context: &Context, args: &RestoreArgs) -> Result<Exit, Failure> {
    if let Some(url) = args.to.to_str().filter(|to| is_server_url(to)) {
        if let Some(option) = args.directory.first_given() {
            return Err(Failure::usage(
                format!("{option} is for files, but --to is a database server"),
                "leave it out, or give a directory with --to",
            ));
        }
        return server::run(context, args, url);
    }
    refuse_server_options(&args.server)?;
    let repository = context.open_repository_of(&args.snapshot)?;
    let repository = repository.with_chosen_host(args.host.host.as_deref());
    let snapshot = context.find_snapshot(&repository, &args.snapshot)?;
    repository.require_data_identity()?;
    let options = RestoreOptions {
        target: args.to.clone(),
        paths: args
            .stray_path()
            .into_iter()
            .chain(&args.paths)
            .map(|path| RawText::new(path.as_bytes()))
            .collect(),
        existing: match (args.overwrite, args.resume) {
            (true, _) => OverwriteMode::Overwrite,
            (_, true) => OverwriteMode::Resume,
            _ => OverwriteMode::Refuse,
        },
        attributes: args.directory.selection(),
    };
    if args.dry_run {
        let plan = plan_restore(context, &repository, &snapshot, &options)?;
        print_plan(context, &snapshot, &options, &plan);
        return Ok(Exit::Ok);
    }
    announce_restore(context, &repository, &snapshot, &options)?;
    let timer = Instant::now();
    let shown = ProgressDisplay::start(context, "restore");
    let restored = files::restore(&repository, &snapshot, &options, &shown.progress);
    drop(shown);
    let seconds = timer.elapsed().as_secs_f64();
    let report = restored.map_err(|stopped| {
        if let Some(report) = &stopped.report {
            print_stopped(&snapshot, &options, report);
        }
        Failure::from(stopped.into_error())
    })?;
    let has_damage = report.has_damage();
    let (comparison, failure) =
        match compare_restored(context, args, &repository, &snapshot, &options, &report) {
            Ok(comparison) => (comparison, None),
            Err(failure) => (None, Some(failure)),
        };
    print_report(
        context,
        &snapshot,
        &options,
        &report,
        comparison.as_ref(),
        seconds,
    );
    if let Some(failure) = failure {
        return Err(failure);
    }
    let differs = comparison.is_some_and(|comparison| !comparison.differences.is_empty());
    match report.missing_identity_error() {
        _ if differs || has_damage => Ok(Exit::Damaged),
        Some(missing) => Err(missing.into()),
        None => Ok(report.outcome.into()),
    }
}

fn plan_restore(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<RestorePlan, Failure> {
    let shown = ProgressDisplay::start(context, "plan");
    Ok(files::plan_restore(
        repository,
        snapshot,
        options,
        &shown.progress,
    )?)
}

/// What a restore has done that could not go on, before the error that stopped it.
fn print_stopped(snapshot: &Snapshot, options: &RestoreOptions, report: &RestoreReport) {
    print_problems(&options.target, snapshot, &report.problems);
    let all = if options.paths.is_empty() {
        format!(" of {}", snapshot.root.counts.entries)
    } else {
        String::new()
    };
    output::print_note(&format!(
        "stopped after {}{all} entries; the others are not restored",
        report.counts.entries
    ));
}

fn is_server_url(target: &str) -> bool {
    target.starts_with("mysql://") || target.starts_with("mariadb://")
}

/// A directory has no databases: a user who names one expects something else.
fn refuse_server_options(args: &ServerArgs) -> Result<(), Failure> {
    let given = [
        ("--point-in-time", args.point_in_time.is_some()),
        ("--before-gtid", args.before_gtid.is_some()),
        ("--until", args.until.is_some()),
        ("--database", !args.database.is_empty()),
        ("--table", !args.table.is_empty()),
        ("--threads", args.threads.is_some()),
        ("--users", args.users.is_some()),
        ("--write-binlog", args.write_binlog),
        ("--definer", args.definer.is_some()),
        ("--disable-redo-log", args.disable_redo_log),
        ("--defaults-file", args.defaults_file.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::usage(
            format!("{option} needs a database server as the target, but --to is a directory"),
            "write the target as mysql://user@host/",
        )),
    }
}

/// Prints what is about to happen; with `--overwrite`, what is about to be replaced.
fn announce_restore(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<(), Failure> {
    if options.existing == OverwriteMode::Overwrite {
        let plan = plan_restore(context, repository, snapshot, options)?;
        if !context.global.json {
            print_plan(context, snapshot, options, &plan);
        }
        plan.require_space(options)?;
    } else {
        context.print_note(&format!(
            "restoring snapshot {} of {} ({}) to {}",
            snapshot.id.short(),
            snapshot.root.source,
            output::format_time(&snapshot.root.data_time),
            options.target.display()
        ));
    }
    Ok(())
}

fn compare_restored(
    context: &Context,
    args: &RestoreArgs,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    report: &RestoreReport,
) -> Result<Option<Comparison>, Failure> {
    if args.verify.is_none() {
        return Ok(None);
    }
    let shown = ProgressDisplay::start(context, "verify");
    let mut comparison = files::compare_directory(
        repository,
        snapshot,
        &ComparisonOptions {
            directory: &options.target,
            paths: &options.paths,
            attributes: options.attributes,
            known: &report.problems,
        },
        &shown.progress,
    )?;
    if options.existing == OverwriteMode::Overwrite {
        // What is not in the snapshot was there before and stays.
        comparison
            .differences
            .retain(|difference| difference.what != files::NOT_IN_SNAPSHOT);
    }
    Ok(Some(comparison))
}

fn print_plan(
    context: &Context,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    plan: &RestorePlan,
) {
    if context.global.json {
        output::print_json(&json!({
            "event": "plan",
            "snapshot": snapshot.id,
            "target": options.target.to_string_lossy(),
            "plan": plan,
        }));
        return;
    }
    context.print_note(&format!(
        "snapshot {} of {} ({}): {}, {} to {}; already there: {}; needed: {}{}",
        snapshot.id.short(),
        snapshot.root.source,
        output::format_time(&snapshot.root.data_time),
        output::format_count(plan.counts.entries, "entry", "entries"),
        output::format_bytes(plan.counts.bytes),
        options.target.display(),
        plan.existing,
        output::format_bytes(plan.needed_bytes),
        match plan.free_bytes {
            Some(free) if free < plan.needed_bytes => format!(
                ", only {} free: it will be refused",
                output::format_bytes(free)
            ),
            Some(free) => format!(", {} free", output::format_bytes(free)),
            None => String::new(),
        }
    ));
    for example in &plan.existing_examples {
        context.print_note(&format!("  replaced if it differs: {example}"));
    }
    let more = plan
        .existing
        .saturating_sub(plan.existing_examples.len() as u64);
    if more > 0 {
        context.print_note(&format!("  and {more} more"));
    }
}

fn print_report(
    context: &Context,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    report: &RestoreReport,
    comparison: Option<&Comparison>,
    seconds: f64,
) {
    print_problems(&options.target, snapshot, &report.problems);
    let not_compared = comparison.map_or(&[][..], |comparison| &comparison.not_compared);
    for line in report.left_out.iter().chain(not_compared) {
        context.print_note(line);
    }
    for note in &report.notes {
        output::print_note(&format!("note: {note}"));
    }
    let differences = comparison.map_or(&[][..], |comparison| &comparison.differences);
    for difference in differences.iter().take(DIFFERENCES_PRINTED_MAX) {
        output::print_error(&format!("differs: {} {}", difference.path, difference.what));
    }
    if differences.len() > DIFFERENCES_PRINTED_MAX {
        output::print_error(&format!(
            "and {} more",
            differences.len() - DIFFERENCES_PRINTED_MAX
        ));
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "restore",
            "snapshot": snapshot.id,
            "source": snapshot.root.source,
            "data_time": snapshot.root.data_time,
            "target": options.target.to_string_lossy(),
            "report": report,
            "comparison": comparison,
            "seconds": seconds,
        }));
    } else if !context.global.quiet {
        output::print_line(&format!(
            "{}: {}, {} in {}; every restored chunk matched its hash{}",
            report.outcome,
            output::format_count(report.counts.entries, "entry", "entries"),
            output::format_bytes(report.counts.bytes),
            output::format_seconds(seconds),
            if report.kept > 0 {
                format!(
                    "; {} already correct",
                    output::format_count(report.kept, "file", "files")
                )
            } else {
                String::new()
            }
        ));
        if let Some(comparison) = comparison.filter(|_| differences.is_empty()) {
            output::print_line(&format!(
                "verified: {} and {} read back match the snapshot",
                output::format_count(comparison.entries, "entry", "entries"),
                output::format_bytes(comparison.bytes)
            ));
        }
    }
}
