//! `reprise log`: lists the transactions of an archived log.

use std::collections::BTreeSet;

use clap::Args;
use reprise_mysql::log::{
    ListedTransaction, LogBreak, LogBreakKind, LogRange, LogTime, StoredLog, StoredSegment,
    TransactionLister,
};
use reprise_policies::nearest_name;
use reprise_repository::{Error, Repository, SourceKind};
use reprise_restore::mysql::list_snapshot_tables;
use reprise_times::DayMeaning;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{output, time_input};

#[derive(Debug, Args)]
#[command(after_help = "\
Times are written with their offset (RFC 3339), or as '2026-11-21 14:00', 'yesterday 14:00' or a day: then they are of the time zone
of the policy, without one of TZ or the system.

Examples:
  reprise --identity recovery-1.txt log app-db --from 2026-11-21T14:00:00Z --to 2026-11-21T14:05:00Z
  reprise --identity recovery-1.txt log app-db --from '2026-11-21 14:00' --table shop.orders --json")]
pub(crate) struct LogArgs {
    /// The source.
    pub(crate) source: String,
    /// Only transactions committed at or after this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only transactions committed at or before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only transactions that change this table. May be repeated.
    #[arg(long, value_name = "DATABASE.TABLE")]
    pub(crate) table: Vec<String>,
}

/// The most characters of a statement shown in a line.
const STATEMENT_WIDTH: usize = 100;

/// Which transactions are listed.
struct TransactionFilter {
    from: LogTime,
    to: LogTime,
    tables: Vec<(String, String)>,
}

pub(crate) fn run(context: &Context, args: &LogArgs) -> Result<Exit, Failure> {
    let wanted = parse_filter(context, args)?;
    let repository = context.open_repository_of(&args.source)?;
    repository.require_data_identity()?;
    let source = args.source.rsplit('/').next().unwrap_or(&args.source);
    let log = StoredLog::read(&repository, source)?;
    let missing_identity = log.missing_identity(source);
    if log.segments().is_empty() {
        return Err(missing_identity.map_or_else(
            || {
                Failure::new(
                    Exit::NotFound,
                    format!("no log of {source} is archived"),
                    "archive it with `reprise archive`",
                )
            },
            Failure::from,
        ));
    }
    let mut exit = Exit::Ok;
    let is_gap = |found: &&LogBreak| found.kind != LogBreakKind::Unreadable;
    let mut breaks: Vec<&LogBreak> = log.breaks().iter().filter(is_gap).collect();
    breaks.sort_by_key(|found| found.before);
    let mut breaks = breaks.into_iter().peekable();
    let mut seen = BTreeSet::new();
    for stretch in log.ranges() {
        let first = stretch
            .segments()
            .first()
            .map_or(0, |piece| piece.key.sequence);
        while let Some(found) = breaks.next_if(|found| found.before <= first) {
            exit = exit.combine_with(report_gap(context, found));
        }
        list_transactions(context, &repository, &stretch, &wanted, &mut seen)?;
    }
    for found in breaks {
        exit = exit.combine_with(report_gap(context, found));
    }
    if let Some(missing) = missing_identity {
        exit = exit.combine_with(report_unreadable(context, &missing));
    }
    check_tables(&repository, source, &wanted, seen)?;
    Ok(exit)
}

/// A table that neither a listed transaction nor the newest snapshot has is probably misspelt.
fn check_tables(
    repository: &Repository,
    source: &str,
    wanted: &TransactionFilter,
    mut known: BTreeSet<String>,
) -> Result<(), Failure> {
    let full_name = |(database, table): &(String, String)| format!("{database}.{table}");
    let is_missing = |known: &BTreeSet<String>| {
        let mut names = wanted.tables.iter().map(full_name);
        names.find(|name| !known.contains(name))
    };
    if is_missing(&known).is_some() {
        let (snapshots, _) = repository.snapshots_lossy()?;
        let newest = snapshots.iter().rev().find(|one| {
            one.root.source == source && one.root.kind == SourceKind::Mysql && !one.forgotten
        });
        if let Some(newest) = newest {
            known.extend(list_snapshot_tables(repository, newest)?);
        }
    }
    let Some(missing) = is_missing(&known) else {
        return Ok(());
    };
    let near = nearest_name(&missing, known.iter().map(String::as_str));
    let hint = near.map_or_else(
        || format!("`reprise log {source}` lists transactions with their tables"),
        |name| format!("did you mean `{name}`?"),
    );
    let message = format!(
        "{missing} is no table of {source}: no listed transaction changes it, and the newest snapshot does not have it"
    );
    Err(Failure::new(Exit::NotFound, message, hint))
}

