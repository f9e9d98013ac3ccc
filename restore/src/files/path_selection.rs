//! Which entries of a snapshot are selected.

use reprise_repository::{RawText, Snapshot};

use crate::error::{Error, Result};

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
