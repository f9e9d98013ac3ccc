//! Repair: damage that verification found is repaired from what is stored, and from another copy of the repository.
//!
//! Nothing is deleted, except with `replace` a damaged object of which a good copy is available. What cannot be
//! repaired is quarantined: readers prefer other copies, and the next snapshot that has the same content stores it
//! again.

mod missing_chunks;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::backend::{BackendError, ObjectKey};
use crate::crypto::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::format::names::{id_from_key, is_log_segment};
use crate::format::pack::{PackBuilder, PackRecord, pack_key};
use crate::format::segment::SealedSegment;
use crate::id::ObjectId;
use crate::progress::Progress;
use crate::records::quarantine::{AffectedSnapshot, QuarantineRecord, QuarantinedObject};
use crate::records::tombstones::Keeper;
use crate::store::Repository;
use crate::store::verified_io::put_verified;
use crate::verify::{DataSubset, DetailedVerifyReport, VerifyDepth, VerifyOptions, VerifyReport};

/// How to repair.
#[derive(Debug)]
pub struct RepairOptions<'a> {
    /// How much is read to find what is wrong.
    pub verify: VerifyOptions,
    /// Another copy of the same repository, as a source of good copies of objects.
    pub other_copy: Option<&'a Repository>,
    /// Whether a damaged object is deleted and stored again under its name, once a good copy of it is available.
    pub replace: bool,
    /// Whether anything is changed; otherwise it is only reported.
    pub apply_changes: bool,
    /// Who repairs, as user@host.
    pub by: String,
    /// When.
    pub now: DateTime<Utc>,
}

/// A repair that was made, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairedObject {
    /// The object.
    pub object: String,
    /// How.
    #[serde(rename = "action")]
    pub how: String,
}

/// The result of a repair, or what it would do.
#[derive(Debug, Clone, Serialize)]
pub struct RepairReport {
    /// The report of the verification before it.
    pub found: VerifyReport,
    /// Whether anything was changed.
    pub applied: bool,
    /// The repairs.
    pub repaired: Vec<RepairedObject>,
    /// Everything in quarantine afterwards.
    pub quarantined: Vec<QuarantinedObject>,
    /// The new record of the quarantine, if one was needed.
    pub record: Option<ObjectId>,
    /// Snapshots that miss something afterwards.
    pub degraded: Vec<ObjectId>,
    /// Whether something must be quarantined, but no keeper is here to sign it.
    pub needs_keeper: bool,
    /// What is still wrong afterwards, except for objects in quarantine that nothing needs.
    pub unrepaired: Vec<String>,
}

impl RepairReport {
    /// Whether the quarantine changes, which requires a keeper.
    #[must_use]
    pub fn changes_quarantine(&self, before: &crate::records::quarantine::Quarantine) -> bool {
        let after = self.quarantined.iter().map(|q| &q.object);
        !after.eq(before.objects().keys())
            || !self.degraded.iter().eq(before.affected_snapshots().keys())
    }
}

impl Repository {
    /// Repairs what verification finds. `keeper` signs the quarantine.
    ///
    /// # Errors
    /// [`Error::OtherRepository`] when `from` is another one, or errors of either backend.
    pub fn repair(
        &self,
        options: &RepairOptions<'_>,
        keeper: Option<&Keeper>,
        progress: &Progress,
    ) -> Result<RepairReport> {
        if let Some(from) = options.other_copy
            && from.config().repository != self.config().repository
        {
            return Err(Error::OtherRepository {
                location: from.location(),
            });
        }
        if options.apply_changes {
            self.require_writer()?;
        }
        let examined = self.verify_detailed(&options.verify, None, progress)?;
        let mut repair = RepairRun {
            repository: self,
            options,
            repaired: Vec::new(),
            damaged: BTreeMap::new(),
            unindexed: examined.unindexed.clone(),
        };
        repair.repair_findings(&examined, progress)?;
        repair.index_packs()?;
        repair.recover_missing_chunks(examined.missing_chunks.clone(), progress)?;
        repair.finish_repair(examined, keeper, progress)
    }
}

struct RepairRun<'a> {
    repository: &'a Repository,
    options: &'a RepairOptions<'a>,
    repaired: Vec<RepairedObject>,
    /// What stays damaged.
    damaged: BTreeMap<String, String>,
    /// Packs that need a fragment.
    unindexed: Vec<PackRecord>,
}

