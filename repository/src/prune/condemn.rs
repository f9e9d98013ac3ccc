//! The first phase: what stays is copied and described, then what goes is named. Nothing is deleted.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::census::{Census, beginning};
use super::mark::Marks;
use super::plan::Decision;
use super::view::{View, failure};
use super::{Job, PruneReport};
use crate::error::{Error, ErrorClass, Result};
use crate::id::ObjectId;
use crate::index::{FRAGMENT_CHUNKS_MAX, fragment_key, write_fragment};
use crate::pack::{PackBuilder, PackRecord, pack_key};
use crate::progress::Progress;
use crate::records::is_gone;
use crate::segment::{SealedSegment, SegmentRecord, check_stored};
use crate::stored::put_verified;
use crate::sweeps::{self, State, SweepRecord};

/// Condemns what was decided on.
pub(super) fn condemn(
    job: &Job<'_>,
    view: &View,
    marks: &Marks,
    decision: &Decision,
    report: &mut PruneReport,
) -> Result<()> {
    let inner = &job.repository.inner;
    let mut copier = Copier {
        job,
        marks,
        spare: &decision.spare,
        pushed: HashSet::new(),
        builder: PackBuilder::default(),
        copied: BTreeSet::new(),
        records: Vec::new(),
        report,
    };
    for pack in &decision.repacked {
        job.progress.check()?;
        copier.pack(pack)?;
    }
    copier.flush()?;
    let Copier {
        copied, records, ..
    } = copier;
    let mut goes = decision.dead.clone();
    goes.extend(copied);
    let mut fragments = Fragments::new(job);
    let unindexed = view.unindexed.iter();
    let unindexed = unindexed.filter(|record| decision.unindexed.contains(&record.pack));
    for record in records.into_iter().chain(unindexed.cloned()) {
        fragments.add(record)?;
    }
    let mut without = goes.clone();
    without.extend(&decision.lost);
    let (replaced, damaged) = fragments.replace(&decision.fragments, &without)?;
    if !damaged.is_empty() {
        // A fragment that stays must not promise what goes, to those who knew it before it was damaged.
        let promised = Census::packs_of(marks, &damaged.keys().copied().collect());
        goes.retain(|id| !promised.contains(id));
    }
    let findings = damaged
        .iter()
        .map(|(id, error)| failure(fragment_key(id).as_str(), error));
    report.findings.extend(findings);
    report.new_fragments += fragments.finish()?;
    let record = SweepRecord {
        state: State::Condemned,
        at: inner.clock.wall(),
        by: job.options.host.clone(),
        packs: goes.into_iter().collect(),
        fragments: replaced,
        roots: decision.roots.iter().copied().collect(),
        logs: Vec::new(),
        of: None,
        program: crate::PROGRAM.to_owned(),
    };
    if record.packs.is_empty() && record.fragments.is_empty() && record.roots.is_empty() {
        return Ok(());
    }
    let id = sweeps::put(inner, &record)?;
    report.condemned = Some(id.to_string());
    Ok(())
}

/// Copies what is needed of mostly dead packs.
struct Copier<'a> {
    job: &'a Job<'a>,
    marks: &'a Marks,
    spare: &'a HashSet<(ObjectId, u64)>,
    /// Hashes of segments that were copied: a pack may hold one twice.
    pushed: HashSet<ObjectId>,
    builder: PackBuilder,
    /// Packs of which everything that is needed is copied.
    copied: BTreeSet<ObjectId>,
    records: Vec<PackRecord>,
    report: &'a mut PruneReport,
}

