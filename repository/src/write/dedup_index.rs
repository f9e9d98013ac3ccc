//! Which chunks need not be stored again: those in the index, and those that this run has claimed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError, RwLock};

use crate::error::Result;
use crate::format::pack::PackRecord;
use crate::id::{ChunkId, ObjectId};
use crate::index::Index;

/// Claims are spread over this many locks, so that workers rarely wait for each other.
const SHARDS: usize = 16;

#[derive(Debug)]
pub(super) struct DedupIndex {
    index: RwLock<Index>,
    claimed: Vec<Mutex<HashSet<ChunkId>>>,
    stored_bytes_before: u64,
}

impl DedupIndex {
    pub(super) fn new(index: Index) -> Self {
        let claimed = (0..SHARDS).map(|_| Mutex::new(HashSet::new())).collect();
        Self {
            stored_bytes_before: index.stored_bytes(),
            index: RwLock::new(index),
            claimed,
        }
    }

    /// Stored bytes of all packs when the run began.
    pub(super) fn stored_bytes_before(&self) -> u64 {
        self.stored_bytes_before
    }

    /// Finds a pack that this run may rely on and for which a condition holds.
    pub(super) fn find_used_pack(&self, is: impl Fn(&ObjectId) -> bool) -> Option<ObjectId> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.usable_packs().find(is)
    }

    pub(super) fn length_of(&self, id: &ChunkId) -> Result<Option<u32>> {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .length_of(id)
    }

    /// Whether the caller must store this chunk. Of all callers with one ID, exactly one gets `true`.
    pub(super) fn claim_chunk(&self, id: &ChunkId) -> Result<bool> {
        if self.length_of(id)?.is_some() {
            return Ok(false);
        }
        let shard = &self.claimed[usize::from(id.as_bytes()[0]) % SHARDS];
        Ok(shard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(*id))
    }

    /// Packs are stored and indexed: their chunks move from the claims to the index, which is smaller.
    pub(super) fn add_indexed_packs(&self, packs: &[PackRecord]) -> Result<()> {
        self.index
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add_packs(packs)?;
        for chunk in packs
            .iter()
            .flat_map(|pack| &pack.segments)
            .flat_map(|segment| &segment.chunks)
        {
            let shard = &self.claimed[usize::from(chunk.0.as_bytes()[0]) % SHARDS];
            shard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&chunk.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn of_many_claimants_one_stores() {
        let known = DedupIndex::new(Index::default());
        let stores = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..1000_u32 {
                        let id = ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
                        if known.claim_chunk(&id).unwrap() {
                            stores.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(stores.into_inner(), 1000);
    }
}