/// A good copy of a damaged object.
struct GoodCopy {
    key: ObjectKey,
    id: ObjectId,
    bytes: Vec<u8>,
    /// Whether another object has its name.
    name_is_taken: bool,
}

impl RepairRun<'_> {
    fn repair_findings(
        &mut self,
        examined: &DetailedVerifyReport,
        progress: &Progress,
    ) -> Result<()> {
        // What affects nothing is only worth replacing.
        let mut replaced = examined.harmless.as_slice();
        if !self.options.replace {
            for finding in std::mem::take(&mut replaced) {
                self.mark_damaged(&finding.object, &finding.reason);
            }
        }
        let found = examined.report.findings.iter();
        let found: BTreeMap<&str, &str> = found
            .chain(replaced)
            .map(|finding| (finding.object.as_str(), finding.reason.as_str()))
            .collect();
        for (object, reason) in found {
            progress.check_cancelled()?;
            let Some(key) = finding_object_key(object) else {
                continue;
            };
            let mended = match self.find_good_copy(&key)? {
                Some(good) => self.restore_object(good)?,
                None => false,
            };
            if !mended {
                self.mark_damaged(key.as_str(), reason);
            }
        }
        Ok(())
    }

    /// What was relied on and stays damaged is quarantined.
    fn mark_damaged(&mut self, object: &str, reason: &str) {
        let mut relied_on = ["packs/", "index/", "snapshots/", "logs/"].iter();
        let key = ObjectKey::new(object);
        let is_own = key.is_some_and(|key| id_from_key(&key).is_some() || is_log_segment(&key));
        if is_own && relied_on.any(|directory| object.starts_with(directory)) {
            self.damaged.insert(object.to_owned(), reason.to_owned());
        }
    }

    /// The bytes of a damaged or missing object from the other copy, if it has good ones.
    fn find_good_copy(&self, key: &ObjectKey) -> Result<Option<GoodCopy>> {
        let Some(from) = self.options.other_copy else {
            return Ok(None);
        };
        let Some(id) = object_id_at_end(key) else {
            return Ok(None);
        };
        let backend = self.repository.inner.backend.as_ref();
        let present = match backend.get(key, None) {
            // It never had other bytes, so every copy of it is as bad.
            Ok(bytes) if ObjectId::from_content(&bytes) == id => return Ok(None),
            Ok(_) => true,
            Err(BackendError::NotFound { .. }) => false,
            Err(BackendError::Io { .. }) => true,
            Err(source) => return Err(self.repository.inner.backend_error(source)),
        };
        let bytes = match from.inner.backend.get(key, None) {
            Ok(bytes) if ObjectId::from_content(&bytes) == id => bytes,
            Ok(_) | Err(BackendError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(from.inner.backend_error(source)),
        };
        let good = GoodCopy {
            key: key.clone(),
            id,
            bytes,
            name_is_taken: present,
        };
        Ok(self.is_trusted(&good)?.then_some(good))
    }

    /// Whether bytes that match the name are also signed by whom they must be.
    fn is_trusted(&self, good: &GoodCopy) -> Result<bool> {
        let inner = &self.repository.inner;
        let kind = match good.key.as_str().split('/').next() {
            Some("packs") => {
                return is_valid_result(
                    inner
                        .directory_reader()
                        .parse_whole_pack(&good.id, &good.bytes),
                );
            }
            Some("snapshots") => RecordKind::Snapshot,
            Some("index") => RecordKind::Index,
            Some("tombstones") => RecordKind::Tombstone,
            // A log segment is in a chain of hashes; a record of keys is judged with all others.
            _ => return Ok(true),
        };
        is_valid_result(envelope::verify_record(
            kind,
            &good.bytes,
            &good.key,
            &inner.trust,
        ))
    }

    /// Where a good copy comes from.
    fn source_location(&self) -> String {
        let from = self.options.other_copy.map(Repository::location);
        from.unwrap_or_default()
    }

    /// Stores a good copy; returns whether that was possible.
    fn restore_object(&mut self, good: GoodCopy) -> Result<bool> {
        let object = good.key.to_string();
        let from = self.source_location();
        let backend = self.repository.inner.backend.as_ref();
        let how = if !good.name_is_taken {
            if self.options.apply_changes {
                put_verified(backend, &good.key, &[good.bytes.into()], &good.id)?;
            }
            format!("restored from {from}")
        } else if self.options.replace {
            if self.options.apply_changes {
                let deleted = backend.delete(&good.key);
                deleted.map_err(|source| self.repository.inner.backend_error(source))?;
                put_verified(backend, &good.key, &[good.bytes.into()], &good.id)?;
            }
            format!("restored from {from}, replacing the damaged object")
        } else if object.starts_with("packs/") {
            let renamed = self.repack_under_new_name(&good)?;
            self.damaged.insert(
                object.clone(),
                "its content does not match its hash".to_owned(),
            );
            format!("restored from {from} under a new name, {renamed}")
        } else {
            return Ok(false);
        };
        self.repaired.push(RepairedObject { object, how });
        Ok(true)
    }

    /// Stores the segments of a pack in another one: its own name is taken by damaged bytes.
    fn repack_under_new_name(&mut self, good: &GoodCopy) -> Result<String> {
        let inner = &self.repository.inner;
        let record = inner
            .directory_reader()
            .parse_whole_pack(&good.id, &good.bytes)?;
        if !self.options.apply_changes {
            return Ok("as the damaged object keeps its own".to_owned());
        }
        let mut builder = PackBuilder::default();
        for part in record.segments {
            let stored = part.stored_bytes_in(&good.bytes);
            builder.push(SealedSegment::from_stored(part, stored, good.key.as_str())?)?;
        }
        let pack = builder.finish(
            &inner.catalog_recipients,
            inner.signer()?,
            inner.trust.repository(),
        )?;
        let key = pack_key(&pack.record.pack);
        put_verified(inner.backend.as_ref(), &key, &pack.parts, &pack.record.pack)?;
        self.unindexed.push(pack.record);
        Ok(key.to_string())
    }

    /// Writes fragments for packs that none describes.
    fn index_packs(&mut self) -> Result<()> {
        let packs = std::mem::take(&mut self.unindexed);
        let described = packs.iter().map(|pack| RepairedObject {
            object: pack_key(&pack.pack).to_string(),
            how: "added to the index with a new index fragment".to_owned(),
        });
        self.repaired.extend(described);
        if !self.options.apply_changes {
            return Ok(());
        }
        let inner = &self.repository.inner;
        inner.put_fragments_at(inner.backend.as_ref(), packs)
    }

    /// Determines what still affects snapshots, and records it.
    fn finish_repair(
        mut self,
        examined: DetailedVerifyReport,
        keeper: Option<&Keeper>,
        progress: &Progress,
    ) -> Result<RepairReport> {
        let before = self.repository.read_quarantine()?;
        self.keep_unverified_objects(&before);
        let packs = self.damaged.iter().filter_map(|(object, reason)| {
            let key =
                finding_object_key(object).filter(|key| key.as_str().starts_with("packs/"))?;
            Some((object_id_at_end(&key)?, reason.clone()))
        });
        let after = match self.options.apply_changes {
            true => Some(self.examine_again(&packs.collect(), progress)?),
            false => None,
        };
        let unrepaired = after
            .as_ref()
            .map(|after| self.unrepaired_objects(&examined, after));
        let mut lost = after.map_or(examined.lost_chunks, |after| after.lost_chunks);
        if !self.options.verify.snapshots.is_empty() {
            // The others were not checked.
            for (snapshot, chunks) in before.affected_snapshots() {
                let looked_at = self.options.verify.snapshots.iter();
                if !looked_at.map(|s| s.id).any(|id| id == *snapshot) {
                    lost.insert(*snapshot, chunks.clone());
                }
            }
        }
        let mut report = RepairReport {
            found: examined.report,
            applied: self.options.apply_changes,
            repaired: self.repaired,
            quarantined: self
                .damaged
                .into_iter()
                .map(|(object, reason)| QuarantinedObject { object, reason })
                .collect(),
            record: None,
            needs_keeper: false,
            degraded: lost.keys().copied().collect(),
            unrepaired: unrepaired.unwrap_or_default(),
        };
        let changes = report.changes_quarantine(&before);
        report.needs_keeper = changes && keeper.is_none();
        let (true, true, Some(keeper)) = (self.options.apply_changes, changes, keeper) else {
            return Ok(report);
        };
        let affected_snapshots = lost
            .into_iter()
            .map(|(snapshot, lost)| AffectedSnapshot { snapshot, lost });
        let record = QuarantineRecord {
            objects: report.quarantined.clone(),
            affected_snapshots: affected_snapshots.collect(),
            replaces: before.record_ids(),
            at: self.options.now,
            by: self.options.by.clone(),
            program: crate::program::PROGRAM.to_owned(),
        };
        report.record = Some(self.repository.put_quarantine_record(keeper, &record)?);
        Ok(report)
    }

    /// The present state, where only these packs are damaged: data is not read a second time.
    fn examine_again(
        &self,
        damaged: &BTreeMap<ObjectId, String>,
        progress: &Progress,
    ) -> Result<DetailedVerifyReport> {
        let structure = VerifyOptions {
            depth: VerifyDepth::Structure,
            snapshots: self.options.verify.snapshots.clone(),
        };
        self.repository
            .verify_detailed(&structure, Some(damaged), progress)
    }

    /// The findings after all repairs. Log segments are not read a second time.
    fn unrepaired_objects(
        &self,
        before: &DetailedVerifyReport,
        after: &DetailedVerifyReport,
    ) -> Vec<String> {
        let mended: BTreeSet<&str> = self.repaired.iter().map(|r| r.object.as_str()).collect();
        let is_log = |object: &str| {
            finding_object_key(object).is_some_and(|key| key.as_str().starts_with("logs/"))
        };
        let is_mended = |object: &str| {
            finding_object_key(object).is_some_and(|key| mended.contains(key.as_str()))
        };
        let logs = before.report.findings.iter();
        let logs = logs.filter(|found| is_log(&found.object) && !is_mended(&found.object));
        let found = after
            .report
            .findings
            .iter()
            .filter(|found| !found.is_harmless());
        let all: BTreeSet<String> = found
            .chain(logs)
            .map(|found| found.object.clone())
            .collect();
        all.into_iter().collect()
    }

    /// What was in quarantine stays there, unless it was read now and found good, or replaced, or no longer exists.
    fn keep_unverified_objects(&mut self, before: &crate::records::quarantine::Quarantine) {
        let everything = self.options.verify.snapshots.is_empty()
            && self.options.verify.depth == VerifyDepth::ReadData(DataSubset::All);
        let replaced: BTreeSet<&str> = self.repaired.iter().map(|r| r.object.as_str()).collect();
        for (object, reason) in before.objects() {
            let read = everything && !object.starts_with("index/");
            if !read && !replaced.contains(object.as_str()) {
                self.damaged
                    .entry(object.clone())
                    .or_insert_with(|| reason.clone());
            }
        }
    }
}

