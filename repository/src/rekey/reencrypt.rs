//! Re-encryption: what is stored for earlier recipients is stored again, for the present ones.
//!
//! ```text
//! for each pack that does not say that all its contents are for the present recipients:
//!   read, decrypt, compare every chunk with its id ──► seal ──► decrypt again ──► new pack
//! now and then: index fragment of the new packs, then a keeper's record of the replacements
//! ```
//!
//! Nothing is deleted here. `prune` trusts the record and deletes the old packs; the chunks keep their IDs. A run that
//! died has stored packs that no record names: the next one re-encrypts again, and has them replaced too.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::backend::ObjectInfo;
use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, ErrorClass, ObjectFailure, Result};
use crate::format::names::id_from_key;
use crate::format::pack::{PackBuilder, PackRecord, pack_key};
use crate::format::segment::SegmentBuilder;
use crate::id::ObjectId;
use crate::index::FRAGMENT_CHUNKS_MAX;
use crate::parallel::try_map_in_parallel;
use crate::progress::Progress;
use crate::read::segment_read::verify_segment;
use crate::records::leases::Lease;
use crate::records::record_set::is_not_found;
use crate::records::replaced_packs::{self, PackReplacement, ReplacedPacks, ReplacedPacksRecord};
use crate::records::sweeps::Sweeps;
use crate::records::tombstones::Keeper;
use crate::store::Repository;
use crate::store::verified_io::{put_verified, read_with_retries};

/// After this many packs the replacements are published.
const REPLACEMENTS_PER_RECORD: usize = 256;

/// Who re-encrypts.
#[derive(Debug, Clone)]
pub struct ReencryptOptions {
    /// This host's name.
    pub host: String,
    /// The person, as user@host.
    pub by: String,
}

/// What is to be re-encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReencryptPlan {
    /// Whom contents are encrypted to from now on.
    pub recipients: Vec<String>,
    /// Packs to be re-encrypted.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs with contents for just these recipients.
    pub current_packs: u64,
    /// Packs that were re-encrypted before, and that a prune has not deleted yet.
    pub replaced_packs: u64,
    /// Packs that a prune has condemned; they are not re-encrypted.
    pub condemned_packs: u64,
    /// Log segments. They stay as they are: each names its predecessor.
    pub log_segments: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Packs whose contents are unknown. They stay as they are.
    pub findings: Vec<ObjectFailure>,
}

/// The result of a re-encryption.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReencryptReport {
    /// Packs that are replaced by others.
    pub packs: u64,
    /// New packs.
    pub new_packs: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// The records that name the replacements.
    pub records: Vec<ObjectId>,
    /// Packs that stay as they are, with the reason.
    pub findings: Vec<ObjectFailure>,
}

impl Repository {
    /// Re-encrypts contents that are not encrypted to just the present recipients. `show` gets the plan; without a
    /// keeper that is all.
    ///
    /// The identities with which the repository is open must be able to read what is stored, and one of them what is
    /// stored from now on: everything is decrypted once more before a keeper signs that it replaces the old packs.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`] when no identity can read what is stored from now on, [`Error::UnknownHost`] when
    /// this machine may not add to the repository, or errors of the backend. What was done by then remains valid.
    pub fn reencrypt(
        &self,
        options: &ReencryptOptions,
        keeper: Option<&Keeper>,
        progress: &Progress,
        show: impl FnOnce(&ReencryptPlan),
    ) -> Result<ReencryptReport> {
        let Some(keeper) = keeper else {
            show(&PendingReencryption::find_packs(self, progress)?.plan);
            return Ok(ReencryptReport::default());
        };
        self.require_writer()?;
        self.require_current_identity()?;
        let backend = self.inner.backend.as_ref();
        // The lease first: a sweep that begins after it waits, and what was condemned before is left out.
        let lease = Lease::acquire(&self.inner, backend, &options.host, "reencrypt")?;
        let done = self.reencrypt_with_lease(&lease, options, keeper, progress, show);
        lease.release(backend);
        done
    }

    fn reencrypt_with_lease(
        &self,
        lease: &Lease,
        options: &ReencryptOptions,
        keeper: &Keeper,
        progress: &Progress,
        show: impl FnOnce(&ReencryptPlan),
    ) -> Result<ReencryptReport> {
        let due = PendingReencryption::find_packs(self, progress)?;
        show(&due.plan);
        progress.items.store(0, Ordering::Relaxed);
        progress
            .items_total
            .store(due.plan.packs, Ordering::Relaxed);
        progress
            .bytes_total
            .store(due.plan.bytes, Ordering::Relaxed);
        let mut renewal = ReencryptRun {
            repository: self,
            options,
            keeper,
            orphaned_packs: due.orphaned_packs,
            new_packs_by_content: HashMap::new(),
            unindexed: Vec::new(),
            replacements: Vec::new(),
            report: ReencryptReport::default(),
        };
        let worked = due.packs.iter().try_for_each(|info| {
            progress.check_cancelled()?;
            lease.renew_if_due(self.inner.backend.as_ref())?;
            renewal.process_pack(info, progress)
        });
        // Finished replacements are published even if the rest failed.
        let told = renewal.publish_replacements();
        worked.and(told)?;
        Ok(renewal.report)
    }
}

