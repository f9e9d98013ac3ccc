//! `reprise show`: all details of one snapshot.

use clap::Args;
use reprise_mysql::log::LogBreakKind;
use reprise_repository::{Error, Repository, Snapshot, SnapshotDetails, SourceKind, Tombstone};
use reprise_restore::mysql::RecoveryCatalog;
use serde_json::json;

use crate::commands::snapshots::list::snapshot_as_json;
use crate::context::{Context, SNAPSHOT_NAMES_HELP};
use crate::failure::{Exit, Failure};
use crate::host_args::HostArgs;
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = SNAPSHOT_NAMES_HELP)]
pub(crate) struct ShowArgs {
    /// Beginning of a snapshot ID, SOURCE, SOURCE@latest, SOURCE@2026-11-29, or SOURCE@'yesterday 18:00': the newest at or
    /// before that.
    pub(crate) snapshot: String,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

pub(crate) fn run(context: &Context, args: &ShowArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository_of(&args.snapshot)?;
    let repository = repository.with_chosen_host(args.host.host.as_deref());
    let snapshot = context.find_snapshot(&repository, &args.snapshot)?;
    let details = read_details(&repository, &snapshot)?;
    let tombstones = match snapshot.forgotten {
        true => repository
            .read_tombstones()?
            .tombstones_of(&snapshot.id)
            .cloned()
            .collect(),
        false => Vec::new(),
    };
    let affected = repository.degraded_snapshots()?.contains(&snapshot.id);
    // A source's name as the argument asks about the source, so its log is shown too.
    let archive = match snapshot.root.source == args.snapshot {
        true if snapshot.root.kind == SourceKind::Mysql => {
            Some(RecoveryCatalog::load(&repository, &args.snapshot)?)
        }
        _ => None,
    };
    if context.global.json {
        let mut shown = snapshot_as_json(&repository, &snapshot);
        shown["tombstones"] = json!(tombstones.iter().map(tombstone_json).collect::<Vec<_>>());
        shown["details"] = json!(details);
        shown["affected"] = json!(affected);
        if let Some(archive) = &archive {
            shown["restorable"] = json!(archive.recovery_windows());
            shown["gaps"] = json!(describe_gaps(archive));
            shown["unreadable"] = json!(archive.missing_identity().map(|error| error.to_string()));
        }
        output::print_json(&shown);
    } else {
        print_snapshot(&repository, &snapshot, details.as_ref());
        if affected {
            output::print_line(
                "affected by damage: some of its data has no undamaged copy; see `reprise verify --repair`",
            );
        }
        print_tombstones(&tombstones);
        archive.iter().for_each(print_archive);
    }
    Ok(Exit::Ok)
}

fn tombstone_json(tombstone: &Tombstone) -> serde_json::Value {
    let record = &tombstone.record;
    json!({
        "tombstone": tombstone.id,
        "at": record.at,
        "by": record.by,
        "reason": record.reason,
        "policy": record.policy,
    })
}

/// Who forgot it, when and why.
fn print_tombstones(tombstones: &[Tombstone]) {
    let row = |tombstone: &Tombstone| {
        let record = &tombstone.record;
        let (at, by) = (output::format_time(&record.at), &record.by);
        vec![
            "forgotten".to_owned(),
            format!("{at} by {by}: {}", record.reason),
        ]
    };
    output::print_columns(&tombstones.iter().map(row).collect::<Vec<_>>());
}

/// Describes the gaps in the log.
fn describe_gaps(archive: &RecoveryCatalog) -> Vec<String> {
    let breaks = archive.log().breaks().iter();
    let breaks = breaks.filter(|found| found.kind != LogBreakKind::Unreadable);
    breaks.map(|found| found.reason.clone()).collect()
}

fn print_archive(archive: &RecoveryCatalog) {
    let mut rows: Vec<Vec<String>> = archive
        .recovery_windows()
        .iter()
        .map(|span| {
            let log = match span.from == span.until {
                true => span.to_string(),
                false => format!(
                    "{span} ({}, {} of log)",
                    output::format_count(span.snapshots, "snapshot", "snapshots"),
                    output::format_count(span.transactions, "transaction", "transactions")
                ),
            };
            vec!["restorable".to_owned(), log]
        })
        .collect();
    rows.extend(
        describe_gaps(archive)
            .into_iter()
            .map(|gap| vec!["gap".to_owned(), gap]),
    );
    if let Some(missing) = archive.missing_identity() {
        rows.push(vec!["not shown".to_owned(), missing.to_string()]);
        let hint = missing.hint();
        rows.extend(
            hint.lines()
                .map(|line| vec![String::new(), line.to_owned()]),
        );
    }
    output::print_columns(&rows);
}

/// The part that only recovery identities decrypt; `None` without one.
fn read_details(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<SnapshotDetails>, Failure> {
    let reader = repository.content_reader()?;
    match reader.snapshot_reader(snapshot).details() {
        Ok(details) => Ok(Some(details)),
        Err(Error::NoMatchingIdentity { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn print_snapshot(repository: &Repository, snapshot: &Snapshot, details: Option<&SnapshotDetails>) {
    let mut rows = snapshot_rows(repository, snapshot);
    let root = &snapshot.root;
    match details {
        Some(details) => {
            rows.push(("location", details.location.display()));
            rows.extend(
                details
                    .warnings
                    .iter()
                    .map(|warning| ("warning", warning.to_string())),
            );
            rows.extend(details.notes.iter().map(|note| ("note", note.to_string())));
        }
        None => {
            let text = format!(
                "{}; give --identity to read location and warnings",
                output::format_count(root.warnings, "warning", "warnings")
            );
            rows.push(("details", text));
        }
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    output::print_columns(&rows);
}

/// The part that every identity may see.
fn snapshot_rows(repository: &Repository, snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let (root, counts) = (&snapshot.root, &snapshot.root.counts);
    let received = snapshot
        .received
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), output::format_time);
    let signer = repository.signer_name(&snapshot.signer);
    let mut rows = vec![
        ("snapshot", snapshot.id.to_string()),
        ("source", format!("{} ({})", root.source, root.kind)),
        ("outcome", root.outcome.to_string()),
        ("data time", output::format_time(&root.data_time)),
        ("received", received),
        (
            "taken",
            format!(
                "{} to {} on {}",
                output::format_time(&root.started),
                output::format_time(&root.finished),
                root.host
            ),
        ),
        ("by", format!("{}, signed by {signer}", root.program)),
        (
            "holds",
            format!(
                "{}: {}, {}, {}, {}, {} special; {}",
                output::format_count(counts.entries, "entry", "entries"),
                output::format_count(counts.files, "file", "files"),
                output::format_count(counts.directories, "directory", "directories"),
                output::format_count(counts.symlinks, "symlink", "symlinks"),
                output::format_count(counts.hardlinks, "hard link", "hard links"),
                counts.specials,
                output::format_bytes(counts.bytes)
            ),
        ),
        (
            "added",
            format!(
                "{}, {} plain, {} stored",
                output::format_count(root.added.chunks, "chunk", "chunks"),
                output::format_bytes(root.added.plain_bytes),
                output::format_bytes(root.added.stored_bytes)
            ),
        ),
        (
            "parent",
            root.parent
                .map_or_else(|| "none".to_owned(), |id| id.short()),
        ),
    ];
    rows.extend(
        root.tags
            .iter()
            .map(|(key, value)| ("tag", format!("{key}={value}"))),
    );
    rows.extend(
        root.facts
            .iter()
            .map(|(name, value)| ("fact", format!("{name}: {value}"))),
    );
    rows
}
