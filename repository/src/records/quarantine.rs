//! The quarantine: what a keeper reports as damaged. Readers prefer other copies, and writers store its content again.
//!
//! Nothing is deleted: a damaged object keeps its name for ever where storage is write-once. Only keepers'
//! records count, as a compromised host must not make others avoid undamaged objects.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::ObjectKey;
use crate::crypto::envelope::RecordKind;
use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::id::{ChunkId, ObjectId};
use crate::records::tombstones::Keeper;
use crate::store::{Repository, Store};

/// The directory of the records.
pub(crate) const DIRECTORY: &str = "quarantine";

/// An object that must not be relied on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuarantinedObject {
    /// Its key.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A snapshot that lacks chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AffectedSnapshot {
    /// Its ID.
    pub snapshot: ObjectId,
    /// Chunks that it needs and that had no good copy; not all of them, if there are very many.
    pub lost: Vec<ChunkId>,
}

/// A record of the quarantine (catalog class: it names no paths).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRecord {
    /// What is damaged.
    pub objects: Vec<QuarantinedObject>,
    /// The affected snapshots.
    #[serde(rename = "hurts")]
    pub affected_snapshots: Vec<AffectedSnapshot>,
    /// Records that this one replaces: what they named and it does not is good again.
    pub replaces: Vec<ObjectId>,
    /// When, by the clock of its author.
    pub at: DateTime<Utc>,
    /// Who, as user@host.
    pub by: String,
    /// The program that made it, with version.
    pub program: String,
}

/// Everything that is in quarantine.
#[derive(Debug, Clone, Default)]
pub struct Quarantine {
    objects: BTreeMap<String, String>,
    affected_snapshots: BTreeMap<ObjectId, Vec<ChunkId>>,
    records: BTreeSet<ObjectId>,
}

impl Quarantine {
    fn from_records(records: Vec<(ObjectId, QuarantineRecord)>) -> Self {
        let replaced: HashSet<ObjectId> = records
            .iter()
            .flat_map(|(_, record)| record.replaces.iter().copied())
            .collect();
        let mut quarantine = Self::default();
        for (id, record) in records {
            if replaced.contains(&id) {
                continue;
            }
            quarantine.records.insert(id);
            for found in record.objects {
                quarantine.objects.insert(found.object, found.reason);
            }
            for hurt in record.affected_snapshots {
                match quarantine.affected_snapshots.entry(hurt.snapshot) {
                    Entry::Vacant(entry) => drop(entry.insert(hurt.lost)),
                    // Where the lost chunks are unknown, all of them may be lost.
                    Entry::Occupied(mut entry) if hurt.lost.is_empty() => entry.get_mut().clear(),
                    Entry::Occupied(entry) if entry.get().is_empty() => {}
                    Entry::Occupied(mut entry) => entry.get_mut().extend(hurt.lost),
                }
            }
        }
        quarantine
    }

    /// The objects, with what is wrong with each.
    #[must_use]
    pub fn objects(&self) -> &BTreeMap<String, String> {
        &self.objects
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.affected_snapshots.is_empty()
    }

    /// The valid records.
    pub(crate) fn record_ids(&self) -> Vec<ObjectId> {
        self.records.iter().copied().collect()
    }

    pub(crate) fn affected_snapshots(&self) -> &BTreeMap<ObjectId, Vec<ChunkId>> {
        &self.affected_snapshots
    }

    /// IDs of the objects in a directory.
    fn object_ids_under(&self, directory: &str) -> HashSet<ObjectId> {
        let inside = self.objects.keys().filter(|key| key.starts_with(directory));
        let keys = inside.filter_map(|key| ObjectKey::new(key.as_str()));
        keys.filter_map(|key| id_from_key(&key)).collect()
    }

    /// The packs, with what is wrong with each.
    pub(crate) fn damaged_packs(&self) -> BTreeMap<ObjectId, String> {
        let packs = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with("packs/"));
        let parsed = packs.filter_map(|(key, reason)| {
            Some((id_from_key(&ObjectKey::new(key.as_str())?)?, reason.clone()))
        });
        parsed.collect()
    }

    pub(crate) fn pack_ids(&self) -> HashSet<ObjectId> {
        self.object_ids_under("packs/")
    }

    pub(crate) fn fragment_ids(&self) -> HashSet<ObjectId> {
        self.object_ids_under("index/")
    }
}

