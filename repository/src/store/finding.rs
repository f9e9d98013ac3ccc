//! What is wrong with an object, and which snapshots that affects.

use serde::Serialize;

use crate::backend::ObjectKey;
use crate::format::names::id_from_key;
use crate::id::ObjectId;

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyFinding {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// What can no longer be restored because of it.
    pub affected_snapshots: Vec<SnapshotImpact>,
}

impl VerifyFinding {
    /// Whether nothing that can be restored needs the object: content that other packs have, or an index fragment,
    /// which packs can replace. For other objects it is unknown what they contained.
    pub(crate) fn is_harmless(&self) -> bool {
        let mut replaceable = ["packs/", "index/"].iter();
        let key = ObjectKey::new(self.object.as_str());
        let is_own = key.is_some_and(|key| id_from_key(&key).is_some());
        is_own
            && replaceable.any(|directory| self.object.starts_with(directory))
            && self.affected_snapshots.is_empty()
    }
}

/// The impact of a finding on one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotImpact {
    /// The snapshot.
    pub snapshot: ObjectId,
    /// Its source.
    pub source: String,
    /// Whether its entry list itself is affected, so that all its paths are.
    pub whole: bool,
    /// The affected paths; empty when their names cannot be read with the given identities.
    pub paths: Vec<String>,
    /// How many more paths are affected.
    pub more_paths: u64,
}
