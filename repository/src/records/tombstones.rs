//! Tombstones: what a keeper has forgotten. They are added, never changed; a later one can revoke one.
//!
//! A snapshot is forgotten when an unrevoked tombstone names it. It is a matter of sets: times do not
//! matter, and nothing that only a writer has signed counts. A later prune deletes what is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, ObjectInfo, ObjectKey};
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::host_keys::read_signing_key;
use crate::crypto::signing::{HostSigner, SignerId, SignerRole};
use crate::error::{Error, ErrorClass, Result};
use crate::format::names::id_from_key;
use crate::format::snapshot::snapshot_key;
use crate::id::ObjectId;
use crate::parallel::map_in_parallel;
use crate::records::record_set::is_not_found;
use crate::records::sweeps::Sweeps;
use crate::store::{Repository, Store};

/// The directory of the records.
const DIRECTORY: &str = "tombstones";

/// Maximum size of a tombstone, in bytes.
const TOMBSTONE_BYTES_MAX: usize = 16 << 20;

/// More rounds than concurrent unforget runs can cause.
const UNFORGET_ROUNDS_MAX: usize = 10;

/// The problem when a prune deleted what was to be unforgotten, and the hints.
const BEING_DELETED: &str = "may be deleted by a prune that was running when it was unforgotten";
const DELETED_MEANWHILE: &str = "was deleted by a prune while it was being unforgotten";
const VERIFY_HINT: &str =
    "when that prune has finished, run `reprise verify` to see whether it still exists";
const OTHER_COPY_HINT: &str = "look for it in another copy of the repository";

/// More IDs than this are split into several tombstones.
const IDS_PER_TOMBSTONE_MAX: usize = 50_000;

/// The policy file that decided, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Its name.
    pub file: String,
    /// The Git commit of its work tree, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether it was changed since that commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
}

/// Who forgets or unforgets, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TombstoneMetadata {
    /// When, by the clock of its author.
    pub at: DateTime<Utc>,
    /// Who, as `user@host`.
    pub by: String,
    /// The reason.
    pub reason: String,
    /// The policy, if any.
    pub policy: Option<PolicyVersion>,
    /// The program that wrote it, with version.
    pub program: String,
}

/// The forgotten beginning of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenLog {
    /// The source.
    pub source: String,
    /// The number of the first log segment that is kept.
    pub before: u64,
}

/// The content of a tombstone, as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// Snapshots that are forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<ObjectId>,
    /// Logs with a forgotten beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<ForgottenLog>,
    /// Revoked tombstones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoke: Vec<ObjectId>,
    /// When, by the clock of its author.
    pub at: DateTime<Utc>,
    /// Who, as `user@host`.
    pub by: String,
    /// The reason.
    pub reason: String,
    /// The policy, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyVersion>,
    /// The program that wrote it, with version.
    pub program: String,
}

/// A valid tombstone.
#[derive(Debug, Clone)]
pub struct Tombstone {
    /// Its ID.
    pub id: ObjectId,
    /// The keeper.
    pub signer: SignerId,
    /// When the storage received it.
    pub received: Option<DateTime<Utc>>,
    /// Its content.
    pub record: TombstoneRecord,
}

impl Tombstone {
    /// Since when it is in effect: by the storage's clock where there is one.
    pub(crate) fn effective_since(&self) -> DateTime<Utc> {
        self.received.unwrap_or(self.record.at)
    }
}

/// An object in the directory of tombstones that is ignored.
#[derive(Debug)]
pub struct RefusedTombstone {
    /// Its key.
    pub object: ObjectKey,
    /// What is wrong with it.
    pub error: Error,
    /// Whether it may have been genuine once, or is one for a newer version or other identities: then it is unknown
    /// whether it revoked another one, and nothing should be deleted for good. What no keeper ever signed is not one.
    pub may_revoke: bool,
}

/// All tombstones of a repository.
#[derive(Debug, Default)]
pub struct Tombstones {
    valid: Vec<Tombstone>,
    refused: Vec<RefusedTombstone>,
    forgotten_snapshots: HashMap<ObjectId, Vec<usize>>,
    /// The number of the first log segment that is kept of each log, and the tombstones that set it.
    forgotten_logs: HashMap<String, (u64, Vec<usize>)>,
}

