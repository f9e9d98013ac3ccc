//! Which entries of a snapshot are wanted, and what restoring them will meet.

use reprise_repository::{Counts, Entry, EntryKind, RawText, Repository, Snapshot};
use reprise_snapshotters::beneath::Beneath;

use super::{RestoreOptions, RestorePlan};
use crate::error::{Error, Result};

/// Existing paths listed in a plan.
const EXAMPLES_MAX: usize = 10;

/// Chooses entries by path.
#[derive(Debug)]
pub struct Selection {
    wanted: Vec<Vec<u8>>,
    found: Vec<bool>,
}

/// How an entry relates to the chosen paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is not wanted.
    No,
    /// A folder on the way to something wanted.
    Ancestor,
    /// It is wanted.
    Yes,
}

impl Selection {
    /// Chooses these paths and what is below them; none: everything.
    #[must_use]
    pub fn new(paths: &[RawText]) -> Self {
        let clean = |path: &RawText| {
            let parts = path
                .as_bytes()
                .split(|b| *b == b'/')
                .filter(|part| !part.is_empty() && *part != b".");
            parts.collect::<Vec<_>>().join(&b'/')
        };
        let wanted: Vec<_> = paths.iter().map(clean).collect();
        Self {
            found: vec![false; wanted.len()],
            wanted,
        }
    }

    /// Whether everything is wanted.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.wanted.is_empty()
    }

    /// How an entry's path relates to the chosen ones.
    pub fn choose(&mut self, path: &[u8]) -> Choice {
        if self.wanted.is_empty() {
            return Choice::Yes;
        }
        let mut choice = Choice::No;
        for (wanted, found) in self.wanted.iter().zip(&mut self.found) {
            if is_inside(path, wanted) {
                *found = true;
                choice = Choice::Yes;
            } else if choice == Choice::No && is_inside(wanted, path) {
                choice = Choice::Ancestor;
            }
        }
        choice
    }

    /// Whether every chosen path was met.
    #[must_use]
    pub fn all_found(&self) -> bool {
        self.found.iter().all(|found| *found)
    }

    /// Fails if a chosen path was never met.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] names the first.
    pub fn require_all_found(&self, snapshot: &Snapshot) -> Result<()> {
        let missing = self
            .wanted
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

/// Whether `path` is `folder` or below it.
fn is_inside(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

pub(super) fn plan(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<RestorePlan> {
    let reader = repository.content_reader()?;
    let mut entries = reader.snapshot(snapshot).entries();
    let mut selection = Selection::new(&options.paths);
    let target = Beneath::open(&options.target).ok();
    let mut plan = RestorePlan {
        counts: Counts::default(),
        existing: 0,
        existing_examples: Vec::new(),
    };
    while let Some((entry, _)) = entries.next_entry()? {
        if selection.choose(entry.path.as_bytes()) == Choice::No {
            continue;
        }
        plan.counts.add(&entry);
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

/// Folders are entered, never replaced; the root is always there.
fn would_replace(target: &Beneath, entry: &Entry) -> bool {
    entry.kind != EntryKind::Directory
        && !entry.path.as_bytes().is_empty()
        && target.stat(entry.path.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_chooses_itself_its_contents_and_its_ancestors() {
        let mut selection = Selection::new(&[RawText::from("./a/b/")]);
        let cases = [
            ("", Choice::Ancestor),
            ("a", Choice::Ancestor),
            ("a/b", Choice::Yes),
            ("a/b/c", Choice::Yes),
            ("a/bc", Choice::No),
            ("b", Choice::No),
        ];
        for (path, expected) in cases {
            assert_eq!(selection.choose(path.as_bytes()), expected, "{path}");
        }
    }
}