fn parse_filter(context: &Context, args: &LogArgs) -> Result<TransactionFilter, Failure> {
    let time = |text: &Option<String>, day, default: LogTime| match text {
        Some(text) => time_input::parse_time(context, &args.source, text, day),
        None => Ok(default),
    };
    let table = |text: &String| {
        text.split_once('.')
            .map(|(database, table)| (database.to_owned(), table.to_owned()))
            .ok_or_else(|| {
                Failure::usage(
                    format!("`{text}` is not a table name"),
                    "write it as --table DATABASE.TABLE",
                )
            })
    };
    Ok(TransactionFilter {
        from: time(&args.from, DayMeaning::Start, LogTime::default())?,
        to: time(&args.to, DayMeaning::End, LogTime::MAX)?,
        tables: args.table.iter().map(table).collect::<Result<_, _>>()?,
    })
}

/// A gap is reported at its position in the list.
fn report_gap(context: &Context, found: &LogBreak) -> Exit {
    if context.global.json {
        output::print_json(&json!({
            "event": "gap",
            "reason": found.reason,
            "is_damage": found.kind == LogBreakKind::Damaged,
        }));
    } else {
        output::print_note(&format!("-- gap: {}", found.reason));
    }
    match found.kind {
        LogBreakKind::Damaged => Exit::Damaged,
        LogBreakKind::Unreadable | LogBreakKind::NotArchived => Exit::Ok,
    }
}

/// Log segments that only others can read.
fn report_unreadable(context: &Context, missing: &Error) -> Exit {
    if context.global.json {
        let event =
            json!({"event": "unreadable", "reason": missing.to_string(), "hint": missing.hint()});
        output::print_json(&event);
    } else {
        output::print_note(&format!("-- not listed: {missing}"));
        for line in missing.hint().lines() {
            output::print_note(&format!("--   {line}"));
        }
    }
    Exit::Degraded
}

fn list_transactions(
    context: &Context,
    repository: &Repository,
    stretch: &LogRange<'_>,
    wanted: &TransactionFilter,
    seen: &mut BTreeSet<String>,
) -> Result<(), Failure> {
    let pieces = stretch.segments();
    // After a clock is set back some times occur twice.
    let overlaps = |piece: &StoredSegment| {
        let times = piece.facts.times;
        times.is_some_and(|(first, last)| first <= wanted.to && last >= wanted.from)
    };
    let Some(skip) = pieces.iter().position(overlaps) else {
        return Ok(());
    };
    let end = pieces.iter().rposition(overlaps).map_or(0, |n| n + 1);
    for listed in TransactionLister::new(stretch.read_events(repository, skip, end)) {
        let listed = listed?;
        let time = listed.transaction.committed;
        let touched = |(database, table): &&(String, String)| listed.touches_table(database, table);
        let named: Vec<_> = wanted.tables.iter().filter(touched).collect();
        seen.extend(
            named
                .iter()
                .map(|(database, table)| format!("{database}.{table}")),
        );
        seen.extend(listed.rows.keys().cloned());
        let chosen = wanted.tables.is_empty() || !named.is_empty();
        if chosen && (wanted.from..=wanted.to).contains(&time) {
            print_transaction(context, &listed);
        }
    }
    Ok(())
}

fn print_transaction(context: &Context, listed: &ListedTransaction) {
    let ended = &listed.transaction;
    let rows: u64 = listed
        .rows
        .values()
        .map(|rows| rows.inserted + rows.updated + rows.deleted)
        .sum();
    if context.global.json {
        output::print_json(&json!({
            "gtid": ended.gtid.to_string(),
            "committed": ended.committed.to_utc_text(),
            "kind": listed.kind(),
            "rows": rows,
            "tables": listed.rows.keys().collect::<Vec<_>>(),
            "changes": listed.rows,
            "statement": listed.statements.first().filter(|_| listed.has_statements),
            "statements": listed.statements,
        }));
        return;
    }
    let mut parts: Vec<String> = listed
        .rows
        .iter()
        .map(|(table, rows)| {
            let counts = [
                (rows.inserted, '+'),
                (rows.updated, '~'),
                (rows.deleted, '-'),
            ];
            let counts = counts.iter().filter(|(count, _)| *count > 0);
            let counts: String = counts
                .map(|(count, sign)| format!(" {sign}{count}"))
                .collect();
            format!("{table}{counts}")
        })
        .collect();
    parts.extend(
        listed
            .statements
            .iter()
            .map(|statement| to_one_line(statement)),
    );
    output::print_line(&format!(
        "{}  {}  {}",
        ended.committed.show(),
        ended.gtid,
        parts.join("; ")
    ));
}

/// A statement on one line, truncated where it is long.
fn to_one_line(statement: &str) -> String {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(STATEMENT_WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
