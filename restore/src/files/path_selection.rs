//! Which entries of a snapshot are selected: by path, or by pattern.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use reprise_repository::{ContentReader, Entry, EntryKind, Progress, RawText, Snapshot};
use reprise_snapshotters::volume::ExcludeRules;

use crate::error::{Error, Result};

/// Chooses entries by path.
#[derive(Debug, Clone, Default)]
pub struct PathSelection {
    /// In the order in which they were given.
    paths: Vec<Vec<u8>>,
    /// The same, and whether each was found.
    found: HashMap<Vec<u8>, bool>,
    /// Directories that lead to them.
    ancestors: HashSet<Vec<u8>>,
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

/// What paths and patterns select of a snapshot.
#[derive(Debug)]
pub struct ResolvedPaths {
    /// The entries.
    pub selection: PathSelection,
    /// Bytes of their contents.
    pub bytes: u64,
}

impl PathSelection {
    /// Selects these paths and everything below them; none: everything.
    #[must_use]
    pub fn new(paths: &[RawText]) -> Self {
        Self::of_clean_paths(paths.iter().map(clean_path).collect())
    }

    fn of_clean_paths(paths: Vec<Vec<u8>>) -> Self {
        let mut ancestors = HashSet::new();
        for path in paths.iter().filter(|path| !path.is_empty()) {
            ancestors.insert(Vec::new());
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            ancestors.extend(slashes.map(|(at, _)| path[..at].to_vec()));
        }
        Self {
            found: paths.iter().map(|path| (path.clone(), false)).collect(),
            paths,
            ancestors,
        }
    }

    /// Finds what paths and patterns select. A pattern follows the rules of `.gitignore`, as exclude rules do; a path that
    /// exists is taken literally.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] names the first path or pattern that selects nothing; and when the snapshot cannot be read.
    pub fn resolve(
        reader: &ContentReader,
        snapshot: &Snapshot,
        paths: &[RawText],
        progress: &Progress,
    ) -> Result<ResolvedPaths> {
        if paths.is_empty() {
            return Ok(ResolvedPaths {
                selection: Self::default(),
                bytes: snapshot.root.counts.bytes,
            });
        }
        let mut wanted: Vec<WantedPath> = paths.iter().map(WantedPath::new).collect();
        let mut entries = reader.snapshot_reader(snapshot).entries();
        while let Some((entry, _)) = entries.next_entry()? {
            progress.check_cancelled()?;
            // An entry that several select is needed once.
            let mut is_counted = false;
            for wanted in &mut wanted {
                is_counted |= wanted.visit(&entry, is_counted);
            }
        }
        let (mut selected, mut bytes) = (Vec::new(), 0);
        for wanted in wanted {
            let (paths, path_bytes) = wanted.into_selected(snapshot)?;
            selected.extend(paths);
            bytes += path_bytes;
        }
        Ok(ResolvedPaths {
            selection: Self::of_clean_paths(selected),
            bytes,
        })
    }

    /// A path without what does not matter: `./a//b/` is `a/b`.
    pub(super) fn clean_path(path: &RawText) -> RawText {
        RawText::new(clean_path(path))
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
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = slashes.map(|(at, _)| at).chain([0, path.len()]);
        for end in ends {
            if let Some(found) = self.found.get_mut(&path[..end]) {
                *found = true;
                choice = PathMatch::Yes;
            }
        }
        if choice == PathMatch::No && self.ancestors.contains(path) {
            choice = PathMatch::Ancestor;
        }
        choice
    }

