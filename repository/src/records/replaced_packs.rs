//! Packs that were re-encrypted: which other pack has all their content.
//!
//! A prune cannot read contents, and trusts no pack that claims to have the chunks of another. These records
//! are signed by a keeper who had a recovery identity at hand and compared every chunk with its ID.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, ObjectKey};
use crate::crypto::envelope::RecordKind;
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::records::record_set::{RecordSet, RefusedRecord};
use crate::records::tombstones::Keeper;
use crate::store::Store;

/// The directory of the records.
pub(crate) const DIRECTORY: &str = "replaced";

/// The key of a record.
pub(crate) fn replaced_packs_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("{DIRECTORY}/{id}"))
}

/// A pack, and its replacement: another pack with all its chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackReplacement {
    pub(crate) pack: ObjectId,
    pub(crate) by: ObjectId,
}

/// A record as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplacedPacksRecord {
    pub(crate) packs: Vec<PackReplacement>,
    /// When, by the clock of its author.
    pub(crate) at: DateTime<Utc>,
    /// Who, as user@host.
    pub(crate) by: String,
    /// The program that made it, with version.
    pub(crate) program: String,
}

/// Stores a record.
pub(crate) fn put_replaced_packs(
    inner: &Store,
    keeper: &Keeper,
    record: &ReplacedPacksRecord,
) -> Result<ObjectId> {
    let json = serde_json::to_vec(record).map_err(|e| {
        Error::Internal(format!("cannot serialize a record of replaced packs: {e}"))
    })?;
    let (backend, signer) = (inner.backend.as_ref(), keeper.signer());
    inner.put_signed(
        backend,
        RecordKind::Replaced,
        &json,
        signer,
        replaced_packs_key,
    )
}

/// All replacements that keepers have published.
#[derive(Debug, Default)]
pub(crate) struct ReplacedPacks {
    replaced_by: HashMap<ObjectId, Vec<ObjectId>>,
    /// The valid records.
    pub(crate) records: Vec<ObjectId>,
    /// The ignored objects.
    pub(crate) refused: Vec<RefusedRecord>,
}

impl ReplacedPacks {
    /// Reads all records. One that cannot be parsed only keeps packs from being deleted.
    pub(crate) fn read(inner: &Store, backend: &dyn Backend) -> Result<Self> {
        let records: RecordSet<ReplacedPacksRecord> =
            inner.read_records(backend, RecordKind::Replaced, DIRECTORY)?;
        for refused in &records.refused {
            let (object, error) = (&refused.info.key, &refused.error);
            tracing::warn!(%object, %error, "ignoring an unusable record of replaced packs");
        }
        let mut replaced = Self {
            refused: records.refused,
            ..Self::default()
        };
        for found in records.valid {
            replaced.records.push(found.id);
            replaced.add_replacements(&found.record.packs);
        }
        Ok(replaced)
    }

    fn add_replacements(&mut self, packs: &[PackReplacement]) {
        for PackReplacement { pack, by } in packs {
            self.replaced_by.entry(*pack).or_default().push(*by);
        }
    }

    /// The packs that were replaced.
    pub(crate) fn packs(&self) -> impl Iterator<Item = ObjectId> {
        self.replaced_by.keys().copied()
    }

    /// Packs with all the content of a pack: its replacements, and their replacements.
    pub(crate) fn replacements_of(&self, pack: &ObjectId) -> Vec<ObjectId> {
        let (mut found, mut seen) = (Vec::new(), HashSet::from([*pack]));
        let mut next = vec![*pack];
        while let Some(id) = next.pop() {
            for by in self.replaced_by.get(&id).into_iter().flatten() {
                if seen.insert(*by) {
                    found.push(*by);
                    next.push(*by);
                }
            }
        }
        found
    }

    /// Whether a pack is named as a replacement.
    pub(crate) fn is_replacement(&self, id: &ObjectId) -> bool {
        self.replaced_by.values().flatten().any(|by| by == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replaced_a_replacement_replaces_the_first_too() {
        let id = |n: u8| ObjectId::from_content(&[n]);
        let replacement = |pack, by| PackReplacement {
            pack: id(pack),
            by: id(by),
        };
        let mut replaced = ReplacedPacks::default();
        replaced.add_replacements(&[replacement(1, 2), replacement(2, 3)]);
        assert_eq!(replaced.replacements_of(&id(1)), [id(2), id(3)]);
        assert_eq!(replaced.replacements_of(&id(2)), [id(3)]);
        assert_eq!(replaced.replacements_of(&id(3)), []);
        assert!(replaced.is_replacement(&id(3)) && !replaced.is_replacement(&id(1)));
        // No pack replaces itself, whatever a record says.
        replaced.add_replacements(&[replacement(3, 1)]);
        assert_eq!(replaced.replacements_of(&id(1)), [id(2), id(3)]);
    }
}