/// The work to do.
#[derive(Default)]
struct PendingReencryption {
    plan: ReencryptPlan,
    packs: Vec<(ObjectId, u64)>,
    /// Packs for the present recipients that no record names, by content: a run that died may have left them.
    orphaned_packs: HashMap<ObjectId, Vec<ObjectId>>,
}

impl PendingReencryption {
    /// Reads every pack's own directory: its description in a fragment may be false.
    fn find_packs(repository: &Repository, progress: &Progress) -> Result<Self> {
        let inner = &repository.inner;
        let unusable = Sweeps::read(inner, inner.backend.as_ref())?.unusable_packs();
        let replaced = ReplacedPacks::read(inner, inner.backend.as_ref())?;
        let mut due = Self::default();
        due.plan.recipients = inner.data_recipients.texts().to_vec();
        for info in inner.list_objects("logs")? {
            due.plan.log_segments += 1;
            due.plan.log_bytes += info.size_bytes;
        }
        let own = |info: ObjectInfo| Some((id_from_key(&info.key)?, info.size_bytes));
        let stored: Vec<_> = inner
            .list_objects("packs")?
            .into_iter()
            .filter_map(own)
            .collect();
        let readers = inner.backend.capabilities().parallel_reads;
        let directories = try_map_in_parallel(readers, &stored, |(id, _)| {
            progress.check_cancelled()?;
            let read = read_with_retries(inner.backend.as_ref(), || {
                inner.directory_reader().read_directory(id)
            });
            match read {
                Err(error) if error.class() == ErrorClass::Failed && !is_not_found(&error) => {
                    Err(error)
                }
                read => Ok(read),
            }
        })?;
        let present = inner.data_recipients.recipient_set_id();
        let (mut others, mut current_packs) = (Vec::new(), HashSet::new());
        for ((id, size), read) in stored.into_iter().zip(directories) {
            match read {
                Ok(record) if is_encrypted_to(&record, &present) => {
                    if has_data_segments(&record) {
                        due.plan.current_packs += 1;
                    }
                    current_packs.insert(id);
                    if !unusable.contains(&id) && !replaced.is_replacement(&id) {
                        due.orphaned_packs
                            .entry(content_hash(&record)?)
                            .or_default()
                            .push(id);
                    }
                }
                Ok(_) if unusable.contains(&id) => due.plan.condemned_packs += 1,
                Ok(_) => others.push((id, size)),
                Err(error) if is_not_found(&error) => {}
                Err(error) => due.plan.findings.push(pack_failure(&id, &error)),
            }
        }
        for (id, size) in others {
            let usable = |by: &ObjectId| current_packs.contains(by) && !unusable.contains(by);
            if replaced.replacements_of(&id).iter().any(usable) {
                due.plan.replaced_packs += 1;
            } else {
                due.plan.packs += 1;
                due.plan.bytes += size;
                due.packs.push((id, size));
            }
        }
        Ok(due)
    }
}

fn has_data_segments(record: &PackRecord) -> bool {
    let mut segments = record.segments.iter();
    segments.any(|segment| segment.class == RecipientClass::Data)
}

/// Whether all contents of a pack are encrypted to a set of recipients. Unless it says so, they may not be.
fn is_encrypted_to(record: &PackRecord, recipients: &ObjectId) -> bool {
    let mut data = record
        .segments
        .iter()
        .filter(|s| s.class == RecipientClass::Data);
    data.all(|segment| segment.recipients.as_ref() == Some(recipients))
}

/// The hash of a pack's content, however it is encrypted.
fn content_hash(record: &PackRecord) -> Result<ObjectId> {
    let segments = record.segments.iter();
    let content: Vec<_> = segments.map(|s| (s.class, &s.chunks)).collect();
    let json = serde_json::to_vec(&content).map_err(|e| {
        Error::Internal(format!("cannot serialize the content list of a pack: {e}"))
    })?;
    Ok(ObjectId::from_content(&json))
}

fn pack_failure(pack: &ObjectId, error: &Error) -> ObjectFailure {
    ObjectFailure {
        object: pack_key(pack).to_string(),
        reason: error.to_string(),
    }
}

/// Whether an error is about one pack, so that others may still be readable.
fn is_pack_error(error: &Error) -> bool {
    error.is_damage() || error.is_missing_identity()
}

struct ReencryptRun<'a> {
    repository: &'a Repository,
    options: &'a ReencryptOptions,
    keeper: &'a Keeper,
    orphaned_packs: HashMap<ObjectId, Vec<ObjectId>>,
    /// Packs that this run has made, by content.
    new_packs_by_content: HashMap<ObjectId, ObjectId>,
    unindexed: Vec<PackRecord>,
    replacements: Vec<PackReplacement>,
    report: ReencryptReport,
}

