//! Describes what a restore into a directory would do.

use reprise_repository::{Entry, EntryCounts, EntryKind, Repository, Snapshot};
use reprise_snapshotters::confined_directory::ConfinedDirectory;

use crate::error::Result;
use crate::files::options::RestoreOptions;
use crate::files::path_selection::{PathMatch, PathSelection};
use crate::files::report::RestorePlan;

/// Existing paths listed in a plan.
const EXAMPLES_MAX: usize = 10;

/// Describes what a restore would do, without doing it.
///
/// # Errors
/// As for [`super::restore`].
pub fn plan_restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<RestorePlan> {
    let reader = repository.content_reader()?;
    let mut entries = reader.snapshot_reader(snapshot).entries();
    let mut selection = PathSelection::new(&options.paths);
    let target = ConfinedDirectory::open(&options.target).ok();
    let mut plan = RestorePlan {
        counts: EntryCounts::default(),
        existing: 0,
        existing_examples: Vec::new(),
    };
    while let Some((entry, _)) = entries.next_entry()? {
        if selection.match_path(entry.path.as_bytes()) == PathMatch::No {
            continue;
        }
        plan.counts.add_entry(&entry);
        if target
            .as_ref()
            .is_some_and(|target| would_replace(target, &entry))
        {
            plan.existing += 1;
            if plan.existing_examples.len() < EXAMPLES_MAX {
                plan.existing_examples.push(entry.path.display());
            }
        }
    }
    selection.require_all_found(snapshot)?;
    Ok(plan)
}

/// Directories are entered, never replaced; the root always exists.
fn would_replace(target: &ConfinedDirectory, entry: &Entry) -> bool {
    entry.kind != EntryKind::Directory
        && !entry.path.as_bytes().is_empty()
        && target.stat(entry.path.as_bytes()).is_ok()
}
