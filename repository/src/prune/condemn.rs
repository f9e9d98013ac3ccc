//! The first phase: what stays is repacked and described, then what is to be deleted is named. Nothing is deleted.

use std::collections::{BTreeSet, HashSet};

use crate::error::Result;
use crate::format::pack::{PackBuilder, PackRecord, pack_key};
use crate::format::segment::SealedSegment;
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::progress::Progress;
use crate::prune::PruneReport;
use crate::prune::fragment_writer::FragmentWriter;
use crate::prune::mark::{MarkedChunks, is_segment_needed};
use crate::prune::options::PruneContext;
use crate::prune::pack_usage::{IndexUsage, hash_prefix};
use crate::prune::plan::PruneDecision;
use crate::prune::view::{RepositoryView, object_failure};
use crate::records::record_set::is_not_found;
use crate::records::sweeps::{self, SweepRecord, SweepState};
use crate::store::verified_io::put_verified;

/// Condemns the planned objects.
pub(super) fn condemn_garbage(
    job: &PruneContext<'_>,
    view: &RepositoryView,
    marks: &MarkedChunks,
    decision: &PruneDecision,
    report: &mut PruneReport,
) -> Result<()> {
    let inner = &job.repository.inner;
    let mut copier = Repacker {
        job,
        marks,
        redundant_segments: &decision.redundant_segments,
        copied_hashes: HashSet::new(),
        builder: PackBuilder::default(),
        repacked_packs: BTreeSet::new(),
        records: Vec::new(),
        report,
    };
    for pack in &decision.repacked {
        job.progress.check_cancelled()?;
        copier.repack_pack(pack)?;
    }
    copier.flush_pack()?;
    let Repacker {
        repacked_packs: copied,
        records,
        ..
    } = copier;
    let mut goes = decision.dead.clone();
    goes.extend(copied);
    let mut fragments = FragmentWriter::new(job);
    let unindexed = view.unindexed.iter();
    let unindexed = unindexed.filter(|record| decision.unindexed.contains(&record.pack));
    for record in records.into_iter().chain(unindexed.cloned()) {
        fragments.add_pack(record)?;
    }
    let mut without = goes.clone();
    without.extend(&decision.missing_packs);
    let (replaced, damaged) = fragments.rewrite_fragments(&decision.fragments, &without)?;
    if !damaged.is_empty() {
        // A fragment that stays must not promise what is deleted to those who read it before it was damaged.
        let promised = IndexUsage::packs_described_by(marks, &damaged.keys().copied().collect());
        goes.retain(|id| !promised.contains(id));
    }
    let findings = damaged
        .iter()
        .map(|(id, error)| object_failure(fragment_key(id).as_str(), error));
    report.findings.extend(findings);
    report.new_fragments += fragments.finish()?;
    let record = SweepRecord {
        state: SweepState::Condemned,
        at: inner.clock.wall_time(),
        by: job.options.host.clone(),
        packs: goes.into_iter().collect(),
        fragments: replaced,
        roots: decision.roots.iter().copied().collect(),
        logs: Vec::new(),
        of: None,
        program: crate::program::PROGRAM.to_owned(),
    };
    if record.packs.is_empty() && record.fragments.is_empty() && record.roots.is_empty() {
        return Ok(());
    }
    let id = sweeps::put_sweep_record(inner, job.keeper.signer(), &record)?;
    report.condemned = Some(id.to_string());
    Ok(())
}

/// Copies what is needed of mostly dead packs.
struct Repacker<'a> {
    job: &'a PruneContext<'a>,
    marks: &'a MarkedChunks,
    redundant_segments: &'a HashSet<(ObjectId, u64)>,
    /// Hashes of segments that were copied: a pack may hold one twice.
    copied_hashes: HashSet<ObjectId>,
    builder: PackBuilder,
    /// Packs of which everything that is needed is copied.
    repacked_packs: BTreeSet<ObjectId>,
    records: Vec<PackRecord>,
    report: &'a mut PruneReport,
}

impl Repacker<'_> {
    fn repack_pack(&mut self, id: &ObjectId) -> Result<()> {
        match self.read_needed_segments(id) {
            Ok(segments) => {
                for segment in segments {
                    self.push_segment(segment)?;
                }
                self.repacked_packs.insert(*id);
                Ok(())
            }
            Err(error) if is_not_found(&error) => Ok(()),
            // It stays as it is: a repair from another copy may restore it.
            Err(error) if error.is_damage() => {
                let finding = object_failure(pack_key(id).as_str(), &error);
                self.report.findings.push(finding);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The segments of a pack that hold a needed chunk, according to its own directory.
    fn read_needed_segments(&self, id: &ObjectId) -> Result<Vec<SealedSegment>> {
        let inner = &self.job.repository.inner;
        let key = pack_key(id);
        let bytes = inner.get_verified(&key)?;
        let record = inner.directory_reader().parse_whole_pack(id, &bytes)?;
        let mut needed = Vec::new();
        for segment in record.segments {
            let spare = self
                .redundant_segments
                .contains(&(*id, hash_prefix(&segment.hash)));
            if !spare && is_segment_needed(self.marks, &segment) {
                let stored = segment.stored_bytes_in(&bytes);
                needed.push(SealedSegment::from_stored(segment, stored, key.as_str())?);
            }
        }
        Ok(needed)
    }

    fn push_segment(&mut self, segment: SealedSegment) -> Result<()> {
        let full = u64::from(self.job.repository.config().layout.pack_bytes);
        let length = segment.stored.len() as u64;
        if !self.builder.is_empty() && self.builder.size_bytes() + length > full {
            self.flush_pack()?;
        }
        if self.copied_hashes.insert(segment.hash) {
            self.builder.push(segment)?;
        }
        Ok(())
    }

    fn flush_pack(&mut self) -> Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let inner = &self.job.repository.inner;
        let pack = std::mem::take(&mut self.builder).finish(
            &inner.catalog_recipients,
            inner.signer()?,
            inner.trust.repository(),
        )?;
        let id = pack.record.pack;
        put_verified(inner.backend.as_ref(), &pack_key(&id), &pack.parts, &id)?;
        self.report.new_packs += 1;
        self.report.new_bytes += pack.record.size;
        Progress::add(&self.job.progress.stored_bytes, pack.record.size);
        self.records.push(pack.record);
        Ok(())
    }
}
