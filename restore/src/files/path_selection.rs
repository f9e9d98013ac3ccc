//! Which entries of a snapshot are selected, and which existing files restoring them will meet.

use reprise_repository::{Entry, EntryCounts, EntryKind, RawText, Repository, Snapshot};
use reprise_snapshotters::confined_directory::ConfinedDirectory;

use super::{RestoreOptions, RestorePlan};
use crate::error::{Error, Result};

/// Existing paths listed in a plan.
const EXAMPLES_MAX: usize = 10;

/// Chooses entries by path.
#[derive(Debug)]
pub struct PathSelection {
    paths: Vec<Vec<u8>>,
    found: Vec<bool>,
}

/// How an entry relates to the selected paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMatch {
    /// It is not selected.
    No,
    /// A parent directory of a selected entry.
    Ancestor,
    /// It is selected.
    Yes,
}

impl PathSelection {
    /// Selects these paths and everything below them; none: everything.
    #[must_use]
    pub fn new(paths: &[RawText]) -> Self {
        let clean = |path: &RawText| {
            let parts = path
                .as_bytes()
                .split(|b| *b == b'/')
                .filter(|part| !part.is_empty() && *part != b".");
            parts.collect::<Vec<_>>().join(&b'/')
        };
        let paths: Vec<_> = paths.iter().map(clean).collect();
        Self {
            found: vec![false; paths.len()],
            paths,
        }
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.paths.is_empty()
    }

    /// How an entry's path relates to the selected ones.
    pub fn match_path(&mut self, path: &[u8]) -> PathMatch {
        if self.paths.is_empty() {
            return PathMatch::Yes;
        }
        let mut choice = PathMatch::No;
        for (wanted, found) in self.paths.iter().zip(&mut self.found) {
            if is_inside(path, wanted) {
                *found = true;
                choice = PathMatch::Yes;
            } else if choice == PathMatch::No && is_inside(wanted, path) {
                choice = PathMatch::Ancestor;
            }
        }
        choice
    }

    /// Whether every selected path was found.
    #[must_use]
    pub fn all_found(&self) -> bool {
        self.found.iter().all(|found| *found)
    }

    /// Fails if a selected path was never found.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] names the first.
    pub fn require_all_found(&self, snapshot: &Snapshot) -> Result<()> {
        let missing = self
            .paths
            .iter()
            .zip(&self.found)
            .find(|(_, found)| !**found);
        match missing {
            None => Ok(()),
            Some((wanted, _)) => Err(Error::NoSuchPath {
                wanted: RawText::new(wanted.clone()).display(),
                snapshot: snapshot.id.short(),
            }),
        }
    }
}

/// Whether `path` is `directory` or below it.
fn is_inside(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

pub(super) fn plan_restore(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_chooses_itself_its_contents_and_its_ancestors() {
        let mut selection = PathSelection::new(&[RawText::from("./a/b/")]);
        let cases = [
            ("", PathMatch::Ancestor),
            ("a", PathMatch::Ancestor),
            ("a/b", PathMatch::Yes),
            ("a/b/c", PathMatch::Yes),
            ("a/bc", PathMatch::No),
            ("b", PathMatch::No),
        ];
        for (path, expected) in cases {
            assert_eq!(selection.match_path(path.as_bytes()), expected, "{path}");
        }
    }
}
