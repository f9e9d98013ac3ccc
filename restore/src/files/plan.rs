//! Describes what a restore into a directory would do.

use reprise_repository::{Entry, EntryCounts, EntryKind, Progress, Repository, Snapshot};
use reprise_snapshotters::confined_directory::ConfinedDirectory;

use crate::error::{Error, Result};
use crate::files::directory::restore_directory::free_bytes;
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
    progress: &Progress,
) -> Result<RestorePlan> {
    let reader = repository.content_reader()?;
    let resolved = PathSelection::resolve(&reader, snapshot, &options.paths, progress)?;
    let mut selection = resolved.selection;
    let mut entries = reader.snapshot_reader(snapshot).entries();
    let target = ConfinedDirectory::open(&options.target).ok();
    let mut plan = RestorePlan {
        counts: EntryCounts::default(),
        existing: 0,
        existing_examples: Vec::new(),
        needed_bytes: 0,
        free_bytes: free_bytes(&options.target),
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
        } else if entry.kind == EntryKind::File {
            plan.needed_bytes += entry.content_bytes();
        }
    }
    Ok(plan)
}

impl RestorePlan {
    /// Refuses a restore that cannot fit.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn require_space(&self, options: &RestoreOptions) -> Result<()> {
        require_space(options, self.needed_bytes, self.free_bytes)
    }
}

/// Refuses a restore that cannot fit, before anything is changed.
pub(super) fn require_space(
    options: &RestoreOptions,
    needed_bytes: u64,
    free_bytes: Option<u64>,
) -> Result<()> {
    match free_bytes {
        Some(free_bytes) if free_bytes < needed_bytes => Err(Error::NoSpace {
            path: options.target.clone(),
            free_bytes,
            needed_bytes,
        }),
        _ => Ok(()),
    }
}

/// Directories are entered, never replaced; the root always exists.
fn would_replace(target: &ConfinedDirectory, entry: &Entry) -> bool {
    entry.kind != EntryKind::Directory
        && !entry.path.as_bytes().is_empty()
        && target.stat(entry.path.as_bytes()).is_ok()
}
