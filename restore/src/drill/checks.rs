//! File assertions: what a policy expects of the files that a drill restored.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use reprise_policies::{CheckedEntryKind, DrillCheck, Expectation};
use sha2::{Digest, Sha256};

/// A check in a few words.
pub(super) fn describe_check(check: &DrillCheck) -> String {
    let expectations: Vec<_> = check
        .expectations
        .iter()
        .map(describe_expectation)
        .collect();
    format!("{}: {}", check.path, expectations.join(", "))
}

fn describe_expectation(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Exists(true) => "exists".to_owned(),
        Expectation::Exists(false) => "does not exist".to_owned(),
        Expectation::Kind(kind) => format!("is a {}", kind_name(*kind)),
        Expectation::Contains(text) => format!("contains {text:?}"),
        Expectation::Matches(pattern) => format!("matches /{pattern}/"),
        Expectation::CountAtLeast(count) => format!("at least {count}"),
        Expectation::Mode(mode) => format!("has mode {mode:04o}"),
        Expectation::SizeAtLeast(size) => format!("has at least {size} bytes"),
        Expectation::Sha256(_) => "has the expected SHA-256".to_owned(),
        Expectation::Json { pointer, equals } => format!("{pointer} is {equals}"),
        _ => "an unknown expectation".to_owned(),
    }
}

fn kind_name(kind: CheckedEntryKind) -> &'static str {
    match kind {
        CheckedEntryKind::File => "file",
        CheckedEntryKind::Directory => "directory",
        CheckedEntryKind::Symlink => "symlink",
    }
}

/// Whether a check holds; reports the finding either way.
pub(super) fn evaluate_check(check: &DrillCheck, root: &Path) -> Result<String, String> {
    let found = find_matching(&check.path, root)?;
    if check.expectations.contains(&Expectation::Exists(false)) {
        return match found.first() {
            None => Ok("does not exist, as expected".to_owned()),
            Some(path) => Err(format!("{} exists", format_path(path, root))),
        };
    }
    if found.is_empty() {
        return Err("no entry matches the path".to_owned());
    }
    for expectation in &check.expectations {
        if let Expectation::CountAtLeast(count) = expectation {
            let enough = u32::try_from(found.len()).is_ok_and(|found| found >= *count);
            if !enough {
                return Err(format!("entries that match the path: only {}", found.len()));
            }
            continue;
        }
        for path in &found {
            check_expectation(expectation, path)
                .map_err(|reason| format!("{} {reason}", format_path(path, root)))?;
        }
    }
    Ok(match found.as_slice() {
        [path] => format_path(path, root),
        found => format!("{} entries", found.len()),
    })
}

fn format_path(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// All restored entries that a glob matches. A `*` does not cross a `/`.
fn find_matching(pattern: &str, root: &Path) -> Result<Vec<PathBuf>, String> {
    let glob = globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| error.to_string())?
        .compile_matcher();
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let path = entry.path();
            if path
                .strip_prefix(root)
                .is_ok_and(|inside| glob.is_match(inside))
            {
                found.push(path.clone());
            }
            if entry
                .file_type()
                .map_err(|error| error.to_string())?
                .is_dir()
            {
                directories.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn check_expectation(expectation: &Expectation, path: &Path) -> Result<(), String> {
    let meta = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    let must = |held: bool, reason: &dyn Fn() -> String| if held { Ok(()) } else { Err(reason()) };
    match expectation {
        Expectation::Exists(_) | Expectation::CountAtLeast(_) => Ok(()),
        Expectation::Kind(kind) => {
            let right = match kind {
                CheckedEntryKind::File => meta.is_file(),
                CheckedEntryKind::Directory => meta.is_dir(),
                CheckedEntryKind::Symlink => meta.is_symlink(),
            };
            must(right, &|| format!("is not a {}", kind_name(*kind)))
        }
        Expectation::Mode(mode) => {
            let found = meta.permissions().mode() & 0o7777;
            must(found == *mode, &|| format!("has mode {found:04o}"))
        }
        Expectation::SizeAtLeast(size) => must(meta.size() >= *size, &|| {
            format!("has {} bytes", meta.size())
        }),
        content => check_content(content, path),
    }
}

fn check_content(expectation: &Expectation, path: &Path) -> Result<(), String> {
    let read = || fs::read(path).map_err(|error| format!("cannot be read: {error}"));
    match expectation {
        Expectation::Contains(text) => {
            let bytes = read()?;
            let found = bytes
                .windows(text.len().max(1))
                .any(|part| part == text.as_bytes());
            if found {
                Ok(())
            } else {
                Err("does not contain the text".to_owned())
            }
        }
        Expectation::Matches(pattern) => {
            let regex = regex::bytes::RegexBuilder::new(pattern)
                .multi_line(true)
                .size_limit(1 << 20)
                .build()
                .map_err(|error| error.to_string())?;
            if regex.is_match(&read()?) {
                Ok(())
            } else {
                Err("does not match the expression".to_owned())
            }
        }
        Expectation::Sha256(expected) => {
            let mut file =
                fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
            let mut hasher = Sha256::new();
            std::io::copy(&mut file, &mut hasher)
                .map_err(|error| format!("cannot be read: {error}"))?;
            if hasher.finalize()[..] == expected[..] {
                Ok(())
            } else {
                Err("has a different SHA-256".to_owned())
            }
        }
        Expectation::Json { pointer, equals } => {
            let json: serde_json::Value = serde_json::from_slice(&read()?)
                .map_err(|error| format!("is not JSON: {error}"))?;
            match json.pointer(pointer) {
                Some(found) if found == equals => Ok(()),
                Some(found) => Err(format!("has {found} at {pointer}")),
                None => Err(format!("has no value at {pointer}")),
            }
        }
        _ => Err("has an expectation that this version cannot check".to_owned()),
    }
}
