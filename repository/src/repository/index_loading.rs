//! The index of a repository: loading it from fragments and packs, and storing fragments.

use std::collections::{BTreeSet, HashSet};

use crate::backend::{Backend, BackendError, ObjectInfo, ObjectKey};
use crate::crypto::encryption::RecipientClass;
use crate::crypto::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::format::names::id_from_key;
use crate::format::pack::{DIRECTORY_BYTES_MAX, PackRecord, pack_key};
use crate::id::ObjectId;
use crate::index::{
    FRAGMENT_CHUNKS_MAX, FragmentErrors, Index, IndexCache, fragment_key, parse_fragment,
    write_fragment,
};
use crate::records::replaced_packs::ReplacedPacks;
use crate::repository::pack_descriptions::PackDescriptions;
use crate::store::verified_io::read_with_retries;
use crate::store::{Repository, Store};

impl Repository {
    /// The index as described by the fragments. Where one cannot be read, the directories of the packs that it
    /// described are used instead, so that a damaged index never prevents a restore.
    pub(crate) fn index_for_reading(&self) -> Result<Index> {
        let quarantine = self.inner.read_quarantine()?;
        let (mut index, unreadable) = self.inner.load_index_without(&quarantine.fragment_ids())?;
        if !unreadable.is_empty() {
            self.add_unindexed_packs(&mut index)?;
        }
        // What was re-encrypted is what the present identities can decrypt.
        let mut last = quarantine.pack_ids();
        last.extend(ReplacedPacks::read(&self.inner, self.inner.backend.as_ref())?.packs());
        index.deprioritize_packs(last);
        Ok(index)
    }

    /// The index, and the packs that it does not list although they are stored: left by an interrupted run, or
    /// described by a lost fragment. They are in the returned index too, ready to be used.
    ///
    /// `noted` are packs that dead runs have recorded; they are looked for where packs are not listed. `unusable` packs
    /// are not looked at: a sweep is about to delete them.
    pub(crate) fn index_for_writing(
        &self,
        noted: &BTreeSet<ObjectId>,
        unusable: &HashSet<ObjectId>,
    ) -> Result<(Index, Vec<PackRecord>)> {
        let quarantine = self.inner.read_quarantine()?;
        // Damaged content must be stored again.
        let unusable = &unusable.union(&quarantine.pack_ids()).copied().collect();
        let (mut index, unreadable) = self.inner.load_index_without(&quarantine.fragment_ids())?;
        index.exclude_packs(unusable);
        let noted = &noted
            .iter()
            .filter(|id| !unusable.contains(*id))
            .copied()
            .collect();
        if unreadable.is_empty() && !self.inner.backend.capabilities().cheap_listing {
            let adopted = self.inner.find_recorded_packs(&index, noted)?;
            index.add_packs(&adopted)?;
            return Ok((index, adopted));
        }
        let mut adopted = self.inner.find_unindexed_packs(&index)?;
        adopted.retain(|record| !unusable.contains(&record.pack));
        index.add_packs(&adopted)?;
        Ok((index, adopted))
    }

    /// Adds packs that are stored but not indexed to an index.
    pub(crate) fn add_unindexed_packs(&self, index: &mut Index) -> Result<Vec<PackRecord>> {
        let adopted = self.inner.find_unindexed_packs(index)?;
        index.add_packs(&adopted)?;
        Ok(adopted)
    }
}

impl Store {
    /// Stores a fragment of the index.
    pub(crate) fn put_fragment(&self, packs: &[PackRecord]) -> Result<ObjectId> {
        self.put_fragment_at(self.backend.as_ref(), packs)
    }

    /// Stores packs' descriptions in fragments here, or in a copy of this repository.
    pub(crate) fn put_fragments_at(
        &self,
        backend: &dyn Backend,
        packs: Vec<PackRecord>,
    ) -> Result<()> {
        let (mut part, mut chunks) = (Vec::new(), 0);
        for pack in packs {
            chunks += pack.chunk_count();
            part.push(pack);
            if chunks >= FRAGMENT_CHUNKS_MAX {
                self.put_fragment_at(backend, &std::mem::take(&mut part))?;
                chunks = 0;
            }
        }
        if !part.is_empty() {
            self.put_fragment_at(backend, &part)?;
        }
        Ok(())
    }

    fn put_fragment_at(&self, backend: &dyn Backend, packs: &[PackRecord]) -> Result<ObjectId> {
        let json = write_fragment(packs)?;
        self.put_signed(
            backend,
            RecordKind::Index,
            &json,
            self.signer()?,
            fragment_key,
        )
    }

    /// The index of all readable fragments, and the unreadable ones.
    pub(crate) fn load_index(&self) -> Result<(Index, FragmentErrors)> {
        self.load_index_without(&self.read_quarantine()?.fragment_ids())
    }

    /// The index of all readable fragments but some.
    pub(crate) fn load_index_without(
        &self,
        left_out: &HashSet<ObjectId>,
    ) -> Result<(Index, FragmentErrors)> {
        let mut fragments = self.fragment_ids()?;
        fragments.retain(|id| !left_out.contains(id));
        let (index, unreadable) = self.build_index(&fragments, |id| Ok(self.read_fragment(id)))?;
        for (fragment, error) in &unreadable {
            tracing::warn!(%fragment, %error, "an index fragment cannot be read");
        }
        Ok((index, unreadable))
    }

    /// Fragments that a signer added after it was revoked must not come out of a cache.
    fn index_cache(&self) -> IndexCache {
        IndexCache::new(self.cache.as_deref(), self.trust.revocations_hash())
    }

