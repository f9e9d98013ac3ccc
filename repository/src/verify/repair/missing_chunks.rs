//! Chunks that are in no pack: pack and index fragment were lost together. Another copy still knows the pack.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::{Error, Result};
use crate::format::pack::pack_key;
use crate::id::{ChunkId, ObjectId};
use crate::progress::Progress;
use crate::records::sweeps::Sweeps;
use crate::verify::repair::{RepairRun, RepairedObject};

impl RepairRun<'_> {
    /// Takes packs from the other copy until it has no more of the missing chunks: the content of one pack may name
    /// chunks of another.
    pub(super) fn recover_missing_chunks(
        &mut self,
        mut absent: Vec<ChunkId>,
        progress: &Progress,
    ) -> Result<()> {
        if self.options.other_copy.is_none() {
            return Ok(());
        }
        let mut indexed = HashSet::new();
        loop {
            self.recover_packs_with(&absent, progress)?;
            self.unindexed.retain(|pack| indexed.insert(pack.pack));
            if self.unindexed.is_empty() {
                return Ok(());
            }
            self.index_packs()?;
            if !self.options.apply_changes {
                return Ok(());
            }
            // Damage is known, and reported elsewhere.
            let now = self.examine_again(&BTreeMap::new(), progress)?;
            (absent, self.unindexed) = (now.missing_chunks, now.unindexed);
        }
    }

    fn recover_packs_with(&mut self, absent: &[ChunkId], progress: &Progress) -> Result<()> {
        for pack in self.packs_with_chunks(absent)? {
            progress.check_cancelled()?;
            self.recover_pack(&pack)?;
        }
        Ok(())
    }

    /// The packs of the other copy that hold chunks.
    fn packs_with_chunks(&self, chunks: &[ChunkId]) -> Result<BTreeSet<ObjectId>> {
        let mut packs = BTreeSet::new();
        if let (Some(from), false) = (self.options.other_copy, chunks.is_empty()) {
            let (mut index, _) = from.inner.load_index()?;
            from.add_unindexed_packs(&mut index)?;
            for chunk in chunks {
                packs.extend(index.locations(chunk)?.iter().map(|found| found.pack));
            }
        }
        Ok(packs)
    }

    fn recover_pack(&mut self, id: &ObjectId) -> Result<()> {
        let key = pack_key(id);
        let Some(good) = self.find_good_copy(&key)? else {
            return Ok(());
        };
        let inner = &self.repository.inner;
        // A pack whose name is about to be deleted is stored under another one.
        let doomed = Sweeps::read_lossy(inner)?.unusable_packs().contains(id);
        if good.name_is_taken || doomed {
            let how = format!(
                "restored from {} under a new name, {}",
                self.source_location(),
                self.repack_under_new_name(&good)?
            );
            self.repaired.push(RepairedObject {
                object: key.to_string(),
                how,
            });
            return Ok(());
        }
        let record = inner.directory_reader().parse_whole_pack(id, &good.bytes)?;
        if !self.restore_object(good)? {
            return Err(Error::Internal(format!(
                "cannot restore {key}: an object with that name exists"
            )));
        }
        self.unindexed.push(record);
        Ok(())
    }
}
