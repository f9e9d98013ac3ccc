//! Which files are states, and the entries of the directories that they are in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reprise_repository::{Entry, RawText, path_order};

use crate::error::{Error, Result};
use crate::volume::metadata::entry_from_metadata;

/// The name of a state file that has no other name.
pub const STATE_NAME: &str = "terraform.tfstate";

/// What Terraform leaves beside a state that it could not save.
pub(super) const ERRORED_NAME: &str = "errored.tfstate";

/// The directory of workspaces other than the default one.
const WORKSPACES: &str = "terraform.tfstate.d";

/// The states under a path, by their names in the snapshot, in entry order.
pub(super) fn state_files(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let meta = fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::SourceNotFound {
            path: path.to_owned(),
        },
        _ => Error::Unreadable {
            path: path.to_owned(),
            source,
        },
    })?;
    if meta.is_file() {
        let mut files = vec![(STATE_NAME.to_owned(), path.to_owned())];
        let errored = path.with_file_name(ERRORED_NAME);
        if errored != path && errored.is_file() {
            files.insert(0, (ERRORED_NAME.to_owned(), errored));
        }
        return Ok(files);
    }
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Unreadable { path, source }
    };
    let mut files = Vec::new();
    let default = path.join(STATE_NAME);
    if default.is_file() {
        files.push((STATE_NAME.to_owned(), default));
    }
    let errored = path.join(ERRORED_NAME);
    if errored.is_file() {
        files.push((ERRORED_NAME.to_owned(), errored));
    }
    let workspaces = path.join(WORKSPACES);
    if workspaces.is_dir() {
        for workspace in fs::read_dir(&workspaces).map_err(unreadable(&workspaces))? {
            let workspace = workspace.map_err(unreadable(&workspaces))?;
            let file = workspace.path().join(STATE_NAME);
            if file.is_file() {
                let name = workspace.file_name();
                let name = name.to_str().ok_or_else(|| Error::InvalidState {
                    path: file.clone(),
                    reason: "its workspace's name is not UTF-8".to_owned(),
                })?;
                files.push((format!("{WORKSPACES}/{name}/{STATE_NAME}"), file));
            }
        }
    }
    if files.is_empty() {
        let reason = format!("there is no {STATE_NAME} in this directory");
        return Err(Error::InvalidState {
            path: path.to_owned(),
            reason,
        });
    }
    files.sort_by(|a, b| path_order(a.0.as_bytes(), b.0.as_bytes()));
    Ok(files)
}

/// Entries for the directories of a state that no earlier state was in: a workspace's state is two levels deep.
pub(super) fn new_directory_entries(
    name: &str,
    file: &Path,
    known: &mut BTreeSet<String>,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let depth = name.matches('/').count();
    for (n, (end, _)) in name.match_indices('/').enumerate() {
        let path = &name[..end];
        if known.insert(path.to_owned()) {
            let directory = file.ancestors().nth(depth - n).unwrap_or(file);
            let meta = fs::metadata(directory).map_err(|source| Error::Unreadable {
                path: directory.to_owned(),
                source,
            })?;
            entries.push(Entry {
                size: 0,
                ..entry_from_metadata(RawText::from(path), &meta)
            });
        }
    }
    Ok(entries)
}
