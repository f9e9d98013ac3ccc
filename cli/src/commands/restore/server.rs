//! `reprise restore --to mysql://…`: restores a database server.

use std::sync::Arc;
use std::time::Instant;

use reprise_mysql::CONNECTIONS_DEFAULT;
use reprise_mysql::binlog::Gtid;
use reprise_repository::{Repository, Snapshot};
use reprise_restore::mysql::{
    self as restoring, AccountSelection, MysqlRestoreOptions, MysqlRestorePlan, MysqlRestoreReport,
    PointInTimeOptions, RecoveryCatalog, RecoveryTarget, RollForwardReport, TransactionSummary,
    VerifyLevel,
};
use reprise_times::DayMeaning;
use serde_json::json;

use crate::commands::restore::args::{RestoreArgs, UsersArg};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::progress::ProgressDisplay;
use crate::{output, time_input};

pub(crate) fn run(context: &Context, args: &RestoreArgs, url: &str) -> Result<Exit, Failure> {
    let options = parse_options(context, args, url)?;
    let server = &args.server;
    if server.point_in_time.is_some() || server.before_gtid.is_some() || server.until.is_some() {
        return restore_to_target(context, args, &options);
    }
    let repository = context.open_repository_of(&args.snapshot)?;
    let repository = repository.with_chosen_host(args.host.host.as_deref());
    let snapshot = context.find_snapshot(&repository, &args.snapshot)?;
    repository.require_data_identity()?;
    let timer = Instant::now();
    let shown = ProgressDisplay::start(context, "restore");
    if args.dry_run {
        let plan = restoring::plan_restore(&repository, &snapshot, &options, &shown.progress)?;
        drop(shown);
        print_plan(context, &snapshot, &plan);
        return Ok(if plan.problems.is_empty() {
            Exit::Ok
        } else {
            Exit::Refused
        });
    }
    let mut announce = |plan: &MysqlRestorePlan| {
        if !context.global.json {
            print_plan(context, &snapshot, plan);
        }
    };
    let report = restoring::restore(
        &repository,
        &snapshot,
        &options,
        &mut announce,
        &Arc::clone(&shown.progress),
    )?;
    drop(shown);
    print_report(
        context,
        &snapshot,
        &options,
        &report,
        timer.elapsed().as_secs_f64(),
    );
    Ok(if report.differences.is_empty() {
        report.outcome.into()
    } else {
        Exit::Damaged
    })
}

/// The recovery target given on the command line.
fn resolve_target(
    context: &Context,
    args: &RestoreArgs,
    repository: &Repository,
) -> Result<RecoveryTarget, Failure> {
    let server = &args.server;
    if let Some(text) = &server.point_in_time {
        let time = time_input::parse_time(context, &args.snapshot, text, DayMeaning::Unclear)?;
        return Ok(RecoveryTarget::Time(time));
    }
    if let Some(text) = &server.before_gtid {
        return Ok(RecoveryTarget::BeforeGtid(parse_gtid(text)?));
    }
    Ok(match server.until.as_deref() {
        None | Some("latest") => RecoveryTarget::Latest,
        Some(name) => RecoveryTarget::Snapshot(Box::new(context.find_snapshot(repository, name)?)),
    })
}

fn parse_gtid(text: &str) -> Result<Gtid, Failure> {
    text.parse()
        .map_err(|reason: String| Failure::usage(reason, "`reprise log` lists transactions"))
}