    /// Fails if a selected path was never found.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] names the first.
    pub fn require_all_found(&self, snapshot: &Snapshot) -> Result<()> {
        let is_missing = |path: &&Vec<u8>| self.found.get(*path) == Some(&false);
        match self.paths.iter().find(is_missing) {
            None => Ok(()),
            Some(wanted) => Err(no_such_path(wanted, snapshot)),
        }
    }
}

/// A path or pattern, while it is looked for.
#[derive(Debug)]
struct WantedPath {
    path: Vec<u8>,
    is_found: bool,
    bytes: u64,
    pattern: Option<ExcludeRules>,
    /// What the pattern matches, without what is below it.
    matches: Vec<Vec<u8>>,
    matched_bytes: u64,
}

impl WantedPath {
    fn new(given: &RawText) -> Self {
        let path = clean_path(given);
        let is_pattern = path.iter().any(|byte| b"*?[\\".contains(byte));
        let is_anchored = given.as_bytes().starts_with(b"/") || given.as_bytes().starts_with(b"./");
        let root = if is_anchored { "/" } else { "" };
        let pattern = std::str::from_utf8(&path)
            .ok()
            .filter(|_| is_pattern)
            .and_then(|rule| {
                ExcludeRules::new(&[format!("{root}{rule}")], &[], Path::new("/")).ok()
            });
        Self {
            path,
            is_found: false,
            bytes: 0,
            pattern,
            matches: Vec::new(),
            matched_bytes: 0,
        }
    }

    /// Whether it selects an entry, whose bytes are counted unless that was done.
    fn visit(&mut self, entry: &Entry, is_counted: bool) -> bool {
        let path = entry.path.as_bytes();
        let bytes = match entry.kind {
            EntryKind::File if !is_counted => entry.content_bytes(),
            _ => 0,
        };
        let is_literal = is_inside(path, &self.path);
        if is_literal {
            self.is_found = true;
            self.bytes += bytes;
        }
        let is_match = self.matches_pattern(entry);
        if is_match {
            self.matched_bytes += bytes;
        }
        is_literal || is_match
    }

    fn matches_pattern(&mut self, entry: &Entry) -> bool {
        let path = entry.path.as_bytes();
        let Some(pattern) = &self.pattern else {
            return false;
        };
        // Everything of a directory comes right after it.
        if self
            .matches
            .last()
            .is_some_and(|last| is_inside(path, last))
        {
            return true;
        }
        let is_directory = entry.kind == EntryKind::Directory;
        let relative = Path::new(OsStr::from_bytes(path));
        let is_match = !path.is_empty() && pattern.is_excluded(relative, is_directory);
        if is_match {
            self.matches.push(path.to_vec());
        }
        is_match
    }

    fn into_selected(self, snapshot: &Snapshot) -> Result<(Vec<Vec<u8>>, u64)> {
        if self.is_found {
            return Ok((vec![self.path], self.bytes));
        }
        if self.matches.is_empty() {
            return Err(no_such_path(&self.path, snapshot));
        }
        Ok((self.matches, self.matched_bytes))
    }
}

fn no_such_path(wanted: &[u8], snapshot: &Snapshot) -> Error {
    Error::NoSuchPath {
        wanted: RawText::new(wanted).display(),
        snapshot: snapshot.id.short(),
    }
}

fn clean_path(path: &RawText) -> Vec<u8> {
    let parts = path
        .as_bytes()
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
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

    #[test]
    fn a_pattern_chooses_what_it_matches_and_what_is_below() {
        let mut wanted = WantedPath::new(&RawText::from("jobs/*/config.xml"));
        let directory = |path| Entry::new(RawText::from(path), EntryKind::Directory);
        let file = |path| Entry {
            size: 10,
            ..Entry::new(RawText::from(path), EntryKind::File)
        };
        let entries = [
            (directory("jobs/a"), false),
            (file("jobs/a/config.xml"), true),
            (directory("jobs/b/config.xml"), true),
            (file("jobs/b/config.xml/x"), true),
            (file("jobs/b/deep/config.xml"), false),
        ];
        for (entry, expected) in entries {
            assert_eq!(wanted.visit(&entry, false), expected, "{:?}", entry.path);
        }
        assert_eq!(wanted.matches.len(), 2);
        assert_eq!(wanted.matched_bytes, 20);
    }
}
