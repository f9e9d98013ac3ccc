//! Terraform and OpenTofu state in local files.
//!
//! A state's lineage must stay, its serial must not fall, and the same serial must have the same bytes. A
//! state that breaks a rule is stored all the same, as it may be the last copy, but the outcome reports it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_repository::{
    CommittedSnapshot, Entry, RawText, Repository, Snapshot, SnapshotItem, SnapshotSummary,
    SourceKind, Warning, path_order,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Error, Result};
use crate::run::{RunContext, source_warning};
use crate::volume::metadata::entry_from_metadata;

/// The name of a state file that has no other name.
pub const STATE_NAME: &str = "terraform.tfstate";

/// The directory of workspaces other than the default one.
const WORKSPACES: &str = "terraform.tfstate.d";

/// States are read whole. The largest seen in practice have some tens of MiB.
const STATE_BYTES_MAX: u64 = 1 << 30;

/// The facts that later snapshots are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFacts {
    /// Identity of the state: stays for its whole life.
    pub lineage: Option<String>,
    /// Grows with every change.
    pub serial: Option<u64>,
    /// How many resources it holds.
    pub resources: Option<u64>,
    /// The Terraform version that wrote it.
    pub terraform_version: Option<String>,
    /// The keyed hash of its bytes.
    pub content_id: String,
}

#[derive(Deserialize)]
struct StateFile {
    version: Option<u64>,
    terraform_version: Option<String>,
    serial: Option<u64>,
    lineage: Option<String>,
    resources: Option<Vec<serde::de::IgnoredAny>>,
    encrypted_data: Option<serde::de::IgnoredAny>,
}

struct LoadedState {
    entry: Entry,
    bytes: Vec<u8>,
    facts: StateFacts,
}

/// Stores the state file at `path`, or all states of the directory at `path`.
///
/// # Errors
/// [`Error::SourceNotFound`], [`Error::InvalidState`], or errors of storing.
pub fn snapshot_states(
    repository: &Repository,
    path: &Path,
    run: &RunContext,
) -> Result<CommittedSnapshot> {
    let files = state_files(path)?;
    let (parent, options) = run.prepare_snapshot(repository, SourceKind::Tfstate)?;
    let started = options.started;
    let mut warnings = Vec::new();
    let mut writer = repository.begin_snapshot(options, Arc::clone(&run.progress), None)?;
    let mut chunker = writer.content_chunker();
    let mut states = BTreeMap::new();
    let mut directories = BTreeSet::new();
    for (name, file) in files {
        for entry in new_directory_entries(&name, &file, &mut directories)? {
            writer.add_item(SnapshotItem::Entry {
                entry,
                chunks: Vec::new(),
                stamp: None,
            })?;
        }
        let state = read_state(repository, &name, &file, &mut warnings)?;
        let previous = parent
            .as_ref()
            .and_then(|parent| previous_facts(parent, &name));
        warnings.extend(find_broken_rules(&name, previous.as_ref(), &state.facts));
        states.insert(name, state.facts);
        writer
            .add_stream(&mut chunker, &mut state.bytes.as_slice())?
            .map_err(|source| Error::Unreadable {
                path: file.clone(),
                source,
            })?;
        writer.add_item(SnapshotItem::Entry {
            entry: state.entry,
            chunks: Vec::new(),
            stamp: None,
        })?;
    }
    warnings.extend(find_missing_states(parent.as_ref(), &states));
    let committed = writer.finish(|_, _| {
        let facts = BTreeMap::from([("states".to_owned(), json!(states))]);
        Ok(SnapshotSummary {
            // The content at the time of reading, however long ago the file changed.
            data_time: started,
            finished: (run.clock)(),
            facts,
            location: RawText::from(path.as_os_str()),
            warnings,
        })
    })?;
    Ok(committed)
}

