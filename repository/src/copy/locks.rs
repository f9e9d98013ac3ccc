//! Locks against deletion: what is still needed must stay locked, however long ago it was stored.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::backend::{BackendError, ImmutabilityPolicy, ObjectKey};
use crate::error::{Error, ObjectFailure, Result};
use crate::format::config::config_key;
use crate::format::pack::pack_key;
use crate::format::snapshot::snapshot_key;
use crate::keys::escrow::escrow_object_key;
use crate::parallel::try_map_in_parallel;
use crate::progress::Progress;
use crate::store::Repository;

/// When each object's lock ends, as far as this host has cached it.
type LockCache = BTreeMap<String, DateTime<Utc>>;

/// The state of the locks of a repository's objects.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LockReport {
    /// Objects that are needed.
    pub objects: u64,
    /// Of these, how many have no lock.
    pub unlocked: u64,
    /// Locks that were extended by this run.
    pub extended: u64,
    /// The earliest end of a lock.
    pub earliest: Option<DateTime<Utc>>,
    /// Locks that could not be read or extended, with the reason.
    pub failed: Vec<ObjectFailure>,
}

impl Repository {
    /// Checks the locks of everything that is needed, without changing any.
    ///
    /// # Errors
    /// When the objects cannot be listed.
    pub fn inspect_locks(&self, now: DateTime<Utc>, progress: &Progress) -> Result<LockReport> {
        self.visit_locks(now, None, LockCache::new(), progress)
            .map(|(report, _)| report)
    }

    /// Extends the locks that end within half of their period, so that none ever expires between two runs.
    ///
    /// # Errors
    /// When the objects cannot be listed. Locks that cannot be extended are in the report.
    pub fn extend_locks(
        &self,
        immutable: ImmutabilityPolicy,
        now: DateTime<Utc>,
        progress: &Progress,
    ) -> Result<LockReport> {
        let (report, known) =
            self.visit_locks(now, Some(immutable), self.load_lock_cache(), progress)?;
        self.save_lock_cache(&known);
        Ok(report)
    }

    fn visit_locks(
        &self,
        now: DateTime<Utc>,
        extend: Option<ImmutabilityPolicy>,
        mut known: LockCache,
        progress: &Progress,
    ) -> Result<(LockReport, LockCache)> {
        let keys = self.needed_objects()?;
        known.retain(|key, _| keys.binary_search_by(|k| k.as_str().cmp(key)).is_ok());
        let threads = self.inner.backend.capabilities().parallel_reads;
        let results = try_map_in_parallel(threads, &keys, |key| {
            progress.check_cancelled().map(|()| {
                let before = known.get(key.as_str()).copied();
                self.check_lock(key, now, extend, before)
            })
        })?;
        let mut report = LockReport::default();
        for (key, result) in keys.iter().zip(results) {
            report.objects += 1;
            match result {
                Ok((until, extended)) => {
                    report.extended += u64::from(extended);
                    match until {
                        None => report.unlocked += 1,
                        Some(until) => {
                            known.insert(key.to_string(), until);
                            let earliest = report.earliest.get_or_insert(until);
                            *earliest = until.min(*earliest);
                        }
                    }
                }
                Err(error) => report.failed.push(ObjectFailure {
                    object: key.to_string(),
                    reason: error.to_string(),
                }),
            }
        }
        Ok((report, known))
    }

    /// Until when an object is locked, and whether that is new.
    fn check_lock(
        &self,
        key: &ObjectKey,
        now: DateTime<Utc>,
        extend: Option<ImmutabilityPolicy>,
        known: Option<DateTime<Utc>>,
    ) -> std::result::Result<(Option<DateTime<Utc>>, bool), BackendError> {
        let backend = self.inner.backend.as_ref();
        let Some(immutable) = extend else {
            return backend.locked_until(key).map(|until| (until, false));
        };
        let renew_before = now + TimeDelta::days(i64::from(immutable.days)) / 2;
        // A cached time may be too early, never too late: locks are only ever extended.
        if known.is_some_and(|until| until > renew_before) {
            return Ok((known, false));
        }
        let until = backend.locked_until(key)?;
        if until.is_some_and(|until| until > renew_before) {
            return Ok((until, false));
        }
        let until = immutable.lock_expiry(now);
        backend.lock_until(key, until)?;
        Ok((Some(until), true))
    }

    /// Everything that must stay, in order.
    fn needed_objects(&self) -> Result<Vec<ObjectKey>> {
        let mut keys = vec![config_key()];
        for directory in ["index", "keys", "snapshots"] {
            keys.extend(
                self.inner
                    .list_objects(directory)?
                    .into_iter()
                    .map(|info| info.key),
            );
        }
        let escrow = self.inner.keyring.escrow();
        keys.extend(escrow.map(|escrow| escrow_object_key(&escrow.object)));
        // What is forgotten is deleted once its lock has ended.
        let forgotten = self.read_tombstones()?.forgotten_snapshots();
        let gone: HashSet<_> = forgotten.iter().map(snapshot_key).collect();
        keys.retain(|key| !gone.contains(key));
        let (index, unreadable) = self.inner.load_index()?;
        if let Some((id, error)) = unreadable.into_iter().next() {
            return Err(Error::Damaged {
                object: format!("index/{id}"),
                reason: error.to_string(),
            });
        }
        keys.extend(index.packs().map(|(id, _)| pack_key(&id)));
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    fn lock_cache_file(&self) -> Option<PathBuf> {
        self.cache_dir().map(|cache| cache.join("locks.json"))
    }

    fn load_lock_cache(&self) -> LockCache {
        let bytes = self
            .lock_cache_file()
            .and_then(|file| std::fs::read(file).ok());
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Best effort: without it the next run reads the locks from the storage again.
    fn save_lock_cache(&self, known: &LockCache) {
        let Some(file) = self.lock_cache_file() else {
            return;
        };
        let written = || -> std::io::Result<()> {
            std::fs::create_dir_all(file.parent().unwrap_or(&file))?;
            let unfinished = file.with_extension(std::process::id().to_string());
            std::fs::write(&unfinished, serde_json::to_vec(known)?)?;
            std::fs::rename(&unfinished, &file)
        };
        if let Err(error) = written() {
            tracing::debug!(%error, "could not save the local cache of object lock dates");
        }
    }
}
