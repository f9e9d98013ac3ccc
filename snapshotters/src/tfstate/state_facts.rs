//! What is remembered of a state, for later snapshots and for drills.

use std::collections::BTreeMap;

use reprise_repository::{Repository, Snapshot};
use serde::{Deserialize, Serialize};

use super::state_text::parse_state;

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
    /// The keyed hash of its content without spaces and without the version of Terraform. Older snapshots have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparable_id: Option<String>,
}

/// The keyed hash of bytes.
pub(super) fn hash_content(repository: &Repository, bytes: &[u8]) -> String {
    let mut hasher = repository.secrets().keyed_hasher();
    hasher.update(bytes).finalize().to_hex().to_string()
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
    if hash_content(repository, restored) != facts.content_id {
        return Err("its content differs from the content in the snapshot".to_owned());
    }
    let state = parse_state(restored).unwrap_or_default();
    let (serial, lineage) = (state.serial, state.lineage);
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
