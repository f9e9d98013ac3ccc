//! `reprise snapshots`: the list. No recovery identity is needed.

use reprise_repository::Snapshot;
use serde_json::json;

use crate::args::SnapshotsArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure, chain};
use crate::output;

pub(crate) fn run(context: &Context, args: &SnapshotsArgs) -> Result<Exit, Failure> {
    let repository = context.open()?;
    let (mut snapshots, errors) = repository.snapshots_lossy()?;
    if let Some(source) = &args.source {
        snapshots.retain(|snapshot| snapshot.root.source == *source);
        if snapshots.is_empty() && errors.is_empty() {
            // Says which sources there are.
            repository.find_snapshot(source)?;
        }
    }
    if context.global.json {
        let listed: Vec<_> = snapshots
            .iter()
            .map(|snapshot| as_json(&repository, snapshot))
            .collect();
        let unreadable: Vec<_> = errors
            .iter()
            .map(|(key, error)| json!({"object": key.as_str(), "reason": chain(error)}))
            .collect();
        output::json_line(&json!({"snapshots": listed, "unreadable": unreadable}));
    } else {
        print(&snapshots);
    }
    for (key, error) in &errors {
        output::error(&format!("error: {key} cannot be read: {}", chain(error)));
    }
    Ok(if errors.is_empty() {
        Exit::Ok
    } else {
        Exit::Damaged
    })
}

/// A snapshot as scripts see it.
pub(crate) fn as_json(
    repository: &reprise_repository::Repository,
    snapshot: &Snapshot,
) -> serde_json::Value {
    let root = &snapshot.root;
    let signer = repository.config().trust_name(&snapshot.signer);
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
        "signer": signer,
    })
}

fn print(snapshots: &[Snapshot]) {
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
            output::time(&root.data_time),
            root.counts.entries.to_string(),
            output::bytes(root.counts.bytes),
            output::bytes(root.added.stored_bytes),
            root.outcome.to_string(),
            tags.join(" "),
        ]);
    }
    if snapshots.is_empty() {
        output::line("no snapshots");
    } else {
        output::table(&rows);
    }
}
