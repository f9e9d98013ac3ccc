//! What is printed of a completed snapshot.

use reprise_policies::TimeZoneData;
use reprise_repository::{CommittedSnapshot, Repository};
use reprise_scheduler::jobs::SnapshotReport;
use serde_json::json;

use crate::context::Context;
use crate::failure::Exit;
use crate::output;

/// Up to this many notes are printed; `show` lists all.
const NOTES_SHOWN_MAX: usize = 10;

/// Prints what a snapshot warns of, and what is worth knowing of it.
pub(crate) fn print_snapshot_warnings(committed: &CommittedSnapshot) {
    for warning in &committed.warnings {
        output::print_note(&format!("warning: {warning}"));
    }
    for note in committed.notes.iter().take(NOTES_SHOWN_MAX) {
        output::print_note(&format!("note: {note}"));
    }
    let more = committed.notes.len().saturating_sub(NOTES_SHOWN_MAX);
    if more > 0 {
        output::print_note(&format!(
            "note: {} more; `reprise show` lists all",
            output::format_count(more, "note", "notes")
        ));
    }
}

/// Reports a snapshot to people or as JSON.
pub(crate) fn report_snapshot(
    context: &Context,
    taken: &SnapshotReport,
    repository: &Repository,
) -> Exit {
    let committed = &taken.committed;
    let (snapshot, root) = (&committed.snapshot, &committed.snapshot.root);
    print_snapshot_warnings(committed);
    for recipient in &taken.removed_recipients {
        output::print_note(&format!(
            "warning: {recipient} was removed while the snapshot was taken, which is still encrypted to it: `reprise key rotate --reencrypt` ends that"
        ));
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "snapshot",
            "snapshot": snapshot.id,
            "repository": repository.location(),
            "source": root.source,
            "kind": root.kind,
            "outcome": root.outcome,
            "data_time": root.data_time,
            "counts": root.counts,
            "added": root.added,
            "warnings": committed.warnings,
            "notes": committed.notes,
            "removed_recipients": taken.removed_recipients,
            "traffic": repository.traffic(),
            "time_zone_data": TimeZoneData::bundled().version,
            "seconds": taken.seconds,
        }));
    } else if !context.global.quiet {
        output::print_line(&format!(
            "snapshot {} of {}: {}, {}, {}, {} added, {}",
            snapshot.id.short(),
            root.source,
            root.outcome,
            output::format_count(root.counts.entries, "entry", "entries"),
            output::format_bytes(root.counts.bytes),
            output::format_bytes(root.added.stored_bytes),
            output::format_seconds(taken.seconds),
        ));
    }
    let removed = match taken.removed_recipients.is_empty() {
        true => Exit::Ok,
        false => Exit::Degraded,
    };
    Exit::from(root.outcome).combine_with(removed)
}
