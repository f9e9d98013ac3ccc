//! Tombstones are written, listed and read.

use std::collections::{BTreeSet, HashSet};

use crate::backend::{ObjectInfo, ObjectKey};
use crate::crypto::encryption::RecipientClass;
use crate::crypto::envelope::{self, RecordKind};
use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::id::ObjectId;
use crate::parallel::map_in_parallel;
use crate::records::record_set::is_not_found;
use crate::records::tombstones::{
    ForgottenLog, Keeper, RefusedTombstone, Tombstone, TombstoneMetadata, TombstoneRecord,
    Tombstones,
};
use crate::store::memory::SeenObjects;
use crate::store::{Repository, Store};

/// The directory of the records.
const DIRECTORY: &str = "tombstones";

/// Maximum size of a tombstone, in bytes.
const TOMBSTONE_BYTES_MAX: usize = 16 << 20;

/// The key of a tombstone.
#[must_use]
pub(crate) fn tombstone_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("{DIRECTORY}/{id}"))
}

impl Repository {
    /// All tombstones. Those that no keeper has signed are in [`Tombstones::refused`].
    ///
    /// # Errors
    /// When they cannot be listed, or the storage does not return one: then it is unknown what is forgotten.
    pub fn read_tombstones(&self) -> Result<Tombstones> {
        let seen = self.inner.memory.read();
        let listed = self.inner.list_objects(DIRECTORY)?;
        let cache = self.inner.record_cache(DIRECTORY);
        cache.remove_others(listed.iter().map(|info| &info.key));
        let readers = self.inner.backend.capabilities().parallel_reads;
        let read = map_in_parallel(readers, &listed, |info| {
            self.inner.read_cached(&info.key, &cache, |id, bytes| {
                self.inner.parse_tombstone(info, id, bytes)
            })
        });
        let stored = listed.iter().filter_map(|info| id_from_key(&info.key));
        let stored: HashSet<ObjectId> = stored.collect();
        let (mut valid, mut refused) = (Vec::new(), Vec::new());
        for (info, read) in listed.into_iter().zip(read) {
            match read {
                Ok(tombstone) => valid.push(tombstone),
                Err(error) if is_not_found(&error) => {}
                Err(error) => refused.push(self.inner.refuse_tombstone(info, error, &seen)?),
            }
        }
        valid.sort_by_key(|tombstone| (tombstone.record.at, tombstone.id));
        self.remember_tombstones(&seen, &valid, &refused);
        let mut read = Tombstones::from_records(valid, refused);
        read.withheld = seen.missing_of(&seen.tombstones, &stored);
        Ok(read)
    }

    fn remember_tombstones(
        &self,
        seen: &SeenObjects,
        valid: &[Tombstone],
        refused: &[RefusedTombstone],
    ) {
        let ids: Vec<ObjectId> = valid.iter().map(|tombstone| tombstone.id).collect();
        if seen.tombstones_listed && ids.iter().all(|id| seen.tombstones.contains(id)) {
            return;
        }
        let damaged = refused
            .iter()
            .filter(|one| one.is_damaged && !seen.tombstones_listed);
        let damaged: Vec<ObjectId> = damaged.filter_map(|one| id_from_key(&one.object)).collect();
        self.inner.memory.update(|seen| {
            seen.tombstones_listed = true;
            seen.tombstones.extend(&ids);
            seen.damaged.extend(&damaged);
        });
    }

    /// Writes tombstones for snapshots. Nothing is deleted. Snapshots already forgotten are not named again.
    ///
    /// # Errors
    /// Any error of the backend.
    pub fn forget_snapshots(
        &self,
        keeper: &Keeper,
        ids: &[ObjectId],
        why: &TombstoneMetadata,
    ) -> Result<Vec<ObjectId>> {
        let known = self.read_tombstones()?;
        let new: BTreeSet<_> = ids.iter().filter(|id| !known.is_forgotten(id)).collect();
        let new: Vec<ObjectId> = new.into_iter().copied().collect();
        let parts = new.chunks(IDS_PER_TOMBSTONE_MAX);
        parts
            .map(|forget| {
                let mut record = TombstoneRecord::with_metadata(why);
                record.forget = forget.to_vec();
                self.inner.write_tombstone(&record, keeper)
            })
            .collect()
    }

