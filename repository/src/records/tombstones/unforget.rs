//! Unforgetting: tombstones are revoked, unless a prune has been there already.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::BackendError;
use crate::error::{Error, Result};
use crate::format::snapshot::snapshot_key;
use crate::id::ObjectId;
use crate::records::sweeps::Sweeps;
use crate::records::tombstones::{
    Keeper, Tombstone, TombstoneMetadata, TombstoneRecord, Tombstones,
};
use crate::store::Repository;

/// More rounds than concurrent unforget runs can cause.
const UNFORGET_ROUNDS_MAX: usize = 10;

/// The problem when a prune deleted what was to be unforgotten, and the hints.
const BEING_DELETED: &str = "may be deleted by a prune that was running when it was unforgotten";

const DELETED_MEANWHILE: &str = "was deleted by a prune while it was being unforgotten";

const VERIFY_HINT: &str =
    "when that prune has finished, run `reprise verify` to see whether it still exists";

const OTHER_COPY_HINT: &str = "look for it in another copy of the repository";

impl Repository {
    /// Unforgets the beginning of a source's log, as far as it still exists.
    ///
    /// # Errors
    /// [`Error::LogState`] when nothing of it is forgotten, it was deleted, or a prune may still delete it; or
    /// any error of the backend.
    pub fn unforget_log(
        &self,
        keeper: &Keeper,
        source: &str,
        why: &TombstoneMetadata,
    ) -> Result<Vec<ObjectId>> {
        let known = self.read_tombstones()?;
        let problem = |problem, hint| Error::LogState {
            source_name: source.to_owned(),
            problem,
            hint,
        };
        let named = known.forgotten_logs().find(|(name, _)| *name == source);
        let Some((_, mut tombstones)) = named else {
            return Err(problem(
                "is not forgotten",
                "`reprise show SOURCE` shows the recovery window",
            ));
        };
        let before = |tombstone: &Tombstone| {
            let logs = tombstone.record.logs.iter();
            let places = logs.filter(|log| log.source == source);
            places.map(|log| log.before).max().unwrap_or(1)
        };
        tombstones.sort_by_key(|tombstone| std::cmp::Reverse(before(tombstone)));
        let places = |repository: &Self| {
            let keys = repository.list_log_segments(source)?.into_iter();
            Ok::<BTreeSet<u64>, Error>(keys.map(|key| key.sequence).collect())
        };
        let there = places(self)?;
        let mut back = Vec::new();
        for (n, tombstone) in tombstones.iter().enumerate() {
            let begin = tombstones.get(n + 1).map_or(1, |older| before(older));
            if !(begin..before(tombstone)).all(|place| there.contains(&place)) {
                break;
            }
            back.push(*tombstone);
        }
        let end = back.first().map_or(1, |newest| before(newest));
        let begin = tombstones.get(back.len()).map_or(1, |older| before(older));
        if back.is_empty() {
            return Err(problem(
                "was already deleted by a prune and cannot be unforgotten",
                OTHER_COPY_HINT,
            ));
        }
        let written = self.revoke_tombstones(keeper, &back, why, |record| {
            record.logs.retain(|log| log.source != source);
        })?;
        // A prune announces deletions before it reads tombstones for the last time.
        let sweeps = Sweeps::read(&self.inner, self.inner.backend.as_ref())?;
        let there = places(self)?;
        if !(begin..end).all(|place| there.contains(&place)) {
            return Err(problem(DELETED_MEANWHILE, OTHER_COPY_HINT));
        }
        if sweeps.log_deleted_before(source) > begin {
            return Err(problem(BEING_DELETED, VERIFY_HINT));
        }
        Ok(written)
    }

