//! Which files and directories are large.

use std::collections::BTreeMap;
use std::path::Path;

use super::parse::SourceFile;

/// A longer file has several subjects. With its comments and its tests.
const FILE_LINES_MAX: usize = 500;

/// More files beside each other are not read at a glance.
const DIRECTORY_FILES_MAX: usize = 15;

/// A line for each file and directory that is too large.
#[must_use]
pub fn describe_large<'a>(files: impl Iterator<Item = &'a SourceFile>) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories: BTreeMap<&Path, usize> = BTreeMap::new();
    for file in files {
        if file.lines > FILE_LINES_MAX {
            found.push(format!("{} lines: {}", file.lines, file.path));
        }
        if let Some(directory) = Path::new(&file.path).parent() {
            *directories.entry(directory).or_default() += 1;
        }
    }
    let large = directories
        .iter()
        .filter(|(_, count)| **count > DIRECTORY_FILES_MAX);
    found.extend(large.map(|(directory, count)| {
        format!("{count} files beside each other: {}", directory.display())
    }));
    found
}