    /// Writes a tombstone for the beginning of a source's log: everything before the log segment with this number.
    /// Nothing is deleted. `None`: as much is forgotten already.
    ///
    /// # Errors
    /// Any error of the backend.
    pub fn forget_log(
        &self,
        keeper: &Keeper,
        source: &str,
        before: u64,
        why: &TombstoneMetadata,
    ) -> Result<Option<ObjectId>> {
        if self.read_tombstones()?.first_kept_segment(source) >= before {
            return Ok(None);
        }
        let mut record = TombstoneRecord::with_metadata(why);
        record.logs.push(ForgottenLog {
            source: source.to_owned(),
            before,
        });
        self.inner.write_tombstone(&record, keeper).map(Some)
    }
}

impl Store {
    pub(super) fn write_tombstone(
        &self,
        record: &TombstoneRecord,
        keeper: &Keeper,
    ) -> Result<ObjectId> {
        let json = serde_json::to_vec(record)
            .map_err(|e| Error::Internal(format!("cannot serialize a tombstone: {e}")))?;
        let (backend, signer) = (self.backend.as_ref(), keeper.signer());
        self.put_signed(backend, RecordKind::Tombstone, &json, signer, tombstone_key)
    }

    fn parse_tombstone(&self, info: &ObjectInfo, id: ObjectId, bytes: &[u8]) -> Result<Tombstone> {
        let key = &info.key;
        let verified = envelope::verify_record(RecordKind::Tombstone, bytes, key, &self.trust)?;
        let recipients = self.readers(RecipientClass::Catalog);
        let json = verified.open(&self.identities, key, recipients, TOMBSTONE_BYTES_MAX)?;
        let record = serde_json::from_slice(&json).map_err(|e| {
            Error::damaged_object(key, format!("its content cannot be parsed: {e}"))
        })?;
        Ok(Tombstone {
            id,
            signer: verified.signer,
            received: info.received,
            record,
        })
    }

    /// An object that is ignored. If the storage did not respond, nothing is known of it: that is an error.
    fn refuse_tombstone(
        &self,
        info: ObjectInfo,
        error: Error,
        seen: &SeenObjects,
    ) -> Result<RefusedTombstone> {
        let object = info.key;
        let closed = matches!(
            error,
            Error::UnsupportedFormat { .. } | Error::NoMatchingIdentity { .. }
        );
        if !closed && !error.is_damage() {
            return Err(error);
        }
        // With a matching hash but no signature it was never a tombstone; anyone who may add objects can add one. The same
        // is true of one that does not match its hash, unless this machine has seen it when it did.
        // A genuine one under another directory's name is ignored too.
        let (mut may_revoke, mut is_damaged) = (false, false);
        if let Some(id) = id_from_key(&object) {
            may_revoke = closed
                || match self.get_verified(&object) {
                    Ok(bytes) => {
                        envelope::verify_record(RecordKind::Tombstone, &bytes, &object, &self.trust)
                            .is_ok()
                    }
                    Err(Error::Damaged { .. }) => {
                        is_damaged = true;
                        seen.may_be_tombstone(&id) && !seen.accepted.contains(&id)
                    }
                    Err(error) => return Err(error),
                };
        }
        tracing::warn!(%object, %error, "ignoring an unusable tombstone");
        Ok(RefusedTombstone {
            object,
            error,
            may_revoke,
            received: info.received,
            is_damaged,
        })
    }
}

/// More IDs than this are split into several tombstones.
const IDS_PER_TOMBSTONE_MAX: usize = 50_000;
