//! Writes the index fragments that replace others, without describing a pack twice in the same words.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::{Error, Result};
use crate::format::pack::PackRecord;
use crate::id::ObjectId;
use crate::index::{FRAGMENT_CHUNKS_MAX, write_fragment};
use crate::prune::options::PruneContext;
use crate::records::record_set::is_not_found;

/// The hash of a pack's description in a fragment.
pub(super) fn description_hash(record: &PackRecord) -> Result<ObjectId> {
    Ok(ObjectId::from_content(&write_fragment(
        std::slice::from_ref(record),
    )?))
}

/// Writes fragments of the index, each once it is full.
pub(super) struct FragmentWriter<'a> {
    job: &'a PruneContext<'a>,
    packs: Vec<PackRecord>,
    /// What was written, by the hashes of the descriptions.
    seen_descriptions: HashSet<ObjectId>,
    chunks: usize,
    written: u64,
}

impl<'a> FragmentWriter<'a> {
    pub(super) fn new(job: &'a PruneContext<'a>) -> Self {
        Self {
            job,
            packs: Vec::new(),
            seen_descriptions: HashSet::new(),
            chunks: 0,
            written: 0,
        }
    }

    /// Adds a pack; a pack that was written with the same description already is not written twice.
    pub(super) fn add_pack(&mut self, record: PackRecord) -> Result<()> {
        if !self.seen_descriptions.insert(description_hash(&record)?) {
            return Ok(());
        }
        self.chunks += record.chunk_count();
        self.packs.push(record);
        if self.chunks >= FRAGMENT_CHUNKS_MAX {
            self.flush_fragment()?;
        }
        Ok(())
    }

    fn flush_fragment(&mut self) -> Result<()> {
        self.job.repository.inner.put_fragment(&self.packs)?;
        self.packs.clear();
        self.chunks = 0;
        self.written += 1;
        Ok(())
    }

    /// Adds the packs of fragments, except for some. Returns the fragments that are still stored, and those that are
    /// damaged: nothing replaces them.
    pub(super) fn rewrite_fragments(
        &mut self,
        fragments: &BTreeSet<ObjectId>,
        without: &BTreeSet<ObjectId>,
    ) -> Result<(Vec<ObjectId>, BTreeMap<ObjectId, Error>)> {
        let (mut replaced, mut damaged) = (Vec::new(), BTreeMap::new());
        for id in fragments {
            self.job.progress.check_cancelled()?;
            match self.job.repository.inner.read_fragment(id) {
                Ok(packs) => {
                    for pack in packs.into_iter().filter(|p| !without.contains(&p.pack)) {
                        self.add_pack(pack)?;
                    }
                    replaced.push(*id);
                }
                // Another prune has replaced it.
                Err(error) if is_not_found(&error) => {}
                Err(error) if error.is_damage() => drop(damaged.insert(*id, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((replaced, damaged))
    }

    /// Writes the rest, and returns the number of fragments.
    pub(super) fn finish(mut self) -> Result<u64> {
        if !self.packs.is_empty() {
            self.flush_fragment()?;
        }
        Ok(self.written)
    }
}