/// A snapshot, and the log after it.
fn restore_to_target(
    context: &Context,
    args: &RestoreArgs,
    options: &MysqlRestoreOptions,
) -> Result<Exit, Failure> {
    if !options.databases.is_empty() || !options.tables.is_empty() {
        return Err(Failure::usage(
            "point-in-time recovery restores a whole server, not single databases or tables",
            "restore to a dedicated server, and copy what you need from there",
        ));
    }
    let source = args.snapshot.as_str();
    let name = source.rsplit('/').next().unwrap_or(source);
    let repository = context.open_repository_of(&args.snapshot)?;
    let repository = repository.with_chosen_host(args.host.host.as_deref());
    repository.require_data_identity()?;
    let point = PointInTimeOptions {
        target: resolve_target(context, args, &repository)?,
        skip: args
            .server
            .skip_gtid
            .iter()
            .map(|text| parse_gtid(text))
            .collect::<Result<_, _>>()?,
        keep_gtids: args.server.keep_gtids,
        skip_account_changes: false,
    };
    let archive = RecoveryCatalog::load(&repository, name)?;
    // The error names what exists instead, or the hosts of which one must be chosen.
    let found = context.find_snapshot(&repository, name)?;
    if archive.snapshots().is_empty() {
        return Err(Failure::usage(
            format!("`{source}` is not the name of a database server"),
            format!(
                "name the source, as in `reprise restore {}`",
                found.root.source
            ),
        ));
    }
    let timer = Instant::now();
    let shown = ProgressDisplay::start(context, "restore");
    if args.dry_run {
        let (snapshot, plan) =
            restoring::plan_point_in_time(&repository, &archive, &point, options, &shown.progress)?;
        drop(shown);
        print_plan(context, &snapshot, &plan);
        return Ok(match plan.problems.is_empty() {
            true => Exit::Ok,
            false => Exit::Refused,
        });
    }
    let mut announce = |snapshot: &Snapshot, plan: &MysqlRestorePlan| {
        if !context.global.json {
            print_plan(context, snapshot, plan);
        }
    };
    let (snapshot, report) = restoring::restore_point_in_time(
        &repository,
        &archive,
        &point,
        options,
        &mut announce,
        &Arc::clone(&shown.progress),
    )?;
    drop(shown);
    let seconds = timer.elapsed().as_secs_f64();
    print_report(context, &snapshot, options, &report, seconds);
    Ok(match report.differences.is_empty() {
        true => report.outcome.into(),
        false => Exit::Damaged,
    })
}

fn parse_options(
    context: &Context,
    args: &RestoreArgs,
    url: &str,
) -> Result<MysqlRestoreOptions, Failure> {
    let server = &args.server;
    if let Some(path) = args.stray_path().into_iter().chain(&args.paths).next() {
        return Err(Failure::usage(
            format!(
                "`{}` is a path, but a database server has no paths",
                path.to_string_lossy()
            ),
            "choose with --database and --table; --verify takes none, counts or checksums",
        ));
    }
    let address =
        crate::server_address::resolve_address(context, url, server.defaults_file.as_deref())?;
    let mut databases: Vec<_> = server
        .database
        .iter()
        .map(|name| match name.split_once('=') {
            Some((old, new)) => (old.to_owned(), Some(new.to_owned())),
            None => (name.clone(), None),
        })
        .collect();
    // As with other clients, the URL may name the one database to use.
    databases.extend(
        address
            .database
            .clone()
            .filter(|_| server.database.is_empty() && server.table.is_empty())
            .map(|name| (name, None)),
    );
    let table = |name: &String| {
        name.split_once('.')
            .map(|(database, table)| (database.to_owned(), table.to_owned()))
            .ok_or_else(|| {
                Failure::usage(
                    format!("`{name}` is not a table name"),
                    "write it as --table DATABASE.TABLE",
                )
            })
    };
    Ok(MysqlRestoreOptions {
        address,
        databases,
        tables: server.table.iter().map(table).collect::<Result<_, _>>()?,
        connections: server.threads.map_or(CONNECTIONS_DEFAULT, usize::from),
        verify: match args.verify_level() {
            Some("none") => VerifyLevel::None,
            Some("counts") => VerifyLevel::Counts,
            _ => VerifyLevel::Checksums,
        },
        resume: args.resume,
        overwrite: args.overwrite,
        users: server.users.map(|users| match users {
            UsersArg::None => AccountSelection::None,
            UsersArg::Missing => AccountSelection::Missing,
        }),
        write_binlog: server.write_binlog,
        definer: server.definer.clone().filter(|definer| definer != "keep"),
        without_redo_log: server.disable_redo_log,
    })
}