fn is_valid_result<T>(read: Result<T>) -> Result<bool> {
    match read {
        Ok(_) => Ok(true),
        Err(error) if error.class() == ErrorClass::Failed => Err(error),
        Err(_) => Ok(false),
    }
}

/// The key that a finding is about; log segments are named by their sequence number.
fn finding_object_key(object: &str) -> Option<ObjectKey> {
    let Some(rest) = object.strip_prefix("log segment ") else {
        return ObjectKey::new(object).filter(|key| key.as_str().contains('/'));
    };
    let (number, rest) = rest.split_once(" (")?;
    let (id, newest) = rest.split_once(") of the log that ends with ")?;
    let (directory, _) = newest.rsplit_once('/')?;
    ObjectKey::new(format!(
        "{directory}/{:016}.{id}",
        number.parse::<u64>().ok()?
    ))
}

/// The ID at the end of a key.
fn object_id_at_end(key: &ObjectKey) -> Option<ObjectId> {
    key.name().rsplit('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_tell_their_objects() {
        let id = ObjectId::from_content(b"x");
        let key = finding_object_key(&format!("packs/aa/{id}")).unwrap();
        assert_eq!(object_id_at_end(&key), Some(id));
        let piece = format!(
            "log segment 3 ({id}) of the log that ends with logs/ab/0000000000000007.{}",
            ObjectId::from_content(b"y")
        );
        let key = finding_object_key(&piece).unwrap();
        assert_eq!(key.as_str(), format!("logs/ab/0000000000000003.{id}"));
        assert_eq!(object_id_at_end(&key), Some(id));
        for other in [
            "chunk 00",
            "reprise.json",
            "the reference list of snapshot 1",
        ] {
            assert!(finding_object_key(other).is_none(), "{other}");
        }
    }
}
