//! Terraform and OpenTofu state in local files.
//!
//! A state's lineage must stay, its serial must not fall, and the same serial must have the same bytes. A
//! state that breaks a rule is stored all the same, as it may be the last copy, but the outcome reports it.
//!
//! `state_files`: which files are states; `state_text`, `read_state`: their contents; `state_facts`: what is remembered;
//! `rules`: what they must obey.

mod read_state;
mod rules;
mod state_facts;
mod state_files;
mod state_text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use reprise_repository::{
    CommittedSnapshot, RawText, Repository, SnapshotItem, SnapshotSummary, SourceKind,
};
use serde_json::json;

use self::read_state::read_state;
use self::rules::{find_broken_rules, find_missing_states, find_unsaved_state, previous_facts};
use self::state_files::{new_directory_entries, state_files};
use crate::error::{Error, Result};
use crate::run::RunContext;

pub use state_facts::{StateFacts, compare_state, facts};
pub use state_files::STATE_NAME;

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
    warnings.extend(find_unsaved_state(&states));
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
