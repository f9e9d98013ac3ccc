//! Paths in a policy are relative to its file. They are made absolute as text alone: nothing has to exist yet.

use std::path::{Component, Path, PathBuf};

/// Joins and removes `.` and `..` without accessing the file system.
pub(crate) fn resolve(base: &Path, path: impl AsRef<Path>) -> PathBuf {
    normalise(&base.join(path))
}

/// Removes `.` and `..` without accessing the file system. A `..` at the root stays at the root, as it does there.
pub(crate) fn normalise(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(result.components().next_back(), Some(Component::Normal(_))) =>
            {
                result.pop();
            }
            Component::ParentDir if result.has_root() => {}
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned_by_their_text() {
        let base = Path::new("/etc/reprise");
        for (path, expected) in [
            ("a/b", "/etc/reprise/a/b"),
            ("./a/../b/", "/etc/reprise/b"),
            ("../../../../x", "/x"),
            ("/var//lib/.", "/var/lib"),
        ] {
            assert_eq!(resolve(base, path), Path::new(expected), "{path}");
        }
        assert_eq!(normalise(Path::new("../a")), Path::new("../a"));
    }
}
