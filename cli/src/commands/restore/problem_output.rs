//! What a restore could not do: summarised by cause on the terminal, in full in a file.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reprise_repository::{RawText, Snapshot};
use reprise_restore::files::{Consequence, ProblemGroup};

use crate::output;

/// Paths printed of each cause.
const PATHS_PRINTED_MAX: usize = 3;

/// Files tried for the list, if earlier restores left theirs.
const LISTS_MAX: usize = 100;

/// Prints every cause with its first paths, and writes the full list if that is not all.
pub(crate) fn print_problems(target: &Path, snapshot: &Snapshot, groups: &[ProblemGroup]) {
    for group in groups {
        let kind = match group.consequence {
            Consequence::Damaged => "error",
            Consequence::Missing | Consequence::Altered => "warning",
        };
        if let [path] = group.paths.as_slice() {
            let path = display_path(path);
            output::print_note(&format!("{kind}: {path} {}", describe_single(group)));
            continue;
        }
        output::print_note(&format!("{kind}: {}", group.describe()));
        for path in group.paths.iter().take(PATHS_PRINTED_MAX) {
            output::print_note(&format!("  {}", display_path(path)));
        }
        if group.paths.len() > PATHS_PRINTED_MAX {
            let more = group.paths.len() - PATHS_PRINTED_MAX;
            output::print_note(&format!("  and {more} more"));
        }
    }
    if groups
        .iter()
        .any(|group| group.paths.len() > PATHS_PRINTED_MAX)
    {
        match write_list(target, snapshot, groups) {
            Ok(file) => output::print_note(&format!("the full list is in {}", file.display())),
            Err(error) => {
                output::print_note(&format!(
                    "warning: the full list cannot be written: {error}"
                ));
            }
        }
    }
}

fn display_path(path: &RawText) -> String {
    if path.as_bytes().is_empty() {
        "the root of the snapshot".to_owned()
    } else {
        path.display()
    }
}

fn describe_single(group: &ProblemGroup) -> String {
    let is = match group.consequence {
        Consequence::Damaged => "is damaged in the repository and not restored",
        Consequence::Missing => "is not restored",
        Consequence::Altered => "is not as it was",
    };
    format!("{is}: {}", group.cause)
}

/// Writes all problems, one in a line, beside the target: in it they would look like restored files.
fn write_list(
    target: &Path,
    snapshot: &Snapshot,
    groups: &[ProblemGroup],
) -> std::io::Result<PathBuf> {
    let mut text = String::new();
    for group in groups {
        for path in &group.paths {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", display_path(path), describe_single(group));
        }
    }
    let absolute = std::path::absolute(target)?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}.restore-{}", snapshot.id.short());
    let beside = absolute.parent().map(Path::to_owned);
    let mut result = Err(std::io::Error::other("no directory takes it"));
    for directory in beside.into_iter().chain([std::env::temp_dir()]) {
        result = write_new_file(&directory, &name, text.as_bytes());
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Never follows a link and never overwrites what is there.
fn write_new_file(directory: &Path, name: &str, text: &[u8]) -> std::io::Result<PathBuf> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut number = 1;
    loop {
        let suffix = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let path = directory.join(format!("{name}{suffix}.txt"));
        match options.open(&path) {
            Ok(mut file) => return file.write_all(text).map(|()| path),
            Err(error)
                if error.kind() == std::io::ErrorKind::AlreadyExists && number < LISTS_MAX =>
            {
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}