    /// Unforgets snapshots. What else the same tombstones forget stays forgotten.
    ///
    /// # Errors
    /// [`Error::SnapshotState`] when one is not forgotten, or was deleted, and then nothing is changed for it; or when
    /// a prune may still delete it.
    pub fn unforget_snapshots(
        &self,
        keeper: &Keeper,
        ids: &[ObjectId],
        why: &TombstoneMetadata,
    ) -> Result<Vec<ObjectId>> {
        let known = self.read_tombstones()?;
        for id in ids {
            self.check_can_unforget(&known, id)?;
        }
        let mut written = Vec::new();
        let mut known = known;
        // A concurrent unforget of another snapshot of the same tombstone may have forgotten this one again.
        for _ in 0..UNFORGET_ROUNDS_MAX {
            let revoke: BTreeMap<ObjectId, &Tombstone> = ids
                .iter()
                .flat_map(|id| known.tombstones_of(id))
                .map(|tombstone| (tombstone.id, tombstone))
                .collect();
            if revoke.is_empty() {
                break;
            }
            let revoke: Vec<&Tombstone> = revoke.into_values().collect();
            written.extend(self.revoke_tombstones(keeper, &revoke, why, |record| {
                record.forget.retain(|id| !ids.contains(id));
            })?);
            known = self.read_tombstones()?;
        }
        if let Some(id) = ids.iter().find(|id| known.is_forgotten(id)) {
            return Err(Error::SnapshotState {
                snapshot: *id,
                problem: "was forgotten again by other runs each time it was unforgotten",
                hint: "check `reprise snapshots --all`, then run the command again",
            });
        }
        // A prune announces deletions before it lists the revocations for the last time.
        let going = Sweeps::read(&self.inner, self.inner.backend.as_ref())?.roots_being_deleted();
        let problem = |id: &ObjectId, problem, hint| Error::SnapshotState {
            snapshot: *id,
            problem,
            hint,
        };
        // A prune that began and ended meanwhile may have written records by which nothing seems to be deleted now.
        for id in ids {
            if !self.has_snapshot_root(id)? {
                return Err(problem(id, DELETED_MEANWHILE, OTHER_COPY_HINT));
            }
        }
        match ids.iter().find(|id| going.contains(id)) {
            None => Ok(written),
            Some(id) => Err(problem(id, BEING_DELETED, VERIFY_HINT)),
        }
    }

    fn has_snapshot_root(&self, id: &ObjectId) -> Result<bool> {
        match self.inner.backend.size(&snapshot_key(id)) {
            Ok(_) => Ok(true),
            Err(BackendError::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.inner.backend_error(source)),
        }
    }

    /// Revokes tombstones, and writes the rest of them again.
    fn revoke_tombstones(
        &self,
        keeper: &Keeper,
        tombstones: &[&Tombstone],
        why: &TombstoneMetadata,
        reduce: impl Fn(&mut TombstoneRecord),
    ) -> Result<Vec<ObjectId>> {
        // Revoked first: an interruption here keeps too much, and not too little.
        let written = self.write_revocation(keeper, tombstones, why)?;
        let mut written = vec![written];
        // What another run has revoked too is not written again: neither may forget what the other unforgets.
        let shared = self.read_tombstones()?.revoked_twice();
        let mut rest = Vec::new();
        for tombstone in tombstones.iter().filter(|t| !shared.contains(&t.id)) {
            let mut record = tombstone.record.clone();
            reduce(&mut record);
            if !(record.forget.is_empty() && record.logs.is_empty()) {
                rest.push((tombstone.id, self.inner.write_tombstone(&record, keeper)?));
            }
        }
        written.extend(rest.iter().map(|(_, id)| *id));
        let now = self.read_tombstones()?;
        let shared = now.revoked_twice();
        rest.retain(|(old, _)| shared.contains(old));
        let taken_back = rest.iter().map(|(_, id)| id);
        let taken_back: Vec<_> = taken_back
            .filter_map(|id| now.valid.iter().find(|t| t.id == *id))
            .collect();
        if !taken_back.is_empty() {
            written.push(self.write_revocation(keeper, &taken_back, why)?);
        }
        Ok(written)
    }

    fn write_revocation(
        &self,
        keeper: &Keeper,
        tombstones: &[&Tombstone],
        why: &TombstoneMetadata,
    ) -> Result<ObjectId> {
        let mut revoking = TombstoneRecord::with_metadata(why);
        revoking.revoke = tombstones.iter().map(|tombstone| tombstone.id).collect();
        self.inner.write_tombstone(&revoking, keeper)
    }

    fn check_can_unforget(&self, known: &Tombstones, id: &ObjectId) -> Result<()> {
        let problem = |problem, hint| Error::SnapshotState {
            snapshot: *id,
            problem,
            hint,
        };
        if !known.is_forgotten(id) {
            return Err(problem("is not forgotten", "there is nothing to unforget"));
        }
        if self.has_snapshot_root(id)? {
            return Ok(());
        }
        Err(problem(
            "was already deleted by a prune and cannot be unforgotten",
            OTHER_COPY_HINT,
        ))
    }
}