impl Store {
    /// The quarantine. A record that no keeper signed is ignored.
    pub(crate) fn read_quarantine(&self) -> Result<Quarantine> {
        let records = self.read_records::<QuarantineRecord>(
            self.backend.as_ref(),
            RecordKind::Quarantine,
            DIRECTORY,
        )?;
        for refused in &records.refused {
            let (object, error) = (&refused.info.key, &refused.error);
            tracing::warn!(%object, %error, "ignoring an unusable quarantine record");
        }
        let found = records.valid.into_iter();
        Ok(Quarantine::from_records(
            found.map(|found| (found.id, found.record)).collect(),
        ))
    }
}

impl Repository {
    /// The quarantine.
    ///
    /// # Errors
    /// Any error of the backend.
    pub fn read_quarantine(&self) -> Result<Quarantine> {
        self.inner.read_quarantine()
    }

    /// Snapshots that lack chunks for which no good copy has been stored since.
    ///
    /// # Errors
    /// Any error of reading the quarantine or the index.
    pub fn degraded_snapshots(&self) -> Result<BTreeSet<ObjectId>> {
        let quarantine = self.inner.read_quarantine()?;
        if quarantine.affected_snapshots.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut index = self.index_for_reading()?;
        index.exclude_packs(&quarantine.pack_ids());
        let mut degraded = BTreeSet::new();
        for (snapshot, lost) in &quarantine.affected_snapshots {
            // Where the lost chunks are unknown, all of them may be lost.
            let mut hurt = lost.is_empty();
            for id in lost {
                hurt = hurt || index.length_of(id)?.is_none();
            }
            if hurt {
                degraded.insert(*snapshot);
            }
        }
        Ok(degraded)
    }

    /// Stores a record of the quarantine.
    pub(crate) fn put_quarantine_record(
        &self,
        keeper: &Keeper,
        record: &QuarantineRecord,
    ) -> Result<ObjectId> {
        let inner = &self.inner;
        let json = serde_json::to_vec(record)
            .map_err(|e| Error::Internal(format!("cannot serialize a quarantine record: {e}")))?;
        let key = |id: &ObjectId| ObjectKey::from_trusted(format!("{DIRECTORY}/{id}"));
        let (backend, signer) = (inner.backend.as_ref(), keeper.signer());
        inner.put_signed(backend, RecordKind::Quarantine, &json, signer, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(objects: &[&str], replaces: Vec<ObjectId>) -> QuarantineRecord {
        let objects = objects.iter().map(|object| QuarantinedObject {
            object: (*object).to_owned(),
            reason: "test".to_owned(),
        });
        QuarantineRecord {
            objects: objects.collect(),
            affected_snapshots: Vec::new(),
            replaces,
            at: DateTime::UNIX_EPOCH,
            by: String::new(),
            program: String::new(),
        }
    }

    #[test]
    fn where_one_record_does_not_know_what_is_lost_all_may_be() {
        let snapshot = ObjectId::from_content(b"s");
        let hurt = |lost: Vec<ChunkId>| QuarantineRecord {
            affected_snapshots: vec![AffectedSnapshot { snapshot, lost }],
            ..record(&[], Vec::new())
        };
        let some = || hurt(vec![ChunkId::from_bytes([7; 32])]);
        let (one, two) = (ObjectId::from_content(b"1"), ObjectId::from_content(b"2"));
        for (first, second) in [(some(), hurt(Vec::new())), (hurt(Vec::new()), some())] {
            let quarantine = Quarantine::from_records(vec![(one, first), (two, second)]);
            assert_eq!(quarantine.affected_snapshots()[&snapshot], []);
        }
        let quarantine = Quarantine::from_records(vec![(one, some()), (two, some())]);
        assert_eq!(quarantine.affected_snapshots()[&snapshot].len(), 2);
    }

    #[test]
    fn a_later_record_takes_back_what_it_does_not_repeat() {
        let (one, two) = (ObjectId::from_content(b"1"), ObjectId::from_content(b"2"));
        let pack = crate::format::pack::pack_key(&ObjectId::from_content(b"p")).to_string();
        let first = (one, record(&[&pack, "index/x"], Vec::new()));
        let quarantine = Quarantine::from_records(vec![first.clone()]);
        assert_eq!(
            quarantine.pack_ids(),
            HashSet::from([ObjectId::from_content(b"p")])
        );
        let second = (two, record(&[&pack], vec![one]));
        for records in [vec![first.clone(), second.clone()], vec![second, first]] {
            let quarantine = Quarantine::from_records(records);
            assert_eq!(quarantine.objects().len(), 1);
            assert_eq!(quarantine.record_ids(), [two]);
        }
    }
}
