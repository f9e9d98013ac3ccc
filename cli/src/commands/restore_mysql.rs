//! `reprise restore --to mysql://…`: bringing a database server back.

use std::sync::Arc;
use std::time::Instant;

use reprise_repository::{Repository, Snapshot};
use reprise_restore::mysql::moments::{Archive, Moment};
use reprise_restore::mysql::{
    self as restoring, ForwardReport, MysqlPlan, MysqlReport, MysqlRestore, Named, PointInTime,
    Users, VerifyLevel,
};
use reprise_snapshotters::mysql::CONNECTIONS_DEFAULT;
use reprise_snapshotters::mysql::binlog::Gtid;
use serde_json::json;

use crate::args::{RestoreArgs, UsersArg};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Shown;
use crate::{moment, mysql};

pub(crate) fn run(context: &Context, args: &RestoreArgs, url: &str) -> Result<Exit, Failure> {
    let options = options(context, args, url)?;
    if let Some(wanted) = Wanted::of(args) {
        return to_moment(context, args, &options, wanted);
    }
    let repository = context.open()?;
    let snapshot = context.snapshot(&repository, &args.snapshot)?;
    repository.require_data_identity()?;
    let timer = Instant::now();
    let shown = Shown::start(context, "restore");
    if args.dry_run {
        let plan = restoring::plan(&repository, &snapshot, &options, &shown.progress)?;
        drop(shown);
        print_plan(context, &snapshot, &plan);
        return Ok(if plan.problems.is_empty() {
            Exit::Ok
        } else {
            Exit::Refused
        });
    }
    let mut announce = |plan: &MysqlPlan| {
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

/// The moment that the command line names.
enum Wanted<'a> {
    Time(&'a str),
    Before(&'a str),
    Until(&'a str),
}

impl<'a> Wanted<'a> {
    fn of(args: &'a RestoreArgs) -> Option<Self> {
        let server = &args.server;
        let time = server.point_in_time.as_deref().map(Self::Time);
        let before = server.before_gtid.as_deref().map(Self::Before);
        time.or(before).or(server.until.as_deref().map(Self::Until))
    }

    fn moment(
        &self,
        context: &Context,
        source: &str,
        repository: &Repository,
    ) -> Result<Moment, Failure> {
        Ok(match self {
            Self::Time(text) => Moment::Time(moment::parse(context, source, text)?),
            Self::Before(text) => Moment::Before(gtid(text)?),
            Self::Until("latest") => Moment::Latest,
            Self::Until(name) => Moment::Snapshot(Box::new(repository.find_snapshot(name)?)),
        })
    }
}

fn gtid(text: &str) -> Result<Gtid, Failure> {
    text.parse()
        .map_err(|reason: String| Failure::usage(reason, "`reprise log` lists transactions"))
}

/// A snapshot, and the log after it.
fn to_moment(
    context: &Context,
    args: &RestoreArgs,
    options: &MysqlRestore,
    wanted: Wanted<'_>,
) -> Result<Exit, Failure> {
    if !options.databases.is_empty() || !options.tables.is_empty() {
        return Err(Failure::usage(
            "point-in-time recovery restores a whole server, not single databases or tables",
            "restore to a dedicated server, and copy what you need from there",
        ));
    }
    let source = args.snapshot.as_str();
    let name = source.rsplit('/').next().unwrap_or(source);
    let repository = context.open()?;
    repository.require_data_identity()?;
    let point = PointInTime {
        moment: wanted.moment(context, source, &repository)?,
        skip: args
            .server
            .skip_gtid
            .iter()
            .map(|text| gtid(text))
            .collect::<Result<_, _>>()?,
        keep_numbers: args.server.keep_gtids,
        leave_accounts: false,
    };
    let archive = Archive::read(&repository, name)?;
    if archive.snapshots().is_empty() {
        // Says what there is instead.
        let found = repository.find_snapshot(name)?;
        return Err(Failure::usage(
            format!("`{source}` is not the name of a database server"),
            format!(
                "name the source, as in `reprise restore {}`",
                found.root.source
            ),
        ));
    }
    let timer = Instant::now();
    let shown = Shown::start(context, "restore");
    if args.dry_run {
        let (snapshot, plan) =
            restoring::plan_moment(&repository, &archive, &point, options, &shown.progress)?;
        drop(shown);
        print_plan(context, &snapshot, &plan);
        return Ok(match plan.problems.is_empty() {
            true => Exit::Ok,
            false => Exit::Refused,
        });
    }
    let mut announce = |snapshot: &Snapshot, plan: &MysqlPlan| {
        if !context.global.json {
            print_plan(context, snapshot, plan);
        }
    };
    let (snapshot, report) = restoring::restore_moment(
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

fn options(context: &Context, args: &RestoreArgs, url: &str) -> Result<MysqlRestore, Failure> {
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
    let address = mysql::address(context, url, server.defaults_file.as_deref())?;
    let mut databases: Vec<_> = server
        .database
        .iter()
        .map(|name| match name.split_once('=') {
            Some((old, new)) => (old.to_owned(), Some(new.to_owned())),
            None => (name.clone(), None),
        })
        .collect();
    // As with other clients, the URL may name the one database that matters.
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
    Ok(MysqlRestore {
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
            UsersArg::None => Users::None,
            UsersArg::Missing => Users::Missing,
        }),
        write_binlog: server.write_binlog,
        definer: server.definer.clone().filter(|definer| definer != "keep"),
        without_redo_log: server.disable_redo_log,
    })
}

fn print_plan(context: &Context, snapshot: &Snapshot, plan: &MysqlPlan) {
    if context.global.json {
        output::json_line(&json!({ "event": "plan", "snapshot": snapshot.id, "plan": plan }));
        return;
    }
    let rows: u64 = plan.tables.iter().map(|table| table.rows).sum();
    context.note(&format!(
        "snapshot {} of {} ({}): {} with {}, {} (views, routines, triggers and events), {} to {} ({})",
        snapshot.id.short(),
        snapshot.root.source,
        output::time(&snapshot.root.data_time),
        output::format_count(plan.tables.len(), "table", "tables"),
        output::format_count(rows, "row", "rows"),
        output::format_count(plan.objects, "object", "objects"),
        output::format_count(plan.accounts, "account", "accounts"),
        plan.target,
        plan.target_version,
    ));
    for statement in &plan.dropped {
        context.note(&format!("  first: {statement}"));
    }
    if let Some(forward) = &plan.forward {
        context.note(&format!(
            "  then: {} ({}, at most {}), to {}; about {} in all",
            output::format_count(forward.pieces, "log segment", "log segments"),
            output::bytes(forward.log_bytes),
            output::format_count(forward.transactions, "transaction", "transactions"),
            forward.moment,
            output::seconds(forward.seconds as f64),
        ));
        context.note(&format!("  lost: {}", forward.lost));
    }
    for warning in &plan.warnings {
        context.note(&format!("  note: {warning}"));
    }
    for problem in &plan.problems {
        context.note(&format!("  incompatible: {problem}"));
    }
}

fn print_report(
    context: &Context,
    snapshot: &Snapshot,
    options: &MysqlRestore,
    report: &MysqlReport,
    seconds: f64,
) {
    for warning in &report.warnings {
        output::note(&format!("warning: {warning}"));
    }
    for difference in &report.differences {
        output::error(&format!("differs: {difference}"));
    }
    if context.global.json {
        output::json_line(&json!({
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
            print_forward(forward);
        }
        output::line(&format!(
            "{}: {} with {} in {}; {verified}",
            report.outcome,
            output::format_count(report.tables, "table", "tables"),
            output::format_count(report.rows, "row", "rows"),
            output::seconds(seconds),
        ));
    }
}

fn print_forward(forward: &ForwardReport) {
    let named = |named: &Option<Named>| match named {
        Some(named) => format!("{} ({})", named.gtid, named.committed),
        None => "none".to_owned(),
    };
    output::line(&format!(
        "replayed {}, to {}; last applied {}; stopped before {}",
        output::format_count(forward.transactions, "transaction", "transactions"),
        forward.moment,
        named(&forward.last_applied),
        named(&forward.stopped_before),
    ));
    if !forward.skipped.is_empty() {
        output::line(&format!("skipped: {}", forward.skipped.join(", ")));
    }
    if let Some(snapshot) = &forward.compared_with {
        output::line(&format!(
            "every table was compared with snapshot {snapshot} afterwards"
        ));
    }
}