fn print_plan(context: &Context, snapshot: &Snapshot, plan: &MysqlRestorePlan) {
    if context.global.json {
        output::print_json(&json!({ "event": "plan", "snapshot": snapshot.id, "plan": plan }));
        return;
    }
    let rows: u64 = plan.tables.iter().map(|table| table.rows).sum();
    context.print_note(&format!(
        "snapshot {} of {} ({}): {} with {}, {} (views, routines, triggers and events), {} to {} ({})",
        snapshot.id.short(),
        snapshot.root.source,
        output::format_time(&snapshot.root.data_time),
        output::format_count(plan.tables.len(), "table", "tables"),
        output::format_count(rows, "row", "rows"),
        output::format_count(plan.objects, "object", "objects"),
        output::format_count(plan.accounts, "account", "accounts"),
        plan.target,
        plan.target_version,
    ));
    for statement in &plan.dropped {
        context.print_note(&format!("  first: {statement}"));
    }
    if let Some(forward) = &plan.forward {
        context.print_note(&format!(
            "  then: {} ({}, at most {}), to {}; about {} in all",
            output::format_count(forward.pieces, "log segment", "log segments"),
            output::format_bytes(forward.log_bytes),
            output::format_count(forward.transactions, "transaction", "transactions"),
            forward.moment,
            output::format_seconds(forward.seconds as f64),
        ));
        context.print_note(&format!("  lost: {}", forward.lost));
    }
    for warning in &plan.warnings {
        context.print_note(&format!("  note: {warning}"));
    }
    for problem in &plan.problems {
        context.print_note(&format!("  incompatible: {problem}"));
    }
}

fn print_report(
    context: &Context,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    report: &MysqlRestoreReport,
    seconds: f64,
) {
    for warning in &report.warnings {
        output::print_note(&format!("warning: {warning}"));
    }
    for difference in &report.differences {
        output::print_error(&format!("differs: {difference}"));
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "restore",
            "snapshot": snapshot.id,
            "source": snapshot.root.source,
            "data_time": snapshot.root.data_time,
            "target": options.address.to_string(),
            "report": report,
            "seconds": seconds,
        }));
    } else if !context.global.quiet {
        let verified = match report.verified {
            _ if !report.differences.is_empty() => {
                output::format_count(report.differences.len(), "difference", "differences")
            }
            VerifyLevel::None => "not compared".to_owned(),
            VerifyLevel::Counts => "every table has the number of rows of the snapshot".to_owned(),
            VerifyLevel::Checksums => {
                "verified: every row read back matches the snapshot".to_owned()
            }
        };
        if let Some(forward) = &report.forward {
            print_roll_forward(forward);
        }
        output::print_line(&format!(
            "{}: {} with {} in {}; {verified}",
            report.outcome,
            output::format_count(report.tables, "table", "tables"),
            output::format_count(report.rows, "row", "rows"),
            output::format_seconds(seconds),
        ));
    }
}

fn print_roll_forward(forward: &RollForwardReport) {
    let named = |named: &Option<TransactionSummary>| match named {
        Some(named) => format!("{} ({})", named.gtid, named.committed.show()),
        None => "none".to_owned(),
    };
    output::print_line(&format!(
        "replayed {}, to {}; last applied {}; stopped before {}",
        output::format_count(forward.transactions, "transaction", "transactions"),
        forward.moment,
        named(&forward.last_applied),
        named(&forward.stopped_before),
    ));
    if !forward.skipped.is_empty() {
        output::print_line(&format!("skipped: {}", forward.skipped.join(", ")));
    }
    if let Some(snapshot) = &forward.compared_with {
        output::print_line(&format!(
            "every table was compared with snapshot {snapshot} afterwards"
        ));
    }
}