impl Copier<'_> {
    fn pack(&mut self, id: &ObjectId) -> Result<()> {
        match self.needed_of(id) {
            Ok(segments) => {
                for segment in segments {
                    self.push(segment)?;
                }
                self.copied.insert(*id);
                Ok(())
            }
            Err(error) if is_gone(&error) => Ok(()),
            // It stays as it is: another copy may bring it back.
            Err(error) if error.class() == ErrorClass::Damaged => {
                let finding = failure(pack_key(id).as_str(), &error);
                self.report.findings.push(finding);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The segments of a pack that hold a chunk that is needed, as its own directory tells.
    fn needed_of(&self, id: &ObjectId) -> Result<Vec<SealedSegment>> {
        let inner = &self.job.repository.inner;
        let key = pack_key(id);
        let bytes = inner.get_named(&key)?;
        let record = inner.directory_reader().read_whole(id, &bytes)?;
        let mut needed = Vec::new();
        for segment in record.segments {
            let spare = self.spare.contains(&(*id, beginning(&segment.hash)));
            if !spare && is_needed(self.marks, &segment) {
                let stored = segment.stored_in(&bytes);
                check_stored(&segment, stored, key.as_str())?;
                needed.push(SealedSegment {
                    class: segment.class,
                    stored: stored.to_vec(),
                    plain_length: segment.plain,
                    chunks: segment.chunks,
                    recipients: segment.recipients,
                });
            }
        }
        Ok(needed)
    }

    fn push(&mut self, segment: SealedSegment) -> Result<()> {
        let full = u64::from(self.job.repository.config().layout.pack_bytes);
        let length = segment.stored.len() as u64;
        if !self.builder.is_empty() && self.builder.size_bytes() + length > full {
            self.flush()?;
        }
        if self.pushed.insert(ObjectId::of(&segment.stored)) {
            self.builder.push(segment)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
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

/// Whether a segment holds a chunk that some snapshot needs.
pub(super) fn is_needed(marks: &Marks, segment: &SegmentRecord) -> bool {
    segment.chunks.iter().any(|chunk| marks.is_live(&chunk.0))
}

/// The hash of what a fragment says of a pack.
pub(super) fn description(record: &PackRecord) -> Result<ObjectId> {
    Ok(ObjectId::of(&write_fragment(std::slice::from_ref(record))?))
}

/// Writes fragments of the index, each once it is full.
pub(super) struct Fragments<'a> {
    job: &'a Job<'a>,
    packs: Vec<PackRecord>,
    /// What was told of, by the hashes of the descriptions.
    told: HashSet<ObjectId>,
    chunks: usize,
    written: u64,
}

impl<'a> Fragments<'a> {
    pub(super) fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            packs: Vec::new(),
            told: HashSet::new(),
            chunks: 0,
            written: 0,
        }
    }

    /// Takes a pack; one that is told of in the same way already is not told of twice.
    pub(super) fn add(&mut self, record: PackRecord) -> Result<()> {
        if !self.told.insert(description(&record)?) {
            return Ok(());
        }
        self.chunks += record.chunk_count();
        self.packs.push(record);
        if self.chunks >= FRAGMENT_CHUNKS_MAX {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.job.repository.inner.put_fragment(&self.packs)?;
        self.packs.clear();
        self.chunks = 0;
        self.written += 1;
        Ok(())
    }

    /// Takes what fragments describe, but for some packs. Returns those that are still there, and those that are
    /// damaged: nothing replaces them.
    fn replace(
        &mut self,
        fragments: &BTreeSet<ObjectId>,
        without: &BTreeSet<ObjectId>,
    ) -> Result<(Vec<ObjectId>, BTreeMap<ObjectId, Error>)> {
        let (mut replaced, mut damaged) = (Vec::new(), BTreeMap::new());
        for id in fragments {
            self.job.progress.check()?;
            match self.job.repository.inner.read_fragment(id) {
                Ok(packs) => {
                    for pack in packs.into_iter().filter(|p| !without.contains(&p.pack)) {
                        self.add(pack)?;
                    }
                    replaced.push(*id);
                }
                // Another prune has replaced it.
                Err(error) if is_gone(&error) => {}
                Err(error) if is_damage(&error) => drop(damaged.insert(*id, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((replaced, damaged))
    }

    /// Writes the rest, and says how many fragments there are.
    pub(super) fn finish(mut self) -> Result<u64> {
        if !self.packs.is_empty() {
            self.write()?;
        }
        Ok(self.written)
    }
}

/// Whether an error is about what is stored.
pub(super) fn is_damage(error: &Error) -> bool {
    error.class() == ErrorClass::Damaged
}
