//! Descriptions of packs that stay, in index fragments that are deleted: they are written again.

use std::collections::{BTreeSet, HashSet};

use crate::error::{Error, Result};
use crate::format::pack::{PackRecord, pack_key};
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::prune::fragment_writer::{FragmentWriter, description_hash};
use crate::prune::sweep::sweeper::{DeletionSet, Sweeper, listed_ids};
use crate::prune::view::{UnreadableFragments, condemned_fragments};
use crate::records::record_set::is_not_found;
use crate::records::sweeps::Sweeps;

impl Sweeper<'_> {
    /// The packs that remaining fragments describe, each with the fragment.
    pub(super) fn list_described_packs(
        &self,
        doomed: &DeletionSet,
        sweeps: &Sweeps,
    ) -> Result<Vec<(ObjectId, ObjectId)>> {
        let superseded = condemned_fragments(sweeps);
        let (index, unreadable) = self.job.repository.inner.load_index()?;
        let unread =
            UnreadableFragments::classify_fragments(self.job.repository, unreadable, sweeps)?;
        if let Some(fragment) = unread.blocking_fragment {
            let reason = "it cannot be read, so nothing is deleted: other hosts may rely on the packs that it describes; \
                 `reprise verify --repair` moves it to quarantine";
            return Err(Error::damaged_object(&fragment, reason));
        }
        let contents = index
            .tables()
            .iter()
            .flat_map(|table| table.pack_contents());
        let described = contents.filter_map(|pack| Some((pack.pack, pack.fragment?)));
        let stays = |fragment: &ObjectId| {
            !superseded.contains(fragment) && !doomed.fragments.contains(fragment)
        };
        Ok(described.filter(|(_, fragment)| stays(fragment)).collect())
    }

    /// Every description of a remaining pack in a fragment that is deleted must be in a remaining fragment too, word
    /// for word: another description of the same pack may be false.
    pub(super) fn describe_kept_packs(&mut self, doomed: &DeletionSet) -> Result<()> {
        if doomed.fragments.is_empty() {
            return Ok(());
        }
        let inner = &self.job.repository.inner;
        let sweeps = Sweeps::read(inner, inner.backend.as_ref())?;
        let stored = listed_ids(inner.list_objects("packs")?);
        let stays =
            |pack: &PackRecord| stored.contains(&pack.pack) && !doomed.packs.contains(&pack.pack);
        let (mut needed, mut packs) = (HashSet::new(), HashSet::new());
        let mut is_damaged = false;
        for fragment in &doomed.fragments {
            let told = self.read_fragment(fragment)?;
            is_damaged |= told.is_none();
            for pack in told.iter().flatten().filter(|p| stays(p)) {
                needed.insert(description_hash(pack)?);
                packs.insert(pack.pack);
            }
        }
        let described = self.list_described_packs(doomed, &sweeps)?;
        let elsewhere = described.iter().filter(|(pack, _)| packs.contains(pack));
        let elsewhere: BTreeSet<ObjectId> = elsewhere.map(|(_, fragment)| *fragment).collect();
        for fragment in &elsewhere {
            for pack in self.read_fragment(fragment)?.iter().flatten() {
                needed.remove(&description_hash(pack)?);
            }
        }
        let mut fragments = FragmentWriter::new(self.job);
        for fragment in doomed.fragments.iter().filter(|_| !needed.is_empty()) {
            let told = self.read_fragment(fragment)?;
            is_damaged |= told.is_none();
            for pack in told.into_iter().flatten() {
                if needed.contains(&description_hash(&pack)?) {
                    fragments.add_pack(pack)?;
                }
            }
        }
        if is_damaged {
            let mut alone = stored;
            let (described, unusable) = (described.into_iter(), sweeps.unusable_packs());
            let described: HashSet<ObjectId> = described.map(|(pack, _)| pack).collect();
            alone.retain(|id| {
                !doomed.packs.contains(id) && !described.contains(id) && !unusable.contains(id)
            });
            self.describe_from_directories(&alone, &mut fragments)?;
        }
        self.report.new_fragments += fragments.finish()?;
        Ok(())
    }

    /// The content of a damaged fragment cannot be written again; it is deleted nevertheless, so that nobody who read
    /// it before relies on packs that are deleted. Packs that no other fragment describes list their content
    /// themselves.
    fn describe_from_directories(
        &mut self,
        packs: &HashSet<ObjectId>,
        fragments: &mut FragmentWriter<'_>,
    ) -> Result<()> {
        for id in packs {
            self.job.progress.check_cancelled()?;
            match self.read_directory(id) {
                Ok(record) => fragments.add_pack(record)?,
                Err(error) if is_not_found(&error) => {}
                Err(error) if error.is_damage() => self.add_finding(&pack_key(id), &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The content of a fragment, if it is stored; `None`: it is damaged, which is reported.
    fn read_fragment(&mut self, fragment: &ObjectId) -> Result<Option<Vec<PackRecord>>> {
        match self.job.repository.inner.read_fragment(fragment) {
            Ok(told) => Ok(Some(told)),
            Err(error) if is_not_found(&error) => Ok(Some(Vec::new())),
            Err(error) if error.is_damage() => {
                self.add_finding(&fragment_key(fragment), &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
