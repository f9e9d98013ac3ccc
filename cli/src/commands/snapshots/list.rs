//! `reprise snapshots`: lists snapshots. No recovery identity is needed.

use std::collections::BTreeSet;

use clap::Args;
use reprise_repository::{
    Error, ObjectId, Repository, Snapshot, UnreadableRoot, format_error_chain,
};
use serde_json::json;

use crate::commands::snapshots::groups::{GroupKey, group_snapshots, keep_newest};
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::host_args::HostArgs;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    /// Only snapshots of this source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Include forgotten snapshots that are not deleted yet.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only the newest N snapshots of each source and host.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) last: Option<u32>,
    /// List each source or each host by itself, or, with `source,host`, each source of each host.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "source|host")]
    pub(crate) group: Vec<GroupKey>,
}

pub(crate) fn run(context: &Context, args: &SnapshotsArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository()?;
    let (snapshots, errors) = select_snapshots(&repository, args)?;
    let degraded = repository.degraded_snapshots()?;
    if context.global.json {
        let mut document = list_as_json(&repository, args, &snapshots, &degraded);
        let unreadable = errors.iter().map(
            |(key, error)| json!({"object": key.as_str(), "reason": format_error_chain(error)}),
        );
        document["unreadable"] = unreadable.collect();
        output::print_json(&document);
    } else if args.group.is_empty() || snapshots.is_empty() {
        print_snapshots(&repository, &snapshots, &degraded);
    } else {
        let groups = group_snapshots(&repository, &snapshots, &args.group);
        for (n, group) in groups.iter().enumerate() {
            if n > 0 {
                output::print_line("");
            }
            output::print_line(&group.title());
            print_snapshots(&repository, &group.snapshots, &degraded);
        }
    }
    if args.host.host.is_none() {
        context.print_foreign_series(&repository, args.source.as_deref())?;
    }
    for snapshot in &snapshots {
        print_clock_alarm(snapshot);
    }
    for (key, error) in &errors {
        output::print_error(&format!(
            "error: {key} cannot be read: {}",
            format_error_chain(error)
        ));
    }
    Ok(exit_for_roots(errors.iter().map(|(_, error)| error)))
}

/// The exit code for roots that cannot be read: what only others can read is not damaged.
fn exit_for_roots<'a>(errors: impl Iterator<Item = &'a Error>) -> Exit {
    errors.fold(Exit::Ok, |exit, error| {
        exit.combine_with(match error.is_missing_identity() {
            true => Exit::Degraded,
            false => Exit::Damaged,
        })
    })
}

/// The snapshots that are asked for, oldest first, and what cannot be read.
fn select_snapshots(
    repository: &Repository,
    args: &SnapshotsArgs,
) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>), Failure> {
    let (mut snapshots, errors) = if args.all {
        repository.all_snapshots_lossy()?
    } else {
        repository.snapshots_lossy()?
    };
    if let Some(host) = &args.host.host {
        let series = repository.host_series(host)?;
        snapshots.retain(|snapshot| series.contains(&repository.series_signer(snapshot)));
    }
    if let Some(source) = &args.source {
        snapshots.retain(|snapshot| snapshot.root.source == *source);
        if snapshots.is_empty() && errors.is_empty() {
            // The error lists the sources that exist.
            repository.find_snapshot(&format!("{source}@latest"))?;
        }
    }
    if let Some(count) = args.last {
        keep_newest(repository, &mut snapshots, count);
    }
    Ok((snapshots, errors))
}

fn list_as_json(
    repository: &Repository,
    args: &SnapshotsArgs,
    snapshots: &[Snapshot],
    degraded: &BTreeSet<ObjectId>,
) -> serde_json::Value {
    let one = |snapshot: &Snapshot| {
        let mut listed = snapshot_as_json(repository, snapshot);
        listed["affected"] = json!(degraded.contains(&snapshot.id));
        listed
    };
    let list = |snapshots: &[Snapshot]| snapshots.iter().map(one).collect::<Vec<_>>();
    if args.group.is_empty() {
        return json!({"snapshots": list(snapshots)});
    }
    let groups = group_snapshots(repository, snapshots, &args.group);
    let groups = groups.iter();
    let groups = groups.map(|group| group.as_json(list(&group.snapshots)));
    json!({"groups": groups.collect::<Vec<_>>()})
}

/// Warns of a snapshot whose claimed time cannot be true.
pub(crate) fn print_clock_alarm(snapshot: &Snapshot) {
    if let Some(alarm) = snapshot.clock_alarm(current_time()) {
        output::print_note(&format!(
            "warning: snapshot {} of {}: {alarm}",
            snapshot.id.short(),
            snapshot.root.source
        ));
    }
}

/// A snapshot as JSON for scripts.
pub(crate) fn snapshot_as_json(repository: &Repository, snapshot: &Snapshot) -> serde_json::Value {
    let root = &snapshot.root;
    let signer = repository.signer_name(&snapshot.signer);
    json!({
        "snapshot": snapshot.id,
        "source": root.source,
        "kind": root.kind,
        "host": root.host,
        "data_time": root.data_time,
        "started": root.started,
        "finished": root.finished,
        "outcome": root.outcome,
        "warnings": root.warnings,
        "counts": root.counts,
        "added": root.added,
        "parent": root.parent,
        "tags": root.tags,
        "facts": root.facts,
        "program": root.program,
        "slot": root.slot,
        "signer": signer,
        "received": snapshot.received,
        "effective_time": snapshot.effective_time(),
        "clock_alarm": snapshot.clock_alarm(current_time()),
        "forgotten": snapshot.forgotten,
    })
}

fn format_outcome(snapshot: &Snapshot, affected: bool) -> String {
    let forgotten = if snapshot.forgotten {
        ", forgotten"
    } else {
        ""
    };
    let affected = if affected { ", affected by damage" } else { "" };
    format!("{}{forgotten}{affected}", snapshot.root.outcome)
}

fn print_snapshots(repository: &Repository, snapshots: &[Snapshot], degraded: &BTreeSet<ObjectId>) {
    let titles = [
        "ID",
        "SOURCE",
        "KIND",
        "DATA TIME",
        "ENTRIES",
        "SIZE",
        "ADDED",
        "OUTCOME",
        "TAGS",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for snapshot in snapshots {
        let root = &snapshot.root;
        let tags: Vec<_> = root
            .tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        rows.push(vec![
            snapshot.id.short(),
            root.source.clone(),
            root.kind.to_string(),
            output::format_time(&root.data_time),
            root.counts.entries.to_string(),
            output::format_bytes(root.counts.bytes),
            output::format_bytes(root.added.stored_bytes),
            format_outcome(snapshot, degraded.contains(&snapshot.id)),
            tags.join(" "),
        ]);
    }
    if snapshots.is_empty() {
        output::print_line("no snapshots");
    } else {
        let signers: BTreeSet<_> = snapshots.iter().map(|one| one.signer).collect();
        if signers.len() > 1 {
            let names = snapshots.iter();
            let names = names.map(|one| repository.signer_name(&one.signer));
            let names = std::iter::once("HOST".to_owned()).chain(names);
            for (row, name) in rows.iter_mut().zip(names) {
                row.insert(2, name);
            }
        }
        output::print_table(&rows);
    }
}
