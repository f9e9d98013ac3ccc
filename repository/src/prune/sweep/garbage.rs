//! Which condemned packs are garbage: nothing needs them, or other packs hold everything that is needed of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::error::Result;
use crate::format::pack::{PackRecord, pack_key};
use crate::format::segment::{SegmentRecord, check_stored_segment};
use crate::id::ObjectId;
use crate::index::Index;
use crate::parallel::try_map_in_parallel;
use crate::prune::mark::{MarkedChunks, is_segment_needed};
use crate::prune::sweep::sweeper::Sweeper;
use crate::prune::view::object_failure;
use crate::records::record_set::is_not_found;
use crate::records::sweeps::Sweeps;
use crate::store::verified_io::read_with_retries;

impl Sweeper<'_> {
    /// Of some packs those that nothing needs: by their own directories, whatever the index contains.
    pub(super) fn find_garbage(
        &mut self,
        candidates: &BTreeSet<ObjectId>,
        stored: &HashSet<ObjectId>,
        sweeps: &Sweeps,
    ) -> Result<BTreeSet<ObjectId>> {
        let unusable = sweeps.unusable_packs();
        let list: Vec<ObjectId> = candidates.iter().copied().collect();
        let inner = &self.job.repository.inner;
        let (marks, progress) = (&*self.marks, self.job.progress);
        let threads = inner.backend.capabilities().parallel_reads;
        let needed = try_map_in_parallel(threads, &list, |id| {
            progress.check_cancelled()?;
            match self.read_directory(id) {
                Ok(record) => Ok(Ok(needed_segments(marks, record))),
                Err(error) if is_not_found(&error) => Ok(Ok(Vec::new())),
                Err(error) if error.is_damage() => Ok(Err(error)),
                Err(error) => Err(error),
            }
        })?;
        let wanted = needed.iter().flatten().flatten();
        let wanted: HashSet<ObjectId> = wanted.map(|segment| segment.hash).collect();
        let quarantined = inner.read_quarantine()?.pack_ids();
        let stays = |id: &ObjectId| {
            let leaves = unusable.contains(id) || candidates.contains(id);
            stored.contains(id) && !leaves && !quarantined.contains(id)
        };
        let twins = self.find_duplicates(&wanted, stays)?;
        let mut garbage = BTreeSet::new();
        for (id, needed) in list.into_iter().zip(needed) {
            match needed {
                Ok(mut segments) => {
                    segments.retain(|segment| !twins.contains(segment));
                    if segments.is_empty() || self.has_replacement(&id, &segments, stays)? {
                        garbage.insert(id);
                    }
                }
                // Its content is unknown.
                Err(error) => self
                    .report
                    .findings
                    .push(object_failure(pack_key(&id).as_str(), &error)),
            }
        }
        Ok(garbage)
    }

    /// Segments that remaining packs hold byte for byte: found by the index, proven by the packs themselves.
    fn find_duplicates(
        &self,
        wanted: &HashSet<ObjectId>,
        stays: impl Fn(&ObjectId) -> bool,
    ) -> Result<DuplicateSegments> {
        let mut twins = DuplicateSegments::default();
        if wanted.is_empty() {
            return Ok(twins);
        }
        let inner = &self.job.repository.inner;
        let (index, _) = inner.load_index()?;
        for pack in packs_holding(&index, wanted)
            .into_iter()
            .filter(|id| stays(id))
        {
            let record = match self.read_directory(&pack) {
                Ok(record) => record,
                Err(error) if is_not_found(&error) || error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            for segment in record.segments {
                if wanted.contains(&segment.hash)
                    && !twins.contains(&segment)
                    && self.is_segment_stored(&pack, &segment)?
                {
                    twins.proven.entry(segment.hash).or_default().push(segment);
                }
            }
        }
        Ok(twins)
    }

    /// Whether, according to a keeper, a pack was re-encrypted, and its replacement stays, is whole, and lists all
    /// chunks of these segments itself.
    fn has_replacement(
        &mut self,
        pack: &ObjectId,
        segments: &[SegmentRecord],
        stays: impl Fn(&ObjectId) -> bool,
    ) -> Result<bool> {
        let job = self.job;
        let inner = &job.repository.inner;
        for by in self
            .replaced
            .replacements_of(pack)
            .iter()
            .filter(|by| stays(by))
        {
            let read = inner.get_verified(&pack_key(by));
            let read = read.and_then(|bytes| inner.directory_reader().parse_whole_pack(by, &bytes));
            let record = match read {
                Ok(record) => record,
                Err(error) if is_not_found(&error) => continue,
                Err(error) if error.is_damage() => {
                    let finding = object_failure(pack_key(by).as_str(), &error);
                    self.report.findings.push(finding);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let new = record.segments.iter().flat_map(|segment| {
                let class = segment.class;
                segment
                    .chunks
                    .iter()
                    .map(move |chunk| (class, chunk.0, chunk.1))
            });
            let new: HashSet<_> = new.collect();
            let has = |segment: &SegmentRecord| {
                let mut chunks = segment.chunks.iter();
                chunks.all(|chunk| new.contains(&(segment.class, chunk.0, chunk.1)))
            };
            if segments.iter().all(has) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_segment_stored(&self, pack: &ObjectId, segment: &SegmentRecord) -> Result<bool> {
        let inner = &self.job.repository.inner;
        let key = pack_key(pack);
        let range = segment.offset..segment.offset + u64::from(segment.length);
        let read = read_with_retries(inner.backend.as_ref(), || {
            let stored = inner
                .backend
                .get(&key, Some(range.clone()))
                .map_err(|e| inner.backend_error(e))?;
            check_stored_segment(segment, &stored, key.as_str())
        });
        match read {
            Ok(()) => Ok(true),
            Err(error) if is_not_found(&error) || error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Segments that were proven to be stored elsewhere.
#[derive(Debug, Default)]
struct DuplicateSegments {
    proven: HashMap<ObjectId, Vec<SegmentRecord>>,
}

impl DuplicateSegments {
    /// Whether another pack holds the same segment and describes it in the same way.
    fn contains(&self, segment: &SegmentRecord) -> bool {
        let proven = self.proven.get(&segment.hash);
        proven.into_iter().flatten().any(|twin| {
            twin.class == segment.class
                && twin.length == segment.length
                && twin.plain == segment.plain
                && twin.chunks == segment.chunks
        })
    }
}

fn needed_segments(marks: &MarkedChunks, mut record: PackRecord) -> Vec<SegmentRecord> {
    record
        .segments
        .retain(|segment| is_segment_needed(marks, segment));
    record.segments
}

/// Packs that, according to the index, hold any of these segments.
fn packs_holding(index: &Index, wanted: &HashSet<ObjectId>) -> BTreeSet<ObjectId> {
    let contents = index
        .tables()
        .iter()
        .flat_map(|table| table.pack_contents());
    let with = contents.filter(|pack| {
        let mut hashes = pack.segments.iter().map(|segment| segment.location.hash);
        hashes.any(|hash| wanted.contains(&hash))
    });
    with.map(|pack| pack.pack).collect()
}
