//! The names that directories of the target had before the restore came to them.

use std::collections::HashSet;

/// The names of the directory that is being restored, and of those around it.
///
/// Entries come in path order, so everything of a directory comes before what follows it. Where a name is not listed but
/// cannot be made, the file system takes it for another one: what this restore wrote is never overwritten by it.
#[derive(Debug, Default)]
pub(crate) struct ExistingNames {
    directories: Vec<(Vec<u8>, HashSet<Vec<u8>>)>,
}

impl ExistingNames {
    /// Enters a directory that had these names.
    pub(crate) fn enter(&mut self, path: &[u8], names: HashSet<Vec<u8>>) {
        self.leave_all_but_parents_of(path);
        if !names.is_empty() {
            self.directories.push((path.to_vec(), names));
        }
    }

    /// Whether the directory of a path had its name.
    pub(crate) fn contains(&mut self, path: &[u8]) -> bool {
        if self.directories.is_empty() {
            return false;
        }
        self.leave_all_but_parents_of(path);
        let (parent, name) = split_path(path);
        self.directories
            .last()
            .is_some_and(|(directory, names)| directory == parent && names.contains(name))
    }

    fn leave_all_but_parents_of(&mut self, path: &[u8]) {
        let (parent, _) = split_path(path);
        let is_parent = |directory: &[u8]| {
            directory.is_empty()
                || parent
                    .strip_prefix(directory)
                    .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        while let Some((directory, _)) = self.directories.last() {
            if is_parent(directory) && !path.is_empty() {
                return;
            }
            self.directories.pop();
        }
    }
}

/// The directory of a path, and its last part.
fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> HashSet<Vec<u8>> {
        list.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_name_is_looked_up_in_its_own_directory_only() {
        let mut existing = ExistingNames::default();
        existing.enter(b"", names(&["a", "f", "z"]));
        existing.enter(b"a", names(&["f"]));
        assert!(existing.contains(b"a/f"));
        assert!(!existing.contains(b"a/z"));
        existing.enter(b"a/new", names(&[]));
        assert!(!existing.contains(b"a/new/f"));
        assert!(existing.contains(b"f"));
        assert!(!existing.contains(b"F"));
        assert!(existing.contains(b"z"));
    }
}
