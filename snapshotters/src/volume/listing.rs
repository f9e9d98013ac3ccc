//! Listing directories: each name once, whatever the file system says.
//!
//! Some file systems name an entry twice when files are replaced during the listing, and some network file systems
//! always do. A listing that repeats names may also lack some, so the directory is then listed a second time.

use rustix::fs::{Dir, OFlags};

use crate::confined_directory::ConfinedDirectory;

/// The entries of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirectoryListing {
    /// Their paths, in entry order, each once.
    pub(super) paths: Vec<Vec<u8>>,
    /// What was wrong with the listing, for a note.
    pub(super) anomaly: Option<String>,
}

/// Lists a directory.
pub(super) fn list_directory(
    root: &ConfinedDirectory,
    path: &[u8],
) -> rustix::io::Result<DirectoryListing> {
    let first = read_paths(root, path)?;
    if !has_repetition(&first) {
        return Ok(DirectoryListing {
            paths: first,
            anomaly: None,
        });
    }
    Ok(merge_listings(first, read_paths(root, path)?))
}

fn has_repetition(sorted: &[Vec<u8>]) -> bool {
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// Everything that is in one of two sorted listings, the first of which repeats a path.
fn merge_listings(mut first: Vec<Vec<u8>>, mut second: Vec<Vec<u8>>) -> DirectoryListing {
    let repeated = first.windows(2).find(|pair| pair[0] == pair[1]);
    let name = repeated.map(|pair| pair[0].rsplit(|b| *b == b'/').next().unwrap_or_default());
    let shown = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    let listed = first.len();
    first.dedup();
    second.dedup();
    let mut anomaly = format!(
        "its listing repeats {}, as {shown:?}; each is stored once",
        match listed - first.len() {
            1 => "a name".to_owned(),
            count => format!("{count} names"),
        }
    );
    if first != second {
        anomaly.push_str(
            "; a second listing had other names, so one that was moved meanwhile may be missing",
        );
        first.append(&mut second);
        first.sort_unstable();
        first.dedup();
    }
    DirectoryListing {
        paths: first,
        anomaly: Some(anomaly),
    }
}

/// The paths in a directory, sorted.
fn read_paths(root: &ConfinedDirectory, path: &[u8]) -> rustix::io::Result<Vec<Vec<u8>>> {
    let directory = root.open_for_reading(path, OFlags::DIRECTORY)?;
    let mut paths = Vec::new();
    for item in Dir::new(directory)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let mut inside = Vec::with_capacity(path.len() + 1 + name.len());
        inside.extend_from_slice(path);
        if !path.is_empty() {
            inside.push(b'/');
        }
        inside.extend_from_slice(name);
        paths.push(inside);
    }
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_repeated_name_is_taken_once_and_noted() {
        let twice = listing(&["d/a", "d/a", "d/b", "d/b"]);
        let merged = merge_listings(twice.clone(), twice);
        assert_eq!(merged.paths, listing(&["d/a", "d/b"]));
        let anomaly = merged.anomaly.unwrap();
        assert!(anomaly.contains("2 names, as \"a\""), "{anomaly}");
        assert!(!anomaly.contains("second listing"), "{anomaly}");
    }

    #[test]
    fn what_only_one_of_two_listings_names_is_taken_and_the_difference_is_noted() {
        let merged = merge_listings(listing(&["a", "a", "c"]), listing(&["a", "b"]));
        assert_eq!(merged.paths, listing(&["a", "b", "c"]));
        let anomaly = merged.anomaly.unwrap();
        assert!(anomaly.contains("a name"), "{anomaly}");
        assert!(anomaly.contains("second listing"), "{anomaly}");
    }

    #[test]
    fn an_ordinary_directory_is_listed_without_an_anomaly() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let root = ConfinedDirectory::open(directory.path()).unwrap();
        let listed = list_directory(&root, b"").unwrap();
        assert_eq!((listed.paths, listed.anomaly), (listing(&["a", "b"]), None));
    }
}