impl ReencryptRun<'_> {
    fn process_pack(&mut self, (id, size): &(ObjectId, u64), progress: &Progress) -> Result<()> {
        let renewed = self.reencrypt_pack(id, progress)?;
        if let Some((content, by)) = renewed {
            let left_over = self.orphaned_packs.remove(&content).unwrap_or_default();
            for pack in std::iter::once(*id).chain(left_over) {
                self.replacements.push(PackReplacement { pack, by });
            }
            self.report.packs += 1;
        }
        Progress::add(&progress.items, 1);
        Progress::add(&progress.bytes, *size);
        let chunks: usize = self.unindexed.iter().map(PackRecord::chunk_count).sum();
        if self.replacements.len() >= REPLACEMENTS_PER_RECORD || chunks >= FRAGMENT_CHUNKS_MAX {
            self.publish_replacements()?;
        }
        Ok(())
    }

    /// Re-encrypts the content of a pack. Returns the hash of that content, and the new pack.
    fn reencrypt_pack(
        &mut self,
        id: &ObjectId,
        progress: &Progress,
    ) -> Result<Option<(ObjectId, ObjectId)>> {
        let inner = &self.repository.inner;
        let key = pack_key(id);
        let read = inner.get_verified(&key).and_then(|bytes| {
            let record = inner.directory_reader().parse_whole_pack(id, &bytes)?;
            Ok((record, bytes))
        });
        let (record, bytes) = match read {
            Ok(read) => read,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return self.record_pack_failure(id, error),
        };
        let content = content_hash(&record)?;
        let mut builder = PackBuilder::default();
        let made = self.new_packs_by_content.get(&content).copied();
        for segment in &record.segments {
            let stored = segment.stored_bytes_in(&bytes);
            let plain = match verify_segment(inner, key.as_str(), segment, stored) {
                Ok(plain) => plain,
                Err(error) => return self.record_pack_failure(id, error),
            };
            if made.is_some() {
                continue;
            }
            let recipients = match segment.class {
                RecipientClass::Data => &inner.data_recipients,
                RecipientClass::Catalog => &inner.catalog_recipients,
            };
            let mut sealer = SegmentBuilder::new(segment.class, recipients.clone())?;
            let mut rest = plain.as_slice();
            for chunk in &segment.chunks {
                let (bytes, after) = rest.split_at(chunk.1 as usize);
                sealer.push(chunk.0, bytes)?;
                rest = after;
            }
            builder.push(sealer.seal()?)?;
        }
        let by = match made {
            Some(by) => by,
            None => self.store_pack(builder, &record, progress)?,
        };
        self.new_packs_by_content.insert(content, by);
        Ok(Some((content, by)))
    }

    fn record_pack_failure(
        &mut self,
        id: &ObjectId,
        error: Error,
    ) -> Result<Option<(ObjectId, ObjectId)>> {
        if !is_pack_error(&error) {
            return Err(error);
        }
        self.report.findings.push(pack_failure(id, &error));
        Ok(None)
    }

    /// Stores a pack, once it was read as the present recipients will read it.
    fn store_pack(
        &mut self,
        builder: PackBuilder,
        old: &PackRecord,
        progress: &Progress,
    ) -> Result<ObjectId> {
        let inner = &self.repository.inner;
        let catalog = &inner.catalog_recipients;
        let pack = builder.finish(catalog, inner.signer()?, inner.trust.repository())?;
        let id = pack.record.pack;
        let key = pack_key(&id);
        if content_hash(&pack.record)? != content_hash(old)? {
            return Err(Error::Internal(format!(
                "{key} does not contain the same data as the pack that it replaces"
            )));
        }
        for (segment, stored) in pack.record.segments.iter().zip(&pack.parts) {
            verify_segment(inner, key.as_str(), segment, stored)?;
        }
        put_verified(inner.backend.as_ref(), &key, &pack.parts, &id)?;
        self.report.new_packs += 1;
        self.report.new_bytes += pack.record.size;
        Progress::add(&progress.stored_bytes, pack.record.size);
        self.unindexed.push(pack.record);
        Ok(id)
    }

    /// Describes new packs, then publishes what they replace.
    fn publish_replacements(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        if !self.unindexed.is_empty() {
            inner.put_fragment(&self.unindexed)?;
            self.unindexed.clear();
        }
        if self.replacements.is_empty() {
            return Ok(());
        }
        let record = ReplacedPacksRecord {
            packs: std::mem::take(&mut self.replacements),
            at: inner.clock.wall_time(),
            by: self.options.by.clone(),
            program: crate::program::PROGRAM.to_owned(),
        };
        let id = replaced_packs::put_replaced_packs(inner, self.keeper, &record)?;
        self.report.records.push(id);
        Ok(())
    }
}