/// The states under a path, by their names in the snapshot, in entry order.
fn state_files(path: &Path) -> Result<Vec<(String, PathBuf)>> {
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
        return Ok(vec![(STATE_NAME.to_owned(), path.to_owned())]);
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
fn new_directory_entries(
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

fn read_state(
    repository: &Repository,
    name: &str,
    file: &Path,
    warnings: &mut Vec<Warning>,
) -> Result<LoadedState> {
    let unreadable = |source| Error::Unreadable {
        path: file.to_owned(),
        source,
    };
    let not_a_state = |reason: String| Error::InvalidState {
        path: file.to_owned(),
        reason,
    };
    let meta = fs::metadata(file).map_err(unreadable)?;
    if meta.len() > STATE_BYTES_MAX {
        return Err(not_a_state(format!(
            "it is too large ({} bytes)",
            meta.len()
        )));
    }
    if let Some(holder) = lock_holder(file) {
        warnings.push(state_warning(
            name,
            format!("it is locked by {holder} and may be changing"),
        ));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    let content_id = repository
        .secrets()
        .keyed_hasher()
        .update(&bytes)
        .finalize()
        .to_hex()
        .to_string();
    let facts = if bytes.is_empty() {
        warnings.push(state_warning(name, "it is empty".to_owned()));
        StateFacts {
            lineage: None,
            serial: None,
            resources: None,
            terraform_version: None,
            content_id,
        }
    } else {
        let state: StateFile =
            serde_json::from_slice(&bytes).map_err(|e| not_a_state(e.to_string()))?;
        check_state(name, &state, warnings).map_err(not_a_state)?;
        StateFacts {
            resources: state.resources.map(|resources| resources.len() as u64),
            lineage: state.lineage,
            serial: state.serial,
            terraform_version: state.terraform_version,
            content_id,
        }
    };
    let mut entry = entry_from_metadata(RawText::from(name), &meta);
    entry.size = bytes.len() as u64;
    Ok(LoadedState {
        entry,
        bytes,
        facts,
    })
}

fn check_state(name: &str, state: &StateFile, warnings: &mut Vec<Warning>) -> Result<(), String> {
    if state.encrypted_data.is_some() {
        // OpenTofu's own encryption: the content cannot be checked, and the key is not in the state.
        if state.serial.is_none() || state.lineage.is_none() {
            let message = "it is encrypted by OpenTofu: serial and lineage cannot be compared";
            warnings.push(state_warning(name, message.to_owned()));
        }
        return Ok(());
    }
    match state.version {
        Some(3 | 4) if state.serial.is_some() => Ok(()),
        Some(4) => Err("it has no serial".to_owned()),
        Some(version) => Err(format!(
            "its state format version {version} is not supported"
        )),
        None => Err("it has no state format version".to_owned()),
    }
}

/// Who holds Terraform's own lock on a local state, if anyone.
fn lock_holder(file: &Path) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct LockInfo {
        who: Option<String>,
        operation: Option<String>,
    }
    let name = format!(".{}.lock.info", file.file_name()?.to_str()?);
    let text = fs::read(file.with_file_name(name)).ok()?;
    let info: LockInfo = serde_json::from_slice(&text).unwrap_or(LockInfo {
        who: None,
        operation: None,
    });
    let who = info.who.unwrap_or_else(|| "someone".to_owned());
    Some(match info.operation {
        Some(operation) => format!("{who} ({operation})"),
        None => who,
    })
}

fn previous_facts(parent: &Snapshot, name: &str) -> Option<StateFacts> {
    serde_json::from_value(parent.root.facts.get("states")?.get(name)?.clone()).ok()
}

/// The rules that a state breaks, compared with the previous one.
fn find_broken_rules(name: &str, previous: Option<&StateFacts>, now: &StateFacts) -> Vec<Warning> {
    let Some(previous) = previous else {
        return Vec::new();
    };
    let mut broken = Vec::new();
    let shown = |lineage: &Option<String>| lineage.clone().unwrap_or_else(|| "none".to_owned());
    if previous.lineage.is_some() && previous.lineage != now.lineage {
        let (before, now) = (shown(&previous.lineage), shown(&now.lineage));
        broken.push(format!(
            "alarm: state replaced: its lineage was {before} and is {now}"
        ));
    } else if let (Some(before), Some(serial)) = (previous.serial, now.serial) {
        if serial < before {
            broken.push(format!(
                "alarm: state rolled back: its serial was {before} and is {serial}"
            ));
        } else if serial == before && previous.content_id != now.content_id {
            broken.push(format!(
                "alarm: state forked: serial {serial} has other content than in the last snapshot"
            ));
        }
    }
    if let (Some(before), Some(resources)) = (previous.resources, now.resources)
        && resources * 10 < before * 7
    {
        broken.push(format!(
            "alarm: resources fell from {before} to {resources}"
        ));
    }
    broken
        .into_iter()
        .map(|message| state_warning(name, message))
        .collect()
}

/// States of the previous snapshot that are missing.
fn find_missing_states(
    parent: Option<&Snapshot>,
    states: &BTreeMap<String, StateFacts>,
) -> Vec<Warning> {
    let before = parent.and_then(|parent| parent.root.facts.get("states")?.as_object());
    let gone = before
        .into_iter()
        .flatten()
        .filter(|(name, _)| !states.contains_key(*name));
    gone.map(|(name, _)| {
        source_warning(format!(
            "alarm: the state {name} is in the last snapshot and no longer exists"
        ))
    })
    .collect()
}

fn state_warning(name: &str, message: String) -> Warning {
    Warning {
        path: RawText::from(name),
        message,
    }
}

/// Compares restored bytes with the facts of a snapshot. Returns what was compared.
///
/// # Errors
/// What differs.
pub fn compare_state(
    repository: &Repository,
    facts: &StateFacts,
    restored: &[u8],
) -> Result<String, String> {
    let content_id = repository
        .secrets()
        .keyed_hasher()
        .update(restored)
        .finalize()
        .to_hex()
        .to_string();
    if content_id != facts.content_id {
        return Err("its content differs from the content in the snapshot".to_owned());
    }
    let state: Option<StateFile> = serde_json::from_slice(restored).ok();
    let (serial, lineage) = state.map_or((None, None), |state| (state.serial, state.lineage));
    if serial != facts.serial || lineage != facts.lineage {
        return Err("its serial or lineage differs from the one in the snapshot".to_owned());
    }
    Ok(match serial {
        Some(serial) => format!("hash, lineage and serial {serial}"),
        None => "hash".to_owned(),
    })
}

/// The facts of all states of a snapshot, by entry name.
#[must_use]
pub fn facts(snapshot: &Snapshot) -> BTreeMap<String, StateFacts> {
    snapshot
        .root
        .facts
        .get("states")
        .and_then(|states| serde_json::from_value(states.clone()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(lineage: &str, serial: u64, content: &str) -> StateFacts {
        StateFacts {
            lineage: Some(lineage.to_owned()),
            serial: Some(serial),
            resources: Some(10),
            terraform_version: None,
            content_id: content.to_owned(),
        }
    }

    #[test]
    fn lineage_stays_serial_never_falls_and_a_serial_is_its_bytes() {
        let before = facts("a", 5, "x");
        let cases = [
            (facts("a", 5, "x"), ""),
            (facts("a", 6, "y"), ""),
            (facts("a", 4, "y"), "rolled back"),
            (facts("a", 5, "y"), "forked"),
            (facts("b", 9, "y"), "replaced"),
        ];
        for (now, expected) in cases {
            let broken = find_broken_rules("s", Some(&before), &now);
            match broken.first() {
                None => assert_eq!(expected, "", "{now:?}"),
                Some(warning) => {
                    assert!(!expected.is_empty() && warning.message.contains(expected))
                }
            }
        }
    }

    #[test]
    fn a_sharp_fall_of_resources_is_an_alarm() {
        let now = StateFacts {
            resources: Some(6),
            ..facts("a", 6, "y")
        };
        assert_eq!(
            find_broken_rules("s", Some(&facts("a", 5, "x")), &now).len(),
            1
        );
    }
}
