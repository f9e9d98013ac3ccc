//! Copies: a repository's objects are copied unchanged to another destination.
//!
//! Packs, index fragments and roots keep their names, bytes and signatures, so no recovery identity is needed, nothing
//! is encrypted again, and the copy is a whole repository. The order is that of commits: packs, then the fragments that
//! describe them, then roots. Objects that an interrupted copy has stored are reused.

mod escrow;
pub(crate) mod locks;
mod logs;
mod target_check;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use crate::backend::{Backend, BackendError, ObjectKey};
use crate::error::{Error, ErrorClass, ObjectFailure, Result};
use crate::format::config::config_key;
use crate::format::names::id_from_key;
use crate::format::pack::{PackRecord, pack_key};
use crate::format::snapshot::{Snapshot, snapshot_key};
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::keys::key_objects::{MISSING_RECORD, key_object_key};
use crate::parallel::try_map_in_parallel;
use crate::progress::Progress;
use crate::records::leases::Lease;
use crate::records::record_set::is_not_found;
use crate::records::replaced_packs::{self, ReplacedPacks, replaced_packs_key};
use crate::records::tombstones::tombstone_key;
use crate::store::Repository;
use crate::store::verified_io::{put_verified, read_with_retries};

use target_check::{CopiedPacks, is_damaged_or_gone};

/// Packs in flight; each is in memory meanwhile.
const PACKS_MAX: usize = 3;

/// How often a copy is restarted because the source's index changed during it.
const PASSES_MAX: usize = 5;

/// The result of a copy.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CopyReport {
    /// Whether this run created the copy.
    #[serde(rename = "created")]
    pub made: bool,
    /// Snapshots that are new at the destination.
    pub snapshots: u64,
    /// Snapshots that were there already.
    pub snapshots_present: u64,
    /// Tombstones that are new at the destination.
    pub tombstones: u64,
    /// Packs that were sent.
    pub packs: u64,
    /// Packs that an interrupted copy had sent, verified now.
    pub packs_present: u64,
    /// Bytes of the packs that were sent.
    pub bytes: u64,
    /// Log segments that are new at the destination.
    pub log_segments: u64,
    /// What could not be copied. If it and `unreadable` are empty, everything is at the destination.
    pub not_copied: Vec<ObjectFailure>,
    /// What was not copied, as it is encrypted to others than the given identities.
    pub unreadable: Vec<ObjectFailure>,
}

impl Repository {
    /// Copies everything to another destination, which is empty or an earlier copy. Forgotten snapshots are left out;
    /// their tombstones are copied.
    ///
    /// # Errors
    /// [`Error::OtherRepository`] when the destination holds something else, or errors of either backend. A damaged
    /// object of this repository is in the report instead, and the snapshots that need it are left out.
    pub fn copy_to(&self, target: &dyn Backend, progress: &Progress) -> Result<CopyReport> {
        let (roots, unreadable) = self.snapshots_lossy()?;
        let mut copy = RepositoryCopy {
            repository: self,
            target,
            progress,
            report: CopyReport::default(),
            bad_packs: HashSet::new(),
        };
        for (key, error) in unreadable {
            copy.record_failure(key.as_str(), error)?;
        }
        copy.report_missing_keys();
        copy.prepare_target()?;
        // A host that may not sign copies without a lease: then a prune there does not wait, and the target check finds
        // it.
        let lease = match self.require_writer() {
            Ok(host) => {
                let name = self.signer_name(&host.signer.id());
                Some(Lease::acquire(&self.inner, target, &name, "copy")?)
            }
            Err(_) => None,
        };
        let copied = copy.copy_everything(&roots, lease.as_ref());
        if let Some(lease) = lease.filter(|_| copied.is_ok()) {
            lease.release(target);
        }
        copied?;
        Ok(copy.report)
    }
}

struct RepositoryCopy<'a> {
    repository: &'a Repository,
    target: &'a dyn Backend,
    progress: &'a Progress,
    report: CopyReport,
    bad_packs: HashSet<ObjectId>,
}

/// The outcome for a pack.
enum PackTransfer {
    New,
    Present,
}

