//! Finding and reading the snapshots of a repository.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use reprise_times::format_time;

use crate::backend::{ObjectInfo, ObjectKey};
use crate::crypto::encryption::RecipientClass;
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::host_keys::HostKeys;
use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::format::snapshot::{Snapshot, SnapshotRoot, snapshot_key};
use crate::id::ObjectId;
use crate::parallel::map_in_parallel;
use crate::records::record_set::is_not_found;
use crate::repository::withheld::ListedRoots;
use crate::store::memory::SeenObjects;
use crate::store::record_cache::RecordCache;
use crate::store::{Repository, Store};

/// The maximum size of a snapshot root, in bytes: enough for the streams of several hundred million chunks.
const ROOT_BYTES_MAX: usize = 256 << 20;

/// The fewest digits that mean an ID.
const ID_DIGITS_MIN: usize = 4;

/// A root that cannot be read, or an object that was seen and is gone, and the reason.
pub type UnreadableRoot = (ObjectKey, Error);

impl Repository {
    /// All snapshots, oldest first by [`Snapshot::effective_time`]. A root that cannot be read is an error here: see
    /// [`Self::snapshots_lossy`].
    ///
    /// # Errors
    /// The error of the first unreadable root.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let (snapshots, errors) = self.snapshots_lossy()?;
        match errors.into_iter().next() {
            None => Ok(snapshots),
            Some((_, error)) => Err(error),
        }
    }

    /// All readable snapshots, oldest data first, and the others with what is wrong with them.
    ///
    /// # Errors
    /// When roots cannot be listed at all.
    pub fn snapshots_lossy(&self) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        let (mut snapshots, errors) = self.all_snapshots_lossy()?;
        snapshots.retain(|snapshot| !snapshot.forgotten);
        Ok((snapshots, errors))
    }

    /// As [`Self::snapshots_lossy`], with the forgotten ones that no prune has deleted yet.
    ///
    /// # Errors
    /// When roots or tombstones cannot be listed at all.
    pub fn all_snapshots_lossy(&self) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        self.load_snapshots(&self.inner.record_cache("snapshots"))
    }

    /// As [`Self::snapshots_lossy`], but every root is read from the storage, whatever the cache holds.
    pub(crate) fn snapshots_uncached(&self) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        self.load_snapshots(&RecordCache::new(None, "snapshots"))
    }

    /// Roots before tombstones: what is forgotten meanwhile may still appear here, but nothing that was unforgotten
    /// meanwhile appears as forgotten.
    fn load_snapshots(&self, cache: &RecordCache) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        let (mut snapshots, mut errors) = (Vec::new(), Vec::new());
        let seen = self.inner.memory.read();
        let listed = self.inner.list_objects("snapshots")?;
        cache.remove_others(listed.iter().map(|info| &info.key));
        let readers = self.inner.backend.capabilities().parallel_reads;
        let stored = listed.iter().filter_map(|info| id_from_key(&info.key));
        let mut stored: HashSet<ObjectId> = stored.collect();
        let mut not_found = Vec::new();
        let roots = map_in_parallel(readers, &listed, |info| self.inner.read_root(info, cache));
        for (info, root) in listed.into_iter().zip(roots) {
            match root {
                Ok(snapshot) => snapshots.push(snapshot),
                // A prune deleted it meanwhile, if it is forgotten.
                Err(error) if is_not_found(&error) => not_found.extend(id_from_key(&info.key)),
                Err(error) => errors.push((info.key, error)),
            }
        }
        let tombstones = self.read_tombstones()?;
        for snapshot in &mut snapshots {
            snapshot.forgotten = tombstones.is_forgotten(&snapshot.id);
        }
        stored.retain(|id| !not_found.contains(id));
        let damaged = self.mismatched_roots(&seen, &errors);
        errors.extend(self.find_withheld(&ListedRoots {
            seen: &seen,
            stored,
            not_found,
            damaged,
            snapshots: &snapshots,
            tombstones: &tombstones,
        })?);
        snapshots.sort_by_key(Snapshot::time_order);
        Ok((snapshots, errors))
    }

    /// Of the roots that cannot be read at the first use, those whose content does not match their names.
    fn mismatched_roots(&self, seen: &SeenObjects, errors: &[UnreadableRoot]) -> Vec<ObjectId> {
        let mut damaged = Vec::new();
        if seen.roots_listed || !self.inner.memory.is_enabled() {
            return damaged;
        }
        for (key, error) in errors.iter().filter(|(_, error)| error.is_damage()) {
            match self.inner.get_verified(key) {
                Ok(_) => {}
                Err(Error::Damaged { .. }) => damaged.extend(id_from_key(key)),
                Err(other) => tracing::debug!(%error, %other, "cannot read a root again"),
            }
        }
        damaged
    }

    /// Finds a snapshot by a prefix of its ID, `SOURCE@latest`, or a source's name (the newest snapshot of the host that
    /// the name means).
    ///
    /// A whole ID means that snapshot, whatever sources are named. What begins an ID and is a source's name as well means
    /// neither: whoever may store snapshots chooses such names.
    ///
    /// A forgotten snapshot is only found by its ID. Beside an ID, a chosen host must be the one that has stored it.
    ///
    /// A root that cannot be read is skipped with a warning: the others must still be restorable.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::AmbiguousSnapshot`], [`Error::SourceOrSnapshot`], [`Error::SeveralHosts`].
    pub fn find_snapshot(&self, name: &str) -> Result<Snapshot> {
        let (snapshots, errors) = self.all_snapshots_lossy()?;
        warn_unreadable(&errors);
        let begins = |id: &str| name.len() >= ID_DIGITS_MIN && id.starts_with(name);
        let ids = snapshots.iter().map(|one| one.id.to_string());
        let ids = ids.chain(errors.iter().map(|(key, _)| key.name().to_owned()));
        let ids: Vec<String> = ids.filter(|id| begins(id)).collect();
        if !ids.iter().any(|id| id == name) {
            let source = name.strip_suffix("@latest").unwrap_or(name);
            let newest = self.snapshots_of_one_host(source, &snapshots)?.pop();
            match (newest, ids.first()) {
                (Some(newest), None) => return Ok(newest.clone()),
                (Some(_), Some(snapshot)) => {
                    return Err(Error::SourceOrSnapshot {
                        name: name.to_owned(),
                        snapshot: snapshot.clone(),
                    });
                }
                (None, _) => {}
            }
        }
        let mut matches = snapshots.iter().filter(|one| begins(&one.id.to_string()));
        match (matches.next(), matches.count()) {
            (Some(snapshot), 0) => {
                self.require_chosen_host(snapshot)?;
                Ok(snapshot.clone())
            }
            (Some(_), others) => Err(Error::AmbiguousSnapshot {
                name: name.to_owned(),
                count: others + 1,
            }),
            (None, _) => match errors.into_iter().find(|(key, _)| begins(key.name())) {
                Some((_, error)) => Err(error),
                None => Err(Error::NoSnapshot {
                    name: name.to_owned(),
                    hint: describe_known_sources(&snapshots),
                }),
            },
        }
    }

    /// Finds the newest snapshot of a source, of the host that the name means, whose effective time is at or before a time.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], which names the oldest one; [`Error::SeveralHosts`].
    pub fn find_snapshot_before(&self, source: &str, time: DateTime<Utc>) -> Result<Snapshot> {
        let (snapshots, errors) = self.all_snapshots_lossy()?;
        warn_unreadable(&errors);
        let named = self.snapshots_of_one_host(source, &snapshots)?;
        let mut newest_first = named.iter().rev();
        if let Some(found) = newest_first.find(|one| one.effective_time() <= time) {
            return Ok((*found).clone());
        }
        let missing = |name: String, hint: String| Err(Error::NoSnapshot { name, hint });
        match named.first() {
            None => missing(source.to_owned(), describe_known_sources(&snapshots)),
            Some(oldest) => missing(
                format!("{source} at or before {}", format_time(&time)),
                format!(
                    "the oldest snapshot of {source} is {} of {}",
                    oldest.id.short(),
                    format_time(&oldest.effective_time())
                ),
            ),
        }
    }

    /// The newest of the snapshots that a source's name means, if any.
    ///
    /// # Errors
    /// When snapshots cannot be listed.
    pub fn latest_snapshot(&self, source: &str) -> Result<Option<Snapshot>> {
        Ok(self.bound_snapshots(source)?.pop())
    }
}

