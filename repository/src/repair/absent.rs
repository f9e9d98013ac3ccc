//! Chunks that are in no pack: pack and index fragment were lost together. Another copy still knows the pack.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Repair, Repaired};
use crate::error::{Error, Result};
use crate::id::{ChunkId, ObjectId};
use crate::pack::pack_key;
use crate::progress::Progress;
use crate::sweeps::Sweeps;

impl Repair<'_> {
    /// Takes packs from the other copy until nothing is absent that it has: what is read of one pack may name
    /// chunks of another.
    pub(super) fn bring_absent(
        &mut self,
        mut absent: Vec<ChunkId>,
        progress: &Progress,
    ) -> Result<()> {
        if self.options.from.is_none() {
            return Ok(());
        }
        let mut indexed = HashSet::new();
        loop {
            self.bring_packs_of(&absent, progress)?;
            self.unindexed.retain(|pack| indexed.insert(pack.pack));
            if self.unindexed.is_empty() {
                return Ok(());
            }
            self.index()?;
            if !self.options.act {
                return Ok(());
            }
            // What is damaged is known, and told of elsewhere.
            let now = self.examine_again(&BTreeMap::new(), progress)?;
            (absent, self.unindexed) = (now.absent, now.unindexed);
        }
    }

    fn bring_packs_of(&mut self, absent: &[ChunkId], progress: &Progress) -> Result<()> {
        for pack in self.packs_of(absent)? {
            progress.check()?;
            self.bring(&pack)?;
        }
        Ok(())
    }

    /// The packs of the other copy that hold chunks.
    fn packs_of(&self, chunks: &[ChunkId]) -> Result<BTreeSet<ObjectId>> {
        let mut packs = BTreeSet::new();
        if let (Some(from), false) = (self.options.from, chunks.is_empty()) {
            let (mut index, _) = from.inner.indexed()?;
            from.adopt_unindexed(&mut index)?;
            for chunk in chunks {
                packs.extend(index.locations(chunk)?.iter().map(|found| found.pack));
            }
        }
        Ok(packs)
    }

    fn bring(&mut self, id: &ObjectId) -> Result<()> {
        let key = pack_key(id);
        let Some(good) = self.good_bytes(&key)? else {
            return Ok(());
        };
        let inner = &self.repository.inner;
        // What is about to be deleted under its name is stored under another one.
        let doomed = Sweeps::read_lossy(inner)?.unusable().contains(id);
        if good.present || doomed {
            let how = format!(
                "restored from {} under a new name, {}",
                self.source(),
                self.repack(&good)?
            );
            self.repaired.push(Repaired {
                object: key.to_string(),
                how,
            });
            return Ok(());
        }
        let record = inner.directory_reader().read_whole(id, &good.bytes)?;
        if !self.put_back(good)? {
            return Err(Error::Internal(format!(
                "cannot restore {key}: an object with that name exists"
            )));
        }
        self.unindexed.push(record);
        Ok(())
    }
}
