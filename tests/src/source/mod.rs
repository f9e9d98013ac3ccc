//! The project's own source code as data: files, modules, imports and names. `tests/tools/measure.rs` prints what it
//! counts, `tests/tests/architecture.rs` guards it.

#![expect(clippy::panic, reason = "a tool for tests fails by panicking")]

mod graph;
mod imports;
mod matches;
mod names;
mod parse;
mod sizes;

use std::fs;
use std::path::{Path, PathBuf};

pub use graph::{ImportGraph, cycles};
pub use matches::OpenMatch;
pub use names::{NameCounts, duplicate_types};
pub use parse::{Import, SourceFile};
pub use sizes::describe_large;

/// The crates of the workspace whose code is the product, by their directories.
pub const CRATES: [&str; 9] = [
    "location",
    "times",
    "policies",
    "repository",
    "mysql",
    "snapshotters",
    "restore",
    "scheduler",
    "cli",
];

/// The project's top directory.
#[must_use]
pub fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned)
}

/// All files of the crate in a directory, parsed, without those that hold tests alone.
///
/// # Panics
/// When a file cannot be read or parsed.
#[must_use]
pub fn load_crate(directory: &str) -> Vec<SourceFile> {
    let root = project_root();
    let sources = root.join(directory).join("src");
    let mut files: Vec<SourceFile> = rust_files(&sources)
        .iter()
        .filter(|path| !is_test_file(path.strip_prefix(&sources).unwrap_or(path)))
        .map(|path| SourceFile::load(&root, directory, path))
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// All files of the tests of the whole product, parsed: helpers, tests and tools.
///
/// # Panics
/// When a file cannot be read or parsed.
#[must_use]
pub fn load_tests() -> Vec<SourceFile> {
    let root = project_root();
    rust_files(&root.join("tests"))
        .iter()
        .map(|path| SourceFile::load(&root, "tests", path))
        .collect()
}

/// Every Rust file below a directory, but for what Cargo builds.
///
/// # Panics
/// When a directory cannot be read.
#[must_use]
pub fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{error}")) {
            let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
            let name = path.file_name().map(|name| name.to_string_lossy());
            let skipped = name
                .is_some_and(|name| name.starts_with('.') || name == "target" || name == "scratch");
            if path.is_dir() && !skipped {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `tests.rs`, and files in a directory `tests/`, are declared under `cfg(test)`.
fn is_test_file(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}
