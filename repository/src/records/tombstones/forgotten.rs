//! What is forgotten, according to all tombstones.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::id::ObjectId;
use crate::records::tombstones::{RefusedTombstone, Tombstone};

/// All tombstones of a repository.
#[derive(Debug, Default)]
pub struct Tombstones {
    pub(super) valid: Vec<Tombstone>,
    pub(super) refused: Vec<RefusedTombstone>,
    /// Those that this machine has seen and that are not stored any more.
    pub(super) withheld: Vec<ObjectId>,
    pub(super) forgotten_snapshots: HashMap<ObjectId, Vec<usize>>,
    /// The number of the first log segment that is kept of each log, and the tombstones that set it.
    pub(super) forgotten_logs: HashMap<String, (u64, Vec<usize>)>,
}

impl Tombstones {
    pub(super) fn from_records(valid: Vec<Tombstone>, refused: Vec<RefusedTombstone>) -> Self {
        let revoked: BTreeSet<ObjectId> = valid
            .iter()
            .flat_map(|tombstone| tombstone.record.revoke.iter().copied())
            .collect();
        let mut forgotten_snapshots: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        let mut forgotten_logs: HashMap<String, (u64, Vec<usize>)> = HashMap::new();
        for (n, tombstone) in valid.iter().enumerate() {
            if revoked.contains(&tombstone.id) {
                continue;
            }
            for id in &tombstone.record.forget {
                forgotten_snapshots.entry(*id).or_default().push(n);
            }
            for log in &tombstone.record.logs {
                let (before, by) = forgotten_logs.entry(log.source.clone()).or_default();
                *before = log.before.max(*before);
                by.push(n);
            }
        }
        Self {
            valid,
            refused,
            withheld: Vec::new(),
            forgotten_snapshots,
            forgotten_logs,
        }
    }

    /// All that a keeper has signed, including revoked ones, oldest first.
    #[must_use]
    pub fn valid(&self) -> &[Tombstone] {
        &self.valid
    }

    /// The ignored objects, with the reasons.
    #[must_use]
    pub fn refused(&self) -> &[RefusedTombstone] {
        &self.refused
    }

    /// Tombstones that this machine has seen and that are not stored any more.
    pub(crate) fn withheld(&self) -> &[ObjectId] {
        &self.withheld
    }

    /// Whether a snapshot is forgotten.
    #[must_use]
    pub fn is_forgotten(&self, id: &ObjectId) -> bool {
        self.forgotten_snapshots.contains_key(id)
    }

    /// All forgotten snapshots, including those that a prune has deleted.
    #[must_use]
    pub fn forgotten_snapshots(&self) -> BTreeSet<ObjectId> {
        self.forgotten_snapshots.keys().copied().collect()
    }

    /// The number of the first log segment of a source that is kept; 1 if none are forgotten.
    #[must_use]
    pub fn first_kept_segment(&self, source: &str) -> u64 {
        self.forgotten_logs
            .get(source)
            .map_or(1, |(before, _)| *before)
            .max(1)
    }

    /// The sources whose logs are forgotten up to a number, with the tombstones that set it.
    pub fn forgotten_logs(&self) -> impl Iterator<Item = (&str, Vec<&Tombstone>)> {
        self.forgotten_logs.iter().map(|(source, (_, by))| {
            let by = by.iter().filter_map(|n| self.valid.get(*n));
            (source.as_str(), by.collect())
        })
    }

    /// Since when a snapshot is continuously forgotten, by the storage's clock; `None` when it is not.
    #[must_use]
    pub fn forgotten_since(&self, id: &ObjectId) -> Option<DateTime<Utc>> {
        self.tombstones_of(id).map(Tombstone::effective_since).min()
    }

    /// Tombstones that more than one other revokes.
    pub(super) fn revoked_twice(&self) -> BTreeSet<ObjectId> {
        let mut seen = BTreeSet::new();
        let revoked = self.valid.iter().flat_map(|t| &t.record.revoke);
        revoked.filter(|id| !seen.insert(**id)).copied().collect()
    }

    /// The tombstones by which a snapshot is forgotten.
    pub fn tombstones_of(&self, id: &ObjectId) -> impl Iterator<Item = &Tombstone> {
        let found = self.forgotten_snapshots.get(id).into_iter().flatten();
        found.filter_map(|n| self.valid.get(*n))
    }
}