impl Tombstones {
    fn from_records(valid: Vec<Tombstone>, refused: Vec<RefusedTombstone>) -> Self {
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
    fn revoked_twice(&self) -> BTreeSet<ObjectId> {
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

/// A keeper's key that the repository knows.
#[derive(Debug)]
pub struct Keeper {
    signer: HostSigner,
}

impl Keeper {
    /// The signing key.
    #[must_use]
    pub fn signer(&self) -> &HostSigner {
        &self.signer
    }
}

/// The key of a tombstone.
#[must_use]
pub(crate) fn tombstone_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("{DIRECTORY}/{id}"))
}

impl Repository {
    /// The keeper's key: from a file, or this host's own if the host is a keeper. `action` is a verb that names its
    /// use.
    ///
    /// # Errors
    /// [`Error::NotKeeper`] when the key has no such role here, [`Error::HostKeys`] when it cannot be read.
    pub fn load_keeper(&self, file: Option<&Path>, action: &'static str) -> Result<Keeper> {
        let not_keeper = |who: String| Error::NotKeeper {
            location: self.location(),
            action,
            who,
        };
        let signer = match (file, &self.inner.host) {
            (Some(file), _) => read_signing_key(file)?,
            (None, Some(host)) => host.signer.clone(),
            (None, None) => {
                return Err(not_keeper(
                    "this machine, which has no signing key,".to_owned(),
                ));
            }
        };
        let keeper = Keeper { signer };
        let id = keeper.signer().id();
        if self.inner.trust.has_role(&id, SignerRole::Keeper) {
            return Ok(keeper);
        }
        Err(not_keeper(file.map_or_else(
            || format!("this host ({id})"),
            |file| format!("{} ({id})", file.display()),
        )))
    }

    /// All tombstones. Those that no keeper has signed are in [`Tombstones::refused`].
    ///
    /// # Errors
    /// When they cannot be listed, or the storage does not return one: then it is unknown what is forgotten.
    pub fn read_tombstones(&self) -> Result<Tombstones> {
        let listed = self.inner.list_objects(DIRECTORY)?;
        let cache = self.inner.record_cache(DIRECTORY);
        cache.remove_others(listed.iter().map(|info| &info.key));
        let readers = self.inner.backend.capabilities().parallel_reads;
        let read = map_in_parallel(readers, &listed, |info| {
            self.inner.read_cached(&info.key, &cache, |id, bytes| {
                self.inner.parse_tombstone(info, id, bytes)
            })
        });
        let (mut valid, mut refused) = (Vec::new(), Vec::new());
        for (info, read) in listed.into_iter().zip(read) {
            match read {
                Ok(tombstone) => valid.push(tombstone),
                Err(error) if is_not_found(&error) => {}
                Err(error) => refused.push(self.inner.refuse_tombstone(info.key, error)?),
            }
        }
        valid.sort_by_key(|tombstone| (tombstone.record.at, tombstone.id));
        Ok(Tombstones::from_records(valid, refused))
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

impl TombstoneRecord {
    /// One that names nothing yet.
    fn with_metadata(why: &TombstoneMetadata) -> Self {
        Self {
            forget: Vec::new(),
            logs: Vec::new(),
            revoke: Vec::new(),
            at: why.at,
            by: why.by.clone(),
            reason: why.reason.clone(),
            policy: why.policy.clone(),
            program: why.program.clone(),
        }
    }
}

impl Store {
    fn write_tombstone(&self, record: &TombstoneRecord, keeper: &Keeper) -> Result<ObjectId> {
        let json = serde_json::to_vec(record)
            .map_err(|e| Error::Internal(format!("cannot serialize a tombstone: {e}")))?;
        let (backend, signer) = (self.backend.as_ref(), keeper.signer());
        self.put_signed(backend, RecordKind::Tombstone, &json, signer, tombstone_key)
    }

    fn parse_tombstone(&self, info: &ObjectInfo, id: ObjectId, bytes: &[u8]) -> Result<Tombstone> {
        let key = &info.key;
        let verified = envelope::verify_record(RecordKind::Tombstone, bytes, key, &self.trust)?;
        let recipients = self.catalog_recipients.texts();
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
    fn refuse_tombstone(&self, object: ObjectKey, error: Error) -> Result<RefusedTombstone> {
        let closed = matches!(
            error,
            Error::UnsupportedFormat { .. } | Error::NoMatchingIdentity { .. }
        );
        if !closed && error.class() != ErrorClass::Damaged {
            return Err(error);
        }
        // With a matching hash but no signature it was never a tombstone; anyone who may add objects can add one.
        // One that does not match its hash was altered after it was stored.
        // A genuine one under another directory's name is ignored too.
        let may_revoke = id_from_key(&object).is_some()
            && (closed
                || match self.get_verified(&object) {
                    Ok(bytes) => {
                        envelope::verify_record(RecordKind::Tombstone, &bytes, &object, &self.trust)
                            .is_ok()
                    }
                    Err(Error::Damaged { .. }) => true,
                    Err(error) => return Err(error),
                });
        tracing::warn!(%object, %error, "ignoring an unusable tombstone");
        Ok(RefusedTombstone {
            object,
            error,
            may_revoke,
        })
    }
}
