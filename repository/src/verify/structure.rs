//! Is every chunk that snapshots need in a pack that is stored?

use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, ErrorClass, Result};
use crate::format::pack::pack_key;
use crate::format::snapshot::Snapshot;
use crate::id::{ChunkId, ObjectId};
use crate::progress::Progress;
use crate::store::finding::VerifyFinding;
use crate::store::verified_io::read_with_retries;
use crate::verify::unreadable::UnreadableKind;
use crate::verify::verifier::Verifier;

impl Verifier<'_> {
    /// Checks that every chunk of the snapshots is indexed and its pack is stored; returns those chunks.
    pub(super) fn check_structure(
        &mut self,
        snapshots: &[Snapshot],
        damaged: &BTreeMap<ObjectId, String>,
        progress: &Progress,
    ) -> Result<HashSet<ChunkId>> {
        self.check_pack_sizes()?;
        for (id, reason) in damaged {
            if self.stored_packs.contains_key(id) {
                self.add_damaged_pack(id, reason.clone());
            }
        }
        let mut needed = HashSet::new();
        for snapshot in snapshots {
            progress.check_cancelled()?;
            let root = &snapshot.root;
            for record in [&root.entries, &root.references, &root.details] {
                needed.extend(record.chunks.iter().copied());
            }
            match self.collect_references(snapshot, &mut needed) {
                Ok(()) => {}
                Err(error) => self.add_snapshot_error(snapshot, error)?,
            }
            self.report.snapshots += 1;
        }
        self.check_missing_chunks(&needed)?;
        self.report.chunks = needed.len() as u64;
        Ok(needed)
    }

    /// Chunks that are in no pack.
    fn check_missing_chunks(&mut self, needed: &HashSet<ChunkId>) -> Result<()> {
        for id in needed {
            if !self.bad_chunks.contains_key(id) && self.index.length_of(id)?.is_none() {
                let missing = Error::Missing {
                    object: format!("chunk {id}"),
                    needed_by: "a snapshot".to_owned(),
                };
                if self.is_unreadable(&missing) {
                    let object = format!("chunk {id}");
                    self.report
                        .add_unreadable(UnreadableKind::Chunks, &object, &missing);
                    continue;
                }
                let number = self.report.findings.len();
                self.report.findings.push(VerifyFinding {
                    object: format!("chunk {id}"),
                    reason: "not in any pack".to_owned(),
                    affected_snapshots: Vec::new(),
                });
                self.bad_chunks.insert(*id, number);
            }
        }
        Ok(())
    }

    /// Wrong descriptions in fragments must not hide that something is missing.
    pub(super) fn drop_wrong_fragments(&mut self, needed: &HashSet<ChunkId>) -> Result<()> {
        if self.wrong_fragments.is_empty() {
            return Ok(());
        }
        let left_out = self.quarantine.fragment_ids();
        let left_out: HashSet<_> = left_out.union(&self.wrong_fragments).copied().collect();
        let (mut index, _) = self.inner.load_index_without(&left_out)?;
        self.unindexed = self.repository.add_unindexed_packs(&mut index)?;
        self.index = index;
        self.check_missing_chunks(needed)
    }

    fn collect_references(&self, snapshot: &Snapshot, needed: &mut HashSet<ChunkId>) -> Result<()> {
        let mut references = self.reader.snapshot_reader(snapshot).references();
        let mut count = 0;
        while let Some(id) = references.next_id()? {
            needed.insert(id);
            count += 1;
        }
        if count == snapshot.root.counts.chunks {
            return Ok(());
        }
        Err(Error::Damaged {
            object: format!("the reference list of snapshot {}", snapshot.id.short()),
            reason: format!(
                "{count} chunk IDs found, {} expected",
                snapshot.root.counts.chunks
            ),
        })
    }

    /// Every indexed pack must be stored with the indexed size.
    fn check_pack_sizes(&mut self) -> Result<()> {
        let indexed: BTreeMap<ObjectId, u64> = self.index.packs().collect();
        self.report.packs = indexed.len() as u64;
        let mut missing = Vec::new();
        for (id, size) in indexed {
            match self.stored_packs.get(&id) {
                Some(stored) if *stored == size && !self.descriptions.has_conflict(&id) => {}
                Some(stored) => self.check_doubtful_pack(&id, *stored, size)?,
                None => missing.push(id),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // What a prune has deleted meanwhile, it has removed from the index before.
        let (index, _) = self.inner.load_index()?;
        let described: HashSet<ObjectId> = index.packs().map(|(id, _)| id).collect();
        for id in missing {
            if described.contains(&id) {
                self.add_damaged_pack(&id, "it is missing".to_owned());
            }
        }
        Ok(())
    }

    /// A pack that the index and the storage, or two fragments, describe differently.
    fn check_doubtful_pack(&mut self, id: &ObjectId, stored: u64, indexed: u64) -> Result<()> {
        let read = read_with_retries(self.inner.backend.as_ref(), || {
            self.inner.directory_reader().read_directory(id)
        });
        match read {
            Ok(record) => self.compare_descriptions(&record),
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            Err(_) if stored != indexed => {
                self.add_damaged_pack(
                    id,
                    format!("its size is {stored} bytes, but the index says {indexed} bytes"),
                );
            }
            Err(error) if self.is_unreadable(&error) => {
                let object = pack_key(id).to_string();
                self.add_error(UnreadableKind::PackDirectories, &object, &error);
            }
            Err(error) => self.add_damaged_pack(id, error.damage_reason()),
        }
        Ok(())
    }
}