    fn build_index(
        &self,
        fragments: &BTreeSet<ObjectId>,
        read: impl FnMut(&ObjectId) -> Result<Result<Vec<PackRecord>>>,
    ) -> Result<(Index, FragmentErrors)> {
        let cache = self.index_cache();
        let (tables, unreadable) = cache.load_tables(fragments, read)?;
        Ok((Index::new(tables), unreadable))
    }

    /// As [`Self::load_index`], but every fragment is read from the storage, whatever the cache holds. `left_out` are
    /// not read. Also returns the content of each fragment.
    pub(crate) fn load_index_uncached(
        &self,
        left_out: &HashSet<ObjectId>,
    ) -> Result<(Index, FragmentErrors, PackDescriptions)> {
        let cached = self.index_cache().cached_fragments();
        let (mut readable, mut unreadable) = (self.fragment_ids()?, FragmentErrors::new());
        readable.retain(|id| !left_out.contains(id));
        let mut said = PackDescriptions::default();
        // What is not cached is read for the index.
        for id in readable.intersection(&cached) {
            match self.read_fragment_or_fail(id)? {
                Ok(packs) => said.add_fragment(id, &packs),
                Err(error) => unreadable.push((*id, error)),
            }
        }
        readable.retain(|id| unreadable.iter().all(|(bad, _)| bad != id));
        let (index, more) = self.build_index(&readable, |id| {
            let read = self.read_fragment_or_fail(id)?;
            if let Ok(packs) = &read {
                said.add_fragment(id, packs);
            }
            Ok(read)
        })?;
        unreadable.extend(more);
        Ok((index, unreadable, said))
    }

    /// A fragment, or what is wrong with it. When the storage does not respond, neither is known.
    fn read_fragment_or_fail(&self, id: &ObjectId) -> Result<Result<Vec<PackRecord>>> {
        match self.read_fragment(id) {
            // Its packs describe their contents, whatever a newer version's fragment describes.
            Err(error @ Error::UnsupportedFormat { .. }) => Ok(Err(error)),
            Err(error) if error.class() == ErrorClass::Failed => Err(error),
            read => Ok(read),
        }
    }

    pub(crate) fn fragment_ids(&self) -> Result<BTreeSet<ObjectId>> {
        // A foreign name cannot be a fragment; `verify` reports it.
        Ok(self
            .list_objects("index")?
            .iter()
            .filter_map(|info| id_from_key(&info.key))
            .collect())
    }

    pub(crate) fn read_fragment(&self, id: &ObjectId) -> Result<Vec<PackRecord>> {
        let bytes = self.get_verified(&fragment_key(id))?;
        self.open_fragment(id, &bytes)
    }

    /// The content of a fragment whose bytes are known to match its name.
    pub(crate) fn open_fragment(&self, id: &ObjectId, bytes: &[u8]) -> Result<Vec<PackRecord>> {
        let key = fragment_key(id);
        let verified = envelope::verify_record(RecordKind::Index, bytes, &key, &self.trust)?;
        let recipients = self.readers(RecipientClass::Catalog);
        let content = verified.open(&self.identities, &key, recipients, DIRECTORY_BYTES_MAX)?;
        parse_fragment(&content, self.config.segment_plain_max())
            .map_err(|reason| Error::damaged_object(&key, reason))
    }

    /// Of some packs those that are stored, whole, and not in the index. Each is read: it may be unverified if the run
    /// that stored it died.
    fn find_recorded_packs(
        &self,
        index: &Index,
        noted: &BTreeSet<ObjectId>,
    ) -> Result<Vec<PackRecord>> {
        let known: std::collections::HashSet<_> = index.packs().map(|(id, _)| id).collect();
        let mut found = Vec::new();
        for id in noted.iter().filter(|id| !known.contains(id)) {
            let read = self
                .get_verified(&pack_key(id))
                .and_then(|bytes| self.directory_reader().parse_whole_pack(id, &bytes));
            match read {
                Ok(record) => found.push(record),
                Err(Error::Backend {
                    source: BackendError::NotFound { .. },
                    ..
                }) => {}
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => {
                    tracing::warn!(pack = %id, %error, "a pack that is not in the index cannot be read; it is ignored")
                }
            }
        }
        Ok(found)
    }

    /// Packs that are stored and whole but not indexed.
    fn find_unindexed_packs(&self, index: &Index) -> Result<Vec<PackRecord>> {
        let mut found = Vec::new();
        let listed = self.list_objects("packs")?;
        for (key, record) in self.read_unindexed_packs(index, listed) {
            match record {
                Ok(record) => found.push(record),
                Err(error) => {
                    tracing::warn!(%key, %error, "a pack that is not in the index cannot be read; it is ignored")
                }
            }
        }
        Ok(found)
    }

    /// Of the listed packs those that are not in the index, with whatever is wrong with them.
    pub(crate) fn read_unindexed_packs(
        &self,
        index: &Index,
        listed: Vec<ObjectInfo>,
    ) -> Vec<(ObjectKey, Result<PackRecord>)> {
        let known: std::collections::HashSet<_> = index.packs().map(|(id, _)| id).collect();
        let reader = self.directory_reader();
        let mut found = Vec::new();
        for info in listed {
            match id_from_key(&info.key) {
                Some(id) if known.contains(&id) => {}
                Some(id) => {
                    let record =
                        read_with_retries(self.backend.as_ref(), || reader.read_directory(&id));
                    found.push((info.key, record));
                }
                None => {
                    let error = Error::damaged_object(&info.key, "its name is not a pack ID");
                    found.push((info.key, Err(error)));
                }
            }
        }
        found
    }
}