impl Store {
    pub(crate) fn read_root(&self, info: &ObjectInfo, roots: &RecordCache) -> Result<Snapshot> {
        self.read_cached(&info.key, roots, |id, bytes| {
            self.parse_root(info, id, bytes)
        })
    }

    fn parse_root(&self, info: &ObjectInfo, id: ObjectId, bytes: &[u8]) -> Result<Snapshot> {
        let key = &info.key;
        let verified = envelope::verify_record(RecordKind::Snapshot, bytes, key, &self.trust)?;
        let recipients = self.readers(RecipientClass::Catalog);
        let json = verified.open(&self.identities, key, recipients, ROOT_BYTES_MAX)?;
        let root: SnapshotRoot = serde_json::from_slice(&json).map_err(|e| {
            Error::damaged_object(key, format!("its content cannot be parsed: {e}"))
        })?;
        Ok(Snapshot {
            id,
            signer: verified.signer,
            root,
            received: info.received,
            forgotten: false,
        })
    }

    /// Whether bytes that are signed well are no root for anybody: whoever signed them put something else in its place.
    pub(crate) fn is_no_root(&self, bytes: &[u8], key: &ObjectKey) -> bool {
        let recipients = self.readers(RecipientClass::Catalog);
        let opened = envelope::verify_record(RecordKind::Snapshot, bytes, key, &self.trust)
            .and_then(|verified| verified.open(&self.identities, key, recipients, ROOT_BYTES_MAX));
        opened.is_ok_and(|json| serde_json::from_slice::<SnapshotRoot>(&json).is_err())
    }

    pub(crate) fn write_root(&self, root: &SnapshotRoot, host: &HostKeys) -> Result<ObjectId> {
        let json = serde_json::to_vec(root)
            .map_err(|e| Error::Internal(format!("cannot encode a snapshot root: {e}")))?;
        let (backend, signer) = (self.backend.as_ref(), &host.signer);
        self.put_signed(backend, RecordKind::Snapshot, &json, signer, snapshot_key)
    }
}

/// The others must still be restorable.
fn warn_unreadable(errors: &[UnreadableRoot]) {
    for (key, error) in errors {
        tracing::warn!(%key, %error, "cannot read a snapshot root; the snapshot is not listed");
    }
}

fn describe_known_sources(snapshots: &[Snapshot]) -> String {
    let kept = snapshots.iter().filter(|s| !s.forgotten);
    let sources: BTreeSet<_> = kept.map(|s| s.root.source.as_str()).collect();
    if sources.is_empty() {
        return "the repository has no snapshots".to_owned();
    }
    let list: Vec<_> = sources.into_iter().collect();
    format!(
        "sources with snapshots: {}; `reprise snapshots` lists snapshot IDs",
        list.join(", ")
    )
}
