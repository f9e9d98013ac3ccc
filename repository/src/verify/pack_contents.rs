//! Reads packs whole: every segment, every chunk.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::pack::{PackRecord, pack_key};
use crate::id::{ChunkId, ObjectId};
use crate::parallel::try_map_in_parallel;
use crate::progress::Progress;
use crate::read::segment_read::verify_segment;
use crate::records::replaced_packs::ReplacedPacks;
use crate::store::Store;
use crate::store::verified_io::read_with_retries;
use crate::verify::DataSubset;
use crate::verify::unreadable::UnreadableKind;
use crate::verify::verifier::Verifier;

/// Packs are read whole, so each thread holds one.
const READERS_MAX: usize = 3;

impl Verifier<'_> {
    pub(super) fn read_data(
        &mut self,
        share: DataSubset,
        only: Option<&HashSet<ChunkId>>,
        progress: &Progress,
    ) -> Result<()> {
        let mut packs: Vec<(ObjectId, u64)> = self
            .index
            .packs()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        packs.retain(|(id, _)| self.stored_packs.contains_key(id));
        if let Some(only) = only {
            let mut wanted = BTreeSet::new();
            for id in only {
                wanted.extend(
                    self.index
                        .locations(id)?
                        .iter()
                        .map(|location| location.pack),
                );
            }
            packs.retain(|(id, _)| wanted.contains(id));
        }
        let packs = share.select_packs(packs);
        if let DataSubset::Group { group, groups } = share {
            self.report.notes.push(format!(
                "packs read: {} (group {} of {groups}; each day reads another group)",
                packs.len(),
                group + 1
            ));
        }
        progress
            .items_total
            .store(packs.len() as u64, Ordering::Relaxed);
        progress
            .bytes_total
            .store(packs.iter().map(|(_, size)| size).sum(), Ordering::Relaxed);
        let replaced = ReplacedPacks::read(self.inner, self.inner.backend.as_ref())?;
        for (id, result) in read_packs(self.inner, &packs, progress)? {
            match result {
                Ok(record) => {
                    self.report.packs_read += 1;
                    self.report.bytes_read += record.size;
                    self.compare_descriptions(&record);
                }
                Err(error) if self.is_unreadable(&error) => {
                    self.add_unreadable_pack(&id, &error, &replaced);
                }
                Err(error) if error.is_missing_identity() => {
                    let finding = self.sorter.finding("", &error);
                    self.add_damaged_pack(&id, finding.reason);
                }
                Err(error) => self.add_damaged_pack(&id, error.damage_reason()),
            }
        }
        Ok(())
    }

    /// Contents that only others can read. Those of a pack that was re-encrypted are in another one.
    fn add_unreadable_pack(&mut self, id: &ObjectId, error: &Error, replaced: &ReplacedPacks) {
        let mut by = replaced.replacements_of(id).into_iter();
        if by.any(|by| self.stored_packs.contains_key(&by)) {
            let note = "packs that were re-encrypted and wait for a prune are not encrypted to the given identities, and were not read";
            if !self.report.notes.iter().any(|known| known == note) {
                self.report.notes.push(note.to_owned());
            }
            return;
        }
        let object = pack_key(id).to_string();
        self.report
            .add_unreadable(UnreadableKind::Packs, &object, error);
    }
}

/// A pack's description if all of it is good, or what is wrong.
type PackReadResult = (ObjectId, Result<PackRecord>);

/// Reads packs in parallel; each result says what is wrong with a pack.
fn read_packs(
    inner: &Store,
    packs: &[(ObjectId, u64)],
    progress: &Progress,
) -> Result<Vec<PackReadResult>> {
    let readers = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(READERS_MAX)
        .min(inner.backend.capabilities().parallel_reads);
    try_map_in_parallel(readers, packs, |(id, size)| {
        let read = progress
            .check_cancelled()
            .and_then(|()| read_with_retries(inner.backend.as_ref(), || read_pack(inner, id)));
        let result = match read {
            Err(error) if !error.is_damage() && !error.is_missing_identity() => return Err(error),
            result => result,
        };
        Progress::add(&progress.items, 1);
        Progress::add(&progress.bytes, *size);
        Ok((*id, result))
    })
}

/// Reads one pack whole: its name, its directory, every segment, every chunk.
fn read_pack(inner: &Store, id: &ObjectId) -> Result<PackRecord> {
    let key = pack_key(id);
    let bytes = match inner.get_verified(&key) {
        Err(Error::Backend { source, .. }) if is_unreadable(&source) => {
            return Err(Error::damaged_object(
                &key,
                format!("it cannot be read: {source}"),
            ));
        }
        bytes => bytes?,
    };
    let record: PackRecord = inner.directory_reader().parse_whole_pack(id, &bytes)?;
    let mut unreadable = None;
    for segment in &record.segments {
        let stored = segment.stored_bytes_in(&bytes);
        match verify_segment(inner, &key.to_string(), segment, stored) {
            // Others may be readable, and damaged.
            Err(error) if error.is_missing_identity() => unreadable = Some(error),
            verified => drop(verified?),
        }
    }
    unreadable.map_or(Ok(record), Err)
}

/// A read error of one object is damage to that object, not to the verification.
fn is_unreadable(error: &crate::backend::BackendError) -> bool {
    matches!(
        error,
        crate::backend::BackendError::Io { .. } | crate::backend::BackendError::NotFound { .. }
    )
}