impl RepositoryCopy<'_> {
    fn target_error(&self, source: BackendError) -> Error {
        Error::Backend {
            location: self.target.location(),
            source,
        }
    }

    /// Damage of one object must not prevent copying the others; any other error ends the copy.
    fn record_failure(&mut self, object: &str, error: Error) -> Result<()> {
        let list = match error.class() {
            ErrorClass::Damaged | ErrorClass::NotFound => &mut self.report.not_copied,
            _ if error.is_missing_identity() => &mut self.report.unreadable,
            _ => return Err(error),
        };
        let (object, reason) = (object.to_owned(), error.to_string());
        let failure = ObjectFailure { object, reason };
        if !list.contains(&failure) {
            list.push(failure);
        }
        Ok(())
    }

    /// A copy without records that removed keys is not whole: to others these keys are valid there.
    fn report_missing_keys(&mut self) {
        let missing = self.repository.inner.missing_keys.iter();
        self.report
            .not_copied
            .extend(missing.map(|id| ObjectFailure {
                object: key_object_key(id).to_string(),
                reason: format!("{MISSING_RECORD}: removed keys may seem valid"),
            }));
    }

    /// Makes the destination a copy, or checks that it is one of this repository.
    fn prepare_target(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        let config = inner.config_bytes()?;
        let present =
            read_with_retries(self.target, || match self.target.get(&config_key(), None) {
                Ok(bytes) if bytes == config => Ok(true),
                Ok(_) => Err(Error::damaged_object(
                    &config_key(),
                    "it belongs to another repository",
                )),
                Err(BackendError::NotFound { .. }) => Ok(false),
                Err(source) => Err(self.target_error(source)),
            });
        match present {
            Ok(true) => return self.copy_keys(),
            Ok(false) => {}
            Err(Error::Damaged { .. }) => {
                return Err(Error::OtherRepository {
                    location: self.target.location(),
                });
            }
            Err(error) => return Err(error),
        }
        self.copy_keys()?;
        let id = ObjectId::from_content(&config);
        put_verified(self.target, &config_key(), &[config.into()], &id)?;
        self.report.made = true;
        Ok(())
    }

    fn copy_everything(&mut self, roots: &[Snapshot], lease: Option<&Lease>) -> Result<()> {
        for _ in 0..PASSES_MAX {
            let (failed, before) = (self.report.not_copied.len(), self.source_fragments()?);
            self.copy_packs_and_fragments(lease)?;
            // A prune of the source may have moved what was to be copied: then its index has changed.
            let same = self.report.not_copied.len() == failed || self.source_fragments()? == before;
            if same && !self.has_lost_packs(lease)? {
                break;
            }
            self.report.not_copied.truncate(failed);
            self.bad_packs.clear();
        }
        self.copy_tombstones()?;
        self.copy_replacements()?;
        if let Some(lease) = lease {
            lease.renew_if_due(self.target)?;
        }
        let (there, new) = self.copy_roots(roots)?;
        self.check_roots_stay(&there, &new, lease)?;
        self.copy_logs()
    }

    fn source_fragments(&self) -> Result<BTreeSet<ObjectId>> {
        self.repository.inner.fragment_ids()
    }

    /// Secrets and key changes that are valid; forgeries are not copied.
    fn copy_keys(&mut self) -> Result<()> {
        let there = self.list_target_ids("keys")?;
        for id in self.repository.inner.key_object_ids() {
            if !there.contains(&id) {
                self.copy_object(&key_object_key(&id), &id)?;
            }
        }
        self.copy_escrow()
    }

    fn list_target_ids(&self, directory: &str) -> Result<BTreeSet<ObjectId>> {
        let listed = self.target.list(directory);
        Ok(listed
            .map_err(|source| self.target_error(source))?
            .iter()
            .filter_map(|info| id_from_key(&info.key))
            .collect())
    }

    fn copy_packs_and_fragments(&mut self, lease: Option<&Lease>) -> Result<()> {
        let inner = &self.repository.inner;
        let there = self.list_target_ids("index")?;
        // Read after the index: the packs that a fragment describes are stored before it.
        let stored = self.list_target_ids("packs")?;
        let lacking = self.fragments_missing_packs(&there, &stored)?;
        let mut fragments = Vec::new();
        let mut fragments_here = inner.fragment_ids()?;
        // Other fragments contain their descriptions.
        let quarantined = inner.read_quarantine()?.fragment_ids();
        fragments_here.retain(|id| !quarantined.contains(id));
        let is_there = |id: &ObjectId| there.contains(id) && !lacking.contains(id);
        for id in fragments_here.iter().filter(|id| !is_there(id)) {
            match inner.read_fragment(id) {
                Ok(packs) => fragments.push((*id, packs)),
                Err(error) if is_not_found(&error) => self.report.not_copied.push(ObjectFailure {
                    object: format!("index/{id}"),
                    reason: "a prune deleted it while the copy was running".to_owned(),
                }),
                Err(error) => self.record_failure(&format!("index/{id}"), error)?,
            }
        }
        let packs: BTreeMap<ObjectId, u64> = fragments
            .iter()
            .flat_map(|(id, packs)| packs.iter().map(|pack| (*id, pack)))
            .filter(|(id, pack)| !there.contains(id) || !stored.contains(&pack.pack))
            .map(|(_, pack)| (pack.pack, pack.size))
            .collect();
        self.copy_packs(&packs, lease)?;
        let mut rest = Vec::new();
        for (id, packs) in fragments {
            // An index must not promise missing packs.
            if packs
                .iter()
                .all(|pack| !self.bad_packs.contains(&pack.pack))
            {
                if !there.contains(&id) {
                    self.copy_object(&fragment_key(&id), &id)?;
                }
            } else {
                let reason = "a pack that it describes could not be copied".to_owned();
                self.report.not_copied.push(ObjectFailure {
                    object: format!("index/{id}"),
                    reason,
                });
                rest.extend(packs);
            }
        }
        rest.retain(|pack| !self.bad_packs.contains(&pack.pack));
        self.describe_packs(rest)
    }

    /// Describes packs whose own fragment cannot be copied, as it also describes others. A host that may not sign
    /// leaves them out, and what needs them.
    fn describe_packs(&self, mut packs: Vec<PackRecord>) -> Result<()> {
        if packs.is_empty() || self.repository.require_writer().is_err() {
            return Ok(());
        }
        let others = self.target_only_index()?;
        let known: HashSet<ObjectId> = others.packs().map(|(id, _)| id).collect();
        packs.retain(|pack| !known.contains(&pack.pack));
        self.repository.inner.put_fragments_at(self.target, packs)
    }

    fn copy_packs(&mut self, packs: &BTreeMap<ObjectId, u64>, lease: Option<&Lease>) -> Result<()> {
        let total = packs.values().sum();
        let progress = self.progress;
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        progress.items_total.store(packs.len() as u64, relaxed);
        progress.bytes_total.store(total, relaxed);
        let packs: Vec<(ObjectId, u64)> = packs.iter().map(|(id, size)| (*id, *size)).collect();
        let threads = self.target.capabilities().parallel_puts.clamp(1, PACKS_MAX);
        let results = try_map_in_parallel(threads, &packs, |(id, size)| {
            let renewed = progress.check_cancelled().and_then(|()| match lease {
                Some(lease) => lease.renew_if_due(self.target),
                None => Ok(()),
            });
            let sent = renewed.and_then(|()| self.copy_pack(id, *size));
            Progress::add(&progress.items, 1);
            Progress::add(&progress.bytes, *size);
            match sent {
                Err(error) if !error.is_damage() => Err(error),
                sent => Ok(sent),
            }
        })?;
        for ((id, size), sent) in packs.into_iter().zip(results) {
            match sent {
                Ok(PackTransfer::New) => {
                    self.report.packs += 1;
                    self.report.bytes += size;
                }
                Ok(PackTransfer::Present) => self.report.packs_present += 1,
                Err(error) => {
                    self.record_failure(pack_key(&id).as_str(), error)?;
                    self.bad_packs.insert(id);
                }
            }
        }
        Ok(())
    }

    fn copy_pack(&self, id: &ObjectId, size: u64) -> Result<PackTransfer> {
        let key = pack_key(id);
        match self.target.size(&key) {
            // An interrupted copy has sent it, and it is unknown whether it was verified.
            Ok(stored) if stored == size && self.has_expected_content(&key, id)? => {
                return Ok(PackTransfer::Present);
            }
            Ok(_) => {
                return Err(Error::damaged_object(
                    &key,
                    format!(
                        "the object with this name at {} has different content",
                        self.target.location()
                    ),
                ));
            }
            Err(BackendError::NotFound { .. }) => {}
            Err(source) => return Err(self.target_error(source)),
        }
        self.copy_object(&key, id)?;
        Ok(PackTransfer::New)
    }

    fn has_expected_content(&self, key: &ObjectKey, id: &ObjectId) -> Result<bool> {
        let read = read_with_retries(self.target, || {
            let bytes = self
                .target
                .get(key, None)
                .map_err(|e| self.target_error(e))?;
            if ObjectId::from_content(&bytes) == *id {
                Ok(())
            } else {
                Err(Error::damaged_object(
                    key,
                    "content does not match its hash",
                ))
            }
        });
        match read {
            Ok(()) => Ok(true),
            Err(Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn copy_object(&self, key: &ObjectKey, id: &ObjectId) -> Result<()> {
        let bytes = match self.repository.inner.get_verified(key) {
            Err(Error::Backend {
                source: BackendError::NotFound { .. },
                ..
            }) => {
                return Err(Error::Missing {
                    object: key.to_string(),
                    needed_by: "the index".to_owned(),
                });
            }
            bytes => bytes?,
        };
        put_verified(self.target, key, &[bytes.into()], id)
    }

    /// Returns those that are at the destination now, and which of them are new.
    fn copy_roots<'s>(
        &mut self,
        roots: &'s [Snapshot],
    ) -> Result<(Vec<&'s Snapshot>, BTreeSet<ObjectId>)> {
        let (mut arrived_roots, mut new) = (Vec::new(), BTreeSet::new());
        let there = self.list_target_ids("snapshots")?;
        // Only where something is missing must each snapshot be checked.
        let is_damaged = !self.report.not_copied.is_empty();
        let arrived = if !is_damaged && self.report.unreadable.is_empty() {
            None
        } else {
            Some(self.find_copied_packs()?)
        };
        for root in roots {
            self.progress.check_cancelled()?;
            let is_whole = || {
                arrived
                    .as_ref()
                    .map_or(Ok(true), |known| known.has_snapshot(root))
            };
            if there.contains(&root.id) {
                arrived_roots.push(root);
                self.report.snapshots_present += 1;
            } else if is_whole()? {
                match self.copy_object(&snapshot_key(&root.id), &root.id) {
                    // A prune deleted it meanwhile, if it is forgotten by now; else the storage withholds it.
                    Err(error @ Error::Missing { .. }) => {
                        if !self.repository.read_tombstones()?.is_forgotten(&root.id) {
                            self.record_failure(snapshot_key(&root.id).as_str(), error)?;
                        }
                        continue;
                    }
                    stored => stored?,
                }
                arrived_roots.push(root);
                new.insert(root.id);
                self.report.snapshots += 1;
            } else {
                let list = match is_damaged {
                    true => &mut self.report.not_copied,
                    false => &mut self.report.unreadable,
                };
                list.push(ObjectFailure {
                    object: snapshot_key(&root.id).to_string(),
                    reason: format!(
                        "data that this snapshot of {} needs could not be copied",
                        root.root.source
                    ),
                });
            }
        }
        Ok((arrived_roots, new))
    }

    /// Unforgetting tombstones come first: an interrupted copy has forgotten too little, and not too much.
    fn copy_tombstones(&mut self) -> Result<()> {
        let there = self.list_target_ids("tombstones")?;
        let known = self.repository.read_tombstones()?;
        let mut missing: Vec<_> = known.valid().iter().collect();
        missing.retain(|tombstone| !there.contains(&tombstone.id));
        missing.sort_by_key(|tombstone| tombstone.record.revoke.is_empty());
        for tombstone in missing {
            self.copy_object(&tombstone_key(&tombstone.id), &tombstone.id)?;
            self.report.tombstones += 1;
        }
        Ok(())
    }

    /// Which packs were re-encrypted, so that a prune there deletes the replaced ones.
    fn copy_replacements(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        let there = self.list_target_ids(replaced_packs::DIRECTORY)?;
        let known = ReplacedPacks::read(inner, inner.backend.as_ref())?.records;
        for id in known.iter().filter(|id| !there.contains(*id)) {
            self.copy_object(&replaced_packs_key(id), id)?;
        }
        Ok(())
    }

    /// What the copy's own index contains.
    fn find_copied_packs(&self) -> Result<CopiedPacks> {
        let mut packs = HashSet::new();
        for id in self.list_target_ids("index")? {
            match self.read_target_fragment(&id) {
                Ok(known) => packs.extend(known.into_iter().map(|pack| pack.pack)),
                Err(error) if is_damaged_or_gone(&error) || error.is_missing_identity() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(CopiedPacks {
            packs,
            reader: self.repository.content_reader()?,
        })
    }
}
