//! `reprise show`: everything known of one snapshot.

use reprise_repository::{Details, Error, Repository, Snapshot, SourceKind, Tombstone};
use reprise_restore::mysql::moments::Archive;
use serde_json::json;

use crate::args::ShowArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

use super::snapshots::as_json;

pub(crate) fn run(context: &Context, args: &ShowArgs) -> Result<Exit, Failure> {
    let repository = context.open()?;
    let snapshot = context.snapshot(&repository, &args.snapshot)?;
    let details = details(&repository, &snapshot)?;
    let tombstones = match snapshot.forgotten {
        true => repository.tombstones()?.of(&snapshot.id).cloned().collect(),
        false => Vec::new(),
    };
    let hurt = repository.degraded_snapshots()?.contains(&snapshot.id);
    // What is told of a source's name is told of the source: its log too.
    let archive = match snapshot.root.source == args.snapshot {
        true if snapshot.root.kind == SourceKind::Mysql => {
            Some(Archive::read(&repository, &args.snapshot)?)
        }
        _ => None,
    };
    if context.global.json {
        let mut shown = as_json(&repository, &snapshot);
        shown["tombstones"] = json!(tombstones.iter().map(tombstone_json).collect::<Vec<_>>());
        shown["details"] = json!(details);
        shown["hurt"] = json!(hurt);
        if let Some(archive) = &archive {
            shown["restorable"] = json!(archive.spans());
            shown["gaps"] = json!(gaps(archive));
        }
        output::json_line(&shown);
    } else {
        print(&repository, &snapshot, details.as_ref());
        if hurt {
            output::line(
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

/// Who has forgotten it, when and why.
fn print_tombstones(tombstones: &[Tombstone]) {
    let row = |tombstone: &Tombstone| {
        let record = &tombstone.record;
        let (at, by) = (output::time(&record.at), &record.by);
        vec![
            "forgotten".to_owned(),
            format!("{at} by {by}: {}", record.reason),
        ]
    };
    output::table(&tombstones.iter().map(row).collect::<Vec<_>>());
}

/// Where the log breaks off, in words.
fn gaps(archive: &Archive) -> Vec<String> {
    let breaks = archive.log().breaks().iter();
    breaks.map(|found| found.reason.clone()).collect()
}

fn print_archive(archive: &Archive) {
    let mut rows: Vec<Vec<String>> = archive
        .spans()
        .iter()
        .map(|span| {
            let log = format!(
                "{span} ({}, {} of log)",
                output::format_count(span.snapshots, "snapshot", "snapshots"),
                output::format_count(span.transactions, "transaction", "transactions")
            );
            vec!["restorable".to_owned(), log]
        })
        .collect();
    rows.extend(
        gaps(archive)
            .into_iter()
            .map(|gap| vec!["gap".to_owned(), gap]),
    );
    output::table(&rows);
}

/// The part that only recovery identities read; `None` without one.
fn details(repository: &Repository, snapshot: &Snapshot) -> Result<Option<Details>, Failure> {
    let reader = repository.content_reader()?;
    match reader.snapshot(snapshot).details() {
        Ok(details) => Ok(Some(details)),
        Err(Error::NoMatchingIdentity { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn print(repository: &Repository, snapshot: &Snapshot, details: Option<&Details>) {
    let mut rows = facts(repository, snapshot);
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
    output::table(&rows);
}

/// What every identity may see.
fn facts(repository: &Repository, snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let (root, counts) = (&snapshot.root, &snapshot.root.counts);
    let received = snapshot
        .received
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), output::time);
    let signer = repository.signer_name(&snapshot.signer);
    let mut rows = vec![
        ("snapshot", snapshot.id.to_string()),
        ("source", format!("{} ({})", root.source, root.kind)),
        ("outcome", root.outcome.to_string()),
        ("data time", output::time(&root.data_time)),
        ("received", received),
        (
            "taken",
            format!(
                "{} to {} on {}",
                output::time(&root.started),
                output::time(&root.finished),
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
                output::bytes(counts.bytes)
            ),
        ),
        (
            "added",
            format!(
                "{}, {} plain, {} stored",
                output::format_count(root.added.chunks, "chunk", "chunks"),
                output::bytes(root.added.plain_bytes),
                output::bytes(root.added.stored_bytes)
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
